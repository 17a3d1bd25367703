// Hostile layers and archives, and their harmless look-alikes, into a store by every entrance that
// the library has.
#include "layerstore/import/import.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <utility>

#include "base/try.h"
#include "layerstore/gc/collector.h"
#include "tests/hostile/archives.h"
#include "tests/hostile/canary.h"
#include "tests/hostile/layers.h"
#include "tests/hostile/refusal.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::hostile {
namespace {

using layerstore::ImportedImage;
using layerstore::ImportOptions;
using layerstore::Store;
using layerstore::UnpackLimits;
using support::Must;

class HostileTest : public ::testing::Test {
 protected:
  Result<std::vector<ImportedImage>> Take(const std::string& bytes, const UnpackLimits& limits) {
    std::string_view rest = bytes;
    ImportOptions options;
    options.limits = limits;
    options.platform = Must(layerstore::ParsePlatform("linux/amd64"));
    return layerstore::ImportStream(
        *store_,
        [&](std::span<std::byte> buffer) -> Result<std::size_t> {
          const std::size_t count = std::min(buffer.size(), rest.size());
          rest.copy(reinterpret_cast<char*>(buffer.data()), count);
          rest.remove_prefix(count);
          return count;
        },
        options);
  }

  Result<std::vector<ImportedImage>> TakeDirectory(const Members& members,
                                                   const UnpackLimits& limits) {
    const std::string path = temp_.At("layout");
    Must(support::RemoveTree(path));
    support::MakeDir(path);
    AsDirectory(members, path);
    ImportOptions options;
    options.limits = limits;
    options.platform = Must(layerstore::ParsePlatform("linux/amd64"));
    return layerstore::Import(*store_, path, options);
  }

  // `import` must give this error, and harm nothing.
  void ExpectRefused(const std::string& name,
                     const std::function<Result<std::vector<ImportedImage>>()>& import, int code,
                     const std::string& says) {
    SCOPED_TRACE(name);
    const auto take = [&]() -> Result<> {
      STRATA_TRY(import());
      return {};
    };
    const std::string text = ExpectRefusal(*store_, canary_, take, code, says);
    EXPECT_LT(text.size(), 1500U) << text;
  }

  std::string LayerOf(const ImportedImage& image) {
    return Must(store_->layers().LowerDirs(image.diff_ids)).back();
  }

  support::TempRoot temp_ = Must(support::TempRoot::CreateInMemory());
  Canary canary_{temp_.path()};
  std::unique_ptr<Store> store_ = Must(Store::Open({.root = temp_.At("store")}));
};

TEST_F(HostileTest, LayersAsRootFilesystems) {
  for (const HostileLayer& layer : HostileLayers(canary_.path())) {
    ExpectRefused(
        layer.name, [&] { return Take(layer.bytes, layer.limits); }, layer.code, layer.says);
  }
}

TEST_F(HostileTest, LayersInDockerArchives) {
  for (const HostileLayer& layer : HostileLayers(canary_.path())) {
    if (layer.limits.entries < 10 || layer.limits.path_depth < 4 ||
        layer.limits.kept_bytes < 9999 || layer.limits.name_bytes < 99) {
      continue;  // the archive itself would not fit
    }
    const std::string tar = AsTar(DockerArchive(ImageSpec::Of(layer.bytes)));
    ExpectRefused(layer.name, [&] { return Take(tar, layer.limits); }, layer.code, layer.says);
  }
}

TEST_F(HostileTest, LayersInLayouts) {
  for (const HostileLayer& layer : HostileLayers(canary_.path())) {
    const Members members = OciLayout(ImageSpec::Of(layer.bytes));
    ExpectRefused(
        layer.name + " in a directory", [&] { return TakeDirectory(members, layer.limits); },
        layer.code, layer.says);
    if (layer.limits.entries < 10 || layer.limits.path_depth < 4 ||
        layer.limits.kept_bytes < 9999 || layer.limits.name_bytes < 99) {
      continue;
    }
    const std::string tar = AsTar(members);
    ExpectRefused(layer.name, [&] { return Take(tar, layer.limits); }, layer.code, layer.says);
  }
}

TEST_F(HostileTest, Archives) {
  for (const HostileArchive& archive : HostileArchives()) {
    if (archive.tar.code != 0) {
      const std::string tar = AsTar(archive.members);
      ExpectRefused(
          archive.name, [&] { return Take(tar, archive.limits); }, archive.tar.code,
          archive.tar.says);
    }
    if (archive.directory.code != 0) {
      ExpectRefused(
          archive.name + " as a directory",
          [&] { return TakeDirectory(archive.members, archive.limits); }, archive.directory.code,
          archive.directory.says);
    }
  }
}

TEST_F(HostileTest, LookAlikesAreTaken) {
  for (const GoodLayer& layer : GoodLayers(canary_.path())) {
    const ImageSpec spec = ImageSpec::Of(layer.tar);
    const auto expect_taken = [&](const char* form, Result<std::vector<ImportedImage>> result) {
      SCOPED_TRACE(layer.name + " as " + form);
      if (!result) {
        ADD_FAILURE() << result.error().ToString();
        return;
      }
      layer.check(LayerOf(result->front()));
      // So that the next form brings it in anew.
      Must(store_->images().Remove(result->front().id.ToString(), true));
      Must(layerstore::Collect(*store_));
      EXPECT_EQ(Leftovers(*store_), "");
    };
    expect_taken("a root filesystem", Take(layer.tar, {}));
    expect_taken("gzip", Take(support::Gzip(layer.tar), {}));
    expect_taken("zstd", Take(support::Zstd(layer.tar), {}));
    expect_taken("a docker archive", Take(AsTar(DockerArchive(spec)), {}));
    expect_taken("a layout", Take(AsTar(OciLayout(spec)), {}));
    expect_taken("a layout's directory", TakeDirectory(OciLayout(spec), {}));
  }
  EXPECT_EQ(canary_.Harm(), "");
}

TEST_F(HostileTest, LookAlikesStayWhole) {
  for (const GoodLayer& layer : GoodLayers(canary_.path())) {
    const auto images = Take(layer.tar, {});
    ASSERT_TRUE(images) << layer.name << ": " << images.error().ToString();
  }
  EXPECT_EQ(Findings(*store_), "");
  EXPECT_EQ(canary_.Harm(), "");
}

TEST_F(HostileTest, ArchivesThatLookAlikeAreTaken) {
  for (const GoodArchive& archive : GoodArchives()) {
    SCOPED_TRACE(archive.name);
    for (const bool directory : {false, true}) {
      const auto images =
          directory ? TakeDirectory(archive.members, {}) : Take(AsTar(archive.members), {});
      if (!images) {
        ADD_FAILURE() << images.error().ToString();
        continue;
      }
      EXPECT_EQ(support::ReadFile(LayerOf(images->front()) + "/f"), "content");
    }
  }
  EXPECT_EQ(Findings(*store_), "");
  EXPECT_EQ(canary_.Harm(), "");
}

}  // namespace
}  // namespace strata::hostile
