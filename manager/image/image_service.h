// Everything the manager does with images: gets them from registries and files, gives them names,
// removes them. Between the registry client and the layer store.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/cancellation.h"
#include "base/digest.h"
#include "base/error.h"
#include "layerstore/explore/layer_report.h"
#include "layerstore/explore/path_history.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/reference.h"
#include "layerstore/save/convert.h"
#include "layerstore/save/save.h"
#include "layerstore/store/store.h"
#include "layerstore/usage/usage.h"
#include "manager/image/progress.h"
#include "manager/registry/credentials.h"
#include "manager/registry/registry_client.h"

namespace strata::manager {

// How registries are reached.
struct ImageServiceOptions {
  RegistryOptions registry;
  // Registries ("host" or "host:port") that may speak plain http or show any certificate.
  std::vector<std::string> insecure_registries;
  // Of what is pulled and imported.
  layerstore::UnpackLimits layer_limits;
};

struct PullOptions {
  RegistryCredentials credentials;
  // What to take from a multi-platform image; the host's platform if not given. An image of one
  // platform is taken whatever it is for, unless this says otherwise.
  std::optional<layerstore::Platform> platform;
  bool insecure = false;  // treat this reference's registry as an insecure one
};

struct PullOutcome {
  layerstore::Image image;
  Digest digest;       // of what the reference named: a manifest or an index
  bool newer = false;  // false: the reference meant this image before already
};

struct PushOptions {
  RegistryCredentials credentials;
  bool insecure = false;
};

struct PushOutcome {
  Digest digest;           // of the manifest in the registry
  std::uint64_t size = 0;  // of the manifest
};

// What docker's image list can be narrowed by; several values of one kind are alternatives for
// `references`, all of `labels` must hold.
struct ImageFilter {
  std::optional<bool> dangling;         // without any tag
  std::vector<std::string> references;  // glob patterns: "debian", "deb*:1?", "*/app"
  std::vector<std::string> labels;      // "key" or "key=value"
  std::optional<std::string> before;    // made before / after this image
  std::optional<std::string> since;
};

// One line of docker's answer to a removal.
struct ImageDeletion {
  enum class What : std::uint8_t { kUntagged, kDeleted } what = What::kUntagged;
  std::string name;  // "debian:12", "debian@sha256:...", or the id "sha256:..."
};

struct ImagePruneOutcome {
  std::vector<ImageDeletion> deletions;
  std::size_t blobs = 0;
  std::uint64_t reclaimed = 0;  // bytes
};

// An image layer by layer.
struct ExploredImage {
  layerstore::ImageDetail detail;
  layerstore::ImageReport report;  // a layer for each of the image's diff_ids
};
struct ExploredPath {
  layerstore::ImageDetail detail;
  layerstore::PathHistory history;
};

// What a container of an image starts with, where its creator does not say otherwise.
struct ContainerDefaults {
  Digest image;
  layerstore::Platform platform;  // what the image is for
  std::string user;
  std::vector<std::string> env;  // always has a PATH
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string working_dir;  // absolute, "/" if the image does not say
  std::vector<std::string> volumes;
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::map<std::string, std::string> labels;
  std::string stop_signal;                   // "SIGTERM" if the image does not say
  std::optional<std::int64_t> stop_timeout;  // seconds
  std::optional<layerstore::HealthCheck> health_check;
};

// Thread-safe; one per daemon. The store must outlive it. Errors keep the codes of the registry
// client and the store: ENOENT no such image (here or there), EACCES refused, EBUSY in use (or the
// registry's rate limit), EINVAL, EBADMSG, ETIMEDOUT, ECANCELED, ...
class ImageService {
 public:
  ImageService(layerstore::Store& store, ImageServiceOptions options);

  // Gets an image: layers in parallel, verified and unpacked while they arrive; what is there is
  // not fetched again. All or nothing: the name is set when everything is in place. Nothing is
  // reported to `progress` before the registry has answered for the reference. A reference without
  // tag and digest means "latest". `cancel` may be null.
  Result<PullOutcome> Pull(const layerstore::Reference& reference, const PullOptions& options,
                           const ProgressSink& progress, Cancellation* cancel);

  // Puts an image, by its local name, into the registry that the name says. Blobs that are there
  // are skipped; the manifest keeps the bytes it came with, so its digest stays the same, unless
  // one of its blobs is not at hand anymore and another form of the layer is.
  Result<PushOutcome> Push(const layerstore::Reference& reference, const PushOptions& options,
                           const ProgressSink& progress, Cancellation* cancel);

  // Image archives and root filesystems, see layerstore/import/import.h; the limits are the
  // service's.
  Result<std::vector<layerstore::ImportedImage>> Import(const layerstore::ByteSource& source,
                                                        const layerstore::ImportOptions& options);

  // Images ready to be written to a file: see layerstore/save/save.h.
  Result<std::unique_ptr<layerstore::SavedImages>> Save(std::span<const std::string> names,
                                                        const layerstore::SaveOptions& options);
  // The same image, packed in another way: see layerstore/save/convert.h.
  Result<layerstore::Image> Convert(const std::string& name_or_id,
                                    const layerstore::ConvertOptions& options);

  // Newest first.
  Result<std::vector<layerstore::Image>> List(const ImageFilter& filter);
  // By name, id or prefix of an id: see ImageStore::Resolve().
  Result<layerstore::ImageDetail> Inspect(std::string_view name_or_id);
  Result<> Tag(std::string_view name_or_id, const layerstore::Reference& name);
  // docker's `rmi`: names first, then the image with the last of them, then layers nobody needs.
  // `runs` tells of a container's id whether it runs: not even `force` removes its image.
  Result<std::vector<ImageDeletion>> Remove(std::string_view name_or_id, bool force,
                                            const std::function<bool(std::string_view)>& runs);
  // Removes images without users, as the options say, and everything that nothing needs.
  Result<ImagePruneOutcome> Prune(const layerstore::PruneOptions& options);
  // The second half alone: layers, blobs and indexes that nothing needs.
  Result<ImagePruneOutcome> CollectGarbage(bool dry_run);

  // What the store takes on the disk, and how much of each image others have, too: see
  // layerstore/usage/usage.h.
  Result<layerstore::StoreUsage> Usage();
  Result<std::map<Digest, std::uint64_t>> SharedSizes();
  Result<std::unordered_map<Digest, std::uint64_t>> LayerSizes();

  // What each layer brought and hid, and what of it nobody sees; for one path, what became of it in
  // each layer. See layerstore/explore; from the layers' indexes, which are made if need be.
  Result<ExploredImage> Explore(std::string_view name_or_id,
                                const layerstore::ReportOptions& options);
  Result<ExploredPath> ExplorePath(std::string_view name_or_id, std::string_view path);

  Result<ContainerDefaults> Defaults(std::string_view name_or_id);

 private:
  // `error`, or which layer one of these images lacks if that is what came of it.
  Error ExplainLayers(std::span<const std::string> names, Error error);
  // Why an image can not be removed, in docker's words.
  Error ExplainConflict(std::string_view name, const layerstore::Image& image, Error error);
  // EBUSY if one of the containers that use it runs.
  Result<> RefuseIfRunning(std::string_view name, const layerstore::Image& image,
                           const std::function<bool(std::string_view)>& runs);
  RegistryOptions OptionsFor(const layerstore::Reference& reference, bool insecure) const;

  layerstore::Store& store_;
  const ImageServiceOptions options_;
};

}  // namespace strata::manager
