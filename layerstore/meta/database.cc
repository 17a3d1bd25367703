#include "layerstore/meta/database.h"

#include <sqlite3.h>

#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/meta/read_only_database.h"
#include "layerstore/meta/sqlite_error.h"

namespace strata::layerstore {
namespace {

constexpr int kBusyTimeoutMs = 30'000;

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), bind_status_(other.bind_status_) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(statement_, other.statement_);
  std::swap(bind_status_, other.bind_status_);
  return *this;
}

Statement::~Statement() {
  // Its result repeats the last step's error, which was reported there.
  sqlite3_finalize(statement_);
}

Statement& Statement::Bind(int index, std::string_view text) {
  // A null pointer would bind NULL; an empty view may have one.
  const char* data = text.data() != nullptr ? text.data() : "";
  const int status =
      sqlite3_bind_text64(statement_, index, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::Bind(int index, std::int64_t value) {
  const int status = sqlite3_bind_int64(statement_, index, value);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::BindNull(int index) {
  const int status = sqlite3_bind_null(statement_, index);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Result<bool> Statement::Step() {
  if (bind_status_ != SQLITE_OK) return FailSql(nullptr, bind_status_);
  const int status = sqlite3_step(statement_);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  return FailSql(sqlite3_db_handle(statement_), status);
}

Result<> Statement::Run() {
  STRATA_TRY_ASSIGN(const bool row, Step());
  if (row) return Fail(EINVAL, "meta.db", "a statement without result gave a row");
  return {};
}

void Statement::Reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  bind_status_ = SQLITE_OK;
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Result<Statement> Connection::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int status =
      sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (status != SQLITE_OK) return FailSql(db_, status);
  return Statement(statement);
}

Result<> Connection::Execute(const std::string& sql) {
  const int status = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) return FailSql(db_, status);
  return {};
}

std::int64_t Connection::LastInsertId() const { return sqlite3_last_insert_rowid(db_); }
std::int64_t Connection::Changes() const { return sqlite3_changes64(db_); }

Result<int> VersionOfTables(Connection& connection, std::string_view component) {
  STRATA_TRY_ASSIGN(Statement table, connection.Prepare("SELECT 1 FROM sqlite_master WHERE "
                                                        "type='table' AND name='schema_versions'"));
  STRATA_TRY_ASSIGN(const bool exists, table.Step());
  if (!exists) return 0;
  STRATA_TRY_ASSIGN(Statement version,
                    connection.Prepare("SELECT version FROM schema_versions WHERE component=?1"));
  version.Bind(1, component);
  STRATA_TRY_ASSIGN(const bool known, version.Step());
  return known ? static_cast<int>(version.Integer(0)) : 0;
}

Result<> MigrateTables(Connection& connection, std::string_view component,
                       std::span<const Migration> steps) {
  STRATA_TRY(
      connection.Execute("CREATE TABLE IF NOT EXISTS schema_versions (component TEXT "
                         "PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"));
  STRATA_TRY_ASSIGN(const int version, VersionOfTables(connection, component));
  const auto known = static_cast<int>(steps.size());
  if (version < 0 || version > known) {
    return Fail(EPROTONOSUPPORT, "meta.db",
                "'" + std::string(component) + "' has version " + std::to_string(version) +
                    ", this program knows up to " + std::to_string(known));
  }
  if (version == known) return {};
  for (const Migration& step : steps.subspan(static_cast<std::size_t>(version))) {
    STRATA_TRY(connection.Execute(step.sql));
  }
  STRATA_TRY_ASSIGN(Statement update,
                    connection.Prepare("INSERT INTO schema_versions VALUES (?1, ?2) ON CONFLICT "
                                       "(component) DO UPDATE SET version=?2"));
  return update.Bind(1, component).Bind(2, known).Run();
}

namespace {

Result<> Transact(Connection& connection, sqlite3* db, const char* begin,
                  const std::function<Result<>(Connection&)>& body) {
  STRATA_TRY(connection.Execute(begin));
  auto result = body(connection);
  if (result) result = connection.Execute("COMMIT");
  // A failed statement may have rolled back already; the error to report is the first one.
  if (!result && sqlite3_get_autocommit(db) == 0) {
    Ignore(connection.Execute("ROLLBACK"), "the first error is reported");
  }
  return result;
}

// NOFOLLOW is for the file alone, but SQLite refuses a link anywhere on the way to it.
Result<std::string> RealDatabasePath(const std::string& path) {
  STRATA_TRY_ASSIGN(const std::string directory, RealPath(std::string(DirName(path))));
  return JoinPath(directory, BaseName(path));
}

}  // namespace

Database::Database(std::string path, SchemaSteps schema, bool read_only)
    : path_(std::move(path)), schema_(schema), read_only_(read_only) {}

Database::~Database() {
  MutexLock write_lock(write_mu_);
  MutexLock read_lock(read_mu_);
  sqlite3_close_v2(reader_.db_);
  sqlite3_close_v2(writer_.db_);
}

Result<std::shared_ptr<Database>> Database::Open(const std::string& path) {
  STRATA_TRY_ASSIGN(std::string real_path, RealDatabasePath(path));
  std::shared_ptr<Database> database(new Database(std::move(real_path), {}, false));
  MutexLock lock(database->write_mu_);
  STRATA_TRY(database->Connect(database->writer_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
  // WAL: readers do not wait for a writer. FULL: a committed transaction survives power loss.
  STRATA_TRY(database->writer_.Execute("PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"));
  return database;
}

Result<std::shared_ptr<Database>> Database::OpenReadOnly(const std::string& path,
                                                         const SchemaSteps& schema) {
  STRATA_TRY_ASSIGN(std::string real_path, RealDatabasePath(path));
  std::shared_ptr<Database> database(new Database(std::move(real_path), schema, true));
  MutexLock lock(database->read_mu_);
  STRATA_TRY(database->OpenReader());
  return database;
}

Result<> Database::Connect(Connection& connection, int flags) {
  sqlite3* db = nullptr;
  const int status = sqlite3_open_v2(path_.c_str(), &db,
                                     flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nullptr);
  // To be closed even where opening failed.
  connection.db_ = db;
  if (status != SQLITE_OK) return FailToOpen(db, status, path_);
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  return connection.Execute("PRAGMA foreign_keys=ON");
}

Result<> Database::OpenReader() {
  if (!read_only_) {
    if (reader_.db_ != nullptr) return {};
    auto connected = Connect(reader_, SQLITE_OPEN_READONLY);
    if (!connected) sqlite3_close_v2(std::exchange(reader_.db_, nullptr));
    return connected;
  }
  if (reader_.db_ != nullptr) {
    STRATA_TRY_ASSIGN(const DatabaseState now, DatabaseState::Of(path_));
    if (now == seen_) return {};
  }
  STRATA_TRY_ASSIGN(const ReadOnlyConnection fresh, layerstore::OpenReadOnly(path_, schema_));
  sqlite3_close_v2(std::exchange(reader_.db_, fresh.db));
  seen_ = fresh.state;
  return {};
}

Result<> Database::Write(const std::function<Result<>(Connection&)>& body) {
  if (read_only_) return Fail(EROFS, "meta.db", "is opened read-only");
  MutexLock lock(write_mu_);
  // IMMEDIATE takes the write lock at once, so that what the body reads can not change under it.
  return Transact(writer_, writer_.db_, "BEGIN IMMEDIATE", body);
}

Result<> Database::WriteRelaxed(const std::function<Result<>(Connection&)>& body) {
  if (read_only_) return Fail(EROFS, "meta.db", "is opened read-only");
  MutexLock lock(write_mu_);
  STRATA_TRY(writer_.Execute("PRAGMA synchronous=NORMAL"));
  auto result = Transact(writer_, writer_.db_, "BEGIN IMMEDIATE", body);
  // It sets a number in memory: were it to fail, no later Write() may claim to be durable.
  if (auto reset = writer_.Execute("PRAGMA synchronous=FULL"); !reset && result) return reset;
  return result;
}

Result<> Database::Read(const std::function<Result<>(Connection&)>& body) {
  MutexLock lock(read_mu_);
  STRATA_TRY(OpenReader());
  return Transact(reader_, reader_.db_, "BEGIN", body);
}

Result<int> Database::Version(std::string_view component) {
  int version = 0;
  STRATA_TRY(Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(version, VersionOfTables(connection, component));
    return {};
  }));
  return version;
}

Result<> Database::Migrate(std::string_view component, std::span<const Migration> steps) {
  return Write([&](Connection& connection) { return MigrateTables(connection, component, steps); });
}

}  // namespace strata::layerstore
