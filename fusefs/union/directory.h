// A directory of the union: its names, merged over the layers once, and the layer directories it
// consists of.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "fusefs/union/layers.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// One name. "Negative" ones are upper whiteouts: not shown, but a new file of that name must
// replace them. There are as many as names are known, so they are packed.
struct DirSlot {
  std::uint32_t name_at = 0;     // in the name pool
  std::uint8_t name_length = 0;  // 0: free slot
  unsigned char type = 0;        // DT_*
  LayerIndex layer = 0;          // topmost layer with the name
  WeakNode node;                 // if the kernel knows it
  std::uint32_t merged : 29 =
      0;                      // directories in several layers: position in the list pool, plus one
  bool whiteout : 1 = false;  // negative
  bool marker : 1 = false;    // the upper directory has a `.wh.` file for the name
  bool lower_exists : 1 = false;  // without its upper entry, a lower one would show
};
static_assert(sizeof(DirSlot) == 20);

// The names of one directory: a table whose slots keep their place, so that a slot's number is a
// stable offset for telldir(3) while names come and go. Few names are searched one by one, more
// through a hash table. Not thread-safe.
class NameTable {
 public:
  using Slot = std::uint32_t;
  static constexpr Slot kNone = ~Slot{0};

  Slot Find(std::string_view name) const;
  // The name must not be there. Freed slots are used again.
  Slot Insert(std::string_view name);
  void Erase(Slot slot);
  // Gives back what was kept ready for more names.
  void ShrinkToFit();

  DirSlot& at(Slot slot) { return slots_[slot]; }
  const DirSlot& at(Slot slot) const { return slots_[slot]; }
  std::string_view NameOf(Slot slot) const {
    return {pool_.data() + slots_[slot].name_at, slots_[slot].name_length};
  }
  bool InUse(Slot slot) const { return slots_[slot].name_length != 0; }
  // One more than the highest slot ever used.
  Slot end() const { return static_cast<Slot>(slots_.size()); }
  // Names that are shown.
  bool HasVisible() const;

  // The layers (topmost first) in which a directory of this name merges.
  std::vector<LayerIndex> MergedLayers(Slot slot) const;
  void SetMergedLayers(Slot slot, const std::vector<LayerIndex>& layers);

 private:
  // What directories of a few names that never changed do without.
  struct Extras {
    std::vector<std::uint32_t>
        buckets;                   // slot + 1; 0 empty, ~0 deleted. None: there is no hash table
    std::size_t used_buckets = 0;  // deleted ones included
    std::vector<Slot> free;
    std::size_t dead_bytes = 0;        // of the pool
    std::vector<std::uint16_t> lists;  // count, layers...
  };
  Extras& extras() {
    if (!extras_) extras_ = std::make_unique<Extras>();
    return *extras_;
  }
  bool Hashed() const { return extras_ && !extras_->buckets.empty(); }
  void MakeRoom();
  void Rehash(std::size_t buckets);
  void CompactPool();

  std::vector<DirSlot> slots_;
  std::vector<char> pool_;
  std::unique_ptr<Extras> extras_;
};

// One of the layer directories a union directory consists of.
struct StackEntry {
  LayerIndex layer = 0;
  // Path from the layer's root where it is not simply "the same name below the parent's directory
  // of that layer" (after renames). Lower layers only.
  std::unique_ptr<const std::string> path = nullptr;
  SharedFd fd = nullptr;  // cached; see DirectoryFds
};

// A directory in the chain's index.
using ChainDirectory = layerstore::MetadataIndex::Directory;
inline constexpr ChainDirectory kNotInChain = ~ChainDirectory{0};

// What new names of an upper directory take over from it.
struct Inheritance {
  bool default_acl = false;
  bool unwanted_acl = false;  // the filesystem below hands one down in a union without ACLs
  bool setgid = false;
  gid_t gid = 0;
};

// What few directories have.
struct DirectoryExtras {
  // Directories of single layers of the chain, for the files in them.
  std::vector<StackEntry> chain_fds;
  // Of a directory that was renamed: where the union of the lower layers alone shows it, without a
  // leading slash.
  std::optional<std::string> lower_union_path;
};

// Shared by all operations on the directory; kept while the node is.
struct Directory {
  Directory(NodeIndex node, std::vector<LayerIndex> layers)
      : index(node),
        top_candidate(layers.front()),
        more_candidates(layers.size() == 1
                            ? nullptr
                            : std::make_unique<const std::vector<LayerIndex>>(std::move(layers))) {}

  const NodeIndex index;
  // The layers in which the parent's merge found this directory, before opaque and redirect marks
  // are looked at.
  std::span<const LayerIndex> candidates() const {
    return more_candidates ? std::span<const LayerIndex>(*more_candidates)
                           : std::span<const LayerIndex>(&top_candidate, 1);
  }

  SharedMutex mu;  // rank 30, ancestors before descendants
  NameTable names STRATA_GUARDED_BY(mu);
  bool loaded STRATA_GUARDED_BY(mu) = false;
  bool dead STRATA_GUARDED_BY(mu) = false;          // removed: nothing can be made in it
  std::uint16_t changes STRATA_GUARDED_BY(mu) = 0;  // names that came, went or changed; wraps
  std::optional<Inheritance> inheritance STRATA_GUARDED_BY(mu);  // where known; changes forget it

  // For loading ahead of a walk: the slot of the child that was listed last, and whether this
  // directory has been asked for ahead. Hints, no more.
  std::atomic<NameTable::Slot> last_listed = NameTable::kNone;
  std::atomic<bool> loaded_ahead = false;

  Mutex stack_mu;  // rank 50, descendants before ancestors
  bool resolved STRATA_GUARDED_BY(stack_mu) = false;
  // Topmost first. All layers of the chain together are its last entry, under the number of the
  // topmost of them that has the directory.
  std::vector<StackEntry> stack STRATA_GUARDED_BY(stack_mu);
  // Its number in the chain's index; set when it is resolved and never changed, as the chain is
  // not.
  std::atomic<ChainDirectory> in_chain = kNotInChain;
  DirectoryExtras& extras() STRATA_REQUIRES(stack_mu) {
    if (!extras_if_any) extras_if_any = std::make_unique<DirectoryExtras>();
    return *extras_if_any;
  }
  std::unique_ptr<DirectoryExtras> extras_if_any STRATA_GUARDED_BY(stack_mu);

  // See candidates(). Most directories are in one layer.
  const LayerIndex top_candidate;
  const std::unique_ptr<const std::vector<LayerIndex>> more_candidates;
};
using DirectoryRef = std::shared_ptr<Directory>;

}  // namespace strata::fusefs
