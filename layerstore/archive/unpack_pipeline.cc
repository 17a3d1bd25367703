#include "layerstore/archive/unpack_pipeline.h"

#include <time.h>

#include <exception>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {
namespace {

using Clock = std::chrono::steady_clock;

// What this thread had of a processor.
std::chrono::nanoseconds ThreadTime() {
  struct timespec time = {};
  if (::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) return {};
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

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

std::string ToString(const PipelineStats& stats) {
  const auto milliseconds = [](const char* what, std::chrono::nanoseconds time) {
    const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    return std::string(" ") + what + " " + std::to_string(count) + " ms";
  };
  std::string text;
  for (const StageStats& stage : stats) {
    if (!text.empty()) text += ", ";
    text += std::string(stage.name) + " " + std::to_string(stage.bytes >> 10U) + " KiB" +
            milliseconds("busy", stage.busy) + milliseconds("waited", stage.waited) +
            milliseconds("cpu", stage.cpu);
  }
  return text;
}

UnpackPipeline::UnpackPipeline(FileOps& ops, int root, Compression compression,
                               const UnpackLimits& limits, UnpackRecorder* recorder,
                               SharedFiles* shared, Verify verify)
    : ops_(ops),
      root_(root),
      compression_(compression),
      limits_(limits),
      recorder_(recorder),
      shared_(shared),
      verify_(std::move(verify)) {
  Stage& receive = Add("receive", nullptr);
  if (verify_) {
    receive.out.push_back(&to_verify_);
    Start(Add("verify", &to_verify_), &UnpackPipeline::VerifyAll);
  }
  const std::vector<ByteChannel*> plain = {&to_hash_, &to_unpack_};
  if (compression_ == Compression::kNone) {
    receive.out.insert(receive.out.end(), plain.begin(), plain.end());
  } else {
    receive.out.push_back(&to_decompress_);
    Stage& decompress = Add("decompress", &to_decompress_);
    decompress.out = plain;
    Start(decompress, &UnpackPipeline::DecompressAll);
  }
  Start(Add("hash", &to_hash_), &UnpackPipeline::HashAll);
  Start(Add("unpack", &to_unpack_), &UnpackPipeline::UnpackAll);
}

UnpackPipeline::~UnpackPipeline() {
  // Whoever waits for the other side wakes up; joining is the jthreads' own doing.
  Report(Error(ECANCELED, "unpack"));
  for (ByteChannel* channel : {&to_verify_, &to_decompress_, &to_hash_, &to_unpack_}) {
    channel->CloseWriter();
    channel->CloseReader();
  }
}

UnpackPipeline::Stage& UnpackPipeline::Add(const char* name, ByteChannel* in) {
  return stages_.emplace_back(Stage{.name = name, .in = in});
}

void UnpackPipeline::Start(Stage& stage, Work work) {
  stage.thread = std::jthread([this, &stage, work] { RunStage(stage, work); });
}

void UnpackPipeline::RunStage(Stage& stage, Work work) {
  const auto begin = Clock::now();
  auto done = Guarded([&] { return (this->*work)(stage); });
  // Before the channels close: the first error is the one that started it.
  if (!done && done.error().code() != ECANCELED) Report(std::move(done).error());
  stage.in->CloseReader();
  for (ByteChannel* channel : stage.out) channel->CloseWriter();
  stage.took = Clock::now() - begin;
  stage.cpu = ThreadTime();
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

// To all that follow, even if one of them has given up.
bool UnpackPipeline::HandOn(const Stage& stage, Chunk chunk) {
  const auto shared = std::make_shared<const Chunk>(std::move(chunk));
  bool wanted = true;
  for (ByteChannel* channel : stage.out) wanted = channel->Push(shared) && wanted;
  return wanted;
}

SharedChunk UnpackPipeline::Take(Stage& stage) {
  SharedChunk chunk = stage.in->Pop();
  if (chunk) stage.bytes += chunk->size();
  return chunk;
}

Result<> UnpackPipeline::Write(std::string_view data) {
  Stage& receive = stages_.front();
  receive.bytes += data.size();
  while (!data.empty()) {
    data.remove_prefix(pending_.Append(data));
    if (pending_.room() > 0) break;
    if (!HandOn(receive, std::exchange(pending_, Chunk(kChunkBytes)))) {
      STRATA_TRY(FirstError());
      return Cancelled();
    }
  }
  return {};
}

Result<PipelineResult> UnpackPipeline::Finish() {
  Stage& receive = stages_.front();
  // Whoever has given up has reported why.
  if (pending_.size() > 0) HandOn(receive, std::exchange(pending_, Chunk()));
  for (ByteChannel* channel : receive.out) channel->CloseWriter();
  receive.took = Clock::now() - begin_;
  for (Stage& stage : stages_) {
    if (stage.thread.joinable()) stage.thread.join();
  }
  STRATA_TRY(FirstError());
  return PipelineResult{hash_.Finish(), summary_, std::move(inodes_)};
}

PipelineStats UnpackPipeline::stats() const {
  PipelineStats all;
  for (const Stage& stage : stages_) {
    StageStats stats{.name = stage.name, .bytes = stage.bytes, .cpu = stage.cpu};
    if (stage.in != nullptr) stats.waited += stage.in->waited().for_data;
    for (const ByteChannel* channel : stage.out) stats.waited += channel->waited().for_room;
    stats.busy = stage.took - stats.waited;
    all.push_back(stats);
  }
  return all;
}

Result<> UnpackPipeline::VerifyAll(Stage& stage) {
  while (const SharedChunk chunk = Take(stage)) STRATA_TRY(verify_(chunk->view()));
  return {};
}

Result<> UnpackPipeline::HashAll(Stage& stage) {
  while (const SharedChunk chunk = Take(stage)) hash_.Update(chunk->view());
  return {};
}

Result<> UnpackPipeline::Emit(const Stage& stage, Chunk& chunk) {
  if (chunk.size() == 0) return {};
  if (!HandOn(stage, std::exchange(chunk, Chunk(kChunkBytes)))) return Cancelled();
  return {};
}

Result<> UnpackPipeline::DecompressAll(Stage& stage) {
  const auto decompressor = MakeDecompressor(compression_);
  Chunk output(kChunkBytes);
  std::uint64_t consumed = 0;
  std::uint64_t produced = 0;
  bool ended = false;
  while (!ended) {
    const SharedChunk chunk = Take(stage);
    ended = chunk == nullptr;
    std::string_view input = chunk ? chunk->view() : std::string_view();
    for (;;) {
      if (output.room() == 0) STRATA_TRY(Emit(stage, output));
      STRATA_TRY_ASSIGN(
          const auto progress,
          decompressor->Run(input, std::span(output.data() + output.size(), output.room())));
      input.remove_prefix(progress.consumed);
      output.set_size(output.size() + progress.produced);
      consumed += progress.consumed;
      produced += progress.produced;
      STRATA_TRY(CheckExpansion(limits_, consumed, produced));
      if (progress.consumed > 0 || progress.produced > 0) continue;
      if (!input.empty()) return Fail(EBADMSG, "decompress", "the data is corrupt");
      break;
    }
  }
  STRATA_TRY(decompressor->Finish());
  return Emit(stage, output);
}

Result<> UnpackPipeline::UnpackAll(Stage& stage) {
  SharedChunk current;
  const auto next = [&]() -> Result<std::string_view> {
    current = Take(stage);
    if (current) return current->view();
    // The tar ends here either because the stream does or because decompression failed; in the
    // second case that error is the one to report, not "truncated".
    STRATA_TRY(FirstError());
    return std::string_view();
  };
  TarReader::Framing framing;
  if (recorder_ != nullptr) {
    framing = [this](std::string_view bytes) { return recorder_->Literal(bytes); };
  }
  TarReader reader(next, std::move(framing));
  Unpacker unpacker(ops_, root_, limits_, recorder_, shared_);
  STRATA_TRY_ASSIGN(summary_, unpacker.Run(reader));
  inodes_ = unpacker.TakeInodes();
  // What follows the archive's end belongs to the diffID, too.
  return reader.ReadRest();
}

}  // namespace strata::layerstore
