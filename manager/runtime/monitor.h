// conmon, the small process that stays with each container: it holds the container's standard
// streams, writes its log and notes its exit code, so that containers outlive the daemon.
// https://github.com/containers/conmon/blob/main/docs/conmon.8.md
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager {

// One attached client of a container's or an exec's standard streams. Packets (SOCK_SEQPACKET)
// carry one kind byte and up to kAttachPacketMax bytes from the monitor; what is written is stdin;
// shutdown(SHUT_WR) is its end of file.
inline constexpr std::size_t kAttachPacketMax = 8192;
inline constexpr char kAttachStdout = 2;
inline constexpr char kAttachStderr = 3;

// Thread-safe: holds only settings. Every call blocks for as long as the runtime takes.
class Monitor {
 public:
  struct Options {
    std::string program;       // conmon; "" looks in PATH
    std::string runtime;       // the OCI runtime's path
    std::string runtime_root;  // its --root
  };

  struct CreateRequest {
    std::string id;
    std::string name;
    std::string bundle;    // directory with config.json; gets pid files, attach socket, ctl fifo
    std::string log_path;  // "" keeps no log
    std::string
        exit_file;  // <directory>/<id>: where the exit code will be; the name must be the id
    bool terminal = false;
    bool stdin_open = false;
    bool stdin_once = false;  // the first client that hangs up ends stdin, unless it is a terminal
    std::int64_t log_size_max = -1;
  };

  struct Created {
    pid_t pid = 0;          // the container's first process
    pid_t monitor_pid = 0;  // conmon
  };

  struct ExecRequest {
    std::string container;
    std::string exec_id;
    std::string directory;  // exists and holds process.json; gets the same files as a bundle
    bool terminal = false;
    bool stdin_open = false;
    bool attach = false;
  };

  struct ExecStarted {
    pid_t pid = 0;
    pid_t monitor_pid = 0;
    UniqueFd stream;  // connected where asked for
  };

  static Result<std::unique_ptr<Monitor>> Open(const Options& options);

  const std::string& version() const { return version_; }

  // Creates the container; its process waits for OciRuntime::Start. On failure the detail is the
  // runtime's message and the code ENOENT (program not found), EACCES (not executable) or EIO.
  Result<Created> Create(const CreateRequest& request);

  // Runs another process in a running container; same errors as Create. Its exit code appears in
  // directory/exit/<container>.
  Result<ExecStarted> Exec(const ExecRequest& request);

  // A new client of the streams of what lives in `directory` (a bundle or an exec's directory).
  static Result<UniqueFd> Attach(const std::string& directory);
  // Sets the terminal's size.
  static Result<> Resize(const std::string& directory, std::uint16_t rows, std::uint16_t columns);
  // The exit code from an exit file; ENOENT while there is none.
  static Result<int> ReadExitCode(const std::string& exit_file);
  // The process conmon's pid file in `directory` names, as a pidfd, if it still is that conmon.
  static Result<UniqueFd> OpenMonitorPid(const std::string& directory);
  // Where Exec leaves the exit code.
  static std::string ExecExitFile(const ExecRequest& request);

 private:
  Monitor() = default;

  std::string program_;
  std::string runtime_;
  std::string runtime_root_;
  std::string version_;
};

}  // namespace strata::manager
