#include "layerstore/meta/database.h"

#include <sqlite3.h>

#include <utility>

#include "base/path.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr int kBusyTimeoutMs = 30'000;

// What the system call said that made SQLite give up. ENOENT from one stands for a file that SQLite
// keeps for itself, never for a row that is not there, so it is no answer to give a caller.
int SystemErrno(sqlite3* db) {
  const int code = db != nullptr ? sqlite3_system_errno(db) : 0;
  return code == 0 || code == ENOENT ? EIO : code;
}

// SQLite's result codes as errno values: https://www.sqlite.org/rescode.html
int ToErrno(sqlite3* db, int status) {
  switch (status & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EBUSY;
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return EACCES;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      return SystemErrno(db);
    case SQLITE_NOMEM:
      return ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return EBADMSG;
    case SQLITE_CONSTRAINT:
      return EEXIST;
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
      return EINVAL;
    default:
      return EIO;
  }
}

std::unexpected<Error> FailSql(sqlite3* db, int status) {
  return Fail(ToErrno(db, status), "meta.db",
              std::string(db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(status)));
}

// Why a database was not opened: here a file that is not there is an answer.
int OpenErrno(sqlite3* db, int status) {
  if (sqlite3_extended_errcode(db) == SQLITE_CANTOPEN_SYMLINK) return ELOOP;
  if ((status & 0xFF) == SQLITE_CANTOPEN && sqlite3_system_errno(db) == ENOENT) return ENOENT;
  return ToErrno(db, status);
}

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

Result<std::shared_ptr<Database>> Database::Open(const std::string& path, bool read_only) {
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  // NOFOLLOW is for the file alone, but SQLite refuses a link anywhere on the way to it.
  STRATA_TRY_ASSIGN(const std::string directory, RealPath(std::string(DirName(path))));
  const std::string real_path = JoinPath(directory, BaseName(path));
  sqlite3* db = nullptr;
  const int status = sqlite3_open_v2(real_path.c_str(), &db, flags, nullptr);
  // Owns `db` from here on, even where opening failed: SQLite wants it closed all the same.
  std::shared_ptr<Database> database(new Database(db));
  if (status != SQLITE_OK) {
    return Fail(OpenErrno(db, status), "meta.db", path + ": " + sqlite3_errmsg(db));
  }
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  MutexLock lock(database->mu_);
  // WAL: readers do not wait for a writer. FULL: a committed transaction survives power loss.
  std::string pragmas = "PRAGMA foreign_keys=ON;";
  if (!read_only) pragmas += "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;";
  STRATA_TRY(database->connection_.Execute(pragmas));
  return database;
}

Database::~Database() {
  MutexLock lock(mu_);
  sqlite3_close_v2(connection_.db_);
}

Result<> Database::Transact(const char* begin, const std::function<Result<>(Connection&)>& body) {
  MutexLock lock(mu_);
  STRATA_TRY(connection_.Execute(begin));
  auto result = body(connection_);
  if (result) result = connection_.Execute("COMMIT");
  // A failed statement may have rolled back already; the error to report is the first one.
  if (!result && sqlite3_get_autocommit(connection_.db_) == 0) {
    Ignore(connection_.Execute("ROLLBACK"), "the first error is reported");
  }
  return result;
}

Result<> Database::Write(const std::function<Result<>(Connection&)>& body) {
  // IMMEDIATE takes the write lock at once, so that what the body reads can not change under it.
  return Transact("BEGIN IMMEDIATE", body);
}

Result<> Database::Read(const std::function<Result<>(Connection&)>& body) {
  return Transact("BEGIN", body);
}

namespace {

Result<int> VersionOf(Connection& connection, std::string_view component) {
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

}  // namespace

Result<int> Database::Version(std::string_view component) {
  int version = 0;
  STRATA_TRY(Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(version, VersionOf(connection, component));
    return {};
  }));
  return version;
}

Result<> Database::Migrate(std::string_view component, std::span<const Migration> steps) {
  return Write([&](Connection& connection) -> Result<> {
    STRATA_TRY(
        connection.Execute("CREATE TABLE IF NOT EXISTS schema_versions (component TEXT "
                           "PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"));
    STRATA_TRY_ASSIGN(const int version, VersionOf(connection, component));
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
  });
}

}  // namespace strata::layerstore
