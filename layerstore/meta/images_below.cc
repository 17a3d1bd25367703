#include "layerstore/meta/images_below.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/image_store.h"

namespace strata::layerstore {
namespace {

using Names = std::vector<Reference>;

// The lists of names that an image has.
constexpr Names Image::* kNames[] = {&Image::tags, &Image::repo_digests};

bool NewerFirst(const Image& a, const Image& b) {
  return std::tie(b.created, b.added, a.id) < std::tie(a.created, a.added, b.id);
}

// All images of several stores, put together from the uppermost down.
class Together {
 public:
  void Add(std::vector<Image> images, const std::string& store) {
    std::set<Reference> names;
    for (Image& image : images) {
      for (const auto list : kNames) {
        names.insert((image.*list).begin(), (image.*list).end());
        std::erase_if(image.*list, [&](const Reference& name) { return hidden_.contains(name); });
      }
      image.below = store;
      const Digest id = image.id;
      const auto [known, fresh] = images_.try_emplace(id, std::move(image));
      if (fresh) continue;
      for (const auto list : kNames) Append(known->second.*list, image.*list);
    }
    hidden_.merge(names);
  }

  std::vector<Image> Take() {
    std::vector<Image> images;
    for (auto& [id, image] : images_) images.push_back(std::move(image));
    std::ranges::sort(images, NewerFirst);
    return images;
  }

  static void Append(Names& names, const Names& more) {
    names.insert(names.end(), more.begin(), more.end());
    std::ranges::sort(names);
  }

 private:
  std::map<Digest, Image> images_;
  std::set<Reference> hidden_;
};

}  // namespace

Result<std::optional<Digest>> ImagesBelow::Resolve(std::string_view name_or_id) const {
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(const auto id, store.images->ResolveOwn(name_or_id));
    if (id) return id;
  }
  return std::nullopt;
}

Result<std::optional<ImageDetail>> ImagesBelow::Inspect(const Digest& id) const {
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(auto detail, store.images->InspectOwn(id));
    if (!detail) continue;
    detail->image.below = store.root;
    return detail;
  }
  return std::nullopt;
}

Result<std::optional<std::string>> ImagesBelow::StoreOfName(const Reference& name) const {
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(const bool has, store.images->HasOwnName(name));
    if (has) return store.root;
  }
  return std::nullopt;
}

Result<std::optional<std::string>> ImagesBelow::StoreOfImage(const Digest& id) const {
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(const auto image, store.images->FindOwn(id));
    if (image) return store.root;
  }
  return std::nullopt;
}

Result<std::optional<ImageIndex>> ImagesBelow::IndexOf(const Reference& name) const {
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(const bool has, store.images->HasOwnName(name));
    if (has) return store.images->IndexOf(name);
  }
  return std::nullopt;
}

Result<std::optional<LayerBelow>> ImagesBelow::FindLayer(const Digest& diff_id) const {
  for (const Store& store : stores_) {
    std::optional<LayerBelow> found;
    STRATA_TRY(store.images->database_->Read([&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(Statement layer,
                        connection.Prepare("SELECT size FROM layers WHERE diff_id=?1"));
      layer.Bind(1, diff_id.ToString());
      STRATA_TRY_ASSIGN(const bool row, layer.Step());
      if (row) found = {store.root, static_cast<std::uint64_t>(layer.Integer(0))};
      return {};
    }));
    if (found) return found;
  }
  return std::nullopt;
}

Result<> ImagesBelow::AddImages(std::vector<Image>& own) const {
  if (stores_.empty()) return {};
  Together together;
  together.Add(std::move(own), {});
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(auto images, store.images->ListOwn());
    together.Add(std::move(images), store.root);
  }
  own = together.Take();
  return {};
}

Result<> ImagesBelow::AddNames(ImageStore& own, Image& image) const {
  if (stores_.empty()) return {};
  std::vector<ImageStore*> above = {&own};
  if (!image.below.empty()) image.tags = image.repo_digests = {};
  for (const Store& store : stores_) {
    STRATA_TRY_ASSIGN(const auto here, store.images->FindOwn(image.id));
    for (const auto list : kNames) {
      if (!here) break;
      Names shown;
      for (const Reference& name : (*here).*list) {
        bool hidden = false;
        for (ImageStore* const upper : above) {
          STRATA_TRY_ASSIGN(const bool has, upper->HasOwnName(name));
          hidden = hidden || has;
        }
        if (!hidden) shown.push_back(name);
      }
      Together::Append(image.*list, shown);
    }
    above.push_back(store.images);
  }
  return {};
}

Result<> RecordLayerBelow(Connection& connection, const Digest& diff_id, const std::string& store) {
  STRATA_TRY_ASSIGN(Statement note,
                    connection.Prepare("INSERT INTO layers_below VALUES (?1, ?2) ON CONFLICT "
                                       "(diff_id) DO UPDATE SET store=?2"));
  return note.Bind(1, diff_id.ToString()).Bind(2, store).Run();
}

}  // namespace strata::layerstore
