// The room that the files in objects/ take: a sum in the database, kept up to date.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {

// Within a transaction. `change` is in bytes; the sum does not fall below zero.
Result<> ChangeObjectRoom(Connection& connection, std::int64_t change);
Result<> SetObjectRoom(Connection& connection, std::uint64_t room);
Result<std::uint64_t> ObjectRoom(Connection& connection);

}  // namespace strata::layerstore
