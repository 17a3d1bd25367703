#include "tests/support/chain_index.h"

#include <functional>
#include <memory>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/chain_merge.h"
#include "layerstore/index/index_writer.h"
#include "layerstore/index/metadata_index.h"

namespace strata::support {
namespace {

using layerstore::ChainMerge;
using layerstore::IndexFile;
using layerstore::MetadataIndex;

// Mapped, it no longer needs its name.
Result<std::shared_ptr<const MetadataIndex>> Make(
    const std::string& dir, const char* name,
    const std::function<Result<>(const IndexFile&)>& write, bool keep) {
  FileOps& files = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd scratch,
                    files.Open(AT_FDCWD, dir.c_str(), O_RDONLY | O_DIRECTORY));
  {
    STRATA_TRY_ASSIGN(const UniqueFd file,
                      files.Open(scratch.get(), name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    STRATA_TRY(write({file.get(), scratch.get()}));
  }
  auto index = MetadataIndex::Open(files, scratch.get(), name);
  if (!keep) STRATA_TRY(files.Unlink(scratch.get(), name));
  return index;
}

}  // namespace

Result<> WriteLayerIndex(const std::string& layer, const std::string& dir, const char* name,
                         const layerstore::ScanHints& hints, bool user_marks) {
  FileOps& files = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd root,
                    files.Open(AT_FDCWD, layer.c_str(), O_RDONLY | O_DIRECTORY));
  const auto scan = [&](const IndexFile& to) {
    return layerstore::ScanLayer(files, root.get(), "fs", user_marks, to, hints);
  };
  STRATA_TRY(Make(dir, name, scan, true));
  return {};
}

Result<> WriteChainIndex(const std::vector<std::string>& layers, const std::string& chain,
                         std::size_t base, const layerstore::ScanHints& hints, bool user_marks) {
  FileOps& files = FileOps::System();
  ChainMerge merge;
  const auto finish = [&](const IndexFile& to) { return merge.Finish(files, to); };
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string& layer = layers[layers.size() - 1 - i];
    STRATA_TRY(WriteLayerIndex(layer, chain, "layer", hints, user_marks));
    const std::string made = JoinPath(chain, "layer");
    STRATA_TRY_ASSIGN(auto index, MetadataIndex::Open(files, AT_FDCWD, made.c_str()));
    STRATA_TRY(files.Unlink(AT_FDCWD, made.c_str()));
    STRATA_TRY(merge.Add(std::move(index), layer));
    if (i + 1 != base) continue;
    STRATA_TRY_ASSIGN(auto below, Make(chain, "base", finish, false));
    merge = {};
    STRATA_TRY(merge.StartWith(std::move(below)));
  }
  STRATA_TRY(Make(chain, "index", finish, true));
  return {};
}

}  // namespace strata::support
