// unpack_stages LAYER DIRECTORY: unpacks a layer's blob beneath the directory as the store does it,
// and tells what each stage of the pipeline took; then the time of each stage alone, and the ratio
// of the whole to the slowest of them. Bytes come from memory; the disk is not waited for. A line
// of JSON on stdout. Best of kRounds.
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file_ops.h"
#include "base/remove_tree.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/unpack_pipeline.h"
#include "layerstore/recipe/recipe_writer.h"
#include "tests/support/must.h"

namespace strata::layerstore {
namespace {

using support::Must;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kRounds = 3;
constexpr std::size_t kPiece = std::size_t{256} * 1024;
constexpr std::size_t kBlobMax = std::size_t{4} << 30U;

template <class Work>
double Best(Work work) {
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    const auto begin = Clock::now();
    work();
    const double took = Seconds(Clock::now() - begin).count();
    best = i == 0 ? took : std::min(best, took);
  }
  return best;
}

// What the decompressor makes of the blob.
std::string Decompressed(const std::string& blob, bool keep) {
  const auto decompressor = MakeDecompressor(Must(DetectCompression(blob)));
  std::string plain;
  std::vector<char> room(kPiece);
  std::string_view input = blob;
  for (;;) {
    const auto progress = Must(decompressor->Run(input, room));
    input.remove_prefix(progress.consumed);
    if (keep) plain.append(room.data(), progress.produced);
    if (progress.consumed == 0 && progress.produced == 0) break;
  }
  Must(decompressor->Finish());
  return plain;
}

void HashAll(const std::string& bytes) {
  Sha256 hash;
  hash.Update(bytes);
  hash.Finish();
}

// An empty layer directory, removed at the end.
class Layer {
 public:
  Layer(int parent, std::string name) : parent_(parent), name_(std::move(name)) {
    Must(ops_.MakeDir(parent_, name_.c_str(), 0700));
    dir_ = Must(ops_.Open(parent_, name_.c_str(), O_RDONLY | O_DIRECTORY));
    Must(ops_.MakeDir(dir_.get(), "fs", 0755));
    fs_ = Must(ops_.Open(dir_.get(), "fs", O_RDONLY | O_DIRECTORY));
    recipe_ = Must(RecipeWriter::Create(ops_, dir_.get(), UnpackLimits()));
  }
  ~Layer() { Must(RemoveTree(ops_, parent_, name_.c_str())); }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  PipelineStats Unpack(const std::string& blob) {
    Sha256 received;
    UnpackPipeline pipeline(ops_, fs_.get(), Must(DetectCompression(blob)), {}, recipe_.get(),
                            nullptr, [&](std::string_view piece) -> Result<> {
                              received.Update(piece);
                              return {};
                            });
    for (std::size_t at = 0; at < blob.size(); at += kPiece) {
      Must(pipeline.Write(std::string_view(blob).substr(at, kPiece)));
    }
    Must(recipe_->Finish(Must(pipeline.Finish()).diff_id));
    return pipeline.stats();
  }

  void UnpackOnly(const std::string& tar) {
    bool given = false;
    TarReader reader(
        [&]() -> Result<std::string_view> {
          return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
        },
        [&](std::string_view bytes) { return recipe_->Literal(bytes); });
    Must(Unpacker(ops_, fs_.get(), {}, recipe_.get()).Run(reader));
  }

 private:
  FileOps& ops_ = FileOps::System();
  const int parent_;
  const std::string name_;
  UniqueFd dir_;
  UniqueFd fs_;
  std::unique_ptr<RecipeWriter> recipe_;
};

int Run(const std::string& file, const std::string& directory) {
  FileOps& ops = FileOps::System();
  const UniqueFd fd = Must(ops.Open(AT_FDCWD, file.c_str(), O_RDONLY));
  const std::string blob = Must(ReadAll(ops, fd.get(), kBlobMax));
  const std::string tar = Decompressed(blob, true);
  const UniqueFd parent = Must(ops.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  int number = 0;
  // Removing what was unpacked is no part of it.
  std::vector<std::unique_ptr<Layer>> layers;
  const auto fresh = [&]() -> Layer& {
    return *layers.emplace_back(
        std::make_unique<Layer>(parent.get(), "layer-" + std::to_string(number++)));
  };
  PipelineStats stats;
  const double whole = Best([&] { stats = fresh().Unpack(blob); });
  layers.clear();
  const double unpack = Best([&] { fresh().UnpackOnly(tar); });
  layers.clear();
  const double verify = Best([&] { HashAll(blob); });
  const double decompress = Best([&] { Decompressed(blob, false); });
  const double hash = Best([&] { HashAll(tar); });
  const double slowest = std::max({verify, decompress, hash, unpack});
  std::fprintf(stderr, "%s\n", ToString(stats).c_str());
  std::printf(
      "{\"tar_mib\": %.1f, \"whole_s\": %.3f, \"verify_s\": %.3f, \"decompress_s\": %.3f, "
      "\"hash_s\": %.3f, \"unpack_s\": %.3f, \"whole_to_slowest\": %.2f}\n",
      static_cast<double>(tar.size()) / (1U << 20U), whole, verify, decompress, hash, unpack,
      whole / slowest);
  return 0;
}

}  // namespace
}  // namespace strata::layerstore

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: unpack_stages LAYER DIRECTORY\n");
    return 2;
  }
  return strata::layerstore::Run(argv[1], argv[2]);
}
