#include "layerstore/chain/chain_store.h"

#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/chain/layer_index.h"
#include "layerstore/index/chain_merge.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivate = 0700;
constexpr mode_t kIndexMode = 0600;
constexpr int kAttempts = 3;

// From a chain's directory.
std::string PathFromChain(const Digest& diff_id) {
  return "../../../layers/sha256/" + diff_id.Hex() + "/fs";
}

// Why an index is made again. Its absence is nothing to tell.
void TellWhy(const char* what, const Digest& id, const Error& error) {
  if (error.code() == ENOENT) return;
  log::Warn("store: an index is made again",
            {{"of", what}, {"id", id.ToString()}, {"error", error.ToString()}});
}

}  // namespace

Result<> ChainStore::CheckLayers(const MetadataIndex& index, std::span<const Digest> diff_ids,
                                 const std::vector<std::string>& paths) {
  const auto layers = index.layers();
  if (layers.size() != diff_ids.size()) return Fail(ESTALE, "index", "other layers");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].path != paths[i]) return Fail(ESTALE, "index", "other layers");
    const std::string fs = diff_ids[i].Hex() + "/fs";
    STRATA_TRY_ASSIGN(const struct stat st, root_.ops().StatAt(root_.layers(), fs.c_str()));
    if (LayerProof::Of(st) != layers[i].proof) {
      return Fail(ESTALE, "index", "layer " + diff_ids[i].ToString() + " was changed");
    }
  }
  return {};
}

Result<> ChainStore::VerifyOnce(const MetadataIndex& index, const struct stat& status) {
  const Checked file{status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
  {
    MutexLock lock(mu_);
    if (checked_.contains(file)) return {};
  }
  STRATA_TRY(index.Verify());
  MutexLock lock(mu_);
  checked_.insert(file);
  return {};
}

Result<ChainStore::IndexRef> ChainStore::OpenChain(const Digest& chain_id,
                                                   std::span<const Digest> diff_ids) {
  const std::string name = chain_id.Hex() + "/index";
  STRATA_TRY_ASSIGN(const struct stat status, root_.ops().StatAt(root_.chains(), name.c_str()));
  STRATA_TRY_ASSIGN(IndexRef index, MetadataIndex::Open(root_.ops(), root_.chains(), name.c_str()));
  if (index->kind() != MetadataIndex::Kind::kChain) return Fail(EBADMSG, "index", "not a chain's");
  std::vector<std::string> paths;
  for (const Digest& diff_id : diff_ids) paths.push_back(PathFromChain(diff_id));
  STRATA_TRY(CheckLayers(*index, diff_ids, paths));
  STRATA_TRY(VerifyOnce(*index, status));
  return index;
}

Result<ChainStore::IndexRef> ChainStore::OpenLayer(const Digest& diff_id) {
  const std::string name = diff_id.Hex() + "/index";
  STRATA_TRY_ASSIGN(const struct stat status, root_.ops().StatAt(root_.layers(), name.c_str()));
  STRATA_TRY_ASSIGN(IndexRef index, MetadataIndex::Open(root_.ops(), root_.layers(), name.c_str()));
  if (index->kind() != MetadataIndex::Kind::kLayer) return Fail(EBADMSG, "index", "not a layer's");
  STRATA_TRY(CheckLayers(*index, {&diff_id, 1}, {"fs"}));
  STRATA_TRY(VerifyOnce(*index, status));
  return index;
}

// That of this process is the last guess: a layer has the marks of who unpacked it, whoever looks.
bool ChainStore::HasUserMarks(const Digest& diff_id) {
  if (const auto recorded = marks_(diff_id)) return *recorded;
  const std::string before = diff_id.Hex() + "/index";
  return MetadataIndex::MarksOf(root_.ops(), root_.layers(), before.c_str()).value_or(UserMarks());
}

Result<ChainStore::IndexRef> ChainStore::OpenOrMakeLayer(const Digest& diff_id) {
  auto index = OpenLayer(diff_id);
  if (index) return index;
  TellWhy("layer", diff_id, index.error());
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  FileOps& ops = root_.ops();
  STRATA_TRY_ASSIGN(const UniqueFd layer, ops.Open(root_.layers(), diff_id.Hex().c_str(), kFlags));
  STRATA_TRY_ASSIGN(const UniqueFd fs, ops.Open(layer.get(), "fs", kFlags));
  ScanHints hints;
  STRATA_TRY_ASSIGN(hints.will_share, SharesFiles(ops, layer.get()));
  STRATA_TRY(Publish(root_.layers(), diff_id.Hex(), [&](const IndexFile& to) {
    return ScanLayer(ops, fs.get(), "fs", HasUserMarks(diff_id), to, hints);
  }));
  return OpenLayer(diff_id);
}

Result<std::vector<ChainStore::IndexRef>> ChainStore::LayerIndexes(
    std::span<const Digest> diff_ids) {
  std::vector<IndexRef> indexes;
  for (const Digest& diff_id : diff_ids) {
    auto index = OpenOrMakeLayer(diff_id);
    if (!index) {
      return std::unexpected(std::move(index).error().WithContext("layer " + diff_id.ToString()));
    }
    indexes.push_back(*std::move(index));
  }
  return indexes;
}

Result<> ChainStore::Publish(int dir, const std::string& name,
                             const std::function<Result<>(const IndexFile&)>& write) {
  FileOps& ops = root_.ops();
  STRATA_TRY_ASSIGN(const int staging, root_.staging());
  StagedName staged = root_.NewStaged("index-");
  STRATA_TRY_ASSIGN(const UniqueFd file,
                    ops.Open(staging, staged.c_str(), O_WRONLY | O_CREAT | O_EXCL, kIndexMode));
  STRATA_TRY(write({file.get(), staging}));
  STRATA_TRY_ASSIGN(const UniqueFd target,
                    ops.Open(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return root_.PublishFile(file.get(), staged, target.get(), "index");
}

Result<ChainMerge> ChainStore::Merge(std::span<const Digest> diff_ids,
                                     std::span<const Digest> chain_ids) {
  ChainMerge merge;
  std::size_t done = diff_ids.size() - 1;
  for (; done > 0; --done) {
    auto start = OpenChain(chain_ids[done - 1], diff_ids.first(done));
    if (!start) continue;
    STRATA_TRY(merge.StartWith(std::move(*start)));
    break;
  }
  for (; done < diff_ids.size(); ++done) {
    STRATA_TRY_ASSIGN(IndexRef layer, OpenOrMakeLayer(diff_ids[done]));
    STRATA_TRY(merge.Add(std::move(layer), PathFromChain(diff_ids[done])));
  }
  return merge;
}

Result<std::string> ChainStore::Ensure(std::span<const Digest> diff_ids) {
  if (diff_ids.empty()) return Fail(EINVAL, "chain", "no layers");
  const std::vector<Digest> chain_ids = ChainIds(diff_ids);
  const Digest& chain_id = chain_ids.back();
  const std::string name = chain_id.Hex();
  // A collection may take a directory away between any two steps.
  for (int attempt = 0;; ++attempt) {
    const auto index = OpenChain(chain_id, diff_ids);
    if (index) return root_.path() + "/chains/sha256/" + name;
    if (attempt == kAttempts) return Fail(index.error().code(), "chain", index.error().ToString());
    TellWhy("chain", chain_id, index.error());
    STRATA_TRY(root_.staging());
    STRATA_TRY_ASSIGN(const ChainMerge merge, Merge(diff_ids, chain_ids));
    auto made = root_.ops().MakeDir(root_.chains(), name.c_str(), kPrivate);
    if (made) made = root_.ops().Sync(root_.chains());
    if (!made && made.error().code() != EEXIST) return std::unexpected(std::move(made).error());
    auto published = Publish(root_.chains(), name,
                             [&](const IndexFile& to) { return merge.Finish(root_.ops(), to); });
    if (!published && published.error().code() != ENOENT) {
      return std::unexpected(std::move(published).error());
    }
  }
}

}  // namespace strata::layerstore
