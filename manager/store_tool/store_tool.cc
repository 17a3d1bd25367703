#include "manager/store_tool/store_tool.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/fsck/repair.h"
#include "layerstore/store/store.h"
#include "manager/cli/flags.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using cli::Flags;
using cli::FlagSpec;
using layerstore::CheckOptions;
using layerstore::Finding;
using Kind = FlagSpec::Kind;

constexpr const char* kHelp =
    "Usage: strata-store [--data-root DIR] fsck [OPTIONS]\n\n"
    "Checks a layer store, with or without a daemon running on it.\n\n"
    "  --deep                    read every byte: contents, blobs, indexes\n"
    "  --quick                   rows and names only\n"
    "  --repair                  mend what is damaged; what can not be mended is put aside\n"
    "  --additional-store DIR    where layers may be that images of this store need; repeatable\n"
    "  --insecure-registry HOST  registry that may speak plain http when a layer is fetched "
    "again;\n"
    "                            repeatable\n"
    "  --format FORMAT           text, or json: one object for each finding\n"
    "  --data-root DIR           the store (STRATA_ROOT, /var/lib/strata)\n"
    "  --version, --help\n\n"
    "Exit status: 0 the store is clean, 1 it is not, 125 it could not be checked.\n";

const std::vector<FlagSpec>& Specs() {
  static const std::vector<FlagSpec> specs{{"deep", 0, Kind::kSwitch},
                                           {"quick", 0, Kind::kSwitch},
                                           {"repair", 0, Kind::kSwitch},
                                           {"additional-store", 0, Kind::kList, "DIR"},
                                           {"insecure-registry", 0, Kind::kList, "HOST"},
                                           {"format", 0, Kind::kValue, "FORMAT", "", "text|json"},
                                           {"data-root", 0, Kind::kValue, "DIR"},
                                           {"version", 0, Kind::kSwitch},
                                           {"help", 'h', Kind::kSwitch}};
  return specs;
}

void Print(const std::string& line) { std::fwrite(line.data(), 1, line.size(), stdout); }

// "1 layer", "2 layers".
std::string Count(std::uint64_t number, const char* what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

class Fsck {
 public:
  Fsck(const Flags& flags, std::string root) : flags_(flags), root_(std::move(root)) {}

  Result<int> Run() {
    options_.depth = flags_.On("deep")    ? CheckOptions::Depth::kDeep
                     : flags_.On("quick") ? CheckOptions::Depth::kQuick
                                          : CheckOptions::Depth::kNormal;
    options_.additional = flags_.List("additional-store");
    const bool repair = flags_.On("repair");
    STRATA_TRY_ASSIGN(const auto store,
                      layerstore::Store::Open({.root = root_, .read_only = !repair}));
    STRATA_TRY_ASSIGN(auto findings, Check(*store));
    if (!repair || findings.empty()) return Conclude(findings);
    STRATA_TRY(Mend(*store, findings));
    if (!json_) Print("checking again\n");
    STRATA_TRY_ASSIGN(findings, Check(*store));
    return Conclude(findings);
  }

 private:
  static bool IsHarmless(const Finding& finding) { return layerstore::Harmless(finding.kind); }

  Result<std::vector<Finding>> Check(layerstore::Store& store) {
    std::vector<Finding> findings;
    STRATA_TRY_ASSIGN(summary_, layerstore::CheckStore(store, options_, [&](Finding finding) {
                        Tell(finding);
                        findings.push_back(std::move(finding));
                      }));
    return findings;
  }

  void Tell(const Finding& finding) const {
    if (!json_) {
      Print((IsHarmless(finding) ? "note: " : "") + finding.ToString() + "\n");
      return;
    }
    nlohmann::json object{{"kind", layerstore::FindingName(finding.kind)},
                          {"harmless", IsHarmless(finding)}};
    if (finding.layer) object["layer"] = finding.layer->ToString();
    if (finding.blob) object["blob"] = finding.blob->ToString();
    if (!finding.path.empty()) object["path"] = finding.path;
    if (!finding.detail.empty()) object["detail"] = finding.detail;
    Print(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }

  Result<> Mend(layerstore::Store& store, const std::vector<Finding>& findings) {
    ImageServiceOptions image_options;
    image_options.insecure_registries = flags_.List("insecure-registry");
    ImageService images(store, image_options);
    STRATA_TRY_ASSIGN(const auto steps,
                      layerstore::Repair(store, findings, {.fetch = [&](const Digest& diff_id) {
                                           return Fetch(store, images, diff_id);
                                         }}));
    for (const auto& step : steps) {
      if (json_) {
        Print(nlohmann::json{{"mended", step.mended}, {"what", step.what}}.dump() + "\n");
      } else {
        Print((step.mended ? "mended: " : "not mended: ") + step.what + "\n");
      }
    }
    return {};
  }

  // By pulling an image that has the layer, as exactly as it was pulled before.
  static Result<> Fetch(layerstore::Store& store, ImageService& images, const Digest& diff_id) {
    STRATA_TRY_ASSIGN(const auto all, store.images().List());
    std::string tried;
    for (const auto& image : all) {
      if (std::ranges::find(image.diff_ids, diff_id) == image.diff_ids.end()) continue;
      for (const auto& reference : image.repo_digests) {
        const auto pulled = images.Pull(reference, {}, [](const ProgressEvent&) {}, nullptr);
        if (pulled && store.layers().Find(diff_id)) return {};
        if (!pulled) tried += (tried.empty() ? "" : "; ") + pulled.error().ToString();
      }
    }
    return Fail(ENOENT, "fetch layer", tried.empty() ? "no registry is known to have it" : tried);
  }

  Result<int> Conclude(const std::vector<Finding>& findings) const {
    const auto problems =
        static_cast<std::uint64_t>(std::ranges::count_if(findings, std::not_fn(IsHarmless)));
    if (!json_) {
      Print(Count(summary_.images, "image") + ", " + Count(summary_.layers, "layer") + ", " +
            Count(summary_.blobs, "blob") + ", " + Count(summary_.chains, "chain") + ": " +
            (problems == 0 ? "clean" : Count(problems, "problem")) + "\n");
    }
    return problems == 0 ? kStoreClean : kStoreDamaged;
  }

  const Flags& flags_;
  const std::string root_;
  const bool json_ = flags_.Value("format") == "json";
  CheckOptions options_;
  layerstore::CheckSummary summary_;
};

std::string DataRoot(const Flags& flags) {
  if (auto given = flags.Optional("data-root")) return *given;
  const char* root = std::getenv("STRATA_ROOT");
  return root != nullptr && *root != '\0' ? root : "/var/lib/strata";
}

Result<int> Run(std::span<const std::string> words) {
  STRATA_TRY_ASSIGN(const log::Level level, log::LevelFromEnvironment());
  STRATA_TRY_ASSIGN(const log::Format format, log::FormatFromEnvironment());
  log::Configure("strata-store", level, format);
  STRATA_TRY_ASSIGN(const Flags flags, Flags::Parse(Specs(), words, /*interspersed=*/true));
  if (flags.On("help") || words.empty()) {
    Print(kHelp);
    return words.empty() ? kStoreUsage : kStoreClean;
  }
  if (flags.On("version")) {
    Print("strata-store " STRATA_VERSION "\n");
    return kStoreClean;
  }
  if (flags.operands() != std::vector<std::string>{"fsck"}) {
    return Fail(EINVAL, "usage", "the command is 'fsck'; 'strata-store --help' says more");
  }
  if (flags.On("deep") && flags.On("quick")) {
    return Fail(EINVAL, "usage", "--deep and --quick contradict each other");
  }
  return Fsck(flags, DataRoot(flags)).Run();
}

}  // namespace

int RunStoreTool(std::span<const std::string> words) {
  const auto status = Run(words);
  if (status) return *status;
  std::fflush(stdout);
  const Error& error = status.error();
  std::fprintf(stderr, "strata-store: %s\n",
               error.code() == EINVAL && !error.detail().empty()
                   ? std::string(error.detail()).c_str()
                   : error.ToString().c_str());
  return kStoreUsage;
}

}  // namespace strata::manager
