// A container's own layer: what it changed, the image that makes, and all of its files.
#include <fcntl.h>

#include <ctime>
#include <optional>
#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/diff/layer_diff.h"
#include "layerstore/diff/lower_links.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/layer/layer_media_type.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/oci/timestamp.h"
#include "layerstore/store/store.h"
#include "manager/container/container.h"
#include "manager/container/container_service.h"
#include "manager/container/image_layers.h"
#include "manager/image/image_service.h"
#include "manager/image/layer_error.h"
#include "manager/runtime/freezer.h"

namespace strata::manager {
namespace {

using layerstore::Descriptor;
using layerstore::ImageConfig;
using layerstore::ImageDetail;
using layerstore::Manifest;

bool Active(Status status) { return status == Status::kRunning || status == Status::kPaused; }

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The names that a container sees of what it did not make: of the image, and of the empty files
// and directories that every container gets.
class ContainerNames final : public layerstore::LowerNames {
 public:
  ContainerNames(const layerstore::MetadataIndex& chain, std::string init)
      : chain_(chain), init_(std::move(init)) {}

  Result<bool> Has(const std::string& path) const override {
    const auto there = FileOps::System().StatAt(AT_FDCWD, JoinPath(init_, path).c_str());
    if (there) return true;
    return chain_.Has(path);
  }
  Result<std::vector<std::string>> In(const std::string& directory) const override {
    return chain_.In(directory);
  }

 private:
  const layerstore::ChainNames chain_;
  const std::string init_;
};

// The parent's manifest with a layer on top and another configuration.
Result<layerstore::NewImage> OnTop(const ImageDetail& parent, const ImageConfig& config,
                                   const layerstore::LayerBlob* layer) {
  STRATA_TRY_ASSIGN(Manifest manifest, layerstore::ParseManifest(parent.manifest_json,
                                                                 parent.image.manifest_media_type));
  layerstore::NewImage image;
  image.config_json = config.ToJson();
  manifest.config.digest = Digest::Of(image.config_json);
  manifest.config.size = image.config_json.size();
  if (layer != nullptr) {
    Descriptor descriptor;
    const bool docker = manifest.media_type == layerstore::media_type::kDockerManifest;
    descriptor.media_type = layerstore::LayerMediaType(layerstore::Compression::kNone, docker);
    descriptor.digest = layer->blob;
    descriptor.size = layer->size;
    manifest.layers.push_back(std::move(descriptor));
  }
  image.manifest_json = manifest.ToJson();
  image.manifest_media_type = manifest.media_type;
  return image;
}

}  // namespace

// A container's root: its own mount while it runs, else one for as long as this lives.
class ContainerService::OwnUnion {
 public:
  OwnUnion(ContainerService& service, ContainerPtr container, const ContainerRecord& record)
      : service_(service), container_(std::move(container)), record_(record) {}
  OwnUnion(const OwnUnion&) = delete;
  OwnUnion& operator=(const OwnUnion&) = delete;
  ~OwnUnion() {
    if (!mounted_) return;
    auto unmounted = RootFsMounter::Unmount(service_.paths_.Merged(record_.id));
    if (!unmounted) {
      log::Error("the root filesystem was not unmounted",
                 {{"id", record_.id}, {"error", unmounted.error().ToString()}});
    }
  }

  Result<UniqueFd> Open() {
    if (!mounted_ && !Active(record_.state.status)) {
      service_.CleanupLocked(*container_);
      STRATA_TRY(service_.MountRootLocked(container_, record_));
      mounted_ = true;
    }
    return service_.OpenRoot(record_.id);
  }

 private:
  ContainerService& service_;
  const ContainerPtr container_;
  const ContainerRecord& record_;
  bool mounted_ = false;
};

// Keeps a running container's processes from doing anything. One that a daemon left so when it
// died goes on at the next daemon's start (reconcile.cc), or is paused for everybody to see.
class ContainerService::Stillness {
 public:
  Stillness(ContainerService& service, ContainerPtr container)
      : service_(service), container_(std::move(container)) {}

  Result<> Begin(const ContainerRecord& record) {
    auto freezer = Freezer::Of(record.state.pid, record.id);
    if (!freezer) {
      STRATA_TRY(service_.PauseLocked(container_));
      paused_ = true;
      return {};
    }
    STRATA_TRY(freezer->Freeze());
    freezer_ = *std::move(freezer);
    return {};
  }

  Result<> End() {
    if (freezer_) return freezer_->Thaw();
    return paused_ ? service_.UnpauseLocked(container_) : Result<>();
  }

 private:
  ContainerService& service_;
  const ContainerPtr container_;
  std::optional<Freezer> freezer_;
  bool paused_ = false;
};

Result<ContainerRecord> ContainerService::CheckThereLocked(const ContainerPtr& container) {
  container->OperationIsHeld();
  ContainerRecord record = container->Snapshot();
  if (container->removed) {
    return Fail(ENOENT, "find container", "No such container: " + record.id);
  }
  if (record.state.status == Status::kRemoving || record.state.status == Status::kDead) {
    return Fail(EBUSY, "read container", "container " + record.id + " is being removed");
  }
  return record;
}

Result<> ContainerService::WithOwnLayerLocked(
    const ContainerPtr& container, const ContainerRecord& record,
    const std::function<Result<>(const layerstore::UpperLayer&, const layerstore::MetadataIndex&)>&
        use) {
  FileOps& ops = deps_.store.ops();
  STRATA_TRY_ASSIGN(const std::vector<Digest> diff_ids, LayersOf(record));
  auto ensured = deps_.store.chains().Ensure(diff_ids);
  if (!ensured) {
    return std::unexpected(
        LayerError(deps_.store, record.image_name, diff_ids, std::move(ensured).error()));
  }
  const std::string chain_dir = *std::move(ensured);
  STRATA_TRY_ASSIGN(const UniqueFd chain_fd,
                    ops.Open(AT_FDCWD, chain_dir.c_str(), O_RDONLY | O_DIRECTORY));
  STRATA_TRY_ASSIGN(const auto chain,
                    layerstore::MetadataIndex::Open(ops, chain_fd.get(), "index"));
  const std::string path = paths_.Upper(record.id);
  auto upper = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!upper) return std::unexpected(std::move(upper).error().WithContext(path));

  OwnUnion own(*this, container, record);
  layerstore::UpperLayer layer;
  layer.directory = upper->get();
  layer.user_marks = chain->user_marks();
  layer.open_union = [&] { return own.Open(); };
  STRATA_TRY_ASSIGN(layer.lower_links,
                    layerstore::FindLowerLinks(ops, paths_.Work(record.id), *chain,
                                               layer.open_union, upper->get()));
  return use(layer, *chain);
}

Result<std::vector<layerstore::Change>> ContainerService::Changes(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  STRATA_TRY_ASSIGN(const ContainerRecord record, CheckThereLocked(container));
  std::vector<layerstore::Change> changes;
  STRATA_TRY(
      WithOwnLayerLocked(container, record, [&](const auto& layer, const auto& chain) -> Result<> {
        const ContainerNames lower(chain, paths_.Init(record.id));
        STRATA_TRY_ASSIGN(changes, layerstore::ListChanges(deps_.store.ops(), layer, lower));
        return {};
      }));
  return changes;
}

Result<> ContainerService::Export(std::string_view ref,
                                  const std::function<Result<>(std::string_view)>& sink) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  std::optional<MutexLock> operation(std::in_place, container->operation);
  STRATA_TRY_ASSIGN(const ContainerRecord record, CheckThereLocked(container));
  OwnUnion own(*this, container, record);
  STRATA_TRY_ASSIGN(const UniqueFd root, own.Open());
  // What runs has a mount that stays as long as the descriptor: its end need not wait for ours.
  if (Active(record.state.status)) operation.reset();
  STRATA_TRY(layerstore::WriteUnion(FileOps::System(), root.get(), sink));
  Publish(record, "export");
  return {};
}

Result<Digest> ContainerService::Commit(std::string_view ref, const CommitRequest& request) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const ContainerRecord before = container->Snapshot();
  auto found = deps_.store.images().Inspect(before.image_id);
  if (!found && found.error().code() == ENOENT) {
    return Fail(EINVAL, "commit",
                "container " + before.name + " cannot be committed, as its image " +
                    before.image_id.Short() + " was removed by force; export still works");
  }
  STRATA_TRY_ASSIGN(const ImageDetail parent, std::move(found));
  STRATA_TRY_ASSIGN(ImageConfig config, CommittedConfig(parent.config, before, request));

  STRATA_TRY_ASSIGN(layerstore::Lease lease, deps_.store.NewLease());
  STRATA_TRY_ASSIGN(const auto sink, deps_.store.layers().Begin({}, lease));
  STRATA_TRY_ASSIGN(const layerstore::DiffSummary diff,
                    WriteOwnLayer(container, request.pause, *sink));

  layerstore::HistoryEntry step;
  step.created = layerstore::FormatRfc3339(std::time(nullptr));
  step.created_by = Joined(before.config.cmd.value_or(std::vector<std::string>()));
  step.author = request.author;
  step.comment = request.comment;
  // Nothing but the root's own entry: docker has no layer for that either.
  step.empty_layer = diff.entries == 1;
  config.created = step.created;
  if (!step.empty_layer) {
    STRATA_TRY_ASSIGN(const layerstore::LayerInfo info, sink->Commit());
    config.diff_ids.push_back(info.diff_id);
  }
  config.history.push_back(step);
  STRATA_TRY_ASSIGN(layerstore::NewImage image,
                    OnTop(parent, config, step.empty_layer ? nullptr : &sink->blob()));
  if (request.name) image.names.push_back(request.name->WithDefaultTag());
  STRATA_TRY_ASSIGN(const layerstore::Image put, deps_.store.images().Put(image));
  Publish(before, "commit",
          {{"comment", request.comment},
           {"imageID", put.id.ToString()},
           {"imageRef", request.name ? image.names.front().Familiar() : ""}});
  return put.id;
}

Result<layerstore::DiffSummary> ContainerService::WriteOwnLayer(const ContainerPtr& container,
                                                                bool pause,
                                                                layerstore::LayerSink& sink) {
  const MutexLock operation(container->operation);
  STRATA_TRY_ASSIGN(const ContainerRecord record, CheckThereLocked(container));
  Stillness still(*this, container);
  if (pause && record.state.status == Status::kRunning) STRATA_TRY(still.Begin(record));
  layerstore::DiffSummary summary;
  auto written =
      WithOwnLayerLocked(container, record, [&](const auto& layer, const auto&) -> Result<> {
        STRATA_TRY_ASSIGN(summary, layerstore::WriteLayerDiff(
                                       deps_.store.ops(), layer,
                                       [&](std::string_view tar) { return sink.Write(tar); }));
        return {};
      });
  auto resumed = still.End();
  STRATA_TRY(std::move(written));
  STRATA_TRY(std::move(resumed));
  return summary;
}

}  // namespace strata::manager
