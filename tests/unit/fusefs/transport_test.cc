// The parts of the transport that work without a mount.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "base/mutex.h"
#include "fusefs/transport/device_transport.h"
#include "fusefs/transport/init_reply.h"
#include "fusefs/transport/reader_gate.h"
#include "fusefs/transport/spin.h"
#include "fusefs/transport/wire.h"
#include "tests/support/must.h"

namespace strata::fusefs {
namespace {

using namespace std::chrono_literals;

// --- INIT ---------------------------------------------------------------------------------------

constexpr std::uint64_t kOffered = wire::kInitExtended | wire::kInitPassthrough |
                                   wire::kInitHandleKillPrivV2 | wire::kInitParallelDirOps |
                                   wire::kInitSetxattrExtended | wire::kInitOverUring;
constexpr InitWishes kEverything = {.passthrough = true, .over_uring = true};

std::array<std::byte, wire::kInitOutSize> EmptyReply() { return {}; }

std::uint64_t FlagsOf(std::span<const std::byte> reply) {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  std::memcpy(&low, reply.data() + wire::kInitOutFlagsOffset, sizeof low);
  std::memcpy(&high, reply.data() + wire::kInitOutFlags2Offset, sizeof high);
  return low | std::uint64_t{high} << 32;
}

std::uint32_t StackDepthOf(std::span<const std::byte> reply) {
  std::uint32_t depth = 0;
  std::memcpy(&depth, reply.data() + wire::kInitOutMaxStackDepthOffset, sizeof depth);
  return depth;
}

TEST(InitReplyTest, AddsWhatTheKernelOffers) {
  auto reply = EmptyReply();
  const auto outcome = CompleteInitReply({.unique = 1, .flags = kOffered}, kEverything, reply);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->passthrough);
  EXPECT_TRUE(outcome->over_uring);
  EXPECT_TRUE(outcome->kill_privileges);
  EXPECT_TRUE(outcome->setxattr_extended);
  EXPECT_EQ(FlagsOf(reply), kOffered);
  EXPECT_EQ(StackDepthOf(reply), 1U);
}

TEST(InitReplyTest, AddsNothingTheKernelDidNotOffer) {
  auto reply = EmptyReply();
  const auto outcome = CompleteInitReply({.unique = 1, .flags = 0}, kEverything, reply);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->passthrough);
  EXPECT_FALSE(outcome->over_uring);
  EXPECT_FALSE(outcome->kill_privileges);
  EXPECT_FALSE(outcome->setxattr_extended);
  EXPECT_EQ(FlagsOf(reply), 0U);
}

TEST(InitReplyTest, NoPassthroughUnlessWanted) {
  auto reply = EmptyReply();
  const auto outcome = CompleteInitReply({.unique = 1, .flags = kOffered}, {}, reply);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->passthrough);
  EXPECT_EQ(FlagsOf(reply) & wire::kInitPassthrough, 0U);
  EXPECT_EQ(StackDepthOf(reply), 0U);
}

TEST(InitReplyTest, NoUringUnlessWanted) {
  auto reply = EmptyReply();
  const auto outcome =
      CompleteInitReply({.unique = 1, .flags = kOffered}, {.passthrough = true}, reply);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->over_uring);
  EXPECT_EQ(FlagsOf(reply) & wire::kInitOverUring, 0U);
}

TEST(InitReplyTest, NoPassthroughWithTheWritebackCache) {
  auto reply = EmptyReply();
  const auto flags = static_cast<std::uint32_t>(wire::kInitWritebackCache);
  std::memcpy(reply.data() + wire::kInitOutFlagsOffset, &flags, sizeof flags);
  const auto outcome =
      CompleteInitReply({.unique = 1, .flags = kOffered}, {.passthrough = true}, reply);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->passthrough);
}

TEST(InitReplyTest, ShortReplyIsAnError) {
  std::array<std::byte, 24> reply{};
  const auto outcome =
      CompleteInitReply({.unique = 1, .flags = kOffered}, {.passthrough = true}, reply);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().code(), EPROTO);
}

TEST(InitReplyTest, ParsesBothHalvesOfTheFlags) {
  struct {
    fuse_in_header header{};
    fuse_init_in body{};
  } request;
  request.header.opcode = FUSE_INIT;
  request.header.unique = 17;
  request.body.flags = static_cast<std::uint32_t>(wire::kInitExtended);
  request.body.flags2 = static_cast<std::uint32_t>(wire::kInitPassthrough >> 32);
  const auto bytes = std::as_bytes(std::span(&request, 1));
  const auto offer = ParseInitRequest(bytes);
  ASSERT_TRUE(offer.has_value());
  EXPECT_EQ(offer->unique, 17U);
  EXPECT_EQ(offer->flags, wire::kInitExtended | wire::kInitPassthrough);

  EXPECT_FALSE(ParseInitRequest(bytes.first(20)).has_value());
  request.header.opcode = FUSE_LOOKUP;
  EXPECT_FALSE(ParseInitRequest(bytes).has_value());
}

// --- spinning -----------------------------------------------------------------------------------

TEST(AdaptiveSpinTest, StartsAsleepLearnsAndUnlearns) {
  AdaptiveSpin spin(50us);
  EXPECT_EQ(spin.Budget(), 0ns);
  spin.Arrived(10us);
  EXPECT_EQ(spin.Budget(), 50us);
  for (int i = 0; i < 10; ++i) spin.Arrived(10us);
  for (int i = 0; i < 4; ++i) spin.Arrived(10ms);
  EXPECT_EQ(spin.Budget(), 0ns);
}

TEST(AdaptiveSpinTest, LeavesAContendedProcessorAlone) {
  AdaptiveSpin spin(50us);
  spin.Arrived(10us);
  spin.Arrived(60us);  // as soon as we slept
  EXPECT_EQ(spin.Budget(), 50us) << "once may be any timer";
  spin.Arrived(60us);
  EXPECT_EQ(spin.Budget(), 0ns);
  for (int i = 0; i < 10; ++i) spin.Arrived(10us);
  EXPECT_EQ(spin.Budget(), 0ns);
  for (int i = 0; i < 100; ++i) spin.Arrived(10us);
  EXPECT_EQ(spin.Budget(), 50us);
}

TEST(AdaptiveSpinTest, ForgetsInterruptionsThatAreFarApart) {
  AdaptiveSpin spin(50us);
  spin.Arrived(10us);
  for (int i = 0; i < 5; ++i) {
    spin.Interrupted();
    for (int j = 0; j < 70; ++j) spin.Arrived(10us);
    EXPECT_EQ(spin.Budget(), 50us);
  }
}

TEST(AdaptiveSpinTest, ZeroBudgetNeverSpins) {
  AdaptiveSpin spin(0us);
  for (int i = 0; i < 10; ++i) spin.Arrived(0ns);
  EXPECT_EQ(spin.Budget(), 0ns);
}

// --- the request loop, over a socket that keeps message boundaries as /dev/fuse does -------------

class Sink final : public RequestSink {
 public:
  void Process(std::span<std::byte> request,
               std::span<std::byte> /*reply_space*/) noexcept override {
    const auto kind = static_cast<char>(request[0]);
    if (kind == 'b') {
      MutexLock lock(mutex_);
      ++blocked_;
      changed_.NotifyAll();
      changed_.Wait(mutex_, [this] { return released_; });
    }
    MutexLock lock(mutex_);
    ++served_;
    changed_.NotifyAll();
  }
  bool WaitServed(int count) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(mutex_, 5s, [&] { return served_ >= count; });
  }
  bool WaitBlocked(int count) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(mutex_, 5s, [&] { return blocked_ >= count; });
  }
  void Unblock() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int served_ = 0;
  int blocked_ = 0;
  bool released_ = false;
};

class DeviceTransportTest : public ::testing::TestWithParam<std::chrono::microseconds> {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_.reset(ends[0]);
    auto transport = DeviceTransport::Create(UniqueFd(ends[1]), {.threads = 4, .spin = GetParam()});
    ASSERT_TRUE(transport.has_value());
    transport_ = std::move(*transport);
    ASSERT_TRUE(transport_->Start(sink_).has_value());
  }
  void Request(char kind) { ASSERT_EQ(::write(kernel_.get(), &kind, 1), 1); }

  UniqueFd kernel_;
  Sink sink_;
  std::unique_ptr<DeviceTransport> transport_;
};

TEST_P(DeviceTransportTest, ServesOneAfterTheOther) {
  for (int i = 1; i <= 200; ++i) {
    Request('q');
    ASSERT_TRUE(sink_.WaitServed(i));
  }
}

TEST_P(DeviceTransportTest, ServesABurst) {
  for (int i = 0; i < 100; ++i) Request('q');
  EXPECT_TRUE(sink_.WaitServed(100));
}

TEST_P(DeviceTransportTest, BlockedRequestsLeaveTheOthersServed) {
  for (int i = 1; i <= 3; ++i) {
    Request('b');
    ASSERT_TRUE(sink_.WaitBlocked(i));
  }
  for (int i = 1; i <= 50; ++i) {
    Request('q');
    ASSERT_TRUE(sink_.WaitServed(i));
  }
  sink_.Unblock();
  EXPECT_TRUE(sink_.WaitServed(53));
}

// As many as are busy, and one that watches them.
TEST_P(DeviceTransportTest, ThreadsComeAsTheyAreNeeded) {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  };
  transport_->Stop();
  const auto before = threads();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  kernel_.reset(ends[0]);
  transport_ = support::Must(
      DeviceTransport::Create(UniqueFd(ends[1]), {.threads = 200, .spin = GetParam()}));
  ASSERT_TRUE(transport_->Start(sink_).has_value());
  for (int i = 1; i <= 50; ++i) {
    Request('q');
    ASSERT_TRUE(sink_.WaitServed(i));
  }
  EXPECT_LE(threads() - before, 10);
  for (int i = 1; i <= 60; ++i) {
    Request('b');
    ASSERT_TRUE(sink_.WaitBlocked(i));
  }
  EXPECT_GE(threads() - before, 60);
  EXPECT_LE(threads() - before, 80);
  sink_.Unblock();
  EXPECT_TRUE(sink_.WaitServed(110));
  transport_->Stop();
  EXPECT_EQ(threads(), before);
}

TEST_P(DeviceTransportTest, EndsWithTheConnection) {
  Request('q');
  ASSERT_TRUE(sink_.WaitServed(1));
  kernel_.reset();
  pollfd wait{transport_->ended(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 5000), 1);
  transport_->Stop();
}

TEST_P(DeviceTransportTest, StopsWhileIdle) {
  transport_->Stop();
  transport_->Stop();
}

INSTANTIATE_TEST_SUITE_P(Spin, DeviceTransportTest, ::testing::Values(0us, 100us),
                         [](const auto& parameter) {
                           return std::to_string(parameter.param.count()) + "us";
                         });

}  // namespace
}  // namespace strata::fusefs
