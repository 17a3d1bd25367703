// The database layer by itself.
#include "layerstore/meta/database.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <span>
#include <string>
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

constexpr std::array kSteps = {Migration{"CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)"},
                               Migration{"ALTER TABLE t ADD COLUMN z INTEGER"}};

Result<std::shared_ptr<Database>> OpenReadOnly(const std::string& path) {
  return Database::OpenReadOnly(path, {"c", kSteps});
}

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

  static Result<> Insert(Database& database) {
    return database.Write([](Connection& connection) {
      return connection.Execute("INSERT INTO t (y) VALUES ('row')");
    });
  }

  support::TempRoot temp_ = Must(support::TempRoot::Create());
  std::string path_ = temp_.At("x.db");
};

TEST_F(DatabaseTest, MigratesOnceAndRefusesTheFuture) {
  {
    const auto database = Must(Database::Open(path_));
    EXPECT_EQ(Must(database->Version("c")), 0);
    Must(database->Migrate("c", std::span(kSteps).first(1)));
    EXPECT_EQ(Must(database->Version("c")), 1);
  }
  const auto database = Must(Database::Open(path_));
  Must(database->Migrate("c", kSteps));
  Must(database->Migrate("c", kSteps));
  EXPECT_EQ(Must(database->Version("c")), 2);
  EXPECT_EQ(Must(database->Version("other")), 0);
  const auto older = database->Migrate("c", std::span(kSteps).first(1));
  ASSERT_FALSE(older.has_value());
  EXPECT_EQ(older.error().code(), EPROTONOSUPPORT);
}

TEST_F(DatabaseTest, AFailedStepLeavesTheOldVersion) {
  const auto database = Must(Database::Open(path_));
  constexpr std::array kBad = {kSteps[0], Migration{"ALTER TABLE missing ADD COLUMN z"}};
  EXPECT_FALSE(database->Migrate("c", kBad).has_value());
  EXPECT_EQ(Must(database->Version("c")), 0);
  Must(database->Migrate("c", kSteps));
}

TEST_F(DatabaseTest, TransactionsAreAllOrNothing) {
  const auto database = Must(Database::Open(path_));
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
  const auto database = Must(Database::Open(path_));
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
  const auto first = Must(Database::Open(path_));
  Must(first->Migrate("c", kSteps));
  const auto second = Must(Database::Open(path_));
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
  EXPECT_EQ(Database::Open(temp_.At("none/x.db")).error().code(), ENOENT);
  EXPECT_EQ(OpenReadOnly(temp_.At("none.db")).error().code(), ENOENT);
  support::MakeDir(temp_.At("directory"));
  EXPECT_EQ(Database::Open(temp_.At("directory")).error().code(), EISDIR);
  Must(Database::Open(path_));
  Must(FileOps::System().SymLink("x.db", AT_FDCWD, temp_.At("link.db").c_str()));
  EXPECT_EQ(Database::Open(temp_.At("link.db")).error().code(), ELOOP);
}

TEST_F(DatabaseTest, SaysWhyTheSystemRefused) {
  Must(Database::Open(path_));
  support::MustCall(::chmod(path_.c_str(), 0600), "chmod");
  const auto open = [&] {
    const auto database = OpenReadOnly(path_);
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
  Must(Database::Open(temp_.At("link/x.db")));
  Must(OpenReadOnly(temp_.At("real/x.db")));
}

TEST_F(DatabaseTest, RelaxedTransactionsAreTransactions) {
  const auto database = Must(Database::Open(path_));
  Must(database->Migrate("c", kSteps));
  const auto failed = database->WriteRelaxed([](Connection& connection) -> Result<> {
    STRATA_TRY(connection.Execute("INSERT INTO t (y) VALUES ('lost')"));
    return Fail(ECANCELED, "body");
  });
  EXPECT_EQ(failed.error().code(), ECANCELED);
  EXPECT_EQ(Count(*database), 0);
  Must(database->WriteRelaxed([](Connection& connection) {
    return connection.Execute("INSERT INTO t (y) VALUES ('kept')");
  }));
  EXPECT_EQ(Count(*Must(Database::Open(path_))), 1);
  // What comes after it is durable as before.
  Must(database->Write([](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement statement, connection.Prepare("PRAGMA synchronous"));
    STRATA_TRY(statement.Step());
    EXPECT_EQ(statement.Integer(0), 2);
    return {};
  }));
}

TEST_F(DatabaseTest, ReadersDoNotWaitForAWriter) {
  const auto database = Must(Database::Open(path_));
  Must(database->Migrate("c", kSteps));
  Must(database->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY(connection.Execute("INSERT INTO t (y) VALUES ('new')"));
    std::jthread reader([&] { EXPECT_EQ(Count(*database), 0); });
    return {};
  }));
  EXPECT_EQ(Count(*database), 1);
}

class ReadOnlyDatabaseTest : public DatabaseTest {
 protected:
  ReadOnlyDatabaseTest() {
    support::MakeDir(temp_.At("d"));
    path_ = temp_.At("d/x.db");
  }

  // Names, sizes and times of all that stands beside the database.
  std::string Traces() {
    return Must(support::RunTool({"ls", "-la", "--full-time", temp_.At("d")})).out;
  }
};

TEST_F(ReadOnlyDatabaseTest, LeavesNoTrace) {
  {
    const auto writer = Must(Database::Open(path_));
    Must(writer->Migrate("c", kSteps));
    Must(Insert(*writer));
  }
  const std::string before = Traces();
  {
    const auto reader = Must(OpenReadOnly(path_));
    EXPECT_EQ(Count(*reader), 1);
    EXPECT_EQ(Insert(*reader).error().code(), EROFS);
    EXPECT_FALSE(reader->Read([](Connection& connection) {
      return connection.Execute("INSERT INTO t (y) VALUES ('row')");
    }));
  }
  EXPECT_EQ(Traces(), before);
}

TEST_F(ReadOnlyDatabaseTest, SeesWhatAWriterHasCommitted) {
  const auto writer = Must(Database::Open(path_));
  Must(writer->Migrate("c", kSteps));
  const auto reader = Must(OpenReadOnly(path_));
  for (int rows = 1; rows < 20; ++rows) {
    Must(Insert(*writer));
    EXPECT_EQ(Count(*reader), rows);
  }
  const std::string before = Traces();
  EXPECT_EQ(Count(*Must(OpenReadOnly(path_))), 19);
  EXPECT_EQ(Traces(), before);
}

TEST_F(ReadOnlyDatabaseTest, StatesAreNeverTorn) {
  const auto writer = Must(Database::Open(path_));
  Must(writer->Migrate("c", kSteps));
  Must(Insert(*writer));
  std::atomic<bool> done = false;
  // Two rows at a time, with checkpoints in between; so an even number is torn.
  std::jthread changes([&] {
    for (int round = 0; round < 200; ++round) {
      Must(writer->Write([](Connection& connection) {
        return connection.Execute(
            "INSERT INTO t (y) VALUES (hex(randomblob(2000))); INSERT INTO t (y) VALUES ('row')");
      }));
      if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    done = true;
  });
  const auto reader = Must(OpenReadOnly(path_));
  std::int64_t last = 0;
  while (!done) {
    std::int64_t count = 0;
    const auto read = reader->Read([&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(Statement statement, connection.Prepare("SELECT count(*) FROM t"));
      STRATA_TRY(statement.Step());
      count = statement.Integer(0);
      return {};
    });
    if (!read) {
      EXPECT_EQ(read.error().code(), EBUSY) << read.error().ToString();
      continue;
    }
    EXPECT_EQ(count % 2, 1);
    EXPECT_GE(count, last);
    last = count;
  }
  changes.join();
  EXPECT_EQ(Count(*reader), 401);
}

TEST_F(ReadOnlyDatabaseTest, OlderTablesAreReadAsTodays) {
  {
    const auto writer = Must(Database::Open(path_));
    Must(writer->Migrate("c", std::span(kSteps).first(1)));
    Must(Insert(*writer));
  }
  const std::string before = Traces();
  const auto reader = Must(OpenReadOnly(path_));
  Must(reader->Read([](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement statement, connection.Prepare("SELECT z FROM t"));
    STRATA_TRY(statement.Step());
    EXPECT_TRUE(statement.IsNull(0));
    return {};
  }));
  EXPECT_EQ(Traces(), before);
  const std::vector<Migration> older(kSteps.begin(), kSteps.begin() + 1);
  Must(Must(Database::Open(path_))->Migrate("c", kSteps));
  EXPECT_EQ(Database::OpenReadOnly(path_, {"c", older}).error().code(), EPROTONOSUPPORT);
}

TEST_F(ReadOnlyDatabaseTest, DamageIsFound) {
  {
    const auto writer = Must(Database::Open(path_));
    Must(writer->Migrate("c", kSteps));
    for (int row = 0; row < 200; ++row) Must(Insert(*writer));
  }
  const UniqueFd file = Must(FileOps::System().Open(AT_FDCWD, path_.c_str(), O_RDWR));
  Must(WriteAllAt(FileOps::System(), file.get(), std::as_bytes(std::span("damage damage")), 8200));
  EXPECT_EQ(OpenReadOnly(path_).error().code(), EBADMSG);
}

}  // namespace
}  // namespace strata::layerstore
