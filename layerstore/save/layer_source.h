// The bytes of layers in the store: the packed form a manifest names, or another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "layerstore/archive/compression.h"
#include "layerstore/meta/lease.h"
#include "layerstore/save/repacked_manifest.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

class Store;

using ByteSink = std::function<Result<>(std::string_view)>;

// Bytes of a layer that are at hand: kept in the store, made and staged for as long as this lives,
// or made of the layer's files while they are streamed. Must not outlive the store, nor the lease
// it came with.
class LayerForm {
 public:
  const Digest& diff_id() const { return diff_id_; }
  const PackedLayer& packed() const { return packed_; }

  // For reading, from their start. ENOTSUP for those that are made while they are streamed.
  Result<UniqueFd> Open() const;
  // All of them, in order. EBADMSG at the end if they are not what they were; the error names the
  // layer and the blob.
  Result<> Stream(const ByteSink& sink) const;

 private:
  friend class LayerSource;
  enum class Place : std::uint8_t { kBlobStore, kStaging, kFiles };

  Result<> StreamFrom(int file, const ByteSink& sink) const;

  Store* store_ = nullptr;
  Digest diff_id_;
  PackedLayer packed_;
  Place place_ = Place::kBlobStore;
  std::optional<StagedName> staged_;  // kStaging
};

// Not thread-safe.
class LayerSource {
 public:
  // Everything it finds is pinned by the lease, which must outlive the forms.
  LayerSource(Store& store, Lease& lease) : store_(store), lease_(lease) {}

  // A form that is kept, the blob `wanted` if it will do; nothing if none is. With `compression` it
  // has to be of that kind. All of these forms can be opened.
  Result<std::optional<LayerForm>> FindKept(const Digest& diff_id, const Digest& wanted,
                                            std::optional<Compression> compression);
  // The same, and the plain tar that the layer's recipe gives, where that is what is wanted.
  Result<std::optional<LayerForm>> Find(const Digest& diff_id, const Digest& wanted,
                                        std::optional<Compression> compression);
  // The same; packed now and staged if there is none, as gzip if it may be anything. Errors as
  // Pack().
  Result<LayerForm> Get(const Digest& diff_id, const Digest& wanted,
                        std::optional<Compression> compression);
  // The layer packed now and staged. The same bytes every time, on processors of one kind.
  Result<LayerForm> Make(const Digest& diff_id, Compression compression);

  // The layer's tar, compressed. ENOENT for one that is not there; ENODATA, naming the layer, for
  // one that has neither a recipe nor a kept form; EBADMSG, in the end, for one whose files are not
  // what they were.
  Result<> Pack(const Digest& diff_id, Compression compression, const ByteSink& sink);

 private:
  Result<std::optional<LayerForm>> OpenKept(const Digest& diff_id, const Digest& blob);
  Result<std::optional<LayerForm>> FindPlain(const Digest& diff_id);
  Result<> StreamTar(const Digest& diff_id, const ByteSink& sink);
  Result<> Unpack(const LayerForm& form, const ByteSink& sink);

  Store& store_;
  Lease& lease_;
};

}  // namespace strata::layerstore
