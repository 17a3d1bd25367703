// Names of changed files that are in the lower layers only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// A file of the lower layers with several names, changed by one of them: the others lead to what
// was changed by way of the work directory's index of link groups (docs/formats/upper.md), and the
// upper directory alone does not tell them. This finds them, for UpperLayer::lower_links, as the
// names that the chain and the union show with different change times. Where that index is empty
// it costs nothing, and `open_union` is not called.
Result<std::vector<std::string>> FindLowerLinks(FileOps& ops, const std::string& work_dir,
                                                const MetadataIndex& chain,
                                                const std::function<Result<UniqueFd>()>& open_union,
                                                int upper);

}  // namespace strata::layerstore
