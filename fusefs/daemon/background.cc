#include "fusefs/daemon/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "base/file_ops.h"
#include "base/try.h"
#include "base/utf8.h"

namespace strata::fusefs {
namespace {

constexpr std::string_view kReady = "ready";
constexpr std::size_t kMaxReport = std::size_t{64} * 1024;

int WaitForReport(int pipe) {
  const auto report = ReadAll(FileOps::System(), pipe, kMaxReport);
  if (!report) {
    PrintError(report.error().ToString());
    return 1;
  }
  if (*report == kReady) return 0;
  PrintError(report->empty() ? "ended unexpectedly while starting" : *report);
  return 1;
}

}  // namespace

Result<> OccupyStandardDescriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number: this one.
    if (::open("/dev/null", O_RDWR) < 0) return FailErrno("open", "/dev/null");
  }
  return {};
}

void PrintError(std::string_view message, int fd) {
  ::dprintf(fd, "stratafs: %s\n", EscapeControls(message).c_str());
}

Result<> StartReport::Ready(bool keep_stderr) {
  if (!parent_) return {};
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return FailErrno("open", "/dev/null");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fd == STDERR_FILENO && keep_stderr) continue;
    if (::dup2(null.get(), fd) < 0) return FailErrno("dup2");
  }
  auto told = WriteAll(FileOps::System(), parent_.get(), kReady);
  parent_.reset();
  return told;
}

void StartReport::Failed(std::string_view message, int user) {
  if (!in_background_) {
    PrintError(message, user);
    return;
  }
  if (!parent_) return;
  Ignore(WriteAll(FileOps::System(), parent_.get(), message), "the waiting process is gone");
  parent_.reset();
}

Result<Forked> Fork() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe2");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("fork");
  Forked forked;
  if (child > 0) {
    write_end.reset();
    forked.exit_code = WaitForReport(read_end.get());
    return forked;
  }
  if (::setsid() < 0) return FailErrno("setsid");
  forked.report = StartReport(std::move(write_end));
  return forked;
}

}  // namespace strata::fusefs
