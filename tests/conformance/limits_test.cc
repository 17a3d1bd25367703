// Sizes that real trees have: many entries, long names, long paths, big files, many layers.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/path.h"
#include "tests/conformance/union_fixture.h"
#include "tests/support/test_disk.h"

namespace strata::conformance {
namespace {

class Limits : public UnionTest {};

TEST_F(Limits, TenThousandEntries) {
  constexpr int kEntries = 10'000;
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(1, "d"));
  std::set<std::string> expected;
  for (int i = 0; i < kEntries; ++i) {
    const std::string name = "entry" + std::to_string(i);
    WriteFile(Lower(static_cast<std::size_t>(i % 2), "d/" + name), "");
    expected.insert(name);
  }
  Mount();
  const auto list = [this] {
    const std::vector<std::string> names = List(At("d"));
    return std::set<std::string>(names.begin(), names.end());
  };
  EXPECT_EQ(list(), expected);
  for (int i = 0; i < kEntries; i += 10) {
    const std::string name = "entry" + std::to_string(i);
    ASSERT_EQ(ErrnoOf(::unlink(At("d/" + name).c_str())), 0) << name;
    expected.erase(name);
  }
  WriteFile(At("d/new"), "");
  expected.insert("new");
  EXPECT_EQ(list(), expected);
  EXPECT_EQ(List(At("d")).size(), expected.size()) << "a name is listed twice";
}

TEST_F(Limits, AMillionNamesInOneDirectory) {
  constexpr int kNames = 1'000'000;
  constexpr int kNamesOfAFile = 1000;
  if (std::getenv("STRATA_CHAIN") != nullptr) GTEST_SKIP() << "the same without an index";
  const auto disk =
      Must(support::TestDisk::Create(root_, "disk", support::Filesystem::kExt4NoJournal));
  support::UnionSpec spec = Spec();  // without the fixture's digest of the lower layers
  spec.lower = {disk.path() + "/low"};
  spec.upper = disk.path() + "/up";
  spec.work = disk.path() + "/work";
  for (const std::string& dir : {spec.lower[0], spec.upper, spec.work}) MakeDir(dir);
  MakeDir(spec.lower[0] + "/files");
  MakeDir(spec.lower[0] + "/d");
  const UniqueFd dir = OpenFile(spec.lower[0] + "/d", O_RDONLY | O_DIRECTORY);
  std::string file;
  for (int i = 0; i < kNames; ++i) {
    if (i % kNamesOfAFile == 0) {
      file = spec.lower[0] + "/files/" + std::to_string(i);
      WriteFile(file, "x");
    }
    const std::string name = "n" + std::to_string(i);
    MustCall(::linkat(AT_FDCWD, file.c_str(), dir.get(), name.c_str(), 0), "linkat");
  }
  mount_ = Must(support::UnionMount::Start(support::DefaultMounter(), spec));
  MustCall(::unlink(At("d/n777777").c_str()), "unlink");
  MustCall(::rename(At("d/n5").c_str(), At("d/renamed").c_str()), "rename");
  AppendFile(At("d/n999999"), "+");
  std::vector<bool> seen(kNames);
  std::vector<std::string> others;
  for (const std::string& name : List(At("d"))) {
    if (name == "renamed") {
      others.push_back(name);
      continue;
    }
    const auto number = static_cast<std::size_t>(std::stoi(name.substr(1)));
    EXPECT_FALSE(seen.at(number)) << name << " is listed twice";
    seen.at(number) = true;
  }
  EXPECT_EQ(others, std::vector<std::string>{"renamed"});
  EXPECT_EQ(std::ranges::count(seen, true), kNames - 2);
  EXPECT_FALSE(seen[777'777]);
  EXPECT_FALSE(seen[5]);
  EXPECT_EQ(ReadFile(At("d/n999999")), "x+");
  EXPECT_EQ(ReadFile(At("d/n123456")), "x");
  Must(mount_.Stop());
}

TEST_F(Limits, DirectoryPositionsCanBeSoughtAgain) {
  constexpr int kEntries = 500;
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(1, "d"));
  for (int i = 0; i < kEntries; ++i) {
    WriteFile(Lower(static_cast<std::size_t>(i % 2), "d/n" + std::to_string(i)), "");
  }
  Mount();
  DIR* const dir = ::opendir(At("d").c_str());
  ASSERT_NE(dir, nullptr);
  std::vector<std::pair<long, std::string>> entries;
  for (long position = ::telldir(dir); const dirent* entry = ::readdir(dir);
       position = ::telldir(dir)) {
    entries.emplace_back(position, entry->d_name);
  }
  EXPECT_EQ(entries.size(), kEntries + 2U);
  for (const std::size_t i : {400U, 3U, 0U, 250U, 501U}) {
    ::seekdir(dir, entries[i].first);
    const dirent* const entry = ::readdir(dir);
    ASSERT_NE(entry, nullptr) << i;
    EXPECT_EQ(entry->d_name, entries[i].second);
  }
  WriteFile(At("d/added"), "");
  ::rewinddir(dir);
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(dir)) names.insert(entry->d_name);
  ::closedir(dir);
  EXPECT_TRUE(names.contains("added"));
  EXPECT_EQ(names.size(), kEntries + 3U);
}

TEST_F(Limits, LongestName) {
  const std::string name(kNameMax, 'n');
  WriteFile(Lower(0, name), "x");
  Mount();
  EXPECT_EQ(ReadFile(At(name)), "x");
  AppendFile(At(name), "y");
  EXPECT_EQ(ReadFile(At(name)), "xy");
  const std::string other(kNameMax, 'o');
  MustCall(::rename(At(name).c_str(), At(other).c_str()), "rename");
  EXPECT_EQ(List(At()), std::vector<std::string>{other});
  EXPECT_EQ(ErrnoOf(::open(At(other + "o").c_str(), O_RDONLY)), ENAMETOOLONG);
  EXPECT_EQ(ErrnoOf(::mkdir(At(other + "o").c_str(), 0755)), ENAMETOOLONG);
}

// Deeper than PATH_MAX, as `mkdir x; cd x` in a loop makes it; reached by descriptors.
TEST_F(Limits, LongestPath) {
  const std::string name(200, 'p');
  constexpr int kDepth = 25;  // 5000 bytes
  UniqueFd dir = OpenFile(Lower(0), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < kDepth; ++i) {
    MustCall(::mkdirat(dir.get(), name.c_str(), 0755), "mkdirat");
    dir = UniqueFd(MustCall(::openat(dir.get(), name.c_str(), O_RDONLY | O_DIRECTORY), "openat"));
  }
  {
    const UniqueFd file(MustCall(::openat(dir.get(), "f", O_WRONLY | O_CREAT, 0644), "openat"));
    ASSERT_EQ(::write(file.get(), "deep", 4), 4);
  }
  dir.reset();
  Mount();
  dir = OpenFile(At(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < kDepth; ++i) {
    dir = UniqueFd(MustCall(::openat(dir.get(), name.c_str(), O_RDONLY | O_DIRECTORY), "openat"));
  }
  if (IsKernel()) GTEST_SKIP() << "fine there, too, but slow";
  const UniqueFd file(::openat(dir.get(), "f", O_RDWR | O_APPEND));
  ASSERT_TRUE(file) << "errno " << errno;
  ASSERT_EQ(ErrnoOf(::write(file.get(), "er", 2)), 0);
  char content[10] = {};
  ASSERT_EQ(::pread(file.get(), content, sizeof(content), 0), 6);
  EXPECT_STREQ(content, "deeper");
  EXPECT_EQ(ErrnoOf(::mkdirat(dir.get(), "new", 0755)), 0);
  EXPECT_EQ(ErrnoOf(::unlinkat(dir.get(), "f", 0)), 0);
}

TEST_F(Limits, NamesThatAreNotUtf8) {
  const std::string name = "\xff\xfe\x80 \n\t\\:,\"'";
  WriteFile(Lower(0, name), "x");
  MakeDir(Lower(0, "d" + name));
  MustCall(::symlink(name.c_str(), Lower(0, "link").c_str()), "symlink");
  Mount();
  EXPECT_EQ(List(At()), (std::vector<std::string>{"d" + name, "link", name}));
  AppendFile(At("link"), "y");
  EXPECT_EQ(ReadFile(At(name)), "xy");
  MustCall(::rename(At("d" + name).c_str(), At("e" + name).c_str()), "rename");
  WriteFile(At("e" + name + "/f"), "z");
  Unmount();
  Mount();
  EXPECT_EQ(ReadFile(At("e" + name + "/f")), "z");
  EXPECT_EQ(List(At()), (std::vector<std::string>{"e" + name, "link", name}));
}

TEST_F(Limits, FilesOverFourGigabytes) {
  constexpr off_t kSize = (off_t{5} << 30) + 17;
  WriteFile(Lower(0, "f"), "");
  {
    const UniqueFd fd = OpenFile(Lower(0, "f"), O_WRONLY);
    MustCall(::ftruncate(fd.get(), kSize), "ftruncate");
    ASSERT_EQ(::pwrite(fd.get(), "tail", 4, kSize - 4), 4);
  }
  // The fixture's digest would read all of the hole, several times.
  layers_.clear();
  const std::string layer = root_.At("lower0");
  support::UnionSpec spec = Spec();
  spec.lower = {layer};
  mount_ = Must(support::UnionMount::Start(support::DefaultMounter(), spec));
  EXPECT_EQ(Lstat(At("f")).st_size, kSize);
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  char tail[4] = {};
  ASSERT_EQ(::pread(fd.get(), tail, 4, kSize - 4), 4);
  EXPECT_EQ(std::string(tail, 4), "tail");
  ASSERT_EQ(::pwrite(fd.get(), "mid", 3, off_t{9} << 29), 3);
  ASSERT_EQ(::pread(fd.get(), tail, 4, kSize - 4), 4);
  EXPECT_EQ(std::string(tail, 4), "tail");
  ASSERT_EQ(::pread(fd.get(), tail, 3, off_t{9} << 29), 3);
  EXPECT_EQ(std::string(tail, 3), "mid");
  EXPECT_EQ(Lstat(At("f")).st_size, kSize);
  EXPECT_LT(Lstat(Upper("f")).st_blocks, 1000);
  MustCall(::ftruncate(fd.get(), kSize + (off_t{1} << 32)), "ftruncate");
  EXPECT_EQ(Lstat(At("f")).st_size, kSize + (off_t{1} << 32));
}

class ManyLayers : public UnionTest, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(ManyLayers, MergeInOrder) {
  const std::size_t layers = GetParam();
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "slow";
  for (std::size_t i = 0; i < layers; ++i) {
    MakeDir(Lower(i, "d"));
    WriteFile(Lower(i, "d/all"), std::to_string(i));
    WriteFile(Lower(i, "d/only" + std::to_string(i)), std::to_string(i));
    if (i % 10 == 9) MakeWhiteout(Lower(i, "d/only" + std::to_string(i - 1)));
  }
  Mount();
  EXPECT_EQ(ReadFile(At("d/all")), std::to_string(layers - 1));
  EXPECT_EQ(List(At("d")).size(), layers + 1 - layers / 10);
  EXPECT_EQ(ReadFile(At("d/only0")), "0");
  EXPECT_FALSE(Exists(At("d/only8")));
  AppendFile(At("d/only0"), "+");
  EXPECT_EQ(ReadFile(At("d/only0")), "0+");
  MustCall(::rename(At("d").c_str(), At("e").c_str()), "rename");
  EXPECT_EQ(List(At("e")).size(), layers + 1 - layers / 10);
  EXPECT_EQ(ReadFile(At("e/only" + std::to_string(layers - 1))), std::to_string(layers - 1));
}

INSTANTIATE_TEST_SUITE_P(Counts, ManyLayers, ::testing::Values(128, 500));

}  // namespace
}  // namespace strata::conformance
