// Where everything of a container lives.
#pragma once

#include <string>

#include "base/path.h"

namespace strata::manager {

// Below the data root, for as long as the container exists:
//   containers/<id>/upper work   the container's own layer    merged   where its root is mounted
//                   init         empty /etc files the image lacks
//                   hosts hostname resolv.conf   container.log   stratafs.log
// Below the run root, while it runs:
//   containers/<id>/             the OCI bundle, conmon's pid files and sockets, execs/
//   exits/<id>                   the exit code
class ContainerPaths {
 public:
  ContainerPaths(std::string data_root, std::string run_root)
      : data_root_(std::move(data_root)), run_root_(std::move(run_root)) {}

  std::string ContainersRoot() const { return JoinPath(data_root_, "containers"); }
  std::string Home(const std::string& id) const { return JoinPath(ContainersRoot(), id); }
  std::string Upper(const std::string& id) const { return JoinPath(Home(id), "upper"); }
  std::string Work(const std::string& id) const { return JoinPath(Home(id), "work"); }
  std::string Merged(const std::string& id) const { return JoinPath(Home(id), "merged"); }
  std::string Init(const std::string& id) const { return JoinPath(Home(id), "init"); }
  std::string Log(const std::string& id) const { return JoinPath(Home(id), "container.log"); }
  std::string MountLog(const std::string& id) const { return JoinPath(Home(id), "stratafs.log"); }

  std::string BundlesRoot() const { return JoinPath(run_root_, "containers"); }
  std::string Bundle(const std::string& id) const { return JoinPath(BundlesRoot(), id); }
  std::string ExecsRoot(const std::string& id) const { return JoinPath(Bundle(id), "execs"); }
  std::string ExitsRoot() const { return JoinPath(run_root_, "exits"); }
  std::string ExitFile(const std::string& id) const { return JoinPath(ExitsRoot(), id); }
  std::string RuntimeRoot() const { return JoinPath(run_root_, "runtime"); }

 private:
  std::string data_root_;
  std::string run_root_;
};

}  // namespace strata::manager
