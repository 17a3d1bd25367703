// The stack of layer directories a union is made of, and the rules that depend on which filesystem
// each is on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_ops.h"
#include "fusefs/union/chain_layers.h"
#include "fusefs/union/filesystem_identity.h"
#include "fusefs/union/types.h"
#include "layerstore/index/marks.h"
#include "layerstore/index/metadata_index.h"

namespace strata::fusefs {

// Position in the stack: 0 is the upper layer (present or not), 1 the topmost lower one.
using LayerIndex = std::uint16_t;
inline constexpr LayerIndex kUpperLayer = 0;
inline constexpr std::size_t kMaxLayers = 65000;

using layerstore::OverlayXattrs;
struct Origin;

// Immutable after Open(); thread-safe.
class Layers {
 public:
  // Opens and checks everything; see Engine::Open for the errors. Locks the upper and work
  // directories against other mounts for this object's lifetime.
  static Result<std::unique_ptr<Layers>> Open(const EngineOptions& options, FileOps& files);

  // Tells whoever waits for the upper that it will not be long: gives up the work directory, which
  // nobody but the next user of this upper wants, and keeps the upper.
  void SayEnding() const;

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
  // Not in the chain.
  dev_t device(LayerIndex layer) const { return filesystems_[filesystem(layer)].device; }
  // Tells the layer's filesystem from those of all other layers: its own UUID, unless another one
  // has the same or it has none. Only of a writable union.
  const FilesystemIdentity& identity(LayerIndex layer) const {
    return filesystems_[filesystem(layer)].identity;
  }
  // The st_ino to show for an inode of a layer: unique over all layers. `volume`: 0, or the number
  // of a part of the layer's filesystem that counts its inodes for itself (VolumeOf()).
  std::uint64_t ShownIno(LayerIndex layer, std::uint64_t real, std::uint64_t volume = 0) const;
  // Of a file of the chain whose inode others may have, too: what stands for it in place of the
  // inode's number, from its identity in the index. It stays when layers are put on top.
  std::uint64_t LogicalIno(LayerIndex layer, std::uint32_t identity) const;
  // The st_ino to show for the lower inode that a file was copied from, as its origin mark tells;
  // nothing if that does not tell.
  std::optional<std::uint64_t> InoOfOrigin(std::string_view handle) const;
  // The links that inode has; nothing if it cannot be found by the mark.
  std::optional<nlink_t> LinksOfOrigin(std::string_view handle) const;
  int work_root() const { return work_.get(); }
  const OverlayXattrs& xattrs() const { return xattrs_; }

 private:
  struct RootDirectory {
    SharedFd fd;  // null in the chain, and for an absent upper
    std::uint16_t filesystem = 0;
  };
  explicit Layers(bool user_xattr) : xattrs_(user_xattr) {}

  Result<> OpenUpper(const EngineOptions& options, FileOps& files);
  Result<> AddChain();
  Result<> AddRoot(UniqueFd fd, FileOps& files);
  Result<> Identify();
  std::uint16_t FilesystemOf(dev_t device);
  std::optional<std::uint16_t> FilesystemOf(const Origin& origin) const;
  std::uint64_t ShownOn(std::uint16_t filesystem, std::uint64_t real, std::uint64_t volume) const;

  std::vector<RootDirectory> roots_;
  std::unique_ptr<ChainLayers> chain_;
  LayerIndex first_in_chain_ = 0;
  struct Filesystem {
    dev_t device = 0;
    FilesystemIdentity identity = {};
  };
  std::vector<Filesystem> filesystems_;
  unsigned number_bits_ = 0;  // of a shown st_ino: the highest hold the filesystem's number
  UniqueFd work_;
  bool writable_ = false;
  OverlayXattrs xattrs_;
};

}  // namespace strata::fusefs
