// Debian's docker-registry, on a free loopback port, storing below a scratch directory.
#pragma once

#include <memory>
#include <string>

#include "tests/support/process.h"

namespace strata::support {

struct DockerRegistryOptions {
  // With a user: nobody gets in without this name and password (htpasswd, bcrypt).
  std::string user;
  std::string password;
  // With both: https.
  std::string certificate_file;
  std::string key_file;
};

// Runs until destroyed. Functions throw when they fail, see must.h.
class DockerRegistry {
 public:
  static bool Installed();
  // Returns when the registry answers. `directory` must exist and be empty.
  static std::unique_ptr<DockerRegistry> Start(const std::string& directory,
                                               const DockerRegistryOptions& options = {});

  const std::string& address() const { return address_; }  // "127.0.0.1:40123"
  // Where it keeps the bytes of a blob.
  std::string BlobPath(const std::string& hex) const;
  // What it printed.
  std::string Log() const;

 private:
  DockerRegistry(std::string directory, std::string address, ChildProcess process)
      : directory_(std::move(directory)),
        address_(std::move(address)),
        process_(std::move(process)) {}

  std::string directory_;
  std::string address_;
  ChildProcess process_;
};

}  // namespace strata::support
