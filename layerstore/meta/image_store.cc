#include "layerstore/meta/image_store.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/logging.h"
#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/image_queries.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/oci/timestamp.h"

namespace strata::layerstore {
namespace {

std::int64_t CreatedSeconds(const ImageConfig& config) {
  if (config.created.empty()) return 0;
  const auto seconds = ParseRfc3339(config.created);
  if (seconds) return *seconds;
  // An odd date does not make an image useless.
  log::Debug("image: date of creation does not parse", {{"created", config.created}});
  return 0;
}

// Finds every layer, and notes in which store below it is if it is in one. The bytes of all; ENOENT
// if one is nowhere.
Result<std::uint64_t> LocateLayers(Connection& connection, const ImagesBelow& below,
                                 const std::vector<Digest>& diff_ids) {
  STRATA_TRY_ASSIGN(Statement statement,
                    connection.Prepare("SELECT size FROM layers WHERE diff_id=?1"));
  std::uint64_t size = 0;
  for (const Digest& diff_id : diff_ids) {
    statement.Reset();
    statement.Bind(1, diff_id.ToString());
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (row) {
      size += static_cast<std::uint64_t>(statement.Integer(0));
      continue;
    }
    STRATA_TRY_ASSIGN(const auto lower, below.FindLayer(diff_id));
    if (!lower) {
      return Fail(ENOENT, "put image", "layer " + diff_id.ToString() + " is not in the store");
    }
    STRATA_TRY(RecordLayerBelow(connection, diff_id, lower->store));
    size += lower->size;
  }
  return size;
}

// An image whose parts agree with each other.
struct CheckedImage {
  const NewImage& image;
  ImageConfig config;
  Digest id;
  Digest manifest;
};

Result<> InsertImage(Connection& connection, const ImagesBelow& below,
                     const CheckedImage& checked) {
  const auto& [image, config, id, manifest] = checked;
  STRATA_TRY_ASSIGN(const std::uint64_t size, LocateLayers(connection, below, config.diff_ids));
  STRATA_TRY_ASSIGN(
      Statement insert,
      // The same image with another manifest: the one that came last is pushed from now on.
      connection.Prepare(
          "INSERT INTO images (id, config, manifest, manifest_digest, manifest_media_type, size, "
          "created, added, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT (id) DO "
          "UPDATE SET manifest=?3, manifest_digest=?4, manifest_media_type=?5, used=?8"));
  insert.Bind(1, id.ToString())
      .Bind(2, image.config_json)
      .Bind(3, image.manifest_json)
      .Bind(4, manifest.ToString())
      .Bind(5, image.manifest_media_type)
      .Bind(6, static_cast<std::int64_t>(size))
      .Bind(7, CreatedSeconds(config))
      .Bind(8, std::int64_t{std::time(nullptr)});
  STRATA_TRY(insert.Run());

  STRATA_TRY_ASSIGN(Statement layer,
                    connection.Prepare("INSERT OR IGNORE INTO image_layers VALUES (?1, ?2, ?3)"));
  std::int64_t position = 0;
  for (const Digest& diff_id : config.diff_ids) {
    layer.Reset();
    STRATA_TRY(layer.Bind(1, id.ToString()).Bind(2, position++).Bind(3, diff_id.ToString()).Run());
  }
  return {};
}

Result<> InsertName(Connection& connection, const Digest& id, const Reference& name) {
  if (!name.tag() && !name.digest()) {
    return Fail(EINVAL, "tag", name.Familiar() + " has neither tag nor digest");
  }
  const auto insert = [&](const char* sql, const std::string& second) -> Result<> {
    STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
    return statement.Bind(1, name.Name()).Bind(2, second).Bind(3, id.ToString()).Run();
  };
  if (name.tag()) {
    STRATA_TRY(
        insert("INSERT INTO tags (name, tag, image) VALUES (?1, ?2, ?3) ON CONFLICT DO "
               "UPDATE SET image=?3, index_digest=NULL",
               *name.tag()));
  }
  if (name.digest()) {
    STRATA_TRY(
        insert("INSERT INTO repo_digests VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET image=?3",
               name.digest()->ToString()));
  }
  return {};
}

Result<> NoteUse(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(Statement used, connection.Prepare("UPDATE images SET used=?2 WHERE id=?1"));
  return used.Bind(1, id.ToString()).Bind(2, std::int64_t{std::time(nullptr)}).Run();
}

Result<CheckedImage> CheckImage(const NewImage& image) {
  STRATA_TRY_ASSIGN(ImageConfig config, ParseImageConfig(image.config_json));
  const Digest id = Digest::Of(image.config_json);
  STRATA_TRY_ASSIGN(const Manifest manifest,
                    ParseManifest(image.manifest_json, image.manifest_media_type));
  if (manifest.config.digest != id) {
    return Fail(EINVAL, "put image", "the manifest is of another configuration");
  }
  if (manifest.layers.size() != config.diff_ids.size()) {
    return Fail(EINVAL, "put image",
                "the manifest has " + std::to_string(manifest.layers.size()) +
                    " layers, the configuration " + std::to_string(config.diff_ids.size()));
  }
  return CheckedImage{image, std::move(config), id, Digest::Of(image.manifest_json)};
}

Result<std::vector<CheckedImage>> CheckIndex(const NewIndex& index) {
  STRATA_TRY_ASSIGN(const Index parsed, ParseIndex(index.json, index.media_type));
  if (index.named >= index.images.size()) return Fail(EINVAL, "put index", "has no such image");
  std::vector<CheckedImage> images;
  for (const NewImage& image : index.images) {
    if (!image.names.empty()) return Fail(EINVAL, "put index", "an image has its own name");
    STRATA_TRY_ASSIGN(CheckedImage checked, CheckImage(image));
    const bool listed = std::ranges::any_of(parsed.manifests, [&](const Descriptor& descriptor) {
      return descriptor.digest == checked.manifest;
    });
    if (!listed) {
      return Fail(EINVAL, "put index", "it does not list manifest " + checked.manifest.ToString());
    }
    images.push_back(std::move(checked));
  }
  return images;
}

Result<> InsertIndex(Connection& connection, const NewIndex& index, const Digest& digest,
                     const std::vector<CheckedImage>& images) {
  STRATA_TRY_ASSIGN(
      Statement insert,
      connection.Prepare("INSERT INTO indexes (digest, json, media_type) VALUES (?1, ?2, ?3) ON "
                         "CONFLICT (digest) DO NOTHING"));
  STRATA_TRY(insert.Bind(1, digest.ToString()).Bind(2, index.json).Bind(3, index.media_type).Run());
  STRATA_TRY_ASSIGN(Statement member,
                    connection.Prepare("INSERT OR REPLACE INTO index_images VALUES (?1, ?2, ?3)"));
  for (const CheckedImage& image : images) {
    member.Reset();
    STRATA_TRY(member.Bind(1, digest.ToString())
                   .Bind(2, image.manifest.ToString())
                   .Bind(3, image.id.ToString())
                   .Run());
  }
  return {};
}

Result<> NameIndex(Connection& connection, const Reference& name, const Digest& index) {
  STRATA_TRY_ASSIGN(Statement update,
                    connection.Prepare("UPDATE tags SET index_digest=?3 WHERE name=?1 AND tag=?2"));
  return update.Bind(1, name.Name()).Bind(2, *name.tag()).Bind(3, index.ToString()).Run();
}

}  // namespace

Result<std::unique_ptr<ImageStore>> ImageStore::Open(std::shared_ptr<Database> database,
                                                     ImagesBelow below) {
  return std::unique_ptr<ImageStore>(new ImageStore(std::move(database), std::move(below)));
}

Result<Image> ImageStore::Put(const NewImage& image) {
  STRATA_TRY_ASSIGN(const CheckedImage checked, CheckImage(image));
  Image result;
  STRATA_TRY(database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY(InsertImage(connection, below_, checked));
    for (const Reference& name : image.names) STRATA_TRY(InsertName(connection, checked.id, name));
    STRATA_TRY(DropUnnamedIndexes(connection));
    STRATA_TRY_ASSIGN(result, LoadImage(connection, checked.id));
    return {};
  }));
  STRATA_TRY(below_.AddNames(*this, result));
  return result;
}

Result<Image> ImageStore::PutIndex(const NewIndex& index) {
  STRATA_TRY_ASSIGN(const std::vector<CheckedImage> images, CheckIndex(index));
  const Digest digest = Digest::Of(index.json);
  Image result;
  STRATA_TRY(database_->Write([&](Connection& connection) -> Result<> {
    for (const CheckedImage& image : images) STRATA_TRY(InsertImage(connection, below_, image));
    STRATA_TRY(InsertIndex(connection, index, digest, images));
    const Digest& id = images[index.named].id;
    for (const Reference& name : index.names) {
      STRATA_TRY(InsertName(connection, id, name));
      if (name.tag()) STRATA_TRY(NameIndex(connection, name, digest));
    }
    STRATA_TRY(DropUnnamedIndexes(connection));
    STRATA_TRY_ASSIGN(result, LoadImage(connection, id));
    return {};
  }));
  STRATA_TRY(below_.AddNames(*this, result));
  return result;
}

Result<std::optional<ImageIndex>> ImageStore::IndexOf(const Reference& name) {
  std::optional<ImageIndex> index;
  bool named = false;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(const auto image, ImageNamed(connection, name));
    named = image.has_value();
    STRATA_TRY_ASSIGN(index, LoadIndex(connection, name));
    return {};
  }));
  if (!named) return below_.IndexOf(name);
  return index;
}

Result<std::vector<Image>> ImageStore::ListOwn() {
  std::vector<Image> images;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(images, LoadImages(connection));
    return {};
  }));
  return images;
}

Result<std::vector<Image>> ImageStore::List() {
  STRATA_TRY_ASSIGN(std::vector<Image> images, ListOwn());
  STRATA_TRY(below_.AddImages(images));
  return images;
}

Result<std::optional<Image>> ImageStore::FindOwn(const Digest& id) {
  std::optional<Image> image;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(image, FindImage(connection, id));
    return {};
  }));
  return image;
}

Result<bool> ImageStore::HasOwnName(const Reference& name) {
  bool has = false;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(const auto image, ImageNamed(connection, name));
    has = image.has_value();
    return {};
  }));
  return has;
}

Result<std::optional<Digest>> ImageStore::ResolveOwn(std::string_view name_or_id) {
  std::optional<Digest> id;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    auto found = ResolveImage(connection, name_or_id);
    if (!found && found.error().code() == ENOENT) return {};
    if (!found) return std::unexpected(std::move(found).error());
    id = found->id;
    return {};
  }));
  return id;
}

Result<Image> ImageStore::Load(const Digest& id) {
  STRATA_TRY_ASSIGN(auto image, FindOwn(id));
  if (!image) {
    STRATA_TRY_ASSIGN(auto below, below_.Inspect(id));
    if (!below) return NoSuchImage(id.ToString());
    image = std::move(below->image);
  }
  STRATA_TRY(below_.AddNames(*this, *image));
  return *std::move(image);
}

Result<Image> ImageStore::Resolve(std::string_view name_or_id) {
  STRATA_TRY_ASSIGN(auto id, ResolveOwn(name_or_id));
  if (!id) {
    STRATA_TRY_ASSIGN(id, below_.Resolve(name_or_id));
  }
  if (!id) return NoSuchImage(name_or_id);
  return Load(*id);
}

Result<ImageDetail> ImageStore::Inspect(std::string_view name_or_id) {
  STRATA_TRY_ASSIGN(const Image image, Resolve(name_or_id));
  return Inspect(image.id);
}

Result<ImageDetail> ImageStore::Inspect(const Digest& id) {
  STRATA_TRY_ASSIGN(auto detail, InspectOwn(id));
  if (!detail) {
    STRATA_TRY_ASSIGN(detail, below_.Inspect(id));
  }
  if (!detail) return NoSuchImage(id.ToString());
  STRATA_TRY(below_.AddNames(*this, detail->image));
  return *std::move(detail);
}

Result<std::optional<ImageDetail>> ImageStore::InspectOwn(const Digest& id) {
  std::optional<ImageDetail> detail;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(auto image, FindImage(connection, id));
    if (!image) return {};
    detail.emplace();
    detail->image = *std::move(image);
    STRATA_TRY_ASSIGN(Statement statement,
                      connection.Prepare("SELECT config, manifest FROM images WHERE id=?1"));
    statement.Bind(1, id.ToString());
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return NoSuchImage(id.ToString());
    detail->config_json = statement.Text(0);
    detail->manifest_json = statement.Text(1);
    return {};
  }));
  if (detail) {
    STRATA_TRY_ASSIGN(detail->config, ParseImageConfig(detail->config_json));
  }
  return detail;
}

Result<> ImageStore::Adopt(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(auto detail, below_.Inspect(id));
  if (!detail) return NoSuchImage(id.ToString());
  const NewImage image{std::move(detail->config_json),
                       std::move(detail->manifest_json),
                       std::move(detail->image.manifest_media_type),
                       {}};
  STRATA_TRY_ASSIGN(const CheckedImage checked, CheckImage(image));
  return InsertImage(connection, below_, checked);
}

Result<> ImageStore::Tag(const Digest& id, const Reference& name) {
  return database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(const auto own, FindImage(connection, id));
    if (!own) STRATA_TRY(Adopt(connection, id));
    STRATA_TRY(InsertName(connection, id, name));
    STRATA_TRY(NoteUse(connection, id));
    return DropUnnamedIndexes(connection);
  });
}

Result<> ImageStore::AddUser(const Digest& id, std::string_view user) {
  return database_->Write([&](Connection& connection) { return AddUser(connection, id, user); });
}

Result<> ImageStore::RemoveUser(std::string_view user) {
  return database_->Write([&](Connection& connection) { return RemoveUser(connection, user); });
}

Result<> ImageStore::AddUser(Connection& connection, const Digest& id, std::string_view user) {
  STRATA_TRY_ASSIGN(auto image, FindImage(connection, id));
  const bool own = image.has_value();
  if (!own) {
    STRATA_TRY_ASSIGN(auto below, below_.Inspect(id));
    if (!below) return NoSuchImage(id.ToString());
    image = std::move(below->image);
  }
  STRATA_TRY(RemoveUser(connection, user));
  STRATA_TRY_ASSIGN(Statement insert,
                    connection.Prepare("INSERT INTO image_users VALUES (?1, ?2)"));
  STRATA_TRY(insert.Bind(1, user).Bind(2, id.ToString()).Run());
  STRATA_TRY(NoteUse(connection, id));
  // Its layers outlive the image's forced removal.
  STRATA_TRY_ASSIGN(Statement layer,
                    connection.Prepare("INSERT OR IGNORE INTO user_layers VALUES (?1, ?2)"));
  for (const Digest& diff_id : image->diff_ids) {
    layer.Reset();
    STRATA_TRY(layer.Bind(1, user).Bind(2, diff_id.ToString()).Run());
  }
  if (!own) STRATA_TRY(LocateLayers(connection, below_, image->diff_ids));
  return {};
}

Result<> ImageStore::RemoveUser(Connection& connection, std::string_view user) {
  STRATA_TRY_ASSIGN(Statement remove, connection.Prepare("DELETE FROM image_users WHERE user=?1"));
  return remove.Bind(1, user).Run();
}

Result<std::vector<std::string>> ImageStore::Users(const Digest& id) {
  std::vector<std::string> users;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(users, UsersOf(connection, id));
    return {};
  }));
  return users;
}

Result<std::vector<std::string>> ImageStore::UsersNamed(std::string_view prefix) {
  std::vector<std::string> users;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(users, layerstore::UsersNamed(connection, prefix));
    return {};
  }));
  return users;
}

}  // namespace strata::layerstore
