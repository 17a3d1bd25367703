// Half-copied files against a plain buffer: any order of operations, reopened at any point, failed
// at any call.
#include "fusefs/union/partial_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/xattr.h>

#include <algorithm>
#include <random>

#include "base/fault_file_ops.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/xattrs.h"

namespace strata::fusefs {
namespace {

using support::Must;
using support::MustCall;

constexpr off_t kBlock = 4096;
constexpr char kHeader[] = "trusted.overlay.strata.map";
constexpr std::size_t kBootAt = 8 + 4 + 4 + 8 + 8 + 4 + 4 + 128 + 16 + 16;

// An upper and a lower file with a block map, as the engine keeps them.
class Halves {
 public:
  explicit Halves(std::string content, FileOps& files = FileOps::System())
      : root_(Must(support::TempRoot::Create())), files_(files), id_(Must(NewBlockMapId())) {
    Must(root_.MakeDir("maps"));
    support::WriteFile(root_.At("lower"), content);
    support::WriteFile(root_.At("upper"), "");
    MustCall(::truncate(root_.At("upper").c_str(), static_cast<off_t>(content.size())), "truncate");
    const UniqueFd maps = Open("maps", O_RDONLY | O_DIRECTORY);
    struct stat st;
    MustCall(::stat(root_.At("lower").c_str(), &st), "stat");
    Must(BlockMap::Create({FileOps::System(), maps.get(), kHeader}, id_, BlockMap::SourceOf(st),
                          {}));
  }

  std::unique_ptr<PartialFile> Load() {
    auto upper = std::make_shared<const UniqueFd>(Open("upper", O_RDWR));
    auto lower = std::make_shared<const UniqueFd>(Open("lower", O_RDONLY));
    const UniqueFd maps = Open("maps", O_RDONLY | O_DIRECTORY);
    auto map = Must(BlockMap::Open({files_, maps.get(), kHeader}, id_, upper->get()));
    auto file = std::make_unique<PartialFile>(files_, upper, lower, std::move(map));
    Must(file->Settle());
    return file;
  }

  std::string Header() const { return Must(support::ReadXattrs(MapPath())).at(kHeader); }
  void SetHeader(const std::string& value) const {
    Must(support::SetXattr(MapPath(), kHeader, value));
  }
  std::string MapPath() const { return root_.At("maps/" + BlockMapName(id_)); }
  std::string UpperPath() const { return root_.At("upper"); }
  std::string LowerPath() const { return root_.At("lower"); }

 private:
  UniqueFd Open(const std::string& name, int flags) const {
    return Must(FileOps::System().Open(AT_FDCWD, root_.At(name).c_str(), flags));
  }

  support::TempRoot root_;
  FileOps& files_;
  BlockMapId id_;
};

std::string ReadAllOf(PartialFile& file) {
  std::string data(64 * kBlock, '\0');  // no file here is longer
  std::size_t got = 0;
  Must(file.Read(0, data.size(), [&](std::span<const ContentPart> parts) -> Result<> {
    got = Must(GatherParts(FileOps::System(), parts, std::as_writable_bytes(std::span(data))));
    return {};
  }));
  data.resize(got);
  return data;
}

std::string Pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i / 7 + i) % 26);
  return text;
}

std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// One random operation on the file and on the string that says what it must hold.
class Operation {
 public:
  explicit Operation(std::mt19937_64& random, off_t limit)
      : kind_(random() % 8),
        offset_(static_cast<off_t>(random() % static_cast<std::uint64_t>(limit))),
        length_(1 + static_cast<off_t>(random() % (3 * kBlock))),
        fill_(static_cast<char>('A' + random() % 26)) {
    if (random() % 2 == 0) offset_ -= offset_ % kBlock;
    if (random() % 3 == 0) length_ = (length_ / kBlock + 1) * kBlock;
  }

  Result<> Run(PartialFile& file) const {
    switch (kind_) {
      case 0:
        return file.Truncate(offset_, false, false);
      case 1:
        return file.Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_, length_);
      case 2:
        return file.Allocate(0, offset_, length_);
      case 3: {
        STRATA_TRY(file.CopySome(offset_, length_));
        return {};
      }
      default: {
        const std::string data(static_cast<std::size_t>(length_), fill_);
        STRATA_TRY_ASSIGN(const std::size_t wrote, file.Write(BytesOf(data), offset_));
        return wrote == data.size() ? Result<>() : Fail(ENOSPC, "short write");
      }
    }
  }

  void RunOn(std::string& model) const {
    const auto offset = static_cast<std::size_t>(offset_);
    const auto end = static_cast<std::size_t>(offset_ + length_);
    switch (kind_) {
      case 0:
        model.resize(offset);
        break;
      case 1:
        for (std::size_t i = offset; i < std::min(end, model.size()); ++i) model[i] = '\0';
        break;
      case 2:
        model.resize(std::max(model.size(), end));
        break;
      case 3:
        break;
      default:
        model.resize(std::max(model.size(), end));
        std::fill(model.begin() + offset_, model.begin() + offset_ + length_, fill_);
    }
  }

  std::string Text() const {
    return "kind " + std::to_string(kind_) + " at " + std::to_string(offset_) + " for " +
           std::to_string(length_);
  }

 private:
  std::uint64_t kind_;
  off_t offset_;
  off_t length_;
  char fill_;
};

TEST(PartialFileTest, HoldsWhatAPlainFileWouldHold) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    std::string model = Pattern(1 + random() % (20 * kBlock));
    Halves halves(model);
    auto file = halves.Load();
    for (int step = 0; step < 40; ++step) {
      const Operation operation(random, 24 * kBlock);
      Must(operation.Run(*file));
      operation.RunOn(model);
      if (random() % 5 == 0) file = halves.Load();
      ASSERT_EQ(ReadAllOf(*file), model)
          << "seed " << seed << ", step " << step << ", " << operation.Text();
    }
    std::optional<off_t> next = 0;
    while (next) next = Must(file->CopySome(*next, 2 * kBlock));
    Must(file->Finish([] { return Result<>(); }));
    EXPECT_EQ(ReadAllOf(*file), model) << "seed " << seed;
    EXPECT_EQ(support::ReadFile(halves.UpperPath()), model) << "seed " << seed;
  }
}

TEST(PartialFileTest, HoldsItsOldOrItsNewContentWhateverFails) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    for (std::uint64_t at = 0;; ++at) {
      std::mt19937_64 random(seed);
      const std::string content = Pattern(10 * kBlock + 100);
      std::uint64_t calls = 0;
      std::uint64_t fail_from = ~std::uint64_t{0};
      FaultFileOps faulty(FileOps::System(), [&](const FaultFileOps::Call&) {
        return calls++ >= fail_from ? EIO : 0;
      });
      Halves halves(content, faulty);
      auto file = halves.Load();
      std::string before = content;
      for (int step = 0; step < 5; ++step) {
        const Operation operation(random, 12 * kBlock);
        Must(operation.Run(*file));
        operation.RunOn(before);
      }
      const Operation last(random, 12 * kBlock);
      std::string after = before;
      last.RunOn(after);
      calls = 0;
      fail_from = at;  // from this call on nothing works any more, as for a process that is killed
      const bool done = last.Run(*file).has_value();
      fail_from = ~std::uint64_t{0};
      file = halves.Load();
      const std::string now = ReadAllOf(*file);
      if (done) {
        ASSERT_EQ(now, after) << last.Text();
        break;
      }
      // A write may have got some of its blocks done.
      ASSERT_TRUE(now == before || now == after ||
                  now.size() >= std::min(before.size(), after.size()));
      for (std::size_t i = 0; i < now.size(); ++i) {
        const bool old_byte = i < before.size() && now[i] == before[i];
        const bool new_byte = i < after.size() && now[i] == after[i];
        const bool grown = i >= before.size() && now[i] == '\0';
        ASSERT_TRUE(old_byte || new_byte || grown)
            << "seed " << seed << ", call " << at << ", byte " << i << ", " << last.Text();
      }
    }
  }
}

TEST(PartialFileTest, CopiesOnlyTheBlocksThatAreWritten) {
  Halves halves(Pattern(256 * kBlock));
  auto file = halves.Load();
  Must(file->Write(BytesOf("x"), 100 * kBlock + 5));
  EXPECT_EQ(file->copied_blocks(), 1U);
  struct stat st;
  MustCall(::stat(halves.UpperPath().c_str(), &st), "stat");
  EXPECT_LE(st.st_blocks * 512, 4 * kBlock);
}

TEST(PartialFileTest, FindsDataAndHolesOfBothHalves) {
  Halves halves(Pattern(8 * kBlock));
  auto file = halves.Load();
  Must(file->Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * kBlock, 2 * kBlock));
  Must(file->Write(BytesOf("x"), 3 * kBlock));
  EXPECT_EQ(Must(file->Seek(0, SEEK_DATA)), 0);
  EXPECT_EQ(Must(file->Seek(0, SEEK_HOLE)), 2 * kBlock);
  EXPECT_EQ(Must(file->Seek(2 * kBlock, SEEK_DATA)), 3 * kBlock);
  EXPECT_EQ(Must(file->Seek(3 * kBlock, SEEK_HOLE)), 8 * kBlock);
  const auto beyond = file->Seek(8 * kBlock, SEEK_DATA);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code(), ENXIO);
}

// The map says "copied", but after a restart of the machine the disk does not have the block.
TEST(BlockMapTest, DropsMarksWhoseDataDidNotReachTheDisk) {
  const std::string content = Pattern(4 * kBlock);
  Halves halves(content);
  {
    auto file = halves.Load();
    Must(file->Write(BytesOf(std::string(2 * kBlock, 'N')), kBlock));
  }
  const UniqueFd upper = Must(FileOps::System().Open(AT_FDCWD, halves.UpperPath().c_str(), O_RDWR));
  MustCall(::fallocate(upper.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * kBlock, kBlock),
           "fallocate");
  std::string header = halves.Header();
  header.replace(kBootAt, 12, "another boot");
  halves.SetHeader(header);

  std::string expected = content;
  std::fill(expected.begin() + kBlock, expected.begin() + 2 * kBlock, 'N');
  EXPECT_EQ(ReadAllOf(*halves.Load()), expected);
  EXPECT_EQ(ReadAllOf(*halves.Load()), expected) << "and stays so";
}

TEST(BlockMapTest, RefusesWhatIsDamaged) {
  const std::string content = Pattern(4 * kBlock);
  for (std::size_t at = 0; at < kBootAt; ++at) {
    Halves halves(content);
    std::string header = halves.Header();
    header[at] = static_cast<char>(header[at] ^ 0x41);
    halves.SetHeader(header);
    EXPECT_THROW(halves.Load(), std::exception) << "byte " << at;
  }
  Halves halves(content);
  const std::string header = halves.Header();
  halves.SetHeader(header.substr(0, header.size() - 1));
  EXPECT_THROW(halves.Load(), std::exception);
  MustCall(::removexattr(halves.MapPath().c_str(), kHeader), "removexattr");
  EXPECT_THROW(halves.Load(), std::exception);
  halves.SetHeader(header);
  halves.Load();
  MustCall(::truncate(halves.MapPath().c_str(), 4), "truncate");
  EXPECT_THROW(halves.Load(), std::exception);
  MustCall(::unlink(halves.MapPath().c_str()), "unlink");
  EXPECT_THROW(halves.Load(), std::exception);
}

TEST(BlockMapTest, MarksNameMapsAndAreNotTheKernels) {
  const BlockMapId id = Must(NewBlockMapId());
  EXPECT_EQ(ParseBlockMapId(BlockMapIdBytes(id)), id);
  EXPECT_EQ(ParseBlockMapId(""), std::nullopt);
  EXPECT_TRUE(SaysHalfCopied(kHalfCopiedMark));
  EXPECT_FALSE(SaysAllIsBelow(kHalfCopiedMark));
  const std::string old = std::string("\x53\x14\0\0", 4) + std::string(BlockMapIdBytes(id));
  EXPECT_EQ(IdInOldMark(old), id);
  EXPECT_TRUE(SaysHalfCopied(old));
  for (const std::string_view kernel : {std::string_view(""), std::string_view("\0\4\0\0", 4)}) {
    EXPECT_FALSE(SaysHalfCopied(kernel));
    EXPECT_TRUE(SaysAllIsBelow(kernel));
  }
}

}  // namespace
}  // namespace strata::fusefs
