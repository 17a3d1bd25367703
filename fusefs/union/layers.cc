#include "fusefs/union/layers.h"

#include <sys/file.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <span>
#include <thread>

#include "base/logging.h"
#include "base/mount_tree.h"
#include "base/path.h"
#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/union/link_groups.h"
#include "fusefs/union/overlay_mounts.h"

namespace strata::fusefs {
namespace {

constexpr unsigned kInoBits = 64;
constexpr unsigned kMinNumberBits = 8;  // no filesystem made of blocks uses that many of its own
// How long to wait for an upper that another mount uses, and for one that is ending: it may have to
// bring all that was written to the disk.
constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::chrono::minutes kPatienceWithTheEnding{10};
constexpr std::chrono::milliseconds kPause{5};

// `inner` is `outer` or lies below it; both are canonical.
bool Contains(std::string_view outer, std::string_view inner) {
  if (!inner.starts_with(outer)) return false;
  return inner.size() == outer.size() || outer == "/" || inner[outer.size()] == '/';
}

Result<> CheckOverlap(const EngineOptions& options, const ChainLayers* chain) {
  if (options.upper.empty()) return {};
  STRATA_TRY_ASSIGN(const std::string upper, RealPath(options.upper));
  STRATA_TRY_ASSIGN(const std::string work, RealPath(options.work));
  if (Contains(upper, work) || Contains(work, upper)) {
    return Fail(EINVAL, "workdir", "upperdir " + upper + " and workdir " + work + " overlap");
  }
  std::vector<std::string> lowers;
  for (const std::string& path : options.lower) {
    STRATA_TRY_ASSIGN(lowers.emplace_back(), RealPath(path));
  }
  if (chain != nullptr) {
    STRATA_TRY_ASSIGN(const std::vector<std::string> paths, chain->RealPaths());
    lowers.insert(lowers.end(), paths.begin(), paths.end());
  }
  for (const std::string& lower : lowers) {
    if (Contains(lower, upper) || Contains(upper, lower)) {
      return Fail(EINVAL, "upperdir", "upperdir " + upper + " and lowerdir " + lower + " overlap");
    }
    if (Contains(lower, work) || Contains(work, lower)) {
      return Fail(EINVAL, "workdir", "workdir " + work + " and lowerdir " + lower + " overlap");
    }
  }
  return {};
}

bool TryLock(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) == 0; }

// Only one mount may write an upper or use a work directory at a time. The daemon of a former mount
// ends some time after umount(8) has returned; `is_ending` says whether that is it.
Result<> LockDirectory(int fd, const char* what, const std::string& path,
                       const std::function<bool()>& is_ending) {
  const auto start = std::chrono::steady_clock::now();
  while (!TryLock(fd)) {
    if (errno != EWOULDBLOCK) return FailErrno("flock", path);
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > kPatience && (waited > kPatienceWithTheEnding || !is_ending())) {
      return Fail(EBUSY, what, std::string(what) + " " + path + " is in use by another mount");
    }
    std::this_thread::sleep_for(kPause);
  }
  return {};
}

}  // namespace

std::uint16_t Layers::FilesystemOf(dev_t device) {
  auto found = std::ranges::find(filesystems_, device, &Filesystem::device);
  if (found == filesystems_.end()) found = filesystems_.insert(filesystems_.end(), {device, {}});
  return static_cast<std::uint16_t>(found - filesystems_.begin());
}

// Without a UUID the kernel goes by zeros, and so do we for one such filesystem. Copies of an image
// have the same one; so have volumes, but their file handles tell them apart.
Result<> Layers::Identify() {
  std::uint16_t next = 0;
  // The upper last, as they were numbered.
  for (LayerIndex i = 1; i <= end(); ++i) {
    const LayerIndex layer = i < end() ? i : kUpperLayer;
    if (filesystem(layer) != next) continue;
    STRATA_TRY_ASSIGN(const SharedFd root, Root(layer));
    FilesystemIdentity identity = FilesystemIdentity::Of(root->get());
    FilesystemUuid& uuid = identity.uuid;
    const bool known =
        std::ranges::any_of(std::span(filesystems_).first(next),
                            [&](const Filesystem& before) { return before.identity.uuid == uuid; });
    if (known && !identity.has_volumes) {
      uuid = {'s', 't', 'r', 'a', 't', 'a'};
      uuid[14] = static_cast<std::uint8_t>(next >> 8U);
      uuid[15] = static_cast<std::uint8_t>(next);
    }
    filesystems_[next++].identity = identity;
  }
  return {};
}

Result<> Layers::AddRoot(UniqueFd fd, FileOps& files) {
  STRATA_TRY_ASSIGN(const struct stat st, files.Stat(fd.get()));
  roots_.push_back({std::make_shared<const UniqueFd>(std::move(fd)), FilesystemOf(st.st_dev)});
  return {};
}

Result<> Layers::AddChain() {
  first_in_chain_ = end();
  if (!chain_) return {};
  if (roots_.size() + chain_->size() >= kMaxLayers) {
    return Fail(E2BIG, "lowerdir", "too many lower layers");
  }
  for (std::size_t layer = chain_->size(); layer > 0; --layer) {
    roots_.push_back({nullptr, FilesystemOf(chain_->device(layer - 1))});
  }
  return {};
}

Result<> Layers::OpenUpper(const EngineOptions& options, FileOps& files) {
  auto upper = files.Open(AT_FDCWD, options.upper.c_str(), O_RDONLY | O_DIRECTORY);
  if (!upper) {
    return std::unexpected(std::move(upper).error().WithContext("upperdir " + options.upper));
  }
  auto work = files.Open(AT_FDCWD, options.work.c_str(), O_RDONLY | O_DIRECTORY);
  if (!work) return std::unexpected(std::move(work).error().WithContext("workdir " + options.work));
  work_ = std::move(*work);
  STRATA_TRY_ASSIGN(const struct stat upper_stat, files.Stat(upper->get()));
  STRATA_TRY_ASSIGN(const struct stat work_stat, files.Stat(work_.get()));
  if (upper_stat.st_dev != work_stat.st_dev) {
    return Fail(
        EXDEV, "workdir",
        "workdir " + options.work + " is not on the filesystem of upperdir " + options.upper);
  }
  const auto is_ending = [&] { return TryLock(work_.get()) && ::flock(work_.get(), LOCK_UN) == 0; };
  STRATA_TRY(LockDirectory(upper->get(), "upperdir", options.upper, is_ending));
  STRATA_TRY(LockDirectory(work_.get(), "workdir", options.work, [] { return false; }));
  STRATA_TRY(CheckUnusedByOverlay(upper_stat, options.upper, work_stat, options.work));
  roots_[kUpperLayer] = {std::make_shared<const UniqueFd>(std::move(*upper)),
                         FilesystemOf(upper_stat.st_dev)};
  writable_ = true;
  return {};
}

Result<std::unique_ptr<Layers>> Layers::Open(const EngineOptions& options, FileOps& files) {
  if (options.lower.empty() && options.chain.empty()) {
    return Fail(EINVAL, "lowerdir", "no lowerdir given");
  }
  if (options.lower.size() >= kMaxLayers) return Fail(E2BIG, "lowerdir", "too many lower layers");
  if (options.upper.empty() != options.work.empty()) {
    return Fail(EINVAL, "mount options", "upperdir and workdir are needed together");
  }
  bool user_xattr = options.user_xattr || !HoldsGlobalAdmin();
  std::unique_ptr<ChainLayers> chain;
  if (!options.chain.empty()) {
    STRATA_TRY_ASSIGN(chain, ChainLayers::Open(options.chain, user_xattr, files));
    user_xattr = chain->index().user_marks();
  }
  std::unique_ptr<Layers> layers(new Layers(user_xattr));
  layers->chain_ = std::move(chain);
  layers->roots_.push_back({});  // the upper's place

  // Lower layers first decide the filesystem numbers, so that they do not change when an upper is
  // added.
  for (const std::string& path : options.lower) {
    STRATA_TRY_ASSIGN(MountTree tree, OpenReadOnlyTree(path));
    // Reopened for reading through the read-only mount: the root is listed like any other
    // directory.
    auto readable = files.Open(tree.fd.get(), ".", O_RDONLY | O_DIRECTORY);
    if (!readable) {
      return std::unexpected(std::move(readable).error().WithContext("lowerdir " + path));
    }
    STRATA_TRY(layers->AddRoot(std::move(*readable), files));
  }
  STRATA_TRY(layers->AddChain());
  STRATA_TRY(CheckOverlap(options, layers->chain_.get()));
  // Room for the upper's number, too.
  layers->number_bits_ =
      std::max(kMinNumberBits, static_cast<unsigned>(std::bit_width(layers->filesystems_.size())));
  if (!options.upper.empty()) {
    STRATA_TRY(layers->OpenUpper(options, files));
    STRATA_TRY(layers->Identify());
  }
  return layers;
}

void Layers::SayEnding() const {
  if (writable_ && ::flock(work_.get(), LOCK_UN) != 0)
    log::Debug("the work directory stays locked");
}

Result<SharedFd> Layers::Root(LayerIndex layer) const {
  if (InChain(layer)) return chain_->Root(ToChain(layer));
  if (!roots_[layer].fd) return Fail(ENOENT, "layer root");
  return roots_[layer].fd;
}

std::uint64_t Layers::ShownOn(std::uint16_t filesystem, std::uint64_t real,
                              std::uint64_t volume) const {
  if (filesystems_.size() == 1 && volume == 0) return real;
  // Numbers that use the highest bits themselves (of unions, of some network filesystems) are
  // folded, and so are volumes: hashing keeps them apart in practice.
  constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15U;
  const unsigned shift = kInoBits - number_bits_;
  const std::uint64_t beyond = (real >> shift) ^ (volume * kMix);
  const std::uint64_t low = (real ^ (beyond * kMix)) & ((std::uint64_t{1} << shift) - 1);
  return low | (std::uint64_t{filesystem} << shift);
}

std::uint64_t Layers::ShownIno(LayerIndex layer, std::uint64_t real, std::uint64_t volume) const {
  return ShownOn(filesystem(layer), real, volume);
}

std::uint64_t Layers::LogicalIno(LayerIndex layer, std::uint32_t identity) const {
  // No filesystem made of blocks has inodes of such numbers.
  constexpr std::uint64_t kLogical = std::uint64_t{1} << 62U;
  constexpr unsigned kIdentityBits = 40;
  return kLogical | (std::uint64_t{ToChain(layer)} << kIdentityBits) | identity;
}

std::optional<std::uint16_t> Layers::FilesystemOf(const Origin& origin) const {
  const auto found = std::ranges::find_if(filesystems_, [&](const Filesystem& filesystem) {
    return filesystem.identity.uuid == origin.uuid;
  });
  if (found == filesystems_.end()) return std::nullopt;
  return static_cast<std::uint16_t>(found - filesystems_.begin());
}

std::optional<std::uint64_t> Layers::InoOfOrigin(std::string_view handle) const {
  const auto origin = ParseOrigin(handle);
  if (!origin || !origin->ino) return std::nullopt;
  const auto filesystem = FilesystemOf(*origin);
  if (!filesystem) return std::nullopt;
  return ShownOn(*filesystem, *origin->ino, 0);
}

std::optional<nlink_t> Layers::LinksOfOrigin(std::string_view handle) const {
  const auto origin = ParseOrigin(handle);
  if (!origin || !origin->lasting) return std::nullopt;
  const auto filesystem = FilesystemOf(*origin);
  const auto layer = std::ranges::find_if(roots_, [&](const RootDirectory& root) {
    return filesystem && root.filesystem == *filesystem && root.fd;
  });
  if (layer == roots_.end()) return std::nullopt;
  const UniqueFd file = origin->lasting->Open(layer->fd->get());
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) != 0) return std::nullopt;
  return st.st_nlink;
}

}  // namespace strata::fusefs
