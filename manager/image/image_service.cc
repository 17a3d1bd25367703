#include "manager/image/image_service.h"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "base/try.h"
#include "manager/image/image_pull.h"
#include "manager/image/image_push.h"
#include "manager/image/layer_error.h"

namespace strata::manager {
namespace {

using layerstore::Image;
using layerstore::Reference;

// What docker gives every container that does not say otherwise.
constexpr std::string_view kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

ImageDeletion Untagged(const Reference& name) {
  return {ImageDeletion::What::kUntagged, name.Familiar()};
}
ImageDeletion Deleted(const Digest& digest) {
  return {ImageDeletion::What::kDeleted, digest.ToString()};
}

// As docker's reference filter: against the name as people write it, with and without its tag.
bool MatchesReference(const Image& image, const std::string& pattern) {
  const auto matches = [&](const Reference& name) {
    for (const std::string& text : {name.Familiar(), name.FamiliarName(), name.Name()}) {
      if (::fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0) return true;
    }
    return false;
  };
  return std::ranges::any_of(image.tags, matches) ||
         std::ranges::any_of(image.repo_digests, matches);
}

bool MatchesLabel(const layerstore::ImageConfig& config, const std::string& wanted) {
  const std::size_t equals = wanted.find('=');
  const auto it = config.labels.find(wanted.substr(0, equals));
  if (it == config.labels.end()) return false;
  return equals == std::string::npos || it->second == wanted.substr(equals + 1);
}

// Container ids among an image's users.
constexpr std::string_view kContainerUser = "container:";

ImagePruneOutcome OutcomeOf(const layerstore::PruneReport& report) {
  ImagePruneOutcome outcome;
  outcome.reclaimed = report.reclaimed;
  outcome.blobs = report.blobs.size();
  for (const Reference& name : report.untagged) outcome.deletions.push_back(Untagged(name));
  for (const Digest& id : report.images) outcome.deletions.push_back(Deleted(id));
  for (const Digest& layer : report.layers) outcome.deletions.push_back(Deleted(layer));
  return outcome;
}

}  // namespace

ImageService::ImageService(layerstore::Store& store, ImageServiceOptions options)
    : store_(store), options_(std::move(options)) {}

RegistryOptions ImageService::OptionsFor(const Reference& reference, bool insecure) const {
  RegistryOptions result = options_.registry;
  result.insecure = result.insecure || insecure ||
                    std::ranges::find(options_.insecure_registries, reference.registry()) !=
                        options_.insecure_registries.end();
  return result;
}

Result<PullOutcome> ImageService::Pull(const Reference& reference, const PullOptions& options,
                                       const ProgressSink& progress, Cancellation* cancel) {
  return PullImage(store_, reference.WithDefaultTag(), options,
                   OptionsFor(reference, options.insecure), options_.layer_limits, progress,
                   cancel);
}

Result<PushOutcome> ImageService::Push(const Reference& reference, const PushOptions& options,
                                       const ProgressSink& progress, Cancellation* cancel) {
  if (reference.digest()) return Fail(EINVAL, "push", "cannot push a digest reference");
  auto pushed = PushImage(store_, reference.WithDefaultTag(), options,
                          OptionsFor(reference, options.insecure), progress, cancel);
  if (!pushed) {
    const std::string name = reference.Familiar();
    return std::unexpected(ExplainLayers(std::span(&name, 1), std::move(pushed).error()));
  }
  return pushed;
}

Result<std::vector<layerstore::ImportedImage>> ImageService::Import(
    const layerstore::ByteSource& source, const layerstore::ImportOptions& options) {
  layerstore::ImportOptions limited = options;
  limited.limits = options_.layer_limits;
  return layerstore::ImportStream(store_, source, limited);
}

Result<std::unique_ptr<layerstore::SavedImages>> ImageService::Save(
    std::span<const std::string> names, const layerstore::SaveOptions& options) {
  auto saved = layerstore::SavedImages::Prepare(store_, names, options);
  if (!saved) return std::unexpected(ExplainLayers(names, std::move(saved).error()));
  return saved;
}

Error ImageService::ExplainLayers(std::span<const std::string> names, Error error) {
  if (error.code() != ENOENT) return error;
  for (const std::string& name : names) {
    const auto image = store_.images().Resolve(name);
    if (!image) return error;  // that is what is missing
    if (store_.layers().LowerDirs(image->diff_ids)) continue;
    return LayerError(store_, name, image->diff_ids, std::move(error));
  }
  return error;
}

Result<Image> ImageService::Convert(const std::string& name_or_id,
                                    const layerstore::ConvertOptions& options) {
  auto converted = layerstore::ConvertImage(store_, name_or_id, options);
  if (!converted) {
    return std::unexpected(ExplainLayers(std::span(&name_or_id, 1), std::move(converted).error()));
  }
  return converted;
}

Result<std::vector<Image>> ImageService::List(const ImageFilter& filter) {
  STRATA_TRY_ASSIGN(std::vector<Image> images, store_.images().List());
  if (filter.before) {
    STRATA_TRY_ASSIGN(const Image limit, store_.images().Resolve(*filter.before));
    std::erase_if(images, [&](const Image& image) { return image.created >= limit.created; });
  }
  if (filter.since) {
    STRATA_TRY_ASSIGN(const Image limit, store_.images().Resolve(*filter.since));
    std::erase_if(images, [&](const Image& image) { return image.created <= limit.created; });
  }
  std::erase_if(images, [&](const Image& image) {
    if (filter.dangling && *filter.dangling != image.tags.empty()) return true;
    return !filter.references.empty() &&
           std::ranges::none_of(filter.references, [&](const std::string& pattern) {
             return MatchesReference(image, pattern);
           });
  });
  if (filter.labels.empty()) return images;
  std::vector<Image> labelled;
  for (Image& image : images) {
    auto detail = store_.images().Inspect(image.id);
    if (!detail) {
      if (detail.error().code() == ENOENT) continue;  // removed since it was listed
      return std::unexpected(std::move(detail.error()));
    }
    if (std::ranges::all_of(filter.labels, [&](const std::string& label) {
          return MatchesLabel(detail->config, label);
        })) {
      labelled.push_back(std::move(image));
    }
  }
  return labelled;
}

Result<layerstore::ImageDetail> ImageService::Inspect(std::string_view name_or_id) {
  return store_.images().Inspect(name_or_id);
}

Result<> ImageService::Tag(std::string_view name_or_id, const Reference& name) {
  if (name.digest()) return Fail(EINVAL, "tag", "refusing to create a tag with a digest reference");
  STRATA_TRY_ASSIGN(const Image image, store_.images().Resolve(name_or_id));
  return store_.images().Tag(image.id, name.WithDefaultTag());
}

Error ImageService::ExplainConflict(std::string_view name, const Image& image, Error error) {
  std::string text = "conflict: unable to remove image \"" + std::string(name) + "\" (must force)";
  const auto users = store_.images().Users(image.id);
  if (users && !users->empty()) {
    std::string_view user = users->front();
    if (user.starts_with(kContainerUser)) {
      user.remove_prefix(kContainerUser.size());
      text += " - container " + std::string(user.substr(0, 12)) +
              " is using its referenced image " + image.id.Short();
    } else {
      text += " - " + std::string(user) + " is using it";
    }
  } else {
    text += " - image is referenced in multiple repositories";
  }
  return Error(error.code(), error.op(), std::move(text));
}

Result<> ImageService::RefuseIfRunning(std::string_view name, const Image& image,
                                       const std::function<bool(std::string_view)>& runs) {
  STRATA_TRY_ASSIGN(const auto users, store_.images().Users(image.id));
  for (std::string_view user : users) {
    if (!user.starts_with(kContainerUser)) continue;
    user.remove_prefix(kContainerUser.size());
    if (!runs(user)) continue;
    return Fail(EBUSY, "remove image",
                "conflict: unable to delete " + std::string(name) +
                    " (cannot be forced) - image is being used by running container " +
                    std::string(user.substr(0, 12)));
  }
  return {};
}

Result<std::vector<ImageDeletion>> ImageService::Remove(
    std::string_view name_or_id, bool force, const std::function<bool(std::string_view)>& runs) {
  STRATA_TRY_ASSIGN(const Image image, store_.images().Resolve(name_or_id));
  auto removal = store_.images().Remove(name_or_id, false);
  // Force has something to do only now.
  if (!removal && removal.error().code() == EBUSY && force) {
    STRATA_TRY(RefuseIfRunning(name_or_id, image, runs));
    removal = store_.images().Remove(name_or_id, true);
  }
  if (!removal) {
    if (removal.error().code() != EBUSY) return std::unexpected(std::move(removal.error()));
    return std::unexpected(ExplainConflict(name_or_id, image, std::move(removal.error())));
  }
  std::vector<ImageDeletion> deletions;
  for (const Reference& name : removal->untagged) deletions.push_back(Untagged(name));
  for (const Digest& id : removal->deleted) deletions.push_back(Deleted(id));
  if (removal->deleted.empty()) return deletions;
  STRATA_TRY_ASSIGN(const layerstore::PruneReport collected, layerstore::Collect(store_));
  for (const Digest& layer : collected.layers) {
    // What others left behind is not this image's story.
    if (std::ranges::find(image.diff_ids, layer) != image.diff_ids.end()) {
      deletions.push_back(Deleted(layer));
    }
  }
  return deletions;
}

Result<ImagePruneOutcome> ImageService::Prune(const layerstore::PruneOptions& options) {
  STRATA_TRY_ASSIGN(const layerstore::PruneReport report, layerstore::Prune(store_, options));
  return OutcomeOf(report);
}

Result<ImagePruneOutcome> ImageService::CollectGarbage(bool dry_run) {
  STRATA_TRY_ASSIGN(const layerstore::PruneReport report, layerstore::Collect(store_, dry_run));
  return OutcomeOf(report);
}

Result<layerstore::StoreUsage> ImageService::Usage() { return layerstore::MeasureStore(store_); }

Result<std::map<Digest, std::uint64_t>> ImageService::SharedSizes() {
  return layerstore::SharedSizes(store_);
}

Result<std::unordered_map<Digest, std::uint64_t>> ImageService::LayerSizes() {
  return layerstore::LayerSizes(store_);
}

Result<ExploredImage> ImageService::Explore(std::string_view name_or_id,
                                            const layerstore::ReportOptions& options) {
  STRATA_TRY_ASSIGN(layerstore::ImageDetail detail, store_.images().Inspect(name_or_id));
  const auto& layers = detail.image.diff_ids;
  auto indexes = store_.chains().LayerIndexes(layers);
  if (!indexes) {
    return std::unexpected(LayerError(store_, name_or_id, layers, std::move(indexes).error()));
  }
  STRATA_TRY_ASSIGN(layerstore::ImageReport report, layerstore::ReportLayers(*indexes, options));
  return ExploredImage{std::move(detail), std::move(report)};
}

Result<ExploredPath> ImageService::ExplorePath(std::string_view name_or_id, std::string_view path) {
  STRATA_TRY_ASSIGN(layerstore::ImageDetail detail, store_.images().Inspect(name_or_id));
  const auto& layers = detail.image.diff_ids;
  auto indexes = store_.chains().LayerIndexes(layers);
  if (!indexes) {
    return std::unexpected(LayerError(store_, name_or_id, layers, std::move(indexes).error()));
  }
  STRATA_TRY_ASSIGN(layerstore::PathHistory history, layerstore::TracePath(*indexes, path));
  return ExploredPath{std::move(detail), std::move(history)};
}

Result<ContainerDefaults> ImageService::Defaults(std::string_view name_or_id) {
  STRATA_TRY_ASSIGN(layerstore::ImageDetail detail, store_.images().Inspect(name_or_id));
  layerstore::ImageConfig& config = detail.config;
  ContainerDefaults result;
  result.image = detail.image.id;
  result.platform = config.platform;
  result.user = std::move(config.user);
  result.env = std::move(config.env);
  if (std::ranges::none_of(result.env,
                           [](const std::string& entry) { return entry.starts_with("PATH="); })) {
    result.env.emplace_back(kDefaultPath);
  }
  result.entrypoint = std::move(config.entrypoint);
  result.cmd = std::move(config.cmd);
  result.working_dir = config.working_dir.starts_with('/') ? std::move(config.working_dir)
                                                           : "/" + config.working_dir;
  result.volumes = std::move(config.volumes);
  result.exposed_ports = std::move(config.exposed_ports);
  result.labels = std::move(config.labels);
  result.stop_signal = config.stop_signal.empty() ? "SIGTERM" : std::move(config.stop_signal);
  result.stop_timeout = config.stop_timeout;
  result.health_check = std::move(config.health_check);
  return result;
}

}  // namespace strata::manager
