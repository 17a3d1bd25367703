#include "manager/cli/table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/template.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kGap = 3;

// Columns a terminal shows for UTF-8 text, taking every code point as one.
std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::vector<std::string_view> SplitAt(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Result<std::string> RenderEach(std::string_view format, const std::vector<Json>& rows) {
  STRATA_TRY_ASSIGN(const Template row_template, Template::Parse(format));
  std::string text;
  for (const Json& row : rows) {
    STRATA_TRY_ASSIGN(const std::string line, row_template.Render(row));
    text += line + "\n";
  }
  return text;
}

}  // namespace

bool IsTable(std::string_view format) {
  return format.empty() || format == "table" || format.starts_with("table ") ||
         format.starts_with("table\t");
}

std::string AlignColumns(std::string_view lines) {
  std::vector<std::vector<std::string_view>> rows;
  std::vector<std::size_t> widths;
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    rows.push_back(SplitAt(lines.substr(0, end), '\t'));
    widths.resize(std::max(widths.size(), rows.back().size()));
    for (std::size_t i = 0; i < rows.back().size(); ++i) {
      widths[i] = std::max(widths[i], Width(rows.back()[i]));
    }
    lines = end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - Width(row[i]) + kGap, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

Result<std::string> RenderRows(const TableLook& look, const std::vector<Json>& rows,
                               std::string_view format, bool quiet) {
  if (quiet && format.empty()) {
    return RenderEach("{{." + std::string(look.quiet_field) + "}}", rows);
  }
  if (format == "json") return RenderEach("{{json .}}", rows);
  std::string_view columns = format;
  if (format.empty() || format == "table") {
    columns = look.columns;
  } else if (format.starts_with("table ") || format.starts_with("table\t")) {
    columns = format.substr(6);
  } else {
    return RenderEach(format, rows);
  }
  Json titles = Json::object();
  for (const auto& [field, title] : look.titles) titles[std::string(field)] = title;
  STRATA_TRY_ASSIGN(const std::string head, RenderEach(columns, {titles}));
  STRATA_TRY_ASSIGN(const std::string body, RenderEach(columns, rows));
  return AlignColumns(head + body);
}

}  // namespace strata::manager::cli
