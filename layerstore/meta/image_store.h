// Images and their names: rows in meta.db. An image's id is the digest of its configuration.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/meta/images_below.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/reference.h"

namespace strata::layerstore {

class Connection;
class Database;

// An image as it enters the store. Its layers must be there already (and leased), or below.
struct NewImage {
  std::string config_json;    // exact bytes; their digest becomes the id
  std::string manifest_json;  // exact bytes as pulled, or Manifest::ToJson()
  std::string manifest_media_type;
  // The names it goes by, set with it or not at all: moves tags from the images that had them; a
  // digest in one is recorded as a repository digest. None: an untagged image.
  std::vector<Reference> names;
};

// An OCI index (docker: manifest list) with the images of it that enter the store.
struct NewIndex {
  std::string json;  // exact bytes
  std::string media_type;
  std::vector<NewImage> images;  // without names of their own
  // They go to images[named], and stand for the whole index.
  std::vector<Reference> names;
  std::size_t named = 0;
};

// An index, as the names that stand for it keep it.
struct ImageIndex {
  struct Member {
    Digest manifest;
    Digest image;
  };
  Digest digest;
  std::string json;  // exact bytes
  std::string media_type;
  std::vector<Member> members;  // those in the store
};

struct Image {
  Digest id;
  Digest manifest_digest;
  std::string manifest_media_type;
  std::vector<Digest> diff_ids;  // base first
  // Names with a tag, sorted: "docker.io/library/debian:12".
  std::vector<Reference> tags;
  // Names with the digest of a manifest, as pulled or pushed: "docker.io/library/debian@sha256:…".
  std::vector<Reference> repo_digests;
  std::uint64_t size = 0;    // bytes of all its layers unpacked
  std::int64_t created = 0;  // Unix seconds from the config; 0 if it does not say
  std::int64_t added = 0;    // Unix seconds when it entered this store
  std::int64_t used = 0;     // Unix seconds when it was last put, tagged or given to a user
  // The root of the additional store that it is in; empty for one of the own store.
  std::string below;
};

// Everything about one image.
struct ImageDetail {
  Image image;
  ImageConfig config;
  std::string config_json;    // exact bytes
  std::string manifest_json;  // exact bytes
};

// What Remove() and Untag() did, in order, as docker reports it.
struct ImageRemoval {
  std::vector<Reference> untagged;
  std::vector<Digest> deleted;  // image ids
};

// Which images a prune removes, of those without users.
struct PrunePolicy {
  // Those with tags and those of indexes, too.
  bool all = false;
  // Only those last put, tagged or given to a user before; Unix seconds.
  std::optional<std::int64_t> unused_since = {};
  // Only those created before, by their configuration; Unix seconds.
  std::optional<std::int64_t> created_before = {};
  // Those not used for longest first, and no more once what stays takes at most this many bytes.
  std::optional<std::uint64_t> keep_bytes = {};
};

// What a store takes, while its images go one by one.
class ImageRoom {
 public:
  virtual ~ImageRoom() = default;
  // Bytes.
  virtual std::uint64_t total() const = 0;
  virtual Result<> Drop(const std::vector<Digest>& diff_ids) = 0;
};

// Images, tags and who uses them. Thread-safe; several processes may share the database. Removing
// an image leaves its layers to the collector (gc/collector.h).
//
// With stores below, whatever finds an image finds theirs, too: the first store that knows a name
// or id answers, and an image has all its names that no store above gives to another
// (docs/formats/store.md). What changes something changes this store alone.
class ImageStore {
 public:
  // What is below must outlive it.
  static Result<std::unique_ptr<ImageStore>> Open(std::shared_ptr<Database> database,
                                                  ImagesBelow below = {});

  // Adds the image, or only its names if the image is there. EINVAL: config or manifest are wrong
  // or disagree about the number of layers, or a name has neither tag nor digest; ENOENT: a layer
  // is not in the store.
  Result<Image> Put(const NewImage& image);
  // Adds an index and all its images at once; what it gives is images[named]. EINVAL too where an
  // image's manifest is not one that the index lists, or one has a name of its own.
  Result<Image> PutIndex(const NewIndex& index);
  // What a name with a tag stands for besides its image; nothing if that is all.
  Result<std::optional<ImageIndex>> IndexOf(const Reference& name);

  // All images, newest first.
  Result<std::vector<Image>> List();

  // Finds by name[:tag] ("latest" by default), name@digest, "sha256:<64 hex>" (image id or manifest
  // digest), or a prefix of the id's hex digits that is unique. A tag wins over an id prefix.
  // ENOENT: none; EINVAL: prefix of several, or not a reference.
  Result<Image> Resolve(std::string_view name_or_id);
  Result<ImageDetail> Inspect(std::string_view name_or_id);
  Result<ImageDetail> Inspect(const Digest& id);

  // Names an image; takes the tag from the image that had it. `name` needs a tag or a digest. One
  // that is only below gets a row here.
  Result<> Tag(const Digest& id, const Reference& name);
  // Removes one name and nothing else; ENOENT if it is none, EROFS if it is one below.
  Result<> Untag(const Reference& name);

  // docker's `rmi`. By name: removes the name, and the image with its last name; with an index's
  // last name its other images without names and users. By id: removes image and names; EBUSY if it
  // goes by names of several repositories and `force` is false. EBUSY too if the image would be
  // deleted while it has users, unless `force`. EROFS if it is only below.
  Result<ImageRemoval> Remove(std::string_view name_or_id, bool force);

  // Removes images without users; by default those that have no tag and are in no index.
  // `room` is asked if the policy has keep_bytes, and may be null otherwise.
  static Result<ImageRemoval> RemoveUnused(Connection& connection, const PrunePolicy& policy,
                                           ImageRoom* room);

  // Marks the image as used, by a container for instance ("container:<id>"); idempotent. A user
  // keeps the image's layers even if the image is removed by force; those below only as far as
  // fsck tells which are missing. The next two can also join a transaction of the caller's own.
  Result<> AddUser(const Digest& id, std::string_view user);
  Result<> RemoveUser(std::string_view user);
  Result<> AddUser(Connection& connection, const Digest& id, std::string_view user);
  static Result<> RemoveUser(Connection& connection, std::string_view user);
  Result<std::vector<std::string>> Users(const Digest& id);
  // The users of all images, removed ones included, whose names begin so.
  Result<std::vector<std::string>> UsersNamed(std::string_view prefix);

 private:
  friend class ImagesBelow;
  ImageStore(std::shared_ptr<Database> database, ImagesBelow below)
      : database_(std::move(database)), below_(std::move(below)) {}

  // These look into this store alone.
  Result<std::vector<Image>> ListOwn();
  Result<std::optional<Image>> FindOwn(const Digest& id);
  Result<std::optional<Digest>> ResolveOwn(std::string_view name_or_id);
  Result<std::optional<ImageDetail>> InspectOwn(const Digest& id);
  Result<bool> HasOwnName(const Reference& name);

  // Of all stores together.
  Result<Image> Load(const Digest& id);
  // Gives an image that is only below a row here.
  Result<> Adopt(Connection& connection, const Digest& id);

  std::shared_ptr<Database> database_;
  const ImagesBelow below_;
};

}  // namespace strata::layerstore
