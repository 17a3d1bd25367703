#include "layerstore/fsck/repair.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

class StoreRepair {
 public:
  StoreRepair(Store& store, const RepairOptions& options)
      : store_(store), root_(store.store_root()), options_(options) {}

  Result<std::vector<RepairStep>> Run(const std::vector<Finding>& findings) {
    STRATA_TRY(root_.staging());
    STRATA_TRY_ASSIGN(Lease lease, store_.NewLease());
    lease_.emplace(std::move(lease));
    // Layers first: what a damaged blob still gives is not known before it was tried.
    STRATA_TRY(MendLayers(DamagedLayers(findings)));
    for (const Finding& finding : findings) STRATA_TRY(Mend(finding));
    STRATA_TRY(root_.SweepObjects());
    return std::move(steps_);
  }

 private:
  using Kinds = std::set<FindingKind>;

  static bool IsOfLayerItself(const Finding& finding) {
    return finding.layer && !Harmless(finding.kind) && finding.kind != FindingKind::kBadIndex &&
           finding.kind != FindingKind::kMissingStore && finding.kind != FindingKind::kStray &&
           finding.kind != FindingKind::kLostRow;
  }

  static std::map<Digest, Kinds> DamagedLayers(const std::vector<Finding>& findings) {
    std::map<Digest, Kinds> layers;
    for (const Finding& finding : findings) {
      if (IsOfLayerItself(finding)) layers[*finding.layer].insert(finding.kind);
    }
    return layers;
  }

  // What is gone needs no mending: another step, or another process, took it away.
  static Result<> UnlessGone(Error error) {
    if (error.code() == ENOENT) return {};
    return std::unexpected(std::move(error));
  }

  void Mended(std::string what) { steps_.push_back({true, std::move(what)}); }
  void Left(std::string what) { steps_.push_back({false, std::move(what)}); }

  struct Damage {
    Digest diff_id;
    Kinds kinds;
    bool mended = false;
    std::vector<std::string> reasons = {};  // why not

    std::string Why() const {
      std::string why;
      for (const std::string& reason : reasons) why += "; " + reason;
      return why;
    }
  };

  // One way after the other for all: where layers share a file, what mends one mends the others.
  Result<> MendLayers(std::map<Digest, Kinds> kinds) {
    std::vector<Damage> layers;
    for (auto& [diff_id, of_layer] : kinds) {
      STRATA_TRY(lease_->PinLayer(diff_id));
      layers.push_back({diff_id, std::move(of_layer)});
    }
    for (Damage& layer : layers) layer.mended = UnpackAgain(layer);
    for (Damage& layer : layers) layer.mended = layer.mended || MakeFromItself(layer);
    for (Damage& layer : layers) {
      if (!layer.mended) STRATA_TRY(GiveUp(layer));
    }
    return {};
  }

  static std::string Name(const Digest& diff_id) { return "layer " + diff_id.ToString(); }

  bool UnpackAgain(Damage& damage) {
    const Digest& diff_id = damage.diff_id;
    const auto blobs = store_.layers().Blobs(diff_id);
    if (!blobs) {
      damage.reasons.push_back(blobs.error().ToString());
      return false;
    }
    for (const LayerBlob& blob : *blobs) {
      if (!store_.blobs().Has(blob.blob).value_or(false)) continue;
      auto made = store_.layers().Unpack(blob.blob, diff_id, blob.media_type, *lease_, true);
      if (made) {
        Mended(Name(diff_id) + " was mended from blob " + blob.blob.ToString());
        return true;
      }
      damage.reasons.push_back("blob " + blob.blob.ToString() + ": " + made.error().ToString());
    }
    return false;
  }

  // Right attributes, names and links come from the recipe, contents from the files themselves.
  bool MakeFromItself(Damage& damage) {
    const Digest& diff_id = damage.diff_id;
    auto made = UnpackOwnTar(diff_id);
    if (made) {
      Mended(Name(diff_id) + " was mended from its own files");
    } else if (made.error().code() != ENOENT) {
      damage.reasons.push_back("its own files: " + made.error().ToString());
    }
    return made.has_value();
  }

  Result<> UnpackOwnTar(const Digest& diff_id) {
    STRATA_TRY_ASSIGN(const UniqueFd dir, OpenLayer(diff_id));
    LayerIngest ingest;
    ingest.diff_id = diff_id;
    ingest.keep_blob = false;
    ingest.mend = true;
    ingest.limits = UnpackLimits::None();
    STRATA_TRY_ASSIGN(const auto sink, store_.layers().Begin(std::move(ingest), *lease_));
    STRATA_TRY(LayerTar::Write(root_.ops(), dir.get(),
                               [&](std::string_view bytes) { return sink->Write(bytes); }));
    STRATA_TRY(sink->Commit());
    return {};
  }

  Result<UniqueFd> OpenLayer(const Digest& diff_id) {
    return root_.ops().Open(root_.layers(), diff_id.Hex().c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }

  // Whether all files are as they should be, so far as that can be told.
  static bool OnlyRecords(const Kinds& kinds) {
    return std::ranges::all_of(kinds, [](FindingKind kind) {
      return kind == FindingKind::kBadRecipe || kind == FindingKind::kBadObjectList;
    });
  }

  Result<> GiveUp(Damage& damage) {
    const Digest& diff_id = damage.diff_id;
    if (OnlyRecords(damage.kinds)) return KeepWithoutRecords(damage);
    auto aside = root_.Quarantine(root_.layers(), diff_id.Hex());
    if (!aside && aside.error().code() != ENOENT) return std::unexpected(std::move(aside).error());
    if (options_.fetch) {
      const auto fetched = options_.fetch(diff_id);
      if (fetched) return UseFetched(diff_id, aside ? *aside : std::string());
      damage.reasons.push_back("elsewhere: " + fetched.error().ToString());
    }
    Left(Name(diff_id) + " can not be made again" + damage.Why() +
         (aside ? "; what there was of it is in " + *aside : "") +
         ". Pulling or importing an image that has it brings it back");
    return {};
  }

  // Without its recipe a layer is as good as before recipes were: it stays in use.
  Result<> KeepWithoutRecords(const Damage& damage) {
    const Digest& diff_id = damage.diff_id;
    if (damage.kinds.contains(FindingKind::kBadObjectList)) {
      STRATA_TRY_ASSIGN(const UniqueFd dir, OpenLayer(diff_id));
      STRATA_TRY_ASSIGN(const std::string aside, root_.Quarantine(dir.get(), "objects"));
      Mended("the list of objects of " + Name(diff_id) + " was put aside as " + aside);
    }
    if (damage.kinds.contains(FindingKind::kBadRecipe)) {
      Left(Name(diff_id) + " keeps no good recipe, for nothing has its bytes" + damage.Why());
    }
    return {};
  }

  // The damaged one goes back to its place, for there may be mounts of it, and is mended from the
  // one that came; if that fails it stays aside.
  Result<> UseFetched(const Digest& diff_id, const std::string& aside) {
    if (aside.empty()) {
      Mended(Name(diff_id) + " was fetched again");
      return {};
    }
    STRATA_TRY_ASSIGN(const UniqueFd quarantine, OpenQuarantine());
    const std::string name(BaseName(aside));
    const auto exchange = [&] {
      return root_.ops().Rename(quarantine.get(), name.c_str(), root_.layers(),
                                diff_id.Hex().c_str(), RENAME_EXCHANGE);
    };
    STRATA_TRY_ASSIGN(const LayerLock lock, root_.LockLayer(diff_id));
    STRATA_TRY(exchange());
    auto mended = MendFrom(quarantine.get(), name, diff_id);
    if (mended) {
      Mended(Name(diff_id) + " was fetched again");
      return DropAside(aside);
    }
    STRATA_TRY(exchange());
    Mended(Name(diff_id) + " was fetched again; what there was of it is in " + aside);
    return {};
  }

  Result<> MendFrom(int dir, const std::string& name, const Digest& diff_id) {
    STRATA_TRY_ASSIGN(const UniqueFd fresh,
                      root_.ops().Open(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return store_.layers().Mend(fresh.get(), diff_id);
  }

  // The layer is in place again, so this is no only copy.
  Result<> DropAside(const std::string& aside) {
    STRATA_TRY_ASSIGN(const UniqueFd quarantine, OpenQuarantine());
    return root_.Discard(quarantine.get(), std::string(BaseName(aside)));
  }

  Result<UniqueFd> OpenQuarantine() {
    return root_.ops().Open(AT_FDCWD, JoinPath(root_.path(), "quarantine").c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }

  Result<> Mend(const Finding& finding) {
    switch (finding.kind) {
      case FindingKind::kMissingBlob:
        STRATA_TRY(NoLongerKept(*finding.blob));
        Mended("blob " + finding.blob->ToString() + " is no longer counted as kept");
        return {};
      case FindingKind::kBlobSize:
      case FindingKind::kBlobDigest:
        return MendBlob(*finding.blob);
      case FindingKind::kBadIndex:
        return MendIndex(finding);
      case FindingKind::kStray:
        return MendStray(finding);
      case FindingKind::kOpenRoot:
        Mended("the store is closed to others again");  // opening it for writing did that
        return {};
      case FindingKind::kLostRow:
        return MendLostRow(*finding.layer);
      case FindingKind::kMissingStore:
        Left(finding.ToString() + "; mount it, or pull or import the image again");
        return {};
      case FindingKind::kBadDatabase:
      case FindingKind::kBadConfig:
      case FindingKind::kDanglingRow:
        Left(finding.ToString() + "; rows are not mended: bring the image in again");
        return {};
      default:
        return {};
    }
  }

  Result<> NoLongerKept(const Digest& blob) {
    return store_.database()->Write([&](Connection& connection) -> Result<> {
      STRATA_TRY_ASSIGN(Statement update,
                        connection.Prepare("UPDATE layer_blobs SET kept=0 WHERE blob=?1"));
      return update.Bind(1, blob.ToString()).Run();
    });
  }

  Result<> MendBlob(const Digest& blob) {
    auto aside = root_.Quarantine(root_.blobs(), blob.Hex());
    if (!aside && aside.error().code() != ENOENT) return std::unexpected(std::move(aside).error());
    STRATA_TRY(NoLongerKept(blob));
    Mended("blob " + blob.ToString() + " was put aside" + (aside ? " as " + *aside : "") +
           "; its layer is not touched by that");
    return {};
  }

  Result<> MendIndex(const Finding& finding) {
    if (finding.layer) {
      auto dir = root_.ops().Open(root_.layers(), finding.layer->Hex().c_str(),
                                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      // It may have been put aside with its layer.
      if (!dir) return UnlessGone(std::move(dir).error());
      STRATA_TRY(root_.Discard(dir->get(), "index"));
    } else {
      STRATA_TRY(root_.Discard(root_.chains(), std::string(BaseName(DirName(finding.path)))));
    }
    Mended((finding.layer ? "the index of layer " + finding.layer->ToString() : finding.path) +
           " was removed; it is made again when it is needed");
    return {};
  }

  // An image that has it brings its row back, but which image that was nobody knows.
  Result<> MendLostRow(const Digest& diff_id) {
    if (store_.layers().FindOwn(diff_id)) return {};  // an image needed it
    auto aside = root_.Quarantine(root_.layers(), diff_id.Hex());
    if (!aside) return UnlessGone(std::move(aside).error());
    Mended(Name(diff_id) + ", which the database has lost, was put aside as " + *aside +
           ". Pulling or importing an image that has it brings it back");
    return {};
  }

  Result<> MendStray(const Finding& finding) {
    const std::string dir = finding.layer ? "layers/sha256/" + finding.layer->Hex()
                                          : std::string(DirName(finding.path));
    auto fd = root_.ops().Open(AT_FDCWD, JoinPath(root_.path(), dir).c_str(),
                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) return UnlessGone(std::move(fd).error());
    auto aside = root_.Quarantine(fd->get(), std::string(BaseName(finding.path)));
    if (!aside) return UnlessGone(std::move(aside).error());
    Mended(JoinPath(dir, ShownName(BaseName(finding.path))) + " was put aside as " + *aside);
    return {};
  }

  Store& store_;
  StoreRoot& root_;
  const RepairOptions& options_;
  std::optional<Lease> lease_;
  std::vector<RepairStep> steps_;
};

}  // namespace

Result<std::vector<RepairStep>> Repair(Store& store, const std::vector<Finding>& findings,
                                       const RepairOptions& options) {
  return StoreRepair(store, options).Run(findings);
}

}  // namespace strata::layerstore
