// Lock requests: which are answered when, and what closing tells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "fusefs/frontend/session.h"
#include "tests/unit/fusefs/fake_engine.h"
#include "tests/unit/fusefs/fake_kernel.h"

namespace strata::fusefs {
namespace {

using testing::FakeEngine;
using testing::FakeKernel;
using testing::Reply;

constexpr std::uint64_t kEverything = ~(std::uint64_t{1} << 31);
constexpr std::uint64_t kNode = 5;

class FrontendLocksTest : public ::testing::Test {
 protected:
  void SetUp() override { Connect({}); }

  void Connect(SessionOptions options) {
    session_.reset();
    auto session = Session::Create(engine_, kernel_, std::move(options));
    ASSERT_TRUE(session.has_value()) << session.error().ToString();
    session_ = std::move(*session);
    ASSERT_TRUE(kernel_.Start(*session_).has_value());
    ASSERT_EQ(kernel_.Init(kEverything).Errno(), 0);
  }

  wire::OpenOut Open(int flags) {
    fuse_open_in in{};
    in.flags = static_cast<std::uint32_t>(flags);
    return kernel_.Ask(FUSE_OPEN, kNode, FakeKernel::Bytes(in)).As<wire::OpenOut>();
  }
  static std::vector<std::byte> Lock(std::uint64_t handle, std::uint64_t owner, int type,
                                     std::uint64_t first = 0, std::uint64_t last = 0) {
    fuse_lk_in in{};
    in.fh = handle;
    in.owner = owner;
    in.lk = {.start = first, .end = last, .type = static_cast<std::uint32_t>(type), .pid = 70};
    return FakeKernel::Bytes(in);
  }
  static std::vector<std::byte> Flock(std::uint64_t handle, std::uint64_t owner, int type) {
    fuse_lk_in in{};
    in.fh = handle;
    in.owner = owner;
    in.lk.type = static_cast<std::uint32_t>(type);
    in.lk.end = FileLock::kToEnd;
    in.lk_flags = FUSE_LK_FLOCK;
    return FakeKernel::Bytes(in);
  }
  void Interrupt(std::uint64_t unique) {
    kernel_.Tell(FUSE_INTERRUPT, 0, FakeKernel::Bytes(fuse_interrupt_in{.unique = unique}));
  }

  FakeEngine engine_;
  FakeKernel kernel_;
  std::unique_ptr<Session> session_;
};

TEST_F(FrontendLocksTest, OnlyFilesThatMayCarryRecordLocksAreFlushed) {
  const wire::OpenOut reader = Open(O_RDONLY);
  EXPECT_NE(reader.flags & wire::kOpenNoFlush, 0U);
  EXPECT_EQ(Open(O_WRONLY).flags & wire::kOpenNoFlush, 0U);
  EXPECT_EQ(Open(O_RDWR).flags & wire::kOpenNoFlush, 0U);
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(reader.handle, 1, F_RDLCK)).Errno(), 0);
  EXPECT_EQ(Open(O_RDONLY).flags & wire::kOpenNoFlush, 0U);
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(reader.handle, 1, F_UNLCK)).Errno(), 0);
  EXPECT_NE(Open(O_RDONLY).flags & wire::kOpenNoFlush, 0U);
}

TEST_F(FrontendLocksTest, HandlesAreNumbersOfTheirOwn) {
  EXPECT_NE(Open(O_RDONLY).handle, Open(O_RDONLY).handle);
}

TEST_F(FrontendLocksTest, WithoutLocksTheKernelNeedNotTellOfClosing) {
  SessionOptions options;
  options.locks = false;
  Connect(options);
  EXPECT_EQ(kernel_.Ask(FUSE_FLUSH, kNode, FakeKernel::Bytes(fuse_flush_in{})).Errno(), ENOSYS);
}

TEST_F(FrontendLocksTest, FlushDropsRecordLocksAndReleaseAllOfTheHandle) {
  const std::uint64_t a = Open(O_RDWR).handle;
  const std::uint64_t b = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  EXPECT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(b, 2, F_WRLCK)).Errno(), EAGAIN);
  fuse_flush_in flush{};
  flush.fh = a;
  flush.lock_owner = 1;
  ASSERT_EQ(kernel_.Ask(FUSE_FLUSH, kNode, FakeKernel::Bytes(flush)).Errno(), 0);
  EXPECT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(b, 2, F_WRLCK)).Errno(), 0);
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Flock(b, 3, F_WRLCK)).Errno(), 0);
  fuse_release_in release{};
  release.fh = b;
  ASSERT_EQ(kernel_.Ask(FUSE_RELEASE, kNode, FakeKernel::Bytes(release)).Errno(), 0);
  EXPECT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  EXPECT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Flock(a, 4, F_WRLCK)).Errno(), 0);
}

TEST_F(FrontendLocksTest, GetLockNamesTheBlocker) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 1, F_WRLCK, 5, 9)).Errno(), 0);
  const auto found =
      kernel_.Ask(FUSE_GETLK, kNode, Lock(a, 2, F_RDLCK, 0, FileLock::kToEnd)).As<fuse_lk_out>();
  EXPECT_EQ(found.lk.type, static_cast<std::uint32_t>(F_WRLCK));
  EXPECT_EQ(found.lk.start, 5U);
  EXPECT_EQ(found.lk.end, 9U);
  EXPECT_EQ(found.lk.pid, 70U);
  const auto own = kernel_.Ask(FUSE_GETLK, kNode, Lock(a, 1, F_WRLCK)).As<fuse_lk_out>();
  EXPECT_EQ(own.lk.type, static_cast<std::uint32_t>(F_UNLCK));
}

TEST_F(FrontendLocksTest, WaitersAreAnsweredByWhoMakesWay) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLKW, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  kernel_.replies.clear();
  kernel_.Tell(FUSE_SETLKW, kNode, Lock(a, 2, F_WRLCK));
  const std::uint64_t waiting = kernel_.last_unique();
  EXPECT_TRUE(kernel_.replies.empty());
  kernel_.Tell(FUSE_SETLK, kNode, Lock(a, 1, F_UNLCK));
  ASSERT_EQ(kernel_.replies.size(), 2U);
  for (const Reply& reply : kernel_.replies) EXPECT_EQ(reply.Errno(), 0);
  EXPECT_THAT((std::vector{kernel_.replies[0].header.unique, kernel_.replies[1].header.unique}),
              ::testing::Contains(waiting));
}

TEST_F(FrontendLocksTest, InterruptsEndAWait) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLKW, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  kernel_.replies.clear();
  kernel_.Tell(FUSE_SETLKW, kNode, Lock(a, 2, F_WRLCK));
  Interrupt(kernel_.last_unique());
  ASSERT_EQ(kernel_.replies.size(), 1U);
  EXPECT_EQ(kernel_.replies[0].Errno(), EINTR);
  // Nobody waits any more.
  EXPECT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 1, F_UNLCK)).Errno(), 0);
}

TEST_F(FrontendLocksTest, AnInterruptMayComeFirst) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLKW, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  kernel_.replies.clear();
  Interrupt(kernel_.last_unique() + 2);  // itself is one
  kernel_.Tell(FUSE_SETLKW, kNode, Lock(a, 2, F_WRLCK));
  ASSERT_EQ(kernel_.replies.size(), 1U);
  EXPECT_EQ(kernel_.replies[0].Errno(), EINTR);
}

TEST_F(FrontendLocksTest, DeadlocksAreRefused) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 1, F_WRLCK, 0, 0)).Errno(), 0);
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Lock(a, 2, F_WRLCK, 1, 1)).Errno(), 0);
  kernel_.Tell(FUSE_SETLKW, kNode, Lock(a, 1, F_WRLCK, 1, 1));
  EXPECT_EQ(kernel_.Ask(FUSE_SETLKW, kNode, Lock(a, 2, F_WRLCK, 0, 0)).Errno(), EDEADLK);
}

// RELEASE comes in the background: it may be on its way when somebody else tries.
TEST_F(FrontendLocksTest, ARefusalWaitsForWhatMayBeOnItsWay) {
  const std::uint64_t a = Open(O_RDONLY).handle;
  const std::uint64_t b = Open(O_RDONLY).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLK, kNode, Flock(a, 1, F_WRLCK)).Errno(), 0);
  kernel_.replies.clear();
  kernel_.Tell(FUSE_SETLK, kNode, Flock(b, 2, F_WRLCK));
  session_.reset();  // joins the thread that refuses it, if that has not happened yet
  ASSERT_EQ(kernel_.replies.size(), 1U);
  EXPECT_THAT(kernel_.replies[0].Errno(), ::testing::AnyOf(EAGAIN, ENODEV));
}

TEST_F(FrontendLocksTest, TheEndOfTheSessionLeavesNoRequestBehind) {
  const std::uint64_t a = Open(O_RDWR).handle;
  ASSERT_EQ(kernel_.Ask(FUSE_SETLKW, kNode, Lock(a, 1, F_WRLCK)).Errno(), 0);
  kernel_.replies.clear();
  kernel_.Tell(FUSE_SETLKW, kNode, Lock(a, 2, F_WRLCK));
  session_.reset();
  ASSERT_EQ(kernel_.replies.size(), 1U);
  EXPECT_EQ(kernel_.replies[0].Errno(), ENODEV);
}

}  // namespace
}  // namespace strata::fusefs
