// meta.db: one SQLite database for everything that is rows rather than bytes. RAII around
// connection, statement and transaction; no SQLite type in sight.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/mutex.h"

struct sqlite3;
struct sqlite3_stmt;

namespace strata::layerstore {

// One prepared statement. Parameters count from 1, columns from 0. Not thread-safe; lives within
// the transaction body that prepared it.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  // Binding never fails but for an index out of range or no memory, which the next Step() reports.
  Statement& Bind(int index, std::string_view text);
  Statement& Bind(int index, std::int64_t value);
  Statement& BindNull(int index);

  // true: a row is there; false: done.
  Result<bool> Step();
  // Runs a statement that gives no rows.
  Result<> Run();
  // Makes it ready to run again with new parameters.
  void Reset();

  std::string Text(int column) const;
  std::int64_t Integer(int column) const;
  bool IsNull(int column) const;

 private:
  friend class Connection;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  sqlite3_stmt* statement_ = nullptr;
  int bind_status_ = 0;
};

// What a transaction body works with.
class Connection {
 public:
  Result<Statement> Prepare(std::string_view sql);
  // Runs one or several statements without parameters or rows.
  Result<> Execute(const std::string& sql);
  std::int64_t LastInsertId() const;
  std::int64_t Changes() const;  // rows touched by the last INSERT, UPDATE or DELETE

 private:
  friend class Database;
  explicit Connection(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

// One step of a schema: SQL that brings version N to N+1.
struct Migration {
  const char* sql;
};

// A connection to one database file. Thread-safe: transactions of one process queue on a mutex
// (rank: layerstore/meta, nothing else is locked inside but what the body takes), those of several
// processes on SQLite's lock, for up to kBusyTimeout. Error codes: EIO and what SQLite said, EBUSY,
// EROFS, ENOSPC, EEXIST for a broken uniqueness rule.
class Database {
 public:
  static Result<std::shared_ptr<Database>> Open(const std::string& path, bool read_only);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  // Brings `component`'s tables to version steps.size(), in one transaction; a database that is
  // newer than this program is refused with EPROTONOSUPPORT. Components are independent: the
  // manager keeps its own tables here under its own name ("manager.container").
  Result<> Migrate(std::string_view component, std::span<const Migration> steps);
  // 0 if the component has no tables yet.
  Result<int> Version(std::string_view component);

  // Runs `body` in one write transaction: all of it happens, durably, or none.
  Result<> Write(const std::function<Result<>(Connection&)>& body);
  // Runs `body` on one consistent snapshot; it must not write.
  Result<> Read(const std::function<Result<>(Connection&)>& body);

 private:
  explicit Database(sqlite3* db) : connection_(db) {}
  Result<> Transact(const char* begin, const std::function<Result<>(Connection&)>& body);

  Mutex mu_;
  Connection connection_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::layerstore
