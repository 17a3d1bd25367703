// Questions about images that several operations of ImageStore ask. Private to this folder; all run
// within the caller's transaction.
#pragma once

#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/reference.h"

namespace strata::layerstore {

class Connection;

// How a name or id led to an image.
struct Resolved {
  Digest id;
  std::optional<Reference> name;  // with tag or digest; none if found by id
};

// ImageStore::Resolve()'s rules.
Result<Resolved> ResolveImage(Connection& connection, std::string_view text);
// "no such image", ENOENT.
std::unexpected<Error> NoSuchImage(std::string_view text);
// Nothing if there is no such image.
Result<std::optional<Image>> FindImage(Connection& connection, const Digest& id);
// ENOENT if there is no such image.
Result<Image> LoadImage(Connection& connection, const Digest& id);
// All, newest first.
Result<std::vector<Image>> LoadImages(Connection& connection);
Result<std::vector<std::string>> UsersOf(Connection& connection, const Digest& id);
// Of all images, those whose names begin with `prefix`.
Result<std::vector<std::string>> UsersNamed(Connection& connection, std::string_view prefix);
// The index that a name with a tag stands for.
Result<std::optional<ImageIndex>> LoadIndex(Connection& connection, const Reference& name);
// Those that are in an index, all of whose names are tags.
Result<std::set<Digest>> IndexImages(Connection& connection);
// Those with users.
Result<std::set<Digest>> UsedImages(Connection& connection);
// Removes indexes that no name stands for any more. Their images stay.
Result<> DropUnnamedIndexes(Connection& connection);
// The image that has this tag or repository digest.
Result<std::optional<Digest>> ImageNamed(Connection& connection, const Reference& name);

}  // namespace strata::layerstore
