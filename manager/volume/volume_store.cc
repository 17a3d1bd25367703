#include "manager/volume/volume_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/path.h"
#include "base/replace_file.h"
#include "base/try.h"
#include "manager/volume/copy_tree.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr const char* kRecord = "volume.json";
constexpr const char* kData = "_data";
constexpr std::size_t kRecordMax = std::size_t{1} << 20U;

// docker's rule for names.
bool ValidVolumeName(std::string_view name) {
  const auto alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.size() < 2 || name.size() > kNameMax || !alnum(name[0])) return false;
  return std::ranges::all_of(name,
                             [&](char c) { return alnum(c) || c == '_' || c == '.' || c == '-'; });
}

Result<> MakeDirectory(const std::string& path, mode_t mode) {
  auto made = FileOps::System().MakeDir(AT_FDCWD, path.c_str(), mode);
  if (!made && made.error().code() != EEXIST) {
    return std::unexpected(std::move(made).error().WithContext(path));
  }
  return {};
}

// The volume exists whole or not at all.
Result<> PublishRecord(const std::string& directory, const std::string& text) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  return ReplaceFile(ops, dir.get(), kRecord, text, 0600);
}

std::map<std::string, std::string> StringMap(const json& object, const char* key) {
  std::map<std::string, std::string> map;
  const auto it = object.find(key);
  if (it == object.end() || !it->is_object()) return map;
  for (const auto& [name, value] : it->items()) {
    if (value.is_string()) map[name] = value.get<std::string>();
  }
  return map;
}

Result<> RemoveEntries(int dir) {
  FileOps& ops = FileOps::System();
  std::vector<std::pair<std::string, bool>> entries;
  STRATA_TRY_ASSIGN(const UniqueFd listing, ops.Open(dir, ".", O_RDONLY | O_DIRECTORY));
  STRATA_TRY(ops.ReadDir(listing.get(), [&](std::string_view name, ino_t, unsigned char type) {
    entries.emplace_back(name, type == DT_DIR || type == DT_UNKNOWN);
    return true;
  }));
  for (const auto& [name, maybe_directory] : entries) {
    if (maybe_directory) {
      auto inner = ops.Open(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (inner) {
        STRATA_TRY(RemoveEntries(inner->get()));
        STRATA_TRY(ops.Unlink(dir, name.c_str(), AT_REMOVEDIR));
        continue;
      }
    }
    auto removed = ops.Unlink(dir, name.c_str());
    if (!removed && removed.error().code() != ENOENT) {
      return std::unexpected(std::move(removed).error().WithContext(name));
    }
  }
  return {};
}

}  // namespace

Result<> RemoveTree(const std::string& path) {
  FileOps& ops = FileOps::System();
  auto dir = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) {
    if (dir.error().code() == ENOENT) return {};
    return std::unexpected(std::move(dir).error().WithContext(path));
  }
  STRATA_TRY(RemoveEntries(dir->get()));
  return ops.Unlink(AT_FDCWD, path.c_str(), AT_REMOVEDIR);
}

Result<std::unique_ptr<VolumeStore>> VolumeStore::Open(std::string root) {
  STRATA_TRY(MakeDirectory(root, 0711));
  std::unique_ptr<VolumeStore> store(new VolumeStore(std::move(root)));
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.Open(AT_FDCWD, store->root_.c_str(), O_RDONLY | O_DIRECTORY));
  std::vector<std::string> leftovers;
  STRATA_TRY(ops.ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char) {
    const std::string path = JoinPath(store->root_, name);
    if (!ops.StatAt(AT_FDCWD, JoinPath(path, kRecord).c_str())) leftovers.push_back(path);
    return true;
  }));
  for (const auto& path : leftovers) {
    log::Info("removing what an interrupted volume removal left", {{"path", path}});
    Ignore(RemoveTree(path), "start-up cleanup; tried again at the next start");
  }
  return store;
}

Result<Volume> VolumeStore::ReadLocked(const std::string& name) {
  if (!ValidVolumeName(name)) {
    return Fail(ENOENT, "volume", "get " + name + ": no such volume");
  }
  FileOps& ops = FileOps::System();
  const std::string directory = JoinPath(root_, name);
  auto file = ops.Open(AT_FDCWD, JoinPath(directory, kRecord).c_str(), O_RDONLY | O_NOFOLLOW);
  if (!file) {
    if (file.error().code() == ENOENT) {
      return Fail(ENOENT, "volume", "get " + name + ": no such volume");
    }
    return std::unexpected(std::move(file).error().WithContext(directory));
  }
  STRATA_TRY_ASSIGN(const std::string text, ReadAll(ops, file->get(), kRecordMax));
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(EBADMSG, "volume", directory + ": damaged volume.json");
  Volume volume;
  volume.name = name;
  volume.mountpoint = JoinPath(directory, kData);
  if (const auto it = object.find("created"); it != object.end() && it->is_number_integer()) {
    volume.created = it->get<std::int64_t>();
  }
  if (const auto it = object.find("anonymous"); it != object.end() && it->is_boolean()) {
    volume.anonymous = it->get<bool>();
  }
  volume.labels = StringMap(object, "labels");
  volume.options = StringMap(object, "options");
  return volume;
}

Result<Volume> VolumeStore::Create(const Volume& wanted, bool* created) {
  if (created != nullptr) *created = false;
  if (!ValidVolumeName(wanted.name)) {
    return Fail(EINVAL, "volume",
                "create " + wanted.name + ": \"" + wanted.name +
                    "\" includes invalid characters for a local volume name, only "
                    "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host "
                    "directory, use absolute path");
  }
  const MutexLock lock(mu_);
  auto existing = ReadLocked(wanted.name);
  if (existing || existing.error().code() != ENOENT) return existing;

  Volume volume = wanted;
  const std::string directory = JoinPath(root_, wanted.name);
  volume.mountpoint = JoinPath(directory, kData);
  volume.created = std::time(nullptr);
  STRATA_TRY(MakeDirectory(directory, 0711));
  STRATA_TRY(MakeDirectory(volume.mountpoint, 0755));
  const json object{{"version", 1},
                    {"created", volume.created},
                    {"labels", volume.labels},
                    {"options", volume.options},
                    {"anonymous", volume.anonymous}};
  STRATA_TRY(PublishRecord(directory, object.dump(-1, ' ', false, json::error_handler_t::replace)));
  if (created != nullptr) *created = true;
  return volume;
}

Result<Volume> VolumeStore::Find(const std::string& name) {
  const MutexLock lock(mu_);
  return ReadLocked(name);
}

Result<std::vector<Volume>> VolumeStore::List() {
  const MutexLock lock(mu_);
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops.Open(AT_FDCWD, root_.c_str(), O_RDONLY | O_DIRECTORY));
  std::vector<std::string> names;
  STRATA_TRY(ops.ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char) {
    names.emplace_back(name);
    return true;
  }));
  std::ranges::sort(names);
  std::vector<Volume> volumes;
  for (const auto& name : names) {
    auto volume = ReadLocked(name);
    if (volume) {
      volumes.push_back(std::move(*volume));
    } else if (volume.error().code() != ENOENT) {
      log::Error("volume cannot be read", {{"name", name}, {"error", volume.error().ToString()}});
    }
  }
  return volumes;
}

Result<> VolumeStore::Remove(const std::string& name) {
  const MutexLock lock(mu_);
  STRATA_TRY(ReadLocked(name));
  const std::string directory = JoinPath(root_, name);
  STRATA_TRY(FileOps::System().Unlink(AT_FDCWD, JoinPath(directory, kRecord).c_str()));
  return RemoveTree(directory);
}

Result<> VolumeStore::Seed(const Volume& volume, int rootfs, const std::string& path) {
  FileOps& ops = FileOps::System();
  auto source = ops.OpenConfined(rootfs, path.c_str(), O_RDONLY | O_DIRECTORY, 0,
                                 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (!source) {
    const int code = source.error().code();
    if (code == ENOENT || code == ENOTDIR || code == ELOOP) return {};
    return std::unexpected(std::move(source).error().WithContext(path));
  }
  const MutexLock lock(mu_);
  STRATA_TRY_ASSIGN(const UniqueFd data, ops.Open(AT_FDCWD, volume.mountpoint.c_str(),
                                                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  bool empty = true;
  STRATA_TRY(ops.ReadDir(data.get(), [&](std::string_view, ino_t, unsigned char) {
    empty = false;
    return false;
  }));
  if (!empty) return {};
  return CopyTree(source->get(), data.get());
}

}  // namespace strata::manager
