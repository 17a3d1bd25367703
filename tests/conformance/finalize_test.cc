// `stratafs --finalize`: afterwards kernel overlayfs, with a work directory that knows nothing,
// shows the tree that stratafs showed. And before that it must refuse what it cannot show.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "tests/conformance/union_fixture.h"
#include "tests/support/tree_snapshot.h"

namespace strata::conformance {
namespace {

using support::FinalizeUpper;
using support::GetXattr;
using support::SetXattr;
using support::TreeSnapshot;

constexpr char kMetacopy[] = "trusted.overlay.metacopy";
constexpr char kLinkCount[] = "trusted.overlay.nlink";

class Finalize : public UnionTest {
 protected:
  void SetUp() override {
    UnionTest::SetUp();
    if (!IsStratafs()) GTEST_SKIP() << "stratafs's own";
  }

  // `path` and two other names of the same file.
  void Group(const std::string& path, const std::string& second, const std::string& third) {
    WriteFile(Lower(0, path), "old");
    for (const std::string& name : {second, third}) {
      MustCall(::link(Lower(0, path).c_str(), Lower(0, name).c_str()), "link");
    }
  }
  std::vector<std::string> IndexEntries() const { return List(Work() + "/index"); }

  // Kernel overlayfs on the same layers, with a work directory of its own unless `with_work`.
  support::UnionMount MountKernel(std::vector<std::string> options = {}, bool with_work = false) {
    support::UnionSpec spec = Spec({.options = std::move(options)});
    if (!with_work) spec.work = Must(root_.MakeDir("other" + std::to_string(works_++)));
    return Must(support::UnionMount::Start(support::Mounter::kOverlay, spec));
  }
  // That shows what the union showed.
  void ExpectForTheKernel(const TreeSnapshot& before) {
    auto kernel = MountKernel();
    EXPECT_EQ(Diff(before, Must(TreeSnapshot::Take(At())), {}), "")
        << "left: stratafs, right: kernel overlayfs";
    Must(kernel.Stop());
  }

 private:
  int works_ = 0;
};

TEST_F(Finalize, GivesEveryNameOfALinkGroupItsPlace) {
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(0, "d/e"));
  Group("a", "b", "d/e/c");
  Group("gone", "kept", "d/other");
  MustCall(::symlink("target", Lower(0, "s").c_str()), "symlink");
  MustCall(::link(Lower(0, "s").c_str(), Lower(0, "t").c_str()), "link");
  const struct timespec then[2] = {{1000000000, 1}, {1000000000, 2}};
  MustCall(::utimensat(AT_FDCWD, Lower(0, "d/e").c_str(), then, 0), "utimensat");
  Mount();
  AppendFile(At("a"), "+new");
  AppendFile(At("kept"), "+kept");
  MustCall(::unlink(At("gone").c_str()), "unlink");
  MustCall(::lchown(At("t").c_str(), 7, 7), "lchown");
  EXPECT_EQ(Lstat(At("d/e/c")).st_nlink, 3U);
  const TreeSnapshot before = Must(TreeSnapshot::Take(At()));
  Unmount();
  EXPECT_EQ(IndexEntries().size(), 3U);
  Must(FinalizeUpper(Spec()));

  EXPECT_TRUE(IndexEntries().empty());
  EXPECT_EQ(ReadFile(Upper("d/e/c")), "old+new");
  EXPECT_EQ(Lstat(Upper("d/e/c")).st_ino, Lstat(Upper("a")).st_ino);
  EXPECT_EQ(Lstat(Upper("a")).st_nlink, 3U);
  EXPECT_EQ(Lstat(Upper("s")).st_uid, 7U);
  EXPECT_FALSE(GetXattr(Upper("a"), kLinkCount));
  ExpectForTheKernel(before);

  Mount();
  EXPECT_EQ(Diff(before, Must(TreeSnapshot::Take(At())), {}), "");
  AppendFile(At("b"), "!");
  EXPECT_EQ(ReadFile(At("d/e/c")), "old+new!");
  MustCall(::unlink(At("a").c_str()), "unlink");
  EXPECT_EQ(Lstat(At("b")).st_nlink, 2U);
}

TEST_F(Finalize, CompletesAFileUnderAllOfItsNames) {
  const std::string content(std::size_t{2} << 20U, 'x');
  WriteFile(Lower(0, "f"), content);
  MustCall(::link(Lower(0, "f").c_str(), Lower(0, "g").c_str()), "link");
  Mount({.options = {"copyup_threshold=1M"}});
  AppendFile(At("f"), "+");
  const TreeSnapshot before = Must(TreeSnapshot::Take(At()));
  Unmount();
  Must(FinalizeUpper(Spec()));
  EXPECT_EQ(ReadFile(Upper("g")), content + "+");
  EXPECT_TRUE(List(Work() + "/blocks").empty());
  ExpectForTheKernel(before);
}

TEST_F(Finalize, MayBeDoneAgainAfterACrash) {
  Group("a", "b", "c");
  Mount();
  AppendFile(At("a"), "+new");
  const TreeSnapshot before = Must(TreeSnapshot::Take(At()));
  Unmount();
  // After the second name has got its place, and the mark of the count is gone already.
  const std::string entry = Work() + "/index/" + IndexEntries().at(0);
  const struct stat root = Lstat(Upper());
  MustCall(::link(entry.c_str(), Upper("b").c_str()), "link");
  const struct timespec times[2] = {root.st_atim, root.st_mtim};
  MustCall(::utimensat(AT_FDCWD, Upper().c_str(), times, 0), "utimensat");
  MustCall(::removexattr(Upper("a").c_str(), kLinkCount), "removexattr");
  Must(FinalizeUpper(Spec()));
  EXPECT_TRUE(IndexEntries().empty());
  ExpectForTheKernel(before);
}

// With the layers of something else below, nothing leads to the file.
TEST_F(Finalize, KeepsTheOnlyCopyOfAFile) {
  Group("a", "b", "c");
  Mount();
  AppendFile(At("a"), "+new");
  MustCall(::unlink(At("a").c_str()), "unlink");
  Unmount();
  support::UnionSpec other = Spec();
  other.chain.clear();
  other.lower = {Must(root_.MakeDir("unrelated"))};
  Must(FinalizeUpper(other));
  EXPECT_EQ(IndexEntries().size(), 1U);
  Mount();
  EXPECT_EQ(ReadFile(At("b")), "old+new");
}

// A copy of the layers has other inodes: nothing says that its names are those of the changed file.
TEST_F(Finalize, KeepsWhatNamesOfTheRealLayersLeadTo) {
  Group("a", "b", "c");
  Mount();
  AppendFile(At("a"), "+new");
  Unmount();
  support::UnionSpec copy = Spec();
  copy.chain.clear();
  copy.lower = {root_.At("copy")};
  std::filesystem::copy(Lower(0), copy.lower[0], std::filesystem::copy_options::recursive);
  Must(FinalizeUpper(copy));
  EXPECT_EQ(IndexEntries().size(), 1U);
  Mount();
  EXPECT_EQ(ReadFile(At("b")), "old+new");
  EXPECT_EQ(Lstat(At("b")).st_nlink, 3U);
}

TEST_F(Finalize, ErrorsNameTheFile) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), std::string(std::size_t{2} << 20U, 'x'));
  Mount({.options = {"copyup_threshold=1M"}});
  AppendFile(At("d/f"), "+");
  Unmount();
  const std::vector<std::string> maps = List(Work() + "/blocks");
  ASSERT_EQ(maps.size(), 1U);
  MustCall(::unlink((Work() + "/blocks/" + maps[0]).c_str()), "unlink");
  const auto finalized = FinalizeUpper(Spec());
  ASSERT_FALSE(finalized);
  EXPECT_NE(finalized.error().ToString().find("d/f: block map " + maps[0] + " is missing"),
            std::string::npos)
      << finalized.error().ToString();
}

TEST_F(Finalize, UntilThenTheKernelRefusesWhatItCannotShow) {
  WriteFile(Lower(0, "f"), std::string(std::size_t{2} << 20U, 'x'));
  Mount({.options = {"copyup_threshold=1M"}});
  AppendFile(At("f"), "+");
  Unmount();
  ASSERT_EQ(Must(GetXattr(Upper("f"), kMetacopy)), "S");
  for (const char* metacopy : {"metacopy=on", "metacopy=off"}) {
    auto kernel = MountKernel({metacopy}, true);
    EXPECT_EQ(::open(At("f").c_str(), O_RDONLY | O_CLOEXEC), -1) << metacopy;
    Must(kernel.Stop());
  }
  Mount();
  EXPECT_EQ(Lstat(At("f")).st_size, (off_t{2} << 20U) + 1);
}

// Kernel overlayfs counts a group's links from the lower inode while it adds an upper name.
TEST_F(Finalize, TheKernelsOtherLinkCountIsUnderstood) {
  Group("a", "b", "c");
  {
    auto kernel = MountKernel({"index=on"}, true);
    AppendFile(At("a"), "+new");
    Must(kernel.Stop());
  }
  Must(SetXattr(Upper("a"), kLinkCount, "L+0"));
  Mount();
  EXPECT_EQ(Lstat(At("a")).st_nlink, 3U);
  EXPECT_EQ(ReadFile(At("b")), "old+new");
  for (const char* name : {"a", "b"}) MustCall(::unlink(At(name).c_str()), "unlink");
  EXPECT_EQ(ReadFile(At("c")), "old+new");
  EXPECT_EQ(Lstat(At("c")).st_nlink, 1U);
}

}  // namespace
}  // namespace strata::conformance
