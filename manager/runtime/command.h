// Runs a program to its end and keeps what it printed. The daemon is multi-threaded, so children
// come from posix_spawn(3) and inherit nothing but what is asked for.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace strata::manager {

struct CommandOptions {
  // Killed with SIGKILL and reported as ETIMEDOUT when still running after this.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  // Added to the environment of this process.
  std::vector<std::pair<std::string, std::string>> environment;
  // Descriptors the child gets under the given number (> 2). Borrowed.
  std::vector<std::pair<int, int>> descriptors;  // {ours, the child's}
  // The child's stderr goes to the end of this file, not into CommandResult::err; for programs that
  // leave a daemon behind, which would keep a pipe open.
  std::string stderr_file;
  // A new session, so that a signal to the daemon's process group does not reach the child.
  bool new_session = false;
};

struct CommandResult {
  int exit_code = 0;  // 128 + signal for a killed program
  std::string out;    // at most kCommandOutputMax bytes; the rest is read and dropped
  std::string err;

  bool ok() const { return exit_code == 0; }
  // The last line of stderr that is not empty, for error messages.
  std::string LastErrorLine() const;
};

inline constexpr std::size_t kCommandOutputMax = std::size_t{1} << 20U;

// `argv[0]` is looked up in PATH unless it has a slash. Fails with the spawn's errno (ENOENT: no
// such program) or ETIMEDOUT; a program that ends with a code other than 0 is a success here.
// Thread-safe. Blocks; a program that leaves children with its stdout open is not waited for
// beyond its own end.
Result<CommandResult> RunCommand(const std::vector<std::string>& argv,
                                 const CommandOptions& options = {});

// Where `name` is found: `beside` (a directory, "" for none) first, then PATH. ENOENT.
Result<std::string> FindProgram(const std::string& name, const std::string& beside = {});

}  // namespace strata::manager
