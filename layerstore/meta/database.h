// meta.db: one SQLite database for everything that is rows rather than bytes. RAII around
// connection, statement and transaction; no SQLite type in sight.
#pragma once

#include <sys/stat.h>

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
  Connection() = default;
  explicit Connection(sqlite3* db) : db_(db) {}  // borrowed

  Result<Statement> Prepare(std::string_view sql);
  // Runs one or several statements without parameters or rows.
  Result<> Execute(const std::string& sql);
  std::int64_t LastInsertId() const;
  std::int64_t Changes() const;  // rows touched by the last INSERT, UPDATE or DELETE

 private:
  friend class Database;
  sqlite3* db_ = nullptr;
};

// One step of a schema: SQL that brings version N to N+1.
struct Migration {
  const char* sql;
};

// The tables of one component and how they come to be.
struct SchemaSteps {
  std::string_view component;
  std::span<const Migration> steps;
};

// Within a transaction: what Database::Version() and Migrate() do.
Result<int> VersionOfTables(Connection& connection, std::string_view component);
Result<> MigrateTables(Connection& connection, std::string_view component,
                       std::span<const Migration> steps);

// What tells one state of a database from the next: its file and its write-ahead log.
class DatabaseState {
 public:
  // ENOENT if there is no database; a log may be missing.
  static Result<DatabaseState> Of(const std::string& path);
  bool has_log() const { return log_.size > 0; }
  bool operator==(const DatabaseState&) const = default;

 private:
  struct File {
    dev_t device = 0;
    ino_t number = 0;
    off_t size = 0;
    std::int64_t seconds = 0;  // of its last change
    std::int64_t nanoseconds = 0;
    bool operator==(const File&) const = default;
  };
  static File FileOf(const struct stat& st);

  File database_;
  File log_;
};

// One database file. Thread-safe: write transactions of one process queue on a mutex and those of
// several processes on SQLite's lock, for up to kBusyTimeout; reads queue on a mutex of their own
// and wait for no writer. Both mutexes have the rank layerstore/meta: nothing else is locked inside
// but what the body takes. Error codes: EIO and what SQLite said, EBUSY, EROFS, ENOSPC, EEXIST for
// a broken uniqueness rule.
class Database {
 public:
  static Result<std::shared_ptr<Database>> Open(const std::string& path);
  // Never writes anything near the file, which may lie on a read-only filesystem; while a program
  // changes it, reads see one of its states after the other (read_only_database.h). Older tables of
  // `schema`, which must live as long, are read as if they had been brought up to date; newer ones
  // are refused with EPROTONOSUPPORT. Writes fail with EROFS.
  static Result<std::shared_ptr<Database>> OpenReadOnly(const std::string& path,
                                                        const SchemaSteps& schema);
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
  // The same, but a power failure may undo it: for rows that mean nothing without their process, or
  // that are only good to know. Never without what came before it; a later Write() makes it
  // durable.
  Result<> WriteRelaxed(const std::function<Result<>(Connection&)>& body);
  // Runs `body` on one consistent snapshot; it must not write.
  Result<> Read(const std::function<Result<>(Connection&)>& body);

 private:
  Database(std::string path, SchemaSteps schema, bool read_only);
  Result<> Connect(Connection& connection, int flags);
  // Makes the connection for reading what it has to be now.
  Result<> OpenReader() STRATA_REQUIRES(read_mu_);

  const std::string path_;  // without symbolic links
  const SchemaSteps schema_;
  const bool read_only_;
  Mutex write_mu_;
  Connection writer_ STRATA_GUARDED_BY(write_mu_);
  Mutex read_mu_;
  Connection reader_ STRATA_GUARDED_BY(read_mu_);
  DatabaseState seen_ STRATA_GUARDED_BY(read_mu_);  // by the reader, if read-only
};

}  // namespace strata::layerstore
