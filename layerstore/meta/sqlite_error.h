// SQLite's result codes as errors of the project. Private to this folder.
#pragma once

#include <string>

#include "base/error.h"

struct sqlite3;

namespace strata::layerstore {

// What went wrong on a connection; a null one for a bare code.
std::unexpected<Error> FailSql(sqlite3* db, int status);
// Why the database at `path` was not opened: here a file that is not there is an answer, ENOENT.
std::unexpected<Error> FailToOpen(sqlite3* db, int status, const std::string& path);

}  // namespace strata::layerstore
