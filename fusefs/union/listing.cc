// Listings, and what a walk will list next.
#include <dirent.h>

#include <algorithm>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

// Listing offsets: 0 is ".", 1 "..", and from here on slot numbers. Above these, as far as there is
// room in 31 bits (32-bit programs have no more), stand the changes the directory has seen: the
// kernel's cache of a listing takes the second half of a later one for its own if the offsets fit
// (linux: fs/fuse/readdir.c, fuse_readdir_cache_end), and then shows names that are gone.
constexpr std::uint64_t kFirstSlot = 2;
constexpr unsigned kPlaceBits = 20;
constexpr std::uint64_t kPlaces = std::uint64_t{1} << kPlaceBits;
constexpr std::uint64_t kChanges = std::uint64_t{1} << (30U - kPlaceBits);
constexpr std::uint64_t kBeyond = kPlaces * kChanges;

// Of what follows a slot.
std::uint64_t OffsetAfter(NameTable::Slot slot, std::uint16_t changes) {
  const std::uint64_t place = slot + kFirstSlot + 1;
  if (place >= kPlaces) return kBeyond + place;
  return (changes % kChanges) * kPlaces + place;
}

NameTable::Slot SlotAt(std::uint64_t offset) {
  const std::uint64_t place = offset >= kBeyond ? offset - kBeyond : offset % kPlaces;
  return static_cast<NameTable::Slot>(place - kFirstSlot);
}

// What readdir(3) tells of a name that cannot be looked at, as FUSE servers do.
constexpr std::uint64_t kUnknownIno = 0xffffffff;
// Entries bound at a time; about what fills the kernel's readdirplus buffer.
constexpr std::size_t kListBatch = 128;

// Siblings loaded ahead of a walk, topped up when half of them are used.
constexpr std::size_t kAhead = 16;
// Other entries between two directories that are still looked across for the next one.
constexpr std::size_t kMaxGap = 256;
// Entries whose attributes are fetched ahead, a directory.
constexpr std::size_t kMaxWarmed = 512;

// The next directory from `slot` on in either direction, or kNone.
NameTable::Slot NextDirectory(const NameTable& names, NameTable::Slot slot, bool forward) {
  for (std::size_t gap = 0; gap < kMaxGap; ++gap) {
    if (forward ? slot + 1 >= names.end() : slot == 0) break;
    slot = forward ? slot + 1 : slot - 1;
    if (names.InUse(slot) && !names.at(slot).whiteout && names.at(slot).type == DT_DIR) return slot;
  }
  return NameTable::kNone;
}

}  // namespace

Result<> UnionEngine::List(NodeId node, std::uint64_t offset, bool attributes,
                           const std::function<bool(const ListedEntry&)>& add) {
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(node.value)));
  STRATA_TRY(EnsureLoaded(*dir));
  const NodeView self = nodes_->View(dir->index);
  if (offset == 0) {
    LoadAheadOf(*dir, self);
    if (!add({".", 1, self.ino, DT_DIR, nullptr})) return {};
    offset = 1;
  }
  if (offset == 1) {
    const std::uint64_t up = self.parent == 0 ? self.ino : nodes_->View(self.parent).ino;
    if (!add({"..", kFirstSlot, up, DT_DIR, nullptr})) return {};
    offset = kFirstSlot;
  }
  Slot next = SlotAt(offset);
  for (;;) {
    STRATA_TRY_ASSIGN(const std::size_t done, ListBatch(*dir, &next, attributes, add));
    if (done < kListBatch) return {};
  }
}

Result<std::size_t> UnionEngine::ListBatch(Directory& dir, Slot* next, bool attributes,
                                           const std::function<bool(const ListedEntry&)>& add) {
  struct Item {
    std::string name;
    Slot slot = 0;
    LayerIndex layer = 0;
    unsigned char type = 0;
    std::optional<ChainEntry> entry = std::nullopt;
    Bound bound = {};
    bool valid = false;
    bool broken = false;  // there, but not to be looked at
  };
  std::vector<Item> items;
  bool at_end = true;
  std::uint16_t changes = 0;
  {
    ReadLock lock(dir.mu);
    changes = dir.changes;
    for (Slot slot = *next; slot < dir.names.end(); ++slot) {
      if (!dir.names.InUse(slot) || dir.names.at(slot).whiteout) continue;
      if (items.size() == kListBatch) {
        at_end = false;
        break;
      }
      const DirSlot& entry = dir.names.at(slot);
      items.push_back({.name = std::string(dir.names.NameOf(slot)),
                       .slot = slot,
                       .layer = entry.layer,
                       .type = entry.type});
    }
  }
  if (items.empty()) return std::size_t{0};

  std::vector<LayerFd> fds;
  for (Item& item : items) {
    const auto known = std::ranges::find(fds, item.layer, &LayerFd::layer);
    if (known != fds.end() && !layers_->InChain(item.layer)) continue;
    auto place = FindPlace(dir, item.layer, item.name);
    if (!place && place.error().code() != ENOENT) return std::unexpected(std::move(place).error());
    if (!place) continue;
    item.entry = std::move(place->entry);
    if (known == fds.end()) {
      fds.push_back({item.layer, std::move(place->dir)});
    } else if (place->dir) {
      known->fd = std::move(place->dir);
    }
  }
  {
    WriteLock lock(dir.mu);
    for (Item& item : items) {
      // Gone or moved to another layer meanwhile: leaving a changing name out is what readdir(3)
      // allows.
      if (!dir.names.InUse(item.slot) || dir.names.NameOf(item.slot) != item.name) continue;
      const DirSlot& entry = dir.names.at(item.slot);
      const auto fd = std::ranges::find(fds, entry.layer, &LayerFd::layer);
      if (entry.whiteout || fd == fds.end()) continue;
      auto bound = Bind(dir, item.slot, {fd->fd, std::move(item.entry)});
      if (!bound) {
        // The stat(2) of that name will say what is wrong with it: to leave it out would have a
        // copy of the tree lack it without a word.
        item.broken = bound.error().code() != ENOENT;
        continue;
      }
      item.bound = std::move(*bound);
      item.valid = true;
    }
  }
  bool full = false;
  for (Item& item : items) {
    const NodeIndex index = item.bound.node.index;
    if (full) {
      if (item.valid) Drop(index, 1, 0);
      continue;
    }
    Result<EntryReply> reply = EntryReply{};
    if (item.valid) {
      reply = Reply(item.bound);
      item.valid = reply.has_value();
      item.broken = !reply && reply.error().code() != ENOENT;
    }
    if (!item.valid) {
      if (item.broken) {
        full = !add({item.name, OffsetAfter(item.slot, changes), kUnknownIno, item.type, nullptr});
      }
      if (!full) *next = item.slot + 1;
      continue;
    }
    const bool taken = add({item.name, OffsetAfter(item.slot, changes), reply->attr.st_ino,
                            item.type, attributes ? &*reply : nullptr});
    if (!taken || !attributes) Drop(index, 1, 0);
    if (taken) {
      *next = item.slot + 1;
    } else {
      full = true;
    }
  }
  return full || at_end ? std::size_t{0} : kListBatch;
}

void UnionEngine::LoadAheadOf(const Directory& dir, const NodeView& self) {
  if (options_.walk_ahead_threads == 0 || self.parent == 0) return;
  if (layers_->InChain(dir.candidates().front())) return;  // it is in memory
  const DirectoryRef parent = dirs_.Find(self.parent);
  if (!parent || dir.candidates().size() * kAhead > max_cached_fds_ / 2) return;

  std::vector<WeakNode> next;
  {
    ReadLock lock(parent->mu);
    const NameTable& names = parent->names;
    NameTable::Slot slot = names.Find(self.name_text);
    if (slot == NameTable::kNone) return;
    const NameTable::Slot before = parent->last_listed.exchange(slot, std::memory_order_relaxed);
    if (before == NameTable::kNone || before == slot || before >= names.end()) return;
    const bool forward = slot > before;
    if (NextDirectory(names, before, forward) != slot) return;  // not one after the other
    for (std::size_t i = 0; i < kAhead; ++i) {
      slot = NextDirectory(names, slot, forward);
      if (slot == NameTable::kNone) break;
      const WeakNode node = names.at(slot).node;
      const DirectoryRef sibling = node.index != 0 ? dirs_.Find(node.index) : nullptr;
      if (!sibling) continue;
      const bool asked = sibling->loaded_ahead.exchange(true, std::memory_order_relaxed);
      if (asked && i == kAhead / 2) return;  // enough is on its way
      if (!asked) next.push_back(node);
    }
  }
  walk_ahead_.Add(next);
}

void UnionEngine::LoadAhead(WeakNode node) {
  if (!nodes_->TryLookup(node)) return;
  if (auto warmed = Warm(node.index); !warmed) {
    // Whoever asks for the directory gets the error.
    log::Debug("not loaded ahead", {{"error", warmed.error().ToString()}});
  }
  Drop(node.index, 1, 0);
}

// Loads the directory, and has the kernel read its entries' inodes.
Result<> UnionEngine::Warm(NodeIndex node) {
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(node));
  {
    ReadLock lock(dir->mu);
    if (dir->loaded) return {};
  }
  STRATA_TRY(EnsureLoaded(*dir));
  std::vector<std::pair<LayerIndex, std::string>> entries;
  {
    ReadLock lock(dir->mu);
    for (NameTable::Slot slot = 0; slot < dir->names.end(); ++slot) {
      if (entries.size() == kMaxWarmed) break;
      if (!dir->names.InUse(slot) || dir->names.at(slot).whiteout) continue;
      entries.emplace_back(dir->names.at(slot).layer, dir->names.NameOf(slot));
    }
  }
  std::ranges::stable_sort(entries, {}, &std::pair<LayerIndex, std::string>::first);
  SharedFd fd;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& [layer, name] = entries[i];
    if (layers_->InChain(layer)) break;  // and so are all that follow
    if (i == 0 || layer != entries[i - 1].first) {
      STRATA_TRY_ASSIGN(fd, Fd(*dir, layer));
    }
    STRATA_TRY(env_.files.StatAt(fd->get(), name.c_str()));
  }
  return {};
}

}  // namespace strata::fusefs
