// Files that layers have in common are stored once, those that differ in anything are not, and what
// no layer has any more goes away.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "layerstore/gc/collector.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/objects/object_list.h"
#include "layerstore/objects/object_names.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/usage/usage.h"
#include "tests/support/test_disk.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;
using support::TarMember;

constexpr std::size_t kBlock = 4096;

class ObjectsTest : public StoreTest {
 protected:
  static LayerIngest Quietly() {
    LayerIngest ingest;
    ingest.keep_blob = false;
    return ingest;
  }
  LayerInfo Put(const TarBuilder& tar) { return Must(PutLayer(tar.Finish(), Quietly())); }

  static ino_t Inode(const LayerInfo& layer, const std::string& path) {
    return Lstat(layer.path + "/" + path).st_ino;
  }

  std::size_t Objects() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/objects")) {
      count += entry.is_regular_file() ? 1U : 0U;
    }
    return count;
  }

  // Names outside of layers/, the one object.
  std::string OnlyObject() {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/objects")) {
      if (entry.is_regular_file()) return entry.path();
    }
    return "none";
  }

  static std::string Content(std::size_t size, char seed = 'a') {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(seed + i * i % 31);
    return content;
  }
};

TEST_F(ObjectsTest, EqualFilesOfTwoLayersAreOneInode) {
  for (const std::size_t size : {std::size_t{1}, kBlock, ObjectKey::kStartBytes - 1,
                                 ObjectKey::kStartBytes, 3 * ObjectKey::kStartBytes + 5}) {
    const std::string name = "f" + std::to_string(size);
    const LayerInfo first = Put(TarBuilder().AddFile(name, Content(size)));
    const LayerInfo second =
        Put(TarBuilder().AddDirectory("d").AddFile("d/other-name", Content(size)));
    EXPECT_EQ(Inode(first, name), Inode(second, "d/other-name")) << size;
    EXPECT_EQ(ReadFile(second.path + "/d/other-name"), Content(size));
    EXPECT_EQ(second.room->found, RoomOf(size));
    EXPECT_EQ(first.room->found, 0U);
  }
  ExpectNoLeftovers();
}

TEST_F(ObjectsTest, WhatDiffersInAnythingIsNotShared) {
  const TarMember plain{.name = "f", .content = "content"};
  const LayerInfo first = Put(TarBuilder().Add(plain));
  std::vector<TarMember> others(7, plain);
  others[0].content = "CONTENT";
  others[1].content = "content+";
  others[2].mode = 0755;
  others[3].uid = 1;
  others[4].gid = 1;
  others[5].mtime += 1;
  others[6].pax = {{"SCHILY.xattr.user.x", "y"}};
  for (const TarMember& other : others) {
    const LayerInfo layer = Put(TarBuilder().AddDirectory("d").Add(other));
    EXPECT_NE(Inode(first, "f"), Inode(layer, "f"));
    EXPECT_EQ(ReadFile(layer.path + "/f"), other.content);
    EXPECT_EQ(layer.room->found, 0U);
  }
  TarMember nanoseconds = plain;
  nanoseconds.pax = {{"mtime", "1000000000.000000001"}};
  const LayerInfo layer = Put(TarBuilder().Add(nanoseconds));
  EXPECT_NE(Inode(first, "f"), Inode(layer, "f"));
  EXPECT_EQ(Lstat(layer.path + "/f").st_mtim.tv_nsec, 1);
}

TEST_F(ObjectsTest, EqualFilesOfOneLayerStayTwo) {
  const TarBuilder twins = TarBuilder().AddFile("a", "twin").AddFile("b", "twin");
  const LayerInfo first = Put(twins);
  EXPECT_NE(Inode(first, "a"), Inode(first, "b"));
  const LayerInfo second = Put(TarBuilder(twins).AddFile("c", "more"));
  EXPECT_EQ(Inode(second, "a"), Inode(first, "a"));
  EXPECT_EQ(Inode(second, "b"), Inode(first, "b"));
  EXPECT_EQ(ReadFile(second.path + "/b"), "twin");
  const LayerInfo third = Put(TarBuilder().AddFile("one", "twin"));
  EXPECT_EQ(Inode(third, "one"), Inode(first, "a"));
  EXPECT_EQ(Objects(), 3U);

  TarBuilder many;
  for (int i = 0; i < 100; ++i) many.AddFile("f" + std::to_string(i), "alike");
  const LayerInfo crowd = Put(many);
  std::set<ino_t> inodes;
  for (int i = 0; i < 100; ++i) inodes.insert(Inode(crowd, "f" + std::to_string(i)));
  EXPECT_EQ(inodes.size(), 100U);
}

TEST_F(ObjectsTest, EmptyFilesAreNotShared) {
  const LayerInfo first = Put(TarBuilder().AddFile("a", ""));
  EXPECT_EQ(Objects(), 0U);
  EXPECT_EQ(Lstat(first.path + "/a").st_nlink, 1U);
}

// A candidate is believed in nothing: here its bytes were changed behind the store's back.
TEST_F(ObjectsTest, ADamagedObjectIsNotUsedAndGivesItsNameToAGoodOne) {
  const LayerInfo first = Put(TarBuilder().AddFile("a", "content"));
  const struct stat before = Lstat(first.path + "/a");
  WriteFile(first.path + "/a", "CONTENT");
  const struct timespec times[2] = {before.st_atim, before.st_mtim};
  support::MustCall(::utimensat(AT_FDCWD, (first.path + "/a").c_str(), times, 0), "utimensat");

  const LayerInfo second = Put(TarBuilder().AddDirectory("2").AddFile("a", "content"));
  EXPECT_NE(Inode(second, "a"), Inode(first, "a"));
  EXPECT_EQ(ReadFile(second.path + "/a"), "content");
  const LayerInfo third = Put(TarBuilder().AddDirectory("3").AddFile("a", "content"));
  EXPECT_EQ(Inode(third, "a"), Inode(second, "a"));
  EXPECT_EQ(Objects(), 1U);
}

TEST_F(ObjectsTest, AnObjectThatGotAnAttributeIsNotUsed) {
  const LayerInfo first = Put(TarBuilder().AddFile("a", "content"));
  Must(support::SetXattr(first.path + "/a", "user.more", "1"));
  const LayerInfo second = Put(TarBuilder().AddDirectory("2").AddFile("a", "content"));
  EXPECT_NE(Inode(second, "a"), Inode(first, "a"));
}

TEST_F(ObjectsTest, AnObjectWithAllTheNamesItMayHaveGivesWayToANewOne) {
  const auto disk =
      Must(support::TestDisk::Create(temp_, "disk", support::Filesystem::kExt4NoJournal));
  root_ = disk.path() + "/store";
  Reopen();
  const LayerInfo first = Put(TarBuilder().AddFile("a", "content"));
  const std::string names = disk.path() + "/names";
  support::MustCall(::mkdir(names.c_str(), 0700), "mkdir");
  const std::string object = OnlyObject();
  int count = 0;
  while (::link(object.c_str(), (names + "/" + std::to_string(count)).c_str()) == 0) ++count;
  ASSERT_EQ(errno, EMLINK) << count;
  const LayerInfo second = Put(TarBuilder().AddFile("b", "content"));
  const LayerInfo third = Put(TarBuilder().AddFile("c", "content"));
  EXPECT_NE(Inode(second, "b"), Inode(first, "a"));
  EXPECT_EQ(Inode(third, "c"), Inode(second, "b"));
  EXPECT_EQ(ReadFile(second.path + "/b"), "content");
  EXPECT_EQ(Objects(), 1U);
  store_.reset();
}

TEST_F(ObjectsTest, ALargeFileThatDiffersLateIsWrittenFromThere) {
  std::string content = Content(5 * ObjectKey::kStartBytes);
  const LayerInfo first = Put(TarBuilder().AddFile("a", content));
  for (const std::size_t at : {ObjectKey::kStartBytes, content.size() / 2, content.size() - 1}) {
    std::string other = content;
    other[at] ^= 1;
    const LayerInfo layer = Put(TarBuilder().AddFile("a", other));
    EXPECT_NE(Inode(layer, "a"), Inode(first, "a"));
    EXPECT_EQ(ReadFile(layer.path + "/a"), other);
    EXPECT_EQ(Lstat(layer.path + "/a").st_mtim.tv_sec, 1'000'000'000);
    EXPECT_EQ(layer.room->found, 0U);
  }
  EXPECT_EQ(ReadFile(first.path + "/a"), content);
}

TEST_F(ObjectsTest, TheTarOfALayerOfSharedFilesIsMadeAgain) {
  const TarBuilder one = TarBuilder().AddFile("a", Content(100)).AddFile("b", Content(2 << 20));
  const TarBuilder two = TarBuilder(one).AddFile("a", "replaces it").AddFile("b", Content(7));
  const TarBuilder three = TarBuilder(two).Add({.name = "c", .type = '1', .link = "a"});
  for (const TarBuilder& tar : {one, two, three}) {
    const LayerInfo layer = Put(tar);
    std::string made;
    const std::string directory = root_ + "/layers/sha256/" + layer.diff_id.Hex();
    const UniqueFd fd =
        Must(FileOps::System().Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
    Must(LayerTar::Write(FileOps::System(), fd.get(), [&](std::string_view bytes) -> Result<> {
      made += bytes;
      return {};
    }));
    EXPECT_EQ(made, tar.Finish());
  }
}

TEST_F(ObjectsTest, WhatNoLayerHasAnyMoreIsRemoved) {
  const LayerInfo first = Put(TarBuilder().AddFile("a", Content(kBlock)).AddFile("own", "1"));
  const LayerInfo second = Put(TarBuilder().AddFile("a", Content(kBlock)).AddFile("b", "2"));
  const Image image = PutImage({second.diff_id}, "kept:1");
  EXPECT_EQ(Objects(), 3U);
  Must(Collect(*store_));
  EXPECT_EQ(Objects(), 2U);
  EXPECT_FALSE(std::filesystem::exists(first.path));
  EXPECT_EQ(ReadFile(second.path + "/a"), Content(kBlock));
  Must(Prune(*store_, {.images = {.all = true}}));
  EXPECT_EQ(Objects(), 0U);
}

TEST_F(ObjectsTest, WhatALaterEntryReplacesIsNoObject) {
  const LayerInfo layer = Put(TarBuilder().AddFile("a", "first").AddFile("a", "second"));
  EXPECT_EQ(Objects(), 1U);
  EXPECT_EQ(layer.room->objects, kBlock);
  EXPECT_EQ(ReadFile(OnlyObject()), "second");
}

TEST_F(ObjectsTest, AFailedImportLeavesNoObject) {
  std::string tar = TarBuilder().AddFile("a", "content").AddFile("b", "more").Finish();
  LayerIngest ingest = Quietly();
  ingest.diff_id = Digest::Of("something else");
  EXPECT_TRUE(FailsWith(PutLayer(tar, ingest), EBADMSG, "diffID"));
  EXPECT_EQ(Objects(), 0U);
  ExpectNoLeftovers();
}

TEST_F(ObjectsTest, ObjectsThatACrashLeftAreRemovedAtTheNextStart) {
  const LayerInfo layer = Put(TarBuilder().AddFile("a", "content"));
  const std::string fan = std::filesystem::path(OnlyObject()).parent_path();
  store_.reset();
  // As of a process that was killed while it unpacked.
  WriteFile(fan + "/0123456789abcdef0123456789abcd", "stray");
  std::filesystem::create_directories(root_ + "/tmp/1-0123456789abcdef/layer-0/fs");
  Reopen();
  EXPECT_EQ(Objects(), 1U);
  EXPECT_EQ(Lstat(layer.path + "/a").st_nlink, 2U);
  const StoreUsage usage = Must(MeasureStore(*store_));
  EXPECT_EQ(usage.physical, layer.room->own + kBlock);
}

// Earlier programs gave other keys. Nobody finds what has one, and it goes with its layer.
TEST_F(ObjectsTest, AnObjectUnderAnotherKeyGoesWithItsLayer) {
  const LayerInfo first = Put(TarBuilder().AddFile("a", "content"));
  const std::string directory = root_ + "/layers/sha256/" + first.diff_id.Hex();
  const ObjectKey other(Xxh128::Of("as an earlier program made it"));
  std::filesystem::create_directories(
      std::filesystem::path(root_ + "/objects/" + other.Path()).parent_path());
  std::filesystem::rename(OnlyObject(), root_ + "/objects/" + other.Path());
  std::filesystem::remove(directory + "/objects");
  const UniqueFd fd =
      Must(FileOps::System().Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  ObjectListWriter list(FileOps::System(), fd.get());
  Must(list.Add(other));
  Must(list.Finish());

  const LayerInfo second = Put(TarBuilder().AddDirectory("2").AddFile("a", "content"));
  EXPECT_NE(Inode(second, "a"), Inode(first, "a"));
  EXPECT_EQ(Objects(), 2U);
  PutImage({second.diff_id}, "kept:1");
  Must(Collect(*store_));
  EXPECT_EQ(Objects(), 1U);
  EXPECT_EQ(Must(MeasureStore(*store_)).physical, second.room->own + kBlock);
}

TEST_F(ObjectsTest, AKeyBeginsWithItsContent) {
  const ObjectTraits traits{.size = 100, .mode = 0644, .uid = 0, .gid = 0, .mtime = {1, 2}};
  ObjectTraits later = traits;
  later.mtime.tv_nsec = 3;
  ObjectTraits longer = traits;
  longer.size = 101;
  const ObjectKey key = ObjectKey::Of(traits, "start");
  EXPECT_EQ(ObjectKey::Of(later, "start").Content(), key.Content());
  EXPECT_NE(ObjectKey::Of(later, "start").Traits(), key.Traits());
  EXPECT_NE(ObjectKey::Of(traits, "other").Content(), key.Content());
  EXPECT_NE(ObjectKey::Of(longer, "start").Content(), key.Content());
  EXPECT_EQ(key.Next().Content(), key.Content());
  EXPECT_NE(key.Next().Traits(), key.Traits());
  EXPECT_EQ(key.Next().Path().substr(0, 17), key.Path().substr(0, 17));
  EXPECT_EQ(ObjectKey::FromPath(key.Path()), key);
  for (const char* path :
       {"", "6f2b3d5178b2ffe803ac9c0f96b1695a", "6F/2b3d5178b2ffe803ac9c0f96b1695a",
        "6f/2b3d5178b2ffe803ac9c0f96b1695", "6f/2b3d5178b2ffe803ac9c0f96b1695g",
        "6f/2b3d5178b2ffe803ac9c0f96b1695a0", "/6f2b3d5178b2ffe803ac9c0f96b1695a"}) {
    EXPECT_FALSE(ObjectKey::FromPath(path)) << path;
  }
  // On the disk: the same in all programs.
  EXPECT_EQ(key.Path(), "6f/2b3d5178b2ffe803ac9c0f96b1695a");
}

TEST_F(ObjectsTest, NamesOfOneContentAreFoundAndNoMoreKeptThanFit) {
  const ObjectTraits traits{.size = 1, .mode = 0644, .uid = 0, .gid = 0, .mtime = {}};
  const ObjectKey key = ObjectKey::Of(traits, "content");
  std::vector<ObjectKey> others = {key.Next()};
  ObjectNames names;
  EXPECT_TRUE(names.Wants(key));
  names.Add(key);  // not yet
  EXPECT_TRUE(names.Alike(key).empty());
  names.Load(key, others);
  EXPECT_FALSE(names.Wants(key));
  EXPECT_EQ(names.Alike(key).size(), 1U);
  names.Add(key);
  names.Add(key);
  EXPECT_EQ(names.Alike(key.Next()).size(), 2U);
  names.Remove(key.Next());
  EXPECT_EQ(std::vector(names.Alike(key).begin(), names.Alike(key).end()), std::vector{key});

  // Directories that have more names than may be known.
  constexpr std::size_t kEach = ObjectNames::kNamesMax / 200;
  std::size_t known = 0;
  for (unsigned fan = 0; fan < 256; ++fan) {
    Xxh128::Bytes bytes = {};
    bytes[0] = static_cast<std::uint8_t>(fan);
    others.clear();
    for (std::size_t i = 0; i < kEach; ++i) {
      std::memcpy(&bytes[8], &i, sizeof i);
      others.emplace_back(Xxh128(bytes));
    }
    const ObjectKey last{Xxh128(bytes)};
    if (names.Wants(last)) names.Load(last, others);
    EXPECT_FALSE(names.Wants(last));
    known += names.Alike(last).size();
    names.Add(key);
  }
  EXPECT_GT(known, ObjectNames::kNamesMax - 2 * kEach);
  EXPECT_LE(known, ObjectNames::kNamesMax);
}

TEST_F(ObjectsTest, TheSumsAreRightAfterEachStep) {
  const LayerInfo first =
      Put(TarBuilder().AddFile("a", Content(3 * kBlock)).AddFile("b", Content(kBlock, 'b')));
  StoreUsage usage = Must(MeasureStore(*store_));
  EXPECT_EQ(usage.layers, 1U);
  EXPECT_EQ(usage.logical, first.room->own + 4 * kBlock);
  EXPECT_EQ(usage.shared(), 0U);

  const LayerInfo second =
      Put(TarBuilder().AddFile("a", Content(3 * kBlock)).AddFile("c", Content(kBlock, 'c')));
  usage = Must(MeasureStore(*store_));
  EXPECT_EQ(usage.logical, first.room->own + second.room->own + 8 * kBlock);
  EXPECT_EQ(usage.shared(), 3 * kBlock);
  EXPECT_EQ(usage.content, first.size + second.size);

  PutImage({second.diff_id}, "kept:1");
  Must(Collect(*store_));
  Reopen();
  usage = Must(MeasureStore(*store_));
  EXPECT_EQ(usage.layers, 1U);
  EXPECT_EQ(usage.logical, second.room->own + 4 * kBlock);
  EXPECT_EQ(usage.shared(), 0U);
  EXPECT_EQ(usage.blobs, 0U);
}

TEST_F(ObjectsTest, SharedSizesCountLayersThatSeveralImagesHave) {
  const LayerInfo base = Put(TarBuilder().AddFile("base", Content(1000)));
  const LayerInfo top = Put(TarBuilder().AddFile("top", Content(10)));
  const Image one = PutImage({base.diff_id}, "one:1", "1");
  const Image two = PutImage({base.diff_id, top.diff_id, base.diff_id}, "two:1", "2");
  const auto sizes = Must(SharedSizes(*store_));
  EXPECT_EQ(sizes.at(one.id), 1000U);
  EXPECT_EQ(sizes.at(two.id), 1000U);
}

// Names in the index: whose inode other layers have is a file of its own all the same.
TEST_F(ObjectsTest, AnIndexMadeAgainIsTheSame) {
  const TarBuilder tar = TarBuilder()
                             .AddFile("a", "content")
                             .Add({.name = "linked", .type = '1', .link = "a"})
                             .AddFile("b", "more")
                             .AddFile("empty", "");
  Put(TarBuilder().AddFile("x", "content"));
  const LayerInfo layer = Put(tar);
  const auto entries = [&] {
    std::vector<std::string> found;
    const auto index = Must(
        MetadataIndex::Open(FileOps::System(), AT_FDCWD,
                            (root_ + "/layers/sha256/" + layer.diff_id.Hex() + "/index").c_str()));
    for (MetadataIndex::Number number = 0; number < index->entries(); ++number) {
      const auto entry = Must(index->At(number));
      found.push_back(std::string(entry.name) + ' ' + std::to_string(entry.attr.st_nlink) + ' ' +
                      (entry.identity ? std::to_string(*entry.identity) : "-"));
    }
    return found;
  };
  const std::vector<std::string> before = entries();
  EXPECT_EQ(before[1], "a 2 1");
  EXPECT_EQ(before[4], "linked 2 1");
  std::filesystem::remove(root_ + "/layers/sha256/" + layer.diff_id.Hex() + "/index");
  Must(store_->chains().Ensure(std::vector{layer.diff_id}));
  EXPECT_EQ(entries(), before);
}

TEST_F(ObjectsTest, AListThatIsNotWholeIsRefused) {
  const LayerInfo layer = Put(TarBuilder().AddFile("a", "content").AddFile("b", "more"));
  const std::string directory = root_ + "/layers/sha256/" + layer.diff_id.Hex();
  const UniqueFd fd =
      Must(FileOps::System().Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  const std::string list = ReadFile(directory + "/objects");
  const auto read = [&] {
    std::size_t count = 0;
    return std::pair(ForEachObject(FileOps::System(), fd.get(),
                                   [&](const ObjectKey&) -> Result<> {
                                     ++count;
                                     return {};
                                   }),
                     count);
  };
  EXPECT_EQ(read().second, 2U);
  for (std::size_t at = 0; at < list.size(); ++at) {
    std::string damaged = list;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    WriteFile(directory + "/objects", damaged);
    const auto [result, count] = read();
    EXPECT_FALSE(result) << at;
    EXPECT_EQ(count, 0U) << at;
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{35}, list.size() - 1}) {
    WriteFile(directory + "/objects", list.substr(0, length));
    EXPECT_TRUE(FailsWith(read().first, EBADMSG)) << length;
  }
}

}  // namespace
}  // namespace strata::layerstore
