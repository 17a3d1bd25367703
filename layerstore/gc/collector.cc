#include "layerstore/gc/collector.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/logging.h"
#include "base/try.h"
#include "layerstore/gc/freed_room.h"
#include "layerstore/meta/database.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

// A text column as a list.
Result<std::vector<std::string>> Column(Connection& connection, const char* sql) {
  STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
  std::vector<std::string> values;
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, statement.Step());
    if (!row) return values;
    values.push_back(statement.Text(0));
  }
}

Result<std::set<std::string>> Set(Connection& connection, const char* sql) {
  STRATA_TRY_ASSIGN(auto values, Column(connection, sql));
  return std::set<std::string>(std::make_move_iterator(values.begin()),
                               std::make_move_iterator(values.end()));
}

// One collection: marks and sweeps within the transaction it is given.
class Sweep {
 public:
  // `chains` are those of images below.
  Sweep(StoreRoot& root, Connection& connection, const std::set<std::string>& chains, bool dry_run,
        PruneReport& report, std::vector<std::string>& trash)
      : root_(root),
        connection_(connection),
        chains_below_(chains),
        dry_run_(dry_run),
        report_(report),
        trash_(trash),
        freed_(root) {}

  Result<> Run() {
    STRATA_TRY(DropDeadLeases());
    STRATA_TRY(SweepLayers());
    STRATA_TRY(SweepChains());
    return SweepBlobs();
  }

 private:
  Result<> DropDeadLeases() {
    STRATA_TRY_ASSIGN(const auto owners, Set(connection_, "SELECT owner FROM leases"));
    STRATA_TRY_ASSIGN(Statement drop, connection_.Prepare("DELETE FROM leases WHERE owner=?1"));
    for (const std::string& owner : owners) {
      STRATA_TRY_ASSIGN(const bool alive, root_.OwnerAlive(owner));
      if (alive) continue;
      drop.Reset();
      STRATA_TRY(drop.Bind(1, owner).Run());
    }
    return {};
  }

  Result<> SweepLayers() {
    STRATA_TRY_ASSIGN(const auto marked,
                      Set(connection_,
                          "SELECT diff_id FROM image_layers UNION SELECT diff_id FROM user_layers "
                          "UNION SELECT digest FROM lease_pins WHERE kind='layer'"));
    STRATA_TRY_ASSIGN(Statement layers,
                      connection_.Prepare("SELECT diff_id, coalesce(disk, size) FROM layers"));
    std::vector<std::pair<std::string, std::uint64_t>> garbage;
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, layers.Step());
      if (!row) break;
      std::string id = layers.Text(0);
      if (!marked.contains(id)) {
        garbage.emplace_back(std::move(id), static_cast<std::uint64_t>(layers.Integer(1)));
      }
    }
    layers.Reset();
    STRATA_TRY_ASSIGN(Statement drop, connection_.Prepare("DELETE FROM layers WHERE diff_id=?1"));
    for (const auto& [id, size] : garbage) {
      drop.Reset();
      STRATA_TRY(drop.Bind(1, id).Run());
      STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(id));
      STRATA_TRY_ASSIGN(const std::uint64_t objects, freed_.Drop(diff_id));
      report_.layers.push_back(diff_id);
      report_.reclaimed += size + objects;
    }
    STRATA_TRY(DropUnneeded());
    // By directory rather than by row: this finds what a crash left without a row, too.
    STRATA_TRY_ASSIGN(auto kept, Set(connection_, "SELECT diff_id FROM layers"));
    kept.insert(marked.begin(), marked.end());
    const std::set<Digest> told(report_.layers.begin(), report_.layers.end());
    return SweepDirectory(root_.layers(), kept, [&](const Digest& diff_id) -> Result<bool> {
      if (told.contains(diff_id)) return true;
      STRATA_TRY_ASSIGN(const struct stat st,
                        root_.ops().StatAt(root_.layers(), diff_id.Hex().c_str()));
      if (WasRecorded(st)) {
        log::Warn("gc: a layer is left that had a row once; see 'strata store fsck'",
                  {{"layer", diff_id.ToString()}});
        return false;
      }
      report_.layers.push_back(diff_id);
      return true;
    });
  }

  // Rows about layers that are neither here nor needed: of one that is below, too, forms are kept.
  Result<> DropUnneeded() {
    const std::string needed =
        "SELECT diff_id FROM image_layers UNION SELECT diff_id FROM user_layers UNION SELECT "
        "digest FROM lease_pins WHERE kind='layer'";
    return connection_.Execute("DELETE FROM layers_below WHERE diff_id NOT IN (" + needed +
                               ");DELETE FROM layer_blobs WHERE diff_id NOT IN (SELECT diff_id "
                               "FROM layers UNION " +
                               needed + ")");
  }

  // Indexes of what is no image's chain any more. Whoever still needs one makes it again; those
  // mounted now stay mapped.
  Result<> SweepChains() {
    STRATA_TRY_ASSIGN(
        Statement rows,
        connection_.Prepare("SELECT image, diff_id FROM image_layers ORDER BY image, position"));
    std::map<std::string, std::vector<Digest>> images;
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, rows.Step());
      if (!row) break;
      STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(rows.Text(1)));
      images[rows.Text(0)].push_back(diff_id);
    }
    std::set<std::string> kept = chains_below_;
    for (const auto& [image, diff_ids] : images) kept.insert(ChainId(diff_ids).ToString());
    return SweepDirectory(root_.chains(), kept, [](const Digest&) -> Result<bool> { return true; });
  }

  Result<> SweepBlobs() {
    STRATA_TRY_ASSIGN(const auto kept,
                      Set(connection_,
                          "SELECT blob FROM layer_blobs UNION SELECT digest FROM lease_pins WHERE "
                          "kind='blob'"));
    return SweepDirectory(root_.blobs(), kept, [&](const Digest& blob) -> Result<bool> {
      STRATA_TRY_ASSIGN(const struct stat st,
                        root_.ops().StatAt(root_.blobs(), blob.Hex().c_str()));
      report_.reclaimed += RoomOf(static_cast<std::uint64_t>(st.st_size));
      report_.blobs.push_back(blob);
      return true;
    });
  }

  // Moves what has the name of a digest that is not in `kept` into the trash, if `may` says so.
  // Other names are not the store's, so what they stand for is not garbage.
  Result<> SweepDirectory(int dir, const std::set<std::string>& kept,
                          const std::function<Result<bool>(const Digest&)>& may) {
    STRATA_TRY_ASSIGN(const std::vector<std::string> names, root_.NamesOf(dir));
    for (const std::string& name : names) {
      const auto digest = Digest::FromHex(name);
      if (!digest || kept.contains(digest->ToString())) continue;
      STRATA_TRY_ASSIGN(const bool take, may(*digest));
      if (!take) continue;
      if (dry_run_) continue;
      STRATA_TRY_ASSIGN(std::string trashed, root_.MoveToTrash(dir, name));
      if (!trashed.empty()) trash_.push_back(std::move(trashed));
    }
    return {};
  }

  StoreRoot& root_;
  Connection& connection_;
  const std::set<std::string>& chains_below_;
  const bool dry_run_;
  PruneReport& report_;
  std::vector<std::string>& trash_;
  FreedRoom freed_;
};

Result<std::set<std::string>> ChainsBelow(const Store& store) {
  std::set<std::string> chains;
  for (Store* const lower : store.below()) {
    STRATA_TRY_ASSIGN(const auto images, lower->images().List());
    for (const Image& image : images) {
      if (!image.diff_ids.empty()) chains.insert(ChainId(image.diff_ids).ToString());
    }
  }
  return chains;
}

// Whatever `before` does and the sweep after it are one transaction.
Result<PruneReport> Run(Store& store, bool dry_run,
                        const std::function<Result<>(Connection&, PruneReport&)>& before) {
  StoreRoot& root = store.store_root();
  STRATA_TRY(root.staging());
  // What is being deleted is neither counted nor has links any more.
  root.WaitForTrash();
  STRATA_TRY(store.SettleObjectRoom());
  STRATA_TRY_ASSIGN(const auto chains, ChainsBelow(store));
  PruneReport report;
  std::vector<std::string> trash;
  bool done = false;
  auto swept = store.database()->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY(before(connection, report));
    STRATA_TRY(Sweep(root, connection, chains, dry_run, report, trash).Run());
    done = true;
    if (dry_run) return Fail(ECANCELED, "dry run");  // undoes what was done to find out
    return {};
  });
  // Even after a failure: what is in the trash is out of the store.
  for (const std::string& name : trash) STRATA_TRY(root.EmptyTrash(name));
  if (!swept && !(dry_run && done)) return std::unexpected(std::move(swept).error());
  return report;
}

}  // namespace

Result<PruneReport> Collect(Store& store, bool dry_run) {
  return Run(store, dry_run, [](Connection&, PruneReport&) -> Result<> { return {}; });
}

Result<PruneReport> Prune(Store& store, const PruneOptions& options) {
  return Run(store, options.dry_run, [&](Connection& connection, PruneReport& report) -> Result<> {
    std::unique_ptr<LiveRoom> room;
    if (options.images.keep_bytes) {
      STRATA_TRY_ASSIGN(room, LiveRoom::Read(connection, store.store_root()));
    }
    STRATA_TRY_ASSIGN(ImageRemoval removal,
                      ImageStore::RemoveUnused(connection, options.images, room.get()));
    report.untagged = std::move(removal.untagged);
    report.images = std::move(removal.deleted);
    return {};
  });
}

}  // namespace strata::layerstore
