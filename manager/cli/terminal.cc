#include "manager/cli/terminal.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cctype>

#include "base/logging.h"
#include "base/try.h"
#include "manager/cli/flags.h"

namespace strata::manager::cli {

bool IsTerminal(int fd) { return ::isatty(fd) == 1; }

std::optional<WindowSize> SizeOfTerminal(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    return std::nullopt;
  }
  return WindowSize{size.ws_row, size.ws_col};
}

Result<RawMode> RawMode::Enter(int fd) {
  termios saved{};
  if (::tcgetattr(fd, &saved) != 0) return FailErrno("tcgetattr");
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0) return FailErrno("tcsetattr");
  return RawMode(fd, saved);
}

RawMode::~RawMode() {
  if (fd_ >= 0 && ::tcsetattr(fd_, TCSADRAIN, &saved_) != 0) {
    log::Warn("could not restore the terminal; 'stty sane' does",
              {{"error", Error::FromErrno("tcsetattr").ToString()}});
  }
}

Result<SignalQueue> SignalQueue::Block(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  SignalQueue queue;
  queue.fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!queue.fd_) return FailErrno("signalfd");
  if (::sigprocmask(SIG_BLOCK, &set, &queue.old_) != 0) return FailErrno("sigprocmask");
  queue.active_ = true;
  return queue;
}

SignalQueue::~SignalQueue() {
  if (active_) ::sigprocmask(SIG_SETMASK, &old_, nullptr);
}

std::optional<int> SignalQueue::Take() {
  signalfd_siginfo info{};
  const ssize_t got = ::read(fd_.get(), &info, sizeof(info));
  if (got != static_cast<ssize_t>(sizeof(info))) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

std::string SignalName(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? std::to_string(signal) : name;
}

Result<std::string> ParseDetachKeys(std::string_view text) {
  std::string keys;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const std::string_view key = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (key.size() == 1) {
      keys += key;
    } else if (key.size() == 6 && key.starts_with("ctrl-") &&
               std::isprint(static_cast<unsigned char>(key[5])) != 0) {
      keys += static_cast<char>(key[5] & 0x1F);
    } else {
      return UsageError("detach keys: '" + std::string(key) +
                        "' is neither a character nor ctrl-X");
    }
  }
  return keys;
}

bool DetachWatch::Feed(std::string_view typed, std::string& pass) {
  for (const char c : typed) {
    held_ += c;
    while (!keys_.starts_with(held_)) {
      pass += held_.front();
      held_.erase(0, 1);
    }
    if (!keys_.empty() && held_ == keys_) return true;
  }
  return false;
}

}  // namespace strata::manager::cli
