#include "layerstore/meta/sqlite_error.h"

#include <sqlite3.h>

namespace strata::layerstore {
namespace {

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

// Why a database was not opened: here a file that is not there is an answer.
int OpenErrno(sqlite3* db, int status) {
  if (sqlite3_extended_errcode(db) == SQLITE_CANTOPEN_SYMLINK) return ELOOP;
  if ((status & 0xFF) == SQLITE_CANTOPEN && sqlite3_system_errno(db) == ENOENT) return ENOENT;
  return ToErrno(db, status);
}

}  // namespace

std::unexpected<Error> FailSql(sqlite3* db, int status) {
  return Fail(ToErrno(db, status), "meta.db",
              std::string(db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(status)));
}

std::unexpected<Error> FailToOpen(sqlite3* db, int status, const std::string& path) {
  return Fail(OpenErrno(db, status), "meta.db", path + ": " + sqlite3_errmsg(db));
}

}  // namespace strata::layerstore
