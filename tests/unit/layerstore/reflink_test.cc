// Where the filesystem lets files share data, those that have only their content in common do;
// where it does not, nothing is different.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "layerstore/fsck/checker.h"
#include "layerstore/gc/collector.h"
#include "layerstore/objects/object_key.h"
#include "layerstore/usage/usage.h"
#include "tests/support/test_disk.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Filesystem;
using support::Must;
using support::MustCall;
using support::TarBuilder;
using support::TarMember;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kMebibyte = std::size_t{1} << 20U;

class OnDiskTest : public StoreTest {
 protected:
  explicit OnDiskTest(Filesystem type, int mebibytes = support::TestDisk::kMebibytes)
      : type_(type), mebibytes_(mebibytes) {}
  void SetUp() override {
    if (!support::KernelHas(type_)) GTEST_SKIP() << "not in this kernel";
    disk_.emplace(Must(support::TestDisk::Create(temp_, "d", type_, mebibytes_)));
    root_ = disk_->path() + "/store";
    Reopen();
  }
  ~OnDiskTest() override { store_.reset(); }

  // In pieces as they come from a network: what is compared is compared piece by piece.
  LayerInfo Put(const TarBuilder& tar) {
    constexpr std::size_t kPiece = std::size_t{64} << 10U;
    Lease lease = Must(store_->NewLease());
    LayerIngest ingest;
    ingest.keep_blob = false;
    const auto sink = Must(store_->layers().Begin(std::move(ingest), lease));
    const std::string stream = tar.Finish();
    for (std::size_t at = 0; at < stream.size(); at += kPiece) {
      Must(sink->Write(std::string_view(stream).substr(at, kPiece)));
    }
    return Must(sink->Commit());
  }

  // Like no other of another seed.
  static std::string Content(std::size_t size, std::uint64_t seed = 1) {
    std::string content(size, '\0');
    for (char& byte : content) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      byte = static_cast<char>(seed >> 56U);
    }
    return content;
  }

  // How many bytes of the file's data it has in common with others.
  static std::uint64_t SharedBytes(const std::string& path) {
    constexpr std::uint32_t kExtents = 256;
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    MustCall(fd.get(), path.c_str());
    std::vector<std::byte> buffer(sizeof(struct fiemap) + kExtents * sizeof(struct fiemap_extent));
    auto* const map = new (buffer.data()) struct fiemap;
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtents;
    MustCall(::ioctl(fd.get(), FS_IOC_FIEMAP, map), "FIEMAP");
    std::uint64_t shared = 0;
    for (std::uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const struct fiemap_extent& extent = map->fm_extents[i];
      if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0) shared += extent.fe_length;
    }
    return shared;
  }

  std::uint64_t UsedBytes() {
    const UniqueFd fd(::open(disk_->path().c_str(), O_RDONLY | O_CLOEXEC));
    MustCall(::syncfs(fd.get()), "syncfs");
    struct statvfs st = {};
    MustCall(::fstatvfs(fd.get(), &st), "statvfs");
    return (st.f_blocks - st.f_bfree) * st.f_frsize;
  }

  std::uint64_t Physical() { return Must(MeasureStore(*store_)).physical; }

  std::vector<std::string> Objects() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/objects")) {
      if (entry.is_regular_file()) found.push_back(entry.path());
    }
    return found;
  }

  void ExpectClean() {
    Must(CheckStore(*store_, {.depth = CheckOptions::Depth::kDeep}, [](const Finding& finding) {
      EXPECT_TRUE(Harmless(finding.kind)) << finding.ToString();
    }));
    ExpectNoLeftovers();
  }

  // Bytes of a stored file, changed behind the store's back.
  static void Damage(const std::string& path, off_t at) {
    const struct stat before = Lstat(path);
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    MustCall(fd.get(), path.c_str());
    MustCall(static_cast<int>(::pwrite(fd.get(), "damage", 6, at)), "pwrite");
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    MustCall(::futimens(fd.get(), times), "futimens");
  }

  const Filesystem type_;
  const int mebibytes_;
  std::optional<support::TestDisk> disk_;
};

class ReflinkTest : public OnDiskTest, public ::testing::WithParamInterface<Filesystem> {
 protected:
  ReflinkTest() : OnDiskTest(GetParam()) {}
};

TEST_P(ReflinkTest, FilesThatDifferInAttributesShareTheirData) {
  for (const std::size_t size : {kBlock, 25 * kBlock + 7, kMebibyte, 3 * kMebibyte + 5}) {
    const std::string content = Content(size, size);
    const std::uint64_t blocks = RoomOf(size);
    const TarMember plain{.name = "f", .content = content};
    const LayerInfo first = Put(TarBuilder().Add(plain));
    EXPECT_EQ(first.room->found, 0U);
    std::vector<TarMember> others(5, plain);
    others[0].mtime += 1;
    others[1].mode = 0400;
    others[2].mode = 06755;
    others[3].uid = 1;
    others[4].gid = 2;
    for (const TarMember& other : others) {
      const LayerInfo layer = Put(TarBuilder().AddDirectory("d").Add(other));
      const struct stat st = Lstat(layer.path + "/f");
      EXPECT_NE(st.st_ino, Lstat(first.path + "/f").st_ino);
      EXPECT_EQ(st.st_mode, S_IFREG | other.mode);
      EXPECT_EQ(st.st_uid, other.uid);
      EXPECT_EQ(st.st_gid, other.gid);
      EXPECT_EQ(st.st_mtim.tv_sec, static_cast<time_t>(other.mtime));
      EXPECT_EQ(static_cast<std::size_t>(st.st_size), size);
      EXPECT_TRUE(ReadFile(layer.path + "/f") == content) << size;
      EXPECT_GE(SharedBytes(layer.path + "/f"), blocks) << size;
      EXPECT_EQ(layer.room->found, blocks);
      EXPECT_EQ(layer.room->objects, blocks);
      // It is an object itself.
      const LayerInfo same = Put(TarBuilder().AddDirectory("e").Add(other));
      EXPECT_EQ(Lstat(same.path + "/f").st_ino, st.st_ino);
      EXPECT_EQ(same.room->found, blocks);
    }
  }
  ExpectClean();
}

TEST_P(ReflinkTest, ALayerOfOtherTimesTakesNoRoom) {
  constexpr std::size_t kFiles = 20;
  const auto layer = [](std::uint64_t mtime) {
    TarBuilder tar;
    for (std::size_t i = 0; i < kFiles; ++i) {
      tar.Add({.name = "f" + std::to_string(i), .content = Content(kMebibyte, i), .mtime = mtime});
    }
    return tar;
  };
  const std::uint64_t empty = UsedBytes();
  const LayerInfo first = Put(layer(1));
  const std::uint64_t physical = Physical();
  const std::uint64_t one = UsedBytes();
  EXPECT_GE(one - empty, kFiles * kMebibyte);
  const LayerInfo second = Put(layer(2));
  EXPECT_LE(UsedBytes() - one, kMebibyte);
  EXPECT_EQ(Physical(), physical + second.room->own);
  EXPECT_NEAR(static_cast<double>(Physical()), static_cast<double>(UsedBytes() - empty), 2e6);
  EXPECT_EQ(Must(MeasureStore(*store_)).shared(), kFiles * kMebibyte);
  EXPECT_LT(second.room->own, kMebibyte);
}

TEST_P(ReflinkTest, SmallFilesAreWritten) {
  const TarMember plain{.name = "f", .content = Content(kBlock - 1)};
  Put(TarBuilder().Add(plain));
  TarMember later = plain;
  later.mtime += 1;
  const LayerInfo layer = Put(TarBuilder().Add(later));
  EXPECT_EQ(SharedBytes(layer.path + "/f"), 0U);
  EXPECT_EQ(layer.room->found, 0U);
  EXPECT_EQ(ReadFile(layer.path + "/f"), plain.content);
}

TEST_P(ReflinkTest, AFileThatDiffersLateSharesWhatComesBefore) {
  constexpr std::size_t kSize = 5 * kMebibyte;
  std::uint64_t seed = 0;
  for (const std::uint64_t later : {0U, 1U}) {
    for (const std::size_t at : {2 * kMebibyte, 3 * kMebibyte + 1, kSize - 1}) {
      const TarMember plain{.name = "f", .content = Content(kSize, ++seed)};
      const LayerInfo first = Put(TarBuilder().Add(plain));
      TarMember other = plain;
      other.mtime += later;
      other.content[at] ^= 1;
      const LayerInfo second = Put(TarBuilder().Add(other));
      EXPECT_TRUE(ReadFile(second.path + "/f") == other.content) << at;
      EXPECT_GE(SharedBytes(second.path + "/f"), at - kMebibyte / 2) << at;
      EXPECT_LT(SharedBytes(second.path + "/f"), RoomOf(kSize)) << at;
      EXPECT_EQ(second.room->found, 0U);
      EXPECT_EQ(Lstat(second.path + "/f").st_mtim.tv_sec, static_cast<time_t>(other.mtime));
      EXPECT_TRUE(ReadFile(first.path + "/f") == plain.content);
    }
  }
  ExpectClean();
}

TEST_P(ReflinkTest, ADamagedFileIsNoSource) {
  for (const std::size_t at : {std::size_t{0}, 2 * kMebibyte}) {
    const TarMember plain{.name = "f", .content = Content(3 * kMebibyte, at)};
    const LayerInfo first = Put(TarBuilder().Add(plain));
    Damage(first.path + "/f", static_cast<off_t>(at));
    TarMember later = plain;
    later.mtime += 1;
    const LayerInfo second = Put(TarBuilder().Add(later));
    EXPECT_TRUE(ReadFile(second.path + "/f") == plain.content) << at;
    EXPECT_EQ(second.room->found, 0U);
  }
}

TEST_P(ReflinkTest, FilesOfOneLayerShareTheirData) {
  const TarMember plain{.name = "a", .content = Content(10 * kBlock)};
  TarMember twin = plain;
  twin.name = "b";
  TarMember later = plain;
  later.name = "c";
  later.mtime += 1;
  const LayerInfo layer = Put(TarBuilder().Add(plain).Add(twin).Add(later));
  std::set<ino_t> inodes;
  for (const char* name : {"/a", "/b", "/c"}) {
    inodes.insert(Lstat(layer.path + name).st_ino);
    EXPECT_EQ(SharedBytes(layer.path + name), 10 * kBlock);
    EXPECT_TRUE(ReadFile(layer.path + name) == plain.content);
  }
  EXPECT_EQ(inodes.size(), 3U);
  EXPECT_EQ(layer.room->objects, 30 * kBlock);
  EXPECT_EQ(layer.room->found, 20 * kBlock);

  // More than may be objects.
  TarBuilder many;
  for (int i = 0; i < 100; ++i) {
    many.Add({.name = "f" + std::to_string(i), .content = Content(kBlock, 7)});
  }
  const LayerInfo crowd = Put(many);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(SharedBytes(crowd.path + "/f" + std::to_string(i)), kBlock) << i;
  }
  EXPECT_EQ(crowd.room->found, 99 * kBlock);
  EXPECT_LT(crowd.room->own, 20 * kBlock);
  ExpectClean();
}

TEST_P(ReflinkTest, ExtendedAttributesAreNoReasonToWrite) {
  const TarMember plain{.name = "f", .content = Content(2 * kMebibyte)};
  Put(TarBuilder().Add(plain));
  TarMember marked = plain;
  marked.pax = {{"SCHILY.xattr.user.note", "kept"}};
  const LayerInfo layer = Put(TarBuilder().Add(marked));
  EXPECT_EQ(SharedBytes(layer.path + "/f"), 2 * kMebibyte);
  EXPECT_EQ(Must(support::GetXattr(layer.path + "/f", "user.note")), "kept");
  EXPECT_TRUE(ReadFile(layer.path + "/f") == plain.content);
  EXPECT_EQ(layer.room->objects, 0U);
  EXPECT_EQ(Lstat(layer.path + "/f").st_nlink, 1U);
  ExpectClean();
}

TEST_P(ReflinkTest, TheDataStaysUntilTheLastOfThemGoes) {
  const TarMember plain{.name = "f", .content = Content(10 * kMebibyte)};
  Put(TarBuilder().Add(plain));
  TarMember later = plain;
  later.mtime += 1;
  const LayerInfo second = Put(TarBuilder().Add(later));
  later.mtime += 1;
  const LayerInfo third = Put(TarBuilder().AddDirectory("d").Add(later).AddFile("own", "1"));
  PutImage({second.diff_id}, "second:1");
  PutImage({third.diff_id}, "third:1");
  EXPECT_EQ(Objects().size(), 4U);

  Must(Collect(*store_));
  EXPECT_EQ(Objects().size(), 3U);
  EXPECT_EQ(Physical(), second.room->own + third.room->own + 10 * kMebibyte + kBlock);
  Must(store_->images().Remove("second:1", true));
  Must(Collect(*store_));
  Reopen();  // nothing is known of any name now
  EXPECT_EQ(Physical(), third.room->own + 10 * kMebibyte + kBlock);
  EXPECT_TRUE(ReadFile(third.path + "/f") == plain.content);
  ExpectClean();
  Must(store_->images().Remove("third:1", true));
  Must(Collect(*store_));
  EXPECT_EQ(Physical(), 0U);
  EXPECT_TRUE(Objects().empty());
}

// Unpacking and removing at once.
TEST_P(ReflinkTest, SeveralAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kLayers = 6;
  const std::string content = Content(5 * kBlock);
  const auto tar = [&](int thread, int layer) {
    TarBuilder made;
    for (int i = 0; i < 10; ++i) {
      made.Add({.name = "f" + std::to_string(i),
                .content = content + std::to_string(i),
                .mtime = static_cast<std::uint64_t>(1 + thread * kLayers + layer)});
    }
    return made;
  };
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int layer = 0; layer < kLayers; ++layer) {
          const LayerInfo info = Put(tar(thread, layer));
          const auto image = store_->images().Put(MakeImage({info.diff_id}));
          // Another thread may have collected it.
          if (!image) {
            EXPECT_EQ(image.error().code(), ENOENT) << image.error().ToString();
          }
          if (layer % 2 == 0) Must(Collect(*store_));
        }
      });
    }
  }
  std::size_t kept = 0;
  for (const Image& image : Must(store_->images().List())) {
    const LayerInfo info = Must(store_->layers().Find(image.diff_ids[0]));
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(ReadFile(info.path + "/f" + std::to_string(i)) == content + std::to_string(i));
    }
    ++kept;
  }
  EXPECT_GT(kept, 0U);
  ExpectClean();
  Must(Prune(*store_, {.images = {.all = true}}));
  EXPECT_TRUE(Objects().empty());
}

TEST_P(ReflinkTest, TheSumIsTheSameCountedAnew) {
  TarMember member{.name = "f", .content = Content(10 * kBlock)};
  const TarMember small{.name = "small", .content = "small"};
  for (int i = 0; i < 3; ++i) {
    ++member.mtime;
    Put(TarBuilder().Add(member).Add(small).AddFile("own" + std::to_string(i), Content(kBlock, i)));
  }
  const std::uint64_t physical = Physical();
  store_.reset();
  // As of a process that was killed while it unpacked.
  WriteFile(Objects().front().substr(0, root_.size() + sizeof "/objects/ab") +
                "0123456789abcdef0123456789abcd",
            "stray");
  std::filesystem::create_directories(root_ + "/tmp/1-0123456789abcdef/layer-0/fs");
  Reopen();
  EXPECT_EQ(Objects().size(), 7U);
  EXPECT_EQ(Physical(), physical);
}

INSTANTIATE_TEST_SUITE_P(Disks, ReflinkTest,
                         ::testing::Values(Filesystem::kBtrfs, Filesystem::kXfs),
                         [](const auto& param) {
                           return std::string(support::FilesystemName(param.param));
                         });

// btrfs notices by its checksums that a block is not as it was written.
class BadBlockTest : public OnDiskTest {
 protected:
  BadBlockTest() : OnDiskTest(Filesystem::kBtrfs, 150) {}

  // Damages on the unmounted disk what begins like `content`.
  void DamageOnDisk(std::string_view content) {
    store_.reset();
    Must(disk_->Unmount());
    const std::string image = ReadFile(disk_->image());
    std::size_t found = 0;
    std::fstream file(disk_->image(), std::ios::binary | std::ios::in | std::ios::out);
    for (std::size_t at = 0; (at = image.find(content.substr(0, 100), at)) != std::string::npos;
         ++at, ++found) {
      file.seekp(static_cast<std::streamoff>(at));
      file << "damage";
    }
    ASSERT_TRUE(file.flush());
    ASSERT_EQ(found, 1U);
    Must(disk_->Mount());
    Reopen();
  }
};

TEST_F(BadBlockTest, AFileThatCanNotBeReadIsWrittenAnew) {
  const TarMember plain{.name = "f", .content = Content(10 * kBlock)};
  const LayerInfo first = Put(TarBuilder().Add(plain));
  DamageOnDisk(plain.content);
  ASSERT_NE(ReadFile(first.path + "/f"), plain.content);
  TarMember later = plain;
  later.mtime += 1;
  for (const TarMember& member : {later, plain}) {
    const LayerInfo layer = Put(TarBuilder().AddDirectory("d").Add(member));
    EXPECT_TRUE(ReadFile(layer.path + "/f") == plain.content);
  }
  EXPECT_EQ(Objects().size(), 2U);
}

class NoReflinkTest : public OnDiskTest {
 protected:
  NoReflinkTest() : OnDiskTest(Filesystem::kExt4) {}
};

TEST_F(NoReflinkTest, FilesThatDifferInAttributesAreWritten) {
  const TarMember plain{.name = "f", .content = Content(3 * kMebibyte)};
  const LayerInfo first = Put(TarBuilder().Add(plain));
  TarMember twin = plain;
  twin.name = "twin";
  TarMember later = plain;
  later.mtime += 1;
  const LayerInfo second = Put(TarBuilder().Add(later));
  EXPECT_TRUE(ReadFile(second.path + "/f") == plain.content);
  EXPECT_EQ(second.room->found, 0U);
  EXPECT_EQ(Physical(), first.room->own + second.room->own + 6 * kMebibyte);
  const LayerInfo third = Put(TarBuilder().Add(plain).Add(twin));
  EXPECT_EQ(third.room->found, 3 * kMebibyte);
  PutImage({third.diff_id}, "third:1");
  Must(Collect(*store_));
  EXPECT_EQ(Physical(), third.room->own + 6 * kMebibyte);
  ExpectClean();
}

}  // namespace
}  // namespace strata::layerstore
