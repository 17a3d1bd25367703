// store gc, fsck and scrub: the layer store by itself.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/try.h"
#include "manager/cli/autostart.h"
#include "manager/cli/command.h"
#include "manager/cli/confirm.h"
#include "manager/cli/deletions.h"
#include "manager/cli/session.h"
#include "manager/cli/terminal.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

// 2000-01-01: who gives a number below it means no time, seconds since 1970, but has left out the
// unit.
constexpr std::int64_t kOldestTime = 946'684'800;

// The body of the request: which images go, besides what nothing needs.
Result<Json> GcRequest(const Flags& flags) {
  Json request{{"dryRun", flags.On("dry-run")}, {"all", flags.On("all")}};
  bool images = flags.On("all") || flags.On("untagged");
  if (const std::string text = flags.Value("unused-for"); !text.empty()) {
    STRATA_TRY_ASSIGN(const std::string time, TimeArgument(text));
    std::int64_t seconds = 0;
    std::from_chars(time.data(), time.data() + time.size(), seconds);  // of "123.456"
    if (seconds < kOldestTime) {
      return UsageError("--unused-for " + text +
                        " is a time before the year 2000: a span of time needs a unit, like 30m, "
                        "72h or 3d12h");
    }
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
    STRATA_TRY_ASSIGN(
        const bool yes,
        Confirm(flags.On("all") ? "This removes images that no container uses."
                                : "This removes images without a name that no container uses."));
    if (!yes) return kExitFailed;
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json outcome, client->Post("/strata/store/gc", request));
  PrintDeletions(At(outcome, "Deleted"));
  const std::int64_t blobs = NumberAt(outcome, "Blobs");
  if (blobs > 0) Print("Blobs: " + std::to_string(blobs) + "\n");
  Print((dry_run ? "Space that would be reclaimed: " : "Total reclaimed space: ") +
        HumanSize(NumberAt(outcome, "SpaceReclaimed")) + "\n");
  const std::int64_t left = NumberAt(outcome, "StoreSize");
  if (flags.Has("keep") && left > NumberAt(request, "keepBytes")) {
    std::string text = "the store " + std::string(dry_run ? "would still take " : "still takes ");
    text += HumanSize(left) + "; ";
    if (!flags.On("all")) {
      text += "images that have names go only with --all";
    } else if (flags.Has("unused-for")) {
      text += "what is left is in use, or was used since";
    } else {
      text += "what is left is in use";
    }
    Complain(text);
  }
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
  for (const char* name : {"additional-store", "insecure-registry"}) {
    for (const std::string& value : flags.List(name)) {
      words.insert(words.end(), {std::string("--") + name, value});
    }
  }
  if (flags.Has("format")) words.insert(words.end(), {"--format", flags.Value("format")});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  return FailErrno("run", words[0]);
}

constexpr const char* kScrubPath = "/strata/store/scrub";

bool Ended(const Json& report) { return TextAt(report, "State") != "running"; }

bool FoundClean(const Json& report) {
  return TextAt(report, "State") == "finished" && NumberAt(report, "Damaged") == 0;
}

std::string ScrubText(const Json& report) {
  const auto line = [](const char* name, const std::string& value) {
    return value.empty() ? std::string() : std::string(name) + value + "\n";
  };
  const auto ago = [](std::int64_t time) { return time == 0 ? std::string() : Ago(time); };
  const bool none = TextAt(report, "State") == "none";
  std::string layers = std::to_string(NumberAt(report, "Layers"));
  if (!Ended(report)) layers += " of " + std::to_string(NumberAt(report, "LayersTotal"));
  std::string text = line("Scrub:    ", TextAt(report, "State")) +
                     line("Started:  ", ago(NumberAt(report, "Started")));
  if (!none) {
    if (Ended(report)) text += line("Ended:    ", ago(NumberAt(report, "Ended")));
    text += line("Layers:   ", layers) +
            line("Read:     ", HumanSize(NumberAt(report, "BytesRead"))) +
            line("Damaged:  ", std::to_string(NumberAt(report, "Damaged")));
  }
  text += line("Error:    ", TextAt(report, "Error"));
  if (const std::int64_t due = NumberAt(report, "Due"); due > 0) {
    text += line("Next:     ", "in " + HumanDuration(std::chrono::seconds(
                                           std::max(due - ::time(nullptr), std::int64_t{0}))));
  }
  for (const Json& finding : At(report, "Findings")) text += TextAt(finding, "text") + "\n";
  return text;
}

// Waits for the end of the scrub, with a line that tells how far it is on a terminal.
Result<Json> FollowScrub(Client& client) {
  constexpr auto kPoll = std::chrono::milliseconds(200);
  const bool terminal = IsTerminal(STDERR_FILENO);
  for (;;) {
    STRATA_TRY_ASSIGN(Json report, client.Get(kScrubPath));
    if (terminal) {
      STRATA_TRY(WriteFd(STDERR_FILENO, "\r\033[K" + std::to_string(NumberAt(report, "Layers")) +
                                            "/" + std::to_string(NumberAt(report, "LayersTotal")) +
                                            " layers, " + HumanSize(NumberAt(report, "BytesRead")) +
                                            (Ended(report) ? "\n" : "")));
    }
    if (Ended(report)) return report;
    std::this_thread::sleep_for(kPoll);
  }
}

// What contradicts itself on the command line.
Result<> CheckScrubFlags(const Flags& flags) {
  if (flags.On("status") && flags.On("stop")) {
    return UsageError("--status and --stop are two things: give one of them");
  }
  if (flags.Has("format") && !flags.On("status")) {
    return UsageError("--format is about what --status shows: give both");
  }
  const bool starts = !flags.On("status") && !flags.On("stop");
  if (!starts && (flags.Has("rate") || flags.On("detach"))) {
    return UsageError("--rate and --detach are for a scrub that is started");
  }
  return {};
}

Result<int> RunScrub(Context& context, const Flags& flags) {
  STRATA_TRY(CheckScrubFlags(flags));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  if (flags.On("stop")) {
    STRATA_TRY(client->Delete(kScrubPath));
    return 0;
  }
  if (flags.On("status")) {
    STRATA_TRY_ASSIGN(const Json report, client->Get(kScrubPath));
    Print(flags.Value("format") == "json" ? DumpJson(report) + "\n" : ScrubText(report));
    const bool bad = NumberAt(report, "Damaged") > 0 || TextAt(report, "State") == "failed";
    return bad ? kExitFailed : 0;
  }
  Json request = Json::object();
  if (const std::string rate = flags.Value("rate"); !rate.empty()) {
    STRATA_TRY_ASSIGN(request["bytesPerSecond"], ParseBytes(rate));
  }
  STRATA_TRY(client->Post(kScrubPath, request));
  if (flags.On("detach")) return 0;
  STRATA_TRY_ASSIGN(const Json report, FollowScrub(*client));
  Print(ScrubText(report));
  return FoundClean(report) ? 0 : kExitFailed;
}

}  // namespace

std::vector<Command> StoreCommands() {
  return {
      {.name = "store gc",
       .operands = "[OPTIONS]",
       .summary = "Remove layers and blobs that nothing needs, and images by their use",
       .flags = {{"untagged", 0, Kind::kSwitch, "",
                  "first images without a name that no container uses"},
                 {"all", 'a', Kind::kSwitch, "",
                  "first images that no container uses, with a name or without"},
                 {"unused-for", 0, Kind::kValue, "DURATION",
                  "of those (unnamed ones without --all) only what was not used for so long, e.g. "
                  "72h or 3d, or since a time"},
                 {"keep", 0, Kind::kValue, "SIZE",
                  "of those (unnamed ones without --all) what was not used for longest, until the "
                  "store takes no more"},
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
                 {"additional-store", 0, Kind::kList, "DIR",
                  "where layers may be that images of this store need", "", Names::kDirectory},
                 {"insecure-registry", 0, Kind::kList, "HOST",
                  "registry that may speak plain http when a layer is fetched again"},
                 {"format", 0, Kind::kValue, "FORMAT", "one line or one object a finding",
                  "text|json"}},
       .run = RunFsck,
       .failure_status = kExitUsage},
      {.name = "store scrub",
       .operands = "[OPTIONS]",
       .summary = "Have the daemon read every byte of the store, and show what is damaged",
       .flags = {{"rate", 0, Kind::kValue, "SIZE",
                  "read that much a second, e.g. 64m, 0 for no limit; the daemon's if not given"},
                 {"detach", 'd', Kind::kSwitch, "", "do not wait for the end"},
                 {"status", 0, Kind::kSwitch, "",
                  "only show what is known of the one under way, or the last"},
                 {"stop", 0, Kind::kSwitch, "", "end the one under way"},
                 {"format", 0, Kind::kValue, "FORMAT", "with --status, text or one object",
                  "text|json"}},
       .run = RunScrub},
  };
}

}  // namespace strata::manager::cli
