// store gc and fsck: the layer store by itself.
#include <unistd.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/autostart.h"
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

// Hands over to strata-store, which needs no daemon.
Result<int> RunFsck(Context& context, const Flags& flags) {
  std::string root = flags.Value("data-root");
  if (root.empty()) {
    if (context.has_host()) {
      return UsageError(
          "a store is checked where it lies: give its --data-root, or run this there");
    }
    STRATA_TRY_ASSIGN(const DaemonLaunch launch, DefaultDaemon());
    root = launch.data_root;
  }
  std::vector<std::string> words{ProgramBeside("strata-store"), "--data-root", root, "fsck"};
  for (const char* name : {"deep", "quick", "repair"}) {
    if (flags.On(name)) words.push_back(std::string("--") + name);
  }
  for (const std::string& host : flags.List("insecure-registry")) {
    words.insert(words.end(), {"--insecure-registry", host});
  }
  if (flags.Has("format")) words.insert(words.end(), {"--format", flags.Value("format")});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  return FailErrno("run", words[0]);
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
      {.name = "store fsck",
       .operands = "[OPTIONS]",
       .summary = "Check the store, with or without a daemon, and mend it",
       .flags = {{"deep", 0, Kind::kSwitch, "", "read every byte: contents, blobs, indexes"},
                 {"quick", 0, Kind::kSwitch, "", "rows and names only"},
                 {"repair", 0, Kind::kSwitch, "",
                  "mend what is damaged; what can not be mended is put aside"},
                 {"data-root", 0, Kind::kValue, "DIR", "another store than this user's own"},
                 {"insecure-registry", 0, Kind::kList, "HOST",
                  "registry that may speak plain http when a layer is fetched again"},
                 {"format", 0, Kind::kValue, "FORMAT", "one line or one object a finding",
                  "text|json"}},
       .run = RunFsck,
       .failure_status = kExitUsage},
  };
}

}  // namespace strata::manager::cli
