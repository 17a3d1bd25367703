#include "tests/support/lock_peer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "tests/support/must.h"

namespace strata::support {
namespace {

using Act = LockPeer::Act;
using Order = LockPeer::Order;

constexpr std::size_t kAnswer = 128;

void Nothing(int /*signal*/) {}

// What the process is and does; async-signal-safe calls only, but for snprintf.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) { slots_.fill(-1); }

  int Run() {
    Order order;
    while (::read(socket_, &order, sizeof order) == sizeof order) {
      char answer[kAnswer] = {};
      Obey(order, answer);
      if (::write(socket_, answer, sizeof answer) != sizeof answer) return 1;
      if (order.act == Act::kExit) return 0;
    }
    return 0;
  }

 private:
  static void Say(char* answer, bool good) {
    std::snprintf(answer, kAnswer, "%s", good ? "ok" : ::strerrorname_np(errno));
  }

  void Record(const Order& order, int command, char* answer) {
    struct flock lock = {};
    lock.l_type = static_cast<short>(order.type);
    lock.l_whence = SEEK_SET;
    lock.l_start = order.first;
    lock.l_len = order.length;
    const bool good = ::fcntl(At(order.slot), command, &lock) == 0;
    if (!good || (command != F_GETLK && command != F_OFD_GETLK)) return Say(answer, good);
    if (lock.l_type == F_UNLCK) {
      std::snprintf(answer, kAnswer, "free");
    } else {
      std::snprintf(answer, kAnswer, "%c %ld %ld %d", lock.l_type == F_RDLCK ? 'r' : 'w',
                    static_cast<long>(lock.l_start), static_cast<long>(lock.l_len), lock.l_pid);
    }
  }

  void Alarm(const Order& order, char* answer) {
    struct sigaction action = {};
    action.sa_handler = &Nothing;  // and no SA_RESTART
    itimerval timer = {};
    timer.it_value.tv_sec = order.first / 1000;
    timer.it_value.tv_usec = order.first % 1000 * 1000;
    Say(answer, ::sigaction(SIGALRM, &action, nullptr) == 0 &&
                    ::setitimer(ITIMER_REAL, &timer, nullptr) == 0);
  }

  void InChild(const Order& order, char* answer) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) return Say(answer, false);
    const pid_t child = ::fork();
    if (child == 0) {
      char found[kAnswer] = {};
      if (order.act == Act::kForkGet) {
        Record(order, F_GETLK, found);
      } else {
        Say(found, ::close(At(order.slot)) == 0);
      }
      ::_exit(::write(pipe[1], found, sizeof found) == sizeof found ? 0 : 1);
    }
    const bool good = child > 0 && ::read(pipe[0], answer, kAnswer) == kAnswer;
    if (!good) Say(answer, false);
    if (child > 0) ::waitpid(child, nullptr, 0);
    ::close(pipe[0]);
    ::close(pipe[1]);
  }

  void ForkKeep(char* answer) {
    keeper_ = ::fork();
    if (keeper_ == 0) {
      ::close(socket_);
      for (;;) ::pause();
    }
    Say(answer, keeper_ > 0);
  }

  void Obey(const Order& order, char* answer) {
    switch (order.act) {
      case Act::kOpen:
        At(order.slot) = ::open(order.path, order.type | O_CLOEXEC, 0644);
        return Say(answer, At(order.slot) >= 0);
      case Act::kDup:
        At(order.to) = ::dup(At(order.slot));
        return Say(answer, At(order.to) >= 0);
      case Act::kClose:
        return Say(answer, ::close(At(order.slot)) == 0);
      case Act::kWrite:
        return Say(answer, ::pwrite(At(order.slot), "W", 1, order.first) == 1);
      case Act::kSet:
        return Record(order, F_SETLK, answer);
      case Act::kSetWait:
        return Record(order, F_SETLKW, answer);
      case Act::kGet:
        return Record(order, F_GETLK, answer);
      case Act::kOpenFileSet:
        return Record(order, F_OFD_SETLK, answer);
      case Act::kOpenFileSetWait:
        return Record(order, F_OFD_SETLKW, answer);
      case Act::kOpenFileGet:
        return Record(order, F_OFD_GETLK, answer);
      case Act::kFlock:
        return Say(answer, ::flock(At(order.slot), order.type) == 0);
      case Act::kAlarm:
        return Alarm(order, answer);
      case Act::kForkClose:
      case Act::kForkGet:
        return InChild(order, answer);
      case Act::kForkKeep:
        return ForkKeep(answer);
      case Act::kForkEnd:
        return Say(answer, ::kill(keeper_, SIGKILL) == 0 && ::waitpid(keeper_, nullptr, 0) > 0);
      case Act::kExit:
        return Say(answer, true);
    }
  }

  int& At(int slot) { return slots_.at(static_cast<std::size_t>(slot)); }

  const int socket_;
  std::array<int, 10> slots_{};
  pid_t keeper_ = -1;
};

}  // namespace

Result<LockPeer> LockPeer::Start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno("socketpair");
  }
  LockPeer peer;
  peer.socket_ = UniqueFd(ends[0]);
  const UniqueFd other(ends[1]);
  auto process = ChildProcess::Fork([&] {
    ::close(ends[0]);
    return Peer(ends[1]).Run();
  });
  if (!process) return std::unexpected(std::move(process).error());
  peer.process_ = std::move(*process);
  return peer;
}

void LockPeer::Begin(const Order& order) {
  MustCall(static_cast<int>(::write(socket_.get(), &order, sizeof order)), "tell a lock peer");
}

std::optional<std::string> LockPeer::Answer(std::chrono::milliseconds timeout) {
  pollfd wait = {socket_.get(), POLLIN, 0};
  if (MustCall(::poll(&wait, 1, static_cast<int>(timeout.count())), "poll") == 0) {
    return std::nullopt;
  }
  char answer[kAnswer] = {};
  const ssize_t got = ::read(socket_.get(), answer, sizeof answer);
  return got == kAnswer ? std::string(answer) : "gone";
}

std::string LockPeer::Do(Act act, int slot, int type, long first, long length, int to) {
  Begin({.act = act, .slot = slot, .type = type, .first = first, .length = length, .to = to});
  return Answer(std::chrono::seconds(20)).value_or("no answer");
}

std::string LockPeer::Open(const std::string& path, int flags, int slot) {
  Order order{.act = Act::kOpen, .slot = slot, .type = flags};
  if (path.size() >= sizeof order.path) return "ENAMETOOLONG";
  std::memcpy(order.path, path.data(), path.size());
  Begin(order);
  return Answer(std::chrono::seconds(20)).value_or("no answer");
}

}  // namespace strata::support
