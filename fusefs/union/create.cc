// New names: files, directories, symbolic links, devices, hard links.
#include <dirent.h>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {

Result<> UnionEngine::CheckNewName(std::string_view name) {
  if (name.size() > kNameMax) return Fail(ENAMETOOLONG, "name");
  // Such a name would be read back as a whiteout (docs/formats/upper.md).
  if (name.starts_with(kWhiteoutPrefix)) return Fail(EINVAL, "name", ".wh. names are reserved");
  return {};
}

Result<Inheritance> UnionEngine::Inherited(Directory& dir, int upper) {
  if (!dir.inheritance) {
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(upper));
    auto acl = env_.files.GetXattr(upper, kDefaultAcl);
    if (!acl && acl.error().code() != ENODATA && acl.error().code() != EOPNOTSUPP) {
      return std::unexpected(std::move(acl).error());
    }
    dir.inheritance = {.default_acl = acl.has_value() && options_.acl,
                       .unwanted_acl = acl.has_value() && !options_.acl,
                       .setgid = (st.st_mode & S_ISGID) != 0,
                       .gid = st.st_gid};
  }
  return *dir.inheritance;
}

// Makes the inode with what the file system gives it: default ACLs are inherited here, owners are
// settled later.
Result<> UnionEngine::MakeInPlace(int dir, const char* name, const NewEntry& what, mode_t mode) {
  FileOps& files = env_.files;
  if (what.opened != nullptr) {
    STRATA_TRY_ASSIGN(*what.opened, files.Open(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                                               mode & kPermissions));
    return {};
  }
  if (S_ISDIR(mode)) return files.MakeDir(dir, name, mode & kPermissions);
  if (S_ISLNK(mode)) return files.SymLink(what.target, dir, name);
  return files.MakeNode(dir, name, mode, what.dev);
}

// Takes from a new inode the ACLs that the filesystem below let it inherit. An empty name means
// `dir` itself.
Result<> UnionEngine::ShedAcls(int dir, const char* name) {
  UniqueFd named;
  if (name[0] != '\0') {
    STRATA_TRY_ASSIGN(named, env_.files.Open(dir, name, O_PATH | O_NOFOLLOW));
    dir = named.get();
  }
  for (const char* acl : {kAccessAcl, kDefaultAcl}) {
    auto removed = env_.files.RemoveXattr(dir, acl);
    const int code = removed ? 0 : removed.error().code();
    // EOPNOTSUPP: a symbolic link, or a default ACL of what is no directory.
    if (code != 0 && code != ENODATA && code != EOPNOTSUPP && code != EACCES) return removed;
  }
  return {};
}

// Gives a new inode the owner and mode the caller would have got: the daemon made it with its own
// credentials.
Result<struct stat> UnionEngine::SettleOwner(int dir, const char* name, const NewEntry& what,
                                             mode_t mode, const Inheritance& from) {
  if (what.opened != nullptr) {
    dir = what.opened->get();
    name = "";
  }
  if (from.unwanted_acl) STRATA_TRY(ShedAcls(dir, name));
  STRATA_TRY_ASSIGN(const struct stat made,
                    env_.files.StatAt(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
  const gid_t gid = from.setgid ? from.gid : what.who.gid;
  mode_t wanted = mode & kPermissions;
  if (S_ISDIR(mode) && from.setgid) wanted |= S_ISGID;
  if (from.default_acl) wanted = (made.st_mode & 0777) | (wanted & ~mode_t{0777});

  mode_t now = made.st_mode & kPermissions;
  const bool chown = made.st_uid != what.who.uid || made.st_gid != gid;
  if (chown) {
    STRATA_TRY(
        env_.files.ChownAt(dir, name, what.who.uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
    if (!S_ISDIR(mode)) now &= ~mode_t{S_ISUID | S_ISGID};  // chown(2) cleared them
  }
  const bool chmod = !S_ISLNK(mode) && now != wanted;
  if (chmod) STRATA_TRY(env_.files.ChmodAt(dir, name, wanted));
  if (!chown && !chmod) return made;
  return env_.files.StatAt(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
}

// Staged in the work directory and exchanged with the whiteout, so that at no time the lower name
// shows again.
Result<struct stat> UnionEngine::MakeOverWhiteout(int upper, const std::string& name,
                                                  const NewEntry& what, mode_t mode,
                                                  const Inheritance& from) {
  FileOps& files = env_.files;
  StagedEntry box(*work_, work_->TempName());
  int dir = work_->fd();
  std::string temp = box.name();
  UniqueFd inner;
  if (from.default_acl) {
    // A directory of its own with the parent's default ACL, for the new inode to inherit from.
    STRATA_TRY(files.MakeDir(dir, box.c_str(), 0700));
    STRATA_TRY_ASSIGN(inner, files.Open(dir, box.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    STRATA_TRY_ASSIGN(const std::string acl, files.GetXattr(upper, kDefaultAcl));
    STRATA_TRY(files.SetXattr(inner.get(), kDefaultAcl, acl));
    dir = inner.get();
    temp = "new";
  }
  STRATA_TRY(MakeInPlace(dir, temp.c_str(), what, mode));
  STRATA_TRY(SettleOwner(dir, temp.c_str(), what, mode, from));
  // Attributes are read when all is done: the last step still changes the ctime.
  if (!S_ISDIR(mode)) {
    STRATA_TRY(files.Rename(dir, temp.c_str(), upper, name.c_str()));
    return files.StatAt(upper, name.c_str());
  }

  STRATA_TRY_ASSIGN(const UniqueFd made,
                    files.Open(dir, temp.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  STRATA_TRY(files.SetXattr(made.get(), layers_->xattrs().Opaque().c_str(), "y"));
  // After the exchange the staged name is the whiteout, which goes with the box.
  STRATA_TRY(files.Rename(dir, temp.c_str(), upper, name.c_str(), RENAME_EXCHANGE));
  return files.StatAt(upper, name.c_str());
}

Result<UnionEngine::Bound> UnionEngine::AddEntry(NodeIndex parent, std::string_view name_view,
                                                 const NewEntry& what) {
  STRATA_TRY(CheckNewName(name_view));
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(parent));
  STRATA_TRY(EnsureLoaded(*dir));
  const std::string name(name_view);
  {
    // Asked before any copy-up: a request that fails leaves the upper layer as it was.
    ReadLock lock(dir->mu);
    const Slot slot = dir->names.Find(name);
    if (slot != NameTable::kNone && !dir->names.at(slot).whiteout) return Fail(EEXIST, "create");
    if (dir->dead) return Fail(ENOENT, "create");
  }
  STRATA_TRY(EnsureUpperDir(parent));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));

  WriteLock lock(dir->mu);
  if (dir->dead) return Fail(ENOENT, "create");
  Slot slot = dir->names.Find(name);
  const bool over_whiteout = slot != NameTable::kNone;
  if (over_whiteout && !dir->names.at(slot).whiteout) return Fail(EEXIST, "create");
  const bool marker = over_whiteout && dir->names.at(slot).marker;

  STRATA_TRY_ASSIGN(const Inheritance from, Inherited(*dir, upper->get()));
  mode_t mode = what.mode;
  if (!from.default_acl && !S_ISLNK(mode)) mode &= ~(what.who.umask & 0777);

  if (over_whiteout && !marker) {
    STRATA_TRY_ASSIGN(const struct stat st, MakeOverWhiteout(upper->get(), name, what, mode, from));
    return AdoptNew(*dir, name, st);
  }
  STRATA_TRY(MakeInPlace(upper->get(), name.c_str(), what, mode));
  const auto settle = [&]() -> Result<struct stat> {
    STRATA_TRY_ASSIGN(const struct stat st,
                      SettleOwner(upper->get(), name.c_str(), what, mode, from));
    if (!marker) return st;
    if (S_ISDIR(mode)) STRATA_TRY(MarkOpaque(upper->get(), name));
    STRATA_TRY(work_->RemoveFileWhiteout(upper->get(), name));
    return env_.files.StatAt(upper->get(), name.c_str());
  };
  auto settled = settle();
  if (!settled) {
    Ignore(env_.files.Unlink(upper->get(), name.c_str(), S_ISDIR(mode) ? AT_REMOVEDIR : 0),
           "undo of a failed creation");
    return std::unexpected(std::move(settled).error());
  }
  return AdoptNew(*dir, name, *settled);
}

Result<> UnionEngine::MarkOpaque(int upper, const std::string& name) {
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    env_.files.Open(upper, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return env_.files.SetXattr(fd.get(), layers_->xattrs().Opaque().c_str(), "y");
}

// Enters a name that was just made in the upper layer, and its node, into the tables.
Result<UnionEngine::Bound> UnionEngine::AdoptNew(Directory& dir, const std::string& name,
                                                 const struct stat& st) {
  Slot slot = dir.names.Find(name);
  const bool lower_exists =
      slot != NameTable::kNone && dir.names.at(slot).lower_exists && !dir.names.at(slot).marker;
  if (slot == NameTable::kNone) slot = dir.names.Insert(name);

  NodeRecord record;
  record.lookups = 1;
  record.parent = dir.index;
  record.layer = kUpperLayer;
  record.real_ino = st.st_ino;
  record.ino = layers_->ShownIno(kUpperLayer, st.st_ino);
  if (S_ISDIR(st.st_mode)) record.Set(kNodeDirectory);
  if (S_ISREG(st.st_mode)) {
    record.Set(kNodeRegular);
    record.Set(kNodeNoCapability);
  }
  STRATA_TRY_ASSIGN(const WeakNode node, AddNode(record, name));

  ++dir.changes;
  DirSlot& entry = dir.names.at(slot);
  entry.type = static_cast<unsigned char>(IFTODT(st.st_mode));
  entry.layer = kUpperLayer;
  entry.merged = 0;
  entry.whiteout = false;
  entry.marker = false;
  entry.lower_exists = lower_exists;
  entry.node = node;
  if (S_ISDIR(st.st_mode)) {
    auto child = std::make_shared<Directory>(node.index, std::vector<LayerIndex>{kUpperLayer});
    {
      WriteLock lock(child->mu);
      child->loaded = true;  // it is new, so it is empty
    }
    dirs_.Put(node.index, std::move(child));
  }
  Bound bound{node, st};
  Present(record, *bound.attr);
  return bound;
}

Result<EntryReply> UnionEngine::MakeNode(NodeId parent, std::string_view name, mode_t mode,
                                         dev_t dev, const Caller& who) {
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  if (S_ISCHR(mode) && dev == 0) {
    // Such a device in the upper layer would be a whiteout.
    return Fail(EPERM, "mknod", "character device 0/0");
  }
  STRATA_TRY_ASSIGN(Bound bound, AddEntry(static_cast<NodeIndex>(parent.value), name,
                                          {mode, dev, nullptr, nullptr, who}));
  return Reply(bound);
}

Result<EntryReply> UnionEngine::MakeDir(NodeId parent, std::string_view name, mode_t mode,
                                        const Caller& who) {
  STRATA_TRY_ASSIGN(Bound bound,
                    AddEntry(static_cast<NodeIndex>(parent.value), name,
                             {(mode & kPermissions) | S_IFDIR, 0, nullptr, nullptr, who}));
  return Reply(bound);
}

Result<EntryReply> UnionEngine::SymLink(NodeId parent, std::string_view name, const char* target,
                                        const Caller& who) {
  STRATA_TRY_ASSIGN(Bound bound, AddEntry(static_cast<NodeIndex>(parent.value), name,
                                          {S_IFLNK | 0777, 0, target, nullptr, who}));
  return Reply(bound);
}

Result<EntryReply> UnionEngine::Link(NodeId node_id, NodeId parent, std::string_view name_view) {
  STRATA_TRY(CheckNewName(name_view));
  const std::string name(name_view);
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(parent.value)));
  STRATA_TRY(EnsureLoaded(*dir));
  {
    ReadLock lock(dir->mu);
    const Slot slot = dir->names.Find(name);
    if (slot != NameTable::kNone && !dir->names.at(slot).whiteout) return Fail(EEXIST, "link");
    if (dir->dead) return Fail(ENOENT, "link");
  }
  const NodeIndex node = Current(static_cast<NodeIndex>(node_id.value));
  STRATA_TRY(EnsureUpper(node));
  STRATA_TRY(EnsureUpperDir(dir->index));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));
  STRATA_TRY_ASSIGN(const SharedFd file, OpenNode(node, O_PATH));

  Bound bound;
  {
    WriteLock lock(dir->mu);
    if (dir->dead) return Fail(ENOENT, "link");
    Slot slot = dir->names.Find(name);
    const bool over_whiteout = slot != NameTable::kNone;
    if (over_whiteout && !dir->names.at(slot).whiteout) return Fail(EEXIST, "link");
    const std::string source = ProcFdPath(file->get());
    if (over_whiteout && !dir->names.at(slot).marker) {
      StagedEntry staged(*work_, work_->TempName());
      STRATA_TRY(env_.files.Link(AT_FDCWD, source.c_str(), work_->fd(), staged.c_str(),
                                 AT_SYMLINK_FOLLOW));
      STRATA_TRY(env_.files.Rename(work_->fd(), staged.c_str(), upper->get(), name.c_str()));
      staged.Published();
    } else {
      STRATA_TRY(
          env_.files.Link(AT_FDCWD, source.c_str(), upper->get(), name.c_str(), AT_SYMLINK_FOLLOW));
      if (over_whiteout) STRATA_TRY(work_->RemoveFileWhiteout(upper->get(), name));
    }
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.StatAt(upper->get(), name.c_str()));
    const bool lower_exists =
        over_whiteout && dir->names.at(slot).lower_exists && !dir->names.at(slot).marker;
    if (!over_whiteout) slot = dir->names.Insert(name);
    ++dir->changes;
    const WeakNode weak{
        node, nodes_->With(node, [](NodeRecord& r) { return ++r.lookups, r.generation; })};
    DirSlot& entry = dir->names.at(slot);
    entry = {entry.name_at,
             entry.name_length,
             static_cast<unsigned char>(IFTODT(st.st_mode)),
             kUpperLayer,
             weak,
             0,
             false,
             false,
             lower_exists};
    links_->Put({layers_->filesystem(kUpperLayer), st.st_ino}, weak);
    Rehome(node, *dir, name);
    bound.node = weak;
  }
  return Reply(bound);
}

void UnionEngine::Rehome(NodeIndex node, const Directory& dir, std::string_view name) {
  NodeIndex old_parent = 0;
  const bool orphan = nodes_->With(node, [&](NodeRecord& record) {
    if (!record.Is(kNodeOrphan) || record.layer != kUpperLayer) return false;
    old_parent = record.parent;
    return true;
  });
  if (!orphan) return;
  nodes_->Pin(dir.index);
  nodes_->Rename(node, dir.index, name);
  nodes_->With(node, [](NodeRecord& record) { record.Clear(kNodeOrphan); });
  orphans_.Take(node);
  if (old_parent != 0) Drop(old_parent, 0, 1);
}

}  // namespace strata::fusefs
