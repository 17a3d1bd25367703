#include "manager/api/image_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/path.h"
#include "base/replace_file.h"
#include "base/try.h"
#include "layerstore/store/store.h"
#include "manager/container/image_layers.h"
#include "manager/container/names.h"
#include "manager/image/image_service.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr const char* kRecord = "mount.json";
constexpr std::size_t kRecordMax = std::size_t{64} * 1024;

constexpr std::string_view kUserPrefix = "mount:";

std::string UserOf(const std::string& id) { return std::string(kUserPrefix) + id; }

Result<> MakeDirectory(const std::string& path, mode_t mode) {
  auto made = FileOps::System().MakeDir(AT_FDCWD, path.c_str(), mode);
  if (!made && made.error().code() != EEXIST) {
    return std::unexpected(std::move(made).error().WithContext(path));
  }
  return {};
}

std::string Text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Result<std::filesystem::path> Resolve(const std::string& path) {
  std::error_code error;
  auto resolved = std::filesystem::canonical(path, error);
  if (error) return Fail(error.value(), "realpath", path);
  return resolved;
}

// Whether `path` is `directory` or lies below; both without symbolic links.
bool Within(const std::filesystem::path& path, const std::filesystem::path& directory) {
  return std::ranges::mismatch(path, directory).in2 == directory.end();
}

}  // namespace

Result<std::unique_ptr<ImageMounts>> ImageMounts::Open(layerstore::Store& store,
                                                       ImageService& images,
                                                       const RootFsMounter& mounter,
                                                       std::string data_root,
                                                       std::string run_root) {
  std::unique_ptr<ImageMounts> mounts(
      new ImageMounts(store, images, mounter, std::move(data_root), std::move(run_root)));
  STRATA_TRY(MakeDirectory(mounts->root_, 0700));
  const MutexLock lock(mounts->mu_);
  STRATA_TRY(mounts->ForgetTheGone());
  return mounts;
}

void ImageMounts::Forget(const std::string& id) {
  Ignore(store_.images().RemoveUser(UserOf(id)), "the next start tries again");
  Ignore(RemoveTree(JoinPath(root_, id)), "the next start tries again");
}

Result<> ImageMounts::ForgetTheGone() {
  STRATA_TRY_ASSIGN(const auto ids, Ids());
  for (const auto& id : ids) {
    const auto mount = ReadRecord(id);
    if (!mount) {
      if (mount.error().code() == ENOENT) {
        // Mount() was interrupted before it mounted anything.
        Forget(id);
        continue;
      }
      // There may be changes in its upper directory, which are the user's.
      log::Error("the record of a mount cannot be read; remove its directory to forget it",
                 {{"directory", JoinPath(root_, id)}, {"error", mount.error().ToString()}});
      continue;
    }
    // After a reboot the mount is gone, but a writable layer's changes are the user's.
    if (mount->read_write || RootFsMounter::State(mount->target) == MountState::kLive) continue;
    log::Info("forgetting a mount that is gone", {{"target", mount->target}});
    Forget(id);
  }
  // Those whose directory somebody removed, or never came to be.
  STRATA_TRY_ASSIGN(const auto users, store_.images().UsersNamed(kUserPrefix));
  for (const auto& user : users) {
    if (std::ranges::find(ids, user.substr(kUserPrefix.size())) == ids.end()) {
      STRATA_TRY(store_.images().RemoveUser(user));
    }
  }
  return {};
}

Result<std::vector<std::string>> ImageMounts::Ids() {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops.Open(AT_FDCWD, root_.c_str(), O_RDONLY | O_DIRECTORY));
  return NamesIn(ops, dir.get());
}

Result<ImageMount> ImageMounts::ReadRecord(const std::string& id) {
  FileOps& ops = FileOps::System();
  const std::string path = JoinPath(JoinPath(root_, id), kRecord);
  STRATA_TRY_ASSIGN(const UniqueFd file, ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_NOFOLLOW));
  STRATA_TRY_ASSIGN(const std::string text, ReadAll(ops, file.get(), kRecordMax));
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object() || Text(object, "target").empty()) {
    return Fail(EBADMSG, "mount record", path);
  }
  return ImageMount{id, Text(object, "image"), Text(object, "target"), object.contains("upper"),
                    Text(object, "upper")};
}

Result<std::vector<ImageMount>> ImageMounts::ListLocked() {
  STRATA_TRY_ASSIGN(const auto ids, Ids());
  std::vector<ImageMount> mounts;
  for (const auto& id : ids) {
    // One that cannot be read was reported at the start.
    if (auto mount = ReadRecord(id)) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

Result<std::vector<ImageMount>> ImageMounts::List() {
  const MutexLock lock(mu_);
  return ListLocked();
}

Result<> ImageMounts::Prepare(const ImageMount& mount, const std::string& directory) {
  STRATA_TRY(MakeDirectory(directory, 0700));
  json object{{"version", 1}, {"image", mount.image}, {"target", mount.target}};
  if (mount.read_write) {
    object["upper"] = mount.upper;
    STRATA_TRY(MakeDirectory(mount.upper, 0755));
    STRATA_TRY(MakeDirectory(JoinPath(directory, "work"), 0700));
  }
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  STRATA_TRY(ReplaceFile(ops, dir.get(), kRecord,
                         object.dump(-1, ' ', false, json::error_handler_t::replace), 0600));
  STRATA_TRY_ASSIGN(const UniqueFd above,
                    ops.Open(AT_FDCWD, root_.c_str(), O_RDONLY | O_DIRECTORY));
  return ops.Sync(above.get());
}

Result<> ImageMounts::CheckTarget(const std::string& target) const {
  if (!target.starts_with('/')) return Fail(EINVAL, "mount", "the target must be an absolute path");
  const auto st = FileOps::System().StatAt(AT_FDCWD, target.c_str());
  if (!st || !S_ISDIR(st->st_mode)) {
    return Fail(EINVAL, "mount", target + " is not a directory");
  }
  STRATA_TRY_ASSIGN(const std::filesystem::path resolved, Resolve(target));
  for (const auto& [what, root] : {std::pair("data", data_root_), std::pair("run", run_root_)}) {
    STRATA_TRY_ASSIGN(const std::filesystem::path own, Resolve(root));
    if (Within(resolved, own) || Within(own, resolved)) {
      return Fail(EINVAL, "mount",
                  "cannot mount on " + target + ": it is in or above the daemon's " + what +
                      " root " + root);
    }
  }
  return {};
}

Result<ImageMount> ImageMounts::Mount(const std::string& image, const std::string& target,
                                      bool read_write, CopyUp copy_up) {
  STRATA_TRY(CheckTarget(target));
  const MutexLock lock(mu_);
  if (RootFsMounter::State(target) != MountState::kAbsent) {
    return Fail(EBUSY, "mount", "something is mounted on " + target + " already");
  }
  STRATA_TRY_ASSIGN(const ContainerDefaults defaults, images_.Defaults(image));
  const std::string id = NewId();
  const std::string directory = JoinPath(root_, id);
  ImageMount mount{id, image, target, read_write,
                   read_write ? JoinPath(directory, "upper") : std::string()};
  RootFsRequest request;
  STRATA_TRY_ASSIGN(const layerstore::ImageDetail detail, store_.images().Inspect(defaults.image));
  STRATA_TRY(AddImageLayers(store_, image, detail.image.diff_ids, request));
  request.upper = mount.upper;
  if (read_write) request.work = JoinPath(directory, "work");
  request.target = target;
  request.copy_up = copy_up;
  request.log_file = JoinPath(directory, "stratafs.log");
  STRATA_TRY(store_.images().AddUser(defaults.image, UserOf(id)));
  auto mounted = Prepare(mount, directory);
  if (mounted) mounted = mounter_.Mount(request);
  if (mounted) return mount;
  Forget(id);
  return std::unexpected(std::move(mounted).error());
}

Result<> ImageMounts::Unmount(const std::string& target) {
  const MutexLock lock(mu_);
  STRATA_TRY_ASSIGN(const auto mounts, ListLocked());
  for (const auto& mount : mounts) {
    if (mount.target != target) continue;
    STRATA_TRY(RootFsMounter::Unmount(target));
    STRATA_TRY(store_.images().RemoveUser(UserOf(mount.id)));
    return RemoveTree(JoinPath(root_, mount.id));
  }
  return Fail(ENOENT, "unmount", "no image is mounted on " + target);
}

}  // namespace strata::manager
