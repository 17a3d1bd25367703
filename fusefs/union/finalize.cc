// `stratafs --finalize`: what only this engine finds its way in becomes what any overlay reads.
// Files get the data they borrow, lower names of files that are in the upper layer under another
// name get upper names, and then the index of link groups and the block maps say nothing any more.
#include <dirent.h>
#include <sys/stat.h>

#include "base/logging.h"
#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {

Result<FinalizeReport> UnionEngine::Finalize() {
  if (!layers_->writable()) return Fail(EROFS, "finalize");
  FinalizeReport report;
  STRATA_TRY(FinalizeBelow(kRootNode, "", report));
  STRATA_TRY(RemoveIndex(report));
  return report;
}

Result<> UnionEngine::FinalizeBelow(NodeId dir, const std::string& path, FinalizeReport& report) {
  std::vector<std::string> names;
  STRATA_TRY(List(dir, 0, false, [&](const ListedEntry& entry) {
    if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
    return true;
  }));
  for (const std::string& name : names) {
    const std::string below = JoinPath(path, name);
    auto entry = Lookup(dir, name);
    if (!entry) return std::unexpected(std::move(entry).error().WithContext(below));
    const Held held(*this, *entry);
    if (S_ISDIR(held.attr().st_mode)) {
      // Of what is in lower layers only, nothing but the names of a link group can be amiss.
      if (InUpperNow(held.index()) || links_->HasIndex()) {
        STRATA_TRY(FinalizeBelow(entry->node, below, report));
      }
      continue;
    }
    auto done = FinalizeFile(static_cast<NodeIndex>(dir.value), name, held.index(), report);
    if (!done) return std::unexpected(std::move(done).error().WithContext(below));
  }
  return {};
}

Result<> UnionEngine::FinalizeFile(NodeIndex parent, const std::string& name, NodeIndex node,
                                   FinalizeReport& report) {
  if (!InUpperNow(node)) return {};
  constexpr CopyUpNeed kWhole{DataNeed::kWhole, std::nullopt};
  if (!nodes_->With(node, [&](NodeRecord& r) { return Serves(r, kWhole); })) {
    STRATA_TRY(EnsureUpper(node, kWhole));
    ++report.completed;
  }
  if (!HasAny(node, kNodeIndexed)) return {};
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(parent));
  {
    ReadLock lock(dir->mu);
    const Slot slot = dir->names.Find(name);
    if (slot != NameTable::kNone && dir->names.at(slot).layer == kUpperLayer) return {};
  }
  STRATA_TRY(EnsureUpperDir(parent));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));
  STRATA_TRY_ASSIGN(const SharedFd file, OpenNode(node, O_PATH));
  WriteLock lock(dir->mu);
  const Slot slot = dir->names.Find(name);
  if (slot == NameTable::kNone) return Fail(ENOENT, "finalize");
  const KeepTimes times(env_.files, upper->get());
  STRATA_TRY(PromoteName(*dir, slot, node, upper->get(), file->get()));
  ++report.linked;
  return {};
}

// Every name there is has its upper name by now. An entry whose file has more names than were found
// stays: these may not be all of the lower layers, or copies of them, and by those names no other
// file leads to what was changed. (A lower name that another layer hides counts, too.)
Result<> UnionEngine::RemoveIndex(FinalizeReport& report) {
  const OverlayXattrs& xattrs = layers_->xattrs();
  const int index = work_->index_fd();
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(env_.files, index));
  for (const std::string& name : names) {
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.StatAt(index, name.c_str()));
    // Kernel overlayfs has entries for directories and deleted files, too, for NFS (nfs_export=on).
    if (S_ISDIR(st.st_mode) || layerstore::IsWhiteoutDevice(st)) continue;
    // Without a count it was done with when an earlier run ended here.
    auto count = env_.files.GetXattrAt(index, name.c_str(), xattrs.LinkCount().c_str());
    if (!count && count.error().code() != ENODATA && count.error().code() != EOPNOTSUPP) {
      return std::unexpected(std::move(count).error().WithContext("index entry " + name));
    }
    const std::int64_t links = st.st_nlink + LinkDeltaOf(index, name, st.st_nlink);
    const std::int64_t found = static_cast<std::int64_t>(st.st_nlink) - 1;
    if (found == 0 || (count && links > found)) {
      log::Warn("an entry of the index of links was kept: not all of its names are in this union",
                {{"entry", name}, {"names", links}, {"found", found}});
      ++report.kept;
      continue;
    }
    // In this order a link too many is counted after a crash between the two, not one too few.
    STRATA_TRY_ASSIGN(const UniqueFd file,
                      env_.files.Open(index, name.c_str(), O_PATH | O_NOFOLLOW));
    if (count) STRATA_TRY(env_.files.RemoveXattr(file.get(), xattrs.LinkCount().c_str()));
    STRATA_TRY(env_.files.Unlink(index, name.c_str()));
    links_->RemoveIndexed(name);
    ++report.index_entries;
  }
  return {};
}

}  // namespace strata::fusefs
