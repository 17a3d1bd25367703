#include "layerstore/oci/manifest.h"

#include <utility>

#include "base/try.h"
#include "base/utf8.h"
#include "layerstore/oci/json_reader.h"
#include "layerstore/oci/media_types.h"

namespace strata::layerstore {
namespace {

constexpr const char* kManifestOp = "image manifest";
constexpr std::int64_t kSchemaVersion = 2;

Result<Descriptor> ReadDescriptor(const Json& json) {
  if (!json.is_object()) return Fail(EINVAL, kManifestOp, "a descriptor is not an object");
  JsonReader reader(json, kManifestOp);
  Descriptor result;
  result.media_type = reader.String("mediaType");
  result.digest = reader.RequiredDigest("digest");
  const std::int64_t size = reader.Integer("size");
  if (size < 0 || static_cast<std::uint64_t>(size) > kBlobBytesMax) {
    reader.Fail("size of " + result.digest.ToString() + " is out of range");
  }
  if (!reader.Has("size")) reader.Fail("a descriptor has no size");
  result.size = static_cast<std::uint64_t>(size);
  result.urls = reader.Strings("urls");
  result.annotations = reader.StringMap("annotations");
  if (const Json* platform = reader.Object("platform")) {
    JsonReader fields(*platform, kManifestOp);
    result.platform = Platform{fields.String("os"), fields.String("architecture"),
                               fields.String("variant"), fields.String("os.version")};
    STRATA_TRY(fields.status());
  }
  STRATA_TRY(reader.status());
  return result;
}

Result<std::vector<Descriptor>> ReadDescriptors(JsonReader& reader, const char* key) {
  std::vector<Descriptor> result;
  const Json* list = reader.Array(key);
  STRATA_TRY(reader.status());
  if (list == nullptr) return result;
  if (list->size() > kDescriptorsMax) {
    return Fail(EINVAL, kManifestOp,
                "has more than " + std::to_string(kDescriptorsMax) + " descriptors");
  }
  result.reserve(list->size());
  for (const Json& item : *list) {
    STRATA_TRY_ASSIGN(Descriptor descriptor, ReadDescriptor(item));
    result.push_back(std::move(descriptor));
  }
  return result;
}

OrderedJson WriteDescriptor(const Descriptor& descriptor) {
  OrderedJson json;
  json["mediaType"] = descriptor.media_type;
  json["digest"] = descriptor.digest.ToString();
  json["size"] = descriptor.size;
  if (!descriptor.urls.empty()) json["urls"] = descriptor.urls;
  if (!descriptor.annotations.empty()) json["annotations"] = descriptor.annotations;
  if (descriptor.platform) {
    OrderedJson& platform = json["platform"];
    platform["architecture"] = descriptor.platform->architecture;
    platform["os"] = descriptor.platform->os;
    if (!descriptor.platform->os_version.empty()) {
      platform["os.version"] = descriptor.platform->os_version;
    }
    if (!descriptor.platform->variant.empty()) platform["variant"] = descriptor.platform->variant;
  }
  return json;
}

// What the document is, from its own mediaType and the transport's word; both may be missing, but
// they must not contradict each other.
Result<std::string> DocumentType(JsonReader& reader, std::string_view content_type) {
  const std::string own = reader.String("mediaType");
  const std::int64_t version = reader.Integer("schemaVersion");
  STRATA_TRY(reader.status());
  if (version != kSchemaVersion) {
    return Fail(EINVAL, kManifestOp,
                "schema version " + std::to_string(version) + " is not supported");
  }
  // Parameters, as in "…+json; charset=utf-8", do not matter.
  std::string_view told = content_type.substr(0, content_type.find_first_of("; \t"));
  if (!media_type::IsIndex(told) && !media_type::IsManifest(told)) told = {};
  if (!own.empty() && !told.empty() && own != told) {
    return Fail(EINVAL, kManifestOp,
                "says it is '" + ShownText(own) + "' but was sent as '" + std::string(told) + "'");
  }
  return own.empty() ? std::string(told) : own;
}

Result<Manifest> ReadManifest(JsonReader& reader, std::string type) {
  Manifest result;
  result.media_type = type.empty() ? std::string(media_type::kOciManifest) : std::move(type);
  const Json* config = reader.Object("config");
  result.annotations = reader.StringMap("annotations");
  STRATA_TRY(reader.status());
  if (config == nullptr) return Fail(EINVAL, kManifestOp, "has no config");
  STRATA_TRY_ASSIGN(result.config, ReadDescriptor(*config));
  STRATA_TRY_ASSIGN(result.layers, ReadDescriptors(reader, "layers"));
  return result;
}

Result<Index> ReadIndex(JsonReader& reader, std::string type) {
  Index result;
  result.media_type = type.empty() ? std::string(media_type::kOciIndex) : std::move(type);
  result.annotations = reader.StringMap("annotations");
  STRATA_TRY_ASSIGN(result.manifests, ReadDescriptors(reader, "manifests"));
  return result;
}

}  // namespace

std::string Manifest::ToJson() const {
  OrderedJson json;
  json["schemaVersion"] = kSchemaVersion;
  json["mediaType"] = media_type;
  json["config"] = WriteDescriptor(config);
  OrderedJson& list = json["layers"] = OrderedJson::array();
  for (const Descriptor& layer : layers) list.push_back(WriteDescriptor(layer));
  if (!annotations.empty()) json["annotations"] = annotations;
  return DumpJson(json);
}

std::string Index::ToJson() const {
  OrderedJson json;
  json["schemaVersion"] = kSchemaVersion;
  json["mediaType"] = media_type;
  OrderedJson& list = json["manifests"] = OrderedJson::array();
  for (const Descriptor& manifest : manifests) list.push_back(WriteDescriptor(manifest));
  if (!annotations.empty()) json["annotations"] = annotations;
  return DumpJson(json);
}

Result<ManifestOrIndex> ParseManifestOrIndex(std::string_view json, std::string_view content_type) {
  STRATA_TRY_ASSIGN(const Json object, ParseJsonObject(json, kManifestBytesMax, kManifestOp));
  JsonReader reader(object, kManifestOp);
  STRATA_TRY_ASSIGN(std::string type, DocumentType(reader, content_type));

  const bool index_fields = object.contains("manifests");
  const bool manifest_fields = object.contains("config") || object.contains("layers");
  if (index_fields && manifest_fields) {
    return Fail(EINVAL, kManifestOp, "is a manifest and an index at once");
  }
  if (object.contains("fsLayers") || object.contains("history")) {
    return Fail(EINVAL, kManifestOp, "has fields of schema version 1");
  }
  if (!type.empty() && !media_type::IsIndex(type) && !media_type::IsManifest(type)) {
    return Fail(EINVAL, kManifestOp, "media type '" + ShownText(type) + "' is not an image");
  }
  if (media_type::IsIndex(type) ? !index_fields : media_type::IsManifest(type) && index_fields) {
    return Fail(EINVAL, kManifestOp,
                "its fields do not fit its media type '" + ShownText(type) + "'");
  }
  if (index_fields) {
    STRATA_TRY_ASSIGN(Index index, ReadIndex(reader, std::move(type)));
    return ManifestOrIndex(std::move(index));
  }
  STRATA_TRY_ASSIGN(Manifest manifest, ReadManifest(reader, std::move(type)));
  return ManifestOrIndex(std::move(manifest));
}

Result<Manifest> ParseManifest(std::string_view json, std::string_view content_type) {
  STRATA_TRY_ASSIGN(ManifestOrIndex document, ParseManifestOrIndex(json, content_type));
  if (auto* manifest = std::get_if<Manifest>(&document)) return std::move(*manifest);
  return Fail(EINVAL, kManifestOp, "is an index where a manifest is expected");
}

Result<Index> ParseIndex(std::string_view json, std::string_view content_type) {
  STRATA_TRY_ASSIGN(ManifestOrIndex document, ParseManifestOrIndex(json, content_type));
  if (auto* index = std::get_if<Index>(&document)) return std::move(*index);
  return Fail(EINVAL, kManifestOp, "is a manifest where an index is expected");
}

Result<Descriptor> SelectPlatform(const Index& index, const Platform& want) {
  const Descriptor* match = nullptr;
  const Descriptor* unspecified = nullptr;
  std::string offer;
  for (const Descriptor& descriptor : index.manifests) {
    if (!media_type::IsManifest(descriptor.media_type) && !descriptor.media_type.empty()) continue;
    if (!descriptor.platform) {
      if (unspecified == nullptr) unspecified = &descriptor;
      continue;
    }
    if (*descriptor.platform == want) return descriptor;
    if (match == nullptr && PlatformMatches(want, *descriptor.platform)) match = &descriptor;
    if (!offer.empty()) offer += ", ";
    offer += descriptor.platform->ToString();
  }
  if (match != nullptr) return *match;
  if (unspecified != nullptr) return *unspecified;
  return Fail(ENOENT, "select platform",
              "no image for " + want.ToString() + "; there is " +
                  (offer.empty() ? std::string("none at all") : ShownText(offer)));
}

Result<> VerifyBytes(const Descriptor& descriptor, std::string_view body) {
  if (body.size() != descriptor.size) {
    return Fail(EBADMSG, "verify",
                descriptor.digest.ToString() + ": expected " + std::to_string(descriptor.size) +
                    " bytes, got " + std::to_string(body.size()));
  }
  const Digest actual = Digest::Of(body);
  if (actual != descriptor.digest) {
    return Fail(EBADMSG, "verify",
                descriptor.digest.ToString() + ": content has digest " + actual.ToString());
  }
  return {};
}

}  // namespace strata::layerstore
