// Content-addressed blobs: layer blobs as they were pulled, kept for push.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "base/writeback.h"
#include "layerstore/meta/lease.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

struct BlobInfo {
  Digest digest;
  std::uint64_t size = 0;
};

// A blob being written; invisible until Commit(). Destroyed without Commit(): nothing remains.
// Not thread-safe. Must not outlive its store.
class BlobWriter {
 public:
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;

  Result<> Write(std::string_view data);
  std::uint64_t written() const { return written_; }
  // The digest of all that was written; nothing may be written after it.
  const Digest& Finish();

  // Publishes what was written. EBADMSG if its digest or size is not the expected one; then, and
  // after any other failure, nothing is published. A blob that is there already is kept.
  Result<BlobInfo> Commit(const std::optional<Digest>& digest,
                          const std::optional<std::uint64_t>& size);

 private:
  friend class BlobStore;
  BlobWriter(StoreRoot& root, Lease& lease, StagedName staged, UniqueFd fd);

  StoreRoot& root_;
  Lease& lease_;
  StagedName staged_;
  UniqueFd fd_;
  Sha256 hash_;
  std::optional<Digest> digest_;
  std::uint64_t written_ = 0;
  EarlyWriteback writeback_;
};

// blobs/sha256/<hex>, of this store and of those below it, which are asked in their order; only
// what reads looks there. Thread-safe; several processes may work on one store.
class BlobStore {
 public:
  explicit BlobStore(StoreRoot& root, std::vector<BlobStore*> below = {})
      : root_(root), below_(std::move(below)) {}

  // The lease must outlive the writer; it pins the blob.
  Result<std::unique_ptr<BlobWriter>> Begin(Lease& lease);
  // For reading, from its start. ENOENT.
  Result<UniqueFd> OpenBlob(const Digest& digest);
  Result<bool> Has(const Digest& digest);
  Result<std::uint64_t> Size(const Digest& digest);
  // Whether this store itself has it.
  Result<bool> HasOwn(const Digest& digest);
  // ENOENT if it is not there.
  Result<> Remove(const Digest& digest);
  Result<std::vector<BlobInfo>> List();

 private:
  Result<std::uint64_t> OwnSize(const Digest& digest);

  StoreRoot& root_;
  const std::vector<BlobStore*> below_;
};

}  // namespace strata::layerstore
