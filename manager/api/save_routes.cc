// Images as files: save, and Strata's convert.
#include <optional>

#include "base/try.h"
#include "layerstore/save/convert.h"
#include "layerstore/save/save.h"
#include "manager/api/api.h"
#include "manager/api/body_stream.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/events.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using layerstore::Compression;
using layerstore::ManifestKind;
using layerstore::SaveOptions;

Result<std::optional<Compression>> CompressionOf(const HttpRequest& request) {
  const std::string_view text = request.Query("compression");
  if (text.empty()) return std::optional<Compression>();
  if (text == "gzip") return std::optional(Compression::kGzip);
  if (text == "zstd") return std::optional(Compression::kZstd);
  if (text == "none") return std::optional(Compression::kNone);
  return Fail(EINVAL, "request",
              "invalid compression \"" + std::string(text) + "\": gzip, zstd or none");
}

Result<SaveOptions::Format> FormatOf(const HttpRequest& request) {
  const std::string_view text = request.Query("format");
  if (text.empty() || text == "docker") return SaveOptions::Format::kDocker;
  if (text == "docker-archive") return SaveOptions::Format::kDockerArchive;
  if (text == "oci-archive") return SaveOptions::Format::kOciArchive;
  return Fail(
      EINVAL, "request",
      "invalid format \"" + std::string(text) + "\": docker, docker-archive or oci-archive");
}

Result<> SendImages(Exchange& exchange, const ApiContext& context,
                    const std::vector<std::string>& names) {
  SaveOptions options;
  STRATA_TRY_ASSIGN(options.format, FormatOf(exchange.request()));
  STRATA_TRY_ASSIGN(options.compression, CompressionOf(exchange.request()));
  STRATA_TRY_ASSIGN(const auto images, context.images.Save(names, options));
  STRATA_TRY(StreamBody(exchange, "application/x-tar",
                        [&](const BodySink& sink) { return images->Write(sink); }));
  for (const std::string& name : names) {
    context.events.Publish({"image", "save", name, {{"name", name}}});
  }
  return {};
}

Result<> SaveMany(Exchange& exchange, const ApiContext& context) {
  std::vector<std::string> names;
  for (const auto& [key, value] : exchange.request().query) {
    if (key == "names") names.push_back(value);
  }
  return SendImages(exchange, context, names);
}

Result<> Convert(Exchange& exchange, const ApiContext& context, const std::string& name) {
  layerstore::ConvertOptions options;
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(options.compression, CompressionOf(request));
  const std::string_view format = request.Query("format");
  if (format == "oci") {
    options.kind = ManifestKind::kOci;
  } else if (format == "docker") {
    options.kind = ManifestKind::kDocker;
  } else if (!format.empty()) {
    return Fail(EINVAL, "request", "invalid format \"" + std::string(format) + "\": oci or docker");
  }
  STRATA_TRY_ASSIGN(const layerstore::Image image, context.images.Convert(name, options));
  return ReplyJson(exchange, 200,
                   {{"Id", image.id.ToString()},
                    {"Digest", image.manifest_digest.ToString()},
                    {"MediaType", image.manifest_media_type}});
}

}  // namespace

void AddSaveRoutes(Router& router, const ApiContext& context) {
  router.Add("GET", "/images/get",
             [&context](Exchange& e, const RouteParameters&) { return SaveMany(e, context); });
  router.Add("GET", "/images/{name...}/get", [&context](Exchange& e, const RouteParameters& p) {
    return SendImages(e, context, {p.at("name")});
  });
  router.Add("POST", "/strata/images/{name...}/convert",
             [&context](Exchange& e, const RouteParameters& p) {
               return Convert(e, context, p.at("name"));
             });
}

}  // namespace strata::manager
