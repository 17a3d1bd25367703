// Results as files: whole or not at all.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "base/file_ops.h"
#include "base/tar_header.h"
#include "manager/cli/layout_directory.h"
#include "manager/cli/output_file.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::manager::cli {
namespace {

using support::Must;
using testing::ElementsAre;
using testing::IsEmpty;

class OutputTest : public ::testing::Test {
 protected:
  std::vector<std::string> Names(const std::string& directory = "") {
    return support::List(directory.empty() ? temp_.path() : temp_.At(directory));
  }
  void Put(const char* name, const char* content) { support::WriteFile(temp_.At(name), content); }
  std::string Read(const std::string& name) { return support::ReadFile(temp_.At(name)); }

  support::TempRoot temp_ = Must(support::TempRoot::Create());
};

TEST_F(OutputTest, NothingIsThereBeforeTheEnd) {
  {
    OutputFile output = Must(OutputFile::Create(temp_.At("out")));
    Must(output.Write("half"));
    EXPECT_THAT(Names(), testing::Not(testing::Contains("out")));
  }
  EXPECT_THAT(Names(), IsEmpty());
  OutputFile output = Must(OutputFile::Create(temp_.At("out")));
  Must(output.Write("wh"));
  Must(output.Write("ole"));
  Must(output.Commit());
  EXPECT_EQ(Read("out"), "whole");
  EXPECT_THAT(Names(), ElementsAre("out"));
}

TEST_F(OutputTest, WhatWasThereStaysUntilTheEnd) {
  Put("out", "old");
  Must(FileOps::System().SymLink("out", AT_FDCWD, temp_.At("link").c_str()));
  {
    OutputFile output = Must(OutputFile::Create(temp_.At("out")));
    Must(output.Write("half"));
  }
  EXPECT_EQ(Read("out"), "old");
  OutputFile output = Must(OutputFile::Create(temp_.At("link")));
  Must(output.Write("new"));
  Must(output.Commit());
  EXPECT_EQ(Read("out"), "new");
  EXPECT_EQ(Must(FileOps::System().ReadLink(AT_FDCWD, temp_.At("link").c_str())), "out");
  EXPECT_THAT(Names(), ElementsAre("link", "out"));
}

TEST_F(OutputTest, PlacesWhereNoFileCanBe) {
  const auto code = [](const std::string& path) {
    const auto output = OutputFile::Create(path);
    return output ? 0 : output.error().code();
  };
  EXPECT_EQ(code(temp_.path()), EISDIR);
  EXPECT_EQ(code("/dev/null"), EINVAL);
  EXPECT_EQ(code(temp_.At("none/out")), ENOENT);
  EXPECT_THAT(Names(), IsEmpty());
}

std::string Member(const std::string& name, char type, const std::string& content = "") {
  return EncodeTarHeader({.name = name, .type = type, .size = content.size()}) + content +
         std::string(TarPadding(content.size()), '\0');
}
const std::string kEnd(2 * kTarBlock, '\0');

Result<> Unpack(const std::string& path, const std::string& tar, std::size_t piece) {
  auto layout = LayoutDirectory::Create(path);
  if (!layout) return std::unexpected(std::move(layout).error());
  for (std::size_t at = 0; at < tar.size(); at += piece) {
    auto written = layout->Write(std::string_view(tar).substr(at, piece));
    if (!written) return written;
  }
  return layout->Commit();
}

TEST_F(OutputTest, LayoutsInPiecesOfAnySize) {
  const std::string tar = Member("oci-layout", '0', "{}") + Member("blobs/", '5') +
                          Member("blobs/a", '0', std::string(1000, 'a')) +
                          Member("blobs/empty", '0') + kEnd;
  int count = 0;
  for (const std::size_t piece : {std::size_t{1}, std::size_t{513}, tar.size()}) {
    const std::string name = "layout" + std::to_string(count++);
    Must(Unpack(temp_.At(name) + "/", tar, piece));
    EXPECT_EQ(Read(name + "/oci-layout"), "{}");
    EXPECT_EQ(Read(name + "/blobs/a"), std::string(1000, 'a'));
    EXPECT_THAT(Names(name + "/blobs"), ElementsAre("a", "empty"));
  }
  EXPECT_EQ(Names().size(), 3U);
}

TEST_F(OutputTest, LayoutsGoToAFreePlaceOnly) {
  Must(temp_.MakeDir("empty"));
  Must(Unpack(temp_.At("empty"), Member("a", '0') + kEnd, 100));
  EXPECT_EQ(Unpack(temp_.At("empty"), Member("a", '0') + kEnd, 100).error().code(), EEXIST);
  Put("file", "old");
  EXPECT_EQ(Unpack(temp_.At("file"), Member("a", '0') + kEnd, 100).error().code(), EEXIST);
  EXPECT_THAT(Names(), ElementsAre("empty", "file"));
}

TEST_F(OutputTest, BadLayoutsLeaveNothing) {
  std::string sum = Member("a", '0');
  sum[0] = 'b';
  for (const std::string& tar :
       {std::string(), Member("a", '0', "x"), Member("a", '0', "x").substr(0, 700),
        Member("a", '0') + kEnd.substr(0, 700), sum + kEnd, Member("../a", '0') + kEnd,
        Member("/etc/a", '0') + kEnd, Member("a", '2') + kEnd, Member("a", '0') + Member("a", '0'),
        Member("none/a", '0') + kEnd, kEnd + Member("a", '0'), std::string(4096, 'x')}) {
    EXPECT_FALSE(Unpack(temp_.At("layout"), tar, 100));
    EXPECT_THAT(Names(), IsEmpty());
  }
}

TEST(TarHeader, SizesBeyondOctal) {
  for (const std::uint64_t size : {std::uint64_t{0}, kTarMax12, kTarMax12 + 1, ~std::uint64_t{0}}) {
    EXPECT_EQ(Must(DecodeTarHeader(EncodeTarHeader({.name = "a", .size = size}))).size, size);
  }
}

}  // namespace
}  // namespace strata::manager::cli
