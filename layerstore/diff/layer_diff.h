// What a container changed, as the tar of a layer: from the upper directory of its union alone.
// https://github.com/opencontainers/image-spec/blob/main/layer.md#representing-changes
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"

namespace strata::layerstore {

// An upper directory as docs/formats/upper.md describes it. Nothing in it changes meanwhile: the
// container is paused, or has ended.
struct UpperLayer {
  int directory = -1;       // borrowed, open for reading
  bool user_marks = false;  // its marks are user.overlay.*, not trusted.overlay.*
  // Opens the root of the union itself, for what the upper directory alone does not have: the data
  // of files that were copied up in part, what is below renamed directories, and which names are
  // one file. Asked at most once, and only where there is such.
  std::function<Result<UniqueFd>()> open_union;
  // Names, in the union, of files that are in the diff by other names only: those in the upper
  // layer, or below a renamed directory, or in the index of link groups (docs/formats/upper.md).
  // Without them such a name keeps the file of the lower layers.
  std::vector<std::string> lower_links = {};
};

struct DiffSummary {
  std::uint64_t entries = 0;
  std::uint64_t size = 0;     // bytes of file content
  std::uint64_t sockets = 0;  // left out: tar has none
};

// Gives the tar to `sink`, piece by piece. Its bytes depend on the upper layer's tree only, not on
// inode numbers or the order of directories: names are sorted, whiteouts have no owner, no time and
// no mode. Unpacked on top of the layers below, it makes what the union showed: whiteouts and
// opaque directories in OCI's form, one file with several names as hard links, xattrs as users see
// them, the root's own attributes as "./".
//
// EIO for a file that changes while it is read, E2BIG for a tree deeper than layers may be; errors
// name the path. Not thread-safe.
Result<DiffSummary> WriteLayerDiff(FileOps& ops, const UpperLayer& upper,
                                   const std::function<Result<>(std::string_view)>& sink);

// The paths of its entries in their order, markers included; no file is opened for it.
Result<std::vector<std::string>> ListLayerDiff(FileOps& ops, const UpperLayer& upper);

// All of a union as such a tar: what `export` gives.
Result<DiffSummary> WriteUnion(FileOps& ops, int root,
                               const std::function<Result<>(std::string_view)>& sink);

}  // namespace strata::layerstore
