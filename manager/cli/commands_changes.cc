// commit, diff and export: what containers changed, and all they have.
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "base/utf8.h"
#include "manager/cli/command.h"
#include "manager/cli/download.h"
#include "manager/cli/reference.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

Result<int> RunCommit(Context& context, const Flags& flags) {
  const auto& operands = flags.operands();
  const ImageName name = SplitReference(operands.size() > 1 ? operands[1] : "");
  const std::string target =
      WithQuery("/commit" + RepeatedQuery("changes", flags.List("change")),
                Query({{"container", operands[0]},
                       {"repo", name.name},
                       {"tag", name.tag},
                       {"author", flags.Value("author")},
                       {"comment", flags.Value("message")},
                       {"pause", flags.Value("pause", "true") == "true" ? "1" : "0"}}));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json image, client->Post(target));
  Print(TextAt(image, "Id") + "\n");
  return 0;
}

Result<int> RunDiff(Context& context, const Flags& flags) {
  constexpr std::string_view kLetters = "CAD";  // by docker's numbers
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json changes,
                    client->Get(ContainerPath(flags.operands()[0]) + "/changes"));
  for (const Json& change : changes) {
    const auto kind = static_cast<std::size_t>(NumberAt(change, "Kind"));
    Print((kind < kLetters.size() ? std::string(1, kLetters[kind]) : "?") + " " +
          EscapeControls(TextAt(change, "Path")) + "\n");
  }
  return 0;
}

Result<int> RunExport(Context& context, const Flags& flags) {
  STRATA_TRY(
      Download(context, ContainerPath(flags.operands()[0]) + "/export", flags.Value("output")));
  return 0;
}

}  // namespace

std::vector<Command> ChangesCommands() {
  return {
      {.name = "diff",
       .operands = "CONTAINER",
       .summary = "Show what a container changed: A added, C changed, D deleted",
       .min_operands = 1,
       .max_operands = 1,
       .operand_names = {Names::kContainer},
       .run = RunDiff},
      {.name = "commit",
       .operands = "[OPTIONS] CONTAINER [NAME[:TAG]]",
       .summary = "Make an image of a container as it is",
       .min_operands = 1,
       .max_operands = 2,
       .operand_names = {Names::kContainer, Names::kImage},
       .flags = {{"author", 'a', Kind::kValue, "NAME", "who made it"},
                 {"change", 'c', Kind::kList, "INSTRUCTION",
                  "apply a Dockerfile's instruction, \"ENV A=b\" for instance"},
                 {"message", 'm', Kind::kValue, "TEXT", "what was done"},
                 {"pause", 'p', Kind::kSwitch, "",
                  "pause the container meanwhile; true if not given"}},
       .run = RunCommit},
      {.name = "export",
       .operands = "[OPTIONS] CONTAINER",
       .summary = "Write all files of a container to a file or standard output, as a tar",
       .min_operands = 1,
       .max_operands = 1,
       .operand_names = {Names::kContainer},
       .flags = {{"output", 'o', Kind::kValue, "FILE", "write to a file", "", Names::kFile}},
       .run = RunExport},
  };
}

}  // namespace strata::manager::cli
