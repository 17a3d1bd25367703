// The part of Unpacker that makes hard links, also to what comes later in the archive.
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {
namespace {

std::unexpected<Error> TargetError(Error error, const std::string& link) {
  return std::unexpected(std::move(error).WithContext("hard link to '" + ShownName(link) + "'"));
}

// What is missing, or no file, may be one when the archive has ended.
bool MayComeLater(const Error& error) {
  return error.code() == ENOENT || error.code() == ENOTDIR || error.code() == EPERM;
}

}  // namespace

Result<> Unpacker::HandleHardLink(const TarEntry& entry, const std::string& path) {
  auto target = LinkTarget(entry.link);
  if (!target) return TargetError(std::move(target).error(), entry.link);
  if (*target == path) return {};

  auto target_parent = OpenLinkTargetDirectory(*target);
  if (target_parent) return MakeHardLink(target_parent->get(), *target, path);
  if (!MayComeLater(target_parent.error())) {
    return TargetError(std::move(target_parent).error(), entry.link);
  }
  // Until then nothing is under this name, as if the link had been made and nothing else.
  STRATA_TRY_ASSIGN(const int parent, EnterDirectory(std::string(DirName(path))));
  const std::string name(BaseName(path));
  auto cleared = Clear({parent, name.c_str(), path});
  if (!cleared && cleared.error().code() != ENOENT) {
    return std::unexpected(std::move(cleared).error());
  }
  return late_links_.Put(path, entry.link);
}

Result<std::string> Unpacker::LinkTarget(const std::string& link) const {
  STRATA_TRY_ASSIGN(std::string target, NormalizeEntryPath(link, limits_));
  STRATA_TRY_ASSIGN(const EntryName name, ClassifyEntryName(target));
  if (target.empty() || name.kind != EntryName::Kind::kOrdinary) {
    return Fail(EINVAL, "unpack", "that is no file of a layer");
  }
  return target;
}

// A descriptor of its own: clearing what is in the way of the link may close tree_'s.
Result<UniqueFd> Unpacker::OpenLinkTargetDirectory(const std::string& target) {
  STRATA_TRY_ASSIGN(const int dir, tree_.Open(std::string(DirName(target))));
  STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir, std::string(BaseName(target)).c_str()));
  if (S_ISDIR(st.st_mode) || IsWhiteoutDevice(st)) {
    return Fail(EPERM, "unpack", "is a directory or a whiteout");
  }
  return ops_.Open(dir, ".", O_PATH | O_DIRECTORY);
}

Result<> Unpacker::MakeHardLink(int target_parent, const std::string& target,
                                const std::string& path) {
  // The link would take the place of a directory that its target is in.
  if (target.starts_with(path + '/')) return TargetError(Error(ENOENT, "unpack"), target);
  STRATA_TRY_ASSIGN(const int parent, EnterDirectory(std::string(DirName(path))));
  late_links_.Erase(path);
  const std::string name(BaseName(path));
  const std::string target_name(BaseName(target));
  auto made = MakeFresh({parent, name.c_str(), path}, [&] {
    return ops_.Link(target_parent, target_name.c_str(), parent, name.c_str());
  });
  if (!made) return TargetError(std::move(made).error(), target);
  STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(parent, name.c_str()));
  inodes_.linked.Add(st.st_ino);
  return {};
}

Result<> Unpacker::MakeLateLinks() {
  while (!late_links_.names().empty()) {
    // A target may be such a link itself: the last of the chain is made first.
    std::vector<std::string> chain{late_links_.names().begin()->first};
    for (;;) {
      const std::string* link = late_links_.Find(chain.back());
      if (link == nullptr) break;
      STRATA_TRY_ASSIGN(std::string target, LinkTarget(*link));
      chain.push_back(std::move(target));
      if (chain.size() > late_links_.names().size() + 1) break;  // in a circle: not there
    }
    chain.pop_back();
    for (; !chain.empty(); chain.pop_back()) {
      const std::string& path = chain.back();
      if (auto made = MakeLateLink(path, *late_links_.Find(path)); !made) {
        return std::unexpected(
            std::move(made).error().WithContext("entry '" + ShownName(path) + "'"));
      }
    }
  }
  return {};
}

Result<> Unpacker::MakeLateLink(const std::string& path, std::string link) {
  STRATA_TRY_ASSIGN(const std::string target, LinkTarget(link));
  auto target_parent = OpenLinkTargetDirectory(target);
  if (!target_parent) return TargetError(std::move(target_parent).error(), link);
  return MakeHardLink(target_parent->get(), target, path);
}

}  // namespace strata::layerstore
