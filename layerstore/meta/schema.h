// The store's tables in meta.db; docs/formats/store.md explains them.
#pragma once

#include "base/error.h"

namespace strata::layerstore {

class Database;

// Brings the store's own tables up to date.
Result<> MigrateStoreSchema(Database& database);
// For a read-only store: EPROTONOSUPPORT unless the tables are of the version this program knows.
Result<> CheckStoreSchema(Database& database);

}  // namespace strata::layerstore
