#include "manager/image/image_push.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/try.h"
#include "layerstore/layer/layer_media_type.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/save/layer_source.h"
#include "layerstore/save/repacked_manifest.h"
#include "manager/image/progress_reporter.h"

namespace strata::manager {
namespace {

using layerstore::Compression;
using layerstore::Descriptor;
using layerstore::LayerForm;
using layerstore::Manifest;
using layerstore::PackedLayer;
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
  // Sees to it that the registry has a form of the layer, the manifest's if possible; which one.
  Result<PackedLayer> BringLayer(std::size_t index, const std::string& id,
                                 layerstore::Lease& lease);
  Result<> SendLayer(const LayerForm& form, const std::string& id,
                     const std::optional<std::string>& mount_from);
  Result<bool> IsThere(const PackedLayer& form);
  // A form besides `wanted` that is known of the layer and that the registry has.
  Result<std::optional<PackedLayer>> FindThere(const Digest& diff_id, const Digest& wanted);
  Result<> Remember(const PackedLayer& form, const Digest& diff_id);
  // Another repository of this registry that has, as far as the store knows, the layer.
  Result<std::vector<std::optional<std::string>>> FindMounts();

  layerstore::Store& store_;
  const Reference& reference_;
  RegistryClient& client_;
  ProgressReporter reporter_;
  Cancellation& stop_;

  layerstore::ImageDetail detail_;
  Manifest manifest_;
  std::vector<PackedLayer> sent_;  // per layer: what the registry has now; own element per thread
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

Result<bool> Push::IsThere(const PackedLayer& form) {
  return client_.HasBlob(reference_.repository(), form.digest);
}

Result<std::optional<PackedLayer>> Push::FindThere(const Digest& diff_id, const Digest& wanted) {
  STRATA_TRY_ASSIGN(const auto forms, store_.layers().Blobs(diff_id));
  const bool docker = manifest_.media_type == layerstore::media_type::kDockerManifest;
  for (const layerstore::LayerBlob& form : forms) {
    // That was asked for first; and nobody wants the layer unpacked, or in words that docker lacks.
    if (form.blob == wanted || form.blob == diff_id) continue;
    const auto compression = layerstore::CompressionOfMediaType(form.media_type);
    if (!compression || (docker && *compression == Compression::kZstd)) continue;
    const PackedLayer packed{form.blob, form.size, *compression};
    STRATA_TRY_ASSIGN(const bool there, IsThere(packed));
    if (there) return std::optional(packed);
  }
  return std::optional<PackedLayer>();
}

Result<> Push::SendLayer(const LayerForm& form, const std::string& id,
                         const std::optional<std::string>& mount_from) {
  STRATA_TRY_ASSIGN(const UniqueFd file, form.Open());
  const std::uint64_t size = form.packed().size;
  BlobSource source;
  source.digest = form.packed().digest;
  source.content.length = size;
  source.content.read = [this, &file](std::uint64_t offset, std::span<std::byte> buffer) {
    return store_.ops().ReadAt(file.get(), buffer, static_cast<off_t>(offset));
  };
  source.on_progress = [this, &id, size](std::uint64_t sent) {
    reporter_.Move(id, "Pushing", sent, size);
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

Result<PackedLayer> Push::BringLayer(std::size_t index, const std::string& id,
                                     layerstore::Lease& lease) {
  const Descriptor& wanted = manifest_.layers[index];
  const Digest& diff_id = detail_.image.diff_ids[index];
  const PackedLayer as_it_is{
      wanted.digest, wanted.size,
      layerstore::CompressionOfMediaType(wanted.media_type).value_or(Compression::kNone)};
  const auto exists = [&](const PackedLayer& form) {
    reporter_.Say(id, "Layer already exists");
    return form;
  };
  STRATA_TRY_ASSIGN(bool there, IsThere(as_it_is));
  if (there) return exists(as_it_is);
  layerstore::LayerSource source(store_, lease);
  STRATA_TRY_ASSIGN(auto form, source.FindKept(diff_id, wanted.digest, std::nullopt));
  if (!form || form->packed().digest != wanted.digest) {
    STRATA_TRY_ASSIGN(const auto other, FindThere(diff_id, wanted.digest));
    if (other) return exists(*other);
  }
  const bool packed_now = !form.has_value();
  if (packed_now) {
    reporter_.Say(id, "Packing");
    STRATA_TRY_ASSIGN(form, source.Make(diff_id, Compression::kGzip));
    STRATA_TRY_ASSIGN(there, IsThere(form->packed()));
  }
  if (!there) STRATA_TRY(SendLayer(*form, id, mounts_[index]));
  if (packed_now) STRATA_TRY(Remember(form->packed(), diff_id));
  return there ? exists(form->packed()) : form->packed();
}

// The next push asks for this form before it packs the layer again.
Result<> Push::Remember(const PackedLayer& form, const Digest& diff_id) {
  return store_.layers().AddBlob({form.digest, form.size,
                                  std::string(layerstore::LayerMediaType(form.compression, false)),
                                  diff_id, false});
}

Result<> Push::PushLayer(std::size_t index, layerstore::Lease& lease) {
  STRATA_TRY(stop_.Check());
  STRATA_TRY_ASSIGN(sent_[index], BringLayer(index, detail_.image.diff_ids[index].Short(), lease));
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
  // The bytes the image came with, if the registry has just these layers.
  STRATA_TRY_ASSIGN(const layerstore::RepackedManifest manifest,
                    layerstore::RepackManifest(detail_, sent_, layerstore::ManifestKind::kAsItIs));
  const std::string tag = reference_.tag().value_or(std::string(layerstore::kDefaultTag));
  STRATA_TRY(client_.PutManifest(reference_.repository(), tag, manifest.media_type, manifest.json));

  const PushOutcome outcome{.digest = Digest::Of(manifest.json), .size = manifest.json.size()};
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
