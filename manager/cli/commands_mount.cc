// mount and umount: an image's files in a directory, without a container.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/table.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

// The daemon has its own working directory.
Result<std::string> Absolute(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (error) return Fail(error.value(), "path", path);
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

Result<int> ListMounts(Client& client, const Flags& flags) {
  STRATA_TRY_ASSIGN(const Json mounts, client.Get("/strata/mounts"));
  std::vector<Json> rows;
  for (const Json& mount : mounts.is_array() ? mounts : At(mounts, "Mounts")) {
    Json row = Json::object();
    row["Image"] = TextAt(mount, "Image");
    row["Target"] = TextAt(mount, "Target");
    row["Mode"] = TruthAt(mount, "Rw") ? "rw" : "ro";
    row["Upper"] = TextAt(mount, "Upper");
    rows.push_back(std::move(row));
  }
  const TableLook look{.titles = {{"Image", "IMAGE"},
                                  {"Target", "DIRECTORY"},
                                  {"Mode", "MODE"},
                                  {"Upper", "CHANGES IN"}},
                       .columns = "{{.Image}}\t{{.Target}}\t{{.Mode}}\t{{.Upper}}",
                       .quiet_field = "Target"};
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(look, rows, flags.Value("format"), false));
  Print(text);
  return 0;
}

Result<int> RunMount(Context& context, const Flags& flags) {
  const auto& operands = flags.operands();
  STRATA_TRY_ASSIGN(Client * client, context.client());
  if (operands.empty()) return ListMounts(*client, flags);
  if (operands.size() == 1) return UsageError("mount needs an image and a directory");
  Json body = Json::object();
  body["image"] = operands[0];
  STRATA_TRY_ASSIGN(body["target"], Absolute(operands[1]));
  body["rw"] = flags.On("rw");
  if (flags.Has("copy-up")) body["copyup"] = flags.Value("copy-up");
  STRATA_TRY_ASSIGN(const Json mount, client->Post("/strata/mounts", body));
  Print(TextAt(body, "target") + "\n");
  return 0;
}

Result<int> RunUnmount(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return ForEachOperand(flags.operands(), [&](const std::string& path) -> Result<> {
    STRATA_TRY_ASSIGN(const std::string target, Absolute(path));
    STRATA_TRY_ASSIGN(
        const Json answer,
        client->Delete("/strata/mounts" + Query({{"target", target}}), {{"target", target}}));
    return {};
  });
}

}  // namespace

std::vector<Command> MountCommands() {
  return {
      {.name = "mount",
       .operands = "[OPTIONS] [IMAGE DIRECTORY]",
       .summary = "Show an image's files in a directory; without operands, list such mounts",
       .max_operands = 2,
       .operand_names = {Names::kImage, Names::kDirectory},
       .flags = {{"copy-up", 0, Kind::kValue, "WHEN",
                  "when a file is copied into the writable layer", "write|open|read"},
                 {"format", 0, Kind::kValue, "TEMPLATE",
                  "of the list: table, json or a Go template"},
                 {"rw", 0, Kind::kSwitch, "", "writable; changes go into a layer of their own"}},
       .run = RunMount},
      {.name = "umount",
       .operands = "DIRECTORY...",
       .summary = "Undo mount",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kDirectory},
       .run = RunUnmount},
  };
}

}  // namespace strata::manager::cli
