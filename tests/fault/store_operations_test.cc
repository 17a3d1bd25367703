// Whatever changes a store, with every single step of it going wrong in turn: file system calls and
// SQLite's own, in every way they can. Afterwards the store is as before or as after it, and works
// on. Bringing images in has a test of its own: layerstore_publish_test.cc.
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "layerstore/index/metadata_index.h"
#include "layerstore/oci/media_types.h"
#include "tests/fault/store_steps.h"

namespace strata::layerstore {
namespace {

using support::FaultKind;
using support::FaultName;
using support::Must;

Reference Name(const std::string& text) { return Must(Reference::Parse(text)).WithDefaultTag(); }

// The store every operation starts from: app:1 is an image of two layers, with its chain's index
// and a container; loose:1 another of the first layer.
struct Start {
  Image app;
  Image loose;
  NewIndex both;  // of the two, not put yet
};

struct Operation {
  const char* name;
  std::function<void(Store&, const Start&)> prepare;  // without faults; may be null
  std::function<Result<>(Store&, const Start&)> run;
  // Whether it has happened: told from what it is to change, all of it.
  std::function<bool(Store&, const Start&)> happened;
  // Names of images that are there before and after it.
  std::vector<std::string> kept;
  // The rename that cannot be undone comes before the end: it may have happened although it failed.
  bool idempotent = false;
};

bool Has(Store& store, const std::string& name) { return store.images().Resolve(name).has_value(); }

Result<> Discarding(auto result) {
  if (!result) return std::unexpected(std::move(result).error());
  return {};
}

std::string LayerPath(Store& store, const Digest& diff_id) {
  return store.root() + "/layers/sha256/" + diff_id.Hex();
}

std::string IndexPath(Store& store, const Digest& diff_id) {
  return LayerPath(store, diff_id) + "/index";
}

// As a plain stream; nothing happens if all of it is there.
Result<> BringLayer(Store& store, const std::string& tar) {
  auto lease = store.NewLease();
  if (!lease) return std::unexpected(std::move(lease).error());
  LayerIngest ingest;
  ingest.diff_id = Digest::Of(tar);
  auto sink = store.layers().Begin(std::move(ingest), *lease);
  if (!sink) return std::unexpected(std::move(sink).error());
  if (!*sink) return {};
  if (auto written = (*sink)->Write(tar); !written) return written;
  return Discarding((*sink)->Commit());
}

NewIndex IndexOfBoth(Store& store, const Start& start) {
  Index list;
  list.media_type = std::string(media_type::kOciIndex);
  NewIndex index;
  for (const Image& image : {start.app, start.loose}) {
    const ImageDetail detail = Must(store.images().Inspect(image.id));
    Descriptor descriptor;
    descriptor.media_type = image.manifest_media_type;
    descriptor.digest = image.manifest_digest;
    descriptor.size = detail.manifest_json.size();
    list.manifests.push_back(descriptor);
    index.images.push_back(
        {detail.config_json, detail.manifest_json, image.manifest_media_type, {}});
  }
  index.json = list.ToJson();
  index.media_type = list.media_type;
  index.names = {Name("both")};
  return index;
}

std::vector<Operation> Operations() {
  std::vector<Operation> all;
  all.push_back(
      {.name = "Tag",
       .prepare = nullptr,
       .run = [](Store& store,
                 const Start& start) { return store.images().Tag(start.app.id, Name("app:2")); },
       .happened = [](Store& store, const Start&) { return Has(store, "app:2"); },
       .kept = {"app:1", "loose:1"}});
  all.push_back(
      {.name = "MoveTag",
       .prepare = nullptr,
       .run = [](Store& store,
                 const Start& start) { return store.images().Tag(start.app.id, Name("loose:1")); },
       .happened =
           [](Store& store, const Start& start) {
             return Must(store.images().Resolve("loose:1")).id == start.app.id;
           },
       .kept = {"app:1", "loose:1"}});
  all.push_back(
      {.name = "Untag",
       .prepare = nullptr,
       .run = [](Store& store, const Start&) { return store.images().Untag(Name("loose:1")); },
       .happened = [](Store& store, const Start&) { return !Has(store, "loose:1"); },
       .kept = {"app:1"}});
  all.push_back(
      {.name = "Remove",
       .prepare = nullptr,
       .run = [](Store& store,
                 const Start&) { return Discarding(store.images().Remove("loose:1", false)); },
       .happened = [](Store& store,
                      const Start&) { return Must(store.images().List()).size() == 1; },
       .kept = {"app:1"}});
  all.push_back(
      {.name = "PutIndex",
       .prepare = nullptr,
       .run = [](Store& store,
                 const Start& start) { return Discarding(store.images().PutIndex(start.both)); },
       .happened =
           [](Store& store, const Start&) {
             const bool named = Has(store, "both");
             const auto index = Must(store.images().IndexOf(Name("both")));
             EXPECT_EQ(named, index.has_value());
             EXPECT_EQ(index ? index->members.size() : 2U, 2U);
             return named;
           },
       .kept = {"app:1", "loose:1"}});
  all.push_back({.name = "Prune",
                 .prepare = nullptr,
                 .run =
                     [](Store& store, const Start&) {
                       return Discarding(layerstore::Prune(store, {.images = {.all = true}}));
                     },
                 .happened = [](Store& store,
                                const Start&) { return Must(store.images().List()).size() == 1; },
                 .kept = {"app:1"},
                 .idempotent = true});
  all.push_back({.name = "AddUser",
                 .prepare = nullptr,
                 .run =
                     [](Store& store, const Start& start) {
                       return store.images().AddUser(start.loose.id, "container:new");
                     },
                 .happened =
                     [](Store& store, const Start& start) {
                       return !Must(store.images().Users(start.loose.id)).empty();
                     },
                 .kept = {"app:1", "loose:1"}});
  all.push_back({.name = "RemoveUser",
                 .prepare = nullptr,
                 .run = [](Store& store,
                           const Start&) { return store.images().RemoveUser("container:kept"); },
                 .happened =
                     [](Store& store, const Start& start) {
                       return Must(store.images().Users(start.app.id)).empty();
                     },
                 .kept = {"app:1", "loose:1"}});
  // Indexes are made again if a step fails; so what counts is that mounting works afterwards, which
  // is looked at after every operation.
  const auto ensure = [](Store& store, const Start& start) {
    return Discarding(store.chains().Ensure(start.app.diff_ids));
  };
  all.push_back({.name = "BuildChainIndex",
                 .prepare =
                     [](Store& store, const Start&) {
                       Must(support::RemoveTree(store.root() + "/chains/sha256"));
                       Must(FileOps::System().MakeDir(
                           AT_FDCWD, (store.root() + "/chains/sha256").c_str(), 0700));
                     },
                 .run = ensure,
                 .happened = nullptr,
                 .kept = {"app:1", "loose:1"}});
  all.push_back({.name = "BuildLayerIndex",
                 .prepare =
                     [](Store& store, const Start& start) {
                       for (const Digest& diff_id : start.app.diff_ids) {
                         Must(
                             FileOps::System().Unlink(AT_FDCWD, IndexPath(store, diff_id).c_str()));
                       }
                       Must(support::RemoveTree(store.root() + "/chains/sha256"));
                       Must(FileOps::System().MakeDir(
                           AT_FDCWD, (store.root() + "/chains/sha256").c_str(), 0700));
                     },
                 .run = ensure,
                 .happened = nullptr,
                 .kept = {"app:1", "loose:1"}});
  // A layer of an older program, whose bytes come again.
  all.push_back(
      {.name = "AdoptRecipe",
       .prepare =
           [](Store& store, const Start& start) {
             const std::string layer = LayerPath(store, start.app.diff_ids[0]);
             Must(FileOps::System().Unlink(AT_FDCWD, (layer + "/recipe").c_str()));
             Must(support::RemoveTree(layer + "/replaced"));
             // As the first programs left it.
             Must(store.database()->Write([](Connection& connection) {
               return connection.Execute("UPDATE layers SET disk=NULL");
             }));
           },
       .run = [](Store& store,
                 const Start&) { return BringLayer(store, ImportFaultTest::SampleTar()); },
       .happened =
           [](Store& store, const Start& start) {
             return store.layers().TarSize(start.app.diff_ids[0]).has_value();
           },
       .kept = {"app:1", "loose:1"}});
  return all;
}

using Parameter = std::tuple<FaultKind, Operation>;

class StoreOperationsTest : public StoreStepsTest, public ::testing::WithParamInterface<Parameter> {
 protected:
  StoreOperationsTest() : StoreStepsTest(std::get<0>(GetParam())) {}
  const Operation& operation() const { return std::get<1>(GetParam()); }

  // A fresh store, closed, ready for the operation.
  void Prepare() {
    store_.reset();
    Must(support::RemoveTree(root_));
    Reopen();
    const LayerInfo base = Must(PutLayer(SampleTar()));
    const LayerInfo top =
        Must(PutLayer(support::TarBuilder().AddDirectory("./d").AddFile("./d/g", "top").Finish()));
    start_.app = PutImage({base.diff_id, top.diff_id}, "app:1", "app");
    start_.loose = PutImage({base.diff_id}, "loose:1", "loose");
    Must(store_->images().AddUser(start_.app.id, "container:kept"));
    start_.both = IndexOfBoth(*store_, start_);
    Must(store_->chains().Ensure(start_.app.diff_ids));
    if (operation().prepare) operation().prepare(*store_, start_);
    store_.reset();
  }

  Result<> Run(Store& store) const { return operation().run(store, start_); }

  // As before the operation or as after it, and nothing is left over.
  void ExpectOldOrNew(bool must_be_new) {
    Reopen();
    ExpectNoLeftovers();
    EXPECT_EQ(Damage(), "");
    for (const std::string& name : operation().kept) ExpectWhole(name);
    if (!operation().happened) return;
    const bool happened = operation().happened(*store_, start_);
    EXPECT_TRUE(happened || !must_be_new);
    // Once more: to the same end, whether it had happened or not.
    if (!happened || operation().idempotent) {
      const auto again = Run(*store_);
      EXPECT_TRUE(again.has_value()) << again.error().ToString();
      EXPECT_TRUE(operation().happened(*store_, start_));
    }
    for (const std::string& name : operation().kept) ExpectWhole(name);
    ExpectNoLeftovers();
  }

  // The image can be mounted: every layer and an index of the chain are there and whole.
  void ExpectWhole(const std::string& name) {
    const Image image = Must(store_->images().Resolve(name));
    const auto dirs = Must(store_->LowerDirs(image));
    EXPECT_EQ(ReadFile(dirs.back() + "/d/f"), "again");
    if (dirs.size() > 1) {
      EXPECT_EQ(ReadFile(dirs.front() + "/d/g"), "top");
    }
    const std::string chain = Must(store_->chains().Ensure(image.diff_ids));
    const auto index =
        Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, (chain + "/index").c_str()));
    EXPECT_EQ(index->layers().size(), image.diff_ids.size());
    Must(index->Verify());
  }

  Start start_;
};

TEST_P(StoreOperationsTest, EveryStep) {
  std::uint64_t failed = 0;
  ForEveryStep([&](std::uint64_t at) {
    Prepare();
    bool done = false;
    if (plan_.kind() == FaultKind::kDie) {
      done = WithDeath(at, [&](Store& store) { return Run(store); });
    } else {
      WithFault(at, [&](Store& store) { done = Run(store).has_value(); });
    }
    if (!done) ++failed;
    ExpectOldOrNew(done);
    return reached_;
  });
  // Some calls can not be short.
  EXPECT_GE(failed * kStride, plan_.kind() == FaultKind::kShort ? 0U : 2U);
}

// What was not synced is lost.
class StorePowerTest : public StoreOperationsTest {};

TEST_P(StorePowerTest, EveryStep) {
  ForEveryStep([&](std::uint64_t at) {
    Prepare();
    disk_.reset();  // what Prepare() did is on the disk
    Must(support::RemoveTree(temp_.At("attic")));
    const bool done = WithPowerFailure(at, [&](Store& store) { return Run(store); });
    ExpectOldOrNew(done);
    return reached_;
  });
}

std::string ParameterName(const ::testing::TestParamInfo<Parameter>& parameter) {
  return std::string(std::get<1>(parameter.param).name) + FaultName(std::get<0>(parameter.param));
}

INSTANTIATE_TEST_SUITE_P(
    Faults, StoreOperationsTest,
    ::testing::Combine(::testing::Values(FaultKind::kError, FaultKind::kErrorFromThere,
                                         FaultKind::kFull, FaultKind::kFullFromThere,
                                         FaultKind::kShort, FaultKind::kDie),
                       ::testing::ValuesIn(Operations())),
    ParameterName);
INSTANTIATE_TEST_SUITE_P(Faults, StorePowerTest,
                         ::testing::Combine(::testing::Values(FaultKind::kErrorFromThere),
                                            ::testing::ValuesIn(Operations())),
                         ParameterName);

}  // namespace
}  // namespace strata::layerstore
