// Framed output, detach keys, and a whole attached session over a socket.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <thread>

#include "base/file_ops.h"
#include "manager/cli/session.h"
#include "manager/cli/stdcopy.h"

namespace strata::manager::cli {
namespace {

using testing::HasSubstr;

std::string Frame(int stream, std::string_view payload) {
  std::string frame{static_cast<char>(stream), 0, 0, 0, 0, 0, 0, 0};
  frame[6] = static_cast<char>(payload.size() >> 8U);
  frame[7] = static_cast<char>(payload.size() & 0xFFU);
  return frame + std::string(payload);
}

class Demuxed {
 public:
  Demuxed()
      : demuxer([this](StreamDemuxer::Stream stream, std::string_view data) -> Result<> {
          (stream == StreamDemuxer::Stream::kStdout ? out : err) += data;
          return {};
        }) {}
  std::string out;
  std::string err;
  StreamDemuxer demuxer;
};

TEST(Stdcopy, PiecesOfAnySize) {
  const std::string stream =
      Frame(1, "hello ") + Frame(2, "oops") + Frame(1, "") + Frame(1, std::string(700, 'x'));
  for (std::size_t size = 1; size < stream.size(); size += 7) {
    Demuxed demuxed;
    for (std::size_t at = 0; at < stream.size(); at += size) {
      ASSERT_TRUE(demuxed.demuxer.Feed(std::string_view(stream).substr(at, size)));
    }
    EXPECT_EQ(demuxed.out, "hello " + std::string(700, 'x'));
    EXPECT_EQ(demuxed.err, "oops");
    EXPECT_TRUE(demuxed.demuxer.AtBoundary());
  }
}

TEST(Stdcopy, PayloadIsNotHeldBack) {
  Demuxed demuxed;
  ASSERT_TRUE(demuxed.demuxer.Feed(Frame(1, "hello").substr(0, 10)));
  EXPECT_EQ(demuxed.out, "he");
  EXPECT_FALSE(demuxed.demuxer.AtBoundary());
}

TEST(Stdcopy, TheDaemonsErrorAndGarbage) {
  Demuxed demuxed;
  const auto failed = demuxed.demuxer.Feed(Frame(3, "it broke"));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().detail(), "it broke");
  const auto garbage = Demuxed().demuxer.Feed("plain text, no frames");
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code(), EPROTO);
}

TEST(DetachKeys, Parsing) {
  EXPECT_EQ(ParseDetachKeys("ctrl-p,ctrl-q").value_or(""), "\x10\x11");
  EXPECT_EQ(ParseDetachKeys("a,ctrl-]").value_or(""), "a\x1d");
  EXPECT_FALSE(ParseDetachKeys("ctrl-"));
  EXPECT_FALSE(ParseDetachKeys("meta-x"));
}

TEST(DetachKeys, Watching) {
  const auto feed = [](std::string keys, const std::vector<std::string>& pieces) {
    DetachWatch watch(std::move(keys));
    std::string pass;
    for (const auto& piece : pieces) {
      if (watch.Feed(piece, pass)) return pass + "|detached";
    }
    return pass;
  };
  EXPECT_EQ(feed("\x10\x11", {"ls\x10", "\x11more"}), "ls|detached");
  EXPECT_EQ(feed("\x10\x11", {"\x10", "x"}), "\x10x");
  EXPECT_EQ(feed("\x10\x11", {"\x10\x10\x11"}), "\x10|detached");
  EXPECT_EQ(feed("aab", {"aaab"}), "a|detached");
  EXPECT_EQ(feed("", {"\x10\x11"}), "\x10\x11");
}

// Replaces a standard descriptor by one end of a pipe or socket for a test's time.
class Redirected {
 public:
  Redirected(int target, int source)
      : target_(target), saved_(::fcntl(target, F_DUPFD_CLOEXEC, 3)) {
    EXPECT_GE(::dup2(source, target), 0);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() { ::dup2(saved_.get(), target_); }

 private:
  int target_;
  UniqueFd saved_;
};

std::pair<UniqueFd, UniqueFd> Pipe() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::pair<UniqueFd, UniqueFd> Sockets() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

TEST(Session, InputEndsAsAHalfCloseAndOutputGoesOn) {
  auto [input, typed] = Pipe();
  auto [shown, output] = Pipe();
  auto [client, daemon] = Sockets();
  ASSERT_TRUE(WriteAll(FileOps::System(), typed.get(), "typed"));
  typed.reset();

  std::string received;
  std::jthread container([&received, fd = daemon.get()] {
    received = ReadAll(FileOps::System(), fd, 1000).value_or("");  // up to the half-close
    const std::string answer = Frame(1, "answer");
    EXPECT_TRUE(WriteAll(FileOps::System(), fd, answer));
    ::shutdown(fd, SHUT_RDWR);
  });
  Result<SessionEnd> end = SessionEnd{SessionEnd::Reason::kSignal, 0};
  {
    const Redirected stdin_redirected(0, input.get());
    const Redirected stdout_redirected(1, output.get());
    auto signals = BlockSessionSignals();
    ASSERT_TRUE(signals);
    SessionOptions options;
    options.framed = true;
    options.send_stdin = true;
    end = RunSession({std::move(client), Frame(1, "early ")}, *signals, options);
  }
  container.join();
  output.reset();
  ASSERT_TRUE(end) << end.error().ToString();
  EXPECT_EQ(end->reason, SessionEnd::Reason::kOutputEnded);
  EXPECT_EQ(received, "typed");
  EXPECT_EQ(ReadAll(FileOps::System(), shown.get(), 1000).value_or(""), "early answer");
}

TEST(Session, SignalsAreForwardedOrEndIt) {
  for (const bool forward : {true, false}) {
    auto [client, daemon] = Sockets();
    auto signals = BlockSessionSignals();
    ASSERT_TRUE(signals);
    std::vector<int> forwarded;
    SessionOptions options;
    if (forward) {
      options.forward_signal = [&, fd = daemon.get()](int signal) {
        forwarded.push_back(signal);
        ::shutdown(fd, SHUT_RDWR);  // the container dies of it
      };
    }
    ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
    const auto end = RunSession({std::move(client), ""}, *signals, options);
    ASSERT_TRUE(end);
    if (forward) {
      EXPECT_THAT(forwarded, testing::ElementsAre(SIGTERM));
      EXPECT_EQ(end->reason, SessionEnd::Reason::kOutputEnded);
    } else {
      EXPECT_EQ(end->reason, SessionEnd::Reason::kSignal);
      EXPECT_EQ(end->signal, SIGTERM);
    }
  }
}

TEST(Signals, Names) {
  EXPECT_EQ(SignalName(SIGTERM), "TERM");
  EXPECT_EQ(SignalName(SIGUSR1), "USR1");
}

}  // namespace
}  // namespace strata::manager::cli
