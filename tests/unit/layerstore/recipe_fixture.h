// A layer's directory without a store around it: unpacked with its recipe, in one thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/digest.h"
#include "base/file_ops.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/recipe/recipe_writer.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {

class RecipeTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kChunk = std::size_t{64} * 1024;

  // Makes the layer `layer_` anew. The reader is given `chunk` bytes at a time.
  Result<> Unpack(const std::string& tar, std::size_t chunk = kChunk,
                  const UnpackLimits& limits = {}) {
    support::Must(support::RemoveTree(layer_));
    support::MakeDir(layer_, 0700);
    const UniqueFd dir = OpenLayer();
    auto recipe = support::Must(RecipeWriter::Create(ops_, dir.get(), limits));
    auto done = UnpackTo(layer_ + "/fs", tar, chunk, limits, recipe.get());
    if (!done) return done;
    return recipe->Finish(Digest::Of(tar));
  }

  Result<> UnpackTo(const std::string& fs, const std::string& tar, std::size_t chunk,
                    const UnpackLimits& limits, UnpackRecorder* recipe) {
    support::MakeDir(fs);
    const UniqueFd root = support::OpenFile(fs, O_RDONLY | O_DIRECTORY);
    std::string_view rest = tar;
    TarReader::Framing framing;
    if (recipe != nullptr) {
      framing = [recipe](std::string_view bytes) { return recipe->Literal(bytes); };
    }
    std::string piece;  // at a new place every time, as the pipeline's chunks are
    TarReader reader(
        [&]() -> Result<std::string_view> {
          piece = std::string(rest.substr(0, chunk));
          rest.remove_prefix(piece.size());
          return piece;
        },
        std::move(framing));
    auto done = Unpacker(ops_, root.get(), limits, recipe).Run(reader);
    if (!done) return std::unexpected(std::move(done).error());
    return reader.ReadRest();
  }

  UniqueFd OpenLayer() const { return support::OpenFile(layer_, O_RDONLY | O_DIRECTORY); }

  Result<std::string> Replayed(const LayerTarOptions& options = {}) {
    std::string tar;
    auto written = LayerTar::Write(
        ops_, OpenLayer().get(),
        [&](std::string_view bytes) -> Result<> {
          tar += bytes;
          return {};
        },
        options);
    if (!written) return std::unexpected(std::move(written).error());
    return tar;
  }

  // Not by EXPECT_EQ, which would print megabytes.
  void ExpectReplays(const std::string& tar, std::size_t chunk = kChunk) {
    support::Must(Unpack(tar, chunk));
    const std::string replayed = support::Must(Replayed());
    EXPECT_EQ(replayed.size(), tar.size());
    const auto differ = std::ranges::mismatch(replayed, tar).in1;
    EXPECT_TRUE(replayed == tar) << "from byte " << differ - replayed.begin() << " on";
    support::Must(LayerTar::Verify(ops_, OpenLayer().get(), Digest::Of(tar)));
  }

  FileOps& ops_ = FileOps::System();
  support::TempRoot temp_ = support::Must(support::TempRoot::Create());
  std::string layer_ = temp_.At("layer");
};

}  // namespace strata::layerstore
