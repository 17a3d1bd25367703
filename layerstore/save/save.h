// Images as files: what `strata save` and `docker save` give out, for strata's own import and every
// other program's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/compression.h"

namespace strata::layerstore {

class Store;

struct SaveOptions {
  // All are tars. The first is an OCI layout with docker-archive's manifest.json in it, which
  // readers of either take: what docker writes since version 25.
  enum class Format : std::uint8_t {
    kDocker,
    kDockerArchive,
    kOciArchive
  } format = Format::kDocker;
  // Of the layers. None: as they are kept, so that blobs and manifest keep their digests; in a
  // kDockerArchive not compressed.
  std::optional<Compression> compression;
};

// Images ready to be written; nothing that is needed for it leaves the store meanwhile. Must not
// outlive the store. Not thread-safe.
class SavedImages {
 public:
  // Names as docker takes them: name:tag, a name alone for all its tags, an id (whose image is then
  // saved without a name). Layers that are to be in another form are made now. ENOENT: no such
  // image; ENODATA: a layer whose tar can not be had; EINVAL: no names at all.
  static Result<std::unique_ptr<SavedImages>> Prepare(Store& store,
                                                      std::span<const std::string> names,
                                                      const SaveOptions& options);
  ~SavedImages();
  SavedImages(const SavedImages&) = delete;
  SavedImages& operator=(const SavedImages&) = delete;

  // The archive, tables of contents first. Its bytes depend on images, names and options only, not
  // on the order of the names. EBADMSG, naming layer and blob, for one that is not whole any more.
  Result<> Write(const std::function<Result<>(std::string_view)>& sink) const;

 private:
  struct State;
  explicit SavedImages(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace strata::layerstore
