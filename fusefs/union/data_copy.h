// Copying the bytes of one file to another: by the kernel where it can, sharing blocks where the
// filesystem can.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <span>
#include <string>

#include "base/file_ops.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// [offset, end) of `from` to the same place in `to`. A `from` that ends before leaves a hole.
Result<> CopyExtent(FileOps& files, int from, int to, off_t offset, off_t end);
// The same, leaving holes of `from` out. `to` has no data there.
Result<> CopySparseExtent(FileOps& files, int from, int to, off_t offset, off_t end);
// The first `size` bytes, holes left out; `to` is empty and gets that size.
Result<> CopyContent(FileOps& files, int from, const struct stat& from_stat, int to, off_t size);

// Reads parts that follow one another into `buffer`. The bytes read: fewer than the parts' at the
// end of a file.
Result<std::size_t> GatherParts(FileOps& files, std::span<const ContentPart> parts,
                                std::span<std::byte> buffer);

// Restores the access and modification times of a file or directory at the end of the scope.
class KeepTimes {
 public:
  KeepTimes(FileOps& files, int fd);
  ~KeepTimes();
  KeepTimes(const KeepTimes&) = delete;
  KeepTimes& operator=(const KeepTimes&) = delete;

 private:
  FileOps& files_;
  const int fd_;
  std::optional<struct stat> st_;
};

// The xattr of a file's capabilities, which goes when the file is written.
inline constexpr char kCapability[] = "security.capability";

// Restores a file's times, and its capabilities, at the end of the scope: for writing that its
// users must not notice.
class UnnoticedWriting {
 public:
  UnnoticedWriting(FileOps& files, int fd);
  ~UnnoticedWriting();
  UnnoticedWriting(const UnnoticedWriting&) = delete;
  UnnoticedWriting& operator=(const UnnoticedWriting&) = delete;

 private:
  FileOps& files_;
  const int fd_;
  const KeepTimes times_;  // restored last
  std::optional<std::string> capability_;
};

}  // namespace strata::fusefs
