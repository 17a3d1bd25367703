// Lists of things on standard output: docker's `--format` for rows, and aligned columns.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// What a list of one kind of thing looks like.
struct TableLook {
  // Every field a row has, with its column title.
  std::vector<std::pair<std::string_view, std::string_view>> titles;
  // Of `--format table` and of no --format at all: "{{.ID}}\t{{.Names}}".
  std::string_view columns;
  // The field that -q prints.
  std::string_view quiet_field;
};

// Rows (objects with the look's fields) as text. `format` is empty or "table" for the default
// columns, "table TEMPLATE" for others, "json" for one object a line, or a template for each row.
// EINVAL for a template that does not parse or names an unknown field.
Result<std::string> RenderRows(const TableLook& look, const std::vector<Json>& rows,
                               std::string_view format, bool quiet);

// Whether RenderRows() makes a table for people of that format, rather than text for programs.
bool IsTable(std::string_view format);

// Tab-separated lines as columns, three spaces apart, no spaces at line ends.
std::string AlignColumns(std::string_view lines);

}  // namespace strata::manager::cli
