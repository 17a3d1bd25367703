// A layer on its way from compressed bytes to a directory, on two threads:
//   Write() -> [compressed] -> decompress and hash -> [tar] -> unpack
// Both queues are bounded, so memory is (kQueuedChunks + 1) * kChunkBytes for each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/mutex.h"
#include "layerstore/archive/byte_channel.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/archive/unpack_recorder.h"
#include "layerstore/archive/unpacker.h"

namespace strata::layerstore {

inline constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
inline constexpr std::size_t kQueuedChunks = 8;

struct PipelineResult {
  Digest diff_id;
  UnpackSummary summary;
  UnpackedInodes inodes;
};

// Write() and Finish() belong to one thread. Destroyed before Finish(): stops and joins.
class UnpackPipeline {
 public:
  // `root`, borrowed for the pipeline's life, is the empty directory to fill. So is `recorder`,
  // which may be null; it is called by the unpacking thread.
  UnpackPipeline(FileOps& ops, int root, Compression compression, const UnpackLimits& limits,
                 UnpackRecorder* recorder);
  ~UnpackPipeline();
  UnpackPipeline(const UnpackPipeline&) = delete;
  UnpackPipeline& operator=(const UnpackPipeline&) = delete;

  // Fails with the first error of any stage.
  Result<> Write(std::string_view data);
  // After the last byte.
  Result<PipelineResult> Finish();

 private:
  void Decompress();
  Result<> DecompressAll();
  Result<> Emit(Chunk& chunk);
  Result<> CheckRatio() const;
  void Unpack();
  Result<> UnpackAll();
  Result<std::string_view> NextPlain();
  void Report(Error error);
  Result<> FirstError();

  FileOps& ops_;
  const int root_;
  const Compression compression_;
  const UnpackLimits limits_;
  UnpackRecorder* const recorder_;
  Chunk pending_{kChunkBytes};  // Write() collects small pieces here
  ByteChannel compressed_{kQueuedChunks};
  ByteChannel plain_{kQueuedChunks};
  // Of the decompressing thread until it is joined.
  Sha256 hash_;
  std::uint64_t consumed_ = 0;
  std::uint64_t produced_ = 0;
  // Of the unpacking thread until it is joined.
  std::optional<Chunk> current_;
  UnpackSummary summary_;
  UnpackedInodes inodes_;

  Mutex mu_;  // rank: leaf
  std::optional<Error> error_ STRATA_GUARDED_BY(mu_);

  std::jthread decompressor_;
  std::jthread unpacker_;
};

}  // namespace strata::layerstore
