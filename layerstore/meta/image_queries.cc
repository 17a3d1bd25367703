#include "layerstore/meta/image_queries.h"

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {
namespace {

constexpr std::string_view kAlgorithm = "sha256:";

// First column of a query as digests.
Result<std::vector<Digest>> Digests(Statement statement) {
  std::vector<Digest> result;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return result;
    STRATA_TRY_ASSIGN(const Digest digest, Digest::Parse(statement.Text(0)));
    result.push_back(digest);
  }
}

// The same as names of users.
Result<std::vector<std::string>> UsersIn(Statement statement) {
  std::vector<std::string> users;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return users;
    users.push_back(statement.Text(0));
  }
}

Result<std::vector<Digest>> ByColumn(Connection& connection, const char* sql,
                                     std::string_view value) {
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
  statement.Bind(1, value);
  return Digests(std::move(statement));
}

Result<std::optional<Digest>> ByDigest(Connection& connection, const Digest& digest) {
  STRATA_TRY_ASSIGN(auto found, ByColumn(connection,
                                         "SELECT id FROM images WHERE id=?1 OR manifest_digest=?1 "
                                         "ORDER BY id=?1 DESC LIMIT 1",
                                         digest.ToString()));
  if (found.empty()) return std::nullopt;
  return found.front();
}

Result<std::optional<Digest>> ByPrefix(Connection& connection, std::string_view hex) {
  // Hex digits only, so nothing in it is special to GLOB.
  STRATA_TRY_ASSIGN(auto found,
                    ByColumn(connection, "SELECT id FROM images WHERE id GLOB ?1 LIMIT 2",
                             std::string(kAlgorithm) + std::string(hex) + '*'));
  if (found.empty()) return std::nullopt;
  if (found.size() > 1) {
    return Fail(EINVAL, "image", "id prefix '" + std::string(hex) + "' fits more than one image");
  }
  return found.front();
}

// The rows of `columns` in `table`, in the order of `order`: those of one image, whose id is in the
// column `image`, or without an id those of all.
Result<Statement> SelectRows(Connection& connection, const Digest* id, const std::string& columns,
                             const char* table, const char* image, const char* order) {
  std::string sql = "SELECT " + columns + " FROM " + table;
  if (id != nullptr) sql += std::string(" WHERE ") + image + "=?1";
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql + " ORDER BY " + order));
  if (id != nullptr) statement.Bind(1, id->ToString());
  return statement;
}

// Newest first, without layers and names.
Result<std::vector<Image>> SelectImages(Connection& connection, const Digest* id) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      SelectRows(connection, id,
                 "id, manifest_digest, manifest_media_type, size, created, added, used", "images",
                 "id", "created DESC, added DESC, id"));
  std::vector<Image> images;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return images;
    Image image;
    STRATA_TRY_ASSIGN(image.id, Digest::Parse(statement.Text(0)));
    STRATA_TRY_ASSIGN(image.manifest_digest, Digest::Parse(statement.Text(1)));
    image.manifest_media_type = statement.Text(2);
    image.size = static_cast<std::uint64_t>(statement.Integer(3));
    image.created = statement.Integer(4);
    image.added = statement.Integer(5);
    image.used = statement.Integer(6);
    images.push_back(std::move(image));
  }
}

// Images with all that belongs to them, by one statement a table however many there are.
class ImageLoader {
 public:
  ImageLoader(Connection& connection, const Digest* id) : connection_(connection), id_(id) {}

  Result<std::vector<Image>> Run() {
    STRATA_TRY_ASSIGN(images_, SelectImages(connection_, id_));
    for (Image& image : images_) by_id_.emplace(image.id.ToString(), &image);
    STRATA_TRY(Each("diff_id", "image_layers", "image, position",
                    [](Image& image, const Statement& row) -> Result<> {
                      STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(row.Text(1)));
                      image.diff_ids.push_back(diff_id);
                      return {};
                    }));
    STRATA_TRY(Each("name, tag", "tags", "name, tag", [](Image& image, const Statement& row) {
      return AddName(image.tags, row, ':');
    }));
    STRATA_TRY(Each(
        "name, digest", "repo_digests", "name, digest",
        [](Image& image, const Statement& row) { return AddName(image.repo_digests, row, '@'); }));
    return std::move(images_);
  }

 private:
  static Result<> AddName(std::vector<Reference>& names, const Statement& row, char separator) {
    STRATA_TRY_ASSIGN(Reference name, Reference::Parse(row.Text(1) + separator + row.Text(2)));
    names.push_back(std::move(name));
    return {};
  }

  // `columns` follow the image's id, which is column 0.
  Result<> Each(const char* columns, const char* table, const char* order,
                const std::function<Result<>(Image&, const Statement&)>& take) {
    STRATA_TRY_ASSIGN(
        Statement statement,
        SelectRows(connection_, id_, std::string("image, ") + columns, table, "image", order));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, statement.Step());
      if (!row) return {};
      const auto image = by_id_.find(statement.Text(0));
      // A row without its image is nobody's; the foreign keys let none come about.
      if (image != by_id_.end()) STRATA_TRY(take(*image->second, statement));
    }
  }

  Connection& connection_;
  const Digest* id_;
  std::vector<Image> images_;
  std::unordered_map<std::string, Image*> by_id_;
};

}  // namespace

std::unexpected<Error> NoSuchImage(std::string_view text) {
  return Fail(ENOENT, "image", "no such image: " + std::string(text.substr(0, kReferenceNameMax)));
}

Result<std::optional<Digest>> ImageNamed(Connection& connection, const Reference& name) {
  const bool by_digest = name.digest().has_value();
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare(by_digest ? "SELECT image FROM repo_digests WHERE name=?1 AND digest=?2"
                                   : "SELECT image FROM tags WHERE name=?1 AND tag=?2"));
  statement.Bind(1, name.Name());
  statement.Bind(2, by_digest ? name.digest()->ToString() : name.tag().value_or(""));
  STRATA_TRY_ASSIGN(auto found, Digests(std::move(statement)));
  if (found.empty()) return std::nullopt;
  return found.front();
}

Result<std::optional<ImageIndex>> LoadIndex(Connection& connection, const Reference& name) {
  STRATA_TRY_ASSIGN(Statement found,
                    connection.Prepare("SELECT digest, json, media_type FROM tags JOIN indexes ON "
                                       "digest=index_digest WHERE name=?1 AND tag=?2"));
  found.Bind(1, name.Name()).Bind(2, name.tag().value_or(""));
  STRATA_TRY_ASSIGN(const bool there, found.Step());
  if (!there) return std::nullopt;
  ImageIndex index;
  STRATA_TRY_ASSIGN(index.digest, Digest::Parse(found.Text(0)));
  index.json = found.Text(1);
  index.media_type = found.Text(2);
  STRATA_TRY_ASSIGN(Statement members,
                    connection.Prepare("SELECT manifest_digest, image FROM index_images WHERE "
                                       "index_digest=?1 ORDER BY manifest_digest"));
  members.Bind(1, index.digest.ToString());
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, members.Step());
    if (!row) return index;
    STRATA_TRY_ASSIGN(const Digest manifest, Digest::Parse(members.Text(0)));
    STRATA_TRY_ASSIGN(const Digest image, Digest::Parse(members.Text(1)));
    index.members.push_back({manifest, image});
  }
}

Result<std::set<Digest>> IndexImages(Connection& connection) {
  STRATA_TRY_ASSIGN(Statement statement,
                    connection.Prepare("SELECT DISTINCT image FROM index_images"));
  STRATA_TRY_ASSIGN(const auto images, Digests(std::move(statement)));
  return std::set<Digest>(images.begin(), images.end());
}

Result<std::set<Digest>> UsedImages(Connection& connection) {
  STRATA_TRY_ASSIGN(Statement statement,
                    connection.Prepare("SELECT DISTINCT image FROM image_users"));
  STRATA_TRY_ASSIGN(const auto images, Digests(std::move(statement)));
  return std::set<Digest>(images.begin(), images.end());
}

Result<> DropUnnamedIndexes(Connection& connection) {
  return connection.Execute(
      "DELETE FROM indexes WHERE digest NOT IN "
      "(SELECT index_digest FROM tags WHERE index_digest IS NOT NULL)");
}

Result<Resolved> ResolveImage(Connection& connection, std::string_view text) {
  const bool with_algorithm = text.starts_with(kAlgorithm);
  const std::string_view hex = with_algorithm ? text.substr(kAlgorithm.size()) : text;
  const bool may_be_id = LooksLikeImageId(hex);

  if (may_be_id && hex.size() == 2 * Digest::kBytes) {
    STRATA_TRY_ASSIGN(const Digest digest, Digest::FromHex(hex));
    STRATA_TRY_ASSIGN(const auto id, ByDigest(connection, digest));
    if (!id) return NoSuchImage(text);
    return Resolved{*id, std::nullopt};
  }
  if (!with_algorithm || !may_be_id) {
    auto parsed = Reference::Parse(text);
    if (!parsed) return std::unexpected(std::move(parsed).error());
    Reference name = parsed->WithDefaultTag();
    STRATA_TRY_ASSIGN(const auto id, ImageNamed(connection, name));
    if (id) return Resolved{*id, std::move(name)};
  }
  if (may_be_id) {
    STRATA_TRY_ASSIGN(const auto id, ByPrefix(connection, hex));
    if (id) return Resolved{*id, std::nullopt};
  }
  return NoSuchImage(text);
}

Result<std::optional<Image>> FindImage(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(auto images, ImageLoader(connection, &id).Run());
  if (images.empty()) return std::nullopt;
  return std::move(images.front());
}

Result<Image> LoadImage(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(auto image, FindImage(connection, id));
  if (!image) return NoSuchImage(id.ToString());
  return *std::move(image);
}

Result<std::vector<Image>> LoadImages(Connection& connection) {
  return ImageLoader(connection, nullptr).Run();
}

Result<std::vector<std::string>> UsersOf(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare("SELECT user FROM image_users WHERE image=?1 ORDER BY user"));
  statement.Bind(1, id.ToString());
  return UsersIn(std::move(statement));
}

Result<std::vector<std::string>> UsersNamed(Connection& connection, std::string_view prefix) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare(
          "SELECT user FROM image_users WHERE substr(user, 1, length(?1))=?1 ORDER BY user"));
  statement.Bind(1, prefix);
  return UsersIn(std::move(statement));
}

}  // namespace strata::layerstore
