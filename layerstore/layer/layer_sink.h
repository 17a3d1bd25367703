// The one implementation of LayerSink. Private to this folder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/unique_fd.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/unpack_pipeline.h"
#include "layerstore/blob/blob_store.h"
#include "layerstore/layer/layer_objects.h"
#include "layerstore/layer/layer_store.h"
#include "layerstore/recipe/recipe_writer.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

class LayerSinkImpl final : public LayerSink {
 public:
  static Result<std::unique_ptr<LayerSink>> Create(LayerStore& layers, StoreRoot& root,
                                                   BlobStore& blobs, LayerIngest ingest,
                                                   Lease& lease, std::optional<LayerLock> lock);

  ~LayerSinkImpl() override;
  Result<> Write(std::string_view data) override;
  Result<LayerInfo> Commit() override;
  const LayerBlob& blob() const override { return blob_; }

 private:
  LayerSinkImpl(LayerStore& layers, StoreRoot& root, BlobStore& blobs, LayerIngest ingest,
                Lease& lease, std::optional<LayerLock> lock)
      : layers_(layers),
        root_(root),
        blobs_(blobs),
        ingest_(std::move(ingest)),
        lease_(lease),
        lock_(std::move(lock)) {}

  Result<> MakeStaging();
  // Tells the compression by what came so far and starts the pipeline.
  Result<> Start();
  // Takes the received bytes, on the pipeline's way; null if nothing is to be done with them.
  UnpackPipeline::Verify Keeper();
  Result<> VerifyReceived(const Digest& digest);
  Result<> KeepBlob();
  Result<> WriteIndex(const UnpackedInodes& inodes);
  // Lists the layer's objects, and gives back those that later entries replaced.
  Result<> FinishObjects();
  // What the layer takes, now that all of it is written.
  Result<LayerRoom> Measure(const UnpackSummary& summary) const;
  std::string MediaType() const;

  LayerStore& layers_;
  StoreRoot& root_;
  BlobStore& blobs_;
  const LayerIngest ingest_;
  Lease& lease_;
  std::optional<LayerLock> lock_;

  StagedName staged_;  // a directory with "fs", "recipe" and "objects" in it
  UniqueFd dir_;
  UniqueFd fs_;
  std::string start_;  // the first bytes, until there are enough to tell the compression
  Compression compression_ = Compression::kNone;
  std::uint64_t received_ = 0;
  std::uint64_t hashed_ = 0;  // of them; the pipeline's until it has ended
  // These outlive the pipeline's threads.
  Sha256 received_hash_;                     // of a compressed blob that is not kept
  std::unique_ptr<BlobWriter> blob_writer_;  // null if the blob is not kept
  std::unique_ptr<RecipeWriter> recipe_;
  std::unique_ptr<LayerObjects> objects_;
  std::unique_ptr<UnpackPipeline> pipeline_;
  LayerBlob blob_;
  bool published_ = false;
};

}  // namespace strata::layerstore
