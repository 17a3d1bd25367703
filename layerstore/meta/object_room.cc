#include "layerstore/meta/object_room.h"

#include "base/try.h"

namespace strata::layerstore {

Result<> ChangeObjectRoom(Connection& connection, std::int64_t change) {
  if (change == 0) return {};
  STRATA_TRY_ASSIGN(Statement row,
                    connection.Prepare("INSERT INTO counters (name, value) VALUES ('objects', "
                                       "MAX(?1, 0)) ON CONFLICT (name) DO UPDATE SET "
                                       "value=MAX(value + ?1, 0)"));
  return row.Bind(1, change).Run();
}

Result<> SetObjectRoom(Connection& connection, std::uint64_t room) {
  STRATA_TRY_ASSIGN(Statement row,
                    connection.Prepare("INSERT INTO counters (name, value) VALUES ('objects', ?1) "
                                       "ON CONFLICT (name) DO UPDATE SET value=?1"));
  return row.Bind(1, static_cast<std::int64_t>(room)).Run();
}

Result<std::uint64_t> ObjectRoom(Connection& connection) {
  STRATA_TRY_ASSIGN(Statement row,
                    connection.Prepare("SELECT value FROM counters WHERE name='objects'"));
  STRATA_TRY_ASSIGN(const bool found, row.Step());
  return found ? static_cast<std::uint64_t>(row.Integer(0)) : 0;
}

}  // namespace strata::layerstore
