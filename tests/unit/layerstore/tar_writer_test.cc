#include "layerstore/archive/tar_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/tar_header.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::RunProcess;
using support::TempRoot;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

struct Member {
  TarEntry entry;
  std::string content = {};
};

Result<std::string> Archive(const std::vector<Member>& members) {
  std::string tar;
  TarWriter writer([&](std::string_view bytes) -> Result<> {
    tar += bytes;
    return {};
  });
  for (const Member& member : members) {
    if (auto added = writer.Add(member.entry); !added)
      return std::unexpected(std::move(added).error());
    if (auto wrote = writer.Write(member.content); !wrote) {
      return std::unexpected(std::move(wrote).error());
    }
  }
  if (auto ended = writer.Finish(); !ended) return std::unexpected(std::move(ended).error());
  return tar;
}

TarEntry Entry(std::string path, TarEntry::Type type = TarEntry::Type::kFile) {
  TarEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.mode = 0640;
  entry.uid = 1;
  entry.gid = 2;
  entry.mtime = {1'000'000'000, 0};
  return entry;
}

Member File(std::string path, std::string content) {
  Member member{Entry(std::move(path)), std::move(content)};
  member.entry.size = static_cast<std::int64_t>(member.content.size());
  return member;
}

std::vector<Member> ReadBack(const std::string& tar) {
  bool given = false;
  TarReader reader([&]() -> Result<std::string_view> {
    return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
  });
  std::vector<Member> members;
  while (Must(reader.Next())) {
    members.push_back({reader.entry(), Must(reader.ReadContent(std::size_t{1} << 20U))});
  }
  return members;
}

TEST(TarWriterTest, EveryKindOfEntryIsReadBack) {
  TarEntry directory = Entry("d", TarEntry::Type::kDirectory);
  directory.mode = 02755;
  TarEntry symlink = Entry("d/symlink", TarEntry::Type::kSymlink);
  symlink.link = std::string(300, 't');
  TarEntry link = Entry("d/hardlink", TarEntry::Type::kHardLink);
  link.link = "d/file";
  TarEntry device = Entry("d/device", TarEntry::Type::kCharDevice);
  device.device_major = 4095;
  device.device_minor = 1048575;
  Member odd = File("d/odd", std::string(1000, 'o'));
  odd.entry.uid = 3'000'000'000;
  odd.entry.gid = 4'000'000'000;
  odd.entry.mtime = {20'000'000'000, 123'456'000};
  odd.entry.xattrs = {{"user.emp ty%", ""},
                      {"user.z", std::string("\0binary\n=", 9)},
                      {"security.capability", "cap"}};
  const std::string long_path = "d/" + std::string(250, 'n');
  const std::vector<Member> members = {{directory},
                                       File("d/file", std::string(512, 'x')),
                                       File("d/empty", ""),
                                       {symlink},
                                       {link},
                                       {device},
                                       {Entry("d/fifo", TarEntry::Type::kFifo)},
                                       odd,
                                       File(long_path, "long"),
                                       File("d/\xff\xfe", "not UTF-8"),
                                       File("d/" + std::string(120, '\xff'), "nor that")};
  const std::vector<Member> read = ReadBack(Must(Archive(members)));
  ASSERT_EQ(read.size(), members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const TarEntry& want = members[i].entry;
    const TarEntry& got = read[i].entry;
    SCOPED_TRACE(want.path.substr(0, 20));
    EXPECT_EQ(got.path, want.type == TarEntry::Type::kDirectory ? want.path + "/" : want.path);
    EXPECT_EQ(got.type, want.type);
    EXPECT_EQ(got.link, want.link);
    EXPECT_EQ(got.mode, want.mode);
    EXPECT_EQ(got.uid, want.uid);
    EXPECT_EQ(got.gid, want.gid);
    EXPECT_EQ(got.mtime.tv_sec, want.mtime.tv_sec);
    EXPECT_EQ(got.mtime.tv_nsec, want.mtime.tv_nsec);
    EXPECT_EQ(got.device_major, want.device_major);
    EXPECT_EQ(got.device_minor, want.device_minor);
    EXPECT_EQ(read[i].content, members[i].content);
  }
  EXPECT_THAT(read[7].entry.xattrs,
              testing::UnorderedElementsAre(Pair("user.emp ty%", ""),
                                            Pair("user.z", std::string("\0binary\n=", 9)),
                                            Pair("security.capability", "cap")));
}

TEST(TarWriterTest, GnuTarReadsTheSame) {
  const TempRoot root = Must(TempRoot::Create());
  Member half = File("before", "x");
  half.entry.mtime = {-2, 500'000'000};  // 1.5 seconds before 1970
  Member far = File("after", std::string(600, 'y'));
  far.entry.mtime = {4'000'000'000, 1};
  far.entry.xattrs = {{"user.name", "value"}};
  far.entry.mode = 04755;
  std::ofstream(root.At("tar"), std::ios::binary) << Must(Archive({half, far}));
  const std::string out = Must(root.MakeDir("out"));
  const auto untar = Must(RunProcess({"tar", "--xattrs", "--xattrs-include=*", "--same-owner", "-C",
                                      out, "-xpf", root.At("tar")}));
  ASSERT_EQ(untar.exit_code, 0) << untar.err;
  struct stat st{};
  ASSERT_EQ(::stat((out + "/before").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_sec, -2);
  EXPECT_EQ(st.st_mtim.tv_nsec, 500'000'000);
  ASSERT_EQ(::stat((out + "/after").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_sec, 4'000'000'000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 1);
  EXPECT_EQ(st.st_mode & 07777U, 04755U);
  EXPECT_EQ(st.st_uid, 1U);
  const auto xattr =
      Must(RunProcess({"getfattr", "--only-values", "-n", "user.name", out + "/after"}));
  EXPECT_EQ(xattr.out, "value");
}

TEST(TarWriterTest, TheBytesDependOnNothingElse) {
  Member one = File("f", "content");
  one.entry.xattrs = {{"user.a", "1"}, {"user.b", "2"}};
  one.entry.atime = {{5, 5}};
  Member other = one;
  std::swap(other.entry.xattrs[0], other.entry.xattrs[1]);
  other.entry.atime.reset();
  EXPECT_EQ(Must(Archive({one})), Must(Archive({other})));
  // What fits into ustar has no pax header: header, content, end.
  EXPECT_EQ(Must(Archive({File("f", "content")})).size(), 4 * kTarBlock);
}

TEST(TarWriterTest, SizesBeyondEightGibibytes) {
  TarEntry entry = Entry("big");
  entry.size = (std::int64_t{9} << 30) + 1;
  std::string head;
  TarWriter writer([&](std::string_view bytes) -> Result<> {
    head += bytes;
    return {};
  });
  Must(writer.Add(entry));
  EXPECT_THAT(head, HasSubstr("19 size=9663676417\n"));
  bool given = false;
  TarReader reader([&]() -> Result<std::string_view> {
    return std::exchange(given, true) ? std::string_view() : std::string_view(head);
  });
  EXPECT_TRUE(Must(reader.Next()));
  EXPECT_EQ(reader.entry().size, entry.size);
}

TEST(TarWriterTest, RefusesWhatTarCannotSay) {
  const auto code = [](const Member& member) {
    const auto tar = Archive({member});
    return tar ? 0 : tar.error().code();
  };
  EXPECT_EQ(code(File("", "x")), EINVAL);
  EXPECT_EQ(code(File(std::string("a\0b", 3), "x")), EINVAL);
  Member member = File("f", "x");
  member.entry.size = 2;
  EXPECT_EQ(code(member), EINVAL) << "content is missing";
  member.entry.size = 0;
  EXPECT_EQ(code(member), EINVAL) << "too much content";
  member.entry.size = -1;
  EXPECT_EQ(code(member), EINVAL);
  member = File("f", "x");
  member.entry.uid = -1;
  EXPECT_EQ(code(member), EINVAL);
  member = File("f", "x");
  member.entry.xattrs = {{"user.a=b", ""}};
  EXPECT_EQ(code(member), EINVAL);
}

TEST(TarWriterTest, AnErrorOfTheSinkComesThrough) {
  for (int good = 0; good < 3; ++good) {
    int calls = 0;
    TarWriter writer([&](std::string_view) -> Result<> {
      return calls++ == good ? Result<>(Fail(ENOSPC, "write")) : Result<>();
    });
    Member file = File("f", "x");
    auto done = writer.Add(file.entry);
    if (done) done = writer.Write(file.content);
    if (done) done = writer.Finish();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ENOSPC);
  }
}

}  // namespace
}  // namespace strata::layerstore
