// A layer's tar comes back byte by byte from its directory and its recipe, or not at all.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/base64.h"
#include "base/xxh128.h"
#include "layerstore/recipe/recipe_reader.h"
#include "tests/unit/layerstore/recipe_fixture.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Exists;
using support::Must;
using support::ReadFile;
using support::TarBuilder;
using support::TarMember;
using support::WriteFile;

// Chunks that end within everything, and one that ends within nothing.
constexpr std::size_t kChunks[] = {1, 7, 511, 512, 513, 1500, std::size_t{1} << 20U};

class OddTarTest : public RecipeTest {
 protected:
  void ExpectReplaysInAnyPieces(const std::string& tar) {
    for (const std::size_t chunk : kChunks) {
      SCOPED_TRACE("in chunks of " + std::to_string(chunk));
      ExpectReplays(tar, chunk);
    }
  }
  void ExpectReplaysInAnyPieces(const TarBuilder& tar) { ExpectReplaysInAnyPieces(tar.Finish()); }
};

TEST_F(OddTarTest, Plain) {
  TarBuilder tar;
  tar.AddDirectory(".").AddDirectory("d").AddFile("d/empty", "").AddFile("d/f", "hello");
  tar.AddFile("d/block", std::string(512, 'b')).AddFile("large", std::string(300'000, 'l'));
  tar.Add({.name = "s", .type = '2', .link = "d/f"});
  tar.Add({.name = "null", .type = '3', .major = 1, .minor = 3});
  tar.AddFile(std::string(150, 'n'), "name").AddFile("missing/parent", "x");
  tar.Add({.name = "x", .content = "y", .pax = {{"SCHILY.xattr.user.x", std::string("\0\n", 2)}}});
  ExpectReplaysInAnyPieces(tar);
  EXPECT_FALSE(Exists(layer_ + "/replaced"));
}

TEST_F(OddTarTest, EndsInManyWays) {
  const std::string end(1024, '\0');
  std::string tar = TarBuilder().AddFile("f", "hello").Finish();
  ExpectReplaysInAnyPieces(TarBuilder());
  ExpectReplaysInAnyPieces(tar + std::string(9216, '\0'));
  ExpectReplaysInAnyPieces(tar + "rubbish after the end" + std::string(100'000, 'r'));
  ExpectReplaysInAnyPieces(tar + tar);
  tar.resize(tar.size() - end.size());
  ExpectReplaysInAnyPieces(tar);
  ExpectReplaysInAnyPieces(tar + std::string(512, '\0'));
}

TEST_F(OddTarTest, ContentsThatAreInNoFile) {
  TarBuilder tar;
  tar.AddFile("f", "hello");
  tar.AddFile("d/.wh.gone", "a whiteout's").AddFile("d/.wh..wh..opq", "a marker's");
  tar.AddFile(".wh..wh.plnk/1.2", std::string(3000, 'p'));
  tar.Add(
      {.name = "h", .type = '1', .content = "of a hard link", .link = "f", .pax = {{"x", "y"}}});
  tar.Add({.name = "old", .type = '\0', .content = "an old file"});
  tar.Add({.name = "contiguous", .type = '7', .content = "a contiguous file"});
  tar.Add({.name = "dir/", .type = '0', .content = ""});
  tar.Add({.name = "g", .type = 'g', .content = "16 comment=hello\n"});
  tar.AddFile("last", "last");
  ExpectReplaysInAnyPieces(tar);
}

TEST_F(OddTarTest, HardLinks) {
  TarBuilder tar;
  tar.Add({.name = "before", .type = '1', .link = "f"}).AddFile("f", "hello");
  tar.Add({.name = "after", .type = '1', .link = "/f"});
  tar.Add({.name = "f", .type = '1', .link = "f"});
  ExpectReplaysInAnyPieces(tar);
  EXPECT_EQ(support::Lstat(layer_ + "/fs/f").st_nlink, 3U);
}

TEST_F(OddTarTest, ReplacedEntries) {
  TarBuilder tar;
  tar.AddFile("f", "first").AddFile("f", "second").AddDirectory("f").AddFile("f/x", "third");
  tar.AddFile("f/x", "fourth").AddFile("f", "fifth").AddDirectory("f").AddFile("f/x", "sixth");
  tar.AddDirectory("d/e/g").AddFile("d/e/g/a", "a").AddFile("d/b", "b").AddFile("d/e/c", "c");
  tar.AddFile("d/e/g/a", "a again").AddFile("d/e", "").AddFile("d", "d").AddFile("d/", "");
  tar.Add({.name = "s", .type = '2', .link = "f"}).AddFile("s", "was a link").AddFile("s", "");
  tar.AddFile("empty", "")
      .AddFile("empty", "full")
      .AddFile("g", "")
      .Add({.name = "g", .type = '6'});
  ExpectReplaysInAnyPieces(tar);
  EXPECT_EQ(ReadFile(layer_ + "/fs/f/x"), "sixth");
  EXPECT_TRUE(Exists(layer_ + "/replaced/0"));
}

// Whoever looks at the layer sees as many names as its tar has.
TEST_F(OddTarTest, ReplacedFilesThatHaveOtherNames) {
  TarBuilder tar;
  tar.AddFile("f", std::string(5000, 'f')).Add({.name = "g", .type = '1', .link = "f"});
  tar.Add({.name = "d/h", .type = '1', .link = "f"}).AddFile("f", "new").AddFile("d", "was a dir");
  tar.AddFile("two", "2").Add({.name = "three", .type = '1', .link = "two"});
  tar.AddFile("two", "").AddFile("three", "");
  ExpectReplaysInAnyPieces(tar);
  EXPECT_EQ(support::Lstat(layer_ + "/fs/g").st_nlink, 1U);
  EXPECT_EQ(ReadFile(layer_ + "/fs/g"), std::string(5000, 'f'));
  EXPECT_FALSE(Exists(layer_ + "/copies"));
  // Both names of the first file are one copy.
  EXPECT_EQ(support::Lstat(layer_ + "/replaced/0").st_nlink, 2U);
}

TEST_F(RecipeTest, NamesOfReplacedEntriesAreBounded) {
  TarBuilder tar;
  for (int i = 0; i < 20; ++i) tar.AddFile("f", "x");
  EXPECT_TRUE(FailsWith(Unpack(tar.Finish(), kChunk, {.kept_bytes = 1000}), E2BIG,
                        "entry 'f': more than 1000 bytes of names that later entries replace"));
}

TEST_F(RecipeTest, HasTheChecksumOfEveryContent) {
  const std::string large(1'000'000, 'l');
  const std::string tar =
      TarBuilder().AddFile("d/small", "hello").AddFile("d/large", large).AddFile("e", "").Finish();
  Must(Unpack(tar));
  const auto reader = Must(RecipeReader::Open(ops_, OpenLayer().get()));
  EXPECT_EQ(reader->diff_id(), Digest::Of(tar));
  EXPECT_EQ(reader->tar_bytes(), tar.size());
  std::vector<std::string> contents;
  while (Must(reader->Next())) {
    const RecipeRecord& record = reader->record();
    if (record.kind == RecipeRecord::Kind::kLiteral) continue;
    EXPECT_EQ(record.kind, RecipeRecord::Kind::kContent);
    contents.push_back(record.file);
    ASSERT_EQ(record.extents.size(), 1U);
    EXPECT_EQ(record.extents[0].length, record.path == "d/small" ? 5U : large.size());
    EXPECT_EQ(record.checksum, Xxh128::Of(record.path == "d/small" ? "hello" : large));
  }
  EXPECT_EQ(contents, (std::vector<std::string>{"fs/d/small", "fs/d/large"}));
}

TEST_F(RecipeTest, GivesHeadersWithoutContents) {
  TarBuilder tar;
  TarBuilder zeros;
  tar.AddFile("f", "hello").AddFile("large", std::string(300'000, 'l'));
  zeros.AddFile("f", std::string(5, '\0')).AddFile("large", std::string(300'000, '\0'));
  Must(Unpack(tar.Finish()));
  Must(support::RemoveTree(layer_ + "/fs"));  // nothing in it is needed
  EXPECT_TRUE(Must(Replayed({.contents = LayerTarOptions::Contents::kZeros})) == zeros.Finish());
}

TEST_F(RecipeTest, LayersWithoutOne) {
  Must(Unpack(TarBuilder().AddFile("f", "hello").Finish()));
  ASSERT_EQ(::unlink((layer_ + "/recipe").c_str()), 0);
  EXPECT_TRUE(FailsWith(Replayed(), ENOENT));
}

TEST_F(RecipeTest, DamageIsFoundInEveryByte) {
  TarBuilder tar;
  tar.AddFile("f", "one").AddFile("f", "two").AddFile("d/g", std::string(600, 'g'));
  Must(Unpack(tar.Finish()));
  const std::string path = layer_ + "/recipe";
  const std::string good = ReadFile(path);
  const auto expect_damaged = [&](const std::string& bytes) {
    // A new file: some filesystems write one out that is emptied and written again.
    ASSERT_EQ(::unlink(path.c_str()), 0);
    WriteFile(path, bytes);
    const auto reader = RecipeReader::Open(ops_, OpenLayer().get());
    ASSERT_FALSE(reader.has_value());
    EXPECT_TRUE(reader.error().code() == EBADMSG || reader.error().code() == EPROTONOSUPPORT)
        << reader.error().ToString();
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    SCOPED_TRACE("byte " + std::to_string(i));
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      expect_damaged(bad);
    }
    expect_damaged(good.substr(0, i));
  }
  expect_damaged(good + '\0');
  WriteFile(path, good);
  EXPECT_TRUE(Must(Replayed()) == tar.Finish());
}

// Recipes that are in stores stay readable: this one was written when the format was made.
TEST_F(RecipeTest, ReadsWhatWasWrittenInVersion1) {
  constexpr const char* kRecipe =
      "U1RSQVRSQ1ABAAAAAQAAAEZwLFmB0AwjJhGmt2My2/Fu936+DTLy/A+SO/JaAMMNABAAAAAAAAAJAAAA"
      "AAAAAGqyg63nxDHNjD9KjCinDywotS/9YEgP/QUA9AcAgARmADAwMDA2NDQAMAAwADAzADA3MzQ2NTQ1"
      "NzQxMCAgMAAAdXN0YXIAMAABAAFmAwocbUz0HrSZkR+rpzIf4aAA/QMDAQAAAQADNdXIzIh+TalsBWC9"
      "yymZiwD9BwBkL2c1NjM2A2QvZwU3cL+RnG837L2NxpZ5+qgQAPsLFQD9cxUAH6ijDKgOIDID6AAPIKYx"
      "H6gtwAe5IklQAWVg0imQ2qUgkWr3NDf4Dem8x0yzcyBQMBgYDOcnoAU=";
  TarBuilder tar;
  tar.AddFile("f", "one").AddFile("f", "two").AddFile("d/g", "three");
  support::MakeDir(layer_);
  for (const char* dir : {"/fs", "/fs/d", "/replaced"}) support::MakeDir(layer_ + dir);
  WriteFile(layer_ + "/replaced/0", "one");
  WriteFile(layer_ + "/fs/f", "two");
  WriteFile(layer_ + "/fs/d/g", "three");
  WriteFile(layer_ + "/recipe", Must(DecodeBase64(kRecipe)));
  EXPECT_TRUE(Must(Replayed()) == tar.Finish());
}

class ChangedLayerTest : public RecipeTest {
 protected:
  void SetUp() override {
    Must(Unpack(TarBuilder().AddFile("d/f", "hello").AddFile("g", "again").Finish()));
    WriteFile(temp_.At("outside"), "hello");
  }
  void ExpectRefused(const std::string& what) {
    EXPECT_TRUE(FailsWith(Replayed(), EBADMSG, "'fs/d/f'"));
    EXPECT_TRUE(FailsWith(Replayed(), EBADMSG, what));
  }
  const std::string file_ = layer_ + "/fs/d/f";
};

TEST_F(ChangedLayerTest, Contents) {
  WriteFile(file_, "jello");
  ExpectRefused("another content");
  WriteFile(file_, "hello!");
  ExpectRefused("another size");
  WriteFile(file_, "hell");
  ExpectRefused("another size");
  WriteFile(file_, "hello");
  Must(Replayed());
}

TEST_F(ChangedLayerTest, MissingFiles) {
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  ExpectRefused("not there");
  ASSERT_EQ(::rmdir((layer_ + "/fs/d").c_str()), 0);
  ExpectRefused("not there");
}

TEST_F(ChangedLayerTest, OtherThings) {
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0644), 0);  // nobody writes to it, and nobody waits
  ExpectRefused("no file");
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  support::MakeDir(file_);
  ExpectRefused("no file");
}

TEST_F(ChangedLayerTest, SymbolicLinks) {
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  ASSERT_EQ(::symlink(temp_.At("outside").c_str(), file_.c_str()), 0);
  ExpectRefused("not there");
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  ASSERT_EQ(::symlink("../g", file_.c_str()), 0);
  ExpectRefused("not there");
  // On the way, to a directory with the very file.
  ASSERT_EQ(::unlink(file_.c_str()), 0);
  WriteFile(file_, "hello");
  ASSERT_EQ(::rename((layer_ + "/fs/d").c_str(), (layer_ + "/fs/e").c_str()), 0);
  ASSERT_EQ(::symlink("e", (layer_ + "/fs/d").c_str()), 0);
  ExpectRefused("not there");
}

// A recipe is trusted no more than a layer is.
TEST_F(ChangedLayerTest, PathsThatLeadOut) {
  for (const std::string path :
       {"../../outside", "..", "../fs", "/outside", "d/../../../outside", "d//f", "d/", "./g"}) {
    SCOPED_TRACE(path);
    ASSERT_EQ(::unlink((layer_ + "/recipe").c_str()), 0);
    auto recipe = Must(RecipeWriter::Create(ops_, OpenLayer().get(), {}));
    Must(recipe->Content(path, 5, 0, "hello"));
    Must(recipe->Finish(Digest::Of("hello")));
    recipe.reset();
    EXPECT_TRUE(FailsWith(Replayed(), EBADMSG, "a path is none of a layer's"));
  }
}

class StoredRecipeTest : public StoreTest {
 protected:
  UniqueFd LayerDir(const Digest& diff_id) {
    return support::OpenFile(root_ + "/layers/sha256/" + diff_id.Hex(), O_RDONLY | O_DIRECTORY);
  }
};

TEST_F(StoredRecipeTest, ComesWithEveryLayer) {
  auto& ops = FileOps::System();
  const std::string tar =
      TarBuilder().AddFile("f", "one").AddFile("f", "two").AddFile("g", "x").Finish() + "trailer";
  for (const std::string& stream : {tar, support::Gzip(tar), support::Zstd(tar)}) {
    Must(support::RemoveTree(root_));
    Reopen();
    const LayerInfo layer = Must(PutLayer(stream));
    Must(LayerTar::Verify(ops, LayerDir(layer.diff_id).get(), layer.diff_id));
    EXPECT_TRUE(FailsWith(LayerTar::Verify(ops, LayerDir(layer.diff_id).get(), Digest::Of("x")),
                          EBADMSG, "the recipe is that of"));
    EXPECT_EQ(Names(root_ + "/layers/sha256/" + layer.diff_id.Hex()),
              (std::set<std::string>{"fs", "index", "objects", "recipe", "replaced"}));
    ExpectNoLeftovers();
  }
}

}  // namespace
}  // namespace strata::layerstore
