// Several processes and descriptors on one union: locks, shared mappings, programs, deleted files,
// and many at once.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

class Sharing : public UnionTest {};

// Tries a lock in another process: 0, or its errno.
int TryFlock(const std::string& path) {
  return AsUser(0, [&] {
    const int fd = ::open(path.c_str(), O_RDONLY);
    return ErrnoOf(fd < 0 ? -1 : ::flock(fd, LOCK_EX | LOCK_NB));
  });
}

int TryPosixLock(const std::string& path) {
  return AsUser(0, [&] {
    const int fd = ::open(path.c_str(), O_RDWR);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return ErrnoOf(fd < 0 ? -1 : ::fcntl(fd, F_SETLK, &lock));
  });
}

TEST_F(Sharing, FlockExcludesOtherProcesses) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  {
    const UniqueFd fd = OpenFile(At("f"), O_RDONLY);
    ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
    EXPECT_EQ(TryFlock(At("f")), EWOULDBLOCK);
  }
  EXPECT_EQ(TryFlock(At("f")), 0);
}

TEST_F(Sharing, PosixLocksExcludeOtherProcesses) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  ASSERT_EQ(::fcntl(fd.get(), F_SETLK, &lock), 0);
  const int busy = TryPosixLock(At("f"));
  EXPECT_TRUE(busy == EAGAIN || busy == EACCES) << busy;
  lock.l_type = F_UNLCK;
  ASSERT_EQ(::fcntl(fd.get(), F_SETLK, &lock), 0);
  EXPECT_EQ(TryPosixLock(At("f")), 0);
}

// dpkg, rpm and sqlite lock a file that the first writer then copies up (locks_test.cc has more).
TEST_F(Sharing, LocksHoldAcrossCopyUp) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not promised there";
  WriteFile(Lower(0, "f"), std::string(100'000, 'x'));
  Mount();
  const UniqueFd reader = OpenFile(At("f"), O_RDONLY);
  ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  AppendFile(At("f"), "y");
  EXPECT_EQ(TryFlock(At("f")), EWOULDBLOCK) << "copy-up lost a lock";
}

TEST_F(Sharing, MappingsForWritingReachTheFile) {
  const std::string content(20'000, 'a');
  WriteFile(Lower(0, "f"), content);
  Mount();
  const UniqueFd fd = OpenFile(At("f"), O_RDWR);
  void* const map =
      ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  static_cast<char*>(map)[10'000] = 'M';
  ASSERT_EQ(::msync(map, content.size(), MS_SYNC), 0);
  EXPECT_EQ(ReadFile(At("f"))[10'000], 'M');
  ASSERT_EQ(::pwrite(fd.get(), "W", 1, 5), 1);
  EXPECT_EQ(static_cast<char*>(map)[5], 'W');
  ::munmap(map, content.size());
}

TEST_F(Sharing, ProgramsRunFromALowerLayer) {
  const std::string program = ReadFile("/bin/true");
  WriteFile(Lower(0, "true"), program, 0755);
  WriteFile(Lower(0, "script"), "#!/bin/sh\nexit 7\n", 0755);
  Mount();
  EXPECT_EQ(Must(support::RunProcess({At("true")})).exit_code, 0);
  EXPECT_EQ(Must(support::RunProcess({At("script")})).exit_code, 7);
  MustCall(::chmod(At("true").c_str(), 0700), "chmod");
  EXPECT_EQ(Must(support::RunProcess({At("true")})).exit_code, 0);
  EXPECT_EQ(ReadFile(At("true")), program);
}

TEST_F(Sharing, DeletedFilesStayUsable) {
  WriteFile(Lower(0, "lower"), "lower content");
  Mount();
  WriteFile(At("upper"), "upper content");
  for (const char* name : {"lower", "upper"}) {
    const UniqueFd fd = OpenFile(At(name), O_RDWR);
    MustCall(::unlink(At(name).c_str()), "unlink");
    EXPECT_FALSE(Exists(At(name)));
    char content[20] = {};
    ASSERT_EQ(::pread(fd.get(), content, 5, 0), 5) << name;
    EXPECT_EQ(std::string(content), name);
    ASSERT_EQ(::pwrite(fd.get(), "+", 1, 13), 1) << name;
    ASSERT_EQ(::pread(fd.get(), content, sizeof(content), 0), 14) << name;
    struct stat st;
    ASSERT_EQ(::fstat(fd.get(), &st), 0);
    EXPECT_EQ(st.st_nlink, 0U) << name;
    EXPECT_EQ(st.st_size, 14) << name;
    WriteFile(At(name), "another file");
    ASSERT_EQ(::pread(fd.get(), content, 1, 13), 1);
    EXPECT_EQ(content[0], '+');
    EXPECT_EQ(ReadFile(At(name)), "another file");
  }
}

TEST_F(Sharing, ReadOnlyUnionsRefuseChanges) {
  WriteFile(Lower(0, "f"), "x");
  MakeDir(Lower(1, "d"));
  MountReadOnly();
  EXPECT_EQ(List(At()), (std::vector<std::string>{"d", "f"}));
  EXPECT_EQ(ReadFile(At("f")), "x");
  EXPECT_EQ(ErrnoOf(::open(At("f").c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(::open(At("n").c_str(), O_WRONLY | O_CREAT, 0644)), EROFS);
  EXPECT_EQ(ErrnoOf(::mkdir(At("n").c_str(), 0755)), EROFS);
  EXPECT_EQ(ErrnoOf(::unlink(At("f").c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(::chmod(At("f").c_str(), 0600)), EROFS);
  EXPECT_EQ(ErrnoOf(::rename(At("f").c_str(), At("g").c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(::rmdir(At("d").c_str())), EROFS);
}

TEST_F(Sharing, FilesystemNumbersAreThoseOfTheUpper) {
  Mount();
  struct statvfs info;
  struct statvfs below;
  ASSERT_EQ(::statvfs(At().c_str(), &info), 0);
  ASSERT_EQ(::statvfs(Upper().c_str(), &below), 0);
  EXPECT_EQ(info.f_blocks * info.f_frsize, below.f_blocks * below.f_frsize);
  EXPECT_EQ(info.f_namemax, 255U);
}

// What one worker of the storm does in its own names, so that the end is known. True if every call
// worked.
bool WorkAlone(const std::string& dir, int worker, int rounds) {
  const std::string mine = dir + "/w" + std::to_string(worker);
  bool good = true;
  for (int i = 0; i < rounds; ++i) {
    const std::string a = mine + "-a" + std::to_string(i);
    const std::string b = mine + "-b" + std::to_string(i);
    const int fd = ::open(a.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    good = good && fd >= 0 && ::write(fd, a.data(), a.size()) == static_cast<ssize_t>(a.size());
    ::close(fd);
    good = good && ::link(a.c_str(), b.c_str()) == 0 && ::unlink(a.c_str()) == 0 &&
           ::rename(b.c_str(), a.c_str()) == 0;
    if (i % 2 == 1) good = good && ::unlink(a.c_str()) == 0;
    const std::string sub = mine + "-d";
    good = good && ::mkdir(sub.c_str(), 0755) == 0 &&
           ::rename(sub.c_str(), (sub + "2").c_str()) == 0 && ::rmdir((sub + "2").c_str()) == 0;
  }
  return good;
}

// Everybody changes the same lower files.
bool WorkTogether(const std::string& dir, int files) {
  bool good = true;
  for (int i = 0; i < files; ++i) {
    const std::string path = dir + "/f" + std::to_string(i);
    const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    good = good && fd >= 0 && ::write(fd, "+", 1) == 1;
    ::close(fd);
    good = good && ::chmod(path.c_str(), 0600) == 0;
  }
  return good;
}

TEST_F(Sharing, StormOfThreadsAndProcessesEndsAsExpected) {
  constexpr int kFiles = 60;
  constexpr int kRounds = 60;
  constexpr int kThreads = 4;
  constexpr int kProcesses = 3;
  MakeDir(Lower(0, "d"));
  for (int i = 0; i < kFiles; ++i) WriteFile(Lower(0, "d/f" + std::to_string(i)), "x");
  Mount();
  const std::string dir = At("d");
  std::vector<support::ChildProcess> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(Must(support::ChildProcess::Fork([&] {
      const bool good = WorkTogether(dir, kFiles) && WorkAlone(dir, 100 + p, kRounds);
      return good ? 0 : errno;
    })));
  }
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        if (!WorkTogether(dir, kFiles) || !WorkAlone(dir, t, kRounds)) ++failures;
        if (List(dir).size() < kFiles) ++failures;
      });
    }
  }
  for (auto& child : children) EXPECT_EQ(Must(child.Wait(std::chrono::seconds(60))), 0);
  EXPECT_EQ(failures, 0);
  const auto check = [&] {
    EXPECT_EQ(List(dir).size(), kFiles + (kThreads + kProcesses) * kRounds / 2);
    const std::string expected = "x" + std::string(kThreads + kProcesses, '+');
    for (int i = 0; i < kFiles; ++i) {
      EXPECT_EQ(ReadFile(dir + "/f" + std::to_string(i)), expected) << i;
    }
    EXPECT_EQ(ReadFile(dir + "/w2-a4"), dir + "/w2-a4");
  };
  check();
  Unmount();
  Mount();
  check();
}

TEST_F(Sharing, SignalUnmountsAndEndsCleanly) {
  if (!IsStratafs()) GTEST_SKIP() << "a daemon of ours";
  WriteFile(Lower(0, "f"), "x");
  Mount();
  AppendFile(At("f"), "y");
  Must(mount_.process().Signal(SIGTERM));
  EXPECT_EQ(Must(mount_.process().Wait(std::chrono::seconds(10))), 0);
  EXPECT_TRUE(Must(support::MountsBelow(At())).empty());
  mount_.Abandon();
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "xy");
}

}  // namespace
}  // namespace strata::conformance
