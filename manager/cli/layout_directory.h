// An OCI layout that arrives as a tar, as a directory: `strata save --format oci-dir`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

// Takes the tar that the daemon gives for an OCI layout: files and directories, nothing else.
// Filled beside its place; the destructor removes what was not committed. Not thread-safe.
class LayoutDirectory {
 public:
  // EEXIST unless there is nothing at `path`, or an empty directory.
  static Result<LayoutDirectory> Create(const std::string& path);
  LayoutDirectory(LayoutDirectory&& other) noexcept = default;
  LayoutDirectory& operator=(LayoutDirectory&&) = delete;
  ~LayoutDirectory();

  // The next bytes of the tar. EBADMSG for what is no tar of a layout.
  Result<> Write(std::string_view data);
  // After the last: puts it in its place, durably. EBADMSG if the end is missing.
  Result<> Commit();

 private:
  LayoutDirectory(std::string path, UniqueFd above, std::string name)
      : path_(std::move(path)), above_(std::move(above)), name_(std::move(name)) {}
  Result<> Consume(std::string_view& data);
  Result<> TakeHeader();

  std::string path_;
  UniqueFd above_;
  std::string name_;
  std::string temporary_;  // in above_; empty if there is none
  UniqueFd root_;
  std::string block_;  // of a header, or the padding before it, as far as it came
  UniqueFd file_;
  std::uint64_t left_ = 0;   // of the file
  std::size_t padding_ = 0;  // after it
  int end_blocks_ = 0;
};

}  // namespace strata::manager::cli
