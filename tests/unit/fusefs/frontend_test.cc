// The adapter between the kernel's protocol and the engine, driven by a fake of each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mman.h>

#include "fusefs/frontend/conversions.h"
#include "fusefs/frontend/session.h"
#include "tests/unit/fusefs/fake_engine.h"
#include "tests/unit/fusefs/fake_kernel.h"

namespace strata::fusefs {
namespace {

using testing::FakeEngine;
using testing::FakeKernel;
using testing::Reply;

constexpr std::uint64_t kAllCapabilities = ~(std::uint64_t{1} << 31);

std::uint64_t EngineHandle(std::uint64_t handle) {
  return handle & ((std::uint64_t{1} << kHandleBits) - 1);
}

class FrontendTest : public ::testing::Test {
 protected:
  void SetUp() override { Connect({}); }

  void Connect(SessionOptions options) {
    auto session = Session::Create(engine_, kernel_, std::move(options));
    ASSERT_TRUE(session.has_value()) << session.error().ToString();
    session_ = std::move(*session);
    ASSERT_TRUE(kernel_.Start(*session_).has_value());
    init_ = kernel_.Init(kAllCapabilities);
    ASSERT_EQ(init_.Errno(), 0);
  }

  FakeEngine engine_;
  FakeKernel kernel_;
  std::unique_ptr<Session> session_;
  Reply init_;
};

TEST_F(FrontendTest, HandshakeNegotiatesWhatTheEngineCountsOn) {
  const auto out = init_.As<fuse_init_out>();
  for (const std::uint32_t flag :
       {FUSE_PARALLEL_DIROPS, FUSE_CACHE_SYMLINKS, FUSE_DO_READDIRPLUS, FUSE_ATOMIC_O_TRUNC,
        FUSE_DONT_MASK, FUSE_POSIX_ACL, FUSE_HANDLE_KILLPRIV_V2, FUSE_MAX_PAGES, FUSE_FLOCK_LOCKS,
        FUSE_POSIX_LOCKS}) {
    EXPECT_TRUE((out.flags & flag) != 0) << std::hex << flag;
  }
  for (const std::uint32_t flag :
       {FUSE_READDIRPLUS_AUTO, FUSE_EXPORT_SUPPORT, FUSE_AUTO_INVAL_DATA, FUSE_WRITEBACK_CACHE}) {
    EXPECT_TRUE((out.flags & flag) == 0) << std::hex << flag;
  }
  EXPECT_EQ(out.max_write, 1024U * 1024U);
  EXPECT_TRUE(engine_.connected);
  EXPECT_NE(engine_.cache, nullptr);
}

TEST_F(FrontendTest, WritebackRulesOutPassthrough) {
  FakeEngine engine;
  FakeKernel kernel;
  SessionOptions options;
  options.passthrough = false;
  options.writeback = true;
  auto session = Session::Create(engine, kernel, options);
  ASSERT_TRUE(session.has_value());
  ASSERT_TRUE(kernel.Start(**session).has_value());
  const auto out = kernel.Init(kAllCapabilities).As<fuse_init_out>();
  EXPECT_NE(out.flags & FUSE_WRITEBACK_CACHE, 0U);
  EXPECT_EQ(engine.backing, nullptr);
}

TEST_F(FrontendTest, LookupGivesTheNodeForEver) {
  engine_.entries["a"] = {.node = NodeId{5}, .generation = 2, .attr = FakeEngine::StatOf(S_IFREG)};
  const Reply reply = kernel_.Ask(FUSE_LOOKUP, 1, FakeKernel::Names({"a"}));
  ASSERT_EQ(reply.Errno(), 0);
  const auto out = reply.As<fuse_entry_out>();
  EXPECT_EQ(out.nodeid, 5U);
  EXPECT_EQ(out.generation, 2U);
  EXPECT_EQ(out.attr.ino, 42U);
  EXPECT_EQ(out.entry_valid, static_cast<std::uint64_t>(kForever));
  EXPECT_EQ(out.attr_valid, static_cast<std::uint64_t>(kForever));
}

TEST_F(FrontendTest, AbsentNameIsRememberedByTheKernel) {
  const Reply reply = kernel_.Ask(FUSE_LOOKUP, 1, FakeKernel::Names({"none"}));
  ASSERT_EQ(reply.Errno(), 0);
  EXPECT_EQ(reply.As<fuse_entry_out>().nodeid, 0U);
  EXPECT_EQ(reply.As<fuse_entry_out>().entry_valid, static_cast<std::uint64_t>(kForever));
}

TEST_F(FrontendTest, ErrorsKeepTheirErrno) {
  engine_.error = ENOSPC;
  EXPECT_EQ(kernel_.Ask(FUSE_LOOKUP, 1, FakeKernel::Names({"a"})).Errno(), ENOSPC);
  EXPECT_EQ(kernel_.Ask(FUSE_UNLINK, 1, FakeKernel::Names({"a"})).Errno(), ENOSPC);
  EXPECT_EQ(kernel_.Ask(FUSE_READLINK, 1, {}).Errno(), ENOSPC);
  EXPECT_EQ(kernel_.Ask(FUSE_STATFS, 1, {}).Errno(), ENOSPC);
}

TEST_F(FrontendTest, ThrownExceptionsBecomeEio) {
  engine_.throws = true;
  EXPECT_EQ(kernel_.Ask(FUSE_LOOKUP, 1, FakeKernel::Names({"a"})).Errno(), EIO);
}

TEST(ReplyErrnoTest, MapsWhatTheKernelWouldMisunderstand) {
  EXPECT_EQ(ReplyErrno(Error(EXDEV)), EXDEV);
  EXPECT_EQ(ReplyErrno(Error(ENOSYS)), EOPNOTSUPP);
  EXPECT_EQ(ReplyErrno(Error(0)), EIO);
  EXPECT_EQ(ReplyErrno(Error(-1)), EIO);
  EXPECT_EQ(ReplyErrno(Error(5000)), EIO);
}

TEST_F(FrontendTest, InterruptedLookupIsTakenBack) {
  engine_.entries["a"] = {.node = NodeId{5}};
  kernel_.refuse_with = ENOENT;
  kernel_.Tell(FUSE_LOOKUP, 1, FakeKernel::Names({"a"}));
  EXPECT_EQ(engine_.forgotten[5], 1U);
}

TEST_F(FrontendTest, InterruptedCreateIsTakenBack) {
  engine_.open_reply.handle = 11;
  fuse_create_in in{};
  in.mode = S_IFREG | 0640;
  kernel_.refuse_with = ENOENT;
  kernel_.Tell(FUSE_CREATE, 1, FakeKernel::Join(FakeKernel::Bytes(in), FakeKernel::Names({"a"})));
  EXPECT_EQ(engine_.forgotten[9], 1U);
  EXPECT_THAT(engine_.released, ::testing::ElementsAre(11U));
}

TEST_F(FrontendTest, CreateHandsOverEntryAndHandle) {
  engine_.open_reply = {.handle = 11, .mode = IoMode::kPassthrough, .backing_id = 4};
  fuse_create_in in{};
  in.flags = O_WRONLY;
  in.mode = S_IFREG | 0640;
  in.umask = 022;
  const Reply reply = kernel_.Ask(
      FUSE_CREATE, 1, FakeKernel::Join(FakeKernel::Bytes(in), FakeKernel::Names({"a"})));
  ASSERT_EQ(reply.Errno(), 0);
  const auto out = reply.As<CreateBody>();
  EXPECT_EQ(out.entry.nodeid, 9U);
  EXPECT_EQ(out.entry.attr.mode, static_cast<std::uint32_t>(S_IFREG | 0640));
  EXPECT_EQ(EngineHandle(out.open.handle), 11U);
  EXPECT_EQ(out.open.flags, wire::kOpenPassthrough);
  EXPECT_EQ(out.open.backing_id, 4);
  EXPECT_EQ(engine_.last_caller.uid, 1000U);
  EXPECT_EQ(engine_.last_caller.gid, 1001U);
  EXPECT_EQ(engine_.last_caller.pid, 77);
  EXPECT_EQ(engine_.last_caller.umask, 022U);
}

TEST_F(FrontendTest, TmpfileMakesAnUnnamedFileAndIsAnsweredLikeCreate) {
  engine_.open_reply.handle = 12;
  fuse_create_in in{};
  in.flags = O_TMPFILE | O_RDWR;
  in.mode = S_IFREG | 0600;
  const auto body = FakeKernel::Join(FakeKernel::Bytes(in), FakeKernel::Names({"/"}));
  const Reply reply = kernel_.Ask(wire::kTmpfile, 1, body);
  ASSERT_EQ(reply.Errno(), 0);
  EXPECT_TRUE(engine_.created_unnamed);
  const auto out = reply.As<CreateBody>();
  EXPECT_EQ(out.entry.nodeid, 9U);
  EXPECT_EQ(EngineHandle(out.open.handle), 12U);
  engine_.created_unnamed = false;
  ASSERT_EQ(kernel_.Ask(FUSE_CREATE, 1, body).Errno(), 0);
  EXPECT_FALSE(engine_.created_unnamed);
}

TEST_F(FrontendTest, OpenNeverKeepsTheCacheUnderPassthrough) {
  const fuse_open_in in{};
  engine_.open_reply = {.handle = 8, .mode = IoMode::kCached, .keep_cache = true};
  auto out = kernel_.Ask(FUSE_OPEN, 5, FakeKernel::Bytes(in)).As<wire::OpenOut>();
  EXPECT_EQ(out.flags, wire::kOpenKeepCache | wire::kOpenNoFlush);
  engine_.open_reply.keep_cache = false;
  out = kernel_.Ask(FUSE_OPEN, 5, FakeKernel::Bytes(in)).As<wire::OpenOut>();
  EXPECT_EQ(out.flags, wire::kOpenNoFlush);
  engine_.open_reply = {
      .handle = 8, .mode = IoMode::kPassthrough, .backing_id = 3, .keep_cache = true};
  out = kernel_.Ask(FUSE_OPEN, 5, FakeKernel::Bytes(in)).As<wire::OpenOut>();
  EXPECT_EQ(out.flags, wire::kOpenPassthrough | wire::kOpenNoFlush);
  EXPECT_EQ(out.backing_id, 3);
}

TEST_F(FrontendTest, TruncatingOpenKillsPrivilegesWhenAsked) {
  fuse_open_in in{};
  in.flags = O_WRONLY | O_TRUNC;
  in.open_flags = wire::kOpenKillSuidGid;
  ASSERT_EQ(kernel_.Ask(FUSE_OPEN, 5, FakeKernel::Bytes(in)).Errno(), 0);
  EXPECT_TRUE(engine_.last_change.kill_suid_sgid);
}

TEST_F(FrontendTest, StaleOpenIsToldToTheKernel) {
  engine_.error = ESTALE;
  EXPECT_EQ(kernel_.Ask(FUSE_OPEN, 5, FakeKernel::Bytes(fuse_open_in{})).Errno(), ESTALE);
}

TEST_F(FrontendTest, AttributesOfRetiredNodesAreNotCached) {
  engine_.attributes_stable = false;
  const Reply reply = kernel_.Ask(FUSE_GETATTR, 5, FakeKernel::Bytes(fuse_getattr_in{}));
  EXPECT_EQ(reply.As<fuse_attr_out>().attr_valid, 0U);
  engine_.attributes_stable = true;
  const Reply stable = kernel_.Ask(FUSE_GETATTR, 5, FakeKernel::Bytes(fuse_getattr_in{}));
  EXPECT_EQ(stable.As<fuse_attr_out>().attr_valid, static_cast<std::uint64_t>(kForever));
}

TEST_F(FrontendTest, SetAttrTranslatesTheMask) {
  fuse_setattr_in in{};
  in.valid = FATTR_MODE | FATTR_SIZE | FATTR_MTIME | FATTR_MTIME_NOW | FATTR_KILL_SUIDGID;
  in.mode = S_IFREG | 04755;
  in.size = 12;
  ASSERT_EQ(kernel_.Ask(FUSE_SETATTR, 5, FakeKernel::Bytes(in)).Errno(), 0);
  const AttrChange& change = engine_.last_change;
  EXPECT_EQ(change.mode, 04755U);
  EXPECT_EQ(change.size, 12);
  ASSERT_TRUE(change.mtime.has_value());
  EXPECT_EQ(change.mtime->tv_nsec, UTIME_NOW);
  EXPECT_FALSE(change.uid.has_value());
  EXPECT_FALSE(change.atime.has_value());
  EXPECT_TRUE(change.kill_suid_sgid);
}

TEST_F(FrontendTest, WriteReachesTheFileAndPassesTheKillFlag) {
  const UniqueFd file(::memfd_create("frontend_test", MFD_CLOEXEC));
  engine_.fd = file.get();
  fuse_write_in in{};
  in.offset = 2;
  in.size = 3;
  in.write_flags = wire::kWriteKillSuidGid;
  auto body = FakeKernel::Bytes(in);
  for (const char c : std::string("xyz")) body.push_back(static_cast<std::byte>(c));
  const Reply reply = kernel_.Ask(FUSE_WRITE, 5, body);
  ASSERT_EQ(reply.Errno(), 0);
  EXPECT_EQ(reply.As<fuse_write_out>().size, 3U);
  EXPECT_TRUE(engine_.last_kill);
  char content[5] = {};
  ASSERT_EQ(::pread(file.get(), content, sizeof content, 0), 5);
  EXPECT_EQ(std::string(content + 2, 3), "xyz");
}

TEST_F(FrontendTest, ReadEndsAtTheEndOfTheFile) {
  const UniqueFd file(::memfd_create("frontend_test", MFD_CLOEXEC));
  ASSERT_EQ(::pwrite(file.get(), "hello", 5, 0), 5);
  engine_.fd = file.get();
  fuse_read_in in{};
  in.offset = 1;
  in.size = 4096;
  EXPECT_EQ(kernel_.Ask(FUSE_READ, 5, FakeKernel::Bytes(in)).Text(), "ello");
  in.offset = 100;
  EXPECT_EQ(kernel_.Ask(FUSE_READ, 5, FakeKernel::Bytes(in)).Text(), "");
}

TEST_F(FrontendTest, ListingStopsWhereThePageEndsAndLeaksNoLookup) {
  for (int i = 0; i < 100; ++i) engine_.listing.push_back("name" + std::to_string(i));
  fuse_read_in in{};
  in.size = 1024;
  const Reply reply = kernel_.Ask(FUSE_READDIRPLUS, 1, FakeKernel::Bytes(in));
  ASSERT_EQ(reply.Errno(), 0);
  EXPECT_GT(reply.body.size(), 800U);
  EXPECT_LE(reply.body.size(), 1024U);
  EXPECT_TRUE(engine_.forgotten.empty());

  kernel_.refuse_with = ENOENT;
  kernel_.Tell(FUSE_READDIRPLUS, 1, FakeKernel::Bytes(in));
  const std::size_t given = reply.body.size() / FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 5);
  EXPECT_EQ(engine_.forgotten.size(), given);
}

TEST_F(FrontendTest, ExtendedAttributesAreSizedAndBounded) {
  engine_.xattr_value = "value";
  fuse_getxattr_in in{};
  const auto ask = [&](std::uint32_t size) {
    in.size = size;
    return kernel_.Ask(FUSE_GETXATTR, 5,
                       FakeKernel::Join(FakeKernel::Bytes(in), FakeKernel::Names({"user.x"})));
  };
  EXPECT_EQ(ask(0).As<fuse_getxattr_out>().size, 5U);
  EXPECT_EQ(ask(4).Errno(), ERANGE);
  EXPECT_EQ(ask(5).Text(), "value");
  in.size = 64;
  EXPECT_EQ(kernel_.Ask(FUSE_LISTXATTR, 5, FakeKernel::Bytes(in)).Text(),
            std::string("user.a\0user.bc\0", 15));
}

TEST_F(FrontendTest, WhatTheKernelNeedNotAskIsNotImplemented) {
  EXPECT_EQ(kernel_.Ask(FUSE_OPENDIR, 1, FakeKernel::Bytes(fuse_open_in{})).Errno(), ENOSYS);
  EXPECT_EQ(kernel_.Ask(FUSE_FLUSH, 5, FakeKernel::Bytes(fuse_flush_in{})).Errno(), 0);
  EXPECT_EQ(kernel_.Ask(FUSE_ACCESS, 5, FakeKernel::Bytes(fuse_access_in{})).Errno(), ENOSYS);
  EXPECT_EQ(kernel_.Ask(FUSE_IOCTL, 5, FakeKernel::Bytes(fuse_ioctl_in{})).Errno(), ENOTTY);
}

TEST_F(FrontendTest, StatxTellsTheBirthTimeIfThereIsOne) {
  wire::StatxIn in{};
  Reply reply = kernel_.Ask(wire::kStatx, 5, FakeKernel::Bytes(in));
  ASSERT_EQ(reply.Errno(), 0);
  ASSERT_EQ(reply.body.size(), sizeof(wire::StatxOut));
  EXPECT_EQ(reply.As<wire::StatxOut>().mask, static_cast<std::uint32_t>(STATX_BASIC_STATS));
  EXPECT_EQ(reply.As<wire::StatxOut>().ino, 42U);
  EXPECT_EQ(reply.As<wire::StatxOut>().mode, S_IFREG | 0644);
  engine_.birth_time = timespec{.tv_sec = 12, .tv_nsec = 34};
  reply = kernel_.Ask(wire::kStatx, 5, FakeKernel::Bytes(in));
  EXPECT_NE(reply.As<wire::StatxOut>().mask & STATX_BTIME, 0U);
  EXPECT_EQ(reply.As<wire::StatxOut>().btime.seconds, 12);
  EXPECT_EQ(reply.As<wire::StatxOut>().btime.nanoseconds, 34U);
  engine_.error = EIO;
  reply = kernel_.Ask(wire::kStatx, 5, FakeKernel::Bytes(in));
  EXPECT_EQ(reply.Errno(), EIO);
  EXPECT_TRUE(reply.body.empty());
}

TEST_F(FrontendTest, InodeFlagsGoInAndOut) {
  fuse_ioctl_in in{};
  in.cmd = FS_IOC_GETFLAGS;
  in.out_size = sizeof(unsigned);
  const Reply reply = kernel_.Ask(FUSE_IOCTL, 5, FakeKernel::Bytes(in));
  ASSERT_EQ(reply.Errno(), 0);
  struct Out {
    fuse_ioctl_out out;
    unsigned flags;
  };
  EXPECT_EQ(reply.As<Out>().out.result, 0);
  EXPECT_EQ(reply.As<Out>().flags, 0x10U);
  in.out_size = 4096;
  EXPECT_EQ(kernel_.Ask(FUSE_IOCTL, 5, FakeKernel::Bytes(in)).Errno(), ENOTTY);
}

TEST_F(FrontendTest, RenameFlagsArrive) {
  fuse_rename2_in in{};
  in.newdir = 1;
  in.flags = 2;
  ASSERT_EQ(kernel_
                .Ask(FUSE_RENAME2, 1,
                     FakeKernel::Join(FakeKernel::Bytes(in), FakeKernel::Names({"a", "b"})))
                .Errno(),
            0);
  EXPECT_EQ(engine_.last_rename_flags, 2U);
}

TEST_F(FrontendTest, ForgetsGetNoReply) {
  fuse_forget_in in{};
  in.nlookup = 3;
  kernel_.replies.clear();
  kernel_.Tell(FUSE_FORGET, 5, FakeKernel::Bytes(in));
  EXPECT_TRUE(kernel_.replies.empty());
  EXPECT_EQ(engine_.forgotten[5], 3U);
}

TEST_F(FrontendTest, FailedHandshakeIsReported) {
  FakeEngine engine;
  FakeKernel kernel;
  int failure = 0;
  auto session = Session::Create(engine, kernel, {.on_ready = [&](const Error* error) {
                                   failure = error == nullptr ? -1 : error->code();
                                 }});
  ASSERT_TRUE(session.has_value());
  ASSERT_TRUE(kernel.Start(**session).has_value());
  fuse_init_in in{};
  in.major = 6;
  kernel.Ask(FUSE_INIT, 0, FakeKernel::Bytes(in));
  EXPECT_EQ(failure, EPROTO);
  EXPECT_FALSE(engine.connected);
}

}  // namespace
}  // namespace strata::fusefs
