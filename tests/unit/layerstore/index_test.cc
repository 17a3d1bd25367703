// Layer and chain indexes: what they say about random layers against the layers themselves, and
// what becomes of damaged ones.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "layerstore/index/chain_merge.h"
#include "layerstore/index/format.h"
#include "layerstore/index/index_writer.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/index/marks.h"
#include "layerstore/index/metadata_index.h"
#include "tests/property/generator.h"
#include "tests/property/layer_builder.h"
#include "tests/property/random.h"
#include "tests/property/redirects.h"
#include "tests/support/chain_index.h"
#include "tests/support/files.h"
#include "tests/support/flatten.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"
#include "tests/support/tree_snapshot.h"

namespace strata::layerstore {
namespace {

using property::Random;
using support::Lstat;
using support::MakeDir;
using support::MakeWhiteout;
using support::Must;
using support::MustCall;
using support::WriteFile;

constexpr char kRedirect[] = "trusted.overlay.redirect";
constexpr char kOpaque[] = "trusted.overlay.opaque";
constexpr char kImplied[] = "trusted.overlay.strata.implied";

using IndexRef = std::shared_ptr<const MetadataIndex>;
using Entry = MetadataIndex::Entry;

void SetMark(const std::string& path, const char* name, const std::string& value) {
  MustCall(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0), "lsetxattr");
}

IndexRef OpenIndex(const std::string& path) {
  return Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, path.c_str()));
}

// All entries but the root, by path; every one of them looked up by name, too.
Result<> Walk(const MetadataIndex& index, MetadataIndex::Directory directory,
              const std::string& path, std::map<std::string, Entry>& found) {
  auto names = index.List(directory);
  if (!names) return std::unexpected(std::move(names).error());
  for (MetadataIndex::Number number = names->first; number < names->end(); ++number) {
    auto entry = index.At(number);
    if (!entry) return std::unexpected(std::move(entry).error());
    auto by_name = index.Find(directory, entry->name);
    if (!by_name) return std::unexpected(std::move(by_name).error());
    if (*by_name != number) return Fail(EBADMSG, "find", std::string(entry->name));
    auto in_layer = index.PathInLayer(*entry);
    if (!in_layer) return std::unexpected(std::move(in_layer).error());
    const std::string child = JoinPath(path, entry->name);
    found.emplace(child, *entry);
    if (!entry->directory) continue;
    if (auto below = Walk(index, *entry->directory, child, found); !below) return below;
  }
  return {};
}

class IndexTest : public ::testing::Test {
 protected:
  std::string Layer(int number) { return At("l" + std::to_string(number)); }
  std::string At(const std::string& name) { return disk_ + "/" + name; }

  std::string MakeLayer() {
    const std::string path = Layer(count_++);
    MakeDir(path);
    return path;
  }
  // Top first.
  std::vector<std::string> Layers() {
    std::vector<std::string> layers;
    for (int i = count_; i > 0; --i) layers.push_back(Layer(i - 1));
    return layers;
  }
  IndexRef Chain(std::size_t base = 0) {
    const std::string chain = At("chain");
    ::mkdir(chain.c_str(), 0755);
    Must(support::WriteChainIndex(Layers(), chain, base));
    return OpenIndex(chain + "/index");
  }
  void Clear() {
    for (int i = 0; i < count_; ++i) Must(support::RemoveTree(Layer(i)));
    Must(support::RemoveTree(At("chain")));
    Must(support::RemoveTree(At("flat")));
    count_ = 0;
  }

  // The index against the layers merged in another way, and against each file itself.
  void ExpectRight(const MetadataIndex& index) {
    const std::string flat = At("flat");
    MakeDir(flat);
    Must(support::Flatten(Layers(), flat));
    const auto tree = Must(support::TreeSnapshot::Take(flat, {.contents = false}));
    std::map<std::string, Entry> found;
    Must(Walk(index, MetadataIndex::kRoot, "", found));
    for (const auto& [path, node] : tree.nodes()) {
      if (path.empty()) continue;
      const auto entry = found.find(path);
      ASSERT_NE(entry, found.end()) << path << " is missing";
      const struct stat& st = entry->second.attr;
      EXPECT_EQ(st.st_mode, node.stat.st_mode) << path;
      EXPECT_EQ(st.st_uid, node.stat.st_uid) << path;
      EXPECT_EQ(st.st_gid, node.stat.st_gid) << path;
      EXPECT_EQ(st.st_mtim.tv_sec, node.stat.st_mtim.tv_sec) << path;
      EXPECT_EQ(st.st_mtim.tv_nsec, node.stat.st_mtim.tv_nsec) << path;
      EXPECT_TRUE(S_ISDIR(st.st_mode) || st.st_size == node.stat.st_size) << path;
      EXPECT_EQ(entry->second.target, node.link_target) << path;
      EXPECT_EQ(entry->second.has_xattrs, !node.xattrs.empty()) << path;
      ExpectInLayer(index, path, entry->second);
    }
    for (const auto& [path, entry] : found) {
      EXPECT_TRUE(tree.nodes().contains(path)) << path << " should not be there";
    }
  }

  void ExpectInLayer(const MetadataIndex& index, const std::string& path, const Entry& entry) {
    const std::string layer(index.layers()[entry.layer].path);
    const struct stat st = Lstat(layer + "/" + Must(index.PathInLayer(entry)));
    EXPECT_EQ(st.st_ino, entry.attr.st_ino) << path;
    EXPECT_EQ(st.st_nlink, entry.attr.st_nlink) << path;
    EXPECT_EQ(st.st_blocks, entry.attr.st_blocks) << path;
    EXPECT_EQ(st.st_blksize, entry.attr.st_blksize) << path;
    EXPECT_EQ(st.st_rdev, entry.attr.st_rdev) << path;
    EXPECT_EQ(st.st_ctim.tv_nsec, entry.attr.st_ctim.tv_nsec) << path;
    if (entry.directory) {
      EXPECT_EQ(Must(index.PathOf(*entry.directory)), path);
      EXPECT_EQ(Must(index.FindDirectory(path)), entry.directory);
    }
  }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  std::string disk_ =
      Must(support::TestDisk::Create(root_, "disk", support::Filesystem::kExt4NoJournal)).path();
  int count_ = 0;
};

TEST_F(IndexTest, SaysOfRandomLayersWhatTheyMergeTo) {
  const char* given = std::getenv("STRATA_SEED");
  const std::uint64_t first = given == nullptr ? 20261124 : std::strtoull(given, nullptr, 10);
  for (std::uint64_t seed = first; seed < first + 120; ++seed) {
    SCOPED_TRACE("STRATA_SEED=" + std::to_string(seed));
    Random random(seed);
    const auto sequence =
        property::Generate(seed, {.layers = static_cast<int>(seed % 6 + 1), .operations = 0});
    std::vector<std::string> below;
    for (const auto& commands : sequence.layers) {
      const std::string layer = MakeLayer();
      Must(property::BuildLayer(layer, "t", commands));
      if (!below.empty()) property::AddRedirects(layer, below, random, At("scratch"));
      below.insert(below.begin(), layer);
    }
    const auto base = static_cast<std::size_t>(random.Below(below.size()));
    ExpectRight(*Chain(base));
    if (HasFailure()) return;
    Clear();
  }
}

TEST_F(IndexTest, HoldsOneLayerWithItsMarks) {
  const std::string layer = MakeLayer();
  MakeDir(layer + "/opaque");
  SetMark(layer + "/opaque", kOpaque, "y");
  MakeDir(layer + "/moved");
  SetMark(layer + "/moved", kRedirect, "/from/there");
  MakeWhiteout(layer + "/gone");
  WriteFile(layer + "/.wh.also", "");
  MakeDir(layer + "/shadow");
  WriteFile(layer + "/.wh.shadow", "");
  MakeDir(layer + "/marked");
  WriteFile(layer + "/marked/.wh..wh..opq", "");
  WriteFile(layer + "/.wh..wh.plnk", "");
  MustCall(::symlink("to/there", (layer + "/link").c_str()), "symlink");
  WriteFile(layer + "/plain", "x");
  WriteFile(layer + "/user", "x");
  SetMark(layer + "/user", "user.a", "b");
  WriteFile(layer + "/escaped", "x");
  SetMark(layer + "/escaped", "trusted.overlay.overlay.opaque", "y");

  Must(support::WriteLayerIndex(layer, disk_, "index"));
  const IndexRef index = OpenIndex(At("index"));
  EXPECT_EQ(index->kind(), MetadataIndex::Kind::kLayer);
  EXPECT_EQ(index->layers().front().proof, LayerProof::Of(Lstat(layer)));
  std::map<std::string, Entry> found;
  Must(Walk(*index, MetadataIndex::kRoot, "", found));
  EXPECT_EQ(found.size(), 10U);
  EXPECT_TRUE(found.at("opaque").opaque);
  EXPECT_FALSE(found.at("opaque").has_xattrs);
  EXPECT_EQ(found.at("moved").target, "/from/there");
  EXPECT_TRUE(found.at("gone").whiteout);
  EXPECT_TRUE(found.at("also").whiteout);
  EXPECT_TRUE(found.at("shadow").alone);
  EXPECT_FALSE(found.at("shadow").whiteout);
  EXPECT_TRUE(found.at("marked").opaque);
  EXPECT_EQ(found.at("link").target, "to/there");
  EXPECT_FALSE(found.at("plain").has_xattrs);
  EXPECT_TRUE(found.at("user").has_xattrs);
  EXPECT_TRUE(found.at("escaped").has_xattrs);
}

TEST_F(IndexTest, AnImpliedDirectoryIsWhatTheNextBelowIs) {
  constexpr mode_t kSticky = S_IFDIR | 01777;
  constexpr mode_t kOwn = S_IFDIR | 0755;
  const auto make = [](const std::string& path, mode_t mode) {
    MakeDir(path);
    MustCall(::chmod(path.c_str(), mode & 07777U), "chmod");
  };
  const std::string base = MakeLayer();
  MustCall(::chmod(base.c_str(), 0711), "chmod");
  for (const char* name : {"/tmp", "/emptied", "/removed"}) make(base + name, kSticky);
  SetMark(base + "/tmp", "user.a", "b");
  WriteFile(base + "/emptied/hidden", "x");
  WriteFile(base + "/file", "x");
  const std::string middle = MakeLayer();
  MakeWhiteout(middle + "/removed");
  const std::string top = MakeLayer();
  for (const std::string& layer : {middle, top}) {
    SetMark(layer, kImplied, "y");
    for (const char* name : {"/tmp", "/emptied", "/file", "/removed"}) {
      if (support::Exists(layer + name)) continue;  // the whiteout
      make(layer + name, kOwn);
      SetMark(layer + name, kImplied, "y");
      WriteFile(layer + name + "/new", "x");
    }
  }
  SetMark(middle + "/emptied", kOpaque, "y");

  for (const std::size_t base_layers : {0, 1, 2}) {
    SCOPED_TRACE(base_layers);
    const IndexRef index = Chain(base_layers);
    std::map<std::string, Entry> found;
    Must(Walk(*index, MetadataIndex::kRoot, "", found));
    EXPECT_EQ(Must(index->At(0)).attr.st_mode, S_IFDIR | 0711U);
    EXPECT_EQ(found.at("tmp").attr.st_mode, kSticky);
    EXPECT_EQ(found.at("tmp").attr.st_ino, Lstat(base + "/tmp").st_ino);
    EXPECT_EQ(found.at("tmp").layer, 0);
    EXPECT_TRUE(found.at("tmp").has_xattrs);
    EXPECT_TRUE(found.at("tmp").merged);
    EXPECT_EQ(found.at("emptied").attr.st_mode, kSticky);
    EXPECT_FALSE(found.contains("emptied/hidden"));
    EXPECT_EQ(found.at("file").attr.st_mode, kOwn);     // over a file there is nothing to be
    EXPECT_EQ(found.at("removed").attr.st_mode, kOwn);  // nor over a whiteout
    Must(support::RemoveTree(At("chain")));
  }
}

TEST_F(IndexTest, TellsLinkGroupsFromFilesThatShareAnInode) {
  const std::string layer = MakeLayer();
  MakeDir(layer + "/d");
  WriteFile(layer + "/group", "x");
  WriteFile(layer + "/shared", "y");
  WriteFile(layer + "/single", "z");
  WriteFile(layer + "/empty", "");
  std::filesystem::create_hard_link(layer + "/group", layer + "/d/group");
  std::filesystem::create_hard_link(layer + "/shared", layer + "/d/shared");
  const ino_t group = Lstat(layer + "/group").st_ino;
  const auto scan = [&](const ScanHints& hints) {
    Must(support::WriteLayerIndex(layer, disk_, "index", hints));
    const IndexRef index = OpenIndex(At("index"));
    // Names and links, and whether the inode stands for the file; groups by the identity they have.
    std::map<std::string, Entry> found;
    Must(Walk(*index, MetadataIndex::kRoot, "", found));
    for (auto& [path, entry] : found) {
      entry.name = {};
      EXPECT_EQ(entry.attr.st_ino, Lstat(layer + "/" + path).st_ino) << path;
    }
    return found;
  };

  // Nothing is known: inodes are files.
  auto found = scan({});
  EXPECT_EQ(found.at("group").attr.st_nlink, 2U);
  EXPECT_EQ(found.at("shared").attr.st_nlink, 2U);
  for (const auto& [path, entry] : found) EXPECT_FALSE(entry.identity) << path;

  const ScanHints hints{.is_link_group = [&](ino_t inode) { return inode == group; }};
  found = scan(hints);
  EXPECT_EQ(found.at("group").attr.st_nlink, 2U);
  EXPECT_FALSE(found.at("group").identity);
  EXPECT_EQ(found.at("shared").attr.st_nlink, 1U);
  EXPECT_EQ(found.at("shared").identity, found.at("shared").number);
  EXPECT_EQ(found.at("d/shared").identity, found.at("d/shared").number);
  EXPECT_FALSE(found.at("single").identity);

  // It is the same whether the sharing has begun or not.
  found = scan({.is_link_group = hints.is_link_group, .will_share = true});
  EXPECT_EQ(found.at("shared").identity, found.at("shared").number);
  EXPECT_EQ(found.at("single").identity, found.at("single").number);
  EXPECT_EQ(found.at("d/group").identity, found.at("group").identity);
  EXPECT_FALSE(found.at("empty").identity);
  std::filesystem::create_hard_link(layer + "/group", At("object"));
  const auto sharing = scan({.is_link_group = hints.is_link_group, .will_share = true});
  EXPECT_EQ(sharing.at("group").attr.st_nlink, 2U);
  EXPECT_EQ(sharing.at("group").identity, found.at("group").identity);
  std::filesystem::remove(At("object"));

  // Names that are elsewhere count for nothing.
  std::filesystem::create_hard_link(layer + "/group", At("elsewhere"));
  found = scan(hints);
  for (const char* path : {"group", "d/group"}) {
    EXPECT_EQ(found.at(path).attr.st_nlink, 2U);
    EXPECT_EQ(found.at(path).identity, found.at("group").number);
  }
}

TEST_F(IndexTest, AsksOnlyThoseForXattrsThatMayHaveSome) {
  const std::string layer = MakeLayer();
  for (const char* name : {"one", "two"}) {
    WriteFile(layer + "/" + name, "x");
    SetMark(layer + "/" + name, "user.a", "b");
  }
  const ino_t one = Lstat(layer + "/one").st_ino;
  const ScanHints hints{.may_have_xattrs = [&](ino_t inode) { return inode == one; }};
  Must(support::WriteLayerIndex(layer, disk_, "index", hints));
  std::map<std::string, Entry> found;
  const IndexRef index = OpenIndex(At("index"));
  Must(Walk(*index, MetadataIndex::kRoot, "", found));
  EXPECT_TRUE(found.at("one").has_xattrs);
  EXPECT_FALSE(found.at("two").has_xattrs);
}

TEST_F(IndexTest, ObeysWhiteoutsInTheFileForm) {
  const std::string base = MakeLayer();
  for (const char* name : {"gone", "shadow", "marked"}) MakeDir(base + "/" + name);
  for (const char* name : {"gone", "shadow", "marked"}) {
    WriteFile(base + "/" + name + "/below", "b");
  }
  const std::string top = MakeLayer();
  WriteFile(top + "/.wh.gone", "");
  MakeDir(top + "/shadow");
  WriteFile(top + "/.wh.shadow", "");
  MakeDir(top + "/marked");
  WriteFile(top + "/marked/.wh..wh..opq", "");
  WriteFile(top + "/marked/above", "t");
  std::map<std::string, Entry> found;
  Must(Walk(*Chain(), MetadataIndex::kRoot, "", found));
  std::set<std::string> paths;
  for (const auto& [path, entry] : found) paths.insert(path);
  EXPECT_EQ(paths, (std::set<std::string>{"shadow", "marked", "marked/above"}));
}

TEST_F(IndexTest, RefusesRedirectsThatNobodyWrites) {
  for (const char* wrong : {"..", "/a//b", "a/b", "/", "/../etc", "."}) {
    EXPECT_FALSE(IsRedirect(wrong)) << wrong;
    const std::string layer = MakeLayer();
    MakeDir(layer + "/d");
    SetMark(layer + "/d", kRedirect, wrong);
    const auto scanned = support::WriteLayerIndex(layer, disk_, "index");
    ASSERT_FALSE(scanned.has_value()) << wrong;
    EXPECT_EQ(scanned.error().code(), EINVAL);
  }
}

TEST_F(IndexTest, MergesAThousandLayers) {
  constexpr int kLayers = 1000;
  for (int i = 0; i < kLayers; ++i) {
    const std::string layer = MakeLayer();
    MakeDir(layer + "/d");
    WriteFile(layer + "/d/f" + std::to_string(i), "x");
    if (i > 0 && i % 3 == 0) MakeWhiteout(layer + "/d/f" + std::to_string(i - 1));
  }
  const IndexRef index = Chain(500);
  ASSERT_EQ(index->layers().size(), std::size_t{kLayers});
  const auto directory = Must(index->FindDirectory("d"));
  ASSERT_TRUE(directory.has_value());
  EXPECT_EQ(Must(index->List(*directory)).count, kLayers - 333U);
  const auto last = Must(index->Find(*directory, "f997"));
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(Must(index->At(*last)).layer, 997);
  EXPECT_TRUE(Must(index->At(Must(index->EntryOf(*directory)))).merged);
}

TEST_F(IndexTest, ARedirectThatMultipliesATreeIsRefused) {
  // Each layer shows the whole tree below it twice.
  const std::string base = MakeLayer();
  MakeDir(base + "/t");
  WriteFile(base + "/t/f", "x");
  for (int i = 0; i < 24; ++i) {
    const std::string layer = MakeLayer();
    MakeDir(layer + "/t");
    MakeDir(layer + "/t/a" + std::to_string(i));
    SetMark(layer + "/t/a" + std::to_string(i), kRedirect, "/t");
  }
  MakeDir(At("chain"));
  const auto written = support::WriteChainIndex(Layers(), At("chain"));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code(), E2BIG);
}

// --- damage -------------------------------------------------------------------------------------

class DamageTest : public IndexTest {
 protected:
  void SetUp() override {
    const std::string base = MakeLayer();
    MakeDir(base + "/from");
    MakeDir(base + "/from/sub");
    WriteFile(base + "/from/sub/file", "x");
    MustCall(::symlink("sub", (base + "/from/link").c_str()), "symlink");
    const std::string top = MakeLayer();
    MakeDir(top + "/to");
    SetMark(top + "/to", kRedirect, "/from");
    MakeWhiteout(top + "/from");
    Chain();
    bytes_ = support::ReadFile(At("chain/index"));
  }

  // Everything that can be read, or why not.
  Result<> ReadAll(const std::string& bytes) {
    WriteFile(At("damaged"), bytes);
    auto index = MetadataIndex::Open(FileOps::System(), AT_FDCWD, At("damaged").c_str());
    if (!index) return std::unexpected(std::move(index).error());
    std::map<std::string, Entry> found;
    auto walked = Walk(**index, MetadataIndex::kRoot, "", found);
    auto verified = (*index)->Verify();
    return walked ? std::move(verified) : std::move(walked);
  }

  std::string bytes_;
};

TEST_F(DamageTest, EveryFlippedByteIsFound) {
  Must(ReadAll(bytes_));
  for (std::size_t at = 0; at < bytes_.size(); ++at) {
    std::string damaged = bytes_;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    const auto read = ReadAll(damaged);
    ASSERT_FALSE(read.has_value()) << at;
    EXPECT_TRUE(read.error().code() == EBADMSG || read.error().code() == EPROTONOSUPPORT) << at;
  }
}

TEST_F(DamageTest, EveryTruncationIsFound) {
  for (std::size_t size = 0; size < bytes_.size(); ++size) {
    const auto read = ReadAll(bytes_.substr(0, size));
    ASSERT_FALSE(read.has_value()) << size;
    EXPECT_EQ(read.error().code(), EBADMSG) << size;
  }
  EXPECT_FALSE(ReadAll(bytes_ + 'x').has_value());
}

// Not damaged but made by somebody: the checksums are right, the numbers are not.
TEST_F(DamageTest, NoNumberIsBelieved) {
  format::Header header;
  std::memcpy(&header, bytes_.data(), sizeof header);
  const std::size_t sums =
      sizeof header + header.layers * sizeof(format::LayerRecord) + header.paths;
  const std::size_t body = sums + sizeof(std::uint64_t);  // of one block
  Random random(20261124);
  for (int i = 0; i < 5000; ++i) {
    std::string forged = bytes_;
    for (std::uint64_t n = random.Below(4) + 1; n > 0; --n) {
      const std::size_t at = body + random.Below(forged.size() - body);
      forged[at] = static_cast<char>(random.Chance(50) ? random.Next() : random.Below(4));
    }
    const format::Little<std::uint64_t> sum(
        XXH3_64bits(forged.data() + body, forged.size() - body));
    std::memcpy(forged.data() + sums, &sum, sizeof sum);
    header.checksum = 0;
    std::memcpy(forged.data(), &header, sizeof header);
    header.checksum = XXH3_64bits(forged.data(), body);
    std::memcpy(forged.data(), &header, sizeof header);
    const auto read = ReadAll(forged);
    EXPECT_TRUE(read.has_value() || read.error().code() == EBADMSG);
  }
}

// The format does not change by accident: docs/formats/index.md.
TEST(IndexFormat, BytesAreThoseOfVersionTwo) {
  const auto temp = Must(support::TempRoot::Create());
  const UniqueFd dir = support::OpenFile(temp.path(), O_RDONLY | O_DIRECTORY);
  IndexWriter writer(FileOps::System(), dir.get(), MetadataIndex::Kind::kChain, false);
  writer.AddLayer({{7, 1'700'000'000, 5}, 4096, "../../../layers/sha256/ab/fs"});
  Entry root;
  root.attr.st_mode = S_IFDIR | 0755;
  root.attr.st_ino = 7;
  root.attr.st_nlink = 3;
  Must(writer.AddRoot(root));
  std::vector<Entry> entries(2);
  entries[0].name = "a";
  entries[0].attr = root.attr;
  entries[0].merged = true;
  entries[1].name = "b";
  entries[1].target = "a";
  entries[1].attr.st_mode = S_IFLNK | 0777;
  entries[1].identity = 1;
  entries[1].attr.st_mtim = {1'600'000'000, 123'456'789};
  writer.Begin(MetadataIndex::kRoot);
  for (Entry& entry : entries) Must(writer.Add(entry));
  Must(writer.End());
  const std::vector<MetadataIndex::Place> moves = {{0, 0, "old"}};
  writer.Begin(1);
  Must(writer.End(moves));
  Must(writer.Finish(support::OpenFile(temp.At("index"), O_WRONLY | O_CREAT).get()));
  const std::string bytes = support::ReadFile(temp.At("index"));
  EXPECT_EQ(bytes.size(), 56U + 32 + 28 + 8 + 2 * 24 + 3 * 112 + 12 + 6);
  EXPECT_EQ(Digest::Of(bytes).Hex(),
            "2d0375ea4ded9175fa94d9d488242358e637217f6694b4dadf5c6118d6f65e39");
}

}  // namespace
}  // namespace strata::layerstore
