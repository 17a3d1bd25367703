// Files without a name (O_TMPFILE): made in the upper directory, so that they inherit what a named
// one would, and known by their descriptor until they are linked.
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {

Result<Engine::Created> UnionEngine::CreateUnnamed(NodeId parent, mode_t mode, int flags,
                                                   const Caller& who) {
  if (!layers_->writable()) return Fail(EROFS, "create");
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(parent.value)));
  {
    ReadLock lock(dir->mu);
    if (dir->dead) return Fail(ENOENT, "create");
  }
  STRATA_TRY(EnsureUpperDir(dir->index));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));
  Inheritance from;
  {
    WriteLock lock(dir->mu);
    STRATA_TRY_ASSIGN(from, Inherited(*dir, upper->get()));
  }
  mode = (mode & kPermissions) | S_IFREG;
  if (!from.default_acl) mode &= ~(who.umask & 0777);

  STRATA_TRY_ASSIGN(UniqueFd file,
                    env_.files.Open(upper->get(), ".", O_TMPFILE | O_RDWR, mode & kPermissions));
  const NewEntry what{mode, 0, nullptr, nullptr, who};
  STRATA_TRY_ASSIGN(const struct stat st, SettleOwner(file.get(), "", what, mode, from));
  STRATA_TRY_ASSIGN(UniqueFd kept,
                    env_.files.Open(AT_FDCWD, ProcFdPath(file.get()).c_str(), O_PATH));

  NodeRecord record;
  record.lookups = 1;
  record.parent = dir->index;
  record.layer = kUpperLayer;
  record.real_ino = st.st_ino;
  record.ino = layers_->ShownIno(kUpperLayer, st.st_ino);
  record.Set(kNodeRegular);
  record.Set(kNodeNoCapability);
  record.Set(kNodeOrphan);
  STRATA_TRY_ASSIGN(const WeakNode node, AddNode(record, ""));
  orphans_.Put(node.index, std::make_shared<const UniqueFd>(std::move(kept)));

  Bound bound{node, st};
  Present(record, *bound.attr);
  return OpenCreated(bound, std::move(file), flags & ~(O_TMPFILE | O_EXCL));
}

}  // namespace strata::fusefs
