// What may be in a work directory when it is mounted: nothing of a user's, and no mark that says
// that the upper layer cannot be relied on (docs/formats/upper.md).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>

#include "tests/conformance/union_fixture.h"
#include "tests/support/test_disk.h"

namespace strata::conformance {
namespace {

using support::Mounter;
using support::UnionMount;
using ::testing::HasSubstr;

class WorkDirectory : public UnionTest {
 protected:
  void SetUp() override {
    if (!IsStratafs()) GTEST_SKIP() << "about stratafs";
    UnionTest::SetUp();
    WriteFile(Lower(0, "f"), "lower");
  }
  std::string InWork(std::string_view name) const { return Work() + "/" + std::string(name); }
  bool Marked() const { return Exists(InWork("work/incompat/volatile")); }
  // What a mount that must fail says; nothing if it does not.
  std::string Refusal(Mounter mounter, std::vector<std::string> options = {}) {
    auto mount = UnionMount::Start(mounter, Spec({.options = std::move(options)}));
    if (!mount) return mount.error().ToString();
    ADD_FAILURE() << "it was mounted";
    return {};
  }
  void Kill() {
    mount_.process().Kill();
    mount_.Abandon();
  }
};

TEST_F(WorkDirectory, ThingsOfAUserAreKept) {
  for (const char* name : {"zebra", "notes", "work", "index", "blocks"}) MakeDir(InWork(name));
  WriteFile(InWork("notes/today"), "precious");
  WriteFile(InWork("work/draft"), "precious");
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("'notes'"));
  MustCall(::rename(InWork("notes").c_str(), InWork("index/notes").c_str()), "rename");
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("'zebra'"));
  MustCall(::rmdir(InWork("zebra").c_str()), "rmdir");
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("'work/draft'"));
  MustCall(::rename(InWork("work/draft").c_str(), InWork("index/f00g").c_str()), "rename");
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("'index/f00g'"));
  MustCall(::rename(InWork("index/f00g").c_str(), InWork("work/draft").c_str()), "rename");
  EXPECT_EQ(ReadFile(InWork("index/notes/today")), "precious");
  EXPECT_EQ(ReadFile(InWork("work/draft")), "precious");
}

TEST_F(WorkDirectory, WhatCrashesLeaveIsRemoved) {
  MakeDir(InWork("work"));
  MakeDir(InWork("work/#1f"));  // as kernel overlayfs numbers them
  MakeDir(InWork("work/incompat"));
  WriteFile(InWork("work/#1f/staged"), "x");
  // Which stages in its index, too.
  MakeDir(InWork("index"));
  MakeDir(InWork("index/#2a"));
  Mount();
  EXPECT_TRUE(LeftInWork(Work()).empty());
  EXPECT_FALSE(Exists(InWork("index/#2a")));
  AppendFile(At("f"), "+");
  Kill();
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "lower+");
}

TEST_F(WorkDirectory, AVolatileUpperIsMarkedUntilItIsUnmounted) {
  Mount({.options = {"volatile"}});
  EXPECT_TRUE(Marked());
  AppendFile(At("f"), "+");
  const UniqueFd file = OpenFile(At("f"), O_RDWR);
  MustCall(::fsync(file.get()), "fsync");
}

TEST_F(WorkDirectory, AnUnmountedVolatileUpperIsLikeAnyOther) {
  Mount({.options = {"volatile"}});
  AppendFile(At("f"), "+");
  Unmount();
  EXPECT_FALSE(Exists(InWork("work/incompat")));
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "lower+");
  Unmount();
  auto kernel = Must(UnionMount::Start(Mounter::kOverlay, Spec()));
  EXPECT_EQ(ReadFile(At("f")), "lower+");
  Must(kernel.Stop());
}

TEST_F(WorkDirectory, AVolatileUpperIsRefusedAfterACrash) {
  Mount({.options = {"volatile"}});
  AppendFile(At("f"), "+");
  Kill();
  ASSERT_TRUE(Marked());
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{}, {"volatile"}, {"ro"}}) {
    const std::string refusal = Refusal(Mounter::kStratafs, options);
    EXPECT_THAT(refusal, HasSubstr(Work()));
    EXPECT_THAT(refusal, HasSubstr("remove work/incompat"));
  }
  const auto finalized = support::FinalizeUpper(Spec());
  ASSERT_FALSE(finalized.has_value());
  EXPECT_THAT(finalized.error().ToString(), HasSubstr("remove work/incompat"));
  EXPECT_NE(Refusal(Mounter::kOverlay), "") << "the kernel knows the mark, too";
  EXPECT_NE(Refusal(Mounter::kOverlay, {"volatile"}), "");
  EXPECT_TRUE(Marked());
  // As the message says.
  Must(support::RemoveTree(InWork("work/incompat")));
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "lower+");
}

TEST_F(WorkDirectory, AVolatileUpperOfTheKernelIsRefused) {
  Lower(0);
  auto kernel = Must(UnionMount::Start(Mounter::kOverlay, Spec({.options = {"volatile"}})));
  AppendFile(At("f"), "+");
  Must(kernel.Stop());
  ASSERT_TRUE(Marked());
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("remove work/incompat"));
  EXPECT_THAT(Refusal(Mounter::kStratafs, {"volatile"}), HasSubstr("remove work/incompat"));
  EXPECT_TRUE(Marked());
  Must(support::RemoveTree(InWork("work/incompat")));
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "lower+");
}

TEST_F(WorkDirectory, AMarkOfAnotherKindIsRefused) {
  for (const char* name : {"work", "work/incompat", "work/incompat/later"}) MakeDir(InWork(name));
  EXPECT_THAT(Refusal(Mounter::kStratafs), HasSubstr("'later'"));
  EXPECT_TRUE(Exists(InWork("work/incompat/later")));
}

TEST_F(WorkDirectory, AReadOnlyMountIsNotMarked) {
  Mount({.options = {"volatile", "ro"}});
  EXPECT_EQ(ReadFile(At("f")), "lower");
  EXPECT_FALSE(Exists(InWork("work/incompat")));
  Kill();
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "lower");
}

// Bind mounts of the same, on which nothing can be written.
TEST_F(WorkDirectory, OnAReadOnlyFilesystemItIsSaidSo) {
  for (const std::string& path : {Upper(), Work()}) {
    MustCall(::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr), "bind");
    MustCall(::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr),
             "remount");
    EXPECT_THAT(Refusal(Mounter::kStratafs),
                HasSubstr(path + " is on a filesystem that is mounted read-only"));
    MustCall(::umount2(path.c_str(), 0), "umount");
  }
}

// Whoever has files open may go on writing through them, past the last sync.
TEST_F(WorkDirectory, AVolatileUpperThatIsTakenAwayFromItsUsersStaysMarked) {
  Mount({.options = {"volatile"}});
  WriteFile(At("new"), "x");
  {
    const UniqueFd user = OpenFile(At("new"), O_RDWR);
    Must(mount_.process().Signal(SIGTERM));
    EXPECT_EQ(Must(mount_.process().Wait(std::chrono::seconds(10))), 0);
  }
  mount_.Abandon();
  EXPECT_TRUE(Marked());
}

TEST_F(WorkDirectory, AMountThatFailsLeavesNoMark) {
  EXPECT_THAT(Refusal(Mounter::kStratafs, {"volatile", "context=none:such"}), HasSubstr("mount"));
  EXPECT_FALSE(Marked());
}

TEST_F(WorkDirectory, WithoutXattrsThereIsAWarning) {
  const support::TestDisk disk =
      Must(support::TestDisk::Create(root_, "disk", support::Filesystem::kRamfs));
  PutUpperIn(disk.path());
  Mount();
  EXPECT_THAT(mount_.Log(), HasSubstr("no place for overlay marks"));
  Unmount();
}

}  // namespace
}  // namespace strata::conformance
