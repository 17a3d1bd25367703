// Removing images and their names, by docker's rules (declared in image_store.h).
#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/image_queries.h"
#include "layerstore/meta/image_store.h"

namespace strata::layerstore {
namespace {

Result<> DeleteName(Connection& connection, const Reference& name) {
  const bool by_digest = name.digest().has_value();
  STRATA_TRY_ASSIGN(
      Statement statement,
      connection.Prepare(by_digest ? "DELETE FROM repo_digests WHERE name=?1 AND digest=?2"
                                   : "DELETE FROM tags WHERE name=?1 AND tag=?2"));
  statement.Bind(1, name.Name());
  statement.Bind(2, by_digest ? name.digest()->ToString() : name.tag().value_or(""));
  STRATA_TRY(statement.Run());
  if (connection.Changes() == 0) return Fail(ENOENT, "untag", "no such name: " + name.Familiar());
  return {};
}

std::unexpected<Error> OnlyBelow(std::string_view name, const std::string& store) {
  return Fail(EROFS, "remove image",
              "image " + std::string(name) + " is in the additional store " + store +
                  ", which is only read");
}

Result<> RefuseIfUsed(Connection& connection, const Image& image) {
  STRATA_TRY_ASSIGN(const auto users, UsersOf(connection, image.id));
  if (users.empty()) return {};
  return Fail(EBUSY, "remove image",
              "image " + image.id.Short() + " is in use by " + users.front() +
                  (users.size() > 1 ? " and " + std::to_string(users.size() - 1) + " more" : ""));
}

Result<> DeleteImage(Connection& connection, const Image& image, ImageRemoval& removal) {
  for (const Reference& name : image.tags) removal.untagged.push_back(name);
  for (const Reference& name : image.repo_digests) removal.untagged.push_back(name);
  // Names and layer rows go with it (ON DELETE CASCADE).
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare("DELETE FROM images WHERE id=?1"));
  STRATA_TRY(statement.Bind(1, image.id.ToString()).Run());
  removal.deleted.push_back(image.id);
  return {};
}

Result<> RemoveByName(Connection& connection, const Image& image, const Reference& name, bool force,
                      ImageRemoval& removal) {
  const bool last_tag = !name.digest() && image.tags.size() == 1;
  const bool only_digests = name.digest() && image.tags.empty() && image.repo_digests.size() == 1;
  if (last_tag || only_digests) {
    if (!force) STRATA_TRY(RefuseIfUsed(connection, image));
    return DeleteImage(connection, image, removal);
  }
  STRATA_TRY(DeleteName(connection, name));
  removal.untagged.push_back(name);
  if (name.digest()) return {};
  // Without another tag in its repository, digests of that repository go as well.
  for (const Reference& tag : image.tags) {
    if (tag != name && tag.Name() == name.Name()) return {};
  }
  for (const Reference& digest : image.repo_digests) {
    if (digest.Name() != name.Name()) continue;
    STRATA_TRY(DeleteName(connection, digest));
    removal.untagged.push_back(digest);
  }
  return {};
}

Result<> RemoveById(Connection& connection, const Image& image, bool force, ImageRemoval& removal) {
  if (!force) {
    std::set<std::string> repositories;
    for (const Reference& name : image.tags) repositories.insert(name.Name());
    if (repositories.size() > 1) {
      return Fail(EBUSY, "remove image",
                  "image " + image.id.Short() + " is referenced in multiple repositories");
    }
    STRATA_TRY(RefuseIfUsed(connection, image));
  }
  return DeleteImage(connection, image, removal);
}

// Removes the indexes that lost their last name, and of their images those that nothing else keeps.
Result<> RemoveUnnamedIndexes(Connection& connection, ImageRemoval& removal) {
  STRATA_TRY_ASSIGN(const auto before, IndexImages(connection));
  STRATA_TRY(DropUnnamedIndexes(connection));
  STRATA_TRY_ASSIGN(const auto after, IndexImages(connection));
  for (const Digest& id : before) {
    if (after.contains(id)) continue;
    STRATA_TRY_ASSIGN(const Image image, LoadImage(connection, id));
    if (!image.tags.empty() || !image.repo_digests.empty()) continue;
    STRATA_TRY_ASSIGN(const auto users, UsersOf(connection, id));
    if (users.empty()) STRATA_TRY(DeleteImage(connection, image, removal));
  }
  return {};
}

// Without users and as the policy says, those not used for longest first.
Result<std::vector<Image>> PruneCandidates(Connection& connection, const PrunePolicy& policy) {
  STRATA_TRY_ASSIGN(auto images, LoadImages(connection));
  STRATA_TRY_ASSIGN(const auto in_indexes, IndexImages(connection));
  STRATA_TRY_ASSIGN(const auto used, UsedImages(connection));
  std::erase_if(images, [&](const Image& image) {
    const bool named = !image.tags.empty() || in_indexes.contains(image.id);
    return (named && !policy.all) || used.contains(image.id) ||
           (policy.unused_since && image.used >= *policy.unused_since) ||
           (policy.created_before && image.created >= *policy.created_before);
  });
  std::ranges::stable_sort(images, {}, &Image::used);
  return images;
}

}  // namespace

Result<> ImageStore::Untag(const Reference& name) {
  const Reference whole = name.WithDefaultTag();
  return database_->Write([&](Connection& connection) -> Result<> {
    auto deleted = DeleteName(connection, whole);
    if (!deleted && deleted.error().code() == ENOENT) {
      STRATA_TRY_ASSIGN(const auto store, below_.StoreOfName(whole));
      if (store) return OnlyBelow(whole.Familiar(), *store);
    }
    STRATA_TRY(std::move(deleted));
    return DropUnnamedIndexes(connection);
  });
}

Result<ImageRemoval> ImageStore::Remove(std::string_view name_or_id, bool force) {
  ImageRemoval removal;
  STRATA_TRY(database_->Write([&](Connection& connection) -> Result<> {
    auto found = ResolveImage(connection, name_or_id);
    if (!found && found.error().code() == ENOENT) {
      STRATA_TRY_ASSIGN(const auto id, below_.Resolve(name_or_id));
      if (!id) return std::unexpected(std::move(found).error());
      STRATA_TRY_ASSIGN(const auto store, below_.StoreOfImage(*id));
      return OnlyBelow(name_or_id, store.value_or(""));
    }
    if (!found) return std::unexpected(std::move(found).error());
    STRATA_TRY_ASSIGN(const Image image, LoadImage(connection, found->id));
    STRATA_TRY(found->name ? RemoveByName(connection, image, *found->name, force, removal)
                           : RemoveById(connection, image, force, removal));
    return RemoveUnnamedIndexes(connection, removal);
  }));
  return removal;
}

Result<ImageRemoval> ImageStore::RemoveUnused(Connection& connection, const PrunePolicy& policy,
                                              ImageRoom* room) {
  ImageRemoval removal;
  STRATA_TRY_ASSIGN(const auto images, PruneCandidates(connection, policy));
  for (const Image& image : images) {
    if (policy.keep_bytes && room->total() <= *policy.keep_bytes) break;
    STRATA_TRY(DeleteImage(connection, image, removal));
    if (policy.keep_bytes) STRATA_TRY(room->Drop(image.diff_ids));
  }
  STRATA_TRY(DropUnnamedIndexes(connection));
  return removal;
}

}  // namespace strata::layerstore
