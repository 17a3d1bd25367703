// The tools of the other fault tests: they find faults only if they do what they say.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/fault_file_ops.h"
#include "base/try.h"
#include "layerstore/meta/database.h"
#include "tests/support/fault_plan.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"
#include "tests/support/unsynced_file_ops.h"

namespace strata::support {
namespace {

TEST(FaultPlanTest, CountsTheStepsThatItsKindCanHit) {
  FaultPlan full(FaultKind::kFullFromThere);
  EXPECT_EQ(full.Next("Write").error, 0);
  full.Arm(1);
  EXPECT_EQ(full.Next("Stat").error, 0);
  EXPECT_EQ(full.Next("Write").error, 0);
  EXPECT_FALSE(full.Reached());
  EXPECT_EQ(full.Next("Rename").error, ENOSPC);
  EXPECT_TRUE(full.Reached());
  EXPECT_EQ(full.Next("Unlink").error, 0);
  EXPECT_EQ(full.Next("xSync").error, 0);
  EXPECT_EQ(full.Next("xWrite").error, ENOSPC);
  full.Disarm();
  EXPECT_EQ(full.Next("Write").error, 0);

  FaultPlan once(FaultKind::kError);
  once.Arm(1);
  EXPECT_EQ(once.Next("Stat").error, 0);
  EXPECT_EQ(once.Next("Stat").error, EIO);
  EXPECT_EQ(once.Next("Stat").error, 0);

  FaultPlan half(FaultKind::kShort);
  half.Arm(0);
  EXPECT_FALSE(half.Next("Rename").partial);
  EXPECT_TRUE(half.Next("Read").partial);
  EXPECT_FALSE(half.Next("Read").partial);
}

TEST(FaultPlanTest, Dies) {
  auto child = Must(ChildProcess::Fork([] {
    FaultPlan plan(FaultKind::kDie);
    plan.Arm(2);
    int steps = 0;
    while (steps < 10 && plan.Next("Stat").error == 0) ++steps;
    return steps;
  }));
  EXPECT_EQ(Must(child.Wait(std::chrono::seconds(30))), kDeadExit);
}

class FaultVfsTest : public ::testing::TestWithParam<FaultKind> {
 protected:
  // Opens the database and adds a row of 20000 bytes.
  Result<> AddRow() {
    STRATA_TRY_ASSIGN(const auto database, layerstore::Database::Open(path_));
    return database->Write([](layerstore::Connection& connection) {
      return connection.Execute("INSERT INTO t VALUES (zeroblob(20000))");
    });
  }
  std::int64_t Rows() {
    const auto database = Must(layerstore::Database::Open(path_));
    std::int64_t rows = -1;
    Must(database->Read([&](layerstore::Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(auto count, connection.Prepare("SELECT count(*), max(length(x)) FROM t"));
      STRATA_TRY(count.Step());
      rows = count.Integer(0);
      EXPECT_TRUE(rows == 0 || count.Integer(1) == 20000);
      STRATA_TRY_ASSIGN(auto check, connection.Prepare("PRAGMA integrity_check"));
      STRATA_TRY(check.Step());
      EXPECT_EQ(check.Text(0), "ok");
      return {};
    }));
    return rows;
  }
  void MakeTable() {
    const auto database = Must(layerstore::Database::Open(path_));
    Must(database->Write([](layerstore::Connection& connection) {
      return connection.Execute("CREATE TABLE t (x)");
    }));
  }

  TempRoot root_ = Must(TempRoot::Create());
  std::string path_ = root_.At("x.db");
};

// Whatever step of SQLite's fails, the row is there or not, and is there if that was reported.
TEST_P(FaultVfsTest, EveryStepOfATransaction) {
  MakeTable();
  FaultPlan plan(GetParam());
  std::uint64_t failed = 0;
  for (std::uint64_t at = 0;; ++at) {
    SCOPED_TRACE(FaultName(GetParam()) + " at step " + std::to_string(at));
    const std::int64_t before = Rows();
    bool added = false;
    bool reached = true;
    if (GetParam() == FaultKind::kDie) {
      auto child = Must(ChildProcess::Fork([&] {
        const auto vfs = FaultVfs::Install(plan);
        plan.Arm(at);
        return vfs && AddRow() ? 0 : 1;
      }));
      const int code = Must(child.Wait(std::chrono::seconds(30)));
      reached = code == kDeadExit;
      added = code == 0;
    } else {
      const auto vfs = Must(FaultVfs::Install(plan));
      plan.Arm(at);
      added = AddRow().has_value();
      reached = plan.Reached();
      plan.Disarm();
    }
    const std::int64_t after = Rows();
    EXPECT_TRUE(after == before + 1 || (!added && after == before)) << before << ' ' << after;
    if (!added) ++failed;
    if (!reached) {
      EXPECT_TRUE(added);
      break;
    }
    ASSERT_LT(at, 200U);
  }
  EXPECT_GT(failed, 2U);
}

INSTANTIATE_TEST_SUITE_P(Kinds, FaultVfsTest,
                         ::testing::Values(FaultKind::kError, FaultKind::kErrorFromThere,
                                           FaultKind::kFull, FaultKind::kFullFromThere,
                                           FaultKind::kShort, FaultKind::kDie),
                         [](const auto& param) { return FaultName(param.param); });

TEST(FaultVfsInstallTest, OneAtATimeAndNothingStays) {
  FaultPlan plan(FaultKind::kError);
  {
    const auto first = Must(FaultVfs::Install(plan));
    EXPECT_STREQ(sqlite3_vfs_find(nullptr)->zName, "strata-fault");
    const auto second = FaultVfs::Install(plan);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code(), EBUSY);
  }
  EXPECT_STREQ(sqlite3_vfs_find(nullptr)->zName, "unix");
  EXPECT_EQ(sqlite3_vfs_find("strata-fault"), nullptr);
}

class UnsyncedTest : public ::testing::Test {
 protected:
  UnsyncedTest() {
    MakeDir(root_.At("a"));
    MakeDir(root_.At("b"));
  }

  UniqueFd Directory(const std::string& name) {
    return Must(ops_->Open(AT_FDCWD, root_.At(name).c_str(), O_RDONLY | O_DIRECTORY, 0));
  }
  // Writes a file; it and its directory are synced or not.
  void Write(const std::string& name, std::string_view content, bool sync) {
    const UniqueFd file =
        Must(ops_->Open(AT_FDCWD, root_.At(name).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    Must(WriteAll(*ops_, file.get(), content));
    if (!sync) return;
    Must(ops_->Sync(file.get()));
    Must(ops_->Sync(Directory(std::string(DirName(name))).get()));
  }
  static std::string_view DirName(std::string_view name) { return name.substr(0, name.rfind('/')); }
  Result<> Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    return ops_->Rename(AT_FDCWD, root_.At(from).c_str(), AT_FDCWD, root_.At(to).c_str(), flags);
  }
  Result<> Unlink(const std::string& name, int flags = 0) {
    return ops_->Unlink(AT_FDCWD, root_.At(name).c_str(), flags);
  }
  // Name and content of every file, after the power cut.
  std::string AfterCut() {
    Must(ops_->DropUnsynced());
    std::string shown;
    for (const char* directory : {"a", "b"}) {
      for (const std::string& name : ListAll(root_.At(directory))) {
        const std::string path = root_.At(directory) + "/" + name;
        shown += std::string(directory) + "/" + name;
        if (S_ISREG(Lstat(path).st_mode)) shown += "=" + ReadFile(path);
        shown += ' ';
      }
    }
    return shown;
  }

  TempRoot root_ = Must(TempRoot::Create());
  std::unique_ptr<UnsyncedFileOps> ops_ =
      Must(UnsyncedFileOps::Create(FileOps::System(), root_.At("attic")));
};

TEST_F(UnsyncedTest, FilesAreCutToWhatWasSynced) {
  Write("a/f", "synced", true);
  Write("a/f", " and not", false);
  EXPECT_EQ(ReadFile(root_.At("a/f")), "synced and not");
  EXPECT_EQ(AfterCut(), "a/f=synced ");
  Write("a/f", " again", true);
  EXPECT_EQ(AfterCut(), "a/f=synced again ");
}

TEST_F(UnsyncedTest, NamesNeedTheirDirectory) {
  Write("a/f", "x", false);
  const UniqueFd file = Must(ops_->Open(AT_FDCWD, root_.At("a/f").c_str(), O_RDONLY, 0));
  Must(ops_->Sync(file.get()));
  EXPECT_EQ(AfterCut(), "");

  Write("a/f", "x", false);
  Must(ops_->Sync(Directory("a").get()));
  EXPECT_EQ(AfterCut(), "a/f= ");
}

TEST_F(UnsyncedTest, DirectoriesTakeWhatIsInThemAlong) {
  Must(ops_->MakeDir(AT_FDCWD, root_.At("a/d").c_str(), 0700));
  Write("a/d/f", "x", true);
  EXPECT_EQ(AfterCut(), "");
  Must(ops_->MakeDir(AT_FDCWD, root_.At("a/d").c_str(), 0700));
  Must(ops_->Sync(Directory("a").get()));
  Write("a/d/f", "x", true);
  EXPECT_EQ(AfterCut(), "a/d a/d/f=x ");
}

TEST_F(UnsyncedTest, RenamesGoBack) {
  Write("a/f", "new", true);
  Write("b/f", "old", true);
  Must(Rename("a/f", "b/f"));
  EXPECT_EQ(AfterCut(), "a/f=new b/f=old ");
  Must(Rename("a/f", "b/f"));
  // The directory it came from is not the one that counts.
  Must(ops_->Sync(Directory("a").get()));
  EXPECT_EQ(AfterCut(), "a/f=new b/f=old ");
  Must(Rename("a/f", "b/f"));
  Must(ops_->Sync(Directory("b").get()));
  EXPECT_EQ(AfterCut(), "b/f=new ");

  EXPECT_EQ(Rename("b/none", "b/f").error().code(), ENOENT);
  Write("a/g", "g", true);
  EXPECT_EQ(Rename("a/g", "b/f", RENAME_NOREPLACE).error().code(), EEXIST);
  Must(Rename("a/g", "b/f", RENAME_EXCHANGE));
  EXPECT_EQ(ReadFile(root_.At("b/f")), "g");
  EXPECT_EQ(AfterCut(), "a/g=g b/f=new ");
}

TEST_F(UnsyncedTest, ANameOnItsWayIsWhereItWasLastSynced) {
  // Staged, published with its directory synced; the staging never was.
  Write("a/staged", "x", false);
  const UniqueFd file = Must(ops_->Open(AT_FDCWD, root_.At("a/staged").c_str(), O_RDONLY, 0));
  Must(ops_->Sync(file.get()));
  Must(Rename("a/staged", "b/published"));
  Must(ops_->Sync(Directory("b").get()));
  EXPECT_EQ(AfterCut(), "b/published=x ");
}

TEST_F(UnsyncedTest, WhatWasRemovedComesBack) {
  Must(ops_->MakeDir(AT_FDCWD, root_.At("a/d").c_str(), 0700));
  Write("a/d/f", "x", true);
  Must(ops_->Sync(Directory("a").get()));
  EXPECT_EQ(Unlink("a/d").error().code(), EISDIR);
  EXPECT_EQ(Unlink("a/d", AT_REMOVEDIR).error().code(), ENOTEMPTY);
  EXPECT_EQ(Unlink("a/d/f", AT_REMOVEDIR).error().code(), ENOTDIR);
  EXPECT_EQ(Unlink("a/none").error().code(), ENOENT);
  Must(Unlink("a/d/f"));
  Must(Unlink("a/d", AT_REMOVEDIR));
  EXPECT_FALSE(Exists(root_.At("a/d")));
  EXPECT_EQ(AfterCut(), "a/d a/d/f=x ");
  Must(Unlink("a/d/f"));
  Must(ops_->Sync(Directory("a/d").get()));
  EXPECT_EQ(AfterCut(), "a/d ");
}

TEST_F(UnsyncedTest, SyncfsKeepsEverything) {
  Write("a/gone", "x", true);
  Write("a/f", "x", false);
  Must(Rename("a/f", "b/f"));
  Must(Unlink("a/gone"));
  Must(ops_->SyncFilesystem(Directory("a").get()));
  EXPECT_EQ(AfterCut(), "b/f=x ");
}

}  // namespace
}  // namespace strata::support
