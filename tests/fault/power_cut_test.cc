// Cuts the power of the upper layer's disk while files are being copied up. Afterwards every name
// of the union is the lower file or the whole copy, with the change that caused it or without, and
// what was synced is there. The machine's own kernel decides what reached the disk: this tests what
// data_order.h says about its filesystems.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "tests/property/random.h"
#include "tests/support/cut_disk.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"
#include "tests/support/xattrs.h"

namespace strata::fusefs {
namespace {

using property::Random;
using support::CutDisk;
using support::Filesystem;
using support::Must;
using support::MustCall;

constexpr int kRounds = 3;
constexpr std::size_t kDirs = 20;
constexpr std::size_t kFilesInDir = 100;
constexpr std::size_t kLinkedInDir = 3;  // so many of them have a second name
constexpr std::size_t kLargeFiles = 6;
constexpr std::size_t kShownViolations = 20;
constexpr mode_t kPermissions = 07777;
constexpr const char* kMetacopy = "trusted.overlay.metacopy";
constexpr const char* kMapHeader = "trusted.overlay.strata.map";
constexpr std::size_t kBootAt = 200;  // docs/formats/upper.md
constexpr const char* kOldXattr = "user.old";
constexpr const char* kNewXattr = "user.new";

std::string RandomBytes(Random& random, std::size_t size) {
  std::string bytes(size, '\0');
  // No zero among them: a zero that is found was not written by anyone.
  for (char& byte : bytes) byte = static_cast<char>(1 + random.Below(255));
  return bytes;
}

enum class ChangeKind : std::uint8_t {
  kAppend,
  kOverwrite,
  kShrink,
  kGrow,
  kChmod,
  kChown,
  kSetXattr,
  kRename,
};

// One change of one lower file, which is copied up for it.
struct Change {
  ChangeKind kind = ChangeKind::kAppend;
  std::string path;
  std::string bytes;  // kAppend, kOverwrite
  off_t offset = 0;   // kOverwrite: from there; kShrink, kGrow: the new size
  std::string to;     // kRename
  bool sync = false;
  bool synced = false;  // fsync(2) said that it is on the disk

  bool ChangesData() const { return kind <= ChangeKind::kGrow; }
};

constexpr mode_t kNewMode = 0751;
constexpr uid_t kNewOwner = 4242;

// What can be seen of a file.
struct Seen {
  std::string content;
  struct stat st = {};
  std::string old_xattr;
  std::string new_xattr;
};

Seen Look(const std::string& path) {
  Seen seen;
  seen.st = support::Lstat(path);
  if (S_ISREG(seen.st.st_mode)) seen.content = support::ReadFile(path);
  const support::Xattrs xattrs = Must(support::ReadXattrs(path));
  if (const auto found = xattrs.find(kOldXattr); found != xattrs.end()) {
    seen.old_xattr = found->second;
  }
  if (const auto found = xattrs.find(kNewXattr); found != xattrs.end()) {
    seen.new_xattr = found->second;
  }
  return seen;
}

// The file after the whole change.
Seen After(const Change& change, Seen file) {
  const auto at = static_cast<std::size_t>(change.offset);
  switch (change.kind) {
    case ChangeKind::kAppend:
      file.content += change.bytes;
      break;
    case ChangeKind::kOverwrite:
      file.content.replace(at, change.bytes.size(), change.bytes);
      break;
    case ChangeKind::kShrink:
    case ChangeKind::kGrow:
      file.content.resize(at, '\0');
      break;
    case ChangeKind::kChmod:
      file.st.st_mode = S_IFREG | kNewMode;
      break;
    case ChangeKind::kChown:
      file.st.st_uid = kNewOwner;
      break;
    case ChangeKind::kSetXattr:
      file.new_xattr = change.bytes;
      break;
    case ChangeKind::kRename:
      break;
  }
  return file;
}

bool IsZeroFrom(const std::string& bytes, std::size_t from) {
  return bytes.find_first_not_of('\0', from) == std::string::npos;
}

// Empty if `seen` is `before`, `after`, or between the two, as the change's own writes may leave
// it.
std::string Compare(const Change& change, const Seen& before, const Seen& after, const Seen& seen) {
  if (!S_ISREG(seen.st.st_mode)) return "not a file";
  const std::size_t size = seen.content.size();
  // A filesystem that writes a file out block by block (XFS) may have come so far.
  const bool grows = change.kind == ChangeKind::kAppend || change.kind == ChangeKind::kGrow;
  const bool between = grows && size > before.content.size() && size < after.content.size();
  if (size != before.content.size() && size != after.content.size() && !between) {
    return "size " + std::to_string(size) + ", not " + std::to_string(before.content.size()) +
           " or " + std::to_string(after.content.size());
  }
  for (std::size_t i = 0; i < size; ++i) {
    const bool is_old = i < before.content.size() && seen.content[i] == before.content[i];
    const bool is_new = i < after.content.size() && seen.content[i] == after.content[i];
    if (!is_old && !is_new) {
      return "wrong byte " + std::to_string(static_cast<unsigned char>(seen.content[i])) + " at " +
             std::to_string(i) + " of " + std::to_string(size) + ", lower file " +
             std::to_string(before.content.size());
    }
  }
  const auto mode = seen.st.st_mode;
  if (mode != before.st.st_mode && mode != after.st.st_mode) return "mode " + std::to_string(mode);
  const auto uid = seen.st.st_uid;
  if (uid != before.st.st_uid && uid != after.st.st_uid) return "owner " + std::to_string(uid);
  if (seen.st.st_gid != before.st.st_gid) return "group " + std::to_string(seen.st.st_gid);
  if (seen.old_xattr != before.old_xattr) return "lost xattr";
  if (seen.new_xattr != before.new_xattr && seen.new_xattr != after.new_xattr) return "new xattr";
  if (!change.ChangesData() && (seen.st.st_mtim.tv_sec != before.st.st_mtim.tv_sec ||
                                seen.st.st_mtim.tv_nsec != before.st.st_mtim.tv_nsec)) {
    return "mtime";
  }
  return "";
}

// The lower layer: small files with names in many directories, a few large ones, link groups.
struct Lower {
  std::string root;
  std::vector<std::string> files;              // one name of each
  std::vector<std::string> directories;        // parents first
  std::map<std::string, std::string> aliases;  // further name -> the one in `files`

  std::string At(const std::string& name) const { return root + "/" + name; }
};

void AddLowerFile(Lower& lower, Random& random, const std::string& name, std::size_t size) {
  const std::string path = lower.At(name);
  support::WriteFile(path, RandomBytes(random, size), random.Chance(20) ? 0640 : 0644);
  if (random.Chance(20)) MustCall(::chown(path.c_str(), 1000, 1001), "chown");
  if (random.Chance(20)) Must(support::SetXattr(path, kOldXattr, RandomBytes(random, 40)));
  const struct timespec times[2] = {{1'500'000'000, 1}, {1'500'000'000, 123'456'789}};
  MustCall(::utimensat(AT_FDCWD, path.c_str(), times, 0), "utimensat");
  lower.files.push_back(name);
}

Lower MakeLower(const std::string& root, Random& random) {
  Lower lower;
  lower.root = root;
  for (std::size_t d = 0; d < kDirs; ++d) {
    const std::string outer = "d" + std::to_string(d);
    const std::string inner = outer + "/inner";
    for (const std::string& dir : {outer, inner}) {
      support::MakeDir(lower.At(dir), random.Chance(50) ? 0755 : 0750);
      lower.directories.push_back(dir);
    }
    for (std::size_t f = 0; f < kFilesInDir; ++f) {
      const std::string name = (random.Chance(50) ? outer : inner) + "/f" + std::to_string(f);
      AddLowerFile(lower, random, name, static_cast<std::size_t>(random.Between(1, 20 * 1024)));
      if (f >= kLinkedInDir) continue;
      const std::string alias = outer + "/link" + std::to_string(f);
      MustCall(::link(lower.At(name).c_str(), lower.At(alias).c_str()), "link");
      lower.aliases[alias] = name;
    }
  }
  for (std::size_t i = 0; i < kLargeFiles; ++i) {
    const auto size = static_cast<std::size_t>(random.Between(1 << 20, 8 << 20));
    AddLowerFile(lower, random, "d" + std::to_string(i) + "/large", size);
  }
  return lower;
}

Change PlanChange(const Lower& lower, const std::string& path, bool linked, Random& random) {
  Change change;
  change.path = path;
  change.kind = static_cast<ChangeKind>(random.Below(linked ? 7 : 8));
  const off_t size = support::Lstat(lower.At(path)).st_size;
  switch (change.kind) {
    case ChangeKind::kAppend:
      change.bytes = RandomBytes(random, static_cast<std::size_t>(random.Between(1, 100)));
      break;
    case ChangeKind::kOverwrite:
      change.offset = random.Between(0, size - 1);
      change.bytes =
          RandomBytes(random, static_cast<std::size_t>(std::min<off_t>(size - change.offset, 50)));
      break;
    case ChangeKind::kShrink:
      change.offset = random.Between(1, size);
      break;
    case ChangeKind::kGrow:
      change.offset = size + random.Between(1, 9000);
      break;
    case ChangeKind::kSetXattr:
      change.bytes = RandomBytes(random, 20);
      break;
    case ChangeKind::kRename:
      change.to = random.Chance(50)
                      ? path + ".moved"
                      : random.Pick(lower.directories) + "/" + path.substr(path.rfind('/') + 1) +
                            ".from." + path.substr(0, path.find('/')) +
                            (path.contains("inner") ? "i" : "");
      break;
    case ChangeKind::kChmod:
    case ChangeKind::kChown:
      break;
  }
  // A rename is synced by its directory, which this test does not look at.
  change.sync = change.kind != ChangeKind::kRename && random.Chance(5);
  return change;
}

// 0 or an errno.
int MakeChange(const std::string& root, const Change& change) {
  const std::string path = root + "/" + change.path;
  const char* name = path.c_str();
  switch (change.kind) {
    case ChangeKind::kAppend: {
      const UniqueFd fd(::open(name, O_WRONLY | O_APPEND | O_CLOEXEC));
      return fd ? support::ErrnoOf(::write(fd.get(), change.bytes.data(), change.bytes.size()))
                : errno;
    }
    case ChangeKind::kOverwrite: {
      const UniqueFd fd(::open(name, O_WRONLY | O_CLOEXEC));
      return fd ? support::ErrnoOf(
                      ::pwrite(fd.get(), change.bytes.data(), change.bytes.size(), change.offset))
                : errno;
    }
    case ChangeKind::kShrink:
    case ChangeKind::kGrow:
      return support::ErrnoOf(::truncate(name, change.offset));
    case ChangeKind::kChmod:
      return support::ErrnoOf(::chmod(name, kNewMode));
    case ChangeKind::kChown:
      return support::ErrnoOf(::chown(name, kNewOwner, static_cast<gid_t>(-1)));
    case ChangeKind::kSetXattr:
      return support::ErrnoOf(
          ::setxattr(name, kNewXattr, change.bytes.data(), change.bytes.size(), 0));
    case ChangeKind::kRename:
      break;
  }
  return support::ErrnoOf(::rename(name, (root + "/" + change.to).c_str()));
}

int SyncFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd ? support::ErrnoOf(::fsync(fd.get())) : errno;
}

class PowerCut : public testing::Test {
 protected:
  PowerCut() : root_(Must(support::TempRoot::Create())), disk_(Must(CutDisk::Create(root_))) {
    const char* given = std::getenv("STRATA_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "STRATA_SEED=" << seed << std::endl;
    random_ = Random(seed);
    lower_ = MakeLower(Must(root_.MakeDir("lower")), random_);
    Must(root_.MakeDir("union"));
  }

  support::UnionSpec Spec(std::vector<std::string> options) const {
    return {.lower = {lower_.root},
            .upper = Upper(),
            .work = disk_.path() + "/work",
            .mount_point = root_.At("union"),
            .options = std::move(options)};
  }
  std::string Upper() const { return disk_.path() + "/upper"; }

  // Formats the disk, changes files until the power is cut, and recovers the disk.
  void CutWhileChanging(Filesystem format, const std::vector<std::string>& options);
  // Lets half-copied files be taken for what another boot left.
  void ForgetBoot();
  // What is wrong then, one line for each file: in the upper layer, in a new union.
  std::vector<std::string> Violations();
  void Finish() { Must(disk_.Unmount()); }

  std::string Summary() const;
  std::size_t changes_made() const { return changes_.size(); }
  int half_copied() const { return half_copied_; }

 private:
  void ChangeFiles(const std::string& root, Random random);
  void ForceCommits(Random random);
  void Index();

  void CheckUpper();
  void CheckUpperEntry(const std::string& name);
  void CheckUpperFile(const std::string& path, const std::string& lower_name, const Change* change);
  void CheckUnion(const std::string& root);
  void CheckName(const std::string& root, const std::string& name, const std::string& target);
  void CheckRename(const std::string& root, const Change& change);
  void CheckFile(const std::string& path, const std::string& lower_name, const Change* change);
  void Report(const std::string& path, const Change* change, const std::string& what);

  support::TempRoot root_;
  CutDisk disk_;
  Random random_{0};
  Lower lower_;
  std::atomic<bool> cut_ = false;
  std::vector<Change> changes_;
  std::map<std::string, const Change*> by_name_;    // lower names, those of a link group too
  std::map<std::string, const Change*> by_target_;  // where renames lead to
  std::vector<std::string> violations_;
  bool zero_tails_ = false;  // an append that was not synced may read as zeros
  int zero_tails_seen_ = 0;
  int half_copied_ = 0;
};

void PowerCut::CutWhileChanging(Filesystem format, const std::vector<std::string>& options) {
  changes_.clear();
  violations_.clear();
  cut_ = false;
  zero_tails_ = support::MayZeroAppendedBytes(format);
  zero_tails_seen_ = 0;
  half_copied_ = 0;
  Must(disk_.Format(format));
  support::MakeDir(Upper());
  support::MakeDir(disk_.path() + "/work");
  support::WriteFile(disk_.path() + "/unrelated", "x");
  {
    const UniqueFd dir = support::OpenFile(disk_.path(), O_RDONLY | O_DIRECTORY);
    MustCall(::syncfs(dir.get()), "syncfs");
  }
  auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, Spec(options)));
  {
    std::jthread changer(
        [&, random = Random(random_.Next())] { ChangeFiles(mount.path(), random); });
    std::jthread committer([&, random = Random(random_.Next())] { ForceCommits(random); });
    ::usleep(static_cast<useconds_t>(random_.Between(30'000, 300'000)));
    cut_ = true;
    Must(disk_.Cut());
    mount.process().Kill();
  }
  mount.Abandon();
  Must(disk_.Recover());
  // The mark of a volatile upper is on the disk before anything else is. With it the union would
  // refuse the upper.
  const std::string mark = disk_.path() + "/work/work/incompat";
  const bool is_volatile = std::ranges::find(options, "volatile") != options.end();
  EXPECT_EQ(support::Exists(mark + "/volatile"), is_volatile);
  Must(support::RemoveTree(mark));
  ForgetBoot();
  Index();
}

void PowerCut::ForgetBoot() {
  const std::string maps = disk_.path() + "/work/blocks";
  if (!support::Exists(maps)) return;
  for (const std::string& name : support::List(maps)) {
    const std::string path = maps + "/" + name;
    const support::Xattrs xattrs = Must(support::ReadXattrs(path));
    const auto header = xattrs.find(kMapHeader);
    if (header == xattrs.end()) continue;  // the disk did not get that far
    std::string value = header->second;
    value.replace(kBootAt, 4, "past");
    Must(support::SetXattr(path, kMapHeader, value));
    ++half_copied_;
  }
}

// In a random order, until it fails.
void PowerCut::ChangeFiles(const std::string& root, Random random) {
  std::set<std::string> linked;
  for (const auto& [alias, name] : lower_.aliases) linked.insert(name);
  std::vector<std::string> names = lower_.files;
  for (std::size_t i = names.size(); i > 1; --i) std::swap(names[i - 1], names[random.Below(i)]);
  for (const std::string& name : names) {
    Change& change = changes_.emplace_back(PlanChange(lower_, name, linked.contains(name), random));
    int error = MakeChange(root, change);
    if (error == 0 && change.sync) {
      error = SyncFile(root + "/" + name);
      // What returns after the cut has begun may have lost the race.
      change.synced = error == 0 && !cut_;
    }
    if (error == 0) continue;
    EXPECT_TRUE(cut_) << name << ": " << std::strerror(error);
    return;
  }
}

// An fsync of any file whose attributes changed ends the journal's open transaction. (Its times may
// not have changed: the kernel's clock for them ticks slowly.)
void PowerCut::ForceCommits(Random random) {
  const UniqueFd fd(::open((disk_.path() + "/unrelated").c_str(), O_WRONLY | O_CLOEXEC));
  for (mode_t mode = 0600; !cut_; mode ^= 0040) {
    const bool written = ::fchmod(fd.get(), mode) == 0 && ::fsync(fd.get()) == 0;
    EXPECT_TRUE(written || cut_) << std::strerror(errno);
    ::usleep(static_cast<useconds_t>(random.Below(3'000)));
  }
}

void PowerCut::Index() {
  by_name_.clear();
  by_target_.clear();
  for (const Change& change : changes_) {
    by_name_[change.path] = &change;
    if (change.kind == ChangeKind::kRename) by_target_[change.to] = &change;
  }
  for (const auto& [alias, name] : lower_.aliases) {
    if (const auto found = by_name_.find(name); found != by_name_.end()) {
      by_name_[alias] = found->second;
    }
  }
}

void PowerCut::Report(const std::string& path, const Change* change, const std::string& what) {
  std::string line = path + ": " + what;
  if (change != nullptr) line += " (change " + std::to_string(static_cast<int>(change->kind)) + ")";
  violations_.push_back(std::move(line));
}

void PowerCut::CheckFile(const std::string& path, const std::string& lower_name,
                         const Change* change) {
  const Seen before = Look(lower_.At(lower_name));
  Change none;  // leaves the file as it is
  none.kind = ChangeKind::kRename;
  const Change& made = change != nullptr ? *change : none;
  const Seen after = After(made, before);
  Seen seen = Look(path);
  const std::size_t old_size = before.content.size();
  if (made.kind == ChangeKind::kAppend && !made.synced && zero_tails_ &&
      seen.content.size() > old_size && IsZeroFrom(seen.content, old_size)) {
    seen.content.resize(old_size);
    ++zero_tails_seen_;
  }
  const std::string wrong = Compare(made, made.synced ? after : before, after, seen);
  if (!wrong.empty()) Report(path, change, (made.synced ? "after fsync: " : "") + wrong);
}

void PowerCut::CheckUpper() {
  for (const std::string& name : support::ListAll(Upper())) CheckUpperEntry(name);
}

void PowerCut::CheckUpperEntry(const std::string& name) {
  const std::string path = Upper() + "/" + name;
  const struct stat st = support::Lstat(path);
  const auto moved = by_target_.find(name);
  if (moved != by_target_.end()) {
    CheckUpperFile(path, moved->second->path, moved->second);
    return;
  }
  if (S_ISDIR(st.st_mode)) {
    const struct stat lower = support::Lstat(lower_.At(name));
    if (st.st_mode != lower.st_mode || st.st_uid != lower.st_uid)
      Report(path, nullptr, "directory");
    return;
  }
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    Report(path, nullptr, "nobody made it");
  } else if (S_ISCHR(st.st_mode)) {
    if (found->second->kind != ChangeKind::kRename) Report(path, found->second, "whiteout");
  } else {
    CheckUpperFile(path, name, found->second);
  }
}

// One without all its data is looked at through the union alone.
void PowerCut::CheckUpperFile(const std::string& path, const std::string& lower_name,
                              const Change* change) {
  const bool borrows = Must(support::ReadXattrs(path)).contains(kMetacopy);
  if (!borrows) CheckFile(path, lower_name, change);
}

void PowerCut::CheckRename(const std::string& root, const Change& change) {
  const std::string from = root + "/" + change.path;
  const std::string to = root + "/" + change.to;
  if (support::Exists(from) == support::Exists(to)) {
    Report(from, &change, support::Exists(from) ? "both names are there" : "both names are gone");
    return;
  }
  CheckFile(support::Exists(from) ? from : to, change.path, &change);
}

void PowerCut::CheckUnion(const std::string& root) {
  std::set<std::string> names;
  for (const std::string& name : support::ListAll(root)) names.insert(name);
  std::set<std::string> lower_names(lower_.files.begin(), lower_.files.end());
  for (const auto& [alias, name] : lower_.aliases) lower_names.insert(alias);
  for (const std::string& name : lower_names) {
    const auto found = by_name_.find(name);
    const Change* change = found == by_name_.end() ? nullptr : found->second;
    if (change != nullptr && change->kind == ChangeKind::kRename) {
      CheckRename(root, *change);
      names.erase(change->to);
    } else if (!names.contains(name)) {
      Report(root + "/" + name, change, "gone");
    } else {
      CheckFile(root + "/" + name, name, change);
    }
    names.erase(name);
  }
  for (const std::string& name : lower_.directories) {
    if (names.erase(name) == 0) Report(root + "/" + name, nullptr, "gone");
  }
  for (const std::string& name : names) Report(root + "/" + name, nullptr, "nobody made it");
}

std::vector<std::string> PowerCut::Violations() {
  CheckUpper();
  auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, Spec({})));
  CheckUnion(mount.path());
  Must(mount.Stop());
  return violations_;
}

std::string PowerCut::Summary() const {
  const auto entries = support::ListAll(Upper());
  const auto synced =
      std::ranges::count_if(changes_, [](const Change& change) { return change.synced; });
  return std::to_string(changes_.size()) + " changes, " + std::to_string(synced) + " synced, " +
         std::to_string(entries.size()) + " entries in the upper layer, " +
         std::to_string(zero_tails_seen_) + " appends that read as zeros, " +
         std::to_string(half_copied_) + " half-copied files";
}

std::string Shown(std::vector<std::string> lines) {
  const std::size_t all = lines.size();
  lines.resize(std::min(all, kShownViolations));
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text + std::to_string(all) + " in all";
}

class PowerCutOn : public PowerCut, public testing::WithParamInterface<Filesystem> {};

TEST_P(PowerCutOn, EveryNameIsTheLowerFileOrTheWholeCopy) {
  if (!support::KernelHas(GetParam())) GTEST_SKIP() << "not in this kernel";
  for (int round = 0; round < kRounds; ++round) {
    CutWhileChanging(GetParam(), {});
    const std::vector<std::string> violations = Violations();
    EXPECT_TRUE(violations.empty()) << "round " << round << "\n" << Shown(violations);
    EXPECT_GT(changes_made(), 1U);
    std::cout << "round " << round << ": " << Summary() << std::endl;
    Finish();
  }
}

// The same with nearly every file copied up in blocks, or not at all where its data stays.
TEST_P(PowerCutOn, EveryHalfCopiedFileIsOldOrNewInEachBlock) {
  if (!support::KernelHas(GetParam())) GTEST_SKIP() << "not in this kernel";
  int half_copied = 0;
  for (int round = 0; round < kRounds; ++round) {
    CutWhileChanging(GetParam(), {"copyup_threshold=1", "metacopy_threshold=1"});
    const std::vector<std::string> violations = Violations();
    EXPECT_TRUE(violations.empty()) << "round " << round << "\n" << Shown(violations);
    half_copied += this->half_copied();
    std::cout << "round " << round << ": " << Summary() << std::endl;
    Finish();
  }
  EXPECT_GT(half_copied, 0);
}

INSTANTIATE_TEST_SUITE_P(Disks, PowerCutOn,
                         testing::Values(Filesystem::kExt4, Filesystem::kExt4NoJournal,
                                         Filesystem::kXfs),
                         [](const auto& disk) {
                           return std::string(support::FilesystemName(disk.param));
                         });

// Proves that a cut disk loses what nobody ordered, and that the checks see it.
TEST_F(PowerCut, AVolatileUpperLosesData) {
  std::size_t empty_files = 0;
  for (int round = 0; round < kRounds && empty_files == 0; ++round) {
    CutWhileChanging(Filesystem::kExt4, {"volatile", "partial=off", "metacopy=off"});
    const std::vector<std::string> violations = Violations();
    empty_files += static_cast<std::size_t>(std::ranges::count_if(
        violations, [](const std::string& line) { return line.contains(": size 0, not "); }));
    std::cout << "round " << round << ": " << Summary() << ", " << violations.size()
              << " violations" << std::endl;
    Finish();
  }
  EXPECT_GT(empty_files, 0U);
}

}  // namespace
}  // namespace strata::fusefs
