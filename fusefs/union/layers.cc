#include "fusefs/union/layers.h"

#include <sys/file.h>

#include <algorithm>
#include <cstdlib>

#include "base/mount_tree.h"
#include "base/path.h"
#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/union/overlay_mounts.h"

namespace strata::fusefs {
namespace {

constexpr unsigned kFilesystemShift =
    56;  // inode numbers below 2^56 leave room for the filesystem number

Result<std::string> RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (!real) return FailErrno("realpath", path);
  return std::string(real.get());
}

// `inner` is `outer` or lies below it; both are canonical.
bool Contains(std::string_view outer, std::string_view inner) {
  if (!inner.starts_with(outer)) return false;
  return inner.size() == outer.size() || outer == "/" || inner[outer.size()] == '/';
}

Result<> CheckOverlap(const EngineOptions& options) {
  if (options.upper.empty()) return {};
  STRATA_TRY_ASSIGN(const std::string upper, RealPath(options.upper));
  STRATA_TRY_ASSIGN(const std::string work, RealPath(options.work));
  if (Contains(upper, work) || Contains(work, upper)) {
    return Fail(EINVAL, "workdir", "upperdir " + upper + " and workdir " + work + " overlap");
  }
  for (const std::string& path : options.lower) {
    STRATA_TRY_ASSIGN(const std::string lower, RealPath(path));
    if (Contains(lower, upper) || Contains(upper, lower)) {
      return Fail(EINVAL, "upperdir", "upperdir " + upper + " and lowerdir " + lower + " overlap");
    }
    if (Contains(lower, work) || Contains(work, lower)) {
      return Fail(EINVAL, "workdir", "workdir " + work + " and lowerdir " + lower + " overlap");
    }
  }
  return {};
}

// Only one mount may write an upper or use a work directory at a time.
Result<> LockDirectory(int fd, const char* what, const std::string& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno == EWOULDBLOCK) {
    return Fail(EBUSY, what, std::string(what) + " " + path + " is in use by another mount");
  }
  return FailErrno("flock", path);
}

}  // namespace

std::string OverlayXattrs::Escape(std::string_view name) const {
  return prefix_ + "overlay." + std::string(name.substr(prefix_.size()));
}

bool OverlayXattrs::IsEscaped(std::string_view name) const {
  return name.starts_with(prefix_) && name.substr(prefix_.size()).starts_with("overlay.");
}

std::string OverlayXattrs::Unescape(std::string_view name) const {
  return prefix_ + std::string(name.substr(prefix_.size() + std::string_view("overlay.").size()));
}

Result<> Layers::AddRoot(UniqueFd fd, FileOps& files) {
  if (!fd) {
    roots_.push_back({});
    return {};
  }
  STRATA_TRY_ASSIGN(const struct stat st, files.Stat(fd.get()));
  auto device = std::ranges::find(devices_, st.st_dev);
  if (device == devices_.end()) device = devices_.insert(devices_.end(), st.st_dev);
  roots_.push_back({std::move(fd), static_cast<std::uint16_t>(device - devices_.begin())});
  return {};
}

Result<std::unique_ptr<Layers>> Layers::Open(const EngineOptions& options, FileOps& files) {
  if (options.lower.empty()) return Fail(EINVAL, "lowerdir", "no lowerdir given");
  if (options.lower.size() >= kMaxLayers) return Fail(E2BIG, "lowerdir", "too many lower layers");
  if (options.upper.empty() != options.work.empty()) {
    return Fail(EINVAL, "mount options", "upperdir and workdir are needed together");
  }
  std::unique_ptr<Layers> layers(new Layers(options.user_xattr || !HoldsGlobalAdmin()));

  // Lower layers first decide the filesystem numbers, so that they do not change when an upper is
  // added.
  std::vector<UniqueFd> lower;
  for (const std::string& path : options.lower) {
    STRATA_TRY_ASSIGN(MountTree tree, OpenReadOnlyTree(path));
    // Reopened for reading through the read-only mount: the root is listed like any other
    // directory.
    auto readable = files.Open(tree.fd.get(), ".", O_RDONLY | O_DIRECTORY);
    if (!readable)
      return std::unexpected(std::move(readable).error().WithContext("lowerdir " + path));
    lower.push_back(std::move(*readable));
  }
  STRATA_TRY(CheckOverlap(options));

  UniqueFd upper;
  if (!options.upper.empty()) {
    auto opened = files.Open(AT_FDCWD, options.upper.c_str(), O_RDONLY | O_DIRECTORY);
    if (!opened) {
      return std::unexpected(std::move(opened).error().WithContext("upperdir " + options.upper));
    }
    upper = std::move(*opened);
    auto work = files.Open(AT_FDCWD, options.work.c_str(), O_RDONLY | O_DIRECTORY);
    if (!work)
      return std::unexpected(std::move(work).error().WithContext("workdir " + options.work));
    layers->work_ = std::move(*work);
    STRATA_TRY_ASSIGN(const struct stat upper_stat, files.Stat(upper.get()));
    STRATA_TRY_ASSIGN(const struct stat work_stat, files.Stat(layers->work_.get()));
    if (upper_stat.st_dev != work_stat.st_dev) {
      return Fail(
          EXDEV, "workdir",
          "workdir " + options.work + " is not on the filesystem of upperdir " + options.upper);
    }
    STRATA_TRY(LockDirectory(upper.get(), "upperdir", options.upper));
    STRATA_TRY(LockDirectory(layers->work_.get(), "workdir", options.work));
    STRATA_TRY(CheckUnusedByOverlay(upper_stat, options.upper, work_stat, options.work));
    layers->writable_ = true;
  }

  layers->roots_.reserve(lower.size() + 1);
  layers->roots_.push_back({});
  for (UniqueFd& fd : lower) STRATA_TRY(layers->AddRoot(std::move(fd), files));
  if (upper) {
    STRATA_TRY(layers->AddRoot(std::move(upper), files));
    layers->roots_[kUpperLayer] = std::move(layers->roots_.back());
    layers->roots_.pop_back();
  }
  return layers;
}

std::uint64_t Layers::ShownIno(LayerIndex layer, std::uint64_t real) const {
  const std::uint64_t number = roots_[layer].filesystem;
  if (devices_.size() == 1 || number == 0) return real;
  // Numbers that use the top byte themselves (some network filesystems) are folded; 64-bit hashing
  // keeps them apart in practice, which is all such a filesystem can offer.
  const std::uint64_t high = real >> kFilesystemShift;
  return (real ^ (high * 0x9E3779B97F4A7C15U)) ^ (number << kFilesystemShift);
}

}  // namespace strata::fusefs
