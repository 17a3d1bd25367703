// When files are copied up, and that nobody who has one open is hurt by it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

constexpr std::string_view kOld = "old content";

class CopyUp : public UnionTest {};

std::string ReadAt(int fd, std::size_t length = 100) {
  std::string data(length, '\0');
  const ssize_t n = ::pread(fd, data.data(), data.size(), 0);
  data.resize(static_cast<std::size_t>(MustCall(n, "pread")));
  return data;
}

// Copies that were begun and not published; directories and whiteouts are the mounter's
// bookkeeping.
std::vector<std::string> RegularFiles(const std::string& tree) {
  std::vector<std::string> found;
  for (const std::string& path : ListAll(tree)) {
    if (S_ISREG(Lstat(tree + "/" + path).st_mode)) found.push_back(path);
  }
  return found;
}

TEST_F(CopyUp, OpenForReadAndWriteWithoutWritingCopiesNothing) {
  if (!IsStratafs()) GTEST_SKIP() << "peers copy up at open";
  WriteFile(Lower(0, "f"), kOld);
  Mount({.copy_up = "write"});
  {
    const UniqueFd fd = OpenFile(At("f"), O_RDWR);
    EXPECT_EQ(ReadAt(fd.get()), kOld);
  }
  EXPECT_TRUE(UpperTree().empty()) << ::testing::PrintToString(UpperTree());
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "OLD", 3, 0), 3);
  EXPECT_EQ(UpperTree(), std::vector<std::string>{"f"});
  EXPECT_EQ(ReadFile(At("f")), "OLD content");
}

TEST_F(CopyUp, PolicyOpenCopiesAtOpenForWriting) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of stratafs";
  WriteFile(Lower(0, "f"), kOld);
  WriteFile(Lower(0, "g"), kOld);
  Mount({.copy_up = "open"});
  EXPECT_EQ(ReadFile(At("f")), kOld);
  EXPECT_TRUE(UpperTree().empty());
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  EXPECT_EQ(UpperTree(), std::vector<std::string>{"f"});
}

TEST_F(CopyUp, PolicyReadCopiesAtOpenForReading) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of stratafs";
  WriteFile(Lower(0, "f"), kOld);
  WriteFile(Lower(0, "g"), kOld);
  Mount({.copy_up = "read"});
  EXPECT_EQ(List(At()), (std::vector<std::string>{"f", "g"}));
  EXPECT_TRUE(UpperTree().empty());
  EXPECT_EQ(ReadFile(At("f")), kOld);
  EXPECT_EQ(UpperTree(), std::vector<std::string>{"f"});
  EXPECT_EQ(ReadFile(Upper("f")), kOld);
}

TEST_F(CopyUp, TwoWritersAtOnceGetOneFile) {
  const std::string big(3 << 20, 'x');
  WriteFile(Lower(0, "f"), big);
  Mount();
  const auto inode = Lstat(At("f")).st_ino;
  constexpr int kWriters = 4;
  std::vector<support::ChildProcess> children;
  for (int i = 0; i < kWriters; ++i) {
    children.push_back(Must(support::ChildProcess::Fork([this, i] {
      const int fd = ::open(At("f").c_str(), O_RDWR);
      const char byte = static_cast<char>('0' + i);
      return fd >= 0 && ::pwrite(fd, &byte, 1, i) == 1 && ::close(fd) == 0 ? 0 : errno;
    })));
  }
  for (auto& child : children) EXPECT_EQ(Must(child.Wait(std::chrono::seconds(20))), 0);
  EXPECT_EQ(ReadFile(At("f")), "0123" + big.substr(4));
  EXPECT_EQ(Lstat(At("f")).st_ino, inode);
  EXPECT_EQ(UpperTree(), std::vector<std::string>{"f"});
  Unmount();
  EXPECT_EQ(RegularFiles(Work() + "/work"), std::vector<std::string>{}) << "a second copy was left";
}

TEST_F(CopyUp, ReadersKeepWhatTheyOpened) {
  const std::string content(300'000, 'a');
  WriteFile(Lower(0, "f"), content);
  Mount();
  const UniqueFd reader = OpenFile(At("f"), O_RDONLY);
  const auto inode = Lstat(At("f")).st_ino;
  void* const map = ::mmap(nullptr, content.size(), PROT_READ, MAP_SHARED, reader.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const char* const bytes = static_cast<const char*>(map);
  EXPECT_EQ(bytes[0], 'a');
  WriteFile(At("f"), "short");  // truncates: the mapping must stay readable to its end
  const std::string seen = ReadAt(reader.get(), content.size());
  EXPECT_TRUE(seen == content || seen == "short") << seen.substr(0, 20);
  if (seen == content) {
    EXPECT_EQ(std::string(bytes, content.size()), content);
  }
  EXPECT_EQ(ReadFile(At("f")), "short");
  EXPECT_EQ(Lstat(At("f")).st_ino, inode);
  struct stat st;
  ASSERT_EQ(::fstat(reader.get(), &st), 0);
  EXPECT_EQ(st.st_ino, inode);
  ::munmap(map, content.size());
}

TEST_F(CopyUp, AllDescriptorsForWritingSeeEachOther) {
  WriteFile(Lower(0, "f"), kOld);
  Mount();
  const UniqueFd first = OpenFile(At("f"), O_RDWR);
  EXPECT_EQ(ReadAt(first.get()), kOld);
  const UniqueFd second = OpenFile(At("f"), O_RDWR);
  ASSERT_EQ(::pwrite(second.get(), "NEW", 3, 0), 3);
  EXPECT_EQ(ReadAt(first.get()), "NEW content");
  ASSERT_EQ(::pwrite(first.get(), "!", 1, 11), 1);
  EXPECT_EQ(ReadAt(second.get()), "NEW content!");
  EXPECT_EQ(ReadFile(At("f")), "NEW content!");
}

TEST_F(CopyUp, ReadersAndWritersInParallelNeverFail) {
  const std::string content(100'000, 'a');
  constexpr int kFiles = 40;
  for (int i = 0; i < kFiles; ++i) WriteFile(Lower(0, "f" + std::to_string(i)), content);
  Mount();
  std::atomic<int> failures = 0;
  const auto reads = [&] {
    for (int i = 0; i < kFiles; ++i) {
      const UniqueFd fd(::open(At("f" + std::to_string(i)).c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd) ++failures;
      for (int j = 0; j < 20; ++j) {
        char byte = 0;
        if (::pread(fd.get(), &byte, 1, 50'000) != 1 || (byte != 'a' && byte != 'b')) ++failures;
      }
    }
  };
  const auto writes = [&] {
    for (int i = 0; i < kFiles; ++i) {
      const UniqueFd fd(::open(At("f" + std::to_string(i)).c_str(), O_RDWR | O_CLOEXEC));
      if (!fd || ::pwrite(fd.get(), "b", 1, 50'000) != 1) ++failures;
    }
  };
  {
    const std::jthread r1(reads);
    const std::jthread r2(reads);
    const std::jthread w1(writes);
    const std::jthread w2(writes);
  }
  EXPECT_EQ(failures, 0);
  for (int i = 0; i < kFiles; ++i) EXPECT_EQ(ReadFile(At("f" + std::to_string(i)))[50'000], 'b');
}

TEST_F(CopyUp, DeniedOperationsLeaveTheUpperEmpty) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), kOld);
  WriteFile(Lower(0, "d/g"), kOld);
  MakeDir(Lower(0, "d/full"));
  WriteFile(Lower(0, "d/full/x"), kOld);
  Mount();
  const auto path = [this](const char* name) { return At(std::string("d/") + name); };
  constexpr uid_t kStranger = 1234;
  const std::string capability = support::EncodeCapability(1);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::open(path("f").c_str(), O_WRONLY)); }),
            EACCES);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::truncate(path("f").c_str(), 0)); }), EACCES);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::chmod(path("f").c_str(), 0777)); }), EPERM);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::chown(path("f").c_str(), kStranger, 0)); }),
            EPERM);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::unlink(path("f").c_str())); }), EACCES);
  EXPECT_EQ(
      AsUser(kStranger, [&] { return ErrnoOf(::rename(path("f").c_str(), path("h").c_str())); }),
      EACCES);
  EXPECT_EQ(AsUser(kStranger, [&] { return ErrnoOf(::mkdir(path("n").c_str(), 0755)); }), EACCES);
  EXPECT_EQ(AsUser(kStranger,
                   [&] { return ErrnoOf(::setxattr(path("f").c_str(), "user.a", "b", 1, 0)); }),
            EACCES);
  EXPECT_EQ(AsUser(kStranger,
                   [&] {
                     return ErrnoOf(::setxattr(path("f").c_str(), "security.capability",
                                               capability.data(), capability.size(), 0));
                   }),
            EPERM);
  EXPECT_EQ(AsUser(kStranger,
                   [&] { return ErrnoOf(::utimensat(AT_FDCWD, path("f").c_str(), nullptr, 0)); }),
            EACCES);
  EXPECT_EQ(ErrnoOf(::mkdir(path("f").c_str(), 0755)), EEXIST);
  EXPECT_EQ(ErrnoOf(::open(path("f").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644)), EEXIST);
  EXPECT_EQ(ErrnoOf(::link(path("f").c_str(), path("g").c_str())), EEXIST);
  EXPECT_EQ(ErrnoOf(::symlink("x", path("f").c_str())), EEXIST);
  EXPECT_EQ(ErrnoOf(::rmdir(path("full").c_str())), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(::rmdir(path("f").c_str())), ENOTDIR);
  EXPECT_EQ(ErrnoOf(::unlink(path("full").c_str())), EISDIR);
  EXPECT_EQ(ErrnoOf(::removexattr(path("f").c_str(), "user.none")), ENODATA);
  EXPECT_EQ(ErrnoOf(::setxattr(path("f").c_str(), "user.none", "x", 1, XATTR_REPLACE)), ENODATA);
  EXPECT_EQ(ErrnoOf(::renameat2(AT_FDCWD, path("f").c_str(), AT_FDCWD, path("g").c_str(),
                                RENAME_NOREPLACE)),
            EEXIST);
  EXPECT_EQ(ErrnoOf(::truncate(path("f").c_str(), -1)), EINVAL);
  if (IsKernel()) GTEST_SKIP() << "overlayfs copies up before it knows (XATTR_REPLACE)";
  EXPECT_TRUE(UpperTree().empty()) << ::testing::PrintToString(UpperTree());
}

TEST_F(CopyUp, RenamesThatFailLeaveTheUpperEmpty) {
  MakeDir(Lower(0, "a"));
  MakeDir(Lower(0, "b"));
  WriteFile(Lower(0, "b/x"), kOld);
  WriteFile(Lower(0, "f"), kOld);
  Mount();
  EXPECT_EQ(ErrnoOf(::rename(At("a").c_str(), At("b").c_str())), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(::rename(At("a").c_str(), At("f").c_str())), ENOTDIR);
  EXPECT_EQ(ErrnoOf(::rename(At("f").c_str(), At("a").c_str())), EISDIR);
  EXPECT_EQ(ErrnoOf(::rename(At("b").c_str(), At("b/c").c_str())), EINVAL);
  EXPECT_EQ(ErrnoOf(::rename(At("none").c_str(), At("a").c_str())), ENOENT);
  if (IsKernel()) GTEST_SKIP() << "overlayfs copies up before it asks the upper filesystem";
  EXPECT_TRUE(UpperTree().empty()) << ::testing::PrintToString(UpperTree());
}

TEST_F(CopyUp, ParentsKeepTheirAttributes) {
  MakeDir(Lower(0, "a"), 01777);
  MakeDir(Lower(0, "a/b"), 02750);
  MustCall(::chown(Lower(0, "a/b").c_str(), 1000, 1001), "chown");
  MustCall(::chmod(Lower(0, "a/b").c_str(), 02750), "chmod");
  Must(support::SetXattr(Lower(0, "a/b"), "user.k", "v"));
  WriteFile(Lower(0, "a/b/f"), kOld);
  const struct timespec times[2] = {{1'000'000'000, 1}, {1'100'000'000, 987'654'321}};
  for (const char* path : {"a/b", "a"}) {
    MustCall(::utimensat(AT_FDCWD, Lower(0, path).c_str(), times, 0), "utimensat");
  }
  Mount();
  AppendFile(At("a/b/f"), "+");
  for (const std::string& path : {At("a/b"), Upper("a/b")}) {
    const struct stat st = Lstat(path);
    EXPECT_EQ(st.st_mode, S_IFDIR | 02750U) << path;
    EXPECT_EQ(st.st_uid, 1000U);
    EXPECT_EQ(st.st_gid, 1001U);
    EXPECT_EQ(st.st_mtim.tv_sec, 1'100'000'000) << path;
    EXPECT_EQ(st.st_mtim.tv_nsec, 987'654'321) << path;
    EXPECT_EQ(Must(support::GetXattr(path, "user.k")), "v");
  }
  EXPECT_EQ(Lstat(At("a")).st_mode, S_IFDIR | 01777U);
}

TEST_F(CopyUp, HolesSurvive) {
  constexpr off_t kSize = 8 << 20;
  WriteFile(Lower(0, "f"), "head");
  MustCall(::truncate(Lower(0, "f").c_str(), kSize), "truncate");
  Mount();
  MustCall(::chmod(At("f").c_str(), 0600), "chmod");
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "H", 1, 0), 1);
  const struct stat st = Lstat(Upper("f"));
  EXPECT_EQ(st.st_size, kSize);
  if (IsKernel()) GTEST_SKIP() << "copies whole mebibytes around data";
  EXPECT_LT(st.st_blocks, 64);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 4096);
}

TEST_F(CopyUp, HardLinksStayOneFile) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "copy-up breaks hard links there";
  WriteFile(Lower(0, "a"), kOld);
  MustCall(::link(Lower(0, "a").c_str(), Lower(0, "b").c_str()), "link");
  MakeDir(Lower(0, "d"));
  MustCall(::link(Lower(0, "a").c_str(), Lower(0, "d/c").c_str()), "link");
  Mount();
  const ino_t inode = Lstat(At("a")).st_ino;
  const auto check = [&](const char* content, nlink_t links) {
    for (const char* name : {"a", "b", "d/c"}) {
      if (!Exists(At(name))) continue;
      EXPECT_EQ(ReadFile(At(name)), content) << name;
      EXPECT_EQ(Lstat(At(name)).st_ino, inode) << name;
      EXPECT_EQ(Lstat(At(name)).st_nlink, links) << name;
    }
  };
  check("old content", 3);
  AppendFile(At("b"), "+");
  check("old content+", 3);
  MustCall(::chmod(At("a").c_str(), 0600), "chmod");
  EXPECT_EQ(Lstat(At("d/c")).st_mode, S_IFREG | 0600U);
  MustCall(::unlink(At("b").c_str()), "unlink");
  check("old content+", 2);
  Unmount();
  Mount();
  check("old content+", 2);
  AppendFile(At("d/c"), "-");
  check("old content+-", 2);
}

}  // namespace
}  // namespace strata::conformance
