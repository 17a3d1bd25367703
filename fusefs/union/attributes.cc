// Attributes and extended attributes.
#include <sys/xattr.h>

#include <string>

#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

// As the kernel looks at it. A process that cannot be asked, as it is not of our PID namespace or
// has ended, is taken to be in no other group, and to have the rights its user id says.
bool InGroup(const Caller& who, gid_t group) {
  return who.gid == group || HasSupplementaryGroup(who.pid, group);
}

bool KeepsSetIds(const Caller& who) {
  return HoldsGlobally(who.pid, CAP_FSETID).value_or(who.uid == 0);
}

// chown(2) clears setuid itself, and setgid where the group may execute. Without that, by the rules
// of setattr_should_drop_sgid() and setattr_prepare() in Linux, setgid goes with what somebody from
// outside the file's group changes; and, as clearing setuid is a change of the mode, if the new
// group is not the caller's either.
bool LosesSetgid(const struct stat& before, const AttrChange& change, const Caller& who) {
  if (S_ISDIR(before.st_mode) || (before.st_mode & (S_ISGID | S_IXGRP)) != S_ISGID) return false;
  const bool inside =
      InGroup(who, before.st_gid) &&
      ((before.st_mode & S_ISUID) == 0 || InGroup(who, change.gid.value_or(before.st_gid)));
  return !inside && !KeepsSetIds(who);
}

bool IsAcl(std::string_view xattr) { return xattr == kAccessAcl || xattr == kDefaultAcl; }

}  // namespace

Result<struct stat> UnionEngine::GetAttr(NodeId node, bool* stable) {
  const auto index = static_cast<NodeIndex>(node.value);
  *stable = Current(index) == index;
  return StatNode(index);
}

Result<std::string> UnionEngine::ReadLink(NodeId node) {
  STRATA_TRY_ASSIGN(const auto indexed, EntryInChain(static_cast<NodeIndex>(node.value)));
  if (indexed && S_ISLNK(indexed->attr.st_mode)) return std::string(indexed->target);
  STRATA_TRY_ASSIGN(const SharedFd fd, OpenNode(static_cast<NodeIndex>(node.value), O_PATH));
  return env_.files.ReadLink(fd->get(), "");
}

Result<> UnionEngine::KillPrivileges(int fd, const Caller& who) {
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(fd));
  mode_t mode = st.st_mode & kPermissions & ~mode_t{S_ISUID};
  // Without group execution, setgid is not a privilege (it once meant mandatory locking).
  // It still goes with what others write.
  if ((mode & S_ISGID) != 0 && ((mode & S_IXGRP) != 0 || !InGroup(who, st.st_gid))) {
    mode &= ~mode_t{S_ISGID};
  }
  if (mode == (st.st_mode & kPermissions) || (who.to_be_asked && KeepsSetIds(who))) return {};
  return env_.files.ChmodAt(fd, "", mode);
}

Result<> UnionEngine::KillPrivilegesOf(NodeId node, const Caller& who) {
  STRATA_TRY_ASSIGN(const SharedFd fd, AttributeFd(Current(static_cast<NodeIndex>(node.value))));
  return KillPrivileges(fd->get(), who);
}

Result<> UnionEngine::Truncate(NodeIndex node, off_t size, const Caller* kills_for,
                               bool same_size) {
  STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> partial, Partial(node));
  if (partial) {
    STRATA_TRY(partial->Truncate(size, same_size, options_.volatile_upper));
    if (size == 0) STRATA_TRY(FinishPartial(node, *partial));
    return kills_for != nullptr ? KillPrivileges(partial->upper(), *kills_for) : Result<>();
  }
  STRATA_TRY_ASSIGN(const SharedFd fd, OpenNode(node, same_size ? O_PATH : O_WRONLY));
  STRATA_TRY(same_size ? env_.files.TruncatePath(ProcFdPath(fd->get()).c_str(), size)
                       : env_.files.Truncate(fd->get(), size));
  return kills_for != nullptr ? KillPrivileges(fd->get(), *kills_for) : Result<>();
}

void UnionEngine::AttributesChanged(NodeId asked, NodeIndex changed) {
  if (asked.value == changed) return;
  if (KernelCache* cache = cache_.load()) cache->InvalidateAttributes(NodeId{changed});
}

Result<> UnionEngine::Chown(int fd, const AttrChange& change, const Caller* kills_for) {
  FileOps& files = env_.files;
  bool loses_setgid = false;
  if (kills_for != nullptr) {
    STRATA_TRY_ASSIGN(const struct stat before, files.Stat(fd));
    loses_setgid = LosesSetgid(before, change, *kills_for);
  }
  STRATA_TRY(files.ChownAt(fd, "", change.uid.value_or(static_cast<uid_t>(-1)),
                           change.gid.value_or(static_cast<gid_t>(-1)), AT_EMPTY_PATH));
  if (!loses_setgid) return {};
  STRATA_TRY_ASSIGN(const struct stat after, files.Stat(fd));
  return files.ChmodAt(fd, "", after.st_mode & kPermissions & ~mode_t{S_ISGID});
}

Result<> UnionEngine::ChangeAttributes(int fd, const AttrChange& change, const Caller* kills_for) {
  FileOps& files = env_.files;
  if (change.uid || change.gid) {
    STRATA_TRY(Chown(fd, change, kills_for));
  } else if (kills_for != nullptr) {
    STRATA_TRY(KillPrivileges(fd, *kills_for));
  }
  if (change.mode) STRATA_TRY(files.ChmodAt(fd, "", *change.mode & kPermissions));
  if (change.atime || change.mtime) {
    const struct timespec omit = {0, UTIME_OMIT};
    const struct timespec times[2] = {change.atime.value_or(omit), change.mtime.value_or(omit)};
    STRATA_TRY(files.UtimesAt(fd, "", times, AT_EMPTY_PATH));
  }
  return {};
}

Result<struct stat> UnionEngine::SetAttr(NodeId node_id, const AttrChange& change,
                                         const Caller& who, bool* stable) {
  const NodeIndex node = Current(static_cast<NodeIndex>(node_id.value));
  const DataNeed data = change.size ? DataNeed::kWritable : DataNeed::kNone;
  bool same_size = false;
  // Without opens, O_TRUNC comes by name as well; it touches the times of an empty file, too.
  const bool by_name = change.size_by_name && (options_.opens || change.size != 0);
  if (by_name && change.size) {
    STRATA_TRY_ASSIGN(const struct stat st, StatNode(node));
    same_size = st.st_size == *change.size;
  }
  STRATA_TRY(EnsureUpper(node, {data, change.size}));
  const Caller* const kills_for = change.kill_suid_sgid ? &who : nullptr;
  if (change.size) STRATA_TRY(Truncate(node, *change.size, kills_for, same_size));

  const bool kill = kills_for != nullptr && !change.size;
  const bool more = kill || change.mode || change.uid || change.gid || change.atime || change.mtime;
  if (more) {
    STRATA_TRY_ASSIGN(const SharedFd fd, AttributeFd(node));
    auto changed = ChangeAttributes(fd->get(), change, kill ? kills_for : nullptr);
    STRATA_TRY(ForgetInheritance(node));
    STRATA_TRY(std::move(changed));
  }
  AttributesChanged(node_id, node);
  return GetAttr(node_id, stable);
}

std::string UnionEngine::StoredXattrName(const char* name) const {
  const OverlayXattrs& overlay = layers_->xattrs();
  return overlay.IsPrivate(name) ? overlay.Escape(name) : std::string(name);
}

// Without asking the file: most have none, and every exec(2) and `ls -l` asks for some. What the
// filesystem would say of names outside of these, only it knows.
Result<bool> UnionEngine::KnownToLack(NodeIndex node, std::string_view name) {
  STRATA_TRY_ASSIGN(const auto indexed, EntryInChain(node));
  if (!indexed) return name == kCapability && HasAny(Current(node), kNodeNoCapability);
  if (indexed->has_xattrs) return false;
  if (IsAcl(name)) return !S_ISLNK(indexed->attr.st_mode);
  return name.starts_with("user.") || name.starts_with("trusted.") || name.starts_with("security.");
}

Result<std::string> UnionEngine::GetXattr(NodeId node, const char* name) {
  if (!options_.acl && IsAcl(name)) return Fail(EOPNOTSUPP, "getxattr");
  STRATA_TRY_ASSIGN(const bool lacks, KnownToLack(static_cast<NodeIndex>(node.value), name));
  if (lacks) return Fail(ENODATA, "getxattr");
  STRATA_TRY_ASSIGN(const SharedFd fd, AttributeFd(static_cast<NodeIndex>(node.value)));
  auto value = env_.files.GetXattr(fd->get(), StoredXattrName(name).c_str());
  // The union has ACLs, whatever its layers have: the kernel asks for them before it lets anybody
  // in, and takes this for a failure.
  if (!value && IsAcl(name) && value.error().code() == EOPNOTSUPP) return Fail(ENODATA, "getxattr");
  return value;
}

Result<std::vector<std::string>> UnionEngine::ListXattr(NodeId node) {
  STRATA_TRY_ASSIGN(const auto indexed, EntryInChain(static_cast<NodeIndex>(node.value)));
  if (indexed && !indexed->has_xattrs) return std::vector<std::string>();
  STRATA_TRY_ASSIGN(const SharedFd fd, AttributeFd(static_cast<NodeIndex>(node.value)));
  STRATA_TRY_ASSIGN(const std::vector<std::string> stored, env_.files.ListXattr(fd->get()));
  const OverlayXattrs& overlay = layers_->xattrs();
  std::vector<std::string> shown;
  for (const std::string& name : stored) {
    if (!options_.acl && IsAcl(name)) continue;
    if (!overlay.IsPrivate(name)) {
      shown.push_back(name);
    } else if (overlay.IsEscaped(name)) {
      shown.push_back(overlay.Unescape(name));
    }
  }
  return shown;
}

// A change that must fail fails before the copy-up.
Result<> UnionEngine::CheckXattrChange(NodeIndex node, const std::string& name, int flags) {
  if (!layers_->writable()) return Fail(EROFS, "setxattr");
  if (flags == 0 || InUpperNow(node)) return {};
  STRATA_TRY_ASSIGN(const SharedFd fd, OpenNode(node, O_PATH));
  auto value = env_.files.GetXattr(fd->get(), name.c_str());
  if (!value && value.error().code() != ENODATA) return std::unexpected(std::move(value).error());
  if (value && flags == XATTR_CREATE) return Fail(EEXIST, "setxattr");
  if (!value && flags == XATTR_REPLACE) return Fail(ENODATA, "setxattr");
  return {};
}

Result<> UnionEngine::SetXattr(NodeId node_id, const char* name, std::string_view value, int flags,
                               bool kill_setgid) {
  const std::string stored = StoredXattrName(name);
  return ChangeXattr(node_id, stored, flags, [&](int fd) -> Result<> {
    STRATA_TRY(env_.files.SetXattr(fd, stored.c_str(), value, flags));
    if (!kill_setgid || stored != kAccessAcl) return {};
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(fd));
    if ((st.st_mode & S_ISGID) == 0) return {};
    return env_.files.ChmodAt(fd, "", st.st_mode & kPermissions & ~S_ISGID);
  });
}

Result<> UnionEngine::RemoveXattr(NodeId node_id, const char* name) {
  const std::string stored = StoredXattrName(name);
  auto removed = ChangeXattr(node_id, stored, XATTR_REPLACE,
                             [&](int fd) { return env_.files.RemoveXattr(fd, stored.c_str()); });
  // An ACL that is not there is taken away with success: what counts is that there is none.
  if (!removed && IsAcl(stored) && removed.error().code() == ENODATA) return {};
  return removed;
}

Result<> UnionEngine::ChangeXattr(NodeId node_id, const std::string& stored, int flags,
                                  const std::function<Result<>(int fd)>& change) {
  if (!options_.acl && IsAcl(stored)) return Fail(EOPNOTSUPP, "setxattr");
  const NodeIndex node = Current(static_cast<NodeIndex>(node_id.value));
  STRATA_TRY(CheckXattrChange(node, stored, flags));
  STRATA_TRY(EnsureUpper(node));
  STRATA_TRY_ASSIGN(const SharedFd fd, AttributeFd(node));
  nodes_->With(node, [](NodeRecord& record) { record.Clear(kNodeNoCapability); });
  auto changed = change(fd->get());
  if (IsAcl(stored)) STRATA_TRY(ForgetInheritance(node));
  STRATA_TRY(std::move(changed));
  AttributesChanged(node_id, node);
  return {};
}

Result<> UnionEngine::ForgetInheritance(NodeIndex node) {
  if (!HasAny(node, kNodeDirectory)) return {};
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(node));
  WriteLock lock(dir->mu);
  dir->inheritance.reset();
  return {};
}

}  // namespace strata::fusefs
