#include "manager/image/image_push.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/save/layer_source.h"
#include "manager/image/parallel.h"
#include "manager/image/progress_reporter.h"

namespace strata::manager {
namespace {

using layerstore::Descriptor;
using layerstore::Manifest;
using layerstore::Reference;

// One push from beginning to end.
class Push {
 public:
  Push(layerstore::Store& store, const Reference& reference, RegistryClient& client,
       const ProgressSink& progress, Cancellation& stop)
      : store_(store), reference_(reference), client_(client), reporter_(progress), stop_(stop) {}

  Result<PushOutcome> Run();

 private:
  Result<> PushLayer(std::size_t index, layerstore::Lease& lease);
  Result<> PushConfig();
  Result<> SendBlob(const Descriptor& blob, const std::string& id, UniqueFd file,
                    const std::optional<std::string>& mount_from);
  Result<std::string> ManifestBytes() const;
  // A form of the layer whose bytes are at hand, `wanted` if possible; made if none is.
  Result<std::pair<Descriptor, UniqueFd>> OpenLayer(const Descriptor& wanted, const Digest& diff_id,
                                                    layerstore::Lease& lease);
  // Another repository of this registry that has, as far as the store knows, the layer.
  Result<std::vector<std::optional<std::string>>> FindMounts();

  layerstore::Store& store_;
  const Reference& reference_;
  RegistryClient& client_;
  ProgressReporter reporter_;
  Cancellation& stop_;

  layerstore::ImageDetail detail_;
  Manifest manifest_;
  std::vector<Descriptor> sent_;  // per layer: what the registry has now; own element per thread
  std::vector<std::optional<std::string>> mounts_;  // per layer
};

Result<std::vector<std::optional<std::string>>> Push::FindMounts() {
  std::vector<std::optional<std::string>> mounts(detail_.image.diff_ids.size());
  STRATA_TRY_ASSIGN(const auto images, store_.images().List());
  for (const layerstore::Image& image : images) {
    // Only a name with a digest tells that the image is (or was) in that repository.
    const auto elsewhere = std::ranges::find_if(image.repo_digests, [&](const Reference& name) {
      return name.registry() == reference_.registry() &&
             name.repository() != reference_.repository();
    });
    if (elsewhere == image.repo_digests.end()) continue;
    for (std::size_t i = 0; i < mounts.size(); ++i) {
      if (!mounts[i] &&
          std::ranges::find(image.diff_ids, detail_.image.diff_ids[i]) != image.diff_ids.end()) {
        mounts[i] = elsewhere->repository();
      }
    }
  }
  return mounts;
}

Result<std::pair<Descriptor, UniqueFd>> Push::OpenLayer(const Descriptor& wanted,
                                                        const Digest& diff_id,
                                                        layerstore::Lease& lease) {
  STRATA_TRY(lease.PinBlob(wanted.digest));
  auto file = store_.blobs().OpenBlob(wanted.digest);
  if (file) return std::pair(wanted, *std::move(file));
  if (file.error().code() != ENOENT) return std::unexpected(std::move(file.error()));
  STRATA_TRY_ASSIGN(const auto forms, store_.layers().Blobs(diff_id));
  for (const layerstore::LayerBlob& form : forms) {
    STRATA_TRY(lease.PinBlob(form.blob));
    auto other = store_.blobs().OpenBlob(form.blob);
    if (other) {
      Descriptor descriptor;
      descriptor.media_type = form.media_type;
      descriptor.digest = form.blob;
      descriptor.size = form.size;
      return std::pair(std::move(descriptor), *std::move(other));
    }
    if (other.error().code() != ENOENT) return std::unexpected(std::move(other.error()));
  }
  layerstore::LayerSource source(store_, lease);
  STRATA_TRY_ASSIGN(const layerstore::LayerForm made,
                    source.Get(diff_id, Digest(), layerstore::Compression::kGzip));
  Descriptor descriptor;
  const bool docker = manifest_.media_type == layerstore::media_type::kDockerManifest;
  descriptor.media_type = std::string(docker ? layerstore::media_type::kDockerLayerGzip
                                             : layerstore::media_type::kOciLayerGzip);
  descriptor.digest = made.packed().digest;
  descriptor.size = made.packed().size;
  STRATA_TRY_ASSIGN(UniqueFd packed, made.Open());
  return std::pair(std::move(descriptor), std::move(packed));
}

Result<> Push::SendBlob(const Descriptor& blob, const std::string& id, UniqueFd file,
                        const std::optional<std::string>& mount_from) {
  BlobSource source;
  source.digest = blob.digest;
  source.content.length = blob.size;
  source.content.read = [this, &file](std::uint64_t offset, std::span<std::byte> buffer) {
    return store_.ops().ReadAt(file.get(), buffer, static_cast<off_t>(offset));
  };
  source.on_progress = [this, &id, &blob](std::uint64_t sent) {
    reporter_.Move(id, "Pushing", sent, blob.size);
  };
  auto done = client_.PushBlob(reference_.repository(), source, mount_from);
  if (!done && mount_from && done.error().code() == EACCES) {
    // Whoever may push here need not be allowed to read there.
    done = client_.PushBlob(reference_.repository(), source, std::nullopt);
  }
  if (!done) return std::unexpected(std::move(done.error()));
  reporter_.Say(id, *done == BlobUpload::kMounted ? "Mounted from " + mount_from.value_or("")
                                                  : std::string("Pushed"));
  return {};
}

Result<> Push::PushLayer(std::size_t index, layerstore::Lease& lease) {
  const Descriptor& wanted = manifest_.layers[index];
  const Digest& diff_id = detail_.image.diff_ids[index];
  const std::string id = diff_id.Short();
  STRATA_TRY(stop_.Check());
  STRATA_TRY_ASSIGN(bool there, client_.HasBlob(reference_.repository(), wanted.digest));
  sent_[index] = wanted;
  if (!there) {
    STRATA_TRY_ASSIGN(auto source, OpenLayer(wanted, diff_id, lease));
    sent_[index] = source.first;
    if (source.first.digest != wanted.digest) {
      STRATA_TRY_ASSIGN(there, client_.HasBlob(reference_.repository(), source.first.digest));
    }
    if (!there) return SendBlob(source.first, id, std::move(source.second), mounts_[index]);
  }
  reporter_.Say(id, "Layer already exists");
  return {};
}

Result<> Push::PushConfig() {
  const std::string& bytes = detail_.config_json;
  STRATA_TRY_ASSIGN(const bool there,
                    client_.HasBlob(reference_.repository(), manifest_.config.digest));
  if (there) return {};
  BlobSource source;
  source.digest = manifest_.config.digest;
  source.content.length = bytes.size();
  source.content.read = [&bytes](std::uint64_t offset,
                                 std::span<std::byte> buffer) -> Result<std::size_t> {
    const std::size_t count = std::min(buffer.size(), bytes.size() - offset);
    std::memcpy(buffer.data(), bytes.data() + offset, count);
    return count;
  };
  STRATA_TRY(client_.PushBlob(reference_.repository(), source, std::nullopt));
  return {};
}

// The bytes the image came with, if the registry has just these layers.
Result<std::string> Push::ManifestBytes() const {
  const bool same =
      std::ranges::equal(sent_, manifest_.layers, {}, &Descriptor::digest, &Descriptor::digest);
  if (same) return detail_.manifest_json;
  Manifest changed = manifest_;
  changed.layers = sent_;
  return changed.ToJson();
}

Result<PushOutcome> Push::Run() {
  STRATA_TRY_ASSIGN(detail_, store_.images().Inspect(reference_.ToString()));
  STRATA_TRY_ASSIGN(manifest_, layerstore::ParseManifest(detail_.manifest_json,
                                                         detail_.image.manifest_media_type));
  if (manifest_.layers.size() != detail_.image.diff_ids.size()) {
    return Fail(EBADMSG, "push", "manifest and configuration disagree about the layers");
  }
  reporter_.Say("", "The push refers to repository [" + reference_.Name() + "]");
  for (const Digest& diff_id : detail_.image.diff_ids) reporter_.Say(diff_id.Short(), "Preparing");
  for (std::size_t i = kParallelUploads; i < detail_.image.diff_ids.size(); ++i) {
    reporter_.Say(detail_.image.diff_ids[i].Short(), "Waiting");
  }
  STRATA_TRY_ASSIGN(mounts_, FindMounts());
  sent_.resize(manifest_.layers.size());
  STRATA_TRY_ASSIGN(layerstore::Lease lease, store_.NewLease());
  STRATA_TRY(ForEachInParallel(manifest_.layers.size(), kParallelUploads, stop_,
                               [&](std::size_t i) { return PushLayer(i, lease); }));
  STRATA_TRY(PushConfig());
  STRATA_TRY_ASSIGN(const std::string bytes, ManifestBytes());
  const std::string tag = reference_.tag().value_or(std::string(layerstore::kDefaultTag));
  STRATA_TRY(client_.PutManifest(reference_.repository(), tag, manifest_.media_type, bytes));

  const PushOutcome outcome{.digest = Digest::Of(bytes), .size = bytes.size()};
  STRATA_TRY(store_.images().Tag(detail_.image.id, reference_.WithDigest(outcome.digest)));
  reporter_.Say("", tag + ": digest: " + outcome.digest.ToString() +
                        " size: " + std::to_string(outcome.size));
  reporter_.Send(
      {.id = "", .status = "", .pushed = ProgressEvent::Pushed{tag, outcome.digest, outcome.size}});
  return outcome;
}

}  // namespace

Result<PushOutcome> PushImage(layerstore::Store& store, const Reference& reference,
                              const PushOptions& options, const RegistryOptions& registry,
                              const ProgressSink& progress, Cancellation* cancel) {
  Cancellation stop(cancel);
  // Asked first: no registry is bothered for an image that is not there.
  STRATA_TRY(store.images().Resolve(reference.ToString()));
  auto client = RegistryClient::Open(reference.registry(), options.credentials, registry, &stop);
  if (!client) {
    return std::unexpected(std::move(client.error()).WithContext("push " + reference.Familiar()));
  }
  Push push(store, reference, **client, progress, stop);
  auto outcome = push.Run();
  if (!outcome) {
    return std::unexpected(std::move(outcome.error()).WithContext("push " + reference.Familiar()));
  }
  return outcome;
}

}  // namespace strata::manager
