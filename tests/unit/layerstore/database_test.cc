// The database layer by itself.
#include "layerstore/meta/database.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <thread>
#include <vector>

#include "base/file_ops.h"
#include "base/try.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"

namespace strata::layerstore {
namespace {

using support::Must;

class DatabaseTest : public ::testing::Test {
 protected:
  std::int64_t Count(Database& database) {
    std::int64_t count = -1;
    Must(database.Read([&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(Statement statement, connection.Prepare("SELECT count(*) FROM t"));
      STRATA_TRY(statement.Step());
      count = statement.Integer(0);
      return {};
    }));
    return count;
  }

  support::TempRoot temp_ = Must(support::TempRoot::Create());
  std::string path_ = temp_.At("x.db");
};

constexpr std::array kSteps = {Migration{"CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)"},
                               Migration{"ALTER TABLE t ADD COLUMN z INTEGER"}};

TEST_F(DatabaseTest, MigratesOnceAndRefusesTheFuture) {
  {
    const auto database = Must(Database::Open(path_, false));
    EXPECT_EQ(Must(database->Version("c")), 0);
    Must(database->Migrate("c", std::span(kSteps).first(1)));
    EXPECT_EQ(Must(database->Version("c")), 1);
  }
  const auto database = Must(Database::Open(path_, false));
  Must(database->Migrate("c", kSteps));
  Must(database->Migrate("c", kSteps));
  EXPECT_EQ(Must(database->Version("c")), 2);
  EXPECT_EQ(Must(database->Version("other")), 0);
  const auto older = database->Migrate("c", std::span(kSteps).first(1));
  ASSERT_FALSE(older.has_value());
  EXPECT_EQ(older.error().code(), EPROTONOSUPPORT);
}

TEST_F(DatabaseTest, AFailedStepLeavesTheOldVersion) {
  const auto database = Must(Database::Open(path_, false));
  constexpr std::array kBad = {kSteps[0], Migration{"ALTER TABLE missing ADD COLUMN z"}};
  EXPECT_FALSE(database->Migrate("c", kBad).has_value());
  EXPECT_EQ(Must(database->Version("c")), 0);
  Must(database->Migrate("c", kSteps));
}

TEST_F(DatabaseTest, TransactionsAreAllOrNothing) {
  const auto database = Must(Database::Open(path_, false));
  Must(database->Migrate("c", kSteps));
  const auto result = database->Write([](Connection& connection) -> Result<> {
    STRATA_TRY(connection.Execute("INSERT INTO t (x) VALUES (1)"));
    return Fail(ECANCELED, "test");
  });
  EXPECT_EQ(result.error().code(), ECANCELED);
  EXPECT_EQ(Count(*database), 0);
  Must(database->Write(
      [](Connection& connection) { return connection.Execute("INSERT INTO t (x) VALUES (1)"); }));
  const auto twice = database->Write(
      [](Connection& connection) { return connection.Execute("INSERT INTO t (x) VALUES (1)"); });
  EXPECT_EQ(twice.error().code(), EEXIST);
  EXPECT_EQ(Count(*database), 1);
}

TEST_F(DatabaseTest, TextKeepsEveryByte) {
  const auto database = Must(Database::Open(path_, false));
  Must(database->Migrate("c", kSteps));
  const std::string bytes("a\0\xff\n", 4);
  Must(database->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement insert, connection.Prepare("INSERT INTO t (x, y) VALUES (?1, ?2)"));
    STRATA_TRY(insert.Bind(1, 7).Bind(2, bytes).Run());
    STRATA_TRY_ASSIGN(Statement select, connection.Prepare("SELECT y, z FROM t WHERE x=?1"));
    select.Bind(1, 7);
    STRATA_TRY_ASSIGN(const bool row, select.Step());
    EXPECT_TRUE(row);
    EXPECT_EQ(select.Text(0), bytes);
    EXPECT_TRUE(select.IsNull(1));
    EXPECT_EQ(select.Bind(5, 1).Step().error().code(), EINVAL);  // no such parameter
    return {};
  }));
}

TEST_F(DatabaseTest, WritersQueue) {
  const auto first = Must(Database::Open(path_, false));
  Must(first->Migrate("c", kSteps));
  const auto second = Must(Database::Open(path_, false));
  std::vector<std::jthread> threads;
  for (Database* database : {first.get(), first.get(), second.get(), second.get()}) {
    threads.emplace_back([database] {
      for (int i = 0; i < 10; ++i) {
        Must(database->Write([](Connection& connection) {
          return connection.Execute("INSERT INTO t (y) VALUES ('row')");
        }));
      }
    });
  }
  threads.clear();
  EXPECT_EQ(Count(*first), 40);
}

TEST_F(DatabaseTest, BadFiles) {
  EXPECT_EQ(Database::Open(temp_.At("none/x.db"), false).error().code(), ENOENT);
  EXPECT_EQ(Database::Open(temp_.At("none.db"), true).error().code(), ENOENT);
  support::MakeDir(temp_.At("directory"));
  EXPECT_EQ(Database::Open(temp_.At("directory"), false).error().code(), EISDIR);
  Must(Database::Open(path_, false));
  Must(FileOps::System().SymLink("x.db", AT_FDCWD, temp_.At("link.db").c_str()));
  EXPECT_EQ(Database::Open(temp_.At("link.db"), false).error().code(), ELOOP);
}

TEST_F(DatabaseTest, SaysWhyTheSystemRefused) {
  Must(Database::Open(path_, false));
  support::MustCall(::chmod(path_.c_str(), 0600), "chmod");
  const auto open = [&] {
    const auto database = Database::Open(path_, true);
    return database ? 0 : database.error().code();
  };
  EXPECT_EQ(support::AsUser(65534, open), EACCES);
  // No descriptor left: neither "not there" nor a broken disk.
  auto child = Must(support::ChildProcess::Fork([&] {
    const rlimit none = {3, 3};
    return ::setrlimit(RLIMIT_NOFILE, &none) == 0 ? open() : -1;
  }));
  EXPECT_EQ(Must(child.Wait(std::chrono::seconds(30))), EMFILE);
}

TEST_F(DatabaseTest, DirectoriesOnTheWayMayBeLinks) {
  support::MakeDir(temp_.At("real"));
  Must(FileOps::System().SymLink("real", AT_FDCWD, temp_.At("link").c_str()));
  Must(Database::Open(temp_.At("link/x.db"), false));
  Must(Database::Open(temp_.At("real/x.db"), true));
}

}  // namespace
}  // namespace strata::layerstore
