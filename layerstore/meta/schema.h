// The store's tables in meta.db; docs/formats/store.md explains them.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"

namespace strata::layerstore {

class Database;

// Opens meta.db with the store's own tables of today: in the file, or for a read-only store in what
// is read of it. EPROTONOSUPPORT if they are newer than this program.
Result<std::shared_ptr<Database>> OpenStoreDatabase(const std::string& path, bool read_only);

}  // namespace strata::layerstore
