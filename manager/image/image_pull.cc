#include "manager/image/image_pull.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "base/try.h"
#include "base/utf8.h"
#include "layerstore/oci/media_types.h"
#include "manager/image/progress_reporter.h"

namespace strata::manager {
namespace {

namespace media_type = layerstore::media_type;
using layerstore::Descriptor;

using layerstore::Manifest;
using layerstore::Reference;

bool IsLayerType(std::string_view type) {
  constexpr std::array kTypes = {media_type::kOciLayer,        media_type::kOciLayerGzip,
                                 media_type::kOciLayerZstd,    media_type::kDockerLayer,
                                 media_type::kDockerLayerGzip, media_type::kDockerForeignLayerGzip};
  return std::ranges::find(kTypes, type) != kTypes.end() ||
         type.starts_with(media_type::kOciForeignLayerPrefix);
}

// Says it in the words docker's users search for.
Error NotFound(const Reference& reference, Error error) {
  if (error.code() == ENOENT) {
    return std::move(error).WithContext("manifest for " + reference.Familiar() + " not found");
  }
  if (error.code() == EACCES) {
    return std::move(error).WithContext("pull access denied for " + reference.FamiliarName() +
                                        ", repository does not exist or may require authorization");
  }
  return error;
}

// One pull from beginning to end.
class Pull {
 public:
  Pull(layerstore::Store& store, const Reference& reference, const PullOptions& options,
       const layerstore::UnpackLimits& limits, RegistryClient& client, const ProgressSink& progress,
       Cancellation& stop)
      : store_(store),
        reference_(reference),
        options_(options),
        limits_(limits),
        client_(client),
        reporter_(progress),
        stop_(stop) {}

  Result<PullOutcome> Run();

 private:
  Result<> FetchManifest();
  Result<> CheckKinds() const;
  Result<> FetchConfig();
  Result<> CheckPlatform() const;
  Result<> FetchLayers(layerstore::Lease& lease);
  Result<> FetchLayer(std::size_t index, layerstore::Lease& lease);
  Result<> Receive(std::size_t index, layerstore::LayerSink& sink);
  // Whether the store has this very image already, with all its layers and whatever its name.
  Result<bool> AlreadyHere(layerstore::Lease& lease);
  Result<Reference> NewName() const;
  std::string Named() const {
    return reference_.digest() ? reference_.digest()->ToString() : *reference_.tag();
  }

  layerstore::Store& store_;
  const Reference& reference_;
  const PullOptions& options_;
  const layerstore::UnpackLimits& limits_;
  RegistryClient& client_;
  ProgressReporter reporter_;
  Cancellation& stop_;

  Digest top_digest_;  // of what the reference names
  RemoteManifest remote_;
  Manifest manifest_;
  std::string config_json_;
  layerstore::ImageConfig config_;
};

Result<> Pull::FetchManifest() {
  STRATA_TRY_ASSIGN(remote_, client_.GetManifest(reference_.repository(), Named()));
  top_digest_ = remote_.digest;
  STRATA_TRY_ASSIGN(auto parsed,
                    layerstore::ParseManifestOrIndex(remote_.bytes, remote_.media_type));
  if (auto* manifest = std::get_if<Manifest>(&parsed)) {
    manifest_ = std::move(*manifest);
    return {};
  }
  STRATA_TRY_ASSIGN(
      const Descriptor chosen,
      layerstore::SelectPlatform(std::get<layerstore::Index>(parsed),
                                 options_.platform.value_or(layerstore::HostPlatform())));
  STRATA_TRY_ASSIGN(remote_,
                    client_.GetManifest(reference_.repository(), chosen.digest.ToString()));
  STRATA_TRY(layerstore::VerifyBytes(chosen, remote_.bytes));
  STRATA_TRY_ASSIGN(manifest_, layerstore::ParseManifest(remote_.bytes, remote_.media_type));
  return {};
}

Result<> Pull::CheckKinds() const {
  const std::string& type = manifest_.config.media_type;
  if (type != media_type::kOciConfig && type != media_type::kDockerConfig) {
    return Fail(
        EINVAL, "pull",
        "it is not a container image: its configuration is of type \"" + ShownText(type) + "\"");
  }
  for (const Descriptor& layer : manifest_.layers) {
    if (!IsLayerType(layer.media_type)) {
      return Fail(EINVAL, "pull",
                  "layer " + layer.digest.ToString() + " is of type \"" +
                      ShownText(layer.media_type) + "\", which is no file system layer");
    }
  }
  return {};
}

Result<> Pull::FetchConfig() {
  const Descriptor& descriptor = manifest_.config;
  STRATA_TRY_ASSIGN(config_json_, client_.ReadBlob(reference_.repository(), descriptor.digest,
                                                   descriptor.size, layerstore::kConfigBytesMax));
  STRATA_TRY_ASSIGN(config_, layerstore::ParseImageConfig(config_json_));
  if (config_.diff_ids.size() != manifest_.layers.size()) {
    return Fail(EINVAL, "pull",
                "the manifest has " + std::to_string(manifest_.layers.size()) +
                    " layers, the configuration " + std::to_string(config_.diff_ids.size()));
  }
  return {};
}

Result<> Pull::CheckPlatform() const {
  if (options_.platform && !config_.platform.os.empty() &&
      !layerstore::PlatformMatches(*options_.platform, config_.platform)) {
    return Fail(ENOENT, "pull",
                "the image is for " + ShownText(config_.platform.ToString()) + ", not for " +
                    options_.platform->ToString());
  }
  return {};
}

Result<> Pull::Receive(std::size_t index, layerstore::LayerSink& sink) {
  const Descriptor& layer = manifest_.layers[index];
  const std::string id = layer.digest.Short();
  std::uint64_t received = 0;
  STRATA_TRY(client_.StreamBlob(reference_.repository(), layer.digest, layer.size,
                                [&](std::string_view piece) -> Result<> {
                                  STRATA_TRY(stop_.Check());
                                  STRATA_TRY(sink.Write(piece));
                                  received += piece.size();
                                  reporter_.Move(id, "Downloading", received, layer.size);
                                  return {};
                                }));
  reporter_.Say(id, "Verifying Checksum");
  reporter_.Say(id, "Download complete");
  reporter_.Move(id, "Extracting", layer.size, layer.size);
  STRATA_TRY(sink.Commit());
  return {};
}

Result<> Pull::FetchLayer(std::size_t index, layerstore::Lease& lease) {
  const Descriptor& layer = manifest_.layers[index];
  layerstore::LayerIngest ingest;
  ingest.blob = layer.digest;
  ingest.blob_size = layer.size;
  ingest.diff_id = config_.diff_ids[index];
  ingest.media_type = layer.media_type;
  ingest.limits = limits_;
  auto sink = store_.layers().Begin(std::move(ingest), lease);
  Result<> done;
  if (!sink) {
    done = std::unexpected(std::move(sink).error());
  } else if (*sink == nullptr) {
    reporter_.Say(layer.digest.Short(), "Already exists");
    return {};
  } else {
    done = Receive(index, **sink);
  }
  if (!done) {
    return std::unexpected(std::move(done).error().WithContext("layer " + layer.digest.ToString()));
  }
  reporter_.Say(layer.digest.Short(), "Pull complete");
  return {};
}

Result<> Pull::FetchLayers(layerstore::Lease& lease) {
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < manifest_.layers.size(); ++i) {
    const std::string id = manifest_.layers[i].digest.Short();
    STRATA_TRY(lease.PinLayer(config_.diff_ids[i]));
    auto found = store_.layers().Find(config_.diff_ids[i]);
    if (!found && found.error().code() != ENOENT) {
      return std::unexpected(std::move(found.error()));
    }
    reporter_.Say(id, found ? "Already exists" : "Pulling fs layer");
    if (!found) missing.push_back(i);
  }
  for (std::size_t i = kParallelDownloads; i < missing.size(); ++i) {
    reporter_.Say(manifest_.layers[missing[i]].digest.Short(), "Waiting");
  }
  return ForEachInParallel(missing.size(), kParallelDownloads, stop_,
                           [&](std::size_t i) { return FetchLayer(missing[i], lease); });
}

Result<bool> Pull::AlreadyHere(layerstore::Lease& lease) {
  auto detail = store_.images().Inspect(manifest_.config.digest);
  if (!detail) {
    if (detail.error().code() == ENOENT) return false;
    return std::unexpected(std::move(detail.error()));
  }
  bool whole = true;
  for (const Digest& diff_id : detail->image.diff_ids) {
    STRATA_TRY(lease.PinLayer(diff_id));
    // The rows may be all that is left of a layer.
    auto found = store_.layers().Find(diff_id);
    if (!found && found.error().code() != ENOENT) {
      return std::unexpected(std::move(found.error()));
    }
    whole = whole && found.has_value();
  }
  if (!whole) return false;
  config_json_ = std::move(detail->config_json);
  config_ = std::move(detail->config);
  return true;
}

// The tag, if one was asked for, and the digest it stands for.
Result<Reference> Pull::NewName() const {
  if (reference_.digest() || !reference_.tag()) return reference_.WithDigest(top_digest_);
  return Reference::Parse(reference_.Name() + ":" + *reference_.tag() + "@" +
                          top_digest_.ToString());
}

Result<PullOutcome> Pull::Run() {
  Result<> found = FetchManifest();
  if (!found) return std::unexpected(NotFound(reference_, std::move(found).error()));
  reporter_.Say(Named(), "Pulling from " + reference_.repository());
  STRATA_TRY(CheckKinds());

  const auto before = store_.images().Resolve(reference_.ToString());
  STRATA_TRY_ASSIGN(layerstore::Lease lease, store_.NewLease());
  STRATA_TRY_ASSIGN(const bool here, AlreadyHere(lease));
  if (!here) STRATA_TRY(FetchConfig());
  STRATA_TRY(CheckPlatform());
  if (!here) STRATA_TRY(FetchLayers(lease));
  STRATA_TRY(stop_.Check());

  layerstore::NewImage image;
  image.config_json = std::move(config_json_);
  image.manifest_json = std::move(remote_.bytes);
  image.manifest_media_type = manifest_.media_type;
  STRATA_TRY_ASSIGN(Reference name, NewName());
  image.names.push_back(std::move(name));
  PullOutcome outcome;
  STRATA_TRY_ASSIGN(outcome.image, store_.images().Put(image));
  outcome.digest = top_digest_;
  outcome.newer = !before || before->id != outcome.image.id;
  reporter_.Say("", "Digest: " + top_digest_.ToString());
  reporter_.Say("", (outcome.newer ? "Status: Downloaded newer image for "
                                   : "Status: Image is up to date for ") +
                        reference_.Familiar());
  return outcome;
}

}  // namespace

Result<PullOutcome> PullImage(layerstore::Store& store, const Reference& reference,
                              const PullOptions& options, const RegistryOptions& registry,
                              const layerstore::UnpackLimits& limits, const ProgressSink& progress,
                              Cancellation* cancel) {
  Cancellation stop(cancel);
  auto client = RegistryClient::Open(reference.registry(), options.credentials, registry, &stop);
  if (!client) {
    return std::unexpected(std::move(client.error()).WithContext("pull " + reference.Familiar()));
  }
  Pull pull(store, reference, options, limits, **client, progress, stop);
  auto outcome = pull.Run();
  if (!outcome) {
    return std::unexpected(std::move(outcome.error()).WithContext("pull " + reference.Familiar()));
  }
  return outcome;
}

}  // namespace strata::manager
