// Corners: directory positions while names come and go, files with large holes, file handles,
// watches.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

class Corners : public UnionTest {};

// POSIX: what is there all the time is listed once, what comes or goes may be or not.
TEST_F(Corners, ListingsStayRightWhileNamesComeAndGo) {
  constexpr int kStay = 400;
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(1, "d"));
  const auto name = [](const char* kind, int i) { return std::string(kind) + std::to_string(i); };
  for (int i = 0; i < kStay; ++i) {
    WriteFile(Lower(static_cast<std::size_t>(i % 2), "d/" + name("stay", i)), "");
    WriteFile(Lower(0, "d/" + name("go", i)), "");
  }
  Mount();
  DIR* const dir = ::opendir(At("d").c_str());
  ASSERT_NE(dir, nullptr);
  std::map<std::string, int> seen;
  std::vector<std::pair<long, std::string>> positions;
  int step = 0;
  for (long position = ::telldir(dir);; position = ::telldir(dir)) {
    const dirent* const entry = ::readdir(dir);
    if (entry == nullptr) break;
    ++seen[entry->d_name];
    if (std::string_view(entry->d_name).starts_with("stay")) {
      positions.emplace_back(position, entry->d_name);
    }
    if (step < kStay) {
      MustCall(::unlink(At("d/" + name("go", step)).c_str()), "unlink");
      WriteFile(At("d/" + name("come", step)), "");
      if (step % 3 == 0) AppendFile(At("d/" + name("stay", step)), "+");  // copied up
    }
    ++step;
  }
  for (const auto& [which, times] : seen) EXPECT_EQ(times, 1) << which;
  EXPECT_EQ(positions.size(), static_cast<std::size_t>(kStay));
  // Positions taken while all that happened lead back to their names.
  for (const std::size_t i : {std::size_t{399}, std::size_t{0}, std::size_t{200}, std::size_t{7}}) {
    ::seekdir(dir, positions[i].first);
    std::set<std::string> rest;
    while (const dirent* entry = ::readdir(dir)) rest.insert(entry->d_name);
    for (std::size_t j = i; j < positions.size(); ++j) {
      EXPECT_TRUE(rest.contains(positions[j].second)) << i << ' ' << j;
    }
  }
  ::closedir(dir);
  EXPECT_EQ(List(At("d")).size(), 2U * kStay);
}

// The kernel caches what it was shown of a directory; a place to seek to must not lead into an
// older listing.
TEST_F(Corners, SeekingBackAfterAChangeShowsTheChange) {
  MakeDir(Lower(0, "d"));
  for (int i = 0; i < 6; ++i) WriteFile(Lower(0, "d/n" + std::to_string(i)), "");
  Mount();
  DIR* const dir = ::opendir(At("d").c_str());
  ASSERT_NE(dir, nullptr);
  const auto rest = [&] {
    std::set<std::string> names;
    while (const dirent* entry = ::readdir(dir)) names.insert(entry->d_name);
    return names;
  };
  EXPECT_NE(::readdir(dir), nullptr);
  MustCall(::unlink(At("d/n3").c_str()), "unlink");
  WriteFile(At("d/new"), "");
  ::rewinddir(dir);
  EXPECT_NE(::readdir(dir), nullptr);
  const long place = ::telldir(dir);
  const std::set<std::string> once = rest();
  EXPECT_TRUE(once.contains("new"));
  EXPECT_FALSE(once.contains("n3"));
  ::seekdir(dir, place);
  EXPECT_EQ(rest(), once);
  ::closedir(dir);
}

TEST_F(Corners, ATebibyteOfHoleIsCopiedUpAsOne) {
  constexpr off_t kTebibyte = off_t{1} << 40;
  const std::string path = Lower(0, "huge");
  WriteFile(path, "start");
  const UniqueFd lower = OpenFile(path, O_WRONLY);
  if (::ftruncate(lower.get(), kTebibyte) != 0) GTEST_SKIP() << "no files that large here";
  ASSERT_EQ(::pwrite(lower.get(), "end", 3, kTebibyte - 3), 3);
  // The fixture's digest would read all of it.
  support::UnionSpec spec = Spec();
  layers_.clear();
  mount_ = Must(support::UnionMount::Start(support::DefaultMounter(), spec));
  const UniqueFd fd = OpenFile(At("huge"), O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, kTebibyte / 2), 6);
  char text[6] = {};
  ASSERT_EQ(::pread(fd.get(), text, 5, 0), 5);
  EXPECT_EQ(std::string(text, 5), "start");
  ASSERT_EQ(::pread(fd.get(), text, 6, kTebibyte / 2), 6);
  EXPECT_EQ(std::string(text, 6), "middle");
  ASSERT_EQ(::pread(fd.get(), text, 6, kTebibyte - 3), 3);
  EXPECT_EQ(std::string(text, 3), "end");
  EXPECT_EQ(Lstat(At("huge")).st_size, kTebibyte);
  EXPECT_LT(Lstat(Upper("huge")).st_blocks, 1000);
  EXPECT_EQ(::lseek(fd.get(), 4096, SEEK_DATA), kTebibyte / 2);
}

// The kernel drops the page cache of a copied range, by whole pages. (Without the rule for parts of
// pages this loses a store every few milliseconds.)
TEST_F(Corners, StoresBesideACopiedRangeStay) {
  constexpr std::size_t kPage = 4096;
  WriteFile(Lower(0, "f"), std::string(3 * kPage, 'f'));
  Mount();
  WriteFile(At("source"), std::string(kPage, 's'));
  const UniqueFd file = OpenFile(At("f"), O_RDWR);
  const UniqueFd source = OpenFile(At("source"), O_RDONLY);
  void* const mapped = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  volatile char* const byte = static_cast<char*>(mapped) + 5;
  std::atomic<bool> stop = false;
  std::jthread copies([&] {
    while (!stop) {
      off_t from = 0;
      off_t to = kPage / 2;
      ASSERT_EQ(::copy_file_range(source.get(), &from, file.get(), &to, 100, 0), 100);
    }
  });
  int lost = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (char value = 1; lost == 0 && std::chrono::steady_clock::now() < end; value ^= 3) {
    *byte = value;
    for (int look = 0; look < 50 && lost == 0; ++look) lost += *byte == value ? 0 : 1;
  }
  stop = true;
  copies.join();
  EXPECT_EQ(lost, 0);
  ::munmap(mapped, kPage);
  EXPECT_EQ(ReadFile(At("f")).substr(kPage / 2, 100), std::string(100, 's'));
}

TEST_F(Corners, OpenUnlinkedFilesSurviveTheirCopyUp) {
  for (const char* name : {"small", "large"}) {
    WriteFile(Lower(0, name), std::string(name[0] == 's' ? 100 : 300'000, 'x'));
  }
  Mount();
  for (const char* name : {"small", "large"}) {
    const off_t size = Lstat(At(name)).st_size;
    const UniqueFd reader = OpenFile(At(name), O_RDONLY);
    const UniqueFd writer = OpenFile(At(name), O_RDWR);
    void* const map = ::mmap(nullptr, 50, PROT_READ, MAP_SHARED, reader.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    MustCall(::unlink(At(name).c_str()), "unlink");
    ASSERT_EQ(::pwrite(writer.get(), "end", 3, size), 3);
    ASSERT_EQ(::ftruncate(writer.get(), size + 2), 0);
    ASSERT_EQ(::fchmod(writer.get(), 0600), 0);
    char text[3] = {};
    ASSERT_EQ(::pread(writer.get(), text, 3, size - 1), 3) << name;
    EXPECT_EQ(std::string(text, 3), "xen");
    EXPECT_EQ(static_cast<char*>(map)[10], 'x');
    struct stat st;
    ASSERT_EQ(::fstat(writer.get(), &st), 0);
    EXPECT_EQ(st.st_nlink, 0U) << name;
    EXPECT_EQ(st.st_size, size + 2) << name;
    ::munmap(map, 50);
  }
  EXPECT_TRUE(List(At()).empty());
  EXPECT_TRUE(LeftInWork(Work()).empty());
}

// A handle must never lead to the wrong file: either there are none, or they are right.
TEST_F(Corners, FileHandlesAreRefusedOrRight) {
  WriteFile(Lower(0, "f"), "content");
  Mount();
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> memory{};
  auto* handle = reinterpret_cast<file_handle*>(memory.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(AT_FDCWD, At("f").c_str(), handle, &mount_id, 0) != 0) {
    EXPECT_EQ(errno, EOPNOTSUPP);
    return;
  }
  const UniqueFd root = OpenFile(At(), O_RDONLY | O_DIRECTORY);
  const auto open = [&]() -> UniqueFd {
    return UniqueFd(::open_by_handle_at(root.get(), handle, O_RDONLY | O_CLOEXEC));
  };
  {
    const UniqueFd fd = open();
    ASSERT_TRUE(fd) << errno;
    char text[7] = {};
    ASSERT_EQ(::pread(fd.get(), text, 7, 0), 7);
    EXPECT_EQ(std::string(text, 7), "content");
  }
  // After the file is gone, and others came that may have taken its place in any table.
  MustCall(::unlink(At("f").c_str()), "unlink");
  for (int i = 0; i < 100; ++i) WriteFile(At("other" + std::to_string(i)), "other");
  const UniqueFd gone = open();
  if (!gone) {
    EXPECT_EQ(errno, ESTALE);
    return;
  }
  char text[7] = {};
  ASSERT_EQ(::pread(gone.get(), text, 7, 0), 7);
  EXPECT_EQ(std::string(text, 7), "content");
}

class Watch {
 public:
  Watch(const std::string& path, std::uint32_t mask)
      : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    MustCall(::inotify_add_watch(fd_.get(), path.c_str(), mask), "inotify_add_watch");
  }
  // The events so far, "NAME:MASK", all names one after the other.
  std::vector<std::string> Events() {
    std::vector<std::string> events;
    alignas(inotify_event) std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
      if (got <= 0) return events;
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
        events.push_back((event->len > 0 ? std::string(event->name) : "") + ":" +
                         Name(event->mask & IN_ALL_EVENTS));
        at += static_cast<ssize_t>(sizeof *event + event->len);
      }
    }
  }

 private:
  static std::string Name(std::uint32_t mask) {
    switch (mask) {
      case IN_MODIFY:
        return "modify";
      case IN_ATTRIB:
        return "attrib";
      case IN_CREATE:
        return "create";
      case IN_DELETE:
        return "delete";
      case IN_MOVED_FROM:
        return "from";
      case IN_MOVED_TO:
        return "to";
      default:
        return std::to_string(mask);
    }
  }
  UniqueFd fd_;
};

constexpr std::uint32_t kChanges =
    IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;

// Watches on a directory see what happens to its names, copied up or not, as natively.
TEST_F(Corners, WatchesOnDirectoriesSeeCopyUps) {
  const auto change = [](const std::string& dir) {
    Watch watch(dir, kChanges);
    const UniqueFd reader = OpenFile(dir + "/large", O_RDONLY);
    AppendFile(dir + "/small", "+");
    AppendFile(dir + "/large", "+");
    MustCall(::chmod((dir + "/small").c_str(), 0600), "chmod");
    MustCall(::rename((dir + "/small").c_str(), (dir + "/moved").c_str()), "rename");
    WriteFile(dir + "/new", "");
    MustCall(::unlink((dir + "/large").c_str()), "unlink");
    return watch.Events();
  };
  for (const std::string& dir : {Lower(0, "d"), root_.At("native")}) {
    MakeDir(dir);
    WriteFile(dir + "/small", "x");
    WriteFile(dir + "/large", std::string(300'000, 'x'));
  }
  Mount();
  EXPECT_EQ(change(At("d")), change(root_.At("native")));
}

// A watch on the file itself stays with the node: it sees the copy-up's change unless the file was
// open in passthrough mode, and so changed its node (docs/limits.md).
TEST_F(Corners, WatchesOnFilesSeeChangesUnlessTheFileWasOpenAndPassedThrough) {
  if (!IsStratafs()) GTEST_SKIP() << "on kernel overlayfs they are lost with every copy-up";
  WriteFile(Lower(0, "small"), "x");
  WriteFile(Lower(0, "large"), std::string(300'000, 'x'));
  WriteFile(Lower(0, "open"), std::string(300'000, 'x'));
  Mount();
  for (const char* name : {"small", "large"}) {
    Watch watch(At(name), kChanges);
    AppendFile(At(name), "+");
    EXPECT_EQ(watch.Events(), std::vector<std::string>{":modify"}) << name;
  }
  Watch watch(At("open"), kChanges);
  Watch dir(At(), kChanges);
  const UniqueFd reader = OpenFile(At("open"), O_RDONLY);
  AppendFile(At("open"), "+");
  EXPECT_EQ(dir.Events(), std::vector<std::string>{"open:modify"});
}

// The daemon stands still: whatever is announced to it would wait.
TEST_F(Corners, OpensCostNoRequestWhereTheKernelWasToldSo) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of stratafs";
  WriteFile(Lower(0, "lower"), "lower");
  Mount({.options = {"opens=off"}});
  WriteFile(At("upper"), "upper");
  for (const char* name : {"lower", "upper"}) EXPECT_EQ(ReadFile(At(name)), name);
  ASSERT_TRUE(mount_.process().Signal(SIGSTOP));
  auto reader = Must(support::ChildProcess::Fork([&] {
    for (const char* name : {"lower", "upper"}) {
      if (ReadFile(At(name)) != name) return 1;
    }
    return 0;
  }));
  const auto outcome = reader.Wait(std::chrono::seconds(10));
  ASSERT_TRUE(mount_.process().Signal(SIGCONT));
  ASSERT_TRUE(outcome) << outcome.error().ToString();
  EXPECT_EQ(*outcome, 0);
}

// Whoever copies files by their holes would lose it.
TEST_F(Corners, DataInTheWritebackCacheIsNoHole) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of stratafs";
  Mount({.options = {"writeback"}});
  const UniqueFd file = OpenFile(At("f"), O_RDWR | O_CREAT);
  MustCall(::pwrite(file.get(), "data", 4, 100'000), "pwrite");
  EXPECT_LE(::lseek(file.get(), 0, SEEK_DATA), 100'000);
  EXPECT_EQ(::lseek(file.get(), 100'000, SEEK_DATA), 100'000);
  EXPECT_EQ(::lseek(file.get(), 100'000, SEEK_HOLE), 100'004);
}

}  // namespace
}  // namespace strata::conformance
