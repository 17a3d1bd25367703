#include "layerstore/meta/layer_below.h"

#include "base/try.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {

Result<std::optional<std::string>> RecordedStoreBelow(Connection& connection,
                                                      const Digest& diff_id) {
  STRATA_TRY_ASSIGN(Statement row,
                    connection.Prepare("SELECT store FROM layers_below WHERE diff_id=?1"));
  row.Bind(1, diff_id.ToString());
  STRATA_TRY_ASSIGN(const bool found, row.Step());
  return found ? std::optional(row.Text(0)) : std::nullopt;
}

}  // namespace strata::layerstore
