#include "layerstore/chain/chain_store.h"

#include <algorithm>
#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/chain/layer_index.h"
#include "layerstore/index/chain_merge.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/index/marks.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivate = 0700;
constexpr mode_t kIndexMode = 0600;
constexpr int kAttempts = 3;

// Why an index of `root` is made again. Its absence is nothing to tell; nor is that one of other
// directories lies where it can not be replaced, as in every store that was packed into an image.
void TellWhy(const StoreRoot& root, const char* what, const Digest& id, const Error& error) {
  if (error.code() == ENOENT || (root.read_only() && error.code() == ESTALE)) return;
  log::Warn("store: an index is made again",
            {{"of", what}, {"id", id.ToString()}, {"error", error.ToString()}});
}

Result<UniqueFd> CreateIndex(FileOps& ops, int dir, const std::string& name) {
  return ops.Open(dir, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, kIndexMode);
}

// NFS has no trusted.*: a directory that hides what is below would show it again.
Result<> CheckShowsMarks(FileOps& ops, int fs, bool user_marks) {
  const std::string mark = OverlayXattrs(user_marks).Opaque();
  const auto value = ops.GetXattr(fs, mark.c_str());
  if (value || value.error().code() != EOPNOTSUPP) return {};
  return Fail(ENOTSUP, "index",
              "it is missing or of another directory, and can not be made here, where the "
              "filesystem does not show " +
                  mark + "; it can where the store is written");
}

}  // namespace

Result<std::vector<ChainStore::Layer>> ChainStore::Locate(std::span<const Digest> diff_ids) const {
  std::vector<Layer> chain;
  chain.reserve(diff_ids.size());
  for (const Digest& diff_id : diff_ids) {
    STRATA_TRY_ASSIGN(const StoreRoot* root, layers_.root_of(diff_id));
    chain.push_back({diff_id, root});
  }
  return chain;
}

// The layers of one index are named in one way: relative paths let a store be moved.
ChainStore::Paths ChainStore::PathsIn(const StoreRoot& home, Chain chain) {
  const auto is_home = [&](const Layer& layer) { return layer.root == &home; };
  return std::ranges::all_of(chain, is_home) ? Paths::kFromIndex : Paths::kAbsolute;
}

std::string ChainStore::PathOf(const Layer& layer, Paths paths) {
  return (paths == Paths::kFromIndex ? "../../.." : layer.root->path()) + "/layers/sha256/" +
         layer.diff_id.Hex() + "/fs";
}

Result<> ChainStore::CheckLayers(const MetadataIndex& index, Chain chain,
                                 const std::vector<std::string>& paths) {
  const auto layers = index.layers();
  if (layers.size() != chain.size()) return Fail(ESTALE, "index", "other layers");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].path != paths[i]) return Fail(ESTALE, "index", "other layers");
    const StoreRoot& root = *chain[i].root;
    const std::string fs = chain[i].diff_id.Hex() + "/fs";
    STRATA_TRY_ASSIGN(const struct stat st, root.ops().StatAt(root.layers(), fs.c_str()));
    if (LayerProof::Of(st) != layers[i].proof) {
      return Fail(ESTALE, "index", "layer " + chain[i].diff_id.ToString() + " was changed");
    }
  }
  return {};
}

Result<> ChainStore::VerifyOnce(const MetadataIndex& index, const struct stat& status) {
  const Checked file{status.st_dev, status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
  {
    MutexLock lock(mu_);
    if (checked_.contains(file)) return {};
  }
  STRATA_TRY(index.Verify());
  MutexLock lock(mu_);
  checked_.insert(file);
  return {};
}

Result<ChainStore::IndexRef> ChainStore::OpenChain(const StoreRoot& home, const Digest& chain_id,
                                                   Chain chain, Paths style) {
  if (home.chains() < 0) return Fail(ENOENT, "index", "the store has no chains");
  const std::string name = chain_id.Hex() + "/index";
  STRATA_TRY_ASSIGN(const struct stat status, home.ops().StatAt(home.chains(), name.c_str()));
  STRATA_TRY_ASSIGN(IndexRef index, MetadataIndex::Open(home.ops(), home.chains(), name.c_str()));
  if (index->kind() != MetadataIndex::Kind::kChain) return Fail(EBADMSG, "index", "not a chain's");
  std::vector<std::string> paths;
  for (const Layer& layer : chain) paths.push_back(PathOf(layer, style));
  STRATA_TRY(CheckLayers(*index, chain, paths));
  STRATA_TRY(VerifyOnce(*index, status));
  return index;
}

Result<ChainStore::IndexRef> ChainStore::OpenLayer(const Layer& layer) {
  return OpenLayerIndex(layer, layer.root->layers(), layer.diff_id.Hex() + "/index");
}

Result<ChainStore::IndexRef> ChainStore::OpenLayerIndex(const Layer& layer, int dir,
                                                        const std::string& name) {
  FileOps& ops = layer.root->ops();
  STRATA_TRY_ASSIGN(const struct stat status, ops.StatAt(dir, name.c_str()));
  STRATA_TRY_ASSIGN(IndexRef index, MetadataIndex::Open(ops, dir, name.c_str()));
  if (index->kind() != MetadataIndex::Kind::kLayer) return Fail(EBADMSG, "index", "not a layer's");
  STRATA_TRY(CheckLayers(*index, {&layer, 1}, {"fs"}));
  STRATA_TRY(VerifyOnce(*index, status));
  return index;
}

// That of this process is the last guess: a layer has the marks of who unpacked it, whoever looks.
bool ChainStore::HasUserMarks(const Layer& layer) {
  if (const auto recorded = layers_.user_marks(layer.diff_id)) return *recorded;
  const std::string before = layer.diff_id.Hex() + "/index";
  return MetadataIndex::MarksOf(layer.root->ops(), layer.root->layers(), before.c_str())
      .value_or(UserMarks());
}

Result<> ChainStore::ScanInto(const IndexFile& to, const Layer& layer) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  FileOps& ops = layer.root->ops();
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.Open(layer.root->layers(), layer.diff_id.Hex().c_str(), kFlags));
  STRATA_TRY_ASSIGN(const UniqueFd fs, ops.Open(dir.get(), "fs", kFlags));
  const bool user_marks = HasUserMarks(layer);
  STRATA_TRY(CheckShowsMarks(ops, fs.get(), user_marks));
  ScanHints hints;
  STRATA_TRY_ASSIGN(hints.will_share, SharesFiles(ops, dir.get()));
  return ScanLayer(ops, fs.get(), "fs", user_marks, to, hints);
}

Result<ChainStore::IndexRef> ChainStore::OpenOrMakeLayer(StoreRoot& home, const Layer& layer) {
  auto index = OpenLayer(layer);
  if (index) return index;
  TellWhy(*layer.root, "layer", layer.diff_id, index.error());
  const auto scan = [&](const IndexFile& to) { return ScanInto(to, layer); };
  if (layer.root == &home) {
    STRATA_TRY(Publish(home, home.layers(), layer.diff_id.Hex(), scan));
    return OpenLayer(layer);
  }
  // Only for the chain that is being made: what is mapped needs no name.
  STRATA_TRY_ASSIGN(const int staging, home.staging());
  const StagedName staged = home.NewStaged("index-");
  STRATA_TRY_ASSIGN(const UniqueFd file, CreateIndex(home.ops(), staging, staged.name()));
  STRATA_TRY(scan({file.get(), staging}));
  return OpenLayerIndex(layer, staging, staged.name());
}

Result<std::vector<ChainStore::IndexRef>> ChainStore::LayerIndexes(
    std::span<const Digest> diff_ids) {
  STRATA_TRY_ASSIGN(const std::vector<Layer> layers, Locate(diff_ids));
  STRATA_TRY_ASSIGN(StoreRoot* const home, root_.Scratch());
  std::vector<IndexRef> indexes;
  for (const Layer& layer : layers) {
    auto index = OpenOrMakeLayer(*home, layer);
    if (!index) {
      return std::unexpected(
          std::move(index).error().WithContext("layer " + layer.diff_id.ToString()));
    }
    indexes.push_back(*std::move(index));
  }
  return indexes;
}

Result<> ChainStore::Publish(StoreRoot& home, int dir, const std::string& name,
                             const std::function<Result<>(const IndexFile&)>& write) {
  FileOps& ops = home.ops();
  STRATA_TRY_ASSIGN(const int staging, home.staging());
  StagedName staged = home.NewStaged("index-");
  STRATA_TRY_ASSIGN(const UniqueFd file, CreateIndex(ops, staging, staged.name()));
  STRATA_TRY(write({file.get(), staging}));
  STRATA_TRY_ASSIGN(const UniqueFd target,
                    ops.Open(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return home.PublishFile(file.get(), staged, target.get(), "index");
}

Result<ChainMerge> ChainStore::Merge(StoreRoot& home, Chain chain,
                                     std::span<const Digest> chain_ids) {
  const Paths style = PathsIn(home, chain);
  ChainMerge merge;
  std::size_t done = chain.size() - 1;
  for (; done > 0; --done) {
    auto start = OpenChain(home, chain_ids[done - 1], chain.first(done), style);
    if (!start) continue;
    STRATA_TRY(merge.StartWith(std::move(*start)));
    break;
  }
  for (; done < chain.size(); ++done) {
    const Layer& layer = chain[done];
    STRATA_TRY_ASSIGN(IndexRef index, OpenOrMakeLayer(home, layer));
    STRATA_TRY(merge.Add(std::move(index), PathOf(layer, style)));
  }
  return merge;
}

Result<std::string> ChainStore::Ensure(std::span<const Digest> diff_ids) {
  if (diff_ids.empty()) return Fail(EINVAL, "chain", "no layers");
  STRATA_TRY_ASSIGN(const std::vector<Layer> chain, Locate(diff_ids));
  const std::vector<Digest> chain_ids = ChainIds(diff_ids);
  const Digest& chain_id = chain_ids.back();
  const std::string name = chain_id.Hex();
  const auto path_in = [&](const StoreRoot& root) {
    return root.path() + "/chains/sha256/" + name;
  };
  // The only store that has a part in it may have the index, too, whether this process may write
  // there or not.
  const StoreRoot& first = *chain.front().root;
  if (first.read_only() && PathsIn(first, chain) == Paths::kFromIndex) {
    const auto there = OpenChain(first, chain_id, chain, Paths::kFromIndex);
    if (there) return path_in(first);
    TellWhy(first, "chain", chain_id, there.error());
  }
  STRATA_TRY_ASSIGN(StoreRoot* const home, root_.Scratch());
  // A collection may take a directory away between any two steps.
  for (int attempt = 0;; ++attempt) {
    const auto index = OpenChain(*home, chain_id, chain, PathsIn(*home, chain));
    if (index) return path_in(*home);
    if (attempt == kAttempts) return Fail(index.error().code(), "chain", index.error().ToString());
    TellWhy(*home, "chain", chain_id, index.error());
    STRATA_TRY_ASSIGN(const ChainMerge merge, Merge(*home, chain, chain_ids));
    auto made = home->ops().MakeDir(home->chains(), name.c_str(), kPrivate);
    if (made) made = home->ops().Sync(home->chains());
    if (!made && made.error().code() != EEXIST) return std::unexpected(std::move(made).error());
    auto published = Publish(*home, home->chains(), name,
                             [&](const IndexFile& to) { return merge.Finish(home->ops(), to); });
    if (!published && published.error().code() != ENOENT) {
      return std::unexpected(std::move(published).error());
    }
  }
}

}  // namespace strata::layerstore
