#include "fusefs/frontend/operations.h"

#include "base/try.h"
#include "fusefs/frontend/conversions.h"
#include "fusefs/frontend/directory_stream.h"
#include "fusefs/frontend/raw_request.h"

namespace strata::fusefs {

Result<> Operations::GiveEntry(Request& request, const Result<EntryReply>& entry) {
  if (!entry) {
    request.Fail(entry.error());
  } else if (!request.Entry(*entry)) {
    engine_.Forget(entry->node, 1);
  }
  return {};
}

Result<> Operations::Lookup(Request& request, fuse_ino_t parent, const char* name) {
  const auto entry = engine_.Lookup(NodeId{parent}, name);
  if (!entry && entry.error().code() == ENOENT) {
    request.Negative();
    return {};
  }
  return GiveEntry(request, entry);
}

Result<> Operations::Forget(Request& request, fuse_ino_t ino, std::uint64_t count) {
  engine_.Forget(NodeId{ino}, count);
  request.None();
  return {};
}

Result<> Operations::ForgetMulti(Request& request, std::size_t count, fuse_forget_data* forgets) {
  for (const fuse_forget_data& forget : std::span(forgets, count)) {
    engine_.Forget(NodeId{forget.ino}, forget.nlookup);
  }
  request.None();
  return {};
}

Result<> Operations::GetAttr(Request& request, fuse_ino_t ino, fuse_file_info* /*file*/) {
  bool stable = true;
  STRATA_TRY_ASSIGN(const struct stat attr, engine_.GetAttr(NodeId{ino}, &stable));
  request.Attr(attr, stable ? kForever : 0.0);
  return {};
}

Result<> Operations::SetAttr(Request& request, fuse_ino_t ino, struct stat* attr, int valid,
                             fuse_file_info* file) {
  bool stable = true;
  AttrChange change = AttrChangeOf(*attr, valid);
  change.size_by_name = file == nullptr;
  STRATA_TRY_ASSIGN(const struct stat changed,
                    engine_.SetAttr(NodeId{ino}, change, request.caller(), &stable));
  request.Attr(changed, stable ? kForever : 0.0);
  return {};
}

Result<> Operations::ReadLink(Request& request, fuse_ino_t ino) {
  STRATA_TRY_ASSIGN(const std::string target, engine_.ReadLink(NodeId{ino}));
  request.Link(target);
  return {};
}

Result<> Operations::MakeNode(Request& request, fuse_ino_t parent, const char* name, mode_t mode,
                              dev_t dev) {
  return GiveEntry(request, engine_.MakeNode(NodeId{parent}, name, mode, dev, request.caller()));
}

Result<> Operations::MakeDir(Request& request, fuse_ino_t parent, const char* name, mode_t mode) {
  return GiveEntry(request, engine_.MakeDir(NodeId{parent}, name, mode, request.caller()));
}

Result<> Operations::Unlink(Request& request, fuse_ino_t parent, const char* name) {
  STRATA_TRY(engine_.Unlink(NodeId{parent}, name));
  request.Done();
  return {};
}

Result<> Operations::RemoveDir(Request& request, fuse_ino_t parent, const char* name) {
  STRATA_TRY(engine_.RemoveDir(NodeId{parent}, name));
  request.Done();
  return {};
}

Result<> Operations::SymLink(Request& request, const char* target, fuse_ino_t parent,
                             const char* name) {
  return GiveEntry(request, engine_.SymLink(NodeId{parent}, name, target, request.caller()));
}

Result<> Operations::Rename(Request& request, fuse_ino_t parent, const char* name,
                            fuse_ino_t to_parent, const char* to_name, unsigned flags) {
  STRATA_TRY(engine_.Rename(NodeId{parent}, name, NodeId{to_parent}, to_name, flags));
  request.Done();
  return {};
}

Result<> Operations::Link(Request& request, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  return GiveEntry(request, engine_.Link(NodeId{ino}, NodeId{parent}, name));
}

Result<> Operations::OpenDir(Request& request, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) {
  if (skip_opendir_) {
    request.NotImplemented();
  } else {
    request.OpenDirectory();
  }
  return {};
}

Result<> Operations::List(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                          bool attributes) {
  DirectoryStream stream(request.raw(), size, attributes);
  const auto listed =
      engine_.List(NodeId{ino}, static_cast<std::uint64_t>(offset), attributes,
                   [&stream](const ListedEntry& entry) { return stream.Add(entry); });
  if (listed && request.Listing(stream.bytes())) return {};
  for (const NodeId node : stream.nodes()) engine_.Forget(node, 1);
  if (!listed) request.Fail(listed.error());
  return {};
}

Result<> Operations::ReadDir(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                             fuse_file_info* /*file*/) {
  return List(request, ino, size, offset, false);
}

Result<> Operations::ReadDirPlus(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                                 fuse_file_info* /*file*/) {
  return List(request, ino, size, offset, true);
}

Result<> Operations::SyncDir(Request& request, fuse_ino_t ino, int /*data_only*/,
                             fuse_file_info* /*file*/) {
  STRATA_TRY(engine_.SyncDir(NodeId{ino}));
  request.Done();
  return {};
}

Result<> Operations::StatFs(Request& request, fuse_ino_t /*ino*/) {
  STRATA_TRY_ASSIGN(const struct statvfs info, engine_.StatVfs());
  request.Statfs(info);
  return {};
}

Result<> Operations::SetXattr(Request& request, fuse_ino_t ino, const char* name, const char* value,
                              std::size_t size, int flags) {
  STRATA_TRY(engine_.SetXattr(NodeId{ino}, name, std::string_view(value, size), flags,
                              CurrentRequestKillsSetgid()));
  request.Done();
  return {};
}

Result<> Operations::GetXattr(Request& request, fuse_ino_t ino, const char* name,
                              std::size_t size) {
  STRATA_TRY_ASSIGN(const std::string value, engine_.GetXattr(NodeId{ino}, name));
  if (size == 0) {
    request.XattrSize(value.size());
  } else if (value.size() > size) {
    return Fail(ERANGE, "getxattr");
  } else {
    request.Bytes(value);
  }
  return {};
}

Result<> Operations::ListXattr(Request& request, fuse_ino_t ino, std::size_t size) {
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, engine_.ListXattr(NodeId{ino}));
  std::string list;
  // As in the file systems below, the names of this namespace are not for everybody. Who is not
  // root is taken to lack CAP_SYS_ADMIN.
  const bool privileged = request.caller().uid == 0;
  for (const std::string& name : names) {
    if (privileged || !name.starts_with("trusted.")) list.append(name).push_back('\0');
  }
  if (size == 0) {
    request.XattrSize(list.size());
  } else if (list.size() > size) {
    return Fail(ERANGE, "listxattr");
  } else {
    request.Bytes(list);
  }
  return {};
}

Result<> Operations::RemoveXattr(Request& request, fuse_ino_t ino, const char* name) {
  STRATA_TRY(engine_.RemoveXattr(NodeId{ino}, name));
  request.Done();
  return {};
}

Result<> Operations::Access(Request& request, fuse_ino_t /*ino*/, int /*mask*/) {
  // default_permissions: the kernel has decided already.
  request.NotImplemented();
  return {};
}

}  // namespace strata::fusefs
