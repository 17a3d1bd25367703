#include "layerstore/layer/layer_store.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>

#include "base/file_ops.h"
#include "base/try.h"
#include "layerstore/blob/blob_store.h"
#include "layerstore/layer/layer_mend.h"
#include "layerstore/layer/layer_sink.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/object_room.h"
#include "layerstore/recipe/recipe_reader.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kReadBytes = std::size_t{256} * 1024;

Result<std::vector<LayerBlob>> ReadBlobs(const std::shared_ptr<Database>& database, const char* sql,
                                         const Digest& key) {
  std::vector<LayerBlob> blobs;
  STRATA_TRY(database->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
    statement.Bind(1, key.ToString());
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, statement.Step());
      if (!row) return {};
      LayerBlob blob;
      STRATA_TRY_ASSIGN(blob.blob, Digest::Parse(statement.Text(0)));
      STRATA_TRY_ASSIGN(blob.diff_id, Digest::Parse(statement.Text(1)));
      blob.size = static_cast<std::uint64_t>(statement.Integer(2));
      blob.media_type = statement.Text(3);
      if (!statement.IsNull(4)) blob.kept = statement.Integer(4) != 0;
      blobs.push_back(std::move(blob));
    }
  }));
  return blobs;
}

Result<UniqueFd> OpenLayer(const StoreRoot& root, const Digest& diff_id) {
  return root.ops().Open(root.layers(), diff_id.Hex().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<> InsertBlob(Connection& connection, const LayerBlob& blob) {
  STRATA_TRY_ASSIGN(
      Statement row,
      connection.Prepare("INSERT INTO layer_blobs (blob, diff_id, size, media_type, kept) VALUES "
                         "(?1, ?2, ?3, ?4, ?5) ON CONFLICT (blob) DO UPDATE SET diff_id=?2, "
                         // An unpacking that keeps nothing does not take away what is kept.
                         "size=?3, media_type=?4, kept=iif(?5, 1, kept)"));
  return row.Bind(1, blob.blob.ToString())
      .Bind(2, blob.diff_id.ToString())
      .Bind(3, static_cast<std::int64_t>(blob.size))
      .Bind(4, blob.media_type)
      .Bind(5, std::int64_t{blob.kept.value_or(false)})
      .Run();
}

}  // namespace

Result<LayerInfo> LayerStore::Find(const Digest& diff_id) {
  auto own = FindOwn(diff_id);
  if (own || own.error().code() != ENOENT) return own;
  STRATA_TRY_ASSIGN(auto below, FindBelow(diff_id));
  if (below) return *std::move(below);
  return own;
}

Result<std::optional<LayerInfo>> LayerStore::FindBelow(const Digest& diff_id) {
  for (LayerStore* const lower : below_) {
    auto found = lower->Find(diff_id);
    if (found) return std::optional(*std::move(found));
    if (found.error().code() != ENOENT) return std::unexpected(std::move(found).error());
  }
  return std::optional<LayerInfo>();
}

Result<const StoreRoot*> LayerStore::RootOf(const Digest& diff_id) {
  if (below_.empty()) return &root_;
  auto own = FindOwn(diff_id);
  if (own) return &root_;
  for (LayerStore* const lower : below_) {
    if (own.error().code() != ENOENT) break;
    own = lower->FindOwn(diff_id);
    if (own) return &lower->root_;
  }
  return std::unexpected(std::move(own).error());
}

Result<UniqueFd> LayerStore::OpenDirectory(const Digest& diff_id) {
  STRATA_TRY_ASSIGN(const StoreRoot* root, RootOf(diff_id));
  return OpenLayer(*root, diff_id);
}

Result<LayerInfo> LayerStore::FindOwn(const Digest& diff_id) {
  const std::string hex = diff_id.Hex();
  LayerInfo info{diff_id, root_.path() + "/layers/sha256/" + hex + "/fs", 0, 0, std::nullopt};
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(
        Statement statement,
        connection.Prepare(
            "SELECT size, entries, IFNULL(user_marks, -1) FROM layers WHERE diff_id=?1"));
    statement.Bind(1, diff_id.ToString());
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return Fail(ENOENT, "find layer", diff_id.ToString());
    info.size = static_cast<std::uint64_t>(statement.Integer(0));
    info.entries = static_cast<std::uint64_t>(statement.Integer(1));
    if (statement.Integer(2) >= 0) info.user_marks = statement.Integer(2) != 0;
    return {};
  }));
  // The row alone is not enough: somebody may have cleaned up by hand.
  auto st = root_.ops().StatAt(root_.layers(), (hex + "/fs").c_str());
  if (!st) return std::unexpected(std::move(st).error().WithContext("layer " + diff_id.ToString()));
  return info;
}

// Whether all that the ingest would bring is there.
Result<bool> LayerStore::Complete(const LayerIngest& ingest) {
  const auto found = FindOwn(*ingest.diff_id);
  if (!found) {
    if (found.error().code() == ENOENT) {
      STRATA_TRY_ASSIGN(const auto below, FindBelow(*ingest.diff_id));
      return below.has_value();
    }
    return Fail(found.error().code(), "find layer", std::string(found.error().detail()));
  }
  if (!ingest.keep_blob) return true;
  // The plain form is there as long as the layer has its recipe.
  if (!ingest.blob || *ingest.blob == *ingest.diff_id) {
    const auto size = TarSize(*ingest.diff_id);
    if (size) return true;
    if (size.error().code() != ENOENT) {
      return Fail(size.error().code(), "read recipe",
                  ingest.diff_id->ToString() + ": " + std::string(size.error().detail()));
    }
  }
  return HasForm(ingest);
}

// Whether the blob that the ingest would bring is kept; any blob, if it may be any.
Result<bool> LayerStore::HasForm(const LayerIngest& ingest) {
  if (!ingest.blob) {
    STRATA_TRY_ASSIGN(const auto blobs, Blobs(*ingest.diff_id));
    for (const LayerBlob& blob : blobs) {
      STRATA_TRY_ASSIGN(const bool kept, blobs_.Has(blob.blob));
      if (kept) return true;
    }
    return false;
  }
  STRATA_TRY_ASSIGN(const bool kept, blobs_.Has(*ingest.blob));
  if (!kept) return false;
  // The bytes may have come here under another description.
  const auto known = FindBlob(*ingest.blob);
  return known.has_value() && known->diff_id == *ingest.diff_id;
}

Result<std::unique_ptr<LayerSink>> LayerStore::Begin(LayerIngest ingest, Lease& lease) {
  STRATA_TRY(root_.staging());
  std::optional<LayerLock> lock;
  if (ingest.blob) STRATA_TRY(lease.PinBlob(*ingest.blob));
  if (ingest.diff_id) {
    STRATA_TRY(lease.PinLayer(*ingest.diff_id));
    STRATA_TRY_ASSIGN(LayerLock held, root_.LockLayer(*ingest.diff_id));
    STRATA_TRY_ASSIGN(const bool complete, Complete(ingest));
    if (complete && !ingest.mend) return nullptr;
    lock.emplace(std::move(held));
  }
  return LayerSinkImpl::Create(*this, root_, blobs_, std::move(ingest), lease, std::move(lock));
}

Result<LayerInfo> LayerStore::Unpack(const Digest& blob, const Digest& diff_id,
                                     std::string_view media_type, Lease& lease, bool mend) {
  STRATA_TRY(lease.PinBlob(blob));
  LayerIngest ingest;
  ingest.blob = blob;
  ingest.diff_id = diff_id;
  ingest.media_type = std::string(media_type);
  ingest.keep_blob = false;  // it is there already
  ingest.mend = mend;
  ingest.limits = UnpackLimits::None();
  STRATA_TRY_ASSIGN(const auto sink, Begin(std::move(ingest), lease));
  if (!sink) return Find(diff_id);
  STRATA_TRY_ASSIGN(const UniqueFd fd, blobs_.OpenBlob(blob));
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
  for (;;) {
    STRATA_TRY_ASSIGN(const std::size_t got,
                      root_.ops().Read(fd.get(), std::span(buffer.get(), kReadBytes)));
    if (got == 0) return sink->Commit();
    STRATA_TRY(sink->Write({reinterpret_cast<const char*>(buffer.get()), got}));
  }
}

Result<LayerBlob> LayerStore::FindBlob(const Digest& blob) {
  STRATA_TRY_ASSIGN(auto found,
                    ReadBlobs(database_,
                              "SELECT blob, diff_id, size, media_type, kept FROM layer_blobs "
                              "WHERE blob=?1",
                              blob));
  if (!found.empty()) return std::move(found.front());
  for (LayerStore* const lower : below_) {
    auto known = lower->FindBlob(blob);
    if (known || known.error().code() != ENOENT) return known;
  }
  return Fail(ENOENT, "find blob", blob.ToString());
}

Result<std::vector<LayerBlob>> LayerStore::Blobs(const Digest& diff_id) {
  STRATA_TRY_ASSIGN(
      auto blobs,
      ReadBlobs(database_,
                "SELECT blob, diff_id, size, media_type, kept FROM layer_blobs WHERE diff_id=?1 "
                "ORDER BY blob",
                diff_id));
  for (LayerStore* const lower : below_) {
    STRATA_TRY_ASSIGN(const auto more, lower->Blobs(diff_id));
    for (const LayerBlob& blob : more) {
      const bool known = std::ranges::any_of(
          blobs, [&](const LayerBlob& other) { return other.blob == blob.blob; });
      if (!known) blobs.push_back(blob);
    }
  }
  return blobs;
}

Result<std::uint64_t> LayerStore::TarSize(const Digest& diff_id) {
  STRATA_TRY_ASSIGN(const UniqueFd layer, OpenDirectory(diff_id));
  return RecipeReader::TarBytesOf(root_.ops(), layer.get());
}

Result<std::vector<std::string>> LayerStore::LowerDirs(std::span<const Digest> diff_ids) {
  std::vector<std::string> dirs;
  dirs.reserve(diff_ids.size());
  for (auto it = diff_ids.rbegin(); it != diff_ids.rend(); ++it) {
    STRATA_TRY_ASSIGN(LayerInfo info, Find(*it));
    dirs.push_back(std::move(info.path));
  }
  return dirs;
}

Result<> LayerStore::Publish(StagedName& staged, const LayerInfo& info) {
  const std::string hex = info.diff_id.Hex();
  // A directory without a row: a crash came between the two.
  STRATA_TRY(root_.Discard(root_.layers(), hex));
  return root_.PublishTree(staged, root_.layers(), hex);
}

Result<> LayerStore::AdoptRecipe(int staged, const Digest& diff_id) {
  FileOps& ops = root_.ops();
  STRATA_TRY_ASSIGN(const UniqueFd layer, OpenLayer(root_, diff_id));
  const auto has = ops.StatAt(layer.get(), "recipe");
  if (has) return {};
  if (has.error().code() != ENOENT) return Fail(has.error().code(), "stat recipe");
  // The contents that it tells of come before it; those without one are a crash's.
  STRATA_TRY(root_.Discard(layer.get(), "replaced"));
  STRATA_TRY(ops.SyncFilesystem(staged));
  auto replaced = ops.Rename(staged, "replaced", layer.get(), "replaced", RENAME_NOREPLACE);
  if (!replaced && replaced.error().code() != ENOENT) return replaced;
  STRATA_TRY(ops.Rename(staged, "recipe", layer.get(), "recipe", RENAME_NOREPLACE));
  return ops.Sync(layer.get());
}

Result<> LayerStore::Mend(int fresh, const Digest& diff_id) {
  STRATA_TRY_ASSIGN(const UniqueFd live, OpenLayer(root_, diff_id));
  STRATA_TRY(MendLayer(root_.ops(), *root_.objects(), fresh, live.get()));
  return guard_.Guard(root_.ops(), live.get());
}

Result<> LayerStore::Record(const LayerInfo& info, const LayerBlob& blob) {
  return database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(
        Statement layer,
        connection.Prepare(
            "INSERT INTO layers (diff_id, size, entries, added, user_marks, disk, objects, shared) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, IFNULL(?7, 0), IFNULL(?8, 0)) "
            "ON CONFLICT (diff_id) DO UPDATE SET size=?2, entries=?3, "
            "user_marks=COALESCE(?5, user_marks), disk=COALESCE(?6, disk), "
            "objects=COALESCE(?7, objects), shared=COALESCE(?8, shared)"));
    layer.Bind(1, info.diff_id.ToString())
        .Bind(2, static_cast<std::int64_t>(info.size))
        .Bind(3, static_cast<std::int64_t>(info.entries))
        .Bind(4, std::int64_t{std::time(nullptr)});
    if (info.user_marks) layer.Bind(5, std::int64_t{*info.user_marks});
    if (info.room) {
      layer.Bind(6, static_cast<std::int64_t>(info.room->own))
          .Bind(7, static_cast<std::int64_t>(info.room->objects))
          .Bind(8, static_cast<std::int64_t>(info.room->found));
      STRATA_TRY(ChangeObjectRoom(
          connection, static_cast<std::int64_t>(info.room->objects - info.room->found)));
    }
    STRATA_TRY(layer.Run());
    return InsertBlob(connection, blob);
  });
}

void LayerStore::MarkRecorded(const Digest& diff_id) {
  Ignore(root_.ops().ChmodAt(root_.layers(), diff_id.Hex().c_str(), kRecordedMode),
         "it is for the worst of cases");
}

Result<> LayerStore::AddBlob(const LayerBlob& blob) {
  return database_->Write(
      [&](Connection& connection) -> Result<> { return InsertBlob(connection, blob); });
}

}  // namespace strata::layerstore
