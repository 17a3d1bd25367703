// Files of an image that are stored once, as names of one inode, are files of their own in the
// union: whatever becomes of one, the others stay as they are.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

#include "tests/conformance/union_fixture.h"
#include "tests/support/chain_index.h"
#include "tests/support/process.h"

namespace strata::conformance {
namespace {

constexpr std::size_t kSmall = 1000;          // served through the page cache
constexpr std::size_t kLarge = 300'000;       // passed through
constexpr std::size_t kInBlocks = 3'000'000;  // copied up block by block

struct Case {
  std::string passthrough;
  std::size_t size;
};

class SharedInodes : public UnionTest, public ::testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    if (!IsStratafs()) GTEST_SKIP() << "the index says what is one file";
    UnionTest::SetUp();
  }

  // `group`: a path in the lowest layer whose names there are those of one file.
  void MountChain(const std::string& group = "") {
    const std::vector<std::string> layers(layers_.rbegin(), layers_.rend());
    const std::string chain = root_.At("index");
    if (!Exists(chain)) {
      MakeDir(chain);
      const ino_t one_file = group.empty() ? 0 : Lstat(Lower(0, group)).st_ino;
      const layerstore::ScanHints hints{
          .is_link_group = [&](ino_t inode) { return inode == one_file; }};
      Must(support::WriteChainIndex(layers, chain, 0, hints));
    }
    support::UnionSpec spec;
    spec.lower = layers;
    spec.chain = chain;
    spec.passthrough = GetParam().passthrough;
    Mount(spec);
  }
  // The first byte is another one.
  static std::string Changed(std::string content) {
    content.front() = 'Z';
    return content;
  }
  static void WriteFirstByte(const std::string& path) {
    const UniqueFd fd = OpenFile(path, O_WRONLY);
    ASSERT_EQ(::pwrite(fd.get(), "Z", 1, 0), 1);
  }

  std::string content_ = std::string(GetParam().size, 'x');
};

TEST_P(SharedInodes, AreFilesOfTheirOwn) {
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(1, "d"));
  WriteFile(Lower(0, "a"), content_);
  const std::vector<std::string> names = {"a", "b", "d/c", "d/e", "top", "d/top"};
  for (const char* name : {"b", "d/c", "d/e"}) {
    std::filesystem::create_hard_link(Lower(0, "a"), Lower(0, name));
  }
  for (const char* name : {"top", "d/top"}) {
    std::filesystem::create_hard_link(Lower(0, "a"), Lower(1, name));
  }
  MountChain();

  std::map<std::string, ino_t> numbers;
  std::set<ino_t> different;
  for (const std::string& name : names) {
    const struct stat st = Lstat(At(name));
    EXPECT_EQ(st.st_nlink, 1U) << name;
    different.insert(numbers[name] = st.st_ino);
  }
  EXPECT_EQ(different.size(), names.size());

  UniqueFd reader = OpenFile(At("b"), O_RDONLY);
  void* const map = ::mmap(nullptr, content_.size(), PROT_READ, MAP_SHARED, reader.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  {
    const UniqueFd other = OpenFile(At("d/c"), O_RDONLY);
    EXPECT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0) << "one file's lock holds another";
  }
  WriteFirstByte(At("a"));
  AppendFile(At("top"), "more");
  MustCall(::chmod(At("d/c").c_str(), 0600), "chmod");
  MustCall(::truncate(At("d/e").c_str(), 5), "truncate");
  EXPECT_EQ(*static_cast<const char*>(map), 'x');
  ::munmap(map, content_.size());
  reader.reset();

  for (const bool again : {false, true}) {
    if (again) {
      Unmount();
      MountChain();
    }
    EXPECT_TRUE(ReadFile(At("a")) == Changed(content_));
    EXPECT_TRUE(ReadFile(At("b")) == content_);
    EXPECT_TRUE(ReadFile(At("d/c")) == content_);
    EXPECT_TRUE(ReadFile(At("d/e")) == content_.substr(0, 5));
    EXPECT_TRUE(ReadFile(At("top")) == content_ + "more");
    EXPECT_TRUE(ReadFile(At("d/top")) == content_);
    EXPECT_EQ(Lstat(At("d/c")).st_mode & 0777, 0600U);
    EXPECT_EQ(Lstat(At("b")).st_mode & 0777, 0644U);
    for (const std::string& name : names) {
      EXPECT_EQ(Lstat(At(name)).st_ino, numbers[name]) << name;
      EXPECT_EQ(Lstat(At(name)).st_nlink, 1U) << name;
    }
  }
}

// cp(1) and mv(1) go by device and inode number.
TEST_P(SharedInodes, AreCopiedOverEachOther) {
  WriteFile(Lower(0, "a"), content_);
  std::filesystem::create_hard_link(Lower(0, "a"), Lower(0, "b"));
  std::filesystem::create_hard_link(Lower(0, "a"), Lower(0, "c"));
  MountChain();
  Must(support::RunTool({"cp", At("a"), At("b")}));
  EXPECT_TRUE(ReadFile(At("b")) == content_);
  WriteFirstByte(At("a"));
  Must(support::RunTool({"cp", At("a"), At("b")}));
  EXPECT_TRUE(ReadFile(At("b")) == Changed(content_));
  EXPECT_TRUE(ReadFile(At("c")) == content_);
  // rename(2) of a file onto another name of it would do nothing.
  MustCall(::rename(At("c").c_str(), At("b").c_str()), "rename");
  EXPECT_TRUE(ReadFile(At("b")) == content_);
  EXPECT_EQ(List(At()), (std::vector<std::string>{"a", "b"}));
}

TEST_P(SharedInodes, LinkGroupsAreStillOneFile) {
  WriteFile(Lower(0, "a"), content_);
  std::filesystem::create_hard_link(Lower(0, "a"), Lower(0, "b"));
  std::filesystem::create_hard_link(Lower(0, "a"), Lower(1, "stranger"));
  MountChain("a");
  const ino_t number = Lstat(At("a")).st_ino;
  EXPECT_EQ(Lstat(At("b")).st_ino, number);
  EXPECT_EQ(Lstat(At("b")).st_nlink, 2U);
  EXPECT_EQ(Lstat(At("stranger")).st_nlink, 1U);
  EXPECT_NE(Lstat(At("stranger")).st_ino, number);
  WriteFirstByte(At("b"));
  for (const bool again : {false, true}) {
    if (again) {
      Unmount();
      MountChain();
    }
    EXPECT_TRUE(ReadFile(At("a")) == Changed(content_));
    EXPECT_TRUE(ReadFile(At("b")) == Changed(content_));
    EXPECT_TRUE(ReadFile(At("stranger")) == content_);
    EXPECT_EQ(Lstat(At("a")).st_ino, number);
    EXPECT_EQ(Lstat(At("b")).st_ino, number);
    EXPECT_EQ(Lstat(At("a")).st_nlink, 2U);
  }
  MustCall(::unlink(At("a").c_str()), "unlink");
  EXPECT_EQ(Lstat(At("b")).st_nlink, 1U);
  EXPECT_EQ(Lstat(At("stranger")).st_nlink, 1U);
}

INSTANTIATE_TEST_SUITE_P(Ways, SharedInodes,
                         ::testing::Values(Case{"all", kSmall}, Case{"all", kLarge},
                                           Case{"large", kSmall}, Case{"large", kLarge},
                                           Case{"large", kInBlocks}, Case{"off", kLarge},
                                           Case{"off", kInBlocks}),
                         [](const auto& way) {
                           return way.param.passthrough + "_" + std::to_string(way.param.size);
                         });

}  // namespace
}  // namespace strata::conformance
