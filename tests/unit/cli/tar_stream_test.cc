#include "manager/cli/tar_stream.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

namespace strata::manager::cli {
namespace {

namespace fs = std::filesystem;

class TarStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (fs::temp_directory_path() / "strata-tar.XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    fs::create_directory(root_ / "in");
    fs::create_directory(root_ / "out");
  }
  void TearDown() override { fs::remove_all(root_); }

  Result<std::string> Stream() {
    auto tar = TarStream::Open((root_ / "in").string());
    if (!tar) return std::unexpected(std::move(tar).error());
    std::string all;
    while (true) {
      auto piece = tar->Next();
      if (!piece) return piece;
      if (piece->empty()) return all;
      all += *piece;
    }
  }

  fs::path root_;
};

TEST_F(TarStreamTest, TarReadsItBack) {
  fs::create_directories(root_ / "in/blobs/sha256");
  std::ofstream(root_ / "in/oci-layout") << "{}";
  std::ofstream(root_ / "in/blobs/sha256/empty");
  std::ofstream(root_ / "in/blobs/sha256/block") << std::string(512, 'b');
  std::ofstream(root_ / "in/blobs/sha256/big") << std::string(700'001, 'x');
  const auto stream = Stream();
  ASSERT_TRUE(stream) << stream.error().ToString();
  EXPECT_EQ(stream->size() % 512, 0U);

  const auto file = root_ / "a.tar";
  std::ofstream(file, std::ios::binary) << *stream;
  const std::string command = "tar -C " + (root_ / "out").string() + " -xf " + file.string() +
                              " && diff -r " + (root_ / "in").string() + " " +
                              (root_ / "out").string();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST_F(TarStreamTest, WhatDoesNotBelongThereIsRefused) {
  ASSERT_EQ(::mkfifo((root_ / "in/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(Stream());
  fs::remove(root_ / "in/fifo");
  fs::create_symlink("/etc/passwd", root_ / "in/link");
  EXPECT_FALSE(Stream());
  fs::remove(root_ / "in/link");
  std::ofstream(root_ / "in" / std::string(120, 'n'));
  EXPECT_FALSE(Stream());
  EXPECT_FALSE(TarStream::Open((root_ / "absent").string()));
}

TEST_F(TarStreamTest, AShrinkingFileIsAnError) {
  std::ofstream(root_ / "in/file") << std::string(2'000'000, 'x');
  auto tar = TarStream::Open((root_ / "in").string());
  ASSERT_TRUE(tar);
  fs::resize_file(root_ / "in/file", 10);
  Result<std::string> piece = tar->Next();
  while (piece && !piece->empty()) piece = tar->Next();
  ASSERT_FALSE(piece);
  EXPECT_EQ(piece.error().code(), EIO);
}

}  // namespace
}  // namespace strata::manager::cli
