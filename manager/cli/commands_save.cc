// save, load, import and image convert: images as files.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/archive_source.h"
#include "manager/cli/command.h"
#include "manager/cli/download.h"
#include "manager/cli/image_text.h"
#include "manager/cli/layout_directory.h"
#include "manager/cli/progress.h"
#include "manager/cli/terminal.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr const char* kOciDirectory = "oci-dir";

Result<int> RunSave(Context& context, const Flags& flags) {
  const std::string format = flags.Value("format");
  const std::string output = flags.Value("output");
  const bool directory = format == kOciDirectory;
  if (directory && output.empty()) return UsageError("a directory needs a name: use -o");
  const std::string target = WithQuery("/images/get" + RepeatedQuery("names", flags.operands()),
                                       Query({{"format", directory ? "oci-archive" : format},
                                              {"compression", flags.Value("compression")}}));
  STRATA_TRY(directory ? ReceiveInto<LayoutDirectory>(context, target, output)
                       : Download(context, target, output));
  return 0;
}

Result<ProgressOutcome> Upload(Context& context, const std::string& target, const std::string& path,
                               ProgressStyle style) {
  HttpRequest request;
  request.method = "POST";
  request.target = target;
  request.content_type = "application/x-tar";
  STRATA_TRY_ASSIGN(request.body_source, OpenArchive(path));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  const auto send = [&]() -> Result<ProgressOutcome> {
    STRATA_TRY_ASSIGN(HttpExchange answer, client->Start(request));
    return FollowProgress(answer, style);
  };
  auto outcome = send();
  if (!outcome) return std::unexpected(std::move(outcome).error().WithContext(path));
  return outcome;
}

Result<int> RunLoad(Context& context, const Flags& flags) {
  const std::string input = flags.Value("input", "-");
  if (input == "-" && IsTerminal(STDIN_FILENO)) {
    return UsageError("nothing to load from a terminal: use -i, or redirect the input");
  }
  STRATA_TRY_ASSIGN(
      const ProgressOutcome outcome,
      Upload(context, "/images/load" + Query({{"quiet", "1"}}), input, ProgressStyle::kQuiet));
  for (const std::string& message : outcome.messages) Print(message);
  return 0;
}

Result<int> RunImport(Context& context, const Flags& flags) {
  const std::string& path = flags.operands()[0];
  const std::string name = flags.operands().size() > 1 ? flags.operands()[1] : "";
  const std::string target =
      WithQuery("/strata/images/import" + RepeatedQuery("changes", flags.List("change")),
                Query({{"name", name},
                       {"message", flags.Value("message")},
                       {"platform", flags.Value("platform")},
                       {"allPlatforms", flags.On("all-platforms") ? "1" : ""}}));
  STRATA_TRY_ASSIGN(const ProgressOutcome outcome,
                    Upload(context, target, path, ChooseProgressStyle(flags.On("quiet"))));
  for (const auto& image : outcome.images) {
    Print(image.id + "\n");
    if (!image.named && !flags.On("quiet")) {
      Complain("the image " + ShortId(image.id, false) +
               " has no name: give it one here or with 'strata tag'");
    }
  }
  return 0;
}

Result<int> RunConvert(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    STRATA_TRY_ASSIGN(const Json image,
                      client->Post("/strata/images/" + PercentEncode(name, "/:") + "/convert" +
                                   Query({{"compression", flags.Value("compression")},
                                          {"format", flags.Value("format")}})));
    Print(TextAt(image, "Digest") + "\n");
    return {};
  });
}

Command Renamed(Command command, const char* name) {
  command.name = name;
  return command;
}

}  // namespace

std::vector<Command> SaveCommands() {
  const FlagSpec compression{
      "compression",   0, Kind::kValue, "KIND", "pack the layers so; as they are kept without it",
      "gzip|zstd|none"};
  const Command save{
      .name = "save",
      .operands = "[OPTIONS] IMAGE...",
      .summary = "Write images to a file or standard output",
      .min_operands = 1,
      .max_operands = kManyOperands,
      .operand_names = {Names::kImage},
      .flags = {compression,
                {"format", 0, Kind::kValue, "FORMAT",
                 "docker, which is an OCI layout and a docker archive in one, if not given",
                 "docker|docker-archive|oci-archive|oci-dir"},
                {"output", 'o', Kind::kValue, "FILE", "write to a file", "", Names::kFile}},
      .run = RunSave};
  const Command load{
      .name = "load",
      .operands = "[OPTIONS]",
      .summary = "Read images from a file or standard input",
      .flags = {{"input", 'i', Kind::kValue, "FILE", "read from a file", "", Names::kFile},
                {"quiet", 'q', Kind::kSwitch, "", "show no progress"}},
      .run = RunLoad};
  const Command import{
      .name = "import",
      .operands = "[OPTIONS] FILE|DIRECTORY|- [NAME[:TAG]]",
      .summary = "Import a root filesystem's tar, an OCI layout or a docker archive",
      .min_operands = 1,
      .max_operands = 2,
      .operand_names = {Names::kFile, Names::kImage},
      .flags = {{"all-platforms", 0, Kind::kSwitch, "",
                 "the images for all platforms, and save gives all of them back"},
                {"change", 'c', Kind::kList, "INSTRUCTION",
                 "apply a Dockerfile's instruction; of a root filesystem only"},
                {"message", 'm', Kind::kValue, "TEXT", "what it is; of a root filesystem only"},
                {"platform", 0, Kind::kValue, "OS/ARCH", "what it runs on, or which to take"},
                {"quiet", 'q', Kind::kSwitch, "", "print only the result"}},
      .run = RunImport};
  return {
      save,
      load,
      import,
      Renamed(save, "image save"),
      Renamed(load, "image load"),
      Renamed(import, "image import"),
      {.name = "image convert",
       .operands = "[OPTIONS] IMAGE...",
       .summary = "Pack the layers of images anew, for push and save",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kImage},
       .flags = {compression,
                 {"format", 0, Kind::kValue, "FORMAT", "the kind of the manifest", "oci|docker"}},
       .run = RunConvert}};
}

}  // namespace strata::manager::cli
