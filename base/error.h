// One error type for the whole project. It keeps the errno from the system call that failed up to
// the place where it becomes a FUSE reply, an HTTP status or an exit code.
#pragma once

#include <cerrno>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace strata {

// What went wrong: an errno value, the operation that failed and, where somebody will read it, a
// detail. Building one without a detail does not allocate (a lookup's ENOENT is a hot path).
// Thread-compatible value type; move-only.
class [[nodiscard]] Error {
 public:
  // `op` must outlive the error: pass a string literal.
  explicit Error(int code, const char* op = "") noexcept : code_(code), op_(op) {}
  Error(int code, const char* op, std::string detail)
      : code_(code), op_(op), detail_(std::make_unique<std::string>(std::move(detail))) {}

  // The errno of the last failed system call.
  static Error FromErrno(const char* op) noexcept { return Error(errno, op); }
  static Error FromErrno(const char* op, std::string detail) {
    return Error(errno, op, std::move(detail));
  }

  // Positive errno value; never 0.
  int code() const noexcept { return code_; }
  const char* op() const noexcept { return op_; }
  std::string_view detail() const noexcept {
    return detail_ ? std::string_view(*detail_) : std::string_view();
  }

  // Puts `what` in front of the detail, for callers that know more about the where.
  Error&& WithContext(std::string_view what) &&;

  // "detail: op: strerror", leaving out what is empty; one line.
  std::string ToString() const;

 private:
  int code_;
  const char* op_;
  std::unique_ptr<std::string> detail_;
};

template <class T = void>
using Result = std::expected<T, Error>;

// std::unexpected(Error(...)), shorter: return Fail(ENOENT, "lookup");
template <class... Args>
std::unexpected<Error> Fail(int code, const char* op, Args&&... args) {
  return std::unexpected<Error>(std::in_place, code, op, std::forward<Args>(args)...);
}

// The error of the last failed system call: return FailErrno("openat", path);
template <class... Args>
std::unexpected<Error> FailErrno(const char* op, Args&&... args) {
  return std::unexpected<Error>(Error::FromErrno(op, std::forward<Args>(args)...));
}

// Drops a result on purpose; a failure is logged at debug level with the reason given.
void Ignore(const Result<>& result, std::string_view why);

}  // namespace strata
