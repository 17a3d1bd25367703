#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(RenameTest, ALowerDirectoryKeepsItsContent) {
  LayerDirs layers(2);
  layers.File(2, "a/deep/x", "2");
  layers.File(1, "a/y", "1");
  {
    UnionDriver fs(layers.Options());
    Must(fs.Rename("a", "b"));
    EXPECT_THAT(fs.List("b"), ElementsAre("deep", "y"));
    Must(fs.MakeDir("other"));
    Must(fs.Rename("b/deep", "other/moved"));
    EXPECT_EQ(Must(fs.Read("other/moved/x")), "2");
    EXPECT_THAT(layers.UpperTree(), ElementsAre("!a", "!b/deep", "b", "other", "other/moved"));
  }
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List(""), ElementsAre("b", "other"));
  EXPECT_EQ(Must(fs.Read("b/y")), "1");
  EXPECT_EQ(Must(fs.Read("other/moved/x")), "2");
}

TEST(RenameTest, AnOwnDirectoryInALowerOnesPlaceDoesNotMerge) {
  LayerDirs layers(1);
  layers.File(1, "d/x", "low");
  {
    UnionDriver fs(layers.Options());
    Must(fs.MakeDir("own"));
    Must(fs.Write("own/y", "1"));
    Must(fs.Unlink("d/x"));
    Must(fs.Rename("own", "d"));
    EXPECT_THAT(fs.List("d"), ElementsAre("y"));
  }
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List(""), ElementsAre("d"));
  EXPECT_THAT(fs.List("d"), ElementsAre("y"));
}

TEST(RenameTest, ExchangesDirectoriesOfDifferentLayers) {
  LayerDirs layers(2);
  layers.File(2, "a/x", "ax");
  layers.File(1, "b/y", "by");
  {
    UnionDriver fs(layers.Options());
    Must(fs.Rename("a", "b", RENAME_EXCHANGE));
    EXPECT_THAT(fs.List("a"), ElementsAre("y"));
    EXPECT_THAT(fs.List("b"), ElementsAre("x"));
  }
  UnionDriver fs(layers.Options());
  EXPECT_EQ(Must(fs.Read("a/y")), "by");
  EXPECT_EQ(Must(fs.Read("b/x")), "ax");
}

TEST(RenameTest, ErrorsLeaveTheUpperEmpty) {
  LayerDirs layers(1);
  layers.File(1, "f", "");
  layers.File(1, "d/x", "");
  layers.File(1, "e/y", "");
  UnionDriver fs(layers.Options());
  EXPECT_EQ(CodeOf(fs.Rename("none", "f")), ENOENT);
  EXPECT_EQ(CodeOf(fs.Rename("f", "d")), EISDIR);
  EXPECT_EQ(CodeOf(fs.Rename("d", "f")), ENOTDIR);
  EXPECT_EQ(CodeOf(fs.Rename("d", "e")), ENOTEMPTY);
  EXPECT_EQ(CodeOf(fs.Rename("d", "e", RENAME_NOREPLACE)), EEXIST);
  EXPECT_EQ(CodeOf(fs.Rename("f", "none", RENAME_EXCHANGE)), ENOENT);
  EXPECT_EQ(CodeOf(fs.Rename("f", "g", RENAME_WHITEOUT)), EINVAL);
  EXPECT_THAT(layers.UpperTree(), IsEmpty());
}

TEST(RenameTest, FilesOverWhiteoutsAndBack) {
  LayerDirs layers(1);
  layers.File(1, "a", "a");
  layers.File(1, "b", "b");
  {
    UnionDriver fs(layers.Options());
    Must(fs.Unlink("b"));
    Must(fs.Rename("a", "b"));
    EXPECT_THAT(layers.UpperTree(), ElementsAre("!a", "b"));
    Must(fs.Rename("b", "a"));
    EXPECT_THAT(layers.UpperTree(), ElementsAre("!b", "a"));
  }
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List(""), ElementsAre("a"));
}

}  // namespace
}  // namespace strata::fusefs
