// /strata/store: the layer store itself.
#include <algorithm>

#include "base/try.h"
#include "layerstore/gc/collector.h"
#include "layerstore/scrub/scrubber.h"
#include "manager/api/api.h"
#include "manager/api/deletions.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/json_fields.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using nlohmann::json;

Result<> CollectGarbage(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  layerstore::PruneOptions options;
  bool images = false;
  if (!body.is_null()) {
    JsonFields fields(body);
    fields.Get("images", images);
    fields.Get("all", options.images.all);
    fields.Get("unusedSince", options.images.unused_since);
    fields.Get("keepBytes", options.images.keep_bytes);
    fields.Get("dryRun", options.dry_run);
    STRATA_TRY(fields.Finish());
  }
  std::uint64_t size = 0;
  if (options.images.keep_bytes) {
    // Before: what is removed is deleted in the background, and counts until then.
    STRATA_TRY_ASSIGN(const layerstore::StoreUsage usage, context.images.Usage());
    size = usage.physical + usage.blobs;
  }
  STRATA_TRY_ASSIGN(
      const ImagePruneOutcome outcome,
      images ? context.images.Prune(options) : context.images.CollectGarbage(options.dry_run));
  json reply{{"Deleted", DeletionsJson(outcome.deletions)},
             {"Blobs", outcome.blobs},
             {"SpaceReclaimed", outcome.reclaimed}};
  if (options.images.keep_bytes) {
    reply["StoreSize"] = size - std::min(size, outcome.reclaimed);
  }
  return ReplyJson(exchange, 200, reply);
}

// As strata-store's fsck tells it, and the line for people.
json FindingJson(const layerstore::ScrubFinding& finding) {
  json object{{"text", finding.text}, {"kind", finding.kind}, {"harmless", false}};
  if (finding.layer) object["layer"] = finding.layer->ToString();
  if (finding.blob) object["blob"] = finding.blob->ToString();
  if (!finding.path.empty()) object["path"] = finding.path;
  if (!finding.detail.empty()) object["detail"] = finding.detail;
  return object;
}

Result<> ReplyScrub(Exchange& exchange, const layerstore::Scrubber& scrubber) {
  const layerstore::ScrubReport report = scrubber.Report();
  json reply{{"State", layerstore::ScrubStateName(report.state)},
             {"Started", report.started},
             {"Ended", report.ended},
             {"Layers", report.layers},
             {"LayersTotal", report.layers_total},
             {"BytesRead", report.bytes},
             {"Damaged", report.damaged},
             {"Findings", json::array()},
             {"Error", report.error}};
  for (const auto& finding : report.findings) reply["Findings"].push_back(FindingJson(finding));
  if (report.rate) reply["BytesPerSecond"] = *report.rate;
  if (const auto due = scrubber.Due()) reply["Due"] = *due;
  return ReplyJson(exchange, 200, reply);
}

Result<> StartScrub(Exchange& exchange, layerstore::Scrubber& scrubber) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  std::optional<std::uint64_t> rate;
  if (!body.is_null()) {
    JsonFields fields(body);
    fields.Get("bytesPerSecond", rate);
    STRATA_TRY(fields.Finish());
  }
  STRATA_TRY(scrubber.Start(rate));
  return ReplyScrub(exchange, scrubber);
}

}  // namespace

void AddStoreRoutes(Router& router, const ApiContext& context) {
  router.Add("POST", "/strata/store/gc", [&context](Exchange& exchange, const RouteParameters&) {
    return CollectGarbage(exchange, context);
  });
  layerstore::Scrubber& scrubber = context.scrubber;
  router.Add("GET", "/strata/store/scrub", [&scrubber](Exchange& exchange, const RouteParameters&) {
    return ReplyScrub(exchange, scrubber);
  });
  router.Add("POST", "/strata/store/scrub",
             [&scrubber](Exchange& exchange, const RouteParameters&) {
               return StartScrub(exchange, scrubber);
             });
  router.Add("DELETE", "/strata/store/scrub",
             [&scrubber](Exchange& exchange, const RouteParameters&) {
               scrubber.Stop();
               return ReplyScrub(exchange, scrubber);
             });
}

}  // namespace strata::manager
