// An engine over real layer directories, without a mount: paths instead of node ids.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fusefs/union/engine.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::fusefs {

// Layer directories under one temporary root. layer(0) is the upper.
class LayerDirs {
 public:
  explicit LayerDirs(int lowers);

  std::string Path(int layer, std::string_view path = "") const;
  std::string Work() const { return root_.At("work"); }
  void Dir(int layer, const std::string& path, mode_t mode = 0755);
  void File(int layer, const std::string& path, std::string_view content, mode_t mode = 0644);
  void Whiteout(int layer, const std::string& path);
  void Opaque(int layer, const std::string& path);
  std::string Read(int layer, const std::string& path) const;
  bool Exists(int layer, const std::string& path) const;
  // Every path below the upper, a whiteout with a leading '!'.
  std::vector<std::string> UpperTree() const;
  EngineOptions Options() const;

 private:
  support::TempRoot root_;
  int lowers_;
};

// 0 for success.
inline int CodeOf(const Result<>& result) { return result ? 0 : result.error().code(); }

// Drives an engine by path, keeping the lookups balanced. Thread-compatible.
class UnionDriver {
 public:
  explicit UnionDriver(EngineOptions options, FileOps& files = FileOps::System());

  Engine& engine() { return *engine_; }

  Result<EntryReply> Walk(std::string_view path);  // counts one lookup
  Result<struct stat> Stat(std::string_view path);
  Result<std::string> Read(std::string_view path);
  Result<> Write(std::string_view path, std::string_view content,
                 int flags = O_WRONLY | O_CREAT | O_TRUNC);
  Result<> Append(std::string_view path, std::string_view content);
  Result<> MakeDir(std::string_view path, mode_t mode = 0755);
  Result<> Unlink(std::string_view path);
  Result<> RemoveDir(std::string_view path);
  Result<> Rename(std::string_view from, std::string_view to, unsigned flags = 0);
  Result<> Link(std::string_view from, std::string_view to);
  Result<> Chmod(std::string_view path, mode_t mode);
  // Through an open file.
  Result<std::string> ReadOpen(NodeId node, std::uint64_t handle, off_t offset, std::size_t length);
  Result<> WriteOpen(NodeId node, std::uint64_t handle, std::string_view content, off_t offset);
  std::vector<std::string> List(std::string_view path);  // sorted, without "." and ".."

 private:
  // A looked-up node, forgotten at the end of the scope.
  class Ref;
  Result<Ref> Find(std::string_view path);
  Result<Ref> Parent(std::string_view path, std::string* name);
  std::unique_ptr<Engine> engine_;
  Caller who_;
};

}  // namespace strata::fusefs
