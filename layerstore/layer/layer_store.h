// Unpacked layers: layers/sha256/<diffID>/fs, one plain directory per layer in overlayfs's form.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/layer/verity_guard.h"
#include "layerstore/meta/lease.h"

namespace strata::layerstore {

class BlobStore;
class Database;
class StagedName;
class StoreRoot;

// What a layer takes on the disk, in whole blocks of 4 KiB.
struct LayerRoom {
  std::uint64_t own = 0;      // what only it has: directories, its index, files nobody may share
  std::uint64_t objects = 0;  // its files that are objects, which other layers may have, too
  std::uint64_t found = 0;    // those of them whose data was there already
};

// A layer in the store.
struct LayerInfo {
  Digest diff_id;
  std::string path;           // absolute path of its fs directory
  std::uint64_t size = 0;     // bytes of file content
  std::uint64_t entries = 0;  // of its tar
  // Its marks are user.overlay.* instead of trusted.overlay.*; not known of those that were there
  // before this was recorded.
  std::optional<bool> user_marks;
  // Not known of those that were there before it was recorded.
  std::optional<LayerRoom> room = {};
};

// A form of a layer, as a registry knows it. The plain tar is one, too: its digest is the diffID.
struct LayerBlob {
  Digest blob;
  std::uint64_t size = 0;
  std::string media_type;
  Digest diff_id;
  // Whether its bytes should be in the blob store; nothing where an earlier program did not note
  // it.
  std::optional<bool> kept = {};
};

// What is known of a layer before its bytes arrive.
struct LayerIngest {
  std::optional<Digest> blob;              // of the compressed bytes
  std::optional<std::uint64_t> blob_size;  // of the compressed bytes
  std::optional<Digest> diff_id;           // of the uncompressed tar
  // The blob's media type, "" if unknown. Compression is told by the bytes themselves; the type is
  // kept for push, and made up to fit when it is unknown.
  std::string media_type;
  // Keep the compressed bytes for push. A stream that is not compressed is never kept: the layer's
  // recipe makes it again.
  bool keep_blob = true;
  // Unpack it although it is there, and mend what is wrong with it (LayerStore::Mend).
  bool mend = false;
  UnpackLimits limits;
};

// A layer being unpacked while its bytes arrive. Keeping the blob, decompression, hashing and
// unpacking have threads of their own behind bounded queues (archive/unpack_pipeline.h), so Write()
// blocks when the disk is slower than the network. Nothing is visible before Commit() succeeded;
// destroyed without it, nothing remains. Not thread-safe. Must not outlive store and lease.
class LayerSink {
 public:
  virtual ~LayerSink() = default;

  // More compressed bytes. Fails as soon as the layer is known to be bad.
  virtual Result<> Write(std::string_view data) = 0;
  // After the last byte: verifies size, blob digest and diffID (EBADMSG), then publishes blob and
  // layer. EBADMSG too for a truncated or corrupt stream; E2BIG for a limit; the error names the
  // archive entry it is about.
  virtual Result<LayerInfo> Commit() = 0;
  // Valid after Commit(), for the manifest of an import.
  virtual const LayerBlob& blob() const = 0;
};

// The mode of a layer's directory whose row was written once (docs/formats/store.md).
inline constexpr mode_t kRecordedMode = 01700;
inline bool WasRecorded(const struct stat& layer_dir) { return (layer_dir.st_mode & S_ISVTX) != 0; }

// The layers of this store and of those below it, which are asked in their order. A layer that is
// below counts as there, whatever forms of it are kept, and is never unpacked into this store.
// Thread-safe; several processes may work on one store.
class LayerStore {
 public:
  LayerStore(StoreRoot& root, BlobStore& blobs, std::shared_ptr<Database> database, Verity verity,
             std::vector<LayerStore*> below = {})
      : root_(root),
        blobs_(blobs),
        database_(std::move(database)),
        below_(std::move(below)),
        guard_(verity) {}

  // ENOENT if it is not there, whole.
  Result<LayerInfo> Find(const Digest& diff_id);

  // The same without those below.
  Result<LayerInfo> FindOwn(const Digest& diff_id);
  // The store that has it; ENOENT. Without stores below it is this one, unasked.
  Result<const StoreRoot*> RootOf(const Digest& diff_id);
  // Its directory, which holds "fs", "recipe" and whatever else there is of it. ENOENT.
  Result<UniqueFd> OpenDirectory(const Digest& diff_id);

  // Starts unpacking a stream and pins the layer. With a known diff_id only one flight per layer
  // runs at a time, in all processes: the call waits for the others, and returns null if the layer
  // is there then (and so is its blob, if one is known and wanted): nothing to download. One thread
  // must not hold two sinks of the same diff_id.
  Result<std::unique_ptr<LayerSink>> Begin(LayerIngest ingest, Lease& lease);

  // Unpacks a blob of the blob store; no work if the layer is there and not to be mended. No
  // limits: it has been taken once.
  Result<LayerInfo> Unpack(const Digest& blob, const Digest& diff_id, std::string_view media_type,
                           Lease& lease, bool mend = false);

  // Makes the layer that is there what `fresh` is, a layer's directory of the same diffID on the
  // same filesystem, of which nothing is to be used afterwards. As far as can be in the files that
  // are there, so that who uses them goes on with them (layer_mend.h). With the layer's lock held.
  Result<> Mend(int fresh, const Digest& diff_id);

  // The blob of this digest if it is known to be a layer's; ENOENT. Whether its bytes are still
  // kept, BlobStore::Has() tells.
  Result<LayerBlob> FindBlob(const Digest& blob);
  // The compressed forms known of a layer.
  Result<std::vector<LayerBlob>> Blobs(const Digest& diff_id);

  // Notes that a blob of the blob store is a form of a layer that is there, or below.
  Result<> AddBlob(const LayerBlob& blob);

  // How many bytes the layer's tar has, by the recipe that makes it again. ENOENT: there is no such
  // layer, or it is older than recipes.
  Result<std::uint64_t> TarSize(const Digest& diff_id);

  // The directories to mount, top first, for layers given base first; ENOENT if one is missing.
  Result<std::vector<std::string>> LowerDirs(std::span<const Digest> diff_ids);

 private:
  friend class LayerSinkImpl;
  Result<std::optional<LayerInfo>> FindBelow(const Digest& diff_id);
  Result<bool> Complete(const LayerIngest& ingest);
  Result<bool> HasForm(const LayerIngest& ingest);
  // With the layer's lock held: makes room for it and puts it in place.
  Result<> Publish(StagedName& staged, const LayerInfo& info);
  // The same for one that is there: takes a recipe out of `staged` if it has none.
  Result<> AdoptRecipe(int staged, const Digest& diff_id);
  Result<> Record(const LayerInfo& info, const LayerBlob& blob);
  // After that: without its row the layer is none that a crash left.
  void MarkRecorded(const Digest& diff_id);

  StoreRoot& root_;
  BlobStore& blobs_;
  std::shared_ptr<Database> database_;
  const std::vector<LayerStore*> below_;
  VerityGuard guard_;
};

}  // namespace strata::layerstore
