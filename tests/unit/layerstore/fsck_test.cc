// Every kind of damage, made on purpose, is found where it is and nowhere else; and mended, or put
// aside.
#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/try.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/fsck/repair.h"
#include "layerstore/gc/collector.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::MustCall;
using support::TarBuilder;
using Depth = CheckOptions::Depth;

// All that a layer can have.
std::string FullTar() {
  return TarBuilder()
      .Add({.name = "./", .type = '5', .mode = 0755, .mtime = 5})
      .AddDirectory("./etc")
      .AddFile("./etc/name", "content")
      .Add({.name = "./bin/tool", .content = "#!/bin/sh\n", .mode = 04755, .uid = 5, .gid = 6})
      .Add({.name = "./bin/alias", .type = '1', .link = "bin/tool"})
      .Add({.name = "./bin/link", .type = '2', .link = "../etc/name"})
      .Add({.name = "./null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
      .Add({.name = "./fifo", .type = '6', .mode = 0600})
      .Add({.name = "./marked",
            .content = "marked",
            .pax = {{"SCHILY.xattr.user.note", "kept"}, {"mtime", "1600000000.123456789"}}})
      .AddFile("./etc/.wh.gone", "")
      .AddDirectory("./data")
      .AddFile("./data/.wh..wh..opq", "")
      // Replaced: only the last counts, and what was below goes with it.
      .AddFile("./twice", "first")
      .AddFile("./twice", "second")
      .AddDirectory("./was-directory")
      .AddFile("./was-directory/child", "gone")
      .AddFile("./was-directory", "now a file")
      .AddFile("./.wh.hidden", "")
      .AddDirectory("./hidden")
      .AddFile("./hidden/file", "x")
      .Finish();
}

class FsckTest : public StoreTest {
 protected:
  FsckTest() {
    layer_ = PutBoth(FullTar());
    image_ = PutImage({layer_.diff_id}, "app");
    chain_ = Must(store_->chains().Ensure(image_.diff_ids));
  }

  // A layer whose blob is kept.
  LayerInfo PutBoth(const std::string& tar) {
    LayerIngest ingest;
    ingest.diff_id = Digest::Of(tar);
    return Must(PutLayer(Gzip(tar), std::move(ingest)));
  }

  std::string At(const std::string& path) const { return layer_.path + "/" + path; }
  std::string LayerDir() const { return root_ + "/layers/sha256/" + layer_.diff_id.Hex(); }
  LayerBlob Blob() { return Must(store_->layers().Blobs(layer_.diff_id)).at(0); }
  std::string BlobPath() { return root_ + "/blobs/sha256/" + Blob().blob.Hex(); }

  std::vector<Finding> Check(Depth depth = Depth::kNormal) {
    std::vector<Finding> findings;
    Must(CheckStore(*store_, {.depth = depth},
                    [&](Finding finding) { findings.push_back(std::move(finding)); }));
    return findings;
  }

  void ExpectClean() {
    for (const Depth depth : {Depth::kQuick, Depth::kNormal, Depth::kDeep}) {
      for (const Finding& finding : Check(depth)) ADD_FAILURE() << finding.ToString();
    }
  }

  // One finding and no other, of the layer at `path`. What a layer lost, no layer may have.
  void ExpectOnly(FindingKind kind, const std::string& path, Depth depth = Depth::kNormal) {
    auto findings = Check(depth);
    std::erase_if(findings, [](const Finding& finding) {
      return finding.kind == FindingKind::kGarbage && finding.path.starts_with("objects/");
    });
    ASSERT_EQ(findings.size(), 1U) << All(findings);
    EXPECT_EQ(findings[0].kind, kind) << findings[0].ToString();
    EXPECT_EQ(findings[0].layer, layer_.diff_id) << findings[0].ToString();
    EXPECT_EQ(findings[0].path, path) << findings[0].ToString();
    EXPECT_NE(findings[0].ToString().find(FindingName(kind)), std::string::npos);
  }

  void ExpectOnlyInStore(FindingKind kind, const std::string& path, Depth depth = Depth::kNormal) {
    const auto findings = Check(depth);
    ASSERT_EQ(findings.size(), 1U) << All(findings);
    EXPECT_EQ(findings[0].kind, kind) << findings[0].ToString();
    EXPECT_EQ(findings[0].path, path) << findings[0].ToString();
  }

  static std::string All(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& finding : findings) text += finding.ToString() + "\n";
    return text;
  }

  std::vector<RepairStep> RepairAll(const RepairOptions& options = {}) {
    return Must(Repair(*store_, Check(Depth::kDeep), options));
  }

  // The damage is mended, from the kept blob.
  void ExpectMended() {
    const auto steps = RepairAll();
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_TRUE(steps[0].mended) << steps[0].what;
    EXPECT_NE(steps[0].what.find("mended from blob"), std::string::npos) << steps[0].what;
    ExpectClean();
    EXPECT_EQ(ReadFile(At("etc/name")), "content");
    ExpectNoLeftovers();
  }

  // Changes a directory's contents and leaves its time as it was.
  template <class Change>
  void Inside(const std::string& directory, Change change) {
    const struct stat before = Lstat(directory);
    change();
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    MustCall(::utimensat(AT_FDCWD, directory.c_str(), times, 0), directory.c_str());
  }

  void SetTime(const std::string& path, std::int64_t seconds) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    MustCall(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), path.c_str());
  }

  // Changes a byte and nothing else.
  static void Rot(const std::string& path) {
    const struct stat before = Lstat(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.put('!');
    file.close();
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    MustCall(::utimensat(AT_FDCWD, path.c_str(), times, 0), "utimensat");
  }

  // With the attributes that the tar above gives its files.
  static std::string OneFile(const std::string& name, const std::string& content) {
    return TarBuilder().AddFile(name, content).Finish();
  }

  void DropBlob() {
    MustCall(::unlink(BlobPath().c_str()), "blob");
    Must(store_->database()->Write([](Connection& connection) {
      return connection.Execute("UPDATE layer_blobs SET kept=0");
    }));
  }

  LayerInfo layer_;
  Image image_;
  std::string chain_;
};

TEST_F(FsckTest, AWholeStoreIsClean) {
  ExpectClean();
  store_ = Must(Store::Open({.root = root_, .read_only = true}));
  ExpectClean();
}

TEST_F(FsckTest, APlainLayerMissesNoBlob) {
  const std::string tar = TarBuilder().AddFile("plain", "without a blob").Finish();
  const LayerInfo layer = Must(PutLayer(tar));
  PutImage({layer.diff_id}, "plain");
  EXPECT_EQ(Must(store_->layers().FindBlob(layer.diff_id)).kept, false);
  ExpectClean();
}

TEST_F(FsckTest, MissingEntry) {
  Inside(At("etc"), [&] { MustCall(::unlink(At("etc/name").c_str()), "unlink"); });
  ExpectOnly(FindingKind::kMissingEntry, "etc/name");
  ExpectMended();
}

TEST_F(FsckTest, MissingWhiteout) {
  Inside(At("etc"), [&] { MustCall(::unlink(At("etc/gone").c_str()), "unlink"); });
  ExpectOnly(FindingKind::kMissingEntry, "etc/.wh.gone");
  ExpectMended();
}

TEST_F(FsckTest, MissingOpaqueMark) {
  MustCall(::removexattr(At("data").c_str(), "trusted.overlay.opaque"), "removexattr");
  ExpectOnly(FindingKind::kWrongXattr, "data");
  ExpectMended();
}

TEST_F(FsckTest, ExtraEntry) {
  Inside(At("etc"), [&] { WriteFile(At("etc/more"), "x"); });
  ExpectOnly(FindingKind::kExtraEntry, "etc/more");
  ExpectMended();
}

TEST_F(FsckTest, ExtraDirectoryIsNamedOnce) {
  Inside(At("etc"), [&] {
    MustCall(::mkdir(At("etc/more").c_str(), 0755), "mkdir");
    WriteFile(At("etc/more/file"), "x");
  });
  ExpectOnly(FindingKind::kExtraEntry, "etc/more");
}

TEST_F(FsckTest, WrongType) {
  Inside(At(""), [&] {
    MustCall(::unlink(At("fifo").c_str()), "unlink");
    WriteFile(At("fifo"), "");
  });
  ExpectOnly(FindingKind::kWrongType, "fifo");
  ExpectMended();
}

TEST_F(FsckTest, WrongMode) {
  MustCall(::chmod(At("etc/name").c_str(), 0777), "chmod");
  ExpectOnly(FindingKind::kWrongMode, "etc/name");
  ExpectMended();
}

TEST_F(FsckTest, WrongOwner) {
  MustCall(::chown(At("bin/link").c_str(), 0, 0), "chown");  // the link's target is not its own
  MustCall(::lchown(At("null").c_str(), 7, 0), "chown");
  ExpectOnly(FindingKind::kWrongOwner, "null");
  ExpectMended();
}

TEST_F(FsckTest, WrongTime) {
  SetTime(At("marked"), 1);
  ExpectOnly(FindingKind::kWrongTime, "marked");
  ExpectMended();
}

TEST_F(FsckTest, WrongTimeOfADirectory) {
  SetTime(At("data"), 1);
  ExpectOnly(FindingKind::kWrongTime, "data");
}

TEST_F(FsckTest, WrongTimeOfTheRoot) {
  SetTime(layer_.path, 1);
  ExpectOnly(FindingKind::kWrongTime, "");
}

TEST_F(FsckTest, WrongSize) {
  const struct stat before = Lstat(At("twice"));
  MustCall(::truncate(At("twice").c_str(), 3), "truncate");
  SetTime(At("twice"), before.st_mtim.tv_sec);
  ExpectOnly(FindingKind::kWrongSize, "twice");
  ExpectMended();
}

TEST_F(FsckTest, WrongXattr) {
  MustCall(::setxattr(At("marked").c_str(), "user.note", "lost", 4, 0), "setxattr");
  ExpectOnly(FindingKind::kWrongXattr, "marked");
  MustCall(::removexattr(At("marked").c_str(), "user.note"), "removexattr");
  ExpectOnly(FindingKind::kWrongXattr, "marked");
  ExpectMended();
}

TEST_F(FsckTest, XattrTooMuch) {
  MustCall(::setxattr(At("etc/name").c_str(), "user.more", "x", 1, 0), "setxattr");
  ExpectOnly(FindingKind::kWrongXattr, "etc/name");
  ExpectMended();
}

// What the tar says nothing of.
TEST_F(FsckTest, DirectoriesThatOnlyPathsName) {
  MustCall(::chmod(At("bin").c_str(), 0700), "chmod");
  ExpectOnly(FindingKind::kWrongMode, "bin");
  ExpectMended();
  MustCall(::chown(At("bin").c_str(), 7, 0), "chown");
  ExpectOnly(FindingKind::kWrongOwner, "bin");
  ExpectMended();
}

TEST_F(FsckTest, OpaqueMarksTooMuch) {
  for (const char* path : {"", "etc", "etc/name"}) {
    MustCall(::setxattr(At(path).c_str(), "trusted.overlay.opaque", "y", 1, 0), "setxattr");
    ExpectOnly(FindingKind::kWrongXattr, path);
    ExpectMended();
  }
}

TEST_F(FsckTest, WrongTargetOfASymbolicLink) {
  const struct stat before = Lstat(At("bin/link"));
  Inside(At("bin"), [&] {
    MustCall(::unlink(At("bin/link").c_str()), "unlink");
    MustCall(::symlink("elsewhere", At("bin/link").c_str()), "symlink");
    SetTime(At("bin/link"), before.st_mtim.tv_sec);
  });
  ExpectOnly(FindingKind::kWrongLink, "bin/link");
  ExpectMended();
}

TEST_F(FsckTest, AHardLinkThatIsNone) {
  Inside(At("bin"), [&] {
    MustCall(::unlink(At("bin/alias").c_str()), "unlink");
    WriteFile(At("bin/alias"), "#!/bin/sh\n");
  });
  ExpectOnly(FindingKind::kWrongLink, "bin/alias");
  ExpectMended();
}

TEST_F(FsckTest, WrongDevice) {
  const struct stat before = Lstat(At("null"));
  Inside(At(""), [&] {
    MustCall(::unlink(At("null").c_str()), "unlink");
    MustCall(::mknod(At("null").c_str(), S_IFCHR | 0666, makedev(1, 5)), "mknod");
    MustCall(::chmod(At("null").c_str(), 0666), "chmod");
    SetTime(At("null"), before.st_mtim.tv_sec);
  });
  ExpectOnly(FindingKind::kWrongLink, "null");
  ExpectMended();
}

// What attributes do not tell.
TEST_F(FsckTest, BitRot) {
  const struct stat before = Lstat(At("etc/name"));
  std::fstream file(At("etc/name"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(3);
  file.put('!');
  file.close();
  SetTime(At("etc/name"), before.st_mtim.tv_sec);
  EXPECT_TRUE(Check().empty());
  ExpectOnly(FindingKind::kContent, "etc/name", Depth::kDeep);
  ExpectMended();
}

TEST_F(FsckTest, EveryRottenFileIsNamed) {
  for (const char* path : {"etc/name", "marked", "hidden/file"}) Rot(At(path));
  std::vector<std::string> paths;
  for (const Finding& finding : Check(Depth::kDeep)) {
    EXPECT_EQ(finding.kind, FindingKind::kContent);
    paths.push_back(finding.path);
  }
  EXPECT_EQ(paths, (std::vector<std::string>{"etc/name", "marked", "hidden/file"}));
}

// It makes nothing.
TEST_F(FsckTest, AHardLinkToItself) {
  const std::string tar =
      TarBuilder().Add({.name = "d/itself", .type = '1', .link = "d/itself"}).Finish();
  PutImage({PutBoth(tar).diff_id}, "itself");
  ExpectClean();
}

// The part of the file that is there ends beyond all numbers.
TEST_F(FsckTest, ASparseFileOfAnOddMap) {
  std::string map = "1\n0\n9223372036854775808\n";
  map.resize(512);
  const std::string tar = TarBuilder()
                              .Add({.name = "GNUSparseFile.0/odd",
                                    .content = map + std::string(100, 'x'),
                                    .pax = {{"GNU.sparse.major", "1"},
                                            {"GNU.sparse.minor", "0"},
                                            {"GNU.sparse.name", "odd"},
                                            {"GNU.sparse.realsize", "100"}}})
                              .AddFile("next", "x")
                              .Finish();
  PutImage({PutBoth(tar).diff_id}, "odd");
  ExpectClean();
}

TEST_F(FsckTest, AnAclOfNothing) {
  const std::string tar =
      TarBuilder()
          .Add({.name = "file",
                .content = "x",
                .pax = {{"SCHILY.xattr.system.posix_acl_access", std::string("\2\0\0\0", 4)}}})
          .Finish();
  PutImage({PutBoth(tar).diff_id}, "acl");
  ExpectClean();
}

TEST_F(FsckTest, BadRecipe) {
  const std::string recipe = LayerDir() + "/recipe";
  std::string bytes = ReadFile(recipe);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
  WriteFile(recipe, bytes);
  ExpectOnly(FindingKind::kBadRecipe, "");
  ExpectMended();
}

// Nothing has its bytes any more, but its files are in use.
TEST_F(FsckTest, ALayerKeepsItsPlaceWithoutARecipe) {
  DropBlob();
  WriteFile(LayerDir() + "/recipe", "damaged");
  const auto steps = RepairAll();
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].mended);
  EXPECT_NE(steps[0].what.find("keeps no good recipe"), std::string::npos) << steps[0].what;
  EXPECT_EQ(ReadFile(At("etc/name")), "content");
  // Nor without the list of what it shares.
  WriteFile(LayerDir() + "/objects", "damaged");
  ASSERT_EQ(RepairAll().size(), 2U);
  EXPECT_EQ(ReadFile(At("etc/name")), "content");
  std::filesystem::remove_all(root_ + "/quarantine");
  ExpectOnly(FindingKind::kBadRecipe, "");
}

TEST_F(FsckTest, ALostRecipe) {
  MustCall(::unlink((LayerDir() + "/recipe").c_str()), "unlink");
  ExpectOnly(FindingKind::kBadRecipe, "");
  ExpectMended();
}

// The first programs wrote none.
TEST_F(FsckTest, ALayerThatNeverHadARecipe) {
  MustCall(::unlink((LayerDir() + "/recipe").c_str()), "unlink");
  Must(store_->database()->Write(
      [](Connection& connection) { return connection.Execute("UPDATE layers SET disk=NULL"); }));
  ExpectOnly(FindingKind::kNoRecipe, "");
  EXPECT_TRUE(Harmless(FindingKind::kNoRecipe));
}

TEST_F(FsckTest, BadIndexes) {
  WriteFile(LayerDir() + "/index",
            "no index at all, but long enough to be read as the head of one");
  ExpectOnly(FindingKind::kBadIndex, "");
  WriteFile(chain_ + "/index", "the same");
  EXPECT_EQ(Check().size(), 2U);
  const auto steps = RepairAll();
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_TRUE(steps[0].mended && steps[1].mended);
  ExpectClean();
  Must(store_->chains().Ensure(image_.diff_ids));
  ExpectClean();
}

TEST_F(FsckTest, DamageInsideAnIndex) {
  std::string bytes = ReadFile(LayerDir() + "/index");
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] + 1);
  WriteFile(LayerDir() + "/index", bytes);
  ExpectOnly(FindingKind::kBadIndex, "", Depth::kDeep);
}

TEST_F(FsckTest, MissingLayer) {
  Must(support::RemoveTree(LayerDir()));
  ExpectOnly(FindingKind::kMissingLayer, "", Depth::kQuick);
  ExpectMended();
}

TEST_F(FsckTest, MissingLayerWithoutARow) {
  Must(store_->database()->Write(
      [](Connection& connection) { return connection.Execute("DELETE FROM layers"); }));
  auto findings = Check();
  // The directory is nobody's; the blob is still of a layer that an image needs.
  for (const FindingKind kind : {FindingKind::kMissingLayer, FindingKind::kLostRow}) {
    EXPECT_EQ(std::ranges::count(findings, kind, &Finding::kind), 1) << FindingName(kind);
  }
  EXPECT_EQ(findings.size(), 2U) << All(findings);
  // As a crash leaves it that comes before the row.
  MustCall(::chmod(LayerDir().c_str(), 0700), "chmod");
  findings = Check();
  EXPECT_EQ(std::ranges::count(findings, FindingKind::kGarbage, &Finding::kind), 1);
  MustCall(::chmod(LayerDir().c_str(), 01700), "chmod");
  RepairAll();
  EXPECT_TRUE(Check().empty()) << All(Check());
}

TEST_F(FsckTest, ABlobOfALayerThatNobodyNeedsIsARowOfNothing) {
  Must(store_->database()->Write([](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement insert, connection.Prepare("INSERT INTO layer_blobs VALUES (?1, "
                                                           "?2, 1, 'type', 0)"));
    return insert.Bind(1, Digest::Of("blob").ToString())
        .Bind(2, Digest::Of("layer").ToString())
        .Run();
  }));
  const auto findings = Check();
  ASSERT_EQ(findings.size(), 1U) << All(findings);
  EXPECT_EQ(findings[0].kind, FindingKind::kDanglingRow);
  Must(Collect(*store_));
  ExpectClean();
}

TEST_F(FsckTest, ADamagedLayerIsMadeAgainFromItself) {
  DropBlob();
  MustCall(::chmod(At("etc/name").c_str(), 0777), "chmod");
  Inside(At("etc"), [&] { WriteFile(At("etc/more"), "x"); });
  const auto steps = RepairAll();
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_NE(steps[0].what.find("mended from its own files"), std::string::npos) << steps[0].what;
  ExpectClean();
  EXPECT_FALSE(std::filesystem::exists(root_ + "/quarantine"));
}

TEST_F(FsckTest, ADamagedLayerIsFetchedAgain) {
  DropBlob();
  WriteFile(At("etc/name"), "rotten!");
  std::vector<Digest> asked;
  const auto steps = RepairAll({.fetch = [&](const Digest& diff_id) -> Result<> {
    asked.push_back(diff_id);
    PutBoth(FullTar());
    return {};
  }});
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_TRUE(steps[0].mended);
  EXPECT_EQ(asked, std::vector<Digest>{layer_.diff_id});
  ExpectClean();
}

// Who has a file of the layer open, and mounts that know files by their inodes, go on with it.
TEST_F(FsckTest, WhatIsInUseIsMendedWhereItIs) {
  const UniqueFd used(::open(At("etc/name").c_str(), O_RDONLY));
  const UniqueFd root(::open(layer_.path.c_str(), O_RDONLY | O_DIRECTORY));
  const struct stat damaged = Lstat(At("etc/name"));
  const struct stat whole = Lstat(At("hidden/file"));
  Rot(At("etc/name"));
  MustCall(::chmod(At("etc").c_str(), 0700), "chmod");
  MustCall(::chown(At("bin/tool").c_str(), 7, 7), "chown");
  ExpectMended();
  EXPECT_EQ(Lstat(At("etc/name")).st_ino, damaged.st_ino);
  EXPECT_EQ(Lstat(At("hidden/file")).st_ino, whole.st_ino);
  std::array<char, 16> bytes = {};
  EXPECT_EQ(::pread(used.get(), bytes.data(), bytes.size(), 0), 7);
  EXPECT_STREQ(bytes.data(), "content");
  EXPECT_EQ(::faccessat(root.get(), "etc/name", F_OK, 0), 0);
  EXPECT_EQ(Must(store_->chains().Ensure(image_.diff_ids)), chain_);
  // And is found by the next layer that has it.
  const LayerInfo next = PutBoth(OneFile("next", "content"));
  EXPECT_EQ(Lstat(next.path + "/next").st_ino, damaged.st_ino);
}

// A file that layers share is damaged in all of them, and mended in all when it is in one.
TEST_F(FsckTest, TheLayersThatShareAFileAreMendedWithIt) {
  for (const int first : {0, 1}) {  // whichever digest comes first
    const std::string tar = OneFile("shared" + std::to_string(first), "content");
    const LayerInfo plain = Must(PutLayer(tar));
    PutImage({plain.diff_id}, ("plain" + std::to_string(first)).c_str());
    ASSERT_EQ(Lstat(plain.path + "/shared" + std::to_string(first)).st_ino,
              Lstat(At("etc/name")).st_ino);
  }
  Rot(At("etc/name"));
  const auto steps = RepairAll();
  EXPECT_EQ(steps.size(), 3U);
  for (const RepairStep& step : steps) EXPECT_TRUE(step.mended) << step.what;
  ExpectClean();
}

// The name leads to a file that another layer has, which is right there.
TEST_F(FsckTest, AFileOfAnotherLayerIsNotWrittenTo) {
  const LayerInfo other = PutBoth(OneFile("other", "something else"));
  PutImage({other.diff_id}, "other");
  const struct stat before = Lstat(other.path + "/other");
  Inside(At("etc"), [&] {
    MustCall(::unlink(At("etc/name").c_str()), "unlink");
    MustCall(::link((other.path + "/other").c_str(), At("etc/name").c_str()), "link");
  });
  ExpectMended();
  EXPECT_EQ(ReadFile(other.path + "/other"), "something else");
  EXPECT_EQ(Lstat(other.path + "/other").st_ino, before.st_ino);
}

// Names of the layer lead to files of other names, and those are what other layers have, too.
TEST_F(FsckTest, FilesInTheWrongPlaceAreNotWrittenTo) {
  const std::string tar =
      TarBuilder()
          .AddFile("shared", "content")
          .AddFile("second", "second")
          .AddFile("empty", "")
          .Add(
              {.name = "marked", .content = "marked", .pax = {{"SCHILY.xattr.user.note", "other"}}})
          .Finish();
  const LayerInfo other = Must(PutLayer(tar));  // no blob: it is its own only copy
  PutImage({other.diff_id}, "other");
  ASSERT_EQ(Lstat(other.path + "/shared").st_ino, Lstat(At("etc/name")).st_ino);
  ASSERT_EQ(Lstat(other.path + "/second").st_ino, Lstat(At("twice")).st_ino);
  const auto swap = [&] {
    MustCall(::rename(At("etc/name").c_str(), At("etc/x").c_str()), "rename");
    MustCall(::rename(At("twice").c_str(), At("etc/name").c_str()), "rename");
    MustCall(::rename(At("etc/x").c_str(), At("twice").c_str()), "rename");
  };
  const auto link = [&](const char* from) {
    MustCall(::unlink(At("etc/name").c_str()), "unlink");
    MustCall(::link((other.path + from).c_str(), At("etc/name").c_str()), "link");
  };
  const std::vector<std::function<void()>> damages = {
      swap, [&] { link("/empty"); }, [&] { link("/marked"); }, [&] { link("/second"); }};
  for (const bool objects : {true, false}) {
    for (const auto& damage : damages) {
      // Made again if the last repair outdated it.
      Must(store_->chains().Ensure(image_.diff_ids));
      for (const std::string& fan : objects ? std::set<std::string>() : Names(root_ + "/objects")) {
        std::filesystem::remove_all(root_ + "/objects/" + fan);
      }
      damage();
      const auto steps = RepairAll();
      for (const RepairStep& step : steps) EXPECT_TRUE(step.mended) << step.what;
      ExpectClean();
    }
  }
}

// Of what later entries of the tar replaced, which no container sees.
TEST_F(FsckTest, DamageToWhatOnlyTheTarHas) {
  DropBlob();
  Rot(LayerDir() + "/replaced/0");
  ExpectOnly(FindingKind::kBadRecipe, "replaced/0", Depth::kDeep);
  const auto steps = RepairAll();
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].mended);
  EXPECT_EQ(ReadFile(At("etc/name")), "content");
}

TEST_F(FsckTest, RecordsThatBecameDirectories) {
  for (const char* name : {"index", "objects"}) {
    MustCall(::unlink((LayerDir() + "/" + name).c_str()), "unlink");
    MustCall(::mkdir((LayerDir() + "/" + name).c_str(), 0700), "mkdir");
  }
  Inside(At("etc"), [&] { MustCall(::unlink(At("etc/name").c_str()), "unlink"); });
  for (const RepairStep& step : RepairAll()) EXPECT_TRUE(step.mended) << step.what;
  ExpectClean();
  ExpectNoLeftovers();
}

// The only copy is never deleted.
TEST_F(FsckTest, ALayerThatCanNotBeMendedIsPutAside) {
  DropBlob();
  WriteFile(At("etc/name"), "rotten!");
  const auto steps = RepairAll();
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].mended);
  EXPECT_NE(steps[0].what.find("quarantine/" + layer_.diff_id.Hex()), std::string::npos);
  const auto aside = Names(root_ + "/quarantine");
  ASSERT_EQ(aside.size(), 1U);
  EXPECT_EQ(ReadFile(root_ + "/quarantine/" + *aside.begin() + "/fs/marked"), "marked");
  // The image says so, and pulling or importing brings the layer back.
  EXPECT_TRUE(FailsWith(store_->layers().Find(layer_.diff_id), ENOENT));
  PutBoth(FullTar());
  const auto findings = Check(Depth::kDeep);
  ASSERT_EQ(findings.size(), 1U) << All(findings);
  EXPECT_EQ(findings[0].kind, FindingKind::kQuarantined);
  Must(Collect(*store_));
  EXPECT_EQ(Names(root_ + "/quarantine"), aside);
}

TEST_F(FsckTest, MissingBlob) {
  MustCall(::unlink(BlobPath().c_str()), "unlink");
  const auto findings = Check(Depth::kQuick);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, FindingKind::kMissingBlob);
  EXPECT_EQ(findings[0].blob, Blob().blob);
  EXPECT_TRUE(RepairAll().at(0).mended);
  ExpectClean();
}

TEST_F(FsckTest, BlobOfAnotherSize) {
  MustCall(::truncate(BlobPath().c_str(), 10), "truncate");
  const auto findings = Check(Depth::kQuick);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, FindingKind::kBlobSize);
  RepairAll();
  EXPECT_EQ(Names(root_ + "/quarantine").size(), 1U);
  EXPECT_EQ(ReadFile(At("etc/name")), "content");
}

TEST_F(FsckTest, BlobOfOtherBytes) {
  std::string bytes = ReadFile(BlobPath());
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
  WriteFile(BlobPath(), bytes);
  EXPECT_TRUE(Check().empty());
  const auto findings = Check(Depth::kDeep);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, FindingKind::kBlobDigest);
  EXPECT_EQ(findings[0].blob, Blob().blob);
  RepairAll();
  EXPECT_EQ(Names(root_ + "/quarantine").size(), 1U);
}

TEST_F(FsckTest, Strays) {
  for (const char* name : {"layers/sha256/notes", "blobs/sha256/notes", "chains/sha256/notes",
                           "layers/notes", "blobs/notes", "chains/notes"}) {
    WriteFile(root_ + "/" + name, "somebody's");
    const auto findings = Check();
    const auto stray = std::ranges::find(findings, FindingKind::kStray, &Finding::kind);
    ASSERT_NE(stray, findings.end());
    EXPECT_EQ(stray->path, name);
    EXPECT_TRUE(RepairAll().at(0).mended);
  }
  EXPECT_EQ(Names(root_ + "/quarantine").size(), 6U);
  WriteFile(LayerDir() + "/notes", "somebody's");
  const auto findings = Check();
  EXPECT_EQ(std::ranges::count(findings, FindingKind::kStray, &Finding::kind), 1);
  RepairAll();
  EXPECT_EQ(Names(root_ + "/quarantine").size(), 7U);
}

TEST_F(FsckTest, GarbageIsNoDamage) {
  MustCall(::mkdir((root_ + "/layers/sha256/" + Digest::Of("x").Hex()).c_str(), 0700), "mkdir");
  WriteFile(root_ + "/blobs/sha256/" + Digest::Of("y").Hex(), "y");
  const auto findings = Check();
  EXPECT_EQ(std::ranges::count(findings, FindingKind::kGarbage, &Finding::kind), 2);
  EXPECT_EQ(findings.size(), 2U);
  EXPECT_TRUE(Harmless(FindingKind::kGarbage));
  Must(Collect(*store_));
  ExpectClean();
}

TEST_F(FsckTest, BadObjectList) {
  WriteFile(LayerDir() + "/objects", "damaged");
  ExpectOnly(FindingKind::kBadObjectList, "");
  ExpectMended();
}

TEST_F(FsckTest, AnObjectThatNoLayerHas) {
  const std::string stray = "objects/00/0123456789abcdef0123456789abcd";
  std::filesystem::create_directories(root_ + "/objects/00");
  WriteFile(root_ + "/" + stray, "content");
  ExpectOnlyInStore(FindingKind::kGarbage, stray);
  EXPECT_TRUE(RepairAll().empty());
  ExpectClean();
  EXPECT_FALSE(std::filesystem::exists(root_ + "/" + stray));
}

TEST_F(FsckTest, BadConfig) {
  Must(store_->database()->Write([](Connection& connection) {
    return connection.Execute("UPDATE images SET config=config || ' '");
  }));
  ExpectOnlyInStore(FindingKind::kBadConfig, "meta.db");
  EXPECT_FALSE(RepairAll().at(0).mended);
}

TEST_F(FsckTest, OpenRoot) {
  MustCall(::chmod(root_.c_str(), 0755), "chmod");
  ExpectOnlyInStore(FindingKind::kOpenRoot, "");
  Reopen();
  ExpectClean();
}

TEST_F(FsckTest, DamagedDatabase) {
  for (int i = 0; i < 50; ++i) PutImage({layer_.diff_id}, nullptr, std::to_string(i).c_str());
  store_.reset();
  const UniqueFd file =
      Must(FileOps::System().Open(AT_FDCWD, (root_ + "/meta.db").c_str(), O_RDWR));
  const std::string damage(3000, '\x7f');
  for (const off_t at : {20'480, 40'960, 61'440}) {
    Must(WriteAllAt(FileOps::System(), file.get(), std::as_bytes(std::span(damage)), at));
  }
  auto store = Store::Open({.root = root_});
  if (!store) {
    EXPECT_EQ(store.error().code(), EBADMSG) << store.error().ToString();
    return;
  }
  store_ = std::move(*store);
  const auto findings = Check(Depth::kQuick);
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].kind, FindingKind::kBadDatabase) << All(findings);
}

// The check as the judge of whoever changes the store meanwhile.
TEST_F(FsckTest, FindsNothingInAStoreThatChanges) {
  std::atomic<bool> done = false;
  std::jthread changes([&] {
    for (int round = 0; round < 30; ++round) {
      PutBoth(TarBuilder().AddFile("f", std::to_string(round)).Finish());
      Must(Collect(*store_));
    }
    done = true;
  });
  while (!done) {
    for (const Finding& finding : Check(Depth::kDeep)) {
      EXPECT_TRUE(Harmless(finding.kind)) << finding.ToString();
    }
  }
}

}  // namespace
}  // namespace strata::layerstore
