#include "layerstore/meta/image_queries.h"

#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {
namespace {

constexpr std::string_view kAlgorithm = "sha256:";

std::unexpected<Error> NoSuchImage(std::string_view text) {
  return Fail(ENOENT, "image", "no such image: " + std::string(text.substr(0, kReferenceNameMax)));
}

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

Result<std::vector<Reference>> Names(Connection& connection, const char* sql, char separator,
                                     const Digest& id) {
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
  statement.Bind(1, id.ToString());
  std::vector<Reference> names;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return names;
    STRATA_TRY_ASSIGN(Reference name,
                      Reference::Parse(statement.Text(0) + separator + statement.Text(1)));
    names.push_back(std::move(name));
  }
}

}  // namespace

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

Result<Image> LoadImage(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare("SELECT manifest_digest, manifest_media_type, size, created, "
                         "added FROM images WHERE id=?1"));
  statement.Bind(1, id.ToString());
  STRATA_TRY_ASSIGN(const bool row, statement.Step());
  if (!row) return NoSuchImage(id.ToString());
  Image image;
  image.id = id;
  STRATA_TRY_ASSIGN(image.manifest_digest, Digest::Parse(statement.Text(0)));
  image.manifest_media_type = statement.Text(1);
  image.size = static_cast<std::uint64_t>(statement.Integer(2));
  image.created = statement.Integer(3);
  image.added = statement.Integer(4);
  STRATA_TRY_ASSIGN(
      image.diff_ids,
      ByColumn(connection, "SELECT diff_id FROM image_layers WHERE image=?1 ORDER BY position",
               id.ToString()));
  STRATA_TRY_ASSIGN(
      image.tags,
      Names(connection, "SELECT name, tag FROM tags WHERE image=?1 ORDER BY name, tag", ':', id));
  STRATA_TRY_ASSIGN(
      image.repo_digests,
      Names(connection,
            "SELECT name, digest FROM repo_digests WHERE image=?1 ORDER BY name, digest", '@', id));
  return image;
}

Result<std::vector<Digest>> AllImageIds(Connection& connection) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare("SELECT id FROM images ORDER BY created DESC, added DESC, id"));
  return Digests(std::move(statement));
}

Result<std::vector<std::string>> UsersOf(Connection& connection, const Digest& id) {
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare("SELECT user FROM image_users WHERE image=?1 ORDER BY user"));
  statement.Bind(1, id.ToString());
  std::vector<std::string> users;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return users;
    users.push_back(statement.Text(0));
  }
}

}  // namespace strata::layerstore
