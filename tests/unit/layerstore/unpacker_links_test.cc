// Hard links that stand before their targets: what tar programs of old wrote, and what sorting an
// archive makes.
#include <gtest/gtest.h>

#include "layerstore/archive/unpacker.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/unpacker_fixture.h"

namespace strata::layerstore {
namespace {

using support::TarBuilder;

support::TarMember Link(const std::string& name, const std::string& target) {
  return {.name = name, .type = '1', .link = target};
}

class LateLinksTest : public UnpackerTest {
 protected:
  void ExpectSameFile(const std::string& a, const std::string& b) {
    EXPECT_EQ(Lstat(a).st_ino, Lstat(b).st_ino) << a << " and " << b;
  }
};

TEST_F(LateLinksTest, ComeToTheirTargets) {
  TarBuilder tar;
  tar.AddDirectory("d");
  tar.Add(Link("d/early", "/later/file"));  // neither the file nor its directory is there
  tar.Add(Link("z-implied/early", "file"));
  tar.Add({.name = "later/", .type = '5', .mtime = 5});
  tar.AddFile("later/file", "content");
  tar.Add(Link("file", "later/file"));
  tar.Add({.name = "d/", .type = '5', .mtime = 7});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(ReadFile(fs + "/d/early"), "content");
  ExpectSameFile(fs + "/d/early", fs + "/later/file");
  ExpectSameFile(fs + "/z-implied/early", fs + "/later/file");
  EXPECT_EQ(LinksInLayer(fs + "/d/early"), 4U);
  EXPECT_EQ(Lstat(fs + "/d").st_mtim.tv_sec, 7);
  EXPECT_EQ(Lstat(fs + "/later").st_mtim.tv_sec, 5);
}

TEST_F(LateLinksTest, Chains) {
  TarBuilder tar;
  // Whatever the order of the names.
  tar.Add(Link("a", "m")).Add(Link("m", "b")).Add(Link("b", "z")).Add(Link("z", "f"));
  tar.AddFile("f", "end");
  const std::string fs = Unpacked(tar);
  for (const char* name : {"/a", "/m", "/b", "/z"}) ExpectSameFile(fs + name, fs + "/f");
}

TEST_F(LateLinksTest, LastEntryOfANameWins) {
  TarBuilder tar;
  tar.AddFile("old", "old").Add(Link("old", "f"));  // the link replaces it
  tar.Add(Link("new", "f")).AddFile("new", "new");  // and is replaced
  tar.Add(Link("to-dir", "f")).AddDirectory("to-dir").AddFile("to-dir/in", "in");
  tar.Add(Link("again", "f")).Add(Link("again", "g"));
  tar.Add(Link("gone/link", "f")).AddFile("gone", "a file now");
  tar.AddDirectory("dir").AddFile("dir/x", "x").Add(Link("dir", "f"));
  // A target is what it is in the end.
  tar.AddDirectory("target").Add(Link("of-target", "target")).AddFile("target", "t");
  // Nobody links to what such a link has replaced.
  tar.AddFile("stale", "stale").Add(Link("stale", "f")).Add(Link("of-stale", "stale"));
  tar.AddFile("f", "f").AddFile("g", "g");
  const std::string fs = Unpacked(tar);
  ExpectSameFile(fs + "/old", fs + "/f");
  ExpectSameFile(fs + "/of-stale", fs + "/f");
  EXPECT_EQ(ReadFile(fs + "/new"), "new");
  EXPECT_EQ(ReadFile(fs + "/to-dir/in"), "in");
  ExpectSameFile(fs + "/again", fs + "/g");
  EXPECT_EQ(ReadFile(fs + "/gone"), "a file now");
  ExpectSameFile(fs + "/dir", fs + "/f");
  ExpectSameFile(fs + "/of-target", fs + "/target");
  EXPECT_EQ(LinksInLayer(fs + "/f"), 5U);
}

TEST_F(LateLinksTest, WhiteoutsHideWhatIsLowerOnly) {
  TarBuilder tar;
  tar.AddFile(".wh.before", "").Add(Link("before", "f"));
  tar.Add(Link("after", "f")).AddFile(".wh.after", "");
  tar.AddFile(".wh.w", "").Add(Link("to-w", "w")).AddFile("w", "w");
  tar.AddFile(".wh.d", "").Add(Link("to-d", "d/in")).AddFile("d/in", "in");
  tar.AddFile("f", "f");
  const std::string fs = Unpacked(tar);
  ExpectSameFile(fs + "/before", fs + "/f");
  ExpectSameFile(fs + "/after", fs + "/f");
  ExpectSameFile(fs + "/to-w", fs + "/w");
  ExpectSameFile(fs + "/to-d", fs + "/d/in");
  EXPECT_EQ(support::Must(support::GetXattr(fs + "/d", "trusted.overlay.opaque")), "y");
}

TEST_F(LateLinksTest, RefusedWhereTheTargetNeverComes) {
  ExpectRefused(TarBuilder().Add(Link("h", "/never")).AddFile("f", ""), ENOENT,
                "entry 'h': hard link to '/never'");
  ExpectRefused(TarBuilder().Add(Link("a", "b")).Add(Link("b", "a")), ENOENT, "hard link to");
  ExpectRefused(TarBuilder().Add(Link("x", "a")).Add(Link("a", "b")).Add(Link("b", "a")), ENOENT,
                "hard link to");
  ExpectRefused(TarBuilder().Add(Link("h", "w")).AddFile(".wh.w", ""), EPERM,
                "entry 'h': hard link to 'w'");
  ExpectRefused(TarBuilder().Add(Link("h", "d")).AddDirectory("d"), EPERM, "entry 'h'");
  ExpectRefused(TarBuilder().Add(Link("h", "f/x")).AddFile("f", ""), ENOTDIR, "entry 'h'");
  ExpectRefused(TarBuilder().Add(Link("h", "f")).AddFile("h/below", "").AddFile("f", ""), ENOTDIR,
                "'h' is not a directory");
  ExpectRefused(TarBuilder()
                    .Add(Link("h", "link/f"))
                    .Add({.name = "link", .type = '2', .link = "/"})
                    .AddFile("f", ""),
                ELOOP, "entry 'h'");
}

TEST_F(LateLinksTest, MemoryIsBounded) {
  TarBuilder tar;
  for (int i = 0; i < 20; ++i) tar.Add(Link("link-" + std::to_string(i), "f"));
  tar.AddFile("f", "");
  ExpectRefused(tar, E2BIG, "entry 'link-7'", {.kept_bytes = 1000});
  // What was replaced counts no more.
  TarBuilder often;
  for (int i = 0; i < 1000; ++i) often.Add(Link("link", "f")).AddFile("link", "");
  Unpacked(often.AddFile("f", ""), {.kept_bytes = 1000});
}

}  // namespace
}  // namespace strata::layerstore
