// image explore: which layer brought, replaced or hid what, and what nobody sees of it.
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "base/utf8.h"
#include "manager/cli/command.h"
#include "manager/cli/image_text.h"
#include "manager/cli/table.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr std::string_view kNothing = "-";

std::string ExplorePath(const std::string& image) {
  return "/strata/images/" + PercentEncode(image, "/:") + "/explore";
}

// --- the layers ---------------------------------------------------------------------------------

Json LayerRow(const Json& layer, bool whole) {
  Json row = Json::object();
  row["Layer"] = NumberAt(layer, "Layer");
  row["Digest"] = ShortId(TextAt(layer, "Digest"), whole);
  row["CreatedBy"] = EscapeControls(ShortCommand(TextAt(layer, "CreatedBy"), whole));
  row["Comment"] = EscapeControls(TextAt(layer, "Comment"));
  for (const char* count :
       {"Entries", "Whiteouts", "Added", "Replaced", "Unchanged", "Merged", "Hidden"}) {
    row[count] = NumberAt(layer, count);
  }
  row["Size"] = HumanSize(NumberAt(layer, "Size"));
  row["SizeBytes"] = NumberAt(layer, "Size");
  row["Wasted"] = HumanSize(NumberAt(layer, "Wasted"));
  row["WastedBytes"] = NumberAt(layer, "Wasted");
  return row;
}

// "89.7%", never 100% while anything is wasted.
std::string Efficiency(std::int64_t size, std::int64_t wasted) {
  if (size <= 0) return "100%";
  const auto permille = static_cast<std::int64_t>(1000.0 * static_cast<double>(size - wasted) /
                                                  static_cast<double>(size));
  if (wasted == 0) return "100%";
  return std::to_string(permille / 10) + "." + std::to_string(permille % 10) + "%";
}

// "1.2MB", or "1.2MB, 1MB of it on disk" where what is wasted is partly stored once with what is
// not.
std::string WastedText(const Json& report) {
  const std::int64_t wasted = NumberAt(report, "Wasted");
  const std::int64_t on_disk = NumberAt(report, "WastedOnDisk");
  std::string text = HumanSize(wasted);
  if (on_disk < wasted) {
    text += " when transferred, " + HumanSize(on_disk) + " on disk (the rest is stored only once)";
  }
  return text;
}

std::string TotalsLine(const Json& report) {
  const std::int64_t size = NumberAt(report, "Size");
  return "\nContent: " + HumanSize(size) + ". Wasted: " + WastedText(report) +
         ". Efficiency: " + Efficiency(size, NumberAt(report, "Wasted")) + "\n";
}

Result<int> ShowLayers(Client& client, const Flags& flags) {
  STRATA_TRY_ASSIGN(const Json report, client.Get(ExplorePath(flags.operands()[0])));
  std::vector<Json> rows;
  for (const Json& layer : At(report, "Layers")) {
    // Newest first, as `image history` has them.
    rows.insert(rows.begin(), LayerRow(layer, flags.On("no-trunc")));
  }
  const TableLook look{
      .titles = {{"Layer", "LAYER"},
                 {"Digest", "DIGEST"},
                 {"CreatedBy", "CREATED BY"},
                 {"Comment", "COMMENT"},
                 {"Entries", "ENTRIES"},
                 {"Whiteouts", "WHITEOUTS"},
                 {"Added", "ADDED"},
                 {"Replaced", "REPLACED"},
                 {"Unchanged", "UNCHANGED"},
                 {"Merged", "MERGED"},
                 {"Hidden", "HIDDEN"},
                 {"Size", "SIZE"},
                 {"SizeBytes", "SIZE"},
                 {"Wasted", "WASTED"},
                 {"WastedBytes", "WASTED"}},
      .columns =
          "{{.Layer}}\t{{.Digest}}\t{{.CreatedBy}}\t{{.Added}}\t{{.Replaced}}\t{{.Hidden}}\t"
          "{{.Size}}\t{{.Wasted}}",
      .quiet_field = "Digest"};
  const std::string format = flags.Value("format");
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(look, rows, format, false));
  Print(text + (format.empty() ? TotalsLine(report) : ""));
  return 0;
}

// --- the largest wasted files -------------------------------------------------------------------

std::string HowText(const std::string& how) {
  if (how == "hidden") return "removed";
  if (how == "metadata") return "only metadata changed";
  if (how == "unchanged") return "replaced by the same";
  return how;
}

Result<int> ShowWasted(Client& client, const Flags& flags) {
  STRATA_TRY_ASSIGN(const std::int64_t limit, ParseNumber("limit", flags.Value("limit", "20")));
  if (limit < 0) return UsageError("--limit is a number of files; 0 for all");
  const std::string largest = limit == 0 ? "-1" : std::to_string(limit);
  STRATA_TRY_ASSIGN(const Json report,
                    client.Get(ExplorePath(flags.operands()[0]) + Query({{"largest", largest}})));
  const std::string format = flags.Value("format");
  std::vector<Json> rows;
  for (const Json& file : At(report, "Largest")) {
    Json row = Json::object();
    row["Size"] = HumanSize(NumberAt(file, "Size"));
    row["SizeBytes"] = NumberAt(file, "Size");
    row["Layer"] = NumberAt(file, "Layer");
    row["HiddenBy"] = NumberAt(file, "HiddenBy");
    row["How"] = HowText(TextAt(file, "How"));
    row["Path"] = IsTable(format) ? EscapeControls(TextAt(file, "Path")) : TextAt(file, "Path");
    rows.push_back(std::move(row));
  }
  const TableLook look{.titles = {{"Size", "SIZE"},
                                  {"SizeBytes", "SIZE"},
                                  {"Layer", "LAYER"},
                                  {"HiddenBy", "HIDDEN BY"},
                                  {"How", "HOW"},
                                  {"Path", "PATH"}},
                       .columns = "{{.Size}}\t{{.Layer}}\t{{.HiddenBy}}\t{{.How}}\t{{.Path}}",
                       .quiet_field = "Path"};
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(look, rows, format, false));
  Print(text);
  if (!format.empty()) return 0;
  const std::int64_t files = NumberAt(report, "WastedFiles");
  Print("\nWasted: " + WastedText(report) + ", in " + std::to_string(files) +
        (files == 1 ? " file\n" : " files\n"));
  return 0;
}

// --- one path -----------------------------------------------------------------------------------

std::string HiddenText(const Json& event, const std::string& path) {
  const std::string cause = TextAt(event, "Cause");
  const std::string culprit = TextAt(event, "Culprit");
  if (cause == "whiteout" && culprit == path) return "removed by a whiteout";
  if (cause == "whiteout") return "removed by a whiteout of " + EscapeControls(culprit);
  if (cause == "opaque") return "hidden by the opaque directory " + EscapeControls(culprit);
  return "hidden, as " + EscapeControls(culprit) + " is no directory any more";
}

// What a layer did to the path, in words.
std::string WhatText(const Json& event, const std::string& path) {
  const std::string effect = TextAt(event, "Effect");
  const std::string difference = TextAt(event, "Difference");
  if (effect == "hidden") return HiddenText(event, path);
  if (effect == "merged") {
    return difference == "metadata" ? "has it, too, with other metadata" : "has it, too";
  }
  if (effect != "replaced") return effect;
  if (difference == "type") return "replaced by another type";
  if (TextAt(event, "Type") == "directory") {
    return "replaced, as " + EscapeControls(TextAt(event, "Culprit")) + " is opaque";
  }
  if (difference == "metadata") return "only its metadata changed";
  if (difference == "content") return "replaced by other content";
  return "replaced by the same";
}

std::string OctalMode(std::int64_t mode) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%04o", static_cast<unsigned>(mode));
  return text.data();
}

// What rows of paths and of directories have in common.
void AddAttributes(const Json& from, Json& row) {
  const std::string type = TextAt(from, "Type");
  const bool known = !type.empty();
  row["Type"] = known ? type : kNothing;
  row["Mode"] = known ? OctalMode(NumberAt(from, "Mode")) : kNothing;
  row["Owner"] =
      known ? std::to_string(NumberAt(from, "Uid")) + ":" + std::to_string(NumberAt(from, "Gid"))
            : kNothing;
  row["Size"] = type == "file" ? HumanSize(NumberAt(from, "Size")) : kNothing;
  row["SizeBytes"] = NumberAt(from, "Size");
}

Json EventRow(const Json& event, const std::string& path, bool whole) {
  Json row = Json::object();
  row["Layer"] = NumberAt(event, "Layer");
  row["Digest"] = ShortId(TextAt(event, "Digest"), whole);
  row["CreatedBy"] = EscapeControls(ShortCommand(TextAt(event, "CreatedBy"), whole));
  row["Effect"] = TextAt(event, "Effect");
  row["What"] = WhatText(event, path);
  AddAttributes(event, row);
  row["Target"] = EscapeControls(TextAt(event, "Target"));
  return row;
}

std::string LayerOrNothing(const Json& row, const char* member) {
  const std::int64_t layer = NumberAt(row, member);
  return layer > 0 ? std::to_string(layer) : std::string(kNothing);
}

Result<std::string> ChildrenText(const Json& children, const std::string& format) {
  std::vector<Json> rows;
  for (const Json& child : children) {
    Json row = Json::object();
    row["Name"] = IsTable(format) ? EscapeControls(TextAt(child, "Name")) : TextAt(child, "Name");
    AddAttributes(child, row);
    row["AddedBy"] = LayerOrNothing(child, "AddedBy");
    row["ReplacedBy"] = LayerOrNothing(child, "ReplacedBy");
    row["HiddenBy"] = LayerOrNothing(child, "HiddenBy");
    rows.push_back(std::move(row));
  }
  const TableLook look{.titles = {{"Name", "NAME"},
                                  {"Type", "TYPE"},
                                  {"Mode", "MODE"},
                                  {"Owner", "OWNER"},
                                  {"Size", "SIZE"},
                                  {"SizeBytes", "SIZE"},
                                  {"AddedBy", "ADDED BY"},
                                  {"ReplacedBy", "REPLACED BY"},
                                  {"HiddenBy", "HIDDEN BY"}},
                       .columns =
                           "{{.AddedBy}}\t{{.ReplacedBy}}\t{{.HiddenBy}}\t{{.Type}}\t"
                           "{{.Size}}\t{{.Name}}",
                       .quiet_field = "Name"};
  return RenderRows(look, rows, format, false);
}

Result<std::string> EventsText(const Json& history, const Flags& flags) {
  const std::string path = TextAt(history, "Path");
  std::vector<Json> rows;
  for (const Json& event : At(history, "Events")) {
    rows.push_back(EventRow(event, path, flags.On("no-trunc")));
  }
  const TableLook look{
      .titles = {{"Layer", "LAYER"},
                 {"Digest", "DIGEST"},
                 {"CreatedBy", "CREATED BY"},
                 {"Effect", "EFFECT"},
                 {"What", "WHAT"},
                 {"Type", "TYPE"},
                 {"Mode", "MODE"},
                 {"Owner", "OWNER"},
                 {"Size", "SIZE"},
                 {"SizeBytes", "SIZE"},
                 {"Target", "TARGET"}},
      .columns =
          "{{.Layer}}\t{{.Digest}}\t{{.CreatedBy}}\t{{.What}}\t{{.Type}}\t{{.Mode}}\t"
          "{{.Owner}}\t{{.Size}}",
      .quiet_field = "Layer"};
  return RenderRows(look, rows, flags.Value("format"), false);
}

std::string OutcomeLine(const Json& history) {
  std::int64_t last = 0;
  for (const Json& event : At(history, "Events")) last = NumberAt(event, "Layer");
  const std::string layer = std::to_string(last);
  const std::string path = EscapeControls(TextAt(history, "Path"));
  if (!TruthAt(history, "Visible")) {
    return "\n" + path + " is not visible since layer " + layer + "\n";
  }
  return "\n" + path + " is visible as layer " + layer + " has it\n";
}

Result<int> ShowPath(Client& client, const Flags& flags) {
  const auto& operands = flags.operands();
  const std::string path = operands.size() > 1 ? operands[1] : "/";
  STRATA_TRY_ASSIGN(const Json history,
                    client.Get(ExplorePath(operands[0]) + "/path" + Query({{"path", path}})));
  const Json& children = At(history, "Children");
  const std::string format = flags.Value("format");
  if (flags.On("list")) {
    if (!children.is_array()) {
      return Fail(ENOTDIR, kDaemonError, TextAt(history, "Path") + " is not a directory there");
    }
    STRATA_TRY_ASSIGN(const std::string text, ChildrenText(children, format));
    Print(text);
    return 0;
  }
  STRATA_TRY_ASSIGN(std::string text, EventsText(history, flags));
  if (format.empty()) {
    text += OutcomeLine(history);
    if (children.is_array() && !children.empty()) {
      STRATA_TRY_ASSIGN(const std::string list, ChildrenText(children, format));
      text += "\n" + list;
    }
  }
  Print(text);
  return 0;
}

Result<int> RunExplore(Context& context, const Flags& flags) {
  const bool path = flags.operands().size() > 1 || flags.On("list");
  if (flags.On("wasted") && path) return UsageError("--wasted is about the whole image");
  if (flags.Has("limit") && !flags.On("wasted")) return UsageError("--limit goes with --wasted");
  STRATA_TRY_ASSIGN(Client * client, context.client());
  if (flags.On("wasted")) return ShowWasted(*client, flags);
  return path ? ShowPath(*client, flags) : ShowLayers(*client, flags);
}

}  // namespace

Command ExploreCommand() {
  return {.name = "image explore",
          .operands = "[OPTIONS] IMAGE [PATH]",
          .summary = "Show which layers brought and hid what, and what of it is wasted",
          .min_operands = 1,
          .max_operands = 2,
          .operand_names = {Names::kImage, Names::kNothing},
          .flags = {{"format", 0, Kind::kValue, "TEMPLATE", "table, json or a Go template"},
                    {"limit", 0, Kind::kValue, "NUMBER", "of --wasted: how many; 20, 0 for all"},
                    {"list", 'l', Kind::kSwitch, "", "only what is in the directory PATH"},
                    {"no-trunc", 0, Kind::kSwitch, "", "show whole digests and commands"},
                    {"wasted", 'w', Kind::kSwitch, "",
                     "show the largest files whose content no container sees"}},
          .run = RunExplore};
}

}  // namespace strata::manager::cli
