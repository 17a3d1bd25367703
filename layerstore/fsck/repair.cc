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
    for (const auto& [diff_id, kinds] : DamagedLayers(findings))
      STRATA_TRY(MendLayer(diff_id, kinds));
    for (const Finding& finding : findings) STRATA_TRY(Mend(finding));
    if (!findings.empty()) STRATA_TRY(root_.SweepObjects());
    return std::move(steps_);
  }

 private:
  using Kinds = std::set<FindingKind>;

  static bool IsOfLayerItself(const Finding& finding) {
    return finding.layer && !Harmless(finding.kind) && finding.kind != FindingKind::kBadIndex &&
           finding.kind != FindingKind::kMissingStore && finding.kind != FindingKind::kStray;
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

  Result<> MendLayer(const Digest& diff_id, const Kinds& kinds) {
    const std::string layer = "layer " + diff_id.ToString();
    STRATA_TRY(lease_->PinLayer(diff_id));
    auto aside = root_.Quarantine(root_.layers(), diff_id.Hex());
    if (!aside && aside.error().code() != ENOENT) return std::unexpected(std::move(aside).error());
    std::vector<std::string> reasons;
    const std::string how = MakeAgain(diff_id, aside ? *aside : std::string(), reasons);
    if (!how.empty()) {
      if (aside) STRATA_TRY(DropAside(*aside));
      Mended(layer + " was " + how);
      return {};
    }
    std::string why;
    for (const std::string& reason : reasons) why += "; " + reason;
    // Without its recipe a layer is as good as before recipes were: it stays in use.
    if (aside && kinds == Kinds{FindingKind::kBadRecipe}) {
      STRATA_TRY(PutBack(*aside, diff_id));
      Left(layer + " keeps a damaged recipe, for nothing has its bytes" + why);
      return {};
    }
    Left(layer + " can not be made again" + why +
         (aside ? "; what there was of it is in " + *aside : "") +
         ". Pulling or importing an image that has it brings it back");
    return {};
  }

  // How it was made again; empty if it was not.
  std::string MakeAgain(const Digest& diff_id, const std::string& aside,
                        std::vector<std::string>& reasons) {
    if (auto blobs = store_.layers().Blobs(diff_id)) {
      for (const LayerBlob& blob : *blobs) {
        if (!store_.blobs().Has(blob.blob).value_or(false)) continue;
        auto made = store_.layers().Unpack(blob.blob, diff_id, blob.media_type, *lease_);
        if (made) return "unpacked again from blob " + blob.blob.ToString();
        reasons.push_back("blob " + blob.blob.ToString() + ": " + made.error().ToString());
      }
    }
    if (!aside.empty()) {
      auto made = MakeFromItself(diff_id, aside);
      if (made) return "made again from its own files";
      reasons.push_back("its own files: " + made.error().ToString());
    }
    if (options_.fetch) {
      auto fetched = options_.fetch(diff_id);
      if (fetched) return "fetched again";
      reasons.push_back("elsewhere: " + fetched.error().ToString());
    }
    return {};
  }

  Result<> MakeFromItself(const Digest& diff_id, const std::string& aside) {
    STRATA_TRY_ASSIGN(const UniqueFd dir,
                      root_.ops().Open(AT_FDCWD, JoinPath(root_.path(), aside).c_str(),
                                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    LayerIngest ingest;
    ingest.diff_id = diff_id;
    ingest.keep_blob = false;
    ingest.limits = UnpackLimits::None();
    STRATA_TRY_ASSIGN(const auto sink, store_.layers().Begin(std::move(ingest), *lease_));
    if (!sink) return {};  // another process was faster
    STRATA_TRY(LayerTar::Write(root_.ops(), dir.get(),
                               [&](std::string_view bytes) { return sink->Write(bytes); }));
    STRATA_TRY(sink->Commit());
    return {};
  }

  // The layer is in place again, so this is no only copy.
  Result<> DropAside(const std::string& aside) {
    STRATA_TRY_ASSIGN(const UniqueFd quarantine, OpenQuarantine());
    return root_.Discard(quarantine.get(), std::string(BaseName(aside)));
  }

  Result<> PutBack(const std::string& aside, const Digest& diff_id) {
    STRATA_TRY_ASSIGN(const UniqueFd quarantine, OpenQuarantine());
    STRATA_TRY(root_.ops().Rename(quarantine.get(), std::string(BaseName(aside)).c_str(),
                                  root_.layers(), diff_id.Hex().c_str(), RENAME_NOREPLACE));
    return root_.ops().Sync(root_.layers());
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
