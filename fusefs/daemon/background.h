// Going into the background once, and only once, the mount works.
#pragma once

#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::fusefs {

// Tells the process the user started how it went. In the foreground there is nobody to tell.
class StartReport {
 public:
  StartReport() = default;
  explicit StartReport(UniqueFd parent) : parent_(std::move(parent)) {}

  bool in_background() const { return in_background_; }
  // The mount works: the waiting process exits with 0. In the background, stdin, stdout and (unless
  // `keep_stderr`) stderr go to /dev/null from here on.
  Result<> Ready(bool keep_stderr);
  // It does not (any more: then only in the foreground anybody hears of it): `message` goes to the
  // user's stderr, the waiting process exits with 1. `user`: that stderr where a log file took its
  // place.
  void Failed(std::string_view message, int user);

 private:
  UniqueFd parent_;
  bool in_background_ = static_cast<bool>(parent_);
};

// What Fork() gives: in the process the user started, the exit code to end with.
struct Forked {
  std::optional<int> exit_code;
  StartReport report;
};

// Forks; the child gets a session of its own, the parent waits for the child's report. Call it
// before there are threads.
Result<Forked> Fork();

// Opens /dev/null for those of descriptors 0 to 2 that are closed, so that no other file takes
// their place. Call it first.
Result<> OccupyStandardDescriptors();

// "stratafs: MESSAGE" on stderr or `fd`, in one line: control characters are escaped.
void PrintError(std::string_view message, int fd = STDERR_FILENO);

}  // namespace strata::fusefs
