// The upper layer on filesystems of every kind that can hold one.
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <tuple>

#include "tests/conformance/below/fixture.h"

namespace strata::conformance {
namespace {

using support::Filesystem;
using support::TestDisk;

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

// Whether all blocks of a file are those of another one, too.
bool SharesAllBlocks(const std::string& path) {
  constexpr std::size_t kExtents = 64;
  alignas(fiemap) std::array<char, sizeof(fiemap) + kExtents * sizeof(fiemap_extent)> memory = {};
  auto* const map = reinterpret_cast<fiemap*>(memory.data());
  map->fm_length = FIEMAP_MAX_OFFSET;
  map->fm_flags = FIEMAP_FLAG_SYNC;
  map->fm_extent_count = kExtents;
  MustCall(::ioctl(OpenFile(path, O_RDONLY).get(), FS_IOC_FIEMAP, map), "fiemap");
  const std::span extents(map->fm_extents, map->fm_mapped_extents);
  return !extents.empty() && std::ranges::all_of(extents, [](const fiemap_extent& extent) {
    return (extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0;
  });
}

struct Options {
  const char* name;
  std::vector<std::string> options;
};

const Options kDefault = {"default", {}};
// Every file is copied up block by block, and borrows its data before.
const Options kBlocks = {"blocks", {"copyup_threshold=1", "metacopy_threshold=1"}};

class OnDisk : public BelowTest {
 protected:
  // Skips the test where the kernel has no such filesystem.
  void SetUpOn(Filesystem type) {
    BelowTest::SetUp();
    if (!support::KernelHas(type)) GTEST_SKIP() << "not in this kernel";
    disk_ = MakeDisk("disk", type);
    PutUpperIn(disk_.path());
  }

  TestDisk disk_;
};

class UpperOn : public OnDisk,
                public ::testing::WithParamInterface<std::tuple<Filesystem, Options>> {
 protected:
  void SetUp() override { SetUpOn(Type()); }
  static Filesystem Type() { return std::get<0>(GetParam()); }
};

std::string UpperName(const ::testing::TestParamInfo<UpperOn::ParamType>& info) {
  return std::string(support::FilesystemName(std::get<0>(info.param))) + "_" +
         std::get<1>(info.param).name;
}

TEST_P(UpperOn, TheUnionActsAsAPlainDirectory) {
  for (const char* layer : {"base", "above"}) {
    MakeDir(disk_.path() + "/" + layer);
    AddLower(disk_.path() + "/" + layer);
  }
  FillBase(layers_[0], {});
  FillAbove(layers_[1], {});
  ActAsPlain(disk_.path() + "/plain", {}, std::get<1>(GetParam()).options);
}

// The same with the lower layers elsewhere: nothing is shared, and numbers must not meet.
TEST_P(UpperOn, TheUnionActsAsAPlainDirectoryAcrossFilesystems) {
  const Holds holds = {.acls = Type() != Filesystem::kXfs};
  FillBase(Lower(0), holds);
  FillAbove(Lower(1), holds);
  ActAsPlain(disk_.path() + "/plain", holds, std::get<1>(GetParam()).options);
}

TEST_P(UpperOn, LocksHoldAcrossCopyUp) {
  WriteFile(Lower(0, "f"), Pattern(200'000, 'f'));
  Mount({.options = std::get<1>(GetParam()).options});
  const UniqueFd reader = OpenFile(At("f"), O_RDONLY);
  ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  AppendFile(At("f"), "y");
  EXPECT_TRUE(Exists(Upper("f")));
  EXPECT_EQ(AsUser(0,
                   [&] {
                     const int fd = ::open(At("f").c_str(), O_RDWR);
                     return ErrnoOf(::flock(fd, LOCK_EX | LOCK_NB));
                   }),
            EWOULDBLOCK);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, UpperOn,
                         ::testing::Combine(::testing::Values(Filesystem::kExt4, Filesystem::kXfs,
                                                              Filesystem::kBtrfs,
                                                              Filesystem::kTmpfs),
                                            ::testing::Values(kDefault, kBlocks)),
                         UpperName);

class ReflinkOn : public OnDisk, public ::testing::WithParamInterface<Filesystem> {
 protected:
  void SetUp() override { SetUpOn(GetParam()); }
  void AddLowerOnDisk() {
    MakeDir(disk_.path() + "/lower");
    AddLower(disk_.path() + "/lower");
  }
  long FreeBlocks() const {
    struct statfs info;
    MustCall(::syncfs(OpenFile(disk_.path(), O_RDONLY).get()), "syncfs");
    MustCall(::statfs(disk_.path().c_str(), &info), "statfs");
    return static_cast<long>(info.f_bfree) * info.f_bsize / 1024;
  }
};

TEST_P(ReflinkOn, CopyUpSharesBlocks) {
  AddLowerOnDisk();
  const std::string content = Pattern(32 * kMebibyte, 'c');
  WriteFile(Lower(0, "chmod"), content);
  WriteFile(Lower(0, "written"), content);
  WriteFile(Lower(0, "small"), Pattern(10'000, 's'));
  Mount();
  const long free = FreeBlocks();
  MustCall(::chmod(At("chmod").c_str(), 0600), "chmod");
  {
    const UniqueFd fd = OpenFile(At("written"), O_WRONLY);
    MustCall(::pwrite(fd.get(), "new", 3, 16 * kMebibyte), "pwrite");
    MustCall(::fsync(fd.get()), "fsync");
  }
  AppendFile(At("small"), "+");
  EXPECT_LT(free - FreeBlocks(), 4096) << "KiB taken by copies of 64 MiB";
  EXPECT_TRUE(SharesAllBlocks(Upper("chmod")));
  EXPECT_FALSE(SharesAllBlocks(Upper("small"))) << "smaller than what sharing costs";
  EXPECT_TRUE(ReadFile(Upper("chmod")) == content);
  std::string changed = content;
  changed.replace(16 * kMebibyte, 3, "new");
  EXPECT_TRUE(ReadFile(At("written")) == changed);
  EXPECT_TRUE(ReadFile(Lower(0, "written")) == content);
}

// A layer elsewhere, or on a filesystem without the means, says nothing about the others.
TEST_P(ReflinkOn, LayersElsewhereDoNotKeepOthersFromSharing) {
  const TestDisk memory = MakeDisk("memory", Filesystem::kTmpfs);
  AddLowerOnDisk();
  AddLower(memory.path());
  Lower(2);
  const std::string content = Pattern(2 * kMebibyte, 'c');
  for (const std::size_t layer : {0, 1, 2}) {
    WriteFile(Lower(layer, "in-" + std::to_string(layer)), content);
  }
  Mount();
  for (const int layer : {2, 1, 0}) {
    const std::string name = "in-" + std::to_string(layer);
    // Without the data's being borrowed, so that all are copied, or cloned, now.
    const UniqueFd fd = OpenFile(At(name), O_RDWR);
    MustCall(::ftruncate(fd.get(), static_cast<off_t>(content.size())), "ftruncate");
    EXPECT_TRUE(ReadFile(At(name)) == content) << layer;
  }
  EXPECT_TRUE(SharesAllBlocks(Upper("in-0")));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, ReflinkOn,
                         ::testing::Values(Filesystem::kXfs, Filesystem::kBtrfs),
                         [](const auto& test) {
                           return std::string(support::FilesystemName(test.param));
                         });

}  // namespace
}  // namespace strata::conformance
