// The stack of layer directories a union is made of, and the rules that depend on which filesystem
// each is on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_ops.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// Position in the stack: 0 is the upper layer (present or not), 1 the topmost lower one.
using LayerIndex = std::uint16_t;
inline constexpr LayerIndex kUpperLayer = 0;
inline constexpr std::size_t kMaxLayers = 65000;

// The xattrs that carry overlay metadata, in kernel overlayfs's format
// (linux: Documentation/filesystems/overlayfs.rst, fs/overlayfs/overlayfs.h).
class OverlayXattrs {
 public:
  explicit OverlayXattrs(bool user) : prefix_(user ? "user.overlay." : "trusted.overlay.") {}

  std::string Opaque() const { return prefix_ + "opaque"; }  // "y"
  std::string Redirect() const {
    return prefix_ + "redirect";
  }  // where a renamed directory's lower parts are
  std::string Origin() const { return prefix_ + "origin"; }  // file handle of what was copied up
  std::string Metacopy() const { return prefix_ + "metacopy"; }  // the data is in a lower layer
  std::string LinkCount() const {
    return prefix_ + "nlink";
  }  // "U+1": links shown beyond the upper inode's
  std::string Inode() const { return prefix_ + "strata.ino"; }  // the st_ino shown, decimal
  const std::string& prefix() const { return prefix_; }

  // Ours, not to be shown to or set by users of the mount.
  bool IsPrivate(std::string_view name) const { return name.starts_with(prefix_); }
  // What a user's own xattr of that namespace is stored as, and back (nested overlays use them).
  std::string Escape(std::string_view name) const;
  bool IsEscaped(std::string_view name) const;
  std::string Unescape(std::string_view name) const;

 private:
  std::string prefix_;
};

// Immutable after Open(); thread-safe.
class Layers {
 public:
  // Opens and checks everything; see Engine::Open for the errors. Locks the upper and work
  // directories against other mounts for this object's lifetime.
  static Result<std::unique_ptr<Layers>> Open(const EngineOptions& options, FileOps& files);

  bool writable() const { return writable_; }
  // One more than the lowest layer's index.
  LayerIndex end() const { return static_cast<LayerIndex>(roots_.size()); }
  LayerIndex first() const { return writable_ ? kUpperLayer : LayerIndex{1}; }
  // The layer's root directory; readable and searchable. -1 for an absent upper.
  int root(LayerIndex layer) const { return roots_[layer].fd.get(); }
  // Which filesystem: equal numbers, equal filesystems.
  std::uint16_t filesystem(LayerIndex layer) const { return roots_[layer].filesystem; }
  // The st_ino to show for an inode of a layer: unique over all layers.
  std::uint64_t ShownIno(LayerIndex layer, std::uint64_t real) const;
  int work_root() const { return work_.get(); }
  const OverlayXattrs& xattrs() const { return xattrs_; }

 private:
  struct Root {
    UniqueFd fd;
    std::uint16_t filesystem = 0;
  };
  explicit Layers(bool user_xattr) : xattrs_(user_xattr) {}

  Result<> AddRoot(UniqueFd fd, FileOps& files);

  std::vector<Root> roots_;
  std::vector<dev_t> devices_;  // by filesystem number
  UniqueFd work_;
  bool writable_ = false;
  OverlayXattrs xattrs_;
};

}  // namespace strata::fusefs
