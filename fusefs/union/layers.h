// The stack of layer directories a union is made of, and the rules that depend on which filesystem
// each is on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_ops.h"
#include "fusefs/union/chain_layers.h"
#include "fusefs/union/types.h"
#include "layerstore/index/metadata_index.h"

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
  // The layer's root directory; readable and searchable. ENOENT for an absent upper.
  Result<SharedFd> Root(LayerIndex layer) const;

  // The lowest layers may be a chain: their index says what is in them, already merged. To the
  // union they are one part of a directory, but each keeps its number, which says where a file is.
  // end() without one.
  LayerIndex first_in_chain() const { return first_in_chain_; }
  bool InChain(LayerIndex layer) const { return layer >= first_in_chain_; }
  // Only with a chain.
  const layerstore::MetadataIndex& index() const { return chain_->index(); }
  // Of a layer as the index counts them, and back.
  LayerIndex FromChain(std::uint16_t layer) const {
    return static_cast<LayerIndex>(roots_.size() - 1 - layer);
  }
  std::uint16_t ToChain(LayerIndex layer) const { return FromChain(layer); }
  // Which filesystem: equal numbers, equal filesystems.
  std::uint16_t filesystem(LayerIndex layer) const { return roots_[layer].filesystem; }
  // The st_ino to show for an inode of a layer: unique over all layers.
  std::uint64_t ShownIno(LayerIndex layer, std::uint64_t real) const;
  int work_root() const { return work_.get(); }
  const OverlayXattrs& xattrs() const { return xattrs_; }

 private:
  struct RootDirectory {
    SharedFd fd;  // null in the chain, and for an absent upper
    std::uint16_t filesystem = 0;
  };
  explicit Layers(bool user_xattr) : user_xattr_(user_xattr), xattrs_(user_xattr) {}

  Result<> OpenUpper(const EngineOptions& options, FileOps& files);
  Result<> OpenChain(const EngineOptions& options, FileOps& files);
  Result<> AddRoot(UniqueFd fd, FileOps& files);
  std::uint16_t FilesystemOf(dev_t device);

  std::vector<RootDirectory> roots_;
  std::unique_ptr<ChainLayers> chain_;
  LayerIndex first_in_chain_ = 0;
  std::vector<dev_t> devices_;  // by filesystem number
  UniqueFd work_;
  bool writable_ = false;
  const bool user_xattr_;
  OverlayXattrs xattrs_;
};

}  // namespace strata::fusefs
