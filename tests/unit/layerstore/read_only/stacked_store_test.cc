// Stores below the own one: their images and layers serve as if they were its own, and nothing is
// copied from them or written to them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "layerstore/fsck/checker.h"
#include "layerstore/fsck/repair.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/save/save.h"
#include "layerstore/usage/usage.h"
#include "tests/support/sample_image.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/union_mount.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

Reference Name(const std::string& text) { return Must(Reference::Parse(text)).WithDefaultTag(); }

class StackedStoreTest : public StoreTest {
 protected:
  // Two stores, each with its app; "shared" and the base are in both.
  void SetUp() override {
    store_.reset();
    for (const char* store : {"first", "second"}) Fill(store);
    before_ = {Snapshot("first"), Snapshot("second")};
    OpenStack();
  }

  // Nothing is ever written there.
  void TearDown() override {
    store_.reset();
    support::CompareRules rules;
    rules.inode_numbers = true;
    if (std::filesystem::exists(temp_.At("first"))) {
      EXPECT_EQ(Diff(before_[0], Snapshot("first"), rules), "");
    }
    EXPECT_EQ(Diff(before_[1], Snapshot("second"), rules), "");
  }

  void Fill(const std::string& name) {
    const auto store = Must(Store::Open({.root = temp_.At(name)}));
    for (const std::string& image : {name, std::string("shared")}) {
      Must(support::RemoveTree(temp_.At("trees")));
      samples_[image] = support::MakeSampleImage(Must(temp_.MakeDir("trees")), image);
      support::PutImage(*store, samples_[image], Name(image));
    }
    Must(store->images().Tag(samples_[name].id(), Name("app:1")));
  }

  void OpenStack() {
    store_.reset();
    store_ =
        Must(Store::Open({.root = root_, .additional = {temp_.At("first"), temp_.At("second")}}));
  }

  support::TreeSnapshot Snapshot(const std::string& name) {
    return Must(support::TreeSnapshot::Take(temp_.At(name)));
  }

  Digest IdOf(const std::string& name) { return Must(store_->images().Resolve(name)).id; }

  // The own store's own layers.
  std::size_t OwnLayers() { return Names(root_ + "/layers/sha256").size(); }

  std::vector<std::string> Check(const std::string& additional = {}) {
    std::vector<std::string> found;
    CheckOptions options;
    options.depth = CheckOptions::Depth::kDeep;
    if (!additional.empty()) options.additional = {additional};
    Must(CheckStore(*store_, options,
                    [&](const Finding& finding) { found.push_back(finding.ToString()); }));
    return found;
  }

  std::string Save(const std::string& name) {
    const auto saved = Must(SavedImages::Prepare(*store_, std::vector{name}, {}));
    std::string bytes;
    Must(saved->Write([&](std::string_view piece) -> Result<> {
      bytes.append(piece);
      return {};
    }));
    return bytes;
  }

  // The id of the image in an archive.
  static Digest Import(Store& store, const std::string& bytes) {
    std::size_t at = 0;
    ImportOptions options;
    options.accept = ImportOptions::Accept::kArchive;
    return Must(ImportStream(
                    store,
                    [&](std::span<std::byte> buffer) -> Result<std::size_t> {
                      const std::size_t count = std::min(buffer.size(), bytes.size() - at);
                      std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + at, count,
                                  buffer.begin());
                      at += count;
                      return count;
                    },
                    options))
        .at(0)
        .id;
  }

  std::map<std::string, support::SampleImage> samples_;
  std::vector<support::TreeSnapshot> before_;
};

TEST_F(StackedStoreTest, ImagesAreAskedForStoreByStore) {
  EXPECT_EQ(Must(store_->images().List()).size(), 3U);
  EXPECT_EQ(IdOf("app:1"), samples_["first"].id());
  EXPECT_EQ(IdOf("second"), samples_["second"].id());
  const ImageDetail detail = Must(store_->images().Inspect(samples_["second"].id()));
  EXPECT_EQ(detail.image.below, temp_.At("second"));
  EXPECT_EQ(detail.manifest_json, samples_["second"].manifest_json);
  // The first store has given app:1 to another.
  EXPECT_EQ(detail.image.tags, std::vector{Name("second")});
  EXPECT_EQ(Must(store_->images().Resolve("shared")).below, temp_.At("first"));
  EXPECT_TRUE(FailsWith(store_->images().Resolve("none"), ENOENT, "no such image: none"));

  // The other way round the other one wins.
  store_ = Must(Store::Open(
      {.root = temp_.At("other"), .additional = {temp_.At("second"), temp_.At("first")}}));
  EXPECT_EQ(IdOf("app:1"), samples_["second"].id());
}

TEST_F(StackedStoreTest, TheOwnStoresNamesHideThoseBelow) {
  const LayerInfo layer = Must(PutLayer(TarBuilder().AddFile("f", "own").Finish()));
  const Image own = PutImage({layer.diff_id}, "app:1");
  EXPECT_EQ(IdOf("app:1"), own.id);
  const auto images = Must(store_->images().List());
  EXPECT_EQ(images.size(), 4U);
  for (const Image& image : images) {
    if (image.id == samples_["first"].id()) {
      EXPECT_EQ(image.tags, std::vector{Name("first")});
    }
    EXPECT_EQ(image.below.empty(), image.id == own.id);
  }
  Must(store_->images().Remove("app:1", false));
  EXPECT_EQ(IdOf("app:1"), samples_["first"].id());
}

TEST_F(StackedStoreTest, LayersAreUsedWhereTheyAre) {
  const Image image = Must(store_->images().Resolve("second"));
  const auto dirs = Must(store_->LowerDirs(image));
  EXPECT_TRUE(dirs.front().starts_with(temp_.At("second"))) << dirs.front();
  EXPECT_TRUE(dirs.back().starts_with(temp_.At("first")))
      << dirs.back();  // the base, which both have
  const std::string chain = Must(store_->chains().Ensure(image.diff_ids));
  EXPECT_TRUE(chain.starts_with(root_)) << chain;
  const auto index =
      Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, (chain + "/index").c_str()));
  for (std::size_t i = 0; i < dirs.size(); ++i) {
    EXPECT_EQ(index->layers()[i].path, dirs[dirs.size() - 1 - i]);
  }
  // A collection leaves it, as the image is still to be seen.
  Must(Collect(*store_));
  EXPECT_EQ(Must(store_->chains().Ensure(image.diff_ids)), chain);
  EXPECT_EQ(OwnLayers(), 0U);
  ExpectNoLeftovers();
}

TEST_F(StackedStoreTest, ATagIsARowThatRefersToWhatIsBelow) {
  const Digest id = samples_["second"].id();
  Must(store_->images().Tag(id, Name("mine:1")));
  EXPECT_EQ(Must(store_->images().Resolve("mine:1")).below, "");
  EXPECT_EQ(Must(store_->images().Resolve("mine:1")).tags,
            (std::vector{Name("mine:1"), Name("second")}));
  EXPECT_EQ(Must(store_->images().Inspect(id)).manifest_json, samples_["second"].manifest_json);
  EXPECT_EQ(OwnLayers(), 0U);
  Must(Collect(*store_));
  EXPECT_TRUE(Check().empty()) << Check().front();
  EXPECT_FALSE(Save("mine:1").empty());
  // Its name goes, and the image stays where it is.
  Must(store_->images().Remove("mine:1", false));
  EXPECT_EQ(Must(store_->images().Resolve("second")).below, temp_.At("second"));
}

TEST_F(StackedStoreTest, NothingBelowCanBeRemoved) {
  EXPECT_TRUE(FailsWith(store_->images().Remove("second", true), EROFS,
                        "image second is in the additional store " + temp_.At("second")));
  EXPECT_TRUE(FailsWith(store_->images().Remove(samples_["first"].id().Hex().substr(0, 12), false),
                        EROFS, temp_.At("first")));
  EXPECT_TRUE(FailsWith(store_->images().Untag(Name("app:1")), EROFS, temp_.At("first")));
  EXPECT_TRUE(FailsWith(store_->images().Remove("none", true), ENOENT));
  Must(Prune(*store_, {.images = {.all = true}}));
  EXPECT_EQ(Must(store_->images().List()).size(), 3U);
}

TEST_F(StackedStoreTest, AUserNeedsTheLayersAndNoRowOfTheImage) {
  const Digest id = samples_["second"].id();
  Must(store_->images().AddUser(id, "container:1"));
  EXPECT_EQ(Must(store_->images().Users(id)), std::vector<std::string>{"container:1"});
  EXPECT_EQ(Must(store_->images().Resolve("second")).below, temp_.At("second"));
  EXPECT_TRUE(Check().empty()) << Check().front();
  Must(store_->images().RemoveUser("container:1"));
  EXPECT_TRUE(FailsWith(store_->images().AddUser(Digest::Of("none"), "container:2"), ENOENT));
}

TEST_F(StackedStoreTest, WhatIsBelowIsNotUnpackedAgain) {
  // With blobs that are below, and in a form that is kept nowhere.
  const std::string archive = Save("second");
  EXPECT_EQ(Import(*store_, archive), samples_["second"].id());
  EXPECT_EQ(OwnLayers(), 0U);
  EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
  EXPECT_EQ(Must(store_->images().Resolve("second")).below, "");
  EXPECT_TRUE(Save("second") == archive);

  LayerIngest ingest;
  ingest.diff_id = samples_["second"].layers[0].diff_id;
  ingest.blob = Digest::Of("another form");
  Lease lease = Must(store_->NewLease());
  EXPECT_EQ(Must(store_->layers().Begin(ingest, lease)), nullptr);

  // A stream that only turns out to be such a layer leaves its form.
  const auto& sample = samples_["second"].layers[2];
  const std::string gzip = support::Gzip(sample.tar);
  EXPECT_TRUE(Must(PutLayer(gzip)).path.starts_with(temp_.At("second")));
  EXPECT_EQ(OwnLayers(), 0U);
  Must(Collect(*store_));
  EXPECT_EQ(Must(store_->layers().FindBlob(Digest::Of(gzip))).diff_id, sample.diff_id);
  EXPECT_TRUE(Check().empty()) << Check().front();
  Must(store_->images().Remove("second", false));
  Must(Collect(*store_));
  EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
  ExpectNoLeftovers();
}

TEST_F(StackedStoreTest, AnImageCanStandOnLayersBelow) {
  const Image parent = Must(store_->images().Resolve("second"));
  std::vector<Digest> layers = parent.diff_ids;
  layers.push_back(Must(PutLayer(TarBuilder().AddFile("added", "x").Finish())).diff_id);
  const Image child = PutImage(layers, "child");
  EXPECT_EQ(child.size, parent.size + 1);
  EXPECT_EQ(OwnLayers(), 1U);
  {
    support::UnionSpec spec{.chain = Must(store_->chains().Ensure(layers)),
                            .mount_point = Must(temp_.MakeDir("mounted"))};
    auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, spec));
    EXPECT_EQ(ReadFile(spec.mount_point + "/added"), "x");
    EXPECT_EQ(ReadFile(spec.mount_point + "/etc/label"),
              ReadFile(Must(store_->layers().Find(parent.diff_ids[1])).path + "/etc/label"));
    Must(mount.Stop());
  }
  EXPECT_EQ(Must(SharedSizes(*store_)).at(child.id), parent.size);
  const std::string archive = Save("child");
  const auto alone = Must(Store::Open({.root = temp_.At("alone")}));
  EXPECT_EQ(Import(*alone, archive), child.id);
  Must(Collect(*store_));
  EXPECT_TRUE(Check().empty()) << Check().front();
}

TEST_F(StackedStoreTest, ACheckTellsWhichStoreIsMissing) {
  Must(store_->images().Tag(samples_["first"].id(), Name("mine:1")));
  store_.reset();
  // Opened without them, as by strata-store.
  Reopen();
  EXPECT_TRUE(Check().empty());
  const std::string away = temp_.At("away");
  std::filesystem::rename(temp_.At("first"), away);
  std::filesystem::create_directory(temp_.At("first"));  // as where nothing is mounted
  auto found = Check();
  // The base is in the second store, which nothing says.
  ASSERT_EQ(found.size(), 3U);
  for (const std::string& finding : found) {
    EXPECT_NE(finding.find("missing-store: image docker.io/library/mine:1 (" +
                           samples_["first"].id().ToString() + ") needs it"),
              std::string::npos)
        << finding;
    EXPECT_NE(finding.find("additional store " + temp_.At("first")), std::string::npos) << finding;
  }
  EXPECT_TRUE(Check(away).empty());  // it may lie elsewhere now
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_, .additional = {temp_.At("first")}}), ENOENT,
                        "additional store " + temp_.At("first")));
  std::filesystem::remove(temp_.At("first"));
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_, .additional = {temp_.At("first")}}), ENOENT,
                        "additional store " + temp_.At("first")));
  // What is missing is not put aside, nor are rows changed.
  std::vector<Finding> all;
  Must(CheckStore(*store_, {}, [&](Finding finding) { all.push_back(std::move(finding)); }));
  for (const RepairStep& step : Must(Repair(*store_, all, {}))) EXPECT_FALSE(step.mended);
  std::filesystem::rename(away, temp_.At("first"));
  EXPECT_TRUE(Check().empty());
}

TEST_F(StackedStoreTest, ALayerThatItsStoreHasNoMoreIsMissing) {
  Must(store_->images().Tag(samples_["first"].id(), Name("mine:1")));
  Reopen();
  std::filesystem::rename(temp_.At("first"), temp_.At("away"));
  Must(Store::Open({.root = temp_.At("first")}));
  const auto found = Check();
  ASSERT_EQ(found.size(), 3U);
  EXPECT_NE(found.front().find("missing-layer: image docker.io/library/mine:1"), std::string::npos);
  EXPECT_NE(found.front().find("which has it no more"), std::string::npos);
  std::filesystem::remove_all(temp_.At("first"));
}

TEST_F(StackedStoreTest, NoStoreIsThereTwice) {
  const std::string first = temp_.At("first");
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_, .additional = {first, first + "/"}}), EINVAL,
                        "more than once"));
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_, .additional = {root_}}), EINVAL));
}

}  // namespace
}  // namespace strata::layerstore
