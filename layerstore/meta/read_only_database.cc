#include "layerstore/meta/read_only_database.h"

#include <sqlite3.h>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/private_directory.h"
#include "base/try.h"
#include "layerstore/meta/sqlite_error.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kCopyBytesMax = std::size_t{512} << 20U;
constexpr int kAttempts = 50;
constexpr auto kPause = std::chrono::milliseconds(5);
constexpr const char* kLogSuffix = "-wal";

struct Closer {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Handle = std::unique_ptr<sqlite3, Closer>;

Result<> Copy(const std::string& from, const std::string& to) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd in,
                    ops.Open(AT_FDCWD, from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  STRATA_TRY_ASSIGN(const std::string bytes, ReadAll(ops, in.get(), kCopyBytesMax));
  constexpr mode_t kPrivate = 0600;
  STRATA_TRY_ASSIGN(const UniqueFd out,
                    ops.Open(AT_FDCWD, to.c_str(), O_WRONLY | O_CREAT | O_TRUNC, kPrivate));
  return WriteAll(ops, out.get(), bytes);
}

// On NFS what is removed while it is read is stale.
bool IsGone(const Error& error) { return error.code() == ENOENT || error.code() == ESTALE; }

Result<Handle> OpenFile(const std::string& path) {
  sqlite3* db = nullptr;
  const int status =
      sqlite3_open_v2(path.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nullptr);
  Handle handle(db);
  if (status != SQLITE_OK) return FailToOpen(db, status, path);
  sqlite3_extended_result_codes(db, 1);
  return handle;
}

// The first column of the first row.
Result<std::string> Ask(sqlite3* db, const char* sql) {
  Connection connection(db);
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
  STRATA_TRY_ASSIGN(const bool row, statement.Step());
  return row ? statement.Text(0) : std::string();
}

// The database as it is in `state`, or nothing if it has changed meanwhile.
Result<std::optional<Handle>> OpenCopy(const std::string& path, const SchemaSteps& schema,
                                       const DatabaseState& state) {
  STRATA_TRY_ASSIGN(const PrivateDirectory directory, PrivateDirectory::Make("strata-meta-"));
  const std::string copy = JoinPath(directory.path(), "meta.db");
  STRATA_TRY(Copy(path, copy));
  if (state.has_log()) {
    auto copied = Copy(path + kLogSuffix, copy + kLogSuffix);
    if (!copied && IsGone(copied.error())) return std::nullopt;
    STRATA_TRY(std::move(copied));
  }
  STRATA_TRY_ASSIGN(const DatabaseState after, DatabaseState::Of(path));
  if (after != state) return std::nullopt;
  STRATA_TRY_ASSIGN(Handle handle, OpenFile(copy));
  // Without a log from here on, it needs no name.
  STRATA_TRY(Ask(handle.get(), "PRAGMA journal_mode=MEMORY"));
  STRATA_TRY_ASSIGN(const std::string whole, Ask(handle.get(), "PRAGMA quick_check(1)"));
  if (whole != "ok") return Fail(EBADMSG, "meta.db", path + ": " + whole);
  Connection connection(handle.get());
  STRATA_TRY(connection.Execute("PRAGMA foreign_keys=ON;BEGIN IMMEDIATE"));
  STRATA_TRY(MigrateTables(connection, schema.component, schema.steps));
  STRATA_TRY(connection.Execute("COMMIT;PRAGMA query_only=ON"));
  return std::optional<Handle>(std::move(handle));
}

}  // namespace

DatabaseState::File DatabaseState::FileOf(const struct stat& st) {
  return {st.st_dev, st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
}

Result<DatabaseState> DatabaseState::Of(const std::string& path) {
  // NFS would answer from memory for up to a minute, and not see what was written while we copied.
  constexpr int kFromServer = AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC;
  FileOps& ops = FileOps::System();
  DatabaseState state;
  // The directory first, so that names that came or went are noticed.
  STRATA_TRY(ops.StatAt(AT_FDCWD, std::string(DirName(path)).c_str(), kFromServer));
  STRATA_TRY_ASSIGN(const struct stat database, ops.StatAt(AT_FDCWD, path.c_str(), kFromServer));
  state.database_ = FileOf(database);
  const auto log = ops.StatAt(AT_FDCWD, (path + kLogSuffix).c_str(), kFromServer);
  if (log) {
    state.log_ = FileOf(*log);
  } else if (log.error().code() != ENOENT) {
    return Fail(log.error().code(), "meta.db", path + kLogSuffix);
  }
  return state;
}

Result<ReadOnlyConnection> OpenReadOnly(const std::string& path, const SchemaSteps& schema) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(kPause);
    STRATA_TRY_ASSIGN(const DatabaseState state, DatabaseState::Of(path));
    STRATA_TRY_ASSIGN(auto copy, OpenCopy(path, schema, state));
    if (copy) return ReadOnlyConnection{copy->release(), state};
  }
  return Fail(EBUSY, "meta.db", path + " changes all the time");
}

}  // namespace strata::layerstore
