// A scratch directory of one test: everything mounted below it is unmounted and everything in it
// removed when it goes, also what a crashed earlier run left.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::support {

// Move-only. The directory is made under $TMPDIR (or /tmp) as "strata-test-<pid>-<random>", mode
// 0755, so that a later run can tell by the pid whom it belongs to. Must not outlive the process
// that made it: a forked child that keeps running leaves with _exit().
class TempRoot {
 public:
  // First removes the directories of this pattern whose process is gone.
  static Result<TempRoot> Create();
  // The same under /dev/shm where there is one, for tests that write much and measure no disk.
  static Result<TempRoot> CreateInMemory();
  TempRoot(TempRoot&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TempRoot& operator=(TempRoot&& other) noexcept;
  ~TempRoot();

  const std::string& path() const { return path_; }
  // path() + "/" + name; does not create it.
  std::string At(std::string_view name) const;
  // The same, made as a directory with mode 0755 (parents must exist).
  Result<std::string> MakeDir(std::string_view name) const;

 private:
  static Result<TempRoot> CreateIn(const std::string& base);
  explicit TempRoot(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Removes a tree of any depth without following links. Absent is fine.
Result<> RemoveTree(const std::string& path);
// Detaches every mount at or below `path`, the newest first.
Result<> UnmountBelow(const std::string& path);
// The mount points at or below `path`, as /proc/self/mountinfo lists them.
Result<std::vector<std::string>> MountsBelow(const std::string& path);

}  // namespace strata::support
