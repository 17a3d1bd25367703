// Names to nodes.
#include <charconv>

#include "base/hex.h"
#include "base/logging.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

template <class T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

WeakNode UnionEngine::Current(WeakNode node) {
  for (;;) {
    const WeakNode next = nodes_->With(node.index, [&](NodeRecord& record) {
      if (node.index == 0 || record.generation != node.generation || !record.Is(kNodeRetired)) {
        return WeakNode{};
      }
      return WeakNode{record.successor, 0};
    });
    if (next.index == 0) return node;
    // A successor is pinned by the node it replaced, so its generation is the present one.
    node = {next.index, nodes_->With(next.index, [](NodeRecord& r) { return r.generation; })};
  }
}

NodeIndex UnionEngine::Current(NodeIndex node) {
  for (;;) {
    const NodeIndex next = nodes_->With(
        node, [](NodeRecord& r) { return r.Is(kNodeRetired) ? r.successor : NodeIndex{0}; });
    if (next == 0) return node;
    node = next;
  }
}

Result<WeakNode> UnionEngine::AddNode(const NodeRecord& fields, std::string_view name) {
  auto added = nodes_->Add(fields, name);
  if (added && fields.parent != 0) nodes_->Pin(fields.parent);
  return added;
}

void UnionEngine::Drop(NodeIndex node, std::uint64_t lookups, std::uint32_t refs) {
  std::vector<std::pair<NodeIndex, std::uint64_t>> work{{node, lookups}};
  bool first = true;
  while (!work.empty()) {
    const auto [index, count] = work.back();
    work.pop_back();
    NodeRecord last;
    const bool dying = nodes_->Release(index, first ? count : 0, first ? refs : 1, &last);
    first = false;
    if (!dying) continue;
    if (!last.Is(kNodeDirectory)) {
      links_->Erase(RealInodeOf(last), {index, last.generation});
    }
    if (last.Is(kNodePartial) && last.Is(kNodeOrphan) && !last.Is(kNodeRetired)) {
      if (const auto orphan = orphans_.Find(index)) DropBlockMap(orphan->get());
    }
    DropBacking(idle_backings_.Take(index));
    dirs_.Take(index);
    open_files_.Take(index);
    orphans_.Take(index);
    index_names_.Take(index);
    retired_.Take(index);
    successors_.Take(index);
    nodes_->Free(index);
    if (last.parent != 0) work.emplace_back(last.parent, 0);
    if (last.successor != 0) work.emplace_back(last.successor, 0);
  }
}

void UnionEngine::Forget(NodeId node, std::uint64_t count) {
  if (node == kRootNode) return;
  Drop(static_cast<NodeIndex>(node.value), count, 0);
}

// In another part of the filesystem than the layer's root, where inodes have the numbers of others.
bool UnionEngine::InVolume(LayerIndex layer, const struct stat& st) const {
  return !layers_->InChain(layer) && st.st_dev != layers_->device(layer);
}

std::uint64_t UnionEngine::ShownIno(LayerIndex layer, const struct stat& st, int dir,
                                    const char* name) {
  if (layer == kUpperLayer) {
    const auto recorded = env_.files.GetXattrAt(dir, name, layers_->xattrs().Inode().c_str());
    if (recorded) {
      if (const auto number = ParseNumber<std::uint64_t>(*recorded)) return *number;
    } else if (!S_ISDIR(st.st_mode)) {
      const auto origin = env_.files.GetXattrAt(dir, name, layers_->xattrs().Origin().c_str());
      const auto number = origin ? layers_->InoOfOrigin(*origin) : std::nullopt;
      if (number) return *number;
    }
  }
  const std::uint64_t volume = InVolume(layer, st) ? VolumeOf(dir, name, st) : 0;
  return layers_->ShownIno(layer, st.st_ino, volume);
}

Result<UnionEngine::Bound> UnionEngine::Bind(Directory& dir, Slot slot, const NamePlace& place) {
  const WeakNode known = Current(dir.names.at(slot).node);
  if (nodes_->TryLookup(known)) return Bound{known, std::nullopt};

  const int fd = place.dir ? place.dir->get() : -1;
  FoundName found;
  if (place.entry && layers_->InChain(dir.names.at(slot).layer)) {
    found = {AttributesOf(*place.entry), fd, place.entry->number, place.entry->identity};
  } else {
    const std::string name(dir.names.NameOf(slot));
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.StatAt(fd, name.c_str()));
    found = {st, fd, 0, std::nullopt};
  }
  return S_ISDIR(found.st.st_mode) ? BindDirectory(dir, slot, found) : BindFile(dir, slot, found);
}

Result<ChainEntry> UnionEngine::FindInChain(Directory& dir, std::string_view name) {
  STRATA_TRY_ASSIGN(const auto number, layers_->index().Find(dir.in_chain, name));
  if (!number) return Fail(EIO, "lookup", std::string(name) + " is not in the chain's index");
  return layers_->index().At(*number);
}

// The index says all about most names of a chain. Not where a file's data is if not in it, nor by
// which handle a link group is known to the upper layer.
Result<UnionEngine::NamePlace> UnionEngine::FindPlace(Directory& dir, LayerIndex layer,
                                                      std::string_view name) {
  NamePlace place;
  if (layers_->InChain(layer)) {
    STRATA_TRY_ASSIGN(place.entry, FindInChain(dir, name));
    const bool group = place.entry->attr.st_nlink > 1 && !S_ISDIR(place.entry->attr.st_mode);
    if (!place.entry->metacopy && !(group && layers_->writable())) return place;
  }
  STRATA_TRY_ASSIGN(place.dir, Fd(dir, layer));
  return place;
}

Result<UnionEngine::Bound> UnionEngine::BindDirectory(Directory& dir, Slot slot,
                                                      const FoundName& found) {
  const struct stat& st = found.st;
  DirSlot& entry = dir.names.at(slot);
  const std::string name(dir.names.NameOf(slot));
  NodeRecord record;
  record.lookups = 1;
  record.parent = dir.index;
  record.layer = entry.layer;
  record.real_ino = st.st_ino;
  record.ino = ShownIno(entry.layer, st, found.dir, name.c_str());
  record.entry = found.entry;
  record.Set(kNodeDirectory);
  STRATA_TRY_ASSIGN(entry.node, AddNode(record, name));
  auto child = std::make_shared<Directory>(entry.node.index, dir.names.MergedLayers(slot));
  dirs_.Put(entry.node.index, std::move(child));
  Bound bound{entry.node, st};
  Present(record, *bound.attr);
  if (entry.merged != 0) bound.attr->st_nlink = 1;
  return bound;
}

RealInode UnionEngine::RealInodeOf(const NodeRecord& record) const {
  const bool upper = record.layer == kUpperLayer;
  return {layers_->filesystem(record.layer), upper ? record.real_ino : record.ino};
}

std::optional<WeakNode> UnionEngine::TryLinked(RealInode inode) {
  const WeakNode node = Current(links_->Find(inode));
  if (node.index != 0 && nodes_->TryLookup(node)) return node;
  return std::nullopt;
}

std::string UnionEngine::OriginOf(LayerIndex layer, const std::string& name,
                                  const FoundName& found) const {
  const FilesystemIdentity& filesystem = layers_->identity(layer);
  if (found.identity) {
    return LogicalOriginHandle(filesystem, layers_->LogicalIno(layer, *found.identity));
  }
  return OriginHandle(filesystem, found.dir, name.c_str(), found.st);
}

// The index entry of a file with several names: an upper one says where it came from, a lower one
// is asked for its handle.
std::optional<std::string> UnionEngine::IndexNameOf(LayerIndex layer, const std::string& name,
                                                    const FoundName& found) {
  if (!links_->HasIndex()) return std::nullopt;
  std::optional<std::string> handle;
  if (layer != kUpperLayer) {
    handle = OriginOf(layer, name, found);
  } else if (auto origin = env_.files.GetXattrAt(found.dir, name.c_str(),
                                                 layers_->xattrs().Origin().c_str())) {
    handle = std::move(*origin);
  }
  if (!handle) return std::nullopt;
  std::string hex = HexEncode(*handle);
  if (!links_->Indexed(hex)) return std::nullopt;
  return hex;
}

// Kernel overlayfs counts from the lower inode's links (L) while it gives a file a further upper
// name, and from the upper inode's (U) otherwise.
std::int32_t UnionEngine::LinkDeltaOf(int dir, const std::string& name, nlink_t upper_links) {
  const auto mark = env_.files.GetXattrAt(dir, name.c_str(), layers_->xattrs().LinkCount().c_str());
  if (!mark || (!mark->starts_with("U") && !mark->starts_with("L"))) return 0;
  std::string_view number(*mark);
  number.remove_prefix(number.substr(1).starts_with('+') ? 2 : 1);
  const auto delta = ParseNumber<std::int32_t>(number);
  if (!delta || mark->starts_with("U")) return delta.value_or(0);
  const auto origin = env_.files.GetXattrAt(dir, name.c_str(), layers_->xattrs().Origin().c_str());
  const auto lower_links = origin ? layers_->LinksOfOrigin(*origin) : std::nullopt;
  if (!lower_links) return 0;
  return static_cast<std::int32_t>(*lower_links) + *delta - static_cast<std::int32_t>(upper_links);
}

// Metadata-only copies have their data in a lower layer; here, holes. In lower layers, where an
// upper one may have been put, they are known by that: not to ask for an xattr of every file of
// every image (docs/limits.md).
Result<std::uint16_t> UnionEngine::DataFlagsOf(LayerIndex layer, const struct stat& st, int dir,
                                               const std::string& name) {
  constexpr std::uint16_t kAllHere = 0;
  if (!S_ISREG(st.st_mode) || st.st_size == 0) return kAllHere;
  if (layer != kUpperLayer && st.st_blocks * kStatBlock >= st.st_size) return kAllHere;
  if (dir < 0) return kAllHere;  // see FindPlace()
  const auto mark = env_.files.GetXattrAt(dir, name.c_str(), layers_->xattrs().Metacopy().c_str());
  if (!mark) return kAllHere;
  if (SaysAllIsBelow(*mark)) return static_cast<std::uint16_t>(kNodeBorrows);
  if (!SaysHalfCopied(*mark)) return Fail(EIO, "lookup", name + " has a damaged metacopy mark");
  if (layer == kUpperLayer) return static_cast<std::uint16_t>(kNodePartial);
  log::Warn("a half-copied file in a lower layer cannot be served: finalize the layer it was in",
            {{"name", name}});
  return Fail(EPERM, "lookup", name);
}

Result<UnionEngine::Bound> UnionEngine::BindFile(Directory& dir, Slot slot,
                                                 const FoundName& found) {
  const struct stat& st = found.st;
  const int fd = found.dir;
  DirSlot& entry = dir.names.at(slot);
  const std::string name(dir.names.NameOf(slot));
  NodeRecord record;
  record.lookups = 1;
  record.parent = dir.index;
  record.layer = entry.layer;
  record.real_ino = st.st_ino;
  record.ino = found.identity ? layers_->ShownIno(entry.layer,
                                                  layers_->LogicalIno(entry.layer, *found.identity))
                              : ShownIno(entry.layer, st, fd, name.c_str());
  record.entry = found.entry;
  if (S_ISREG(st.st_mode)) record.Set(kNodeRegular);
  const RealInode inode = RealInodeOf(record);

  STRATA_TRY_ASSIGN(std::uint16_t data_flags, DataFlagsOf(entry.layer, st, fd, name));
  struct stat shown = st;
  std::optional<std::string> index_name;
  if (st.st_nlink > 1) {
    if (const auto linked = TryLinked(inode)) {
      entry.node = *linked;
      return Bound{*linked, std::nullopt};
    }
    index_name = IndexNameOf(entry.layer, name, found);
    if (index_name) {
      // Copied up under another of its names, by this mount or an earlier one.
      STRATA_TRY_ASSIGN(shown, env_.files.StatAt(work_->index_fd(), index_name->c_str()));
      const RealInode upper{layers_->filesystem(kUpperLayer), shown.st_ino};
      if (const auto linked = TryLinked(upper)) {
        entry.node = *linked;
        return Bound{*linked, std::nullopt};
      }
      record.layer = kUpperLayer;
      record.real_ino = shown.st_ino;
      record.Set(kNodeIndexed);
      STRATA_TRY_ASSIGN(data_flags,
                        DataFlagsOf(kUpperLayer, shown, work_->index_fd(), *index_name));
    }
    if (record.layer == kUpperLayer) {
      record.nlink_delta = LinkDeltaOf(index_name ? work_->index_fd() : fd,
                                       index_name ? *index_name : name, shown.st_nlink);
    }
  }
  record.flags = static_cast<std::uint16_t>(record.flags | data_flags);
  if (static_cast<std::uint64_t>(shown.st_size) < options_.passthrough_threshold) {
    record.Set(kNodeSmall);
  }
  STRATA_TRY_ASSIGN(entry.node, AddNode(record, name));
  if (index_name) {
    index_names_.Put(entry.node.index, std::make_shared<const std::string>(*index_name));
    links_->Put({layers_->filesystem(kUpperLayer), record.real_ino}, entry.node);
  }
  if (st.st_nlink > 1) links_->Put(inode, entry.node);
  Bound bound{entry.node, shown};
  Present(record, *bound.attr);
  return bound;
}

Result<EntryReply> UnionEngine::Reply(Bound bound) {
  ArrivedByName(bound.node.index);
  EntryReply reply;
  reply.node = NodeId{bound.node.index};
  reply.generation = bound.node.generation;
  if (bound.attr) {
    reply.attr = *bound.attr;
    return reply;
  }
  auto st = StatNode(bound.node.index);
  if (!st) {
    Drop(bound.node.index, 1, 0);
    return std::unexpected(std::move(st).error());
  }
  reply.attr = *st;
  return reply;
}

Result<EntryReply> UnionEngine::Lookup(NodeId parent, std::string_view name) {
  if (name.size() > NAME_MAX) return Fail(ENAMETOOLONG, "lookup");
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(parent.value)));
  STRATA_TRY(EnsureLoaded(*dir));
  for (int race = 0; race < kMaxRaces; ++race) {
    LayerIndex layer = 0;
    std::optional<WeakNode> hit;
    {
      ReadLock lock(dir->mu);
      const Slot slot = dir->names.Find(name);
      if (slot == NameTable::kNone || dir->names.at(slot).whiteout) return Fail(ENOENT, "lookup");
      layer = dir->names.at(slot).layer;
      const WeakNode known = dir->names.at(slot).node;
      const bool retired = known.index != 0 && Current(known).index != known.index;
      if (!retired && nodes_->TryLookup(known)) hit = known;
    }
    if (hit) return Reply({*hit, std::nullopt});
    STRATA_TRY_ASSIGN(const NamePlace place, FindPlace(*dir, layer, name));
    Bound bound;
    {
      WriteLock lock(dir->mu);
      const Slot slot = dir->names.Find(name);
      if (slot == NameTable::kNone || dir->names.at(slot).whiteout) return Fail(ENOENT, "lookup");
      if (dir->names.at(slot).layer != layer) continue;
      STRATA_TRY_ASSIGN(bound, Bind(*dir, slot, place));
    }
    return Reply(bound);
  }
  return Fail(EIO, "lookup", "the name kept changing its layer");
}

}  // namespace strata::fusefs
