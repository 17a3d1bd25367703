// Layers that other programs wrote come back byte by byte, and times mean what they say to them.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <span>
#include <string>
#include <vector>

#include "layerstore/recipe/recipe_reader.h"
#include "tests/support/process.h"
#include "tests/unit/layerstore/recipe_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::ReadFile;
using support::RunTool;
using support::TarBuilder;
using support::WriteFile;

class PackedTest : public RecipeTest,
                   public ::testing::WithParamInterface<std::vector<std::string>> {
 protected:
  PackedTest() {
    support::MakeDir(tree_);
    support::MakeDir(tree_ + "/d");
    WriteFile(tree_ + "/d/f", "hello");
    WriteFile(tree_ + "/d/empty", "");
    WriteFile(tree_ + "/large", std::string(200'000, 'l'));
    WriteFile(tree_ + "/full", std::string(1024, 'f'));
    WriteFile(tree_ + "/" + std::string(90, 'n'), "name");
    Must(ops_.SymLink("d/f", AT_FDCWD, (tree_ + "/s").c_str()));
    Must(ops_.Link(AT_FDCWD, (tree_ + "/d/f").c_str(), AT_FDCWD, (tree_ + "/zz").c_str()));
    MakeSparse("sparse", 3, 1'000'000);
    // More parts than GNU tar's header, and one of its extension blocks, have room for.
    MakeSparse("parts", 40, 0);
  }

  void MakeSparse(const std::string& name, int parts, std::size_t size) {
    const UniqueFd fd = support::OpenFile(tree_ + "/" + name, O_WRONLY | O_CREAT);
    for (int i = 0; i < parts; ++i) {
      const std::string data = "part " + std::to_string(i);
      Must(WriteAllAt(ops_, fd.get(), std::as_bytes(std::span(data)), (2 * i + 1) * 16384));
    }
    if (size > 0) Must(ops_.Truncate(fd.get(), static_cast<off_t>(size)));
  }

  const std::string tree_ = temp_.At("tree");
};

// The command, which stands in the tree and writes "../tree.tar".
TEST_P(PackedTest, ComesBack) {
  std::vector<std::string> command{"sh", "-c", "cd \"$0\" && exec \"$@\"", tree_};
  command.insert(command.end(), GetParam().begin(), GetParam().end());
  Must(RunTool(command));
  const std::string tar = ReadFile(temp_.At("tree.tar"));
  for (const std::size_t chunk : {std::size_t{512}, std::size_t{1000}, kChunk}) {
    ExpectReplays(tar, chunk);
  }
  for (const char* name : {"sparse", "parts", "large", "d/f", "zz"}) {
    EXPECT_TRUE(ReadFile(layer_ + "/fs/" + name) == ReadFile(tree_ + "/" + name)) << name;
  }
}

std::vector<std::string> GnuTar(const std::vector<std::string>& options) {
  std::vector<std::string> command{"tar", "-cf", "../tree.tar"};
  command.insert(command.end(), options.begin(), options.end());
  command.emplace_back(".");
  return command;
}

std::vector<std::string> PythonTar(const std::string& format) {
  return {"python3", "-c",
          "import tarfile\n"
          "with tarfile.open('../tree.tar', 'w', format=tarfile." +
              format + ") as tar: tar.add('.')"};
}

INSTANTIATE_TEST_SUITE_P(GnuTar, PackedTest,
                         ::testing::Values(GnuTar({"--format=v7"}), GnuTar({"--format=ustar"}),
                                           GnuTar({"--format=oldgnu", "--sparse"}),
                                           GnuTar({"--format=gnu", "--sparse"}),
                                           GnuTar({"--format=posix", "--blocking-factor=1"})));
INSTANTIATE_TEST_SUITE_P(
    GnuTarSparse, PackedTest,
    ::testing::Values(GnuTar({"--format=posix", "--sparse", "--sparse-version=0.0"}),
                      GnuTar({"--format=posix", "--sparse", "--sparse-version=0.1"}),
                      GnuTar({"--format=posix", "--sparse", "--sparse-version=1.0"})));
INSTANTIATE_TEST_SUITE_P(Python, PackedTest,
                         ::testing::Values(PythonTar("PAX_FORMAT"), PythonTar("GNU_FORMAT"),
                                           PythonTar("USTAR_FORMAT")));
INSTANTIATE_TEST_SUITE_P(BusyBox, PackedTest,
                         ::testing::Values(std::vector<std::string>{"busybox", "tar", "-cf",
                                                                    "../tree.tar", "."}));

TEST_F(RecipeTest, SparseMembersAreExtents) {
  const std::string sparse = temp_.At("sparse");
  {
    const UniqueFd fd = support::OpenFile(sparse, O_WRONLY | O_CREAT);
    const std::string data(4096, 'd');
    Must(WriteAllAt(ops_, fd.get(), std::as_bytes(std::span(data)), std::int64_t{1} << 20));
    Must(ops_.Truncate(fd.get(), std::int64_t{1} << 30));
  }
  Must(RunTool(
      {"tar", "--format=posix", "--sparse", "-C", temp_.path(), "-cf", sparse + ".tar", "sparse"}));
  Must(Unpack(ReadFile(sparse + ".tar")));
  const auto reader = Must(RecipeReader::Open(ops_, OpenLayer().get()));
  bool found = false;
  while (Must(reader->Next())) {
    if (reader->record().kind == RecipeRecord::Kind::kLiteral) continue;
    EXPECT_EQ(reader->record().kind, RecipeRecord::Kind::kExtents);
    EXPECT_EQ(reader->record().extents.front().offset, std::uint64_t{1} << 20U);
    found = true;
  }
  EXPECT_TRUE(found);
}

// What libarchive takes for half a second before the epoch and a quarter after it.
TEST_F(RecipeTest, TimesBeforeTheEpochAreThoseOfGnuTar) {
  TarBuilder tar;
  int number = 0;
  for (const char* text : {"-1.5", "-0.25", "-2", "-0.000000001", "-1.9999999999", "-0", "-0.0",
                           "1.5", "0.25", "-12345.123456789", "-3."}) {
    tar.Add({.name = "f" + std::to_string(number++), .pax = {{"mtime", text}}});
  }
  Must(Unpack(tar.Finish()));
  WriteFile(temp_.At("times.tar"), tar.Finish());
  support::MakeDir(temp_.At("times"));
  Must(RunTool({"tar", "-C", temp_.At("times"), "-xf", temp_.At("times.tar")}));
  for (int i = 0; i < number; ++i) {
    const std::string name = "/f" + std::to_string(i);
    const struct stat theirs = support::Lstat(temp_.At("times") + name);
    const struct stat ours = support::Lstat(layer_ + "/fs" + name);
    EXPECT_EQ(ours.st_mtim.tv_sec, theirs.st_mtim.tv_sec) << name;
    EXPECT_EQ(ours.st_mtim.tv_nsec, theirs.st_mtim.tv_nsec) << name;
  }
  const struct stat first = support::Lstat(layer_ + "/fs/f0");
  EXPECT_EQ(first.st_mtim.tv_sec, -2);
  EXPECT_EQ(first.st_mtim.tv_nsec, 500'000'000);
}

TEST_F(RecipeTest, AccessTimesBeforeTheEpoch) {
  const std::string tar =
      TarBuilder().Add({.name = "f", .pax = {{"atime", "-1.5"}, {"mtime", "7"}}}).Finish();
  Must(Unpack(tar, 1));
  const struct stat st = support::Lstat(layer_ + "/fs/f");
  EXPECT_EQ(st.st_atim.tv_sec, -2);
  EXPECT_EQ(st.st_atim.tv_nsec, 500'000'000);
  EXPECT_EQ(st.st_mtim.tv_sec, 7);
}

}  // namespace
}  // namespace strata::layerstore
