// The OCI runtime program (runc or crun): which one works here, and the commands on a container
// that exists. https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#operations
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"

namespace strata::manager {

// What a failed start means to whoever asked for it; docker clients turn the text into exit codes
// 126 and 127.
struct RuntimeFailure {
  enum class Kind { kOther, kNotFound, kNotExecutable };
  Kind kind = Kind::kOther;
  std::string message;  // the runtime's own words, without log prefixes
};

// Takes the message out of what a runtime or conmon printed (JSON log lines, time="…" level=…
// msg="…" lines or plain text) and classifies it.
RuntimeFailure ParseRuntimeFailure(std::string_view output);

struct RuntimeState {
  std::string status;  // "creating", "created", "running", "stopped", "paused"
  pid_t pid = 0;
};

// Thread-safe; every call runs the program once and blocks until it ends. A failing command is an
// error with the runtime's message as detail: ENOENT when it does not know the container, ESRCH
// when the process is gone, else EIO.
class OciRuntime {
 public:
  struct Options {
    std::string program;     // "" : probe runc, then crun, then others; a name or a path
    std::string state_root;  // the runtime's --root, made if missing
  };

  // Asks each candidate for its version and to list containers, which fails where the runtime
  // cannot work (crun 1.8 and hybrid cgroups). ENOENT with every candidate's reason.
  static Result<std::unique_ptr<OciRuntime>> Probe(const Options& options);

  const std::string& path() const { return path_; }
  const std::string& name() const { return name_; }        // "runc"
  const std::string& version() const { return version_; }  // "1.1.5"
  const std::string& commit() const { return commit_; }
  const std::string& state_root() const { return state_root_; }

  Result<> Start(const std::string& id);
  // `all`: every process of the container, not just the first.
  Result<> Kill(const std::string& id, int signal, bool all = false);
  Result<> Pause(const std::string& id);
  Result<> Resume(const std::string& id);
  // Kills what is left and forgets the container. Succeeds when there is none.
  Result<> Delete(const std::string& id);
  Result<RuntimeState> State(const std::string& id);
  // The container's processes, in the daemon's pid namespace.
  Result<std::vector<pid_t>> Processes(const std::string& id);

 private:
  OciRuntime() = default;
  Result<std::string> Run(std::vector<std::string> arguments);

  std::string path_;
  std::string name_;
  std::string version_;
  std::string commit_;
  std::string state_root_;
};

}  // namespace strata::manager
