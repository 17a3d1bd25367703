// A layer on its way from the bytes that arrive to a directory, in stages with a thread each:
//
//   receive ──┬── verify                           what the receiver wants done with the bytes
//             └── decompress ──┬── hash            the diffID
//                              └── unpack          into the directory, and the recipe
//
// A stream that is not compressed goes from receive to hash and unpack. Stages hand on shared
// chunks through bounded queues, so no byte is copied between them, the slowest stage sets the
// pace, and memory is bounded: kQueuedChunks + 3 chunks on either side of decompress, 6 MiB in all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/mutex.h"
#include "layerstore/archive/byte_channel.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/shared_files.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/archive/unpack_recorder.h"
#include "layerstore/archive/unpacker.h"

namespace strata::layerstore {

inline constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
inline constexpr std::size_t kQueuedChunks = 8;

// What a stage did. Of receive, `busy` is the time that its caller spent elsewhere.
struct StageStats {
  const char* name = "";
  std::uint64_t bytes = 0;               // that it took in
  std::chrono::nanoseconds busy = {};    // working, or kept from a processor
  std::chrono::nanoseconds waited = {};  // for bytes, or for room in front of the next stage
  std::chrono::nanoseconds cpu = {};     // of a processor; not known of receive
};
using PipelineStats = std::vector<StageStats>;

// One line: "hash 102400 KiB busy 50 ms waited 700 ms cpu 49 ms, unpack ...".
std::string ToString(const PipelineStats& stats);

struct PipelineResult {
  Digest diff_id;
  UnpackSummary summary;
  UnpackedInodes inodes;
};

// Write() and Finish() belong to one thread. Destroyed before Finish(): stops and joins.
class UnpackPipeline {
 public:
  // Is given all the bytes that arrive, in the verify stage's thread.
  using Verify = std::function<Result<>(std::string_view)>;

  // `root`, borrowed for the pipeline's life, is the empty directory to fill. So are `recorder` and
  // `shared`, which may be null; they are called by the unpacking thread. Without `verify` there is
  // no such stage.
  UnpackPipeline(FileOps& ops, int root, Compression compression, const UnpackLimits& limits,
                 UnpackRecorder* recorder, SharedFiles* shared, Verify verify = nullptr);
  ~UnpackPipeline();
  UnpackPipeline(const UnpackPipeline&) = delete;
  UnpackPipeline& operator=(const UnpackPipeline&) = delete;

  // Fails with the first error of any stage.
  Result<> Write(std::string_view data);
  // After the last byte. `verify` has had all bytes then, whatever the result.
  Result<PipelineResult> Finish();
  // After that, in the order of the stages.
  PipelineStats stats() const;

 private:
  struct Stage {
    const char* name;
    ByteChannel* in;  // null: the caller's own thread
    std::vector<ByteChannel*> out = {};
    std::uint64_t bytes = 0;
    std::chrono::nanoseconds took = {};
    std::chrono::nanoseconds cpu = {};
    std::jthread thread = {};
  };
  using Work = Result<> (UnpackPipeline::*)(Stage&);

  Stage& Add(const char* name, ByteChannel* in);
  void Start(Stage& stage, Work work);
  void RunStage(Stage& stage, Work work);
  bool HandOn(const Stage& stage, Chunk chunk);
  static SharedChunk Take(Stage& stage);

  Result<> VerifyAll(Stage& stage);
  Result<> DecompressAll(Stage& stage);
  Result<> HashAll(Stage& stage);
  Result<> UnpackAll(Stage& stage);
  Result<> Emit(const Stage& stage, Chunk& chunk);
  void Report(Error error);
  Result<> FirstError();

  FileOps& ops_;
  const int root_;
  const Compression compression_;
  const UnpackLimits limits_;
  UnpackRecorder* const recorder_;
  SharedFiles* const shared_;
  const Verify verify_;
  Chunk pending_{kChunkBytes};  // Write() collects small pieces here
  ByteChannel to_verify_{kQueuedChunks};
  ByteChannel to_decompress_{kQueuedChunks};
  ByteChannel to_hash_{kQueuedChunks};
  ByteChannel to_unpack_{kQueuedChunks};
  // Each of the thread of one stage until that is joined.
  Sha256 hash_;
  UnpackSummary summary_;
  UnpackedInodes inodes_;

  Mutex mu_;  // rank: leaf
  std::optional<Error> error_ STRATA_GUARDED_BY(mu_);

  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::list<Stage> stages_;  // receive first; the last member: its threads use the others
};

}  // namespace strata::layerstore
