// Runs programs for tests, with a time limit, and keeps what they print.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace strata::support {

struct ProcessResult {
  int exit_code = -1;  // 128 + signal for a killed one
  std::string out;     // stdout
  std::string err;     // stderr
};

// Runs argv (argv[0] is a path or found in $PATH) with empty stdin; ETIMEDOUT (and SIGKILL to it)
// if it does not end in time.
Result<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                 std::chrono::milliseconds timeout = std::chrono::seconds(30));

// The same for a program whose failure is a failure of the test's own: EIO with what it printed if
// its exit code is higher than `highest_good_code`.
Result<ProcessResult> RunTool(const std::vector<std::string>& argv, int highest_good_code = 0);

// A program that keeps running. Killed and reaped on destruction. Move-only.
class ChildProcess {
 public:
  // stdout and stderr go to the file `log_path`.
  static Result<ChildProcess> Start(const std::vector<std::string>& argv,
                                    const std::string& log_path);
  // Forks; the child runs `body` and leaves with its value through _exit(). Only for processes with
  // one thread, or bodies that keep to async-signal-safe calls.
  static Result<ChildProcess> Fork(const std::function<int()>& body);

  ChildProcess() = default;
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // True while it has not ended. After the end exit_code() is valid.
  bool Running();
  int exit_code() const { return exit_code_; }
  Result<> Signal(int number);
  // Waits for the end and returns the exit code (128 + signal for a killed one); ETIMEDOUT.
  Result<int> Wait(std::chrono::milliseconds timeout);
  // SIGKILL and reap.
  void Kill();

 private:
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

}  // namespace strata::support
