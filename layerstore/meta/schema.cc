#include "layerstore/meta/schema.h"

#include <array>
#include <string>

#include "base/try.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {
namespace {

constexpr std::string_view kComponent = "layerstore";

// Steps are never edited once released; a change appends one.
constexpr std::array kSteps = {Migration{R"sql(
CREATE TABLE layers (
  diff_id TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  added INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE layer_blobs (
  blob TEXT PRIMARY KEY,
  diff_id TEXT NOT NULL,
  size INTEGER NOT NULL,
  media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_layer ON layer_blobs (diff_id);

CREATE TABLE images (
  id TEXT PRIMARY KEY,
  config TEXT NOT NULL,
  manifest TEXT NOT NULL,
  manifest_digest TEXT NOT NULL,
  manifest_media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  created INTEGER NOT NULL,
  added INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_manifest ON images (manifest_digest);

CREATE TABLE image_layers (
  image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  diff_id TEXT NOT NULL,
  PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (diff_id);

CREATE TABLE tags (
  name TEXT NOT NULL,
  tag TEXT NOT NULL,
  image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  PRIMARY KEY (name, tag)
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image);

CREATE TABLE repo_digests (
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  PRIMARY KEY (name, digest)
) WITHOUT ROWID;
CREATE INDEX repo_digests_by_image ON repo_digests (image);

CREATE TABLE image_users (
  user TEXT PRIMARY KEY,
  image TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX image_users_by_image ON image_users (image);
CREATE TABLE user_layers (
  user TEXT NOT NULL REFERENCES image_users (user) ON DELETE CASCADE,
  diff_id TEXT NOT NULL,
  PRIMARY KEY (user, diff_id)
) WITHOUT ROWID;
CREATE INDEX user_layers_by_layer ON user_layers (diff_id);

CREATE TABLE leases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL,
  added INTEGER NOT NULL
);
CREATE TABLE lease_pins (
  lease INTEGER NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
  kind TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (lease, kind, digest)
) WITHOUT ROWID;
)sql"},
                               Migration{R"sql(
ALTER TABLE layers ADD COLUMN disk INTEGER;
ALTER TABLE layers ADD COLUMN objects INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN user_marks INTEGER;
ALTER TABLE layers ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;
CREATE INDEX layers_by_verification ON layers (verified);
ALTER TABLE layer_blobs ADD COLUMN kept INTEGER;

ALTER TABLE images ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE images SET used=added;

CREATE TABLE indexes (
  digest TEXT PRIMARY KEY,
  json TEXT NOT NULL,
  media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE index_images (
  index_digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
  manifest_digest TEXT NOT NULL,
  image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  PRIMARY KEY (index_digest, manifest_digest)
) WITHOUT ROWID;
CREATE INDEX index_images_by_image ON index_images (image);
ALTER TABLE tags ADD COLUMN index_digest TEXT REFERENCES indexes (digest) ON DELETE SET NULL;

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
)sql"},
                               Migration{R"sql(
CREATE TABLE layers_below (
  diff_id TEXT PRIMARY KEY,
  store TEXT NOT NULL
) WITHOUT ROWID;
)sql"}};

}  // namespace

Result<std::shared_ptr<Database>> OpenStoreDatabase(const std::string& path, bool read_only) {
  if (read_only) return Database::OpenReadOnly(path, {kComponent, kSteps});
  STRATA_TRY_ASSIGN(std::shared_ptr<Database> database, Database::Open(path));
  STRATA_TRY(database->Migrate(kComponent, kSteps));
  return database;
}

}  // namespace strata::layerstore
