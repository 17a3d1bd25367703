// Lower layers mounted through the index of their chain: the same union as of the directories, and
// nothing wrong shown when directories or index are not what they were.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/path.h"
#include "tests/property/generator.h"
#include "tests/property/layer_builder.h"
#include "tests/property/random.h"
#include "tests/property/redirects.h"
#include "tests/support/chain_index.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"
#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::MakeDir;
using support::Must;
using support::MustCall;
using support::WriteFile;

std::size_t OpenDescriptors() {
  return static_cast<std::size_t>(std::distance(
      std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
}

class ChainTest : public ::testing::Test {
 protected:
  std::string At(const std::string& name) { return disk_ + "/" + name; }
  std::string Lower(const std::string& path = "", int layer = 0) {
    while (static_cast<int>(layers_.size()) <= layer) {
      layers_.push_back(At("l" + std::to_string(layers_.size())));
      MakeDir(layers_.back());
    }
    return JoinPath(layers_[static_cast<std::size_t>(layer)], path);
  }
  // Top first.
  std::vector<std::string> Layers() { return {layers_.rbegin(), layers_.rend()}; }

  EngineOptions Options(bool writable = true) {
    EngineOptions options;
    if (!support::Exists(At("chain"))) {
      MakeDir(At("chain"));
      Must(support::WriteChainIndex(Layers(), At("chain"), 0, hints_));
    }
    options.chain = At("chain");
    if (writable) AddUpper(options);
    return options;
  }
  EngineOptions PlainOptions(bool writable = true) {
    EngineOptions options;
    options.lower = Layers();
    if (writable) AddUpper(options);
    return options;
  }
  void AddUpper(EngineOptions& options) {
    for (const char* name : {"upper", "work"}) {
      if (!support::Exists(At(name))) MakeDir(At(name));
    }
    options.upper = At("upper");
    options.work = At("work");
  }

  // All that a union shows, as text by path.
  static std::map<std::string, std::string> Show(UnionDriver& driver) {
    std::map<std::string, std::string> shown;
    ShowBelow(driver, "", shown);
    return shown;
  }
  static void ShowBelow(UnionDriver& driver, const std::string& dir,
                        std::map<std::string, std::string>& shown) {
    for (const std::string& name : driver.List(dir)) {
      const std::string path = JoinPath(dir, name);
      const EntryReply entry = Must(driver.Walk(path));
      const struct stat& st = entry.attr;
      std::string text;
      // T1 of the model test: not promised of directories.
      const bool directory = S_ISDIR(st.st_mode);
      for (const auto value :
           {std::uint64_t{st.st_ino}, std::uint64_t{st.st_mode}, std::uint64_t{st.st_uid},
            std::uint64_t{st.st_gid}, static_cast<std::uint64_t>(directory ? 0 : st.st_size),
            directory ? 0 : std::uint64_t{st.st_nlink}, std::uint64_t{st.st_rdev},
            static_cast<std::uint64_t>(st.st_mtim.tv_sec),
            static_cast<std::uint64_t>(st.st_mtim.tv_nsec),
            static_cast<std::uint64_t>(directory ? 0 : st.st_blocks)}) {
        text += std::to_string(value) + " ";
      }
      if (S_ISREG(st.st_mode)) text += Digest::Of(Must(driver.Read(path))).Short();
      if (S_ISLNK(st.st_mode)) text += Must(driver.engine().ReadLink(entry.node));
      for (const std::string& xattr : Must(driver.engine().ListXattr(entry.node))) {
        text += " " + xattr + "=" + Must(driver.engine().GetXattr(entry.node, xattr.c_str()));
      }
      driver.engine().Forget(entry.node, 1);
      shown[path] = text;
      if (directory) ShowBelow(driver, path, shown);
    }
  }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  std::string disk_ =
      Must(support::TestDisk::Create(root_, "disk", support::Filesystem::kExt4NoJournal)).path();
  std::vector<std::string> layers_;  // base first
  layerstore::ScanHints hints_;
};

TEST_F(ChainTest, ShowsWhatTheDirectoriesShow) {
  const char* given = std::getenv("STRATA_SEED");
  const std::uint64_t first = given == nullptr ? 20261124 : std::strtoull(given, nullptr, 10);
  for (std::uint64_t seed = first; seed < first + 60; ++seed) {
    SCOPED_TRACE("STRATA_SEED=" + std::to_string(seed));
    property::Random random(seed);
    const auto sequence =
        property::Generate(seed, {.layers = static_cast<int>(seed % 6 + 1), .operations = 0});
    std::vector<std::string> below;
    for (const auto& commands : sequence.layers) {
      const std::string layer = Lower("", static_cast<int>(layers_.size()));
      Must(property::BuildLayer(layer, "t", commands));
      if (!below.empty()) property::AddRedirects(layer, below, random, At("scratch"));
      below.insert(below.begin(), layer);
    }
    std::map<std::string, std::string> plain;
    {
      UnionDriver driver(PlainOptions());
      plain = Show(driver);
    }
    UnionDriver chain(Options());
    EXPECT_EQ(Show(chain), plain);
    if (HasFailure()) return;
    for (const auto& entry : std::filesystem::directory_iterator(disk_)) {
      if (entry.path().filename() != "lost+found") Must(support::RemoveTree(entry.path()));
    }
    layers_.clear();
  }
}

TEST_F(ChainTest, LayersMayStandAboveAChain) {
  MakeDir(Lower("etc"));
  WriteFile(Lower("etc/base"), "base");
  WriteFile(Lower("etc/both"), "base");
  MakeDir(Lower("etc", 1));
  WriteFile(Lower("etc/top", 1), "top");
  EngineOptions options = Options();
  MakeDir(At("init"));
  MakeDir(At("init/etc"));
  WriteFile(At("init/etc/both"), "init");
  options.lower = {At("init")};
  UnionDriver driver(options);
  EXPECT_EQ(driver.List("etc"), (std::vector<std::string>{"base", "both", "top"}));
  EXPECT_EQ(Must(driver.Read("etc/both")), "init");
  Must(driver.Append("etc/base", "+"));
  EXPECT_EQ(support::ReadFile(At("upper/etc/base")), "base+");
}

TEST_F(ChainTest, RenamedDirectoriesFindTheirPartsInAChain) {
  MakeDir(Lower("a"));
  MakeDir(Lower("a/sub"));
  WriteFile(Lower("a/sub/low"), "low");
  MakeDir(Lower("a", 1));
  WriteFile(Lower("a/top", 1), "top");
  {
    UnionDriver driver(Options());
    Must(driver.Rename("a", "b"));
    Must(driver.Rename("b/sub", "sub"));
    Must(driver.MakeDir("a"));
    Must(driver.Append("sub/low", "+"));
  }
  for (const EngineOptions& options : {Options(), PlainOptions()}) {
    UnionDriver driver(options);
    EXPECT_EQ(driver.List("b"), std::vector<std::string>{"top"});
    EXPECT_EQ(driver.List("a"), std::vector<std::string>{});
    EXPECT_EQ(Must(driver.Read("b/top")), "top");
    EXPECT_EQ(Must(driver.Read("sub/low")), "low+");
  }
}

TEST_F(ChainTest, AnImpliedDirectoryIsCopiedUpAsTheNextBelowIs) {
  MakeDir(Lower("tmp", 0));
  MustCall(::chmod(Lower("tmp", 0).c_str(), 01777), "chmod");
  MustCall(::lsetxattr(Lower("tmp", 0).c_str(), "user.a", "b", 1, 0), "lsetxattr");
  MakeDir(Lower("tmp", 1));
  MustCall(::lsetxattr(Lower("tmp", 1).c_str(), "trusted.overlay.strata.implied", "y", 1, 0),
           "lsetxattr");
  WriteFile(Lower("tmp/lower", 1), "x");
  {
    UnionDriver driver(Options());
    EXPECT_EQ(driver.List("tmp"), (std::vector<std::string>{"lower"}));
    Must(driver.MakeDir("tmp/upper"));
    const EntryReply entry = Must(driver.Walk("tmp"));
    EXPECT_EQ(entry.attr.st_mode, S_IFDIR | 01777U);
    EXPECT_EQ(Must(driver.engine().GetXattr(entry.node, "user.a")), "b");
  }
  EXPECT_EQ(support::Lstat(At("upper/tmp")).st_mode, S_IFDIR | 01777U);
  std::array<char, 8> value{};
  EXPECT_EQ(::lgetxattr(At("upper/tmp").c_str(), "user.a", value.data(), value.size()), 1);
}

TEST_F(ChainTest, AWalkOpensNoLayer) {
  for (int layer = 0; layer < 40; ++layer) {
    MakeDir(Lower("d", layer));
    WriteFile(Lower("d/f" + std::to_string(layer), layer), "x");
    MustCall(::symlink("to", Lower("d/l" + std::to_string(layer), layer).c_str()), "symlink");
  }
  UnionDriver driver(Options(false));
  const std::size_t before = OpenDescriptors();
  EXPECT_EQ(driver.List("d").size(), 80U);
  for (int layer = 0; layer < 40; ++layer) {
    EXPECT_EQ(Must(driver.Stat("d/f" + std::to_string(layer))).st_size, 1);
    const EntryReply link = Must(driver.Walk("d/l" + std::to_string(layer)));
    EXPECT_EQ(Must(driver.engine().ReadLink(link.node)), "to");
    const auto xattr = driver.engine().GetXattr(link.node, "security.capability");
    ASSERT_FALSE(xattr.has_value());
    EXPECT_EQ(xattr.error().code(), ENODATA);
    driver.engine().Forget(link.node, 1);
  }
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(Must(driver.Read("d/f7")), "x");
}

TEST_F(ChainTest, AThousandLayersTakeFewDescriptors) {
  for (int layer = 0; layer < 1000; ++layer) {
    WriteFile(Lower("f" + std::to_string(layer), layer), std::to_string(layer));
  }
  EngineOptions options = Options();
  const std::size_t before = OpenDescriptors();
  UnionDriver driver(options);
  EXPECT_LT(OpenDescriptors(), before + 20);
  for (int layer = 0; layer < 1000; ++layer) {
    EXPECT_EQ(Must(driver.Read("f" + std::to_string(layer))), std::to_string(layer));
  }
  Must(driver.Append("f3", "x"));
  EXPECT_EQ(Must(driver.Read("f3")), "3x");
}

TEST_F(ChainTest, LinkGroupsStayOneFileAcrossCopyUpAndMounts) {
  WriteFile(Lower("a"), "x");
  MakeDir(Lower("d"));
  std::filesystem::create_hard_link(Lower("a"), Lower("d/b"));
  WriteFile(Lower("other", 1), "x");
  ino_t ino = 0;
  {
    UnionDriver driver(Options());
    ino = Must(driver.Stat("a")).st_ino;
    Must(driver.Append("d/b", "y"));
    EXPECT_EQ(Must(driver.Read("a")), "xy");
  }
  for (const EngineOptions& options : {Options(), PlainOptions()}) {
    UnionDriver driver(options);
    EXPECT_EQ(Must(driver.Read("a")), "xy");
    EXPECT_EQ(Must(driver.Stat("a")).st_ino, ino);
    EXPECT_EQ(Must(driver.Stat("d/b")).st_ino, ino);
    EXPECT_EQ(Must(driver.Stat("a")).st_nlink, 2U);
  }
}

// Files that look alike are stored once, with one inode for all of them.
TEST_F(ChainTest, FilesOfOneInodeAreFilesOfTheirOwn) {
  MakeDir(Lower("d"));
  WriteFile(Lower("a"), "x");
  for (const char* name : {"b", "d/c", "d/e"}) {
    std::filesystem::create_hard_link(Lower("a"), Lower(name));
  }
  std::filesystem::create_hard_link(Lower("a"), Lower("top", 1));
  hints_.is_link_group = [](ino_t) { return false; };
  std::map<std::string, std::string> before;
  std::map<std::string, ino_t> numbers;
  {
    UnionDriver driver(Options());
    before = Show(driver);
    std::set<ino_t> different;
    for (const char* name : {"a", "b", "d/c", "d/e", "top"}) {
      const struct stat st = Must(driver.Stat(name));
      EXPECT_EQ(st.st_nlink, 1U) << name;
      different.insert(numbers[name] = st.st_ino);
    }
    EXPECT_EQ(different.size(), 5U);
    Must(driver.Append("a", "y"));
    Must(driver.Chmod("d/c", 0600));
    Must(driver.Unlink("d/e"));
    Must(driver.Rename("top", "d/moved"));
  }
  for (int mount = 0; mount < 2; ++mount) {
    UnionDriver driver(Options());
    EXPECT_EQ(Must(driver.Read("a")), "xy");
    EXPECT_EQ(Must(driver.Read("b")), "x");
    EXPECT_EQ(Must(driver.Read("d/c")), "x");
    EXPECT_EQ(Must(driver.Read("d/moved")), "x");
    EXPECT_EQ(Show(driver)["b"], before["b"]);
    EXPECT_EQ(Must(driver.Stat("d/c")).st_mode, S_IFREG | mode_t{0600});
    EXPECT_EQ(driver.List("d"), (std::vector<std::string>{"c", "moved"}));
    EXPECT_EQ(Must(driver.Stat("a")).st_ino, numbers["a"]);
    EXPECT_EQ(Must(driver.Stat("b")).st_ino, numbers["b"]);
    EXPECT_EQ(Must(driver.Stat("d/c")).st_ino, numbers["d/c"]);
    EXPECT_EQ(Must(driver.Stat("d/moved")).st_ino, numbers["top"]);
    for (const char* name : {"a", "b", "d/c", "d/moved"}) {
      EXPECT_EQ(Must(driver.Stat(name)).st_nlink, 1U) << name;
    }
  }
  EXPECT_EQ(support::ReadFile(Lower("a")), "x");
  EXPECT_TRUE(std::filesystem::is_empty(At("work/index")));
}

// Nobody says which names belong together. The file has names in two layers, and a layer does not
// know of the other's.
TEST_F(ChainTest, NamesInTwoLayersAreTwoFiles) {
  WriteFile(Lower("a"), "x");
  std::filesystem::create_hard_link(Lower("a"), Lower("b", 1));
  UnionDriver driver(Options());
  EXPECT_NE(Must(driver.Stat("a")).st_ino, Must(driver.Stat("b")).st_ino);
  EXPECT_EQ(Must(driver.Stat("a")).st_nlink, 1U);
  Must(driver.Append("b", "y"));
  EXPECT_EQ(Must(driver.Read("a")), "x");
}

TEST_F(ChainTest, LinkGroupsLeaveOthersOfTheirInodeAlone) {
  WriteFile(Lower("a"), "x");
  MakeDir(Lower("d"));
  std::filesystem::create_hard_link(Lower("a"), Lower("d/b"));
  std::filesystem::create_hard_link(Lower("a"), Lower("alone", 1));
  WriteFile(Lower("other"), "z");
  std::filesystem::create_hard_link(Lower("other"), Lower("like"));
  const ino_t group = support::Lstat(Lower("a")).st_ino;
  hints_.is_link_group = [group](ino_t inode) { return inode == group; };
  ino_t number = 0;
  {
    UnionDriver driver(Options());
    number = Must(driver.Stat("a")).st_ino;
    EXPECT_EQ(Must(driver.Stat("d/b")).st_ino, number);
    EXPECT_EQ(Must(driver.Stat("d/b")).st_nlink, 2U);
    EXPECT_EQ(Must(driver.Stat("alone")).st_nlink, 1U);
    Must(driver.Append("d/b", "y"));
    EXPECT_EQ(Must(driver.Read("a")), "xy");
    EXPECT_EQ(Must(driver.Read("alone")), "x");
  }
  UnionDriver driver(Options());
  EXPECT_EQ(Must(driver.Read("a")), "xy");
  EXPECT_EQ(Must(driver.Stat("a")).st_ino, number);
  EXPECT_EQ(Must(driver.Stat("d/b")).st_ino, number);
  EXPECT_EQ(Must(driver.Stat("a")).st_nlink, 2U);
  Must(driver.Append("alone", "z"));
  EXPECT_EQ(Must(driver.Read("a")), "xy");
  EXPECT_EQ(Must(driver.Read("alone")), "xz");
  EXPECT_EQ(Must(driver.Stat("like")).st_nlink, 1U);
  Must(driver.Unlink("d/b"));
  EXPECT_EQ(Must(driver.Stat("a")).st_nlink, 1U);
  EXPECT_EQ(Must(driver.Stat("alone")).st_nlink, 1U);
}

// Numbers are of the layer, not of the chain: a layer on top changes none.
TEST_F(ChainTest, NumbersStayWhenALayerIsPutOnTop) {
  WriteFile(Lower("a"), "x");
  std::filesystem::create_hard_link(Lower("a"), Lower("b"));
  hints_.is_link_group = [](ino_t) { return false; };
  ino_t number = 0;
  {
    UnionDriver driver(Options());
    number = Must(driver.Stat("b")).st_ino;
    Must(driver.Append("b", "y"));
  }
  Must(support::RemoveTree(At("chain")));
  WriteFile(Lower("0", 1), "x");
  UnionDriver driver(Options());
  EXPECT_EQ(Must(driver.Stat("b")).st_ino, number);
  EXPECT_NE(Must(driver.Stat("a")).st_ino, number);
}

// Whoever unpacked the layers decides, not who mounts them.
TEST_F(ChainTest, TheUpperHasMarksOfTheLayersKind) {
  MakeDir(Lower("d"));
  WriteFile(Lower("d/f"), "x");
  MakeDir(At("chain"));
  Must(support::WriteChainIndex(Layers(), At("chain"), 0, {}, true));
  UnionDriver driver(Options());
  Must(driver.Append("d/f", "y"));
  const char* const copy = "upper/d/f";
  EXPECT_GE(::lgetxattr(At(copy).c_str(), "user.overlay.origin", nullptr, 0), 0);
  EXPECT_EQ(::lgetxattr(At(copy).c_str(), "trusted.overlay.origin", nullptr, 0), -1);
}

TEST_F(ChainTest, MarksThatOnlyRootReadsAreNoUsers) {
  WriteFile(Lower("f"), "x");
  EngineOptions options = Options();
  options.user_xattr = true;
  const auto opened = Engine::Open(options, {FileOps::System()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), EINVAL);
}

TEST_F(ChainTest, AChangedLayerIsRefused) {
  MakeDir(Lower("d"));
  WriteFile(Lower("d/f"), "x");
  const EngineOptions options = Options();
  WriteFile(Lower("new"), "x");
  const auto opened = Engine::Open(options, {FileOps::System()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), ESTALE);
}

TEST_F(ChainTest, AFileReplacedDeepDownIsAnErrorNotOtherData) {
  MakeDir(Lower("d"));
  WriteFile(Lower("d/f"), "x");
  UnionDriver driver(Options());
  WriteFile(Lower("d/g"), "y");
  std::filesystem::rename(Lower("d/g"), Lower("d/f"));
  const auto read = driver.Read("d/f");
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code(), EIO);
}

TEST_F(ChainTest, ADamagedIndexIsAnError) {
  MakeDir(Lower("d"));
  for (int i = 0; i < 3000; ++i) WriteFile(Lower("d/f" + std::to_string(i)), "");
  const EngineOptions options = Options();
  std::string bytes = support::ReadFile(At("chain/index"));
  bytes[bytes.size() / 2] = static_cast<char>(~bytes[bytes.size() / 2]);
  WriteFile(At("chain/index"), bytes);
  {
    UnionDriver driver(options);  // the damage is further on
    const auto found = driver.Stat("d/f1500");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code(), EBADMSG);
  }
  bytes[8] = 1;  // the version
  WriteFile(At("chain/index"), bytes);
  auto opened = Engine::Open(options, {FileOps::System()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), EPROTONOSUPPORT);
  WriteFile(At("chain/index"), "no index");
  opened = Engine::Open(options, {FileOps::System()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), EBADMSG);
}

TEST_F(ChainTest, TheUpperMayNotBeInALayer) {
  MakeDir(Lower("upper"));
  MakeDir(Lower("work"));
  EngineOptions options = Options(false);
  options.upper = Lower("upper");
  options.work = Lower("work");
  const auto opened = Engine::Open(options, {FileOps::System()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), EINVAL);
}

}  // namespace
}  // namespace strata::fusefs
