#include "layerstore/fsck/checker.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "base/mutex.h"
#include "base/parallel.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/fsck/layer_check.h"
#include "layerstore/fsck/layers_below.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

using Depth = CheckOptions::Depth;

constexpr std::size_t kReadBytes = std::size_t{256} * 1024;
constexpr auto kCollectionTime = std::chrono::seconds(1);
// They mostly wait for the disk.
constexpr std::size_t kThreads = 4;

// Of an index that is there and of this version; it is made again whenever it is not.
Result<> CheckIndexFile(FileOps& ops, int dir, const std::string& name, Depth depth) {
  auto index = MetadataIndex::Open(ops, dir, name.c_str());
  if (index) return depth == Depth::kDeep ? (*index)->Verify() : Result<>();
  const int code = index.error().code();
  if (code == ENOENT || code == EPROTONOSUPPORT) return {};
  return std::unexpected(std::move(index).error());
}

// A collection moves things away before its transaction ends and their rows are gone. Returns when
// one that runs now has ended.
Result<> WaitForCollection(Store& store) {
  if (store.store_root().read_only()) {
    // Nobody can be asked to wait for; it takes a second for tens of thousands of layers.
    std::this_thread::sleep_for(kCollectionTime);
    return {};
  }
  return store.database()->Write([](Connection&) -> Result<> { return {}; });
}

// Looks at rows, and at the files that they are about, while no collection runs; so far as this
// process may keep one waiting.
Result<> LookAgain(Store& store, const std::function<Result<>(Connection&)>& look) {
  return store.store_root().read_only() ? store.database()->Read(look)
                                        : store.database()->Write(look);
}

Result<bool> HasRow(Connection& connection, const Digest& diff_id) {
  STRATA_TRY_ASSIGN(Statement layer, connection.Prepare("SELECT 1 FROM layers WHERE diff_id=?1"));
  layer.Bind(1, diff_id.ToString());
  return layer.Step();
}

// What a layer takes is noted by all programs that write recipes.
Result<bool> CameWithRecipe(Store& store, const Digest& diff_id) {
  bool came = false;
  STRATA_TRY(store.database()->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(
        Statement layer,
        connection.Prepare("SELECT 1 FROM layers WHERE diff_id=?1 AND disk IS NOT NULL"));
    layer.Bind(1, diff_id.ToString());
    STRATA_TRY_ASSIGN(came, layer.Step());
    return {};
  }));
  return came;
}

Result<> CheckLayerNow(Store& store, const Digest& diff_id, const CheckOptions& options,
                       const FindingSink& found) {
  StoreRoot& root = store.store_root();
  auto dir =
      root.ops().Open(root.layers(), diff_id.Hex().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) {
    if (IsOurs(dir.error().code())) return std::unexpected(std::move(dir).error());
    found({FindingKind::kMissingLayer, diff_id, std::nullopt, "", dir.error().ToString()});
    return {};
  }
  const bool deep = options.depth == Depth::kDeep;
  auto index = CheckIndexFile(root.ops(), dir->get(), "index", options.depth);
  if (!index && IsOurs(index.error().code())) return index;
  if (!index) {
    found({FindingKind::kBadIndex, diff_id, std::nullopt, "", index.error().ToString()});
  }
  if (options.depth == Depth::kQuick) return {};
  STRATA_TRY_ASSIGN(const struct stat owner, root.ops().Stat(root.layers()));
  LayerCheckOptions layer_options;
  layer_options.contents = deep;
  layer_options.privileged = owner.st_uid == 0;
  layer_options.pace = options.pace;
  STRATA_TRY_ASSIGN(layer_options.needs_recipe, CameWithRecipe(store, diff_id));
  return CheckLayerDirectory(root.ops(), dir->get(), diff_id, layer_options, found);
}

// What tells a layer's directory from another in its place; nothing if there is none.
using Identity = std::optional<std::pair<dev_t, ino_t>>;

Identity IdentityOf(Store& store, const Digest& diff_id) {
  const StoreRoot& root = store.store_root();
  const auto st = root.ops().StatAt(root.layers(), diff_id.Hex().c_str());
  return st ? Identity({st->st_dev, st->st_ino}) : Identity();
}

// A layer as it was when it was checked.
struct Suspect {
  Digest diff_id;
  Identity directory;
  std::vector<Finding> findings;
};

Result<Suspect> CheckOnce(Store& store, const Digest& diff_id, const CheckOptions& options) {
  Suspect suspect{diff_id, IdentityOf(store, diff_id), {}};
  STRATA_TRY(CheckLayerNow(store, diff_id, options, [&](Finding finding) {
    suspect.findings.push_back(std::move(finding));
  }));
  return suspect;
}

enum class Verdict : std::uint8_t {
  kStands,
  kRemoved,   // the layer is no longer there
  kReplaced,  // it was removed and came again
};

// After WaitForCollection().
Result<Verdict> Judge(Store& store, const Suspect& suspect) {
  Verdict verdict = Verdict::kStands;
  STRATA_TRY(LookAgain(store, [&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(const bool row, HasRow(connection, suspect.diff_id));
    if (!row) {
      verdict = Verdict::kRemoved;
    } else if (IdentityOf(store, suspect.diff_id) != suspect.directory) {
      verdict = Verdict::kReplaced;
    }
    return {};
  }));
  return verdict;
}

struct BlobRow {
  Digest blob;
  std::uint64_t size = 0;
  std::optional<bool> kept;
};

class StoreCheck {
 public:
  StoreCheck(Store& store, const CheckOptions& options, const FindingSink& found)
      : store_(store), root_(store.store_root()), options_(options), found_(found) {}

  Result<CheckSummary> Run() {
    STRATA_TRY(CheckRoot());
    STRATA_TRY_ASSIGN(const bool sound, CheckDatabase());
    if (!sound) return summary_;
    STRATA_TRY(CheckNeeded());
    STRATA_TRY(ReadRows());
    for (const char* directory : {"layers", "blobs", "chains"}) STRATA_TRY(CheckTop(directory));
    STRATA_TRY(CheckLayers());
    STRATA_TRY(CheckBlobs());
    STRATA_TRY(CheckChains());
    STRATA_TRY(CheckObjects());
    STRATA_TRY(CheckQuarantine());
    return summary_;
  }

 private:
  void Find(FindingKind kind, std::string path, std::string detail) {
    found_({kind, std::nullopt, std::nullopt, std::move(path), std::move(detail)});
  }

  Result<> CheckRoot() {
    STRATA_TRY_ASSIGN(const struct stat st, root_.ops().StatAt(AT_FDCWD, root_.path().c_str(), 0));
    if ((st.st_mode & 0077U) != 0) {
      Find(FindingKind::kOpenRoot, "", "others than its owner may enter " + root_.path());
    }
    return {};
  }

  // Whether rows can be read at all.
  Result<bool> CheckDatabase() {
    bool sound = true;
    auto read = store_.database()->Read([&](Connection& connection) -> Result<> {
      STRATA_TRY(EachText(connection, "PRAGMA integrity_check(20)", [&](std::string text) {
        if (text == "ok") return;
        sound = false;
        Find(FindingKind::kBadDatabase, "meta.db", std::move(text));
      }));
      if (!sound) return {};
      STRATA_TRY(EachText(connection, "SELECT \"table\" FROM pragma_foreign_key_check",
                          [&](const std::string& table) {
                            Find(FindingKind::kDanglingRow, "meta.db",
                                 "a row of '" + table + "' refers to one that is not there");
                          }));
      return CheckImages(connection);
    });
    if (read) return sound;
    if (IsOurs(read.error().code())) return std::unexpected(std::move(read).error());
    Find(FindingKind::kBadDatabase, "meta.db", read.error().ToString());
    return false;
  }

  static Result<> EachText(Connection& connection, const char* sql,
                           const std::function<void(std::string)>& each) {
    STRATA_TRY_ASSIGN(Statement statement, connection.Prepare(sql));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, statement.Step());
      if (!row) return {};
      each(statement.Text(0));
    }
  }

  // What lists the images of several platforms.
  Result<> CheckIndexes(Connection& connection) {
    STRATA_TRY_ASSIGN(Statement indexes, connection.Prepare("SELECT digest, json FROM indexes"));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, indexes.Step());
      if (!row) return {};
      const std::string digest = indexes.Text(0);
      if (Digest::Of(indexes.Text(1)).ToString() == digest) continue;
      Find(FindingKind::kBadConfig, "meta.db", "the index " + digest);
    }
  }

  Result<> CheckImages(Connection& connection) {
    STRATA_TRY_ASSIGN(
        Statement images,
        connection.Prepare("SELECT id, config, manifest, manifest_digest FROM images"));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, images.Step());
      if (!row) break;
      ++summary_.images;
      const std::string id = images.Text(0);
      if (Digest::Of(images.Text(1)).ToString() != id) {
        Find(FindingKind::kBadConfig, "meta.db", "the configuration of image " + id);
      }
      if (Digest::Of(images.Text(2)).ToString() != images.Text(3)) {
        Find(FindingKind::kBadConfig, "meta.db", "the manifest of image " + id);
      }
    }
    STRATA_TRY(CheckIndexes(connection));
    STRATA_TRY(ReadNeeded(connection));
    return EachText(connection,
                    "SELECT blob || ' of layer ' || diff_id FROM layer_blobs WHERE diff_id NOT IN "
                    "(SELECT diff_id FROM layers UNION SELECT diff_id FROM image_layers UNION "
                    "SELECT diff_id FROM user_layers)",
                    [&](std::string text) {
                      Find(FindingKind::kDanglingRow, "meta.db", "blob " + std::move(text));
                    });
  }

  // What is needed and not in this store.
  Result<> ReadNeeded(Connection& connection) {
    STRATA_TRY_ASSIGN(
        Statement rows,
        connection.Prepare(
            "SELECT diff_id, user, IFNULL(store, '') FROM (SELECT diff_id, 'image ' || IFNULL("
            "(SELECT name || ':' || tag || ' (' || image || ')' FROM tags WHERE tags.image="
            "image_layers.image LIMIT 1), image) AS user FROM image_layers UNION ALL SELECT "
            "diff_id, user FROM user_layers) LEFT JOIN layers_below USING (diff_id) WHERE diff_id "
            "NOT IN (SELECT diff_id FROM layers)"));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, rows.Step());
      if (!row) return {};
      STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(rows.Text(0)));
      needed_.push_back({diff_id, rows.Text(1), rows.Text(2)});
    }
  }

  Result<> CheckNeeded() {
    LayersBelow below(store_, options_.additional);
    for (const NeededLayer& layer : needed_) STRATA_TRY(below.Check(layer, found_));
    return {};
  }

  Result<> ReadRows() {
    return store_.database()->Read([&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(Statement layers, connection.Prepare("SELECT diff_id FROM layers"));
      for (;;) {
        STRATA_TRY_ASSIGN(const bool row, layers.Step());
        if (!row) break;
        STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(layers.Text(0)));
        layers_.insert(diff_id);
      }
      STRATA_TRY_ASSIGN(Statement blobs,
                        connection.Prepare("SELECT blob, size, kept FROM layer_blobs"));
      for (;;) {
        STRATA_TRY_ASSIGN(const bool row, blobs.Step());
        if (!row) return {};
        BlobRow blob;
        STRATA_TRY_ASSIGN(blob.blob, Digest::Parse(blobs.Text(0)));
        blob.size = static_cast<std::uint64_t>(blobs.Integer(1));
        if (!blobs.IsNull(2)) blob.kept = blobs.Integer(2) != 0;
        blobs_.push_back(blob);
      }
    });
  }

  // There is a directory for each algorithm, and only one algorithm.
  Result<> CheckTop(const std::string& directory) {
    auto dir = root_.ops().Open(AT_FDCWD, JoinPath(root_.path(), directory).c_str(),
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir && dir.error().code() == ENOENT) return {};  // an earlier program's store
    if (!dir) return std::unexpected(std::move(dir).error());
    STRATA_TRY_ASSIGN(const auto names, NamesIn(root_.ops(), dir->get()));
    for (const std::string& name : names) {
      if (name == "sha256") continue;
      Find(FindingKind::kStray, JoinPath(directory, name), "it is not the store's");
    }
    return {};
  }

  // The digests that name something in one of the store's directories; the rest is strange there.
  Result<std::set<Digest>> DigestsIn(int dir, const char* where) {
    STRATA_TRY_ASSIGN(const auto names, root_.NamesOf(dir));
    std::set<Digest> digests;
    for (const std::string& name : names) {
      if (const auto digest = Digest::FromHex(name)) {
        digests.insert(*digest);
      } else {
        Find(FindingKind::kStray, where + name, "it is not the store's");
      }
    }
    return digests;
  }

  Result<> CheckLayers() {
    STRATA_TRY_ASSIGN(const auto there, DigestsIn(root_.layers(), "layers/sha256/"));
    for (const Digest& diff_id : there) {
      if (!layers_.contains(diff_id)) STRATA_TRY(CheckWithoutRow(diff_id));
    }
    if (options_.layer_done) return CheckEachLayer();
    summary_.layers = layers_.size();
    STRATA_TRY_ASSIGN(std::vector<Suspect> suspects, FindSuspects());
    if (suspects.empty()) return {};
    STRATA_TRY(WaitForCollection(store_));
    for (Suspect& suspect : suspects) {
      STRATA_TRY_ASSIGN(const Verdict verdict, Judge(store_, suspect));
      if (verdict == Verdict::kReplaced) {
        STRATA_TRY(CheckLayer(store_, suspect.diff_id, options_, found_));
      } else if (verdict == Verdict::kStands) {
        for (Finding& finding : suspect.findings) found_(std::move(finding));
      }
    }
    return {};
  }

  Result<> CheckWithoutRow(const Digest& diff_id) {
    const auto st = root_.ops().StatAt(root_.layers(), diff_id.Hex().c_str());
    if (!st || !WasRecorded(*st)) {
      found_({FindingKind::kGarbage, diff_id, std::nullopt, "", "it was never finished"});
      return {};
    }
    // It may have got the row, or lost it to a collection, since rows were read.
    bool has_row = false;
    bool is_there = false;
    STRATA_TRY(LookAgain(store_, [&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(has_row, HasRow(connection, diff_id));
      is_there = IdentityOf(store_, diff_id).has_value();
      return {};
    }));
    if (has_row || !is_there) return {};
    found_({FindingKind::kLostRow, diff_id, std::nullopt, "",
            "it is whole, but the database has lost it"});
    return {};
  }

  // In the order of their digests.
  Result<std::vector<Suspect>> FindSuspects() {
    const std::vector<Digest> layers(layers_.begin(), layers_.end());
    std::vector<Suspect> suspects;
    STRATA_TRY(InParallel(layers.size(), [&](std::size_t number) -> Result<> {
      STRATA_TRY_ASSIGN(Suspect suspect, CheckOnce(store_, layers[number], options_));
      if (suspect.findings.empty()) return {};
      const MutexLock lock(mu_);
      suspects.push_back(std::move(suspect));
      return {};
    }));
    std::ranges::sort(suspects, {}, &Suspect::diff_id);
    return suspects;
  }

  // Whoever sets the pace is asked by one thread.
  Result<> InParallel(std::size_t count, const std::function<Result<>(std::size_t)>& work) const {
    Cancellation stop;
    return ForEachInParallel(count, options_.pace ? 1 : kThreads, stop, work);
  }

  // Layer by layer, with the second look at its findings.
  Result<> CheckEachLayer() {
    for (const Digest& diff_id : layers_) {
      if (options_.after && diff_id <= *options_.after) continue;
      ++summary_.layers;
      STRATA_TRY(CheckLayer(store_, diff_id, options_, found_));
      options_.layer_done(diff_id, layers_.size());
    }
    return {};
  }

  Result<> CheckBlobs() {
    STRATA_TRY_ASSIGN(auto there, DigestsIn(root_.blobs(), "blobs/sha256/"));
    std::erase_if(blobs_, [&](const BlobRow& row) {
      const bool is_there = there.erase(row.blob) > 0;
      return !is_there && row.kept != true;
    });
    summary_.blobs = blobs_.size();
    STRATA_TRY(
        InParallel(blobs_.size(), [&](std::size_t number) { return CheckBlob(blobs_[number]); }));
    if (!missing_blobs_.empty()) STRATA_TRY(WaitForCollection(store_));
    for (const Digest& blob : missing_blobs_) {
      STRATA_TRY(LookAgain(store_, [&](Connection& connection) -> Result<> {
        STRATA_TRY_ASSIGN(Statement kept,
                          connection.Prepare("SELECT 1 FROM layer_blobs WHERE blob=?1 AND kept"));
        kept.Bind(1, blob.ToString());
        STRATA_TRY_ASSIGN(const bool row, kept.Step());
        STRATA_TRY_ASSIGN(const bool there_now, store_.blobs().HasOwn(blob));
        if (row && !there_now) found_({FindingKind::kMissingBlob, std::nullopt, blob, "", ""});
        return {};
      }));
    }
    for (const Digest& blob : there) {
      found_({FindingKind::kGarbage, std::nullopt, blob, "", "it is no layer's"});
    }
    return {};
  }

  Result<> CheckBlob(const BlobRow& row) {
    const auto find = [&](FindingKind kind, std::string detail) {
      const MutexLock lock(mu_);
      found_({kind, std::nullopt, row.blob, "", std::move(detail)});
    };
    auto fd =
        root_.ops().Open(root_.blobs(), row.blob.Hex().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!fd) {
      if (IsOurs(fd.error().code())) return std::unexpected(std::move(fd).error());
      if (fd.error().code() != ENOENT) find(FindingKind::kUnreadable, fd.error().ToString());
      const MutexLock lock(mu_);
      if (fd.error().code() == ENOENT && row.kept == true) missing_blobs_.push_back(row.blob);
      return {};
    }
    STRATA_TRY_ASSIGN(const struct stat st, root_.ops().Stat(fd->get()));
    if (static_cast<std::uint64_t>(st.st_size) != row.size) {
      find(FindingKind::kBlobSize,
           std::to_string(st.st_size) + ", expected " + std::to_string(row.size));
      return {};
    }
    if (options_.depth != Depth::kDeep) return {};
    Sha256 hash;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
    for (;;) {
      const auto got = root_.ops().Read(fd->get(), std::span(buffer.get(), kReadBytes));
      if (!got) {
        find(FindingKind::kUnreadable, got.error().ToString());
        return {};
      }
      if (*got == 0) break;
      hash.Update(std::span<const std::byte>(buffer.get(), *got));
      if (options_.pace) STRATA_TRY(options_.pace(*got));
    }
    const Digest digest = hash.Finish();
    if (digest != row.blob) find(FindingKind::kBlobDigest, "its bytes are " + digest.ToString());
    return {};
  }

  Result<> CheckChains() {
    if (root_.chains() < 0) return {};
    STRATA_TRY_ASSIGN(const auto there, DigestsIn(root_.chains(), "chains/sha256/"));
    for (const Digest& chain_id : there) {
      ++summary_.chains;
      const std::string name = chain_id.Hex() + "/index";
      auto whole = CheckIndexFile(root_.ops(), root_.chains(), name, options_.depth);
      if (whole) continue;
      if (IsOurs(whole.error().code())) return whole;
      Find(FindingKind::kBadIndex, "chains/sha256/" + name, whole.error().ToString());
    }
    return {};
  }

  // Their contents are those of the layers that have them.
  Result<> CheckObjects() {
    if (root_.objects() == nullptr || options_.depth == Depth::kQuick) return {};
    std::vector<std::string> unused;
    STRATA_TRY(
        root_.objects()->ForEach([&](const std::string& path, const struct stat& st) -> Result<> {
          if (!ObjectKey::FromPath(path) || !S_ISREG(st.st_mode)) {
            Find(FindingKind::kStray, "objects/" + path, "it is not the store's");
          } else if (!ObjectDirectory::InUse(st)) {
            unused.push_back(path);
          }
          return {};
        }));
    // They go just after the layers that had them.
    if (!unused.empty()) std::this_thread::sleep_for(kCollectionTime);
    for (const std::string& path : unused) {
      STRATA_TRY_ASSIGN(const auto still, root_.objects()->FindUnused(path));
      if (still) Find(FindingKind::kGarbage, "objects/" + path, "no layer has it");
    }
    return {};
  }

  Result<> CheckQuarantine() {
    auto dir = root_.ops().Open(AT_FDCWD, (root_.path() + "/quarantine").c_str(),
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir) return {};
    STRATA_TRY_ASSIGN(const auto names, NamesIn(root_.ops(), dir->get()));
    for (const std::string& name : names) {
      Find(FindingKind::kQuarantined, "quarantine/" + name, "a repair put it aside");
    }
    return {};
  }

  Store& store_;
  StoreRoot& root_;
  const CheckOptions& options_;
  const FindingSink& found_;
  CheckSummary summary_;
  std::vector<NeededLayer> needed_;
  std::set<Digest> layers_;
  std::vector<BlobRow> blobs_;
  std::vector<Digest> missing_blobs_;  // or taken by a collection
  Mutex mu_;                           // of what threads of InParallel() tell
};

}  // namespace

Result<> CheckLayer(Store& store, const Digest& diff_id, const CheckOptions& options,
                    const FindingSink& found) {
  constexpr int kAttempts = 10;  // of one that comes and goes all the time nothing is known
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    STRATA_TRY_ASSIGN(Suspect suspect, CheckOnce(store, diff_id, options));
    if (suspect.findings.empty()) return {};
    STRATA_TRY(WaitForCollection(store));
    STRATA_TRY_ASSIGN(const Verdict verdict, Judge(store, suspect));
    if (verdict == Verdict::kRemoved) return {};
    if (verdict == Verdict::kReplaced) continue;
    for (Finding& finding : suspect.findings) found(std::move(finding));
    return {};
  }
  return {};
}

Result<CheckSummary> CheckStore(Store& store, const CheckOptions& options,
                                const FindingSink& found) {
  return StoreCheck(store, options, found).Run();
}

}  // namespace strata::layerstore
