#include "tests/conformance/posix/world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>

#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/xattrs.h"

namespace strata::conformance {
namespace {

using support::Lstat;
using support::Must;
using support::MustCall;

constexpr std::size_t kLowers = 2;

constexpr Variant kVariants[] = {
    {"write/large", "write", "large"},
    {"write/all", "write", "all"},
    {"write/off", "write", "off"},
    {"write/large/blocks", "write", "large", "copyup_threshold=4K,metacopy_threshold=4K"},
    {"open/large", "open", "large"},
    {"open/off", "open", "off"},
    {"write/unopened", "write", "", "opens=off"},
};

void SetTimes(const std::string& path, const struct stat& st) {
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  MustCall(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat");
}

// Every path below, a directory after what is in it.
void Walk(const std::string& directory, const std::function<void(const std::string&)>& visit) {
  for (const std::string& name : support::List(directory)) {
    const std::string path = directory + "/" + name;
    if (S_ISDIR(Lstat(path).st_mode)) Walk(path, visit);
    visit(path);
  }
}

void WalkCases(World& world, const std::function<void(const std::string&)>& visit) {
  for (const Script& script : world.scripts()) Walk(world.At() + "/" + script.name, visit);
}

void RemoveAll(const std::string& directory) {
  Walk(directory, [](const std::string& path) { MustCall(::remove(path.c_str()), "remove"); });
}

// Moves every other file of `from` to the same directory in `to`; links of one file stay together.
void Split(const std::string& from, const std::string& to, std::map<ino_t, bool>& moves) {
  const struct stat st = Lstat(from);
  support::MakeDir(to);
  for (const std::string& name : support::List(from)) {
    const std::string path = from + "/" + name;
    const struct stat entry = Lstat(path);
    if (S_ISDIR(entry.st_mode)) {
      Split(path, to + "/" + name, moves);
    } else if (moves.try_emplace(entry.st_ino, moves.size() % 2 == 0).first->second) {
      MustCall(::rename(path.c_str(), (to + "/" + name).c_str()), "rename");
    }
  }
  // What shows of a merged directory is the upper one's.
  MustCall(::chown(to.c_str(), st.st_uid, st.st_gid), "chown");
  MustCall(::chmod(to.c_str(), st.st_mode & 07777U), "chmod");
  for (const auto& [name, value] : Must(support::ReadXattrs(from))) {
    Must(support::SetXattr(to, name, value));
  }
  SetTimes(to, st);
  SetTimes(from, st);
}

// --- the kinds

void InUpper(World& world) {
  world.Mount();
  world.SetUp(world.At());
}

void InUpperBefore(World& world) {
  world.SetUp(world.Upper());
  world.Mount();
}

void InLower(World& world) {
  world.SetUp(world.Lower(0));
  world.Mount();
}

void Merged(World& world) {
  world.SetUp(world.Lower(0));
  std::map<ino_t, bool> moves;
  for (const Script& script : world.scripts()) {
    Split(world.Lower(0) + "/" + script.name, world.Lower(1) + "/" + script.name, moves);
  }
  world.Mount();
}

// The data as well: by a first write that changes nothing. It takes file capabilities away.
void CopiedUp(World& world) {
  InLower(world);
  WalkCases(world, [](const std::string& path) {
    const struct stat st = Lstat(path);
    if (!S_ISREG(st.st_mode)) {
      MustCall(::lchown(path.c_str(), st.st_uid, st.st_gid), "lchown");
    } else {
      const auto xattrs = Must(support::ReadXattrs(path));
      const UniqueFd fd = support::OpenFile(path, O_RDWR);
      MustCall(::ftruncate(fd.get(), st.st_size + 1), "ftruncate");
      MustCall(::ftruncate(fd.get(), st.st_size), "ftruncate");
      for (const auto& [name, value] : xattrs) Must(support::SetXattr(path, name, value));
    }
    if (!S_ISLNK(st.st_mode)) MustCall(::chmod(path.c_str(), st.st_mode & 07777U), "chmod");
    SetTimes(path, st);
  });
}

// Only attributes were changed: to what they were.
void Chmodded(World& world) {
  InLower(world);
  WalkCases(world, [](const std::string& path) { SetTimes(path, Lstat(path)); });
}

void RemountedCopy(World& world) {
  CopiedUp(world);
  world.Unmount();
  world.Mount();
}

// By the kernel: what it has copied up.
void FromOverlay(World& world) {
  world.SetUp(world.Lower(0));
  world.MountOverlay();
  WalkCases(world, [](const std::string& path) { SetTimes(path, Lstat(path)); });
  world.Unmount();
  world.Mount();
}

// The same names were there before, and were removed one by one.
void OverWhiteouts(World& world) {
  InLower(world);
  for (const Script& script : world.scripts()) RemoveAll(world.At() + "/" + script.name);
  world.SetUp(world.At());
}

// The directory of the case itself was removed and made again.
void InOpaque(World& world) {
  InLower(world);
  for (const Script& script : world.scripts()) {
    const std::string directory = world.At() + "/" + script.name;
    RemoveAll(directory);
    MustCall(::rmdir(directory.c_str()), "rmdir");
  }
  world.SetUp(world.At());
}

// The lower directory has another name.
void Redirected(World& world) {
  world.SetUp(world.Lower(0));
  for (const Script& script : world.scripts()) {
    const std::string directory = world.Lower(0) + "/" + script.name;
    MustCall(::rename(directory.c_str(), (directory + ".was").c_str()), "rename");
  }
  world.Mount();
  for (const Script& script : world.scripts()) {
    const std::string directory = world.At() + "/" + script.name;
    MustCall(::rename((directory + ".was").c_str(), directory.c_str()), "rename");
  }
}

void RedirectedAndMerged(World& world) {
  world.SetUp(world.Lower(0));
  std::map<ino_t, bool> moves;
  for (const Script& script : world.scripts()) {
    const std::string was = script.name + ".was";
    MustCall(::rename((world.Lower(0) + "/" + script.name).c_str(),
                      (world.Lower(0) + "/" + was).c_str()),
             "rename");
    Split(world.Lower(0) + "/" + was, world.Lower(1) + "/" + was, moves);
  }
  world.Mount();
  for (const Script& script : world.scripts()) {
    const std::string directory = world.At() + "/" + script.name;
    MustCall(::rename((directory + ".was").c_str(), directory.c_str()), "rename");
  }
  world.Unmount();
  world.Mount();
}

constexpr Kind kKinds[] = {
    {"upper", InUpper},
    {"lower", InLower},
    {"upper-before", InUpperBefore},
    {"merged", Merged},
    {"copied-up", CopiedUp},
    {"chmodded", Chmodded},
    {"remounted-copy", RemountedCopy},
    {"from-overlay", FromOverlay},
    {"over-whiteouts", OverWhiteouts},
    {"opaque", InOpaque},
    {"redirected", Redirected},
    {"redirected-merged", RedirectedAndMerged},
};

}  // namespace

std::span<const Variant> Variants() { return kVariants; }
std::span<const Kind> Kinds() { return kKinds; }

const Kind& FindKind(std::string_view name) {
  const auto found = std::ranges::find(kKinds, name, &Kind::name);
  if (found == std::end(kKinds)) throw std::invalid_argument("no kind " + std::string(name));
  return *found;
}

World::World(const std::string& base, const std::vector<Script>& scripts, const Variant& variant)
    : base_(base), scripts_(scripts), variant_(variant) {
  for (std::size_t i = 0; i < kLowers; ++i) support::MakeDir(Lower(i));
  for (const std::string& directory : {Upper(), base_ + "/work", At()}) support::MakeDir(directory);
}

std::string World::Lower(std::size_t layer) const {
  return base_ + "/lower" + std::to_string(layer);
}

void World::SetUp(const std::string& directory) {
  const auto wrong =
      Unexpected(scripts_, RunScripts(scripts_, directory, Part::kSetup), Part::kSetup);
  if (!wrong.empty()) throw std::runtime_error("setup: " + wrong[0]);
}

support::UnionSpec World::Spec() const {
  support::UnionSpec spec = {.lower = {Lower(1), Lower(0)},
                             .upper = Upper(),
                             .work = base_ + "/work",
                             .mount_point = At(),
                             .copy_up = std::string(variant_.copy_up),
                             .passthrough = std::string(variant_.passthrough)};
  if (!variant_.options.empty()) spec.options = {std::string(variant_.options)};
  return spec;
}

void World::Start(support::Mounter mounter) {
  if (digests_.empty()) {
    for (std::size_t i = 0; i < kLowers; ++i) {
      digests_.push_back(Must(support::LayerDigest(Lower(i))));
    }
  }
  support::UnionSpec spec = Spec();
  if (mounter != support::Mounter::kStratafs) spec.options.clear();
  mount_ = Must(support::UnionMount::Start(mounter, spec));
}

void World::Mount() { Start(support::DefaultMounter()); }
void World::MountOverlay() { Start(support::Mounter::kOverlay); }
void World::Unmount() { Must(mount_.Stop()); }

void World::Finalize() { Must(support::FinalizeUpper(Spec())); }

bool World::LowersUntouched() const {
  for (std::size_t i = 0; i < kLowers; ++i) {
    if (Must(support::LayerDigest(Lower(i))) != digests_[i]) return false;
  }
  return true;
}

}  // namespace strata::conformance
