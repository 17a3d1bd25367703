// Lower layers on filesystems of every kind, and on unions.
#include <sys/mount.h>
#include <unistd.h>

#include "tests/conformance/below/fixture.h"

namespace strata::conformance {
namespace {

using support::Filesystem;
using support::Mounter;
using support::TestDisk;
using support::UnionMount;

enum class How : std::uint8_t { kPlain, kReadOnly, kStratafs, kOverlayfs };

struct Below {
  const char* name;
  Filesystem type;
  How how = How::kPlain;
  Holds holds = {};
};

constexpr Holds kNoXattrs = {.xattrs = false, .handles = false};
constexpr Holds kNothing = {.attributes = false, .xattrs = false, .whiteouts = false};
constexpr Holds kUnion = {.whiteouts = false, .handles = false};

const Below kBelow[] = {
    {"ext4", Filesystem::kExt4},
    {"ext4_no_types", Filesystem::kExt4NoTypes},
    {"xfs", Filesystem::kXfs},
    {"btrfs", Filesystem::kBtrfs},
    {"tmpfs", Filesystem::kTmpfs},
    {"ramfs", Filesystem::kRamfs, How::kPlain, kNoXattrs},
    {"vfat", Filesystem::kVfat, How::kPlain, kNothing},
    {"erofs", Filesystem::kErofs},
    {"squashfs", Filesystem::kSquashfs},
    {"read_only", Filesystem::kXfs, How::kReadOnly},
    {"stratafs", Filesystem::kXfs, How::kStratafs, kUnion},
    {"overlayfs", Filesystem::kXfs, How::kOverlayfs, kUnion},
};

void PrintTo(const Below& below, std::ostream* out) { *out << below.name; }

class LowerOn : public BelowTest, public ::testing::WithParamInterface<Below> {
 protected:
  void SetUp() override {
    BelowTest::SetUp();
    const Below& below = GetParam();
    if (!support::KernelHas(below.type)) {
      GTEST_SKIP() << "this kernel has no " << support::FilesystemName(below.type);
    }
    const std::string layers = Prepare(below);
    AddLower(layers + "/base");
    AddLower(layers + "/above");
  }
  void TearDown() override {
    BelowTest::TearDown();
    const Result<> stopped = inner_.Stop();
    EXPECT_TRUE(stopped) << stopped.error().ToString();
  }

  static void Fill(const std::string& directory, const Holds& holds) {
    MakeDir(directory + "/base");
    MakeDir(directory + "/above");
    FillBase(directory + "/base", holds);
    FillAbove(directory + "/above", holds);
  }

  // Where both layers are.
  std::string Prepare(const Below& below) {
    if (below.type == Filesystem::kErofs || below.type == Filesystem::kSquashfs) {
      const std::string tree = Must(root_.MakeDir("tree"));
      Fill(tree, below.holds);
      return Must(TestDisk::Pack(root_, "disk", below.type, tree)).path();
    }
    TestDisk disk = MakeDisk("disk", below.type);
    switch (below.how) {
      case How::kPlain:
        Fill(disk.path(), below.holds);
        break;
      case How::kReadOnly:
        Fill(disk.path(), below.holds);
        Must(disk.Unmount());
        Must(disk.Mount("ro"));
        break;
      case How::kStratafs:
        return Union(Mounter::kStratafs, disk.path());
      case How::kOverlayfs:
        return Union(Mounter::kOverlay, disk.path());
    }
    return disk.path();
  }

  // A union that spans two filesystems, and has copied up some of what it shows.
  std::string Union(Mounter mounter, const std::string& upper) {
    const std::string lower = Must(root_.MakeDir("inner-lower"));
    Fill(lower, GetParam().holds);
    support::UnionSpec spec;
    spec.lower = {lower};
    spec.upper = upper + "/upper";
    spec.work = upper + "/work";
    spec.mount_point = Must(root_.MakeDir("inner"));
    MakeDir(spec.upper);
    MakeDir(spec.work);
    // Else directories have new numbers each time they are looked up (docs/limits.md).
    if (mounter == Mounter::kOverlay) spec.options = {"xino=on"};
    inner_ = Must(UnionMount::Start(mounter, spec));
    AppendFile(spec.mount_point + "/base/d/f", "+inner");
    AppendFile(spec.mount_point + "/base/big", "+inner");
    MustCall(::chmod((spec.mount_point + "/base/other-a").c_str(), 0640), "chmod");
    WriteFile(spec.mount_point + "/above/inner", "inner");
    return spec.mount_point;
  }

  UnionMount inner_;
};

TEST_P(LowerOn, TheUnionActsAsAPlainDirectory) {
  ActAsPlain(root_.At("plain"), GetParam().holds, {});
}

TEST_P(LowerOn, AndWhenCopiedUpInBlocks) {
  ActAsPlain(root_.At("plain"), GetParam().holds, {"copyup_threshold=1", "metacopy_threshold=1"});
}

INSTANTIATE_TEST_SUITE_P(Filesystems, LowerOn, ::testing::ValuesIn(kBelow),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace strata::conformance
