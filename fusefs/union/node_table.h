// The union's inodes: fixed-size records in one shared-memory arena, addressed by index.
//
// The arena (a memfd) holds no pointer and no lock, so a successor process can map it and go on
// (DESIGN §5.4, §8). Locks live beside it, striped by index.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// Index into the node table; 0 is "none", 1 the root.
using NodeIndex = std::uint32_t;

enum NodeFlag : std::uint16_t {
  kNodeLive = 1U << 0U,
  kNodeDying = 1U << 1U,  // about to be freed: can no longer be referenced
  kNodeDirectory = 1U << 2U,
  kNodeRegular = 1U << 3U,
  kNodeOrphan = 1U << 4U,   // its name is gone; reached by a descriptor the engine holds
  kNodeRetired = 1U << 5U,  // replaced by `successor`; only old open files still use it
  kNodeIndexed = 1U << 6U,  // upper file of a lower link group, reached through the index directory
  kNodeSuccessor = 1U << 8U,  // took a retired node's place
  kNodeStalePages =
      1U << 7U,  // written in passthrough mode: the kernel's own page cache may be behind
  kNodeBorrows = 1U << 9U,   // its file has attributes only: all data is in a lower layer
  kNodePartial = 1U << 10U,  // an upper file that has some of the data, and a block map
  kNodeSmall = 1U << 11U,    // while it is a lower file: below the size for passthrough
  // Made here, and given no extended attribute since: security.capability, which the kernel asks
  // for at each first write and chown, need not be looked up.
  kNodeNoCapability = 1U << 12U,
};

struct NodeRecord {
  std::uint64_t lookups = 0;   // references the kernel holds
  std::uint64_t ino = 0;       // st_ino as shown, for life
  std::uint64_t real_ino = 0;  // inode number in its layer's filesystem
  std::uint32_t refs = 0;      // children, retired predecessors and operations under way
  NodeIndex parent = 0;        // directory in which `name` leads here; a reference is held on it
  std::uint32_t name = 0;      // into the name heap
  std::uint32_t generation = 0;
  NodeIndex successor = 0;  // of a retired node; a reference is held on it
  std::int32_t nlink_delta =
      0;                    // shown links minus links of the upper inode (docs/formats/upper.md)
  std::uint32_t entry = 0;  // in the chain's index, while `layer` is one of the chain's
  std::uint16_t layer = 0;  // where it lives; for directories the topmost layer
  std::uint16_t flags = 0;

  bool Is(NodeFlag flag) const { return (flags & flag) != 0; }
  void Set(NodeFlag flag) { flags = static_cast<std::uint16_t>(flags | flag); }
  void Clear(NodeFlag flag) { flags = static_cast<std::uint16_t>(flags & ~flag); }
};
static_assert(std::is_trivially_copyable_v<NodeRecord> && sizeof(NodeRecord) <= 64);

// A record as it was at one moment, with its name.
struct NodeView : NodeRecord {
  std::string name_text;
};

// A reference that does not keep its node: valid while the generation matches.
struct WeakNode {
  NodeIndex index = 0;
  std::uint32_t generation = 0;
  bool operator==(const WeakNode&) const = default;
};

// Thread-safe.
class NodeTable {
 public:
  // ENOMEM if the arena cannot be made.
  static Result<std::unique_ptr<NodeTable>> Create();
  ~NodeTable();
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  // A new live node with the given fields (lookups, refs and flags included). ENFILE when the table
  // is full.
  Result<WeakNode> Add(const NodeRecord& fields, std::string_view name);

  // Runs `f(NodeRecord&)` with the record locked. `f` must not call back into the table.
  template <class F>
  auto With(NodeIndex index, F f) {
    MutexLock lock(StripeOf(index));
    return f(*At(index));
  }

  NodeView View(NodeIndex index);

  // Adds a kernel lookup / an internal reference if the node still is what `weak` meant.
  bool TryLookup(WeakNode weak);
  bool TryPin(WeakNode weak);
  void Pin(NodeIndex index);

  // Changes where the node is found. The caller moves the reference on the parent.
  void Rename(NodeIndex index, NodeIndex parent, std::string_view name);

  // Gives references back. True if that was the last one: the node is dying, and the caller clears
  // what it keeps about the node and then calls Free().
  bool Release(NodeIndex index, std::uint64_t lookups, std::uint32_t refs, NodeRecord* last);
  void Free(NodeIndex index);

  std::uint64_t live() const;
  // Memory that records and names take up, in bytes. Most of what freed nodes took is given back
  // once they are many.
  std::uint64_t bytes() const;

 private:
  // Sizes of the reserved address space, not of memory used: pages appear as they are touched.
  static constexpr std::size_t kMaxNodes = std::size_t{1} << 28U;
  static constexpr std::size_t kNodeBytes = kMaxNodes * sizeof(NodeRecord);
  static constexpr std::size_t kNameUnit = 8;  // bytes
  static constexpr std::size_t kNameBytes = std::size_t{1} << 34U;
  static constexpr std::size_t kNameClasses = 32;  // up to 256 bytes: a length byte and 255 more
  static constexpr std::size_t kStripes = 256;

  NodeTable(UniqueFd memory, std::byte* base) : memory_(std::move(memory)), base_(base) {}

  Mutex& StripeOf(NodeIndex index) { return stripes_[index % kStripes]; }
  NodeRecord* At(NodeIndex index) {
    return reinterpret_cast<NodeRecord*>(base_ + index * sizeof(NodeRecord));
  }
  char* NameAt(std::uint32_t ref) {
    return reinterpret_cast<char*>(base_ + kNodeBytes + ref * kNameUnit);
  }
  // Gives back the memory of free records and names.
  void Trim() STRATA_REQUIRES(free_mu_);
  void TrimNodes() STRATA_REQUIRES(free_mu_);
  void TrimNames() STRATA_REQUIRES(free_mu_);
  // The pages that lie in [start, end) of the arena as a whole.
  void GiveBack(std::size_t start, std::size_t end);
  std::string_view NameOf(const NodeRecord& record);
  Result<std::uint32_t> AddName(std::string_view name);
  void DropName(std::uint32_t ref);

  UniqueFd memory_;
  std::byte* base_;
  std::array<Mutex, kStripes> stripes_;  // rank 60: nothing but 70 is taken under it

  mutable Mutex free_mu_;  // rank 70
  std::vector<NodeIndex> free_nodes_ STRATA_GUARDED_BY(free_mu_);
  NodeIndex next_node_ STRATA_GUARDED_BY(free_mu_) = 1;
  // Of the next node. Not kept in the records, whose memory may have been given back.
  std::uint32_t next_generation_ STRATA_GUARDED_BY(free_mu_) = 1;
  std::uint64_t live_ STRATA_GUARDED_BY(free_mu_) = 0;
  std::uint64_t most_ STRATA_GUARDED_BY(free_mu_) = 0;  // that were live since the last Trim()
  std::array<std::vector<std::uint32_t>, kNameClasses> free_names_ STRATA_GUARDED_BY(free_mu_);
  std::uint32_t next_name_ STRATA_GUARDED_BY(free_mu_) = 1;
};

}  // namespace strata::fusefs
