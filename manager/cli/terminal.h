// The user's terminal: its size, raw mode, and the signals that concern it.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

struct WindowSize {
  unsigned rows = 0;
  unsigned columns = 0;
};

bool IsTerminal(int fd);
// Nothing if `fd` is no terminal or does not know.
std::optional<WindowSize> SizeOfTerminal(int fd);

// A terminal in raw mode for this object's lifetime: every byte goes through as typed.
class RawMode {
 public:
  static Result<RawMode> Enter(int fd);
  RawMode(RawMode&& other) noexcept : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}
  RawMode& operator=(RawMode&&) = delete;
  ~RawMode();

 private:
  RawMode(int fd, const termios& saved) : fd_(fd), saved_(saved) {}
  int fd_;  // borrowed
  termios saved_;
};

// Signals held back for this object's lifetime and read from a descriptor instead. One-threaded
// programs only.
class SignalQueue {
 public:
  static Result<SignalQueue> Block(std::initializer_list<int> signals);
  SignalQueue(SignalQueue&& other) noexcept
      : fd_(std::move(other.fd_)), old_(other.old_), active_(std::exchange(other.active_, false)) {}
  SignalQueue& operator=(SignalQueue&&) = delete;
  ~SignalQueue();

  int fd() const { return fd_.get(); }
  // The next signal; nothing if none is waiting.
  std::optional<int> Take();

 private:
  SignalQueue() = default;
  UniqueFd fd_;
  sigset_t old_{};
  bool active_ = false;
};

// "TERM" for SIGTERM.
std::string SignalName(int signal);

// "ctrl-p,ctrl-q" as the bytes those keys send. EINVAL for a key there is not.
Result<std::string> ParseDetachKeys(std::string_view text);

// Watches typed bytes for the detach keys. Bytes that only began to look like them are passed on as
// soon as they turn out not to be.
class DetachWatch {
 public:
  explicit DetachWatch(std::string keys) : keys_(std::move(keys)) {}

  // Appends to `pass` what goes to the container; true once the keys are complete.
  bool Feed(std::string_view typed, std::string& pass);

 private:
  std::string keys_;
  std::string held_;  // typed last: a beginning of keys_
};

}  // namespace strata::manager::cli
