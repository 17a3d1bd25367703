#include "layerstore/archive/unpack_pipeline.h"

#include <exception>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {
namespace {

// The error a stage sees when its neighbour has given up; the neighbour's own was reported first.
std::unexpected<Error> Cancelled() { return Fail(ECANCELED, "unpack"); }

// Runs a stage; what third-party code throws becomes an error.
template <class Stage>
Result<> Guarded(Stage stage) {
  try {
    return stage();
  } catch (const std::bad_alloc&) {
    return Fail(ENOMEM, "unpack");
  } catch (const std::exception& exception) {
    return Fail(EIO, "unpack", std::string(exception.what()));
  }
}

}  // namespace

UnpackPipeline::UnpackPipeline(FileOps& ops, int root, Compression compression,
                               const UnpackLimits& limits, UnpackRecorder* recorder)
    : ops_(ops),
      root_(root),
      compression_(compression),
      limits_(limits),
      recorder_(recorder),
      decompressor_([this] { Decompress(); }),
      unpacker_([this] { Unpack(); }) {}

UnpackPipeline::~UnpackPipeline() {
  // Whoever waits for the other side wakes up; joining is the jthreads' own doing.
  Report(Error(ECANCELED, "unpack"));
  compressed_.CloseWriter();
  compressed_.CloseReader();
  plain_.CloseReader();
}

void UnpackPipeline::Report(Error error) {
  MutexLock lock(mu_);
  if (!error_) error_.emplace(std::move(error));
}

Result<> UnpackPipeline::FirstError() {
  MutexLock lock(mu_);
  if (!error_) return {};
  if (error_->detail().empty()) return Fail(error_->code(), error_->op());
  return Fail(error_->code(), error_->op(), std::string(error_->detail()));
}

Result<> UnpackPipeline::Write(std::string_view data) {
  while (!data.empty()) {
    data.remove_prefix(pending_.Append(data));
    if (pending_.room() > 0) break;
    if (!compressed_.Push(std::exchange(pending_, Chunk(kChunkBytes)))) {
      STRATA_TRY(FirstError());
      return Cancelled();
    }
  }
  return {};
}

Result<PipelineResult> UnpackPipeline::Finish() {
  // A reader that has given up has reported why.
  if (pending_.size() > 0) compressed_.Push(std::exchange(pending_, Chunk()));
  compressed_.CloseWriter();
  decompressor_.join();
  unpacker_.join();
  STRATA_TRY(FirstError());
  return PipelineResult{hash_.Finish(), summary_, std::move(inodes_)};
}

void UnpackPipeline::Decompress() {
  auto done = Guarded([this] { return DecompressAll(); });
  // Before the channels close: the first error is the one that started it.
  if (!done && done.error().code() != ECANCELED) Report(std::move(done).error());
  compressed_.CloseReader();
  plain_.CloseWriter();
}

Result<> UnpackPipeline::Emit(Chunk& chunk) {
  if (chunk.size() == 0) return {};
  hash_.Update(chunk.view());
  if (!plain_.Push(std::exchange(chunk, Chunk(kChunkBytes)))) return Cancelled();
  return {};
}

Result<> UnpackPipeline::CheckRatio() const {
  if (compression_ == Compression::kNone || produced_ <= limits_.ratio_floor) return {};
  if (produced_ / limits_.expansion_ratio <= consumed_) return {};
  return Fail(E2BIG, "decompress",
              "expands more than " + std::to_string(limits_.expansion_ratio) + " times");
}

Result<> UnpackPipeline::DecompressAll() {
  const auto decompressor = MakeDecompressor(compression_);
  Chunk output(kChunkBytes);
  bool ended = false;
  while (!ended) {
    const std::optional<Chunk> chunk = compressed_.Pop();
    ended = !chunk.has_value();
    std::string_view input = chunk ? chunk->view() : std::string_view();
    for (;;) {
      if (output.room() == 0) STRATA_TRY(Emit(output));
      STRATA_TRY_ASSIGN(
          const auto progress,
          decompressor->Run(input, std::span(output.data() + output.size(), output.room())));
      input.remove_prefix(progress.consumed);
      output.set_size(output.size() + progress.produced);
      consumed_ += progress.consumed;
      produced_ += progress.produced;
      STRATA_TRY(CheckRatio());
      if (progress.consumed > 0 || progress.produced > 0) continue;
      if (!input.empty()) return Fail(EBADMSG, "decompress", "the data is corrupt");
      break;
    }
  }
  STRATA_TRY(decompressor->Finish());
  return Emit(output);
}

void UnpackPipeline::Unpack() {
  auto done = Guarded([this] { return UnpackAll(); });
  if (!done && done.error().code() != ECANCELED) Report(std::move(done).error());
  plain_.CloseReader();
}

Result<std::string_view> UnpackPipeline::NextPlain() {
  current_ = plain_.Pop();
  if (!current_) {
    // The tar ends here either because the stream does or because decompression failed; in the
    // second case that error is the one to report, not "truncated".
    STRATA_TRY(FirstError());
    return std::string_view();
  }
  return current_->view();
}

Result<> UnpackPipeline::UnpackAll() {
  TarReader::Framing framing;
  if (recorder_ != nullptr) {
    framing = [this](std::string_view bytes) { return recorder_->Literal(bytes); };
  }
  TarReader reader([this] { return NextPlain(); }, std::move(framing));
  Unpacker unpacker(ops_, root_, limits_, recorder_);
  STRATA_TRY_ASSIGN(summary_, unpacker.Run(reader));
  inodes_ = unpacker.TakeInodes();
  // What follows the archive's end belongs to the diffID, too.
  return reader.ReadRest();
}

}  // namespace strata::layerstore
