// Brings images in from files: what `strata image import`, `docker load` and `docker import` take.
//   a root filesystem   tar, plain or gzip or zstd: becomes an image of one layer
//   OCI image layout    directory, or a tar of one
//   docker-archive      tar as `docker save` writes it, with manifest.json or the old repositories
// Which it is, is told from the content.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/reference.h"

namespace strata::layerstore {

class Store;

struct ImportOptions {
  // The name of the image. With none, a root filesystem becomes an untagged image and the others
  // keep the names the archive gives them. With several images in the archive it must be none.
  std::optional<Reference> name;
  // Which image of an OCI index is taken.
  Platform platform = HostPlatform();
  // All of an index whose manifests are in the layout, and the index with them: its names stand for
  // the image of `platform`, or the first, and save gives all of it back.
  bool all_platforms = false;
  // Root filesystem only: what the image runs, and where it came from. Fields left empty get
  // defaults (PATH, the first of /bin/bash and /bin/sh, platform).
  ImageConfig config;
  std::string comment;
  // Refuse everything but a root filesystem (`docker import`), or that (`docker load`).
  enum class Accept { kAny, kRootFilesystem, kArchive } accept = Accept::kAny;
  UnpackLimits limits;
};

// An image as it is in the store now, and the names that this import gave it.
struct ImportedImage : Image {
  std::vector<Reference> names;
};

// Fills the buffer as far as it can, at least one byte; 0 at the end.
using ByteSource = std::function<Result<std::size_t>(std::span<std::byte> buffer)>;

// Reads an image file or layout directory; "-" is not special. EINVAL with the reason if it is none
// of the above; EBADMSG for corrupt data or a wrong digest. All or nothing per image.
Result<std::vector<ImportedImage>> Import(Store& store, const std::string& path,
                                          const ImportOptions& options);
// The same from a stream. Archives are spooled to the store's staging directory, root filesystems
// are not.
Result<std::vector<ImportedImage>> ImportStream(Store& store, const ByteSource& source,
                                                const ImportOptions& options);

}  // namespace strata::layerstore
