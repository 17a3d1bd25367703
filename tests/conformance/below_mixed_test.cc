// Layers on many filesystems at once: whatever numbers those give their inodes, each file of the
// union has its own, for good.
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "tests/conformance/below/fixture.h"

namespace strata::conformance {
namespace {

using support::Filesystem;
using support::Mounter;
using support::TestDisk;
using support::TreeSnapshot;
using support::UnionMount;

class Mixed : public BelowTest {
 protected:
  void TearDown() override {
    BelowTest::TearDown();
    const Result<> stopped = inner_.Stop();
    EXPECT_TRUE(stopped) << stopped.error().ToString();
  }

  // Whether the kernel has them all; if not, the test is skipped.
  static bool Has(std::initializer_list<Filesystem> types) {
    const auto missing = std::ranges::find_if_not(types, support::KernelHas);
    if (missing == types.end()) return true;
    [&] { GTEST_SKIP() << "this kernel has no " << support::FilesystemName(*missing); }();
    return false;
  }

  // A tree of its own in `directory`/`name`, made the same way each time, so that filesystems of
  // one kind give the same numbers.
  static void Fill(const std::string& directory, const std::string& name) {
    const std::string top = directory + "/" + name;
    MakeDir(top);
    MakeDir(top + "/d");
    WriteFile(top + "/d/big", Pattern(200'000, name[0]));
    WriteFile(top + "/one", "content of " + name);
    for (const char* link : {"/two", "/d/three"}) {
      MustCall(::link((top + "/one").c_str(), (top + link).c_str()), "link");
    }
    WriteFile(top + "/d/single", name);
    MustCall(::symlink("one", (top + "/symlink").c_str()), "symlink");
    if (!Exists(directory + "/merged")) MakeDir(directory + "/merged");
    WriteFile(directory + "/merged/" + name, name);
  }

  std::string Pack(const std::string& name, Filesystem type) {
    const std::string tree = Must(root_.MakeDir(name + ".tree"));
    Fill(tree, name);
    disks_.push_back(Must(TestDisk::Pack(root_, name, type, tree)));
    return disks_.back().path();
  }
  std::string Disk(const std::string& name, Filesystem type) {
    disks_.push_back(MakeDisk(name, type));
    Fill(disks_.back().path(), name);
    return disks_.back().path();
  }

  void MountDisksAgain() {
    for (TestDisk& disk : disks_) Must(disk.Unmount());
    for (TestDisk& disk : disks_) Must(disk.Mount());
  }

  void CopyAllUp() const {
    for (const std::string& path : ListAll(At())) {
      MustCall(::lchown(At(path).c_str(), 7, 7), "lchown");
      if (S_ISREG(Lstat(At(path)).st_mode)) AppendFile(At(path), "+");
    }
  }

  // What the union shows, and that it goes on showing it, with everything below mounted anew.
  void ExpectLastingNumbers(const std::function<void()>& mount_below_again) {
    MakePlain(root_.At("plain"));
    const TreeSnapshot plain = Must(TreeSnapshot::Take(root_.At("plain")));
    Mount();
    EXPECT_EQ(Diff(plain, Must(TreeSnapshot::Take(At())), {}), "") << "right: the union";
    const auto numbers = Numbers(plain);
    EXPECT_GT(numbers.size(), 10U);
    const auto again = [&](const char* when) {
      EXPECT_EQ(Numbers(plain), numbers) << when;
      DropCaches(At());
      EXPECT_EQ(Numbers(plain), numbers) << when << ", after dropping caches";
      Unmount();
      mount_below_again();
      Mount();
      EXPECT_EQ(Numbers(plain), numbers) << when << ", after a remount";
    };
    again("untouched");
    // Another order of looking names up, and half of a link group.
    AppendFile(At(FirstLink(plain)), "+");
    again("one file copied up");
    CopyAllUp();
    const TreeSnapshot changed = Must(TreeSnapshot::Take(At()));
    again("copied up");
    EXPECT_EQ(Diff(changed, Must(TreeSnapshot::Take(At())), {}), "") << "right: after remounts";
  }

  static std::string FirstLink(const TreeSnapshot& plain) {
    for (const auto& [path, first] : plain.HardLinkGroups()) {
      if (path != first) return path;
    }
    throw std::runtime_error("no links");
  }

  std::vector<TestDisk> disks_;
  UnionMount inner_;  // a lower layer
};

TEST_F(Mixed, NumbersAreUniqueAndLast) {
  if (!Has({Filesystem::kExt4, Filesystem::kXfs, Filesystem::kBtrfs, Filesystem::kTmpfs,
            Filesystem::kErofs, Filesystem::kSquashfs})) {
    return;
  }
  AddLower(Disk("ext4", Filesystem::kExt4));
  AddLower(Disk("ext4-too", Filesystem::kExt4));
  AddLower(Disk("xfs", Filesystem::kXfs));
  AddLower(Disk("btrfs", Filesystem::kBtrfs));
  AddLower(Pack("erofs", Filesystem::kErofs));
  AddLower(Pack("squash", Filesystem::kSquashfs));
  AddLower(Pack("squash-too", Filesystem::kSquashfs));
  const TestDisk memory = MakeDisk("memory", Filesystem::kTmpfs);
  PutUpperIn(memory.path());
  // Or the test shows nothing: filesystems of one kind number alike.
  EXPECT_EQ(Lstat(layers_[0] + "/ext4/one").st_ino, Lstat(layers_[1] + "/ext4-too/one").st_ino);
  EXPECT_EQ(Lstat(layers_[5] + "/squash/one").st_ino, Lstat(layers_[6] + "/squash-too/one").st_ino);
  ExpectLastingNumbers([this] { MountDisksAgain(); });
}

// Each counts its inodes for itself, and has a st_dev of its own.
TEST_F(Mixed, NumbersOfSubvolumes) {
  if (!Has({Filesystem::kBtrfs})) return;
  disks_.push_back(MakeDisk("btrfs", Filesystem::kBtrfs));
  const std::string disk = disks_.back().path();
  for (const std::string name : {"layer", "layer/a", "layer/b", "other"}) {
    Must(support::RunTool({"btrfs", "subvolume", "create", disk + "/" + name}));
    Fill(disk + "/" + name, "tree-" + std::string(1, name.back()));
  }
  EXPECT_EQ(Lstat(disk + "/layer/a/tree-a/one").st_ino, Lstat(disk + "/layer/b/tree-b/one").st_ino);
  AddLower(disk + "/layer");
  AddLower(disk + "/other");
  ExpectLastingNumbers([this] { MountDisksAgain(); });
}

// A union shows numbers of several filesystems already, some with the highest bits in use. When it
// ends, it forgets what it called its files.
class UnionBelow : public Mixed, public ::testing::WithParamInterface<Mounter> {
 protected:
  void Start() {
    support::UnionSpec spec;
    spec.lower = {root_.At("ext4")};
    spec.upper = root_.At("xfs/upper");
    spec.work = root_.At("xfs/work");
    spec.mount_point = root_.At("inner");
    // Else directories have new numbers at each mount of overlayfs (docs/limits.md).
    if (GetParam() == Mounter::kOverlay) spec.options = {"xino=on"};
    inner_ = Must(UnionMount::Start(GetParam(), spec));
  }
};

TEST_P(UnionBelow, NumbersAreUniqueAndLast) {
  if (!Has({Filesystem::kExt4, Filesystem::kXfs})) return;
  Disk("ext4", Filesystem::kExt4);
  Disk("xfs", Filesystem::kXfs);
  for (const char* directory : {"xfs/upper", "xfs/work", "inner"}) MakeDir(root_.At(directory));
  Start();
  Fill(root_.At("inner"), "new");
  AppendFile(root_.At("inner/ext4/d/three"), "+inner");
  // The topmost layer's filesystem is the first: without care, its numbers are shown as they are.
  AddLower(Disk("xfs-too", Filesystem::kXfs));
  AddLower(Disk("ext4-too", Filesystem::kExt4));
  AddLower(root_.At("inner"));
  ExpectLastingNumbers([this] {
    Must(inner_.Stop());
    MountDisksAgain();
    Start();
    auto paths = ListAll(root_.At("inner"));
    std::ranges::reverse(paths);
    for (const std::string& path : paths) Lstat(root_.At("inner/" + path));
  });
}

INSTANTIATE_TEST_SUITE_P(Mounters, UnionBelow,
                         ::testing::Values(Mounter::kStratafs, Mounter::kOverlay),
                         [](const auto& test) {
                           return std::string(support::MounterName(test.param));
                         });

}  // namespace
}  // namespace strata::conformance
