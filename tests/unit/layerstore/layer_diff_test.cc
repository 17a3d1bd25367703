// The exact entries of a diff. That its layer shows what the union showed is union_model_diff's.
#include "layerstore/diff/layer_diff.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layerstore/archive/tar_reader.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/xattrs.h"

namespace strata::layerstore {
namespace {

using support::MakeDir;
using support::MakeWhiteout;
using support::Must;
using support::MustCall;
using support::SetXattr;
using support::WriteFile;
using testing::ElementsAre;
using testing::HasSubstr;

class LayerDiffTest : public testing::Test {
 protected:
  LayerDiffTest() : upper_(Must(root_.MakeDir("upper"))) {}

  std::string At(const std::string& path) const { return upper_ + "/" + path; }

  Result<std::string> Diff(FileOps& ops = FileOps::System()) {
    const UniqueFd directory = support::OpenFile(upper_, O_RDONLY | O_DIRECTORY);
    UpperLayer upper;
    upper.directory = directory.get();
    upper.open_union = [&]() -> Result<UniqueFd> {
      ++unions_opened_;
      return FileOps::System().Open(AT_FDCWD, union_.c_str(), O_RDONLY | O_DIRECTORY);
    };
    std::string tar;
    auto summary = WriteLayerDiff(ops, upper, [&](std::string_view bytes) -> Result<> {
      tar += bytes;
      return {};
    });
    if (!summary) return std::unexpected(std::move(summary).error());
    summary_ = *summary;
    return tar;
  }

  // Its entries, with the content of files and the targets of links.
  std::vector<std::string> Entries() {
    const std::string tar = Must(Diff());
    bool given = false;
    TarReader reader([&]() -> Result<std::string_view> {
      return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
    });
    std::vector<std::string> entries;
    while (Must(reader.Next())) {
      const TarEntry& entry = reader.entry();
      std::string text = entry.path;
      if (!entry.link.empty()) text += "->" + entry.link;
      if (entry.size > 0) text += "=" + Must(reader.ReadContent(100));
      entries.push_back(text);
    }
    return entries;
  }

  const support::TempRoot root_ = Must(support::TempRoot::Create());
  const std::string upper_;
  std::string union_ = root_.At("nowhere");
  int unions_opened_ = 0;
  DiffSummary summary_;
};

TEST_F(LayerDiffTest, WhiteoutsAndOpaqueDirectoriesInEveryForm) {
  MakeWhiteout(At("device"));
  WriteFile(At(".wh.file"), "");
  MakeDir(At("xattr"));
  Must(SetXattr(At("xattr"), "trusted.overlay.opaque", "y"));
  MakeDir(At("marker"));
  WriteFile(At("marker/.wh..wh..opq"), "");
  MakeDir(At("beside"));
  WriteFile(At(".wh.beside"), "");
  WriteFile(At("replaced"), "new");
  WriteFile(At(".wh.replaced"), "");
  WriteFile(At(".wh..wh.plnk"), "aufs");
  EXPECT_THAT(Entries(), ElementsAre("./", ".wh.file", "beside/", "beside/.wh..wh..opq",
                                     ".wh.device", "marker/", "marker/.wh..wh..opq", "replaced=new",
                                     "xattr/", "xattr/.wh..wh..opq"));
  EXPECT_EQ(unions_opened_, 0);
  EXPECT_EQ(summary_.entries, 10U);
  EXPECT_EQ(summary_.size, 3U);
}

TEST_F(LayerDiffTest, FilesOfEveryKind) {
  WriteFile(At("f"), "content");
  MustCall(::symlink("target", At("s").c_str()), "symlink");
  MustCall(::mkfifo(At("p").c_str(), 0600), "mkfifo");
  MustCall(::mknod(At("c").c_str(), S_IFCHR | 0600, makedev(1, 3)), "mknod");
  MustCall(::mknod(At("socket").c_str(), S_IFSOCK | 0600, 0), "mknod");
  EXPECT_THAT(Entries(), ElementsAre("./", "c", "f=content", "p", "s->target"));
  EXPECT_EQ(summary_.sockets, 1U);
}

TEST_F(LayerDiffTest, OverlayAttributesOfUsersComeWithoutTheirEscape) {
  WriteFile(At("f"), "");
  Must(SetXattr(At("f"), "trusted.overlay.origin", "ours"));
  Must(SetXattr(At("f"), "trusted.overlay.overlay.opaque", "theirs"));
  Must(SetXattr(At("f"), "user.name", "value"));
  const std::string tar = Must(Diff());
  EXPECT_THAT(tar, HasSubstr("SCHILY.xattr.trusted.overlay.opaque=theirs\n"));
  EXPECT_THAT(tar, HasSubstr("SCHILY.xattr.user.name=value\n"));
  EXPECT_THAT(tar, testing::Not(HasSubstr("origin")));
}

TEST_F(LayerDiffTest, TheUnionIsAskedForWhatTheUpperLacks) {
  union_ = Must(root_.MakeDir("union"));
  WriteFile(union_ + "/f", "whole");
  WriteFile(At("f"), "xxxxx");
  Must(SetXattr(At("f"), "trusted.overlay.metacopy", ""));
  MakeDir(At("new"));
  Must(SetXattr(At("new"), "trusted.overlay.redirect", "/old"));
  MakeDir(union_ + "/new");
  WriteFile(union_ + "/new/lower", "x");
  EXPECT_THAT(Entries(), ElementsAre("./", "f=whole", "new/", "new/.wh..wh..opq", "new/lower=x"));
  EXPECT_EQ(unions_opened_, 1);
}

TEST_F(LayerDiffTest, ErrorsNameThePath) {
  MakeDir(At("d"));
  WriteFile(At("d/f"), "x");
  Must(SetXattr(At("d/f"), "trusted.overlay.metacopy", ""));
  const auto without_union = Diff();
  ASSERT_FALSE(without_union);
  EXPECT_EQ(without_union.error().code(), ENOENT);
  EXPECT_THAT(without_union.error().ToString(), testing::StartsWith("d/f: "));
  // Shorter than it was when it was looked at.
  union_ = Must(root_.MakeDir("union"));
  MakeDir(union_ + "/d");
  WriteFile(union_ + "/d/f", "");
  const auto shorter = Diff();
  ASSERT_FALSE(shorter);
  EXPECT_EQ(shorter.error().code(), EIO);
  EXPECT_THAT(shorter.error().ToString(), HasSubstr("d/f: it became shorter"));
}

TEST_F(LayerDiffTest, ATreeDeeperThanLayersMayBeIsRefused) {
  UniqueFd dir = support::OpenFile(upper_, O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 1100; ++i) {
    MustCall(::mkdirat(dir.get(), "d", 0755), "mkdirat");
    dir.reset(MustCall(::openat(dir.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "openat"));
  }
  const auto deep = Diff();
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code(), E2BIG);
}

}  // namespace
}  // namespace strata::layerstore
