// What the fault tests of the store bring in, and how they tell whether it is there: whole, or not
// at all.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "layerstore/fsck/checker.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {

class ImportFaultTest : public StoreTest {
 public:
  static std::string SampleTar() {
    return support::TarBuilder()
        .Add({.name = "./", .type = '5', .mode = 0755, .mtime = 5})
        .AddDirectory("./d")
        .AddFile("./d/f", "content")
        .Add({.name = "./d/s", .type = '2', .link = "f"})
        .Add({.name = "./h", .type = '1', .link = "d/f"})
        .AddFile("./.wh.gone", "")
        .AddFile("./d/.wh..wh..opq", "")
        .AddFile("./d/f", "again")
        .Finish();
  }

 protected:
  static ByteSource From(const std::string& bytes, std::size_t& at) {
    return [&bytes, &at](std::span<std::byte> buffer) -> Result<std::size_t> {
      const std::size_t count = std::min(buffer.size(), bytes.size() - at);
      std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + at, count, buffer.begin());
      at += count;
      return count;
    };
  }

  // A root filesystem, as app:1. It is compressed, so that its blob is kept.
  static Result<> ImportRoot(Store& store) {
    ImportOptions options;
    options.name = support::Must(Reference::Parse("app:1"));
    return Bring(store, support::Gzip(SampleTar()), options);
  }

  // A docker-archive whose image has two names, app:1 and app:2, and a plain layer.
  static Result<> ImportArchive(Store& store) {
    ImageConfig config;
    config.platform = HostPlatform();
    config.diff_ids = {Digest::Of(SampleTar())};
    const std::string archive =
        support::TarBuilder()
            .AddFile("manifest.json", R"([{"Config":"config.json","RepoTags":["app:1","app:2"],)"
                                      R"("Layers":["layer.tar"]}])")
            .AddFile("config.json", config.ToJson())
            .AddFile("layer.tar", SampleTar())
            .Finish();
    return Bring(store, archive, {});
  }

  // Empty if the image is there under all of `names`, with all its bytes, or if there is no trace
  // of it but what a collection takes; else what is wrong. Collects in the second case.
  std::string OldOrNew(const std::vector<std::string>& names, bool must_be_new) {
    if (std::string damage = Damage(); !damage.empty()) return damage;
    if (const auto image = store_->images().Resolve(names[0])) return Whole(*image, names);
    if (must_be_new) return "the image is gone";
    if (!support::Must(store_->images().List()).empty()) return "an image without its name";
    support::Must(Collect(*store_));
    if (!Names(root_ + "/layers/sha256").empty()) return "a layer is left";
    if (!Names(root_ + "/blobs/sha256").empty()) return "a blob is left";
    return {};
  }

  // What a check of every byte finds; empty if the store is clean.
  std::string Damage() {
    std::string text;
    support::Must(
        CheckStore(*store_, {.depth = CheckOptions::Depth::kDeep}, [&](const Finding& finding) {
          if (!Harmless(finding.kind)) text += finding.ToString() + "\n";
        }));
    return text;
  }

 private:
  static Result<> Bring(Store& store, const std::string& bytes, const ImportOptions& options) {
    std::size_t at = 0;
    auto images = ImportStream(store, From(bytes, at), options);
    if (!images) return std::unexpected(std::move(images).error());
    return {};
  }

  std::string Whole(const Image& image, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      const auto named = store_->images().Resolve(name);
      if (!named || named->id != image.id) return name + " is missing";
    }
    const auto dirs = store_->LowerDirs(image);
    if (!dirs) return dirs.error().ToString();
    if (ReadFile(dirs->at(0) + "/d/f") != "again") return "d/f is not whole";
    if (ReadFile(dirs->at(0) + "/h") != "content") return "h is not whole";
    if (Lstat(dirs->at(0)).st_mtim.tv_sec != 5) return "the layer's time";
    for (const LayerBlob& blob : support::Must(store_->layers().Blobs(image.diff_ids[0]))) {
      if (blob.kept != true) continue;  // the check made its tar again
      const std::string path = root_ + "/blobs/sha256/" + blob.blob.Hex();
      if (Digest::Of(ReadFile(path)) != blob.blob) return "the blob is not whole";
    }
    return {};
  }
};

}  // namespace strata::layerstore
