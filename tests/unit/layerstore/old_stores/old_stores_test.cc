// Stores that older versions of the program left behind (make.cc): taken over, they answer as they
// did, and work on.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layerstore/gc/collector.h"
#include "layerstore/index/metadata_index.h"
#include "tests/support/process.h"
#include "tests/unit/layerstore/old_stores/describe.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using nlohmann::json;
using support::Must;

constexpr const char* kComponent = "layerstore";

class OldStoreTest : public StoreTest {
 protected:
  OldStoreTest() { store_.reset(); }

  static std::string KeptPath(int version) {
    const char* source = std::getenv("STRATA_SOURCE_DIR");
    if (source == nullptr) throw std::runtime_error("STRATA_SOURCE_DIR is not set");
    return std::string(source) + "/tests/unit/layerstore/old_stores/v" + std::to_string(version);
  }

  int CurrentVersion() {
    const auto store = Must(Store::Open({.root = temp_.At("current")}));
    return Must(store->database()->Version(kComponent));
  }

  // Unpacks the store and its description into fresh places.
  void Unpack(int version) {
    Must(support::RemoveTree(root_));
    Must(support::RunTool({"tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--zstd",
                           "-C", temp_.path(), "-xpf", KeptPath(version) + ".tar.zst"}));
    std::ifstream file(KeptPath(version) + ".json");
    kept_ = json::parse(file);
    held_.clear();
    for (const auto& text : kept_["held"])
      held_.push_back(Must(Digest::Parse(text.get<std::string>())));
    leased_ = Must(Digest::Parse(kept_["leased"].get<std::string>()));
  }

  void ExpectSameAnswers() {
    const json now = json::parse(DescribeStore(*store_, held_));
    EXPECT_EQ(json::diff(kept_["answers"], now), json::array());
  }

  json kept_;
  std::vector<Digest> held_;
  Digest leased_;
};

TEST_F(OldStoreTest, AnswersAndWorksOnAfterEveryUpgrade) {
  const int current = CurrentVersion();
  for (int version = 1; version <= current; ++version) {
    SCOPED_TRACE("store of version " + std::to_string(version));
    // That of the current version is made when it is about to be changed.
    if (version == current && version > 1 && !std::ifstream(KeptPath(version) + ".json")) continue;
    Unpack(version);
    // It is what it says: nobody made it anew with a later program.
    EXPECT_EQ(kept_["version"], version);
    EXPECT_EQ(Must(Must(Database::Open(root_ + "/meta.db"))->Version(kComponent)), version);

    // Read without being changed, it answers like one of today.
    store_ = Must(Store::Open({.root = root_, .read_only = true}));
    ExpectSameAnswers();
    store_.reset();
    EXPECT_EQ(Must(Must(Database::Open(root_ + "/meta.db"))->Version(kComponent)), version);

    Reopen();
    EXPECT_EQ(Must(store_->database()->Version(kComponent)), current);
    ExpectNoLeftovers();
    ExpectSameAnswers();
    Reopen();
    ExpectSameAnswers();

    // The lease of the process that died ends, and nothing else with it.
    EXPECT_TRUE(Succeeds(store_->layers().Find(leased_)));
    const PruneReport report = Must(Collect(*store_));
    EXPECT_EQ(report.layers, std::vector<Digest>{leased_});
    EXPECT_EQ(report.blobs.size(), 1U);
    ExpectSameAnswers();
    ExpectNoLeftovers();

    const Image image = Must(store_->images().Resolve("app:1"));
    const std::string chain = Must(store_->chains().Ensure(image.diff_ids));
    const auto index =
        Must(MetadataIndex::Open(store_->ops(), AT_FDCWD, (chain + "/index").c_str()));
    EXPECT_EQ(index->layers().size(), image.diff_ids.size());
    EXPECT_TRUE(Succeeds(index->Verify()));

    // And it can be added to and emptied.
    const LayerInfo layer = Must(PutLayer(support::TarBuilder().AddFile("f", "x").Finish()));
    PutImage({image.diff_ids[0], layer.diff_id}, "more");
    Must(store_->images().RemoveUser("container:kept"));
    Must(store_->images().RemoveUser("container:of a removed image"));
    Must(Prune(*store_, {.images = {.all = true}}));
    EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
    EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    EXPECT_TRUE(Names(root_ + "/chains/sha256").empty());
    store_.reset();
  }
}

}  // namespace
}  // namespace strata::layerstore
