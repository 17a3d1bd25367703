#include "fusefs/union/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/fault_file_ops.h"
#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;
using testing::ElementsAre;
using testing::IsEmpty;

// The daemon of the last mount may have much to bring to the disk; it has given up the work
// directory.
TEST(EngineTest, WaitsForAnUpperWhoseUserIsEnding) {
  using std::chrono::milliseconds;
  LayerDirs layers(1);
  const UniqueFd upper(::open(layers.Path(0).c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(upper.get(), LOCK_EX | LOCK_NB), 0);
  std::thread last([&] {
    std::this_thread::sleep_for(milliseconds(1500));
    ::flock(upper.get(), LOCK_UN);
  });
  const auto opened = Engine::Open(layers.Options(), EngineEnv{.files = FileOps::System()});
  last.join();
  EXPECT_TRUE(opened) << opened.error().ToString();
}

TEST(EngineTest, MergesTopDown) {
  LayerDirs layers(3);
  layers.File(3, "d/base", "3");
  layers.File(3, "d/both", "3");
  layers.File(3, "d/gone", "3");
  layers.File(3, "hidden/x", "3");
  layers.File(2, "d/both", "2");
  layers.Whiteout(2, "d/gone");
  layers.Opaque(2, "hidden");
  layers.File(1, "d/top", "1");
  layers.File(1, "d/.wh.base", "");
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List("d"), ElementsAre("both", "top"));
  EXPECT_EQ(Must(fs.Read("d/both")), "2");
  EXPECT_THAT(fs.List("hidden"), IsEmpty());
  EXPECT_EQ(CodeOf(fs.Unlink("d/gone")), ENOENT);
  EXPECT_THAT(layers.UpperTree(), IsEmpty());
}

TEST(EngineTest, AVolatileUpperThatCannotBeSyncedStaysMarked) {
  LayerDirs layers(1);
  layers.File(1, "f", "x");
  const std::string mark = layers.Work() + "/work/incompat/volatile";
  EngineOptions options = layers.Options();
  options.volatile_upper = true;
  bool fail = false;
  int syncs = 0;
  FaultFileOps faulty(FileOps::System(), [&](const FaultFileOps::Call& call) {
    if (!call.name.starts_with("Sync")) return 0;
    ++syncs;
    return fail ? EIO : 0;
  });
  {
    UnionDriver fs(options, faulty);
    EXPECT_TRUE(std::filesystem::exists(mark));
    EXPECT_GT(std::exchange(syncs, 0), 0) << "the mark itself must be on the disk";
    Must(fs.Append("f", "+"));
    EXPECT_EQ(syncs, 0);
    fail = true;
    EXPECT_EQ(CodeOf(fs.engine().Close()), EIO);
  }
  EXPECT_TRUE(std::filesystem::exists(mark));
  fail = false;
  const auto refused = Engine::Open(options, EngineEnv{.files = faulty});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), EINVAL);

  std::filesystem::remove_all(layers.Work() + "/work/incompat");
  UnionDriver fs(options, faulty);
  Must(fs.engine().Close());
  EXPECT_FALSE(std::filesystem::exists(layers.Work() + "/work/incompat"));
}

TEST(EngineTest, AMarkThatCannotBeSetIsAnError) {
  LayerDirs layers(1);
  layers.File(1, "f", "x");
  EngineOptions options = layers.Options();
  options.volatile_upper = true;
  FaultFileOps faulty(FileOps::System(), [&](const FaultFileOps::Call& call) {
    return call.name == "Sync" ? EIO : 0;
  });
  const auto refused = Engine::Open(options, EngineEnv{.files = faulty});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), EIO);
  options.volatile_upper = false;
  Must(Engine::Open(options, EngineEnv{.files = faulty}));
}

// umount(8) returns before the daemon has ended.
TEST(EngineTest, WaitsForAMountThatIsEnding) {
  LayerDirs layers(1);
  auto ending = std::make_unique<UnionDriver>(layers.Options());
  std::jthread end([&ending] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ending.reset();
  });
  UnionDriver fs(layers.Options());
  Must(fs.MakeDir("d"));
}

TEST(EngineTest, AFileInBetweenHidesTheDirectoriesBelow) {
  LayerDirs layers(3);
  layers.File(3, "x/low", "");
  layers.File(2, "x", "file");
  layers.File(1, "x/high", "");
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List("x"), ElementsAre("high"));
}

TEST(EngineTest, NothingIsCopiedBeforeTheFirstWrite) {
  LayerDirs layers(1);
  layers.File(1, "d/f", "old");
  UnionDriver fs(layers.Options());
  const EntryReply file = Must(fs.Walk("d/f"));
  const OpenReply open = Must(fs.engine().OpenFile(file.node, O_RDWR, {}));
  fs.engine().Release(file.node, open.handle);
  fs.engine().Forget(file.node, 1);
  EXPECT_THAT(layers.UpperTree(), IsEmpty());
  Must(fs.Append("d/f", "+new"));
  EXPECT_EQ(layers.Read(0, "d/f"), "old+new");
  EXPECT_EQ(layers.Read(1, "d/f"), "old");
  EXPECT_EQ(fs.engine().Count().copy_ups, 2U) << "the directory and the file";
}

TEST(EngineTest, PoliciesCopyWhenTheySay) {
  for (const auto& [policy, flags, copied] : {std::tuple{CopyUpPolicy::kWrite, O_RDWR, false},
                                              {CopyUpPolicy::kOpen, O_RDONLY, false},
                                              {CopyUpPolicy::kOpen, O_RDWR, true},
                                              {CopyUpPolicy::kRead, O_RDONLY, true}}) {
    LayerDirs layers(1);
    layers.File(1, "f", "x");
    EngineOptions options = layers.Options();
    options.copy_up = policy;
    UnionDriver fs(options);
    const EntryReply file = Must(fs.Walk("f"));
    const OpenReply open = Must(fs.engine().OpenFile(file.node, flags, {}));
    fs.engine().Release(file.node, open.handle);
    fs.engine().Forget(file.node, 1);
    EXPECT_EQ(layers.Exists(0, "f"), copied);
  }
}

TEST(EngineTest, DeletingLeavesWhiteoutsOnlyWhereNeeded) {
  LayerDirs layers(1);
  layers.File(1, "low", "");
  layers.File(1, "dir/x", "");
  UnionDriver fs(layers.Options());
  Must(fs.Write("own", "1"));
  Must(fs.Unlink("own"));
  EXPECT_THAT(layers.UpperTree(), IsEmpty());
  Must(fs.Unlink("low"));
  EXPECT_EQ(CodeOf(fs.RemoveDir("dir")), ENOTEMPTY);
  Must(fs.Unlink("dir/x"));
  Must(fs.RemoveDir("dir"));
  EXPECT_THAT(layers.UpperTree(), ElementsAre("!dir", "!low"));
  EXPECT_THAT(fs.List(""), IsEmpty());
  // Made again, the directory must not show its former content.
  Must(fs.MakeDir("dir"));
  EXPECT_THAT(fs.List("dir"), IsEmpty());
}

TEST(EngineTest, ARecreatedDirectoryStaysEmptyAfterRemount) {
  LayerDirs layers(1);
  layers.File(1, "dir/x", "");
  {
    UnionDriver fs(layers.Options());
    Must(fs.Unlink("dir/x"));
    Must(fs.RemoveDir("dir"));
    Must(fs.MakeDir("dir"));
    Must(fs.Write("dir/y", "1"));
  }
  UnionDriver fs(layers.Options());
  EXPECT_THAT(fs.List("dir"), ElementsAre("y"));
}

TEST(EngineTest, InodeNumbersSurviveCopyUpAndRemount) {
  LayerDirs layers(1);
  layers.File(1, "d/f", "x");
  std::uint64_t file = 0;
  std::uint64_t dir = 0;
  {
    UnionDriver fs(layers.Options());
    file = Must(fs.Stat("d/f")).st_ino;
    dir = Must(fs.Stat("d")).st_ino;
    Must(fs.Chmod("d/f", 0600));
    EXPECT_EQ(Must(fs.Stat("d/f")).st_ino, file);
    Must(fs.Rename("d/f", "d/g"));
    EXPECT_EQ(Must(fs.Stat("d")).st_ino, dir);
  }
  UnionDriver fs(layers.Options());
  EXPECT_EQ(Must(fs.Stat("d/g")).st_ino, file);
  EXPECT_EQ(Must(fs.Stat("d")).st_ino, dir);
}

TEST(EngineTest, LowerHardLinksStayOneFile) {
  LayerDirs layers(1);
  layers.File(1, "a", "x");
  layers.Dir(1, "d");
  support::MustCall(::link(layers.Path(1, "a").c_str(), layers.Path(1, "d/b").c_str()), "link");
  {
    UnionDriver fs(layers.Options());
    EXPECT_EQ(Must(fs.Stat("a")).st_ino, Must(fs.Stat("d/b")).st_ino);
    Must(fs.Append("a", "y"));
    EXPECT_EQ(Must(fs.Read("d/b")), "xy");
    EXPECT_EQ(Must(fs.Stat("a")).st_nlink, 2U);
  }
  {
    UnionDriver fs(layers.Options());
    EXPECT_EQ(Must(fs.Read("d/b")), "xy");
    EXPECT_EQ(Must(fs.Stat("d/b")).st_nlink, 2U);
    EXPECT_EQ(Must(fs.Stat("a")).st_ino, Must(fs.Stat("d/b")).st_ino);
    Must(fs.Unlink("d/b"));
    EXPECT_EQ(Must(fs.Stat("a")).st_nlink, 1U);
    Must(fs.Link("a", "c"));
    EXPECT_EQ(Must(fs.Stat("c")).st_nlink, 2U);
  }
  UnionDriver fs(layers.Options());
  EXPECT_EQ(Must(fs.Stat("c")).st_nlink, 2U);
  Must(fs.Unlink("a"));
  Must(fs.Unlink("c"));
  EXPECT_TRUE(std::filesystem::is_empty(layers.Work() + "/index"));
}

TEST(EngineTest, FileWhiteoutsWhereDevicesCannotBeMade) {
  LayerDirs layers(1);
  layers.File(1, "f", "x");
  layers.File(1, "d/x", "x");
  EngineOptions options = layers.Options();
  options.file_whiteouts = true;
  {
    UnionDriver fs(options);
    Must(fs.Unlink("f"));
    Must(fs.Unlink("d/x"));
    Must(fs.RemoveDir("d"));
    EXPECT_THAT(layers.UpperTree(), ElementsAre(".wh.d", ".wh.f"));
    Must(fs.MakeDir("d"));
    Must(fs.Write("f", "new"));
    EXPECT_THAT(layers.UpperTree(), ElementsAre("d", "f"));
    EXPECT_EQ(CodeOf(fs.Write(".wh.z", "")), EINVAL);
  }
  UnionDriver fs(options);
  EXPECT_THAT(fs.List("d"), IsEmpty());
  EXPECT_EQ(Must(fs.Read("f")), "new");
}

TEST(EngineTest, ReadOnlyUnionsRefuseEveryChange) {
  LayerDirs layers(2);
  layers.File(2, "f", "x");
  EngineOptions options = layers.Options();
  options.upper.clear();
  options.work.clear();
  UnionDriver fs(options);
  EXPECT_EQ(Must(fs.Read("f")), "x");
  EXPECT_EQ(CodeOf(fs.Write("g", "")), EROFS);
  EXPECT_EQ(CodeOf(fs.Append("f", "y")), EROFS);
  EXPECT_EQ(CodeOf(fs.Chmod("f", 0600)), EROFS);
  EXPECT_EQ(CodeOf(fs.Unlink("f")), EROFS);
  EXPECT_EQ(CodeOf(fs.Rename("f", "g")), EROFS);
  EXPECT_EQ(CodeOf(fs.MakeDir("d")), EROFS);
}

TEST(EngineTest, BadStacksAreRefused) {
  LayerDirs layers(1);
  const auto code = [](const EngineOptions& options) {
    auto opened = Engine::Open(options, EngineEnv{FileOps::System()});
    return opened ? 0 : opened.error().code();
  };
  EngineOptions missing = layers.Options();
  missing.lower.push_back(layers.Path(7));
  EXPECT_EQ(code(missing), ENOENT);
  EngineOptions inside = layers.Options();
  layers.Dir(1, "upper");
  inside.upper = layers.Path(1, "upper");
  EXPECT_EQ(code(inside), EINVAL);
  EngineOptions no_work = layers.Options();
  no_work.work.clear();
  EXPECT_EQ(code(no_work), EINVAL);
  EngineOptions other_filesystem = layers.Options();
  other_filesystem.work = "/dev/shm";
  EXPECT_EQ(code(other_filesystem), EXDEV);
  const UnionDriver first(layers.Options());
  EXPECT_EQ(code(layers.Options()), EBUSY);
}

TEST(EngineTest, ForgottenNodesAreFreed) {
  LayerDirs layers(1);
  for (int i = 0; i < 200; ++i) layers.File(1, "d" + std::to_string(i) + "/f", "x");
  UnionDriver fs(layers.Options());
  for (int i = 0; i < 200; ++i) Must(fs.Stat("d" + std::to_string(i) + "/f"));
  EXPECT_EQ(fs.engine().Count().nodes, 1U);
  EXPECT_EQ(fs.engine().Count().directories, 1U);
}

// Plays the kernel's part: counts registrations.
class FakeBacking final : public BackingFiles {
 public:
  Result<std::int32_t> Register(int) override { return ++last_; }
  void Unregister(std::int32_t) override { ++unregistered_; }
  int unregistered() const { return unregistered_; }

 private:
  std::int32_t last_ = 0;
  int unregistered_ = 0;
};

TEST(EngineTest, AnOpenThatMustNotSeeTheOldBackingRetiresTheNode) {
  LayerDirs layers(1);
  layers.File(1, "f", "old");
  EngineOptions options = layers.Options();
  options.passthrough = PassthroughPolicy::kAll;
  UnionDriver fs(options);
  FakeBacking backing;
  fs.engine().Connect(&backing, nullptr);
  Engine& engine = fs.engine();

  const EntryReply first = Must(fs.Walk("f"));
  const OpenReply reading = Must(engine.OpenFile(first.node, O_RDONLY, {}));
  EXPECT_EQ(reading.mode, IoMode::kPassthrough);
  const auto writing = engine.OpenFile(first.node, O_RDWR, {});
  ASSERT_FALSE(writing);
  EXPECT_EQ(writing.error().code(), ESTALE);

  const EntryReply second = Must(fs.Walk("f"));
  EXPECT_NE(second.node, first.node);
  EXPECT_EQ(second.attr.st_ino, first.attr.st_ino);
  const OpenReply opened = Must(engine.OpenFile(second.node, O_RDWR, {}));
  EXPECT_EQ(opened.mode, IoMode::kCached);
  EXPECT_FALSE(layers.Exists(0, "f")) << "nothing is written yet";
  Must(fs.WriteOpen(second.node, opened.handle, "new", 0));
  EXPECT_EQ(layers.Read(0, "f"), "new");

  bool stable = true;
  EXPECT_EQ(Must(engine.GetAttr(first.node, &stable)).st_ino, first.attr.st_ino);
  EXPECT_FALSE(stable);
  engine.Release(second.node, opened.handle);
  engine.Release(first.node, reading.handle);
  EXPECT_EQ(backing.unregistered(), 0) << "kept for the next time";
  engine.Forget(first.node, 1);
  engine.Forget(second.node, 1);
  EXPECT_EQ(backing.unregistered(), 1);
  EXPECT_EQ(engine.Count().nodes, 1U);
  EXPECT_EQ(Must(fs.Read("f")), "new");
}

TEST(EngineTest, AnUnlinkedFileLivesWhileItIsReferenced) {
  LayerDirs layers(1);
  layers.File(1, "f", "lower");
  UnionDriver fs(layers.Options());
  const EntryReply file = Must(fs.Walk("f"));
  const OpenReply open = Must(fs.engine().OpenFile(file.node, O_RDWR, {}));
  Must(fs.Unlink("f"));
  bool stable = false;
  EXPECT_EQ(Must(fs.engine().GetAttr(file.node, &stable)).st_nlink, 0U);
  Must(fs.WriteOpen(file.node, open.handle, "LOW", 0));
  EXPECT_EQ(Must(fs.ReadOpen(file.node, open.handle, 0, 100)), "LOWer");
  EXPECT_THAT(layers.UpperTree(), ElementsAre("!f"));
  fs.engine().Release(file.node, open.handle);
  fs.engine().Forget(file.node, 1);
}

TEST(EngineTest, ARemovedDirectoryKeepsItsAttributes) {
  LayerDirs layers(1);
  layers.Dir(1, "d");
  UnionDriver fs(layers.Options());
  const EntryReply dir = Must(fs.Walk("d"));
  Must(fs.RemoveDir("d"));
  AttrChange change;
  change.mode = 0700;
  bool stable = false;
  const struct stat st = Must(fs.engine().SetAttr(dir.node, change, {}, &stable));
  EXPECT_TRUE(stable);
  EXPECT_EQ(st.st_mode & 07777, 0700U);
  EXPECT_EQ(st.st_nlink, 0U);
  EXPECT_THAT(layers.UpperTree(), ElementsAre("!d"));
  fs.engine().Forget(dir.node, 1);
}

}  // namespace
}  // namespace strata::fusefs
