// store gc: the layer store by itself.
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/confirm.h"
#include "manager/cli/deletions.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

// The body of the request: which images go, besides what nothing needs.
Result<Json> GcRequest(const Flags& flags) {
  Json request{{"dryRun", flags.On("dry-run")}, {"all", flags.On("all")}};
  bool images = flags.On("all") || flags.On("untagged");
  if (const std::string text = flags.Value("unused-for"); !text.empty()) {
    STRATA_TRY_ASSIGN(const std::string time, TimeArgument(text));
    std::int64_t seconds = 0;
    std::from_chars(time.data(), time.data() + time.size(), seconds);  // of "123.456"
    request["unusedSince"] = seconds;
    images = true;
  }
  if (const std::string text = flags.Value("keep"); !text.empty()) {
    STRATA_TRY_ASSIGN(const std::int64_t bytes, ParseBytes(text));
    request["keepBytes"] = bytes;
    images = true;
  }
  request["images"] = images;
  return request;
}

Result<int> RunGc(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(const Json request, GcRequest(flags));
  const bool dry_run = flags.On("dry-run");
  if (TruthAt(request, "images") && !dry_run && !flags.On("force")) {
    STRATA_TRY_ASSIGN(const bool yes, Confirm("This removes images that no container uses."));
    if (!yes) return kExitFailed;
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json outcome, client->Post("/strata/store/gc", request));
  PrintDeletions(At(outcome, "Deleted"));
  const std::int64_t blobs = NumberAt(outcome, "Blobs");
  if (blobs > 0) Print("Blobs: " + std::to_string(blobs) + "\n");
  Print((dry_run ? "Space that would be reclaimed: " : "Total reclaimed space: ") +
        HumanSize(NumberAt(outcome, "SpaceReclaimed")) + "\n");
  return 0;
}

}  // namespace

std::vector<Command> StoreCommands() {
  return {
      {.name = "store gc",
       .operands = "[OPTIONS]",
       .summary = "Remove layers and blobs that nothing needs, and images by their use",
       .flags = {{"untagged", 0, Kind::kSwitch, "", "images without a name first"},
                 {"all", 'a', Kind::kSwitch, "", "images that no container uses first"},
                 {"unused-for", 0, Kind::kValue, "DURATION",
                  "only those not used for so long (72h), or since a time"},
                 {"keep", 0, Kind::kValue, "SIZE",
                  "those not used for longest first, until the store takes no more"},
                 {"dry-run", 'n', Kind::kSwitch, "", "only show what would go"},
                 {"force", 'f', Kind::kSwitch, "", "do not ask"}},
       .run = RunGc},
  };
}

}  // namespace strata::manager::cli
