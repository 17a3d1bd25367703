// /images: list, inspect, pull, push, load, import, tag, remove, prune.
#include <array>

#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/deletions.h"
#include "manager/api/image_stream.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/events.h"
#include "manager/container/json.h"
#include "manager/image/config_changes.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using layerstore::Reference;
using nlohmann::json;

json Names(const std::vector<Reference>& references) {
  json list = json::array();
  for (const auto& reference : references) list.push_back(reference.Familiar());
  return list;
}

Result<> List(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const Filters filters,
                    Filters::Parse(exchange.request(),
                                   {"dangling", "reference", "label", "before", "since", "until"}));
  ImageFilter filter;
  if (filters.Has("dangling") && !filters.Values("dangling").empty()) {
    const std::string& value = filters.Values("dangling")[0];
    filter.dangling = value == "true" || value == "1";
  }
  filter.references = filters.Values("reference");
  filter.labels = filters.Values("label");
  if (!filters.Values("before").empty()) filter.before = filters.Values("before")[0];
  if (!filters.Values("since").empty()) filter.since = filters.Values("since")[0];
  STRATA_TRY_ASSIGN(const auto images, context.images.List(filter));
  json list = json::array();
  for (const auto& image : images) {
    STRATA_TRY_ASSIGN(const auto detail, context.images.Inspect(image.id.ToString()));
    list.push_back({{"Id", image.id.ToString()},
                    {"ParentId", ""},
                    {"RepoTags", Names(image.tags)},
                    {"RepoDigests", Names(image.repo_digests)},
                    {"Created", image.created},
                    {"Size", image.size},
                    {"VirtualSize", image.size},
                    {"SharedSize", -1},
                    {"Labels", detail.config.labels},
                    {"Containers", -1}});
  }
  return ReplyJson(exchange, 200, list);
}

json KeySet(const std::vector<std::string>& names) {
  json object = json::object();
  for (const auto& name : names) object[name] = json::object();
  return object;
}

Result<> Inspect(Exchange& exchange, const ApiContext& context, const std::string& name) {
  STRATA_TRY_ASSIGN(const auto detail, context.images.Inspect(name));
  const layerstore::ImageConfig& config = detail.config;
  json layers = json::array();
  for (const auto& layer : detail.image.diff_ids) layers.push_back(layer.ToString());
  const json run{
      {"User", config.user},
      {"Env", config.env},
      {"Cmd", config.cmd.empty() ? json(nullptr) : json(config.cmd)},
      {"Entrypoint", config.entrypoint.empty() ? json(nullptr) : json(config.entrypoint)},
      {"WorkingDir", config.working_dir},
      {"Labels", config.labels},
      {"Volumes", config.volumes.empty() ? json(nullptr) : KeySet(config.volumes)},
      {"ExposedPorts", KeySet(config.exposed_ports)},
      {"StopSignal", config.stop_signal}};
  return ReplyJson(exchange, 200,
                   {{"Id", detail.image.id.ToString()},
                    {"RepoTags", Names(detail.image.tags)},
                    {"RepoDigests", Names(detail.image.repo_digests)},
                    {"Parent", ""},
                    {"Comment", ""},
                    {"Created", config.created},
                    {"Author", config.author},
                    {"Architecture", config.platform.architecture},
                    {"Variant", config.platform.variant},
                    {"Os", config.platform.os},
                    {"Size", detail.image.size},
                    {"VirtualSize", detail.image.size},
                    {"Config", run},
                    {"GraphDriver", {{"Name", "strata"}, {"Data", json::object()}}},
                    {"RootFS", {{"Type", "layers"}, {"Layers", layers}}},
                    {"Metadata", {{"LastTagTime", TimeText(detail.image.added * 1'000'000'000)}}}});
}

// Of each step, base first; 0 of one that made no layer.
Result<std::vector<std::uint64_t>> StepSizes(const ApiContext& context,
                                             const layerstore::ImageDetail& detail) {
  STRATA_TRY_ASSIGN(const auto layers, context.images.LayerSizes());
  std::vector<std::uint64_t> sizes;
  auto layer = detail.image.diff_ids.begin();
  for (const auto& step : detail.config.history) {
    std::uint64_t& size = sizes.emplace_back(0);
    // A history may tell of more steps with layers than there are.
    if (step.empty_layer || layer == detail.image.diff_ids.end()) continue;
    if (const auto known = layers.find(*layer++); known != layers.end()) size = known->second;
  }
  return sizes;
}

Result<> History(Exchange& exchange, const ApiContext& context, const std::string& name) {
  STRATA_TRY_ASSIGN(const auto detail, context.images.Inspect(name));
  STRATA_TRY_ASSIGN(const auto sizes, StepSizes(context, detail));
  json list = json::array();
  const auto& history = detail.config.history;
  auto size = sizes.rbegin();
  for (auto it = history.rbegin(); it != history.rend(); ++it, ++size) {
    const bool first = it == history.rbegin();
    list.push_back({{"Id", first ? detail.image.id.ToString() : "<missing>"},
                    {"Created", detail.image.created},
                    {"CreatedBy", it->created_by},
                    {"Comment", it->comment},
                    {"Size", *size},
                    {"Tags", first ? Names(detail.image.tags) : json(nullptr)}});
  }
  return ReplyJson(exchange, 200, list);
}

// docker's two ways to name what is pulled: fromImage + tag (which may be a digest).
Result<Reference> PullReference(const HttpRequest& request) {
  std::string text(request.Query("fromImage"));
  const std::string_view tag = request.Query("tag");
  if (!tag.empty()) text += (tag.starts_with("sha256:") ? "@" : ":") + std::string(tag);
  return Reference::Parse(text);
}

Result<> Pull(Exchange& exchange, const ApiContext& context) {
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(const Reference reference, PullReference(request));
  PullOptions options;
  STRATA_TRY_ASSIGN(options.credentials,
                    ParseRegistryAuthHeader(request.Header("x-registry-auth")));
  if (const auto platform = request.Query("platform"); !platform.empty()) {
    STRATA_TRY_ASSIGN(options.platform, layerstore::ParsePlatform(platform));
  }
  options.insecure = request.QueryFlag("insecure");
  return StreamSilentImageWork(exchange, [&](ImageStream& stream) -> Result<> {
    const Reference named = reference.WithDefaultTag();
    STRATA_TRY(context.images.Pull(named, options, stream.progress(), stream.cancel()));
    context.events.Publish({"image", "pull", named.Familiar(), {{"name", named.FamiliarName()}}});
    return {};
  });
}

// What an import's stream says of each image besides its id in "aux".
enum class ImportWords : std::uint8_t { kLoaded, kStatus, kNone };

Result<> ImportBody(Exchange& exchange, const ApiContext& context,
                    layerstore::ImportOptions options, ImportWords words) {
  const bool load = words == ImportWords::kLoaded;
  return StreamImageWork(exchange, [&](ImageStream& stream) -> Result<> {
    const auto source = [&](std::span<std::byte> into) { return exchange.ReadSome(into); };
    STRATA_TRY_ASSIGN(const auto images, context.images.Import(source, options));
    for (const auto& image : images) {
      const std::string name =
          image.names.empty() ? image.id.ToString() : image.names.front().Familiar();
      context.events.Publish(
          {"image", load ? "load" : "import", image.id.ToString(), {{"name", name}}});
      if (load && image.names.empty()) {
        stream.Object({{"stream", "Loaded image ID: " + image.id.ToString() + "\n"}});
      } else if (load) {
        for (const Reference& given : image.names) {
          stream.Object({{"stream", "Loaded image: " + given.Familiar() + "\n"}});
        }
      } else if (words == ImportWords::kStatus) {
        stream.Status(image.id.ToString());
      }
      json aux{{"ID", image.id.ToString()}};
      if (words == ImportWords::kNone) aux["Names"] = Names(image.names);
      stream.Object({{"aux", std::move(aux)}});
    }
    return {};
  });
}

// What docker's import says of the image beside its name; "repo" and "name" are two ways to that.
Result<layerstore::ImportOptions> ImportOptionsOf(const HttpRequest& request) {
  layerstore::ImportOptions options;
  options.comment = request.Query("message");
  if (const auto platform = request.Query("platform"); !platform.empty()) {
    STRATA_TRY_ASSIGN(options.platform, layerstore::ParsePlatform(platform));
  }
  std::vector<std::string> changes;
  for (const auto& [key, value] : request.query) {
    if (key == "changes") changes.push_back(value);
  }
  STRATA_TRY(ApplyConfigChanges(changes, options.config));
  options.all_platforms = request.QueryFlag("allPlatforms");
  // An archive's images have configurations of their own.
  if (!changes.empty()) options.accept = layerstore::ImportOptions::Accept::kRootFilesystem;
  return options;
}

Result<> Create(Exchange& exchange, const ApiContext& context) {
  const HttpRequest& request = exchange.request();
  if (!request.HasQuery("fromSrc")) return Pull(exchange, context);
  if (request.Query("fromSrc") != "-") {
    return Fail(ENOTSUP, "import", "only fromSrc=- is supported: send the archive as the body");
  }
  STRATA_TRY_ASSIGN(layerstore::ImportOptions options, ImportOptionsOf(request));
  options.accept = layerstore::ImportOptions::Accept::kRootFilesystem;
  if (std::string name(request.Query("repo")); !name.empty()) {
    if (const auto tag = request.Query("tag"); !tag.empty()) name += ':' + std::string(tag);
    STRATA_TRY_ASSIGN(const Reference reference, Reference::Parse(name));
    options.name = reference.WithDefaultTag();
  }
  return ImportBody(exchange, context, std::move(options), ImportWords::kStatus);
}

Result<> StrataImport(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(layerstore::ImportOptions options, ImportOptionsOf(exchange.request()));
  if (const auto name = exchange.request().Query("name"); !name.empty()) {
    STRATA_TRY_ASSIGN(const Reference reference, Reference::Parse(name));
    options.name = reference.WithDefaultTag();
  }
  return ImportBody(exchange, context, std::move(options), ImportWords::kNone);
}

Result<> Push(Exchange& exchange, const ApiContext& context, const std::string& name) {
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(Reference reference, Reference::Parse(name));
  if (const auto tag = request.Query("tag"); !tag.empty()) {
    STRATA_TRY_ASSIGN(reference, reference.WithTag(tag));
  }
  PushOptions options;
  STRATA_TRY_ASSIGN(options.credentials,
                    ParseRegistryAuthHeader(request.Header("x-registry-auth")));
  options.insecure = request.QueryFlag("insecure");
  return StreamSilentImageWork(exchange, [&](ImageStream& stream) -> Result<> {
    const Reference named = reference.WithDefaultTag();
    STRATA_TRY(context.images.Push(named, options, stream.progress(), stream.cancel()));
    context.events.Publish({"image", "push", named.Familiar(), {{"name", named.FamiliarName()}}});
    return {};
  });
}

Result<> Tag(Exchange& exchange, const ApiContext& context, const std::string& name) {
  const HttpRequest& request = exchange.request();
  std::string text(request.Query("repo"));
  if (const auto tag = request.Query("tag"); !tag.empty()) text += ':' + std::string(tag);
  STRATA_TRY_ASSIGN(const Reference reference, Reference::Parse(text));
  STRATA_TRY(context.images.Tag(name, reference.WithDefaultTag()));
  context.events.Publish({"image", "tag", name, {{"name", reference.Familiar()}}});
  return ReplyNothing(exchange, 201);
}

Result<> Remove(Exchange& exchange, const ApiContext& context, const std::string& name) {
  const auto runs = [&](std::string_view container) {
    const auto record = context.containers.Find(container);
    return record &&
           (record->state.status == Status::kRunning || record->state.status == Status::kPaused);
  };
  STRATA_TRY_ASSIGN(const auto deletions,
                    context.images.Remove(name, exchange.request().QueryFlag("force"), runs));
  for (const auto& deletion : deletions) {
    const bool untagged = deletion.what == ImageDeletion::What::kUntagged;
    context.events.Publish(
        {"image", untagged ? "untag" : "delete", deletion.name, {{"name", deletion.name}}});
  }
  return ReplyJson(exchange, 200, DeletionsJson(deletions));
}

Result<> Prune(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const Filters filters, Filters::Parse(exchange.request(), {"dangling"}));
  const auto& dangling = filters.Values("dangling");
  const bool all = !dangling.empty() && (dangling[0] == "false" || dangling[0] == "0");
  STRATA_TRY_ASSIGN(const ImagePruneOutcome outcome,
                    context.images.Prune({.images = {.all = all}}));
  return ReplyJson(
      exchange, 200,
      {{"ImagesDeleted", DeletionsJson(outcome.deletions)}, {"SpaceReclaimed", outcome.reclaimed}});
}

}  // namespace

void AddImageRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters& parameters) {
      if constexpr (requires { handler(e, context, parameters.at("name")); }) {
        return handler(e, context, parameters.at("name"));
      } else {
        return handler(e, context);
      }
    });
  };
  add("GET", "/images/json", List);
  add("POST", "/images/create", Create);
  add("POST", "/images/prune", Prune);
  add("POST", "/images/load", [](Exchange& e, const ApiContext& c) {
    layerstore::ImportOptions options;
    options.accept = layerstore::ImportOptions::Accept::kArchive;
    return ImportBody(e, c, std::move(options), ImportWords::kLoaded);
  });
  add("POST", "/strata/images/import", StrataImport);
  add("GET", "/images/{name...}/json", Inspect);
  add("GET", "/images/{name...}/history", History);
  add("POST", "/images/{name...}/push", Push);
  add("POST", "/images/{name...}/tag", Tag);
  add("DELETE", "/images/{name...}", Remove);
}

}  // namespace strata::manager
