#include "layerstore/save/save.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/meta/lease.h"
#include "layerstore/oci/reference.h"
#include "layerstore/save/layer_source.h"
#include "layerstore/save/saved_image.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

// What is asked for: by id, so that each image is there once, whatever it was called.
using Selection = std::map<Digest, std::vector<Reference>>;

// All tags of a repository; false if it has none.
Result<bool> SelectRepository(Store& store, const Reference& repository, Selection& selection) {
  STRATA_TRY_ASSIGN(const auto images, store.images().List());
  bool found = false;
  for (const Image& image : images) {
    for (const Reference& tag : image.tags) {
      if (tag.Name() != repository.Name()) continue;
      selection[image.id].push_back(tag);
      found = true;
    }
  }
  return found;
}

Result<> Select(Store& store, const std::string& text, Selection& selection) {
  const auto reference = Reference::Parse(text);
  if (reference && !reference->tag() && !reference->digest()) {
    STRATA_TRY_ASSIGN(const bool found, SelectRepository(store, *reference, selection));
    if (found) return {};
  }
  STRATA_TRY_ASSIGN(const Image image, store.images().Resolve(text));
  std::vector<Reference>& names = selection[image.id];
  if (reference && reference->tag() && !reference->digest() &&
      std::ranges::find(image.tags, *reference) != image.tags.end()) {
    names.push_back(*reference);
  }
  return {};
}

// The indexes that names of the selection stand for; their other images come along.
Result<std::map<Digest, SavedIndex>> SelectIndexes(Store& store, Selection& selection) {
  std::map<Digest, SavedIndex> indexes;
  for (const auto& [id, names] : selection) {
    for (const Reference& name : names) {
      STRATA_TRY_ASSIGN(auto index, store.images().IndexOf(name));
      if (!index) continue;
      const Digest digest = index->digest;
      SavedIndex& saved =
          indexes.try_emplace(digest, SavedIndex{*std::move(index), {}}).first->second;
      if (std::ranges::find(saved.names, name) == saved.names.end()) saved.names.push_back(name);
    }
  }
  for (auto& [digest, saved] : indexes) {
    std::ranges::sort(saved.names);
    for (const ImageIndex::Member& member : saved.index.members) selection[member.image];
  }
  return indexes;
}

}  // namespace

struct SavedImages::State {
  SaveOptions options;
  Lease lease;
  std::vector<SavedImage> images;
  std::vector<SavedIndex> indexes;
};

SavedImages::SavedImages(std::unique_ptr<State> state) : state_(std::move(state)) {}
SavedImages::~SavedImages() = default;

Result<std::unique_ptr<SavedImages>> SavedImages::Prepare(Store& store,
                                                          std::span<const std::string> names,
                                                          const SaveOptions& options) {
  if (names.empty()) return Fail(EINVAL, "save", "no image is named");
  Selection selection;
  for (const std::string& name : names) STRATA_TRY(Select(store, name, selection));
  std::map<Digest, SavedIndex> indexes;
  // docker's own archives know no platforms.
  if (options.format != SaveOptions::Format::kDockerArchive) {
    STRATA_TRY_ASSIGN(indexes, SelectIndexes(store, selection));
  }

  auto compression = options.compression;
  if (options.format == SaveOptions::Format::kDockerArchive && !compression) {
    compression = Compression::kNone;
  }
  STRATA_TRY_ASSIGN(Lease lease, store.NewLease());
  auto state = std::unique_ptr<State>(new State{options, std::move(lease), {}, {}});
  LayerSource source(store, state->lease);
  // Images share layers, in one form or in several.
  std::map<std::pair<Digest, Digest>, std::shared_ptr<const LayerForm>> forms;
  for (auto& [id, tags] : selection) {
    SavedImage image;
    STRATA_TRY_ASSIGN(image.detail, store.images().Inspect(id));
    STRATA_TRY_ASSIGN(
        const Manifest manifest,
        ParseManifest(image.detail.manifest_json, image.detail.image.manifest_media_type));
    std::ranges::sort(tags);
    tags.erase(std::ranges::unique(tags).begin(), tags.end());
    image.names = std::move(tags);
    const auto& diff_ids = image.detail.image.diff_ids;
    for (std::size_t i = 0; i < diff_ids.size(); ++i) {
      const Digest wanted = i < manifest.layers.size() ? manifest.layers[i].digest : Digest();
      auto& form = forms[{diff_ids[i], wanted}];
      if (!form) {
        STRATA_TRY(state->lease.PinLayer(diff_ids[i]));
        STRATA_TRY_ASSIGN(LayerForm got, source.Get(diff_ids[i], wanted, compression));
        form = std::make_shared<const LayerForm>(std::move(got));
      }
      image.layers.push_back(form);
    }
    state->images.push_back(std::move(image));
  }
  for (auto& [digest, index] : indexes) state->indexes.push_back(std::move(index));
  return std::unique_ptr<SavedImages>(new SavedImages(std::move(state)));
}

Result<> SavedImages::Write(const std::function<Result<>(std::string_view)>& sink) const {
  switch (state_->options.format) {
    case SaveOptions::Format::kDockerArchive:
      return WriteDockerArchive(state_->images, sink);
    case SaveOptions::Format::kOciArchive:
      return WriteOciLayout(state_->images, state_->indexes, false, sink);
    case SaveOptions::Format::kDocker:
      break;
  }
  return WriteOciLayout(state_->images, state_->indexes, true, sink);
}

}  // namespace strata::layerstore
