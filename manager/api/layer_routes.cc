// A container's own layer: commit, changes, export.
#include <optional>

#include "base/try.h"
#include "layerstore/oci/reference.h"
#include "manager/api/api.h"
#include "manager/api/body_stream.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/json.h"

namespace strata::manager {
namespace {

using layerstore::Reference;
using nlohmann::json;

Result<std::optional<Reference>> NameOf(const HttpRequest& request) {
  std::string text(request.Query("repo"));
  if (text.empty()) return std::optional<Reference>();
  if (const auto tag = request.Query("tag"); !tag.empty()) text += ':' + std::string(tag);
  STRATA_TRY_ASSIGN(Reference name, Reference::Parse(text));
  if (name.digest())
    return Fail(EINVAL, "commit", "refusing to create a tag with a digest reference");
  return std::optional(std::move(name));
}

Result<> Commit(Exchange& exchange, const ApiContext& context) {
  const HttpRequest& request = exchange.request();
  CommitRequest commit;
  STRATA_TRY_ASSIGN(commit.name, NameOf(request));
  commit.comment = request.Query("comment");
  commit.author = request.Query("author");
  commit.pause = request.QueryFlag("pause", true);
  for (const auto& [key, value] : request.query) {
    if (key == "changes") commit.changes.push_back(value);
  }
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  if (body.is_object()) {
    STRATA_TRY_ASSIGN(commit.config, ParseContainerConfig(body));
  } else if (!body.is_null()) {
    return Fail(EINVAL, "commit", "invalid JSON: a JSON object was expected");
  }
  STRATA_TRY_ASSIGN(const Digest id, context.containers.Commit(request.Query("container"), commit));
  return ReplyJson(exchange, 201, {{"Id", id.ToString()}});
}

Result<> Changes(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const auto changes, context.containers.Changes(id));
  json list = json::array();
  for (const layerstore::Change& change : changes) {
    list.push_back({{"Path", change.path}, {"Kind", static_cast<int>(change.kind)}});
  }
  // As docker: none is null.
  return ReplyJson(exchange, 200, list.empty() ? json(nullptr) : list);
}

Result<> Export(Exchange& exchange, const ApiContext& context, const std::string& id) {
  return StreamBody(exchange, "application/octet-stream",
                    [&](const BodySink& sink) { return context.containers.Export(id, sink); });
}

}  // namespace

void AddLayerRoutes(Router& router, const ApiContext& context) {
  router.Add("POST", "/commit",
             [&context](Exchange& e, const RouteParameters&) { return Commit(e, context); });
  router.Add("GET", "/containers/{id}/changes", [&context](Exchange& e, const RouteParameters& p) {
    return Changes(e, context, p.at("id"));
  });
  router.Add("GET", "/containers/{id}/export", [&context](Exchange& e, const RouteParameters& p) {
    return Export(e, context, p.at("id"));
  });
}

}  // namespace strata::manager
