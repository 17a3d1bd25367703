// A directory as a tar stream (POSIX ustar), for sending an OCI layout to the daemon: regular files
// and directories with their names and bytes; nothing else matters there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

// Produces the stream piece by piece. Not thread-safe.
class TarStream {
 public:
  // ENOTDIR and the like; EINVAL for an entry that is neither file nor directory, ENAMETOOLONG for
  // a name that ustar cannot hold. Errors name the directory.
  static Result<TarStream> Open(const std::string& directory);

  // The next bytes; empty at the end. EIO if a file changed its size meanwhile.
  Result<std::string> Next();

 private:
  struct Entry {
    std::string path;  // relative
    std::uint64_t size = 0;
    bool directory = false;
  };
  TarStream(UniqueFd root, std::vector<Entry> entries)
      : root_(std::move(root)), entries_(std::move(entries)) {}
  static Result<> Collect(int dir, const std::string& prefix, std::vector<Entry>& entries);
  Result<std::string> NextEntry();

  UniqueFd root_;
  std::vector<Entry> entries_;
  std::size_t next_ = 0;
  UniqueFd file_;
  std::uint64_t left_ = 0;   // of the current file
  std::size_t padding_ = 0;  // after it
  bool finished_ = false;
};

}  // namespace strata::manager::cli
