// Files whose data stays in a lower layer: metadata-only and block-level copy-up, through an
// engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;
using support::MustCall;
using testing::ElementsAre;

constexpr std::size_t kSize = 64 * 1024;
constexpr char kMetacopy[] = "trusted.overlay.metacopy";

std::string Big() {
  std::string text(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

// Everything of a block or more borrows.
EngineOptions Borrowing(const LayerDirs& layers) {
  EngineOptions options = layers.Options();
  options.copy_up_threshold = 4096;
  options.metacopy_threshold = 4096;
  return options;
}

bool Marked(const LayerDirs& layers, const std::string& path) {
  return ::getxattr(layers.Path(0, path).c_str(), kMetacopy, nullptr, 0) >= 0;
}

std::size_t BlockMaps(const LayerDirs& layers) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(layers.Work() + "/blocks"), {}));
}

blkcnt_t BlocksOf(const LayerDirs& layers, const std::string& path) {
  struct stat st;
  MustCall(::stat(layers.Path(0, path).c_str(), &st), "stat");
  return st.st_blocks;
}

TEST(BorrowedDataTest, ChmodCopiesNoData) {
  LayerDirs layers(1);
  layers.File(1, "d/f", Big());
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Chmod("d/f", 0600));
    EXPECT_EQ(Must(fs.Stat("d/f")).st_mode & 07777, 0600U);
    EXPECT_EQ(Must(fs.Read("d/f")), Big());
    EXPECT_EQ(fs.engine().Count().copied_bytes, 0U);
    EXPECT_TRUE(Marked(layers, "d/f"));
    EXPECT_LE(BlocksOf(layers, "d/f"), 8);
  }
  UnionDriver fs(Borrowing(layers));
  EXPECT_EQ(Must(fs.Read("d/f")), Big()) << "after a remount";
  EXPECT_EQ(Must(fs.Stat("d/f")).st_size, static_cast<off_t>(kSize));
}

TEST(BorrowedDataTest, DataIsFoundWhereverTheFileGoes) {
  LayerDirs layers(2);
  layers.File(2, "a/b/f", Big());
  layers.Dir(1, "a/b");
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Rename("a/b", "moved"));
    Must(fs.Rename("moved/f", "g"));
    Must(fs.Link("g", "a/h"));
    Must(fs.Rename("a", "z"));
    EXPECT_EQ(Must(fs.Read("g")), Big());
  }
  UnionDriver fs(Borrowing(layers));
  EXPECT_EQ(Must(fs.Read("g")), Big());
  EXPECT_EQ(Must(fs.Read("z/h")), Big());
  Must(fs.Append("g", "+"));
  EXPECT_EQ(Must(fs.Read("z/h")), Big() + "+");
}

TEST(BorrowedDataTest, AWriteCopiesItsBlocks) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  std::string expected = Big() + "+";
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Append("f", "+"));
    EXPECT_EQ(Must(fs.Read("f")), expected);
    EXPECT_EQ(BlockMaps(layers), 1U);
    EXPECT_LE(BlocksOf(layers, "f"), 24);
  }
  UnionDriver fs(Borrowing(layers));
  EXPECT_EQ(Must(fs.Read("f")), expected) << "after a remount";
  Must(fs.Chmod("f", 0600));
  EXPECT_EQ(Must(fs.Read("f")), expected);
}

TEST(BorrowedDataTest, TruncationToNothingEndsIt) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  UnionDriver fs(Borrowing(layers));
  Must(fs.Append("f", "+"));
  Must(fs.Write("f", "new", O_WRONLY | O_TRUNC));
  EXPECT_EQ(layers.Read(0, "f"), "new");
  EXPECT_FALSE(Marked(layers, "f"));
  EXPECT_EQ(BlockMaps(layers), 0U);
  Must(fs.Chmod("f", 0600));
  EXPECT_EQ(Must(fs.Read("f")), "new");
}

TEST(BorrowedDataTest, MapsGoWithTheirFiles) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  layers.File(1, "g", Big());
  UnionDriver fs(Borrowing(layers));
  Must(fs.Append("f", "+"));
  Must(fs.Append("g", "+"));
  const EntryReply held = Must(fs.Walk("f"));
  const OpenReply open = Must(fs.engine().OpenFile(held.node, O_RDWR, {}));
  Must(fs.Unlink("f"));
  Must(fs.WriteOpen(held.node, open.handle, "X", 0));
  EXPECT_EQ(Must(fs.ReadOpen(held.node, open.handle, 0, 3)), "X" + Big().substr(1, 2));
  EXPECT_EQ(BlockMaps(layers), 2U);
  fs.engine().Release(held.node, open.handle);
  fs.engine().Forget(held.node, 1);
  EXPECT_EQ(BlockMaps(layers), 1U);
  Must(fs.Rename("g", "h"));
  Must(fs.Write("i", "small"));
  Must(fs.Rename("i", "h"));
  EXPECT_EQ(BlockMaps(layers), 0U);
}

TEST(BorrowedDataTest, MapsOfFilesThatAreGoneAreCollectedAtMount) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  layers.File(1, "kept", Big());
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Append("f", "+"));
    Must(fs.Append("kept", "+"));
  }
  MustCall(::unlink(layers.Path(0, "f").c_str()), "unlink");
  EXPECT_EQ(BlockMaps(layers), 2U);
  UnionDriver fs(Borrowing(layers));
  EXPECT_EQ(BlockMaps(layers), 1U);
  EXPECT_EQ(Must(fs.Read("kept")), Big() + "+");
}

// A crash before the file was marked, and one after it was whole.
TEST(BorrowedDataTest, MapsThatNoFileNeedsAreCollectedAtMount) {
  LayerDirs layers(1);
  for (const char* name : {"begun", "whole", "kept", "damaged"}) layers.File(1, name, Big());
  {
    UnionDriver fs(Borrowing(layers));
    for (const char* name : {"begun", "whole", "kept", "damaged"}) Must(fs.Append(name, "+"));
  }
  MustCall(::setxattr(layers.Path(0, "begun").c_str(), kMetacopy, "", 0, 0), "setxattr");
  MustCall(::removexattr(layers.Path(0, "whole").c_str(), kMetacopy), "removexattr");
  MustCall(::setxattr(layers.Path(0, "damaged").c_str(), kMetacopy, "?", 1, 0), "setxattr");
  EXPECT_EQ(BlockMaps(layers), 4U);
  UnionDriver fs(Borrowing(layers));
  EXPECT_EQ(BlockMaps(layers), 2U);
  EXPECT_EQ(Must(fs.Read("kept")), Big() + "+");
  Must(fs.Append("begun", "!"));
  EXPECT_EQ(BlockMaps(layers), 3U);
}

TEST(BorrowedDataTest, FinalizeLeavesAPlainUpper) {
  LayerDirs layers(1);
  layers.File(1, "d/meta", Big());
  layers.File(1, "d/part", Big());
  layers.File(1, "d/untouched", Big());
  const struct timespec then = {1000000000, 123456789};
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Chmod("d/meta", 0600));
    Must(fs.Append("d/part", "+"));
    const EntryReply part = Must(fs.Walk("d/part"));
    AttrChange change;
    change.mtime = then;
    bool stable = false;
    Must(fs.engine().SetAttr(part.node, change, {}, &stable));
    fs.engine().Forget(part.node, 1);
    Must(fs.engine().Finalize());
    EXPECT_EQ(Must(fs.Read("d/part")), Big() + "+");
  }
  EXPECT_EQ(layers.Read(0, "d/meta"), Big());
  EXPECT_EQ(layers.Read(0, "d/part"), Big() + "+");
  struct stat st;
  MustCall(::stat(layers.Path(0, "d/part").c_str(), &st), "stat");
  EXPECT_EQ(st.st_mtim.tv_sec, then.tv_sec);
  EXPECT_EQ(st.st_mtim.tv_nsec, then.tv_nsec);
  EXPECT_FALSE(Marked(layers, "d/meta"));
  EXPECT_FALSE(Marked(layers, "d/part"));
  EXPECT_EQ(BlockMaps(layers), 0U);
  EXPECT_THAT(layers.UpperTree(), ElementsAre("d", "d/meta", "d/part"));
}

TEST(BorrowedDataTest, CompletionCopiesTheRest) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  EngineOptions options = Borrowing(layers);
  options.completion_rate = 320 * 1024;
  UnionDriver fs(options);
  Must(fs.Append("f", "+"));
  for (int i = 0; i < 500 && Marked(layers, "f"); ++i) {
    EXPECT_EQ(Must(fs.Read("f")), Big() + "+");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_FALSE(Marked(layers, "f"));
  EXPECT_EQ(layers.Read(0, "f"), Big() + "+");
  Must(fs.Append("f", "!"));
  EXPECT_EQ(layers.Read(0, "f"), Big() + "+!");
}

TEST(BorrowedDataTest, EveryPolicyMeansWhatItSays) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  layers.File(1, "g", Big());
  {
    EngineOptions options = Borrowing(layers);
    options.copy_up = CopyUpPolicy::kRead;
    UnionDriver fs(options);
    EXPECT_EQ(Must(fs.Read("f")), Big());
    EXPECT_EQ(layers.Read(0, "f"), Big());
    EXPECT_FALSE(Marked(layers, "f"));
  }
  EngineOptions options = Borrowing(layers);
  options.partial_copy_up = false;
  options.metacopy = false;
  UnionDriver fs(options);
  Must(fs.Append("g", "+"));
  EXPECT_EQ(layers.Read(0, "g"), Big() + "+");
  EXPECT_FALSE(Marked(layers, "g"));
}

TEST(BorrowedDataTest, SomethingElseInPlaceOfAMapIsADamagedMap) {
  const std::map<std::string, std::function<void(const std::filesystem::path& map)>> others = {
      {"a symbolic link",
       [](const auto& map) { std::filesystem::create_symlink("elsewhere", map); }},
      {"a directory", [](const auto& map) { std::filesystem::create_directory(map); }},
      {"a file", [](const auto& map) { std::ofstream file(map); }},
      {"a FIFO", [](const auto& map) { ASSERT_EQ(::mkfifo(map.c_str(), 0600), 0); }},
      {"nothing", [](const auto& /*map*/) {}},
  };
  for (const auto& [what, put] : others) {
    LayerDirs layers(1);
    layers.File(1, "f", Big());
    {
      UnionDriver fs(Borrowing(layers));
      Must(fs.Append("f", "+"));
    }
    const auto map = std::filesystem::directory_iterator(layers.Work() + "/blocks")->path();
    std::filesystem::remove(map);
    put(map);
    UnionDriver fs(Borrowing(layers));
    const auto read = fs.Read("f");
    ASSERT_FALSE(read) << what;
    EXPECT_EQ(read.error().code(), EIO) << what;
  }
}

TEST(BorrowedDataTest, AChangedLowerFileIsAnErrorAndNotWrongData) {
  LayerDirs layers(1);
  layers.File(1, "f", Big());
  {
    UnionDriver fs(Borrowing(layers));
    Must(fs.Append("f", "+"));
  }
  layers.File(1, "f", Big() + "more");
  UnionDriver fs(Borrowing(layers));
  const auto read = fs.Read("f");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), EIO);
}

}  // namespace
}  // namespace strata::fusefs
