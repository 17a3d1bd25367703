// Reading meta.db without leaving a trace near it: on read-only media, and beside a program that
// writes it. SQLite itself makes files beside a database in WAL mode even to read it.
// https://www.sqlite.org/wal.html#readonly
#pragma once

#include <string>

#include "base/error.h"
#include "layerstore/meta/database.h"

struct sqlite3;

namespace strata::layerstore {

struct ReadOnlyConnection {
  sqlite3* db;  // the caller's to close
  DatabaseState state;
};

// A private copy of a database as it is now, its tables brought up to date; it lies in the
// directory for temporary files and has no name any more when this returns. SQLite's `immutable`
// would spare the copy, but a writer behind a read-only mount tears what it reads. EBUSY: it
// changes faster than it can be copied; EFBIG: it is too large to; EBADMSG: it is damaged.
Result<ReadOnlyConnection> OpenReadOnly(const std::string& path, const SchemaSteps& schema);

}  // namespace strata::layerstore
