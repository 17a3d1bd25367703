#include "tests/support/chain_index.h"

#include <memory>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/privileges.h"
#include "base/try.h"
#include "layerstore/index/chain_merge.h"
#include "layerstore/index/metadata_index.h"

namespace strata::support {
namespace {

using layerstore::ChainMerge;
using layerstore::MetadataIndex;

// Mapped, it no longer needs its name.
Result<std::shared_ptr<const MetadataIndex>> OpenBytes(const std::string& path,
                                                       const std::string& bytes, bool keep) {
  FileOps& files = FileOps::System();
  {
    STRATA_TRY_ASSIGN(const UniqueFd file,
                      files.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    STRATA_TRY(WriteAll(files, file.get(), bytes));
  }
  auto index = MetadataIndex::Open(files, AT_FDCWD, path.c_str());
  if (!keep) STRATA_TRY(files.Unlink(AT_FDCWD, path.c_str()));
  return index;
}

}  // namespace

Result<> WriteChainIndex(const std::vector<std::string>& layers, const std::string& chain,
                         std::size_t base, const layerstore::ScanHints& hints) {
  FileOps& files = FileOps::System();
  auto merge = std::make_unique<ChainMerge>();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string& layer = layers[layers.size() - 1 - i];
    STRATA_TRY_ASSIGN(const UniqueFd root,
                      files.Open(AT_FDCWD, layer.c_str(), O_RDONLY | O_DIRECTORY));
    STRATA_TRY_ASSIGN(const std::string bytes,
                      layerstore::ScanLayer(files, root.get(), "fs", !HoldsGlobalAdmin(), hints));
    STRATA_TRY_ASSIGN(auto index, OpenBytes(JoinPath(chain, "layer"), bytes, false));
    STRATA_TRY(merge->Add(std::move(index), layer));
    if (i + 1 != base) continue;
    STRATA_TRY_ASSIGN(const std::string merged, merge->Finish());
    STRATA_TRY_ASSIGN(auto below, OpenBytes(JoinPath(chain, "base"), merged, false));
    merge = std::make_unique<ChainMerge>();
    STRATA_TRY(merge->StartWith(std::move(below)));
  }
  STRATA_TRY_ASSIGN(const std::string bytes, merge->Finish());
  STRATA_TRY(OpenBytes(JoinPath(chain, "index"), bytes, true));
  return {};
}

}  // namespace strata::support
