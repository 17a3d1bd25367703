// Which images a prune takes, what it only tells, and deleting in the background.
#include <gmock/gmock.h>

#include <filesystem>
#include <string>
#include <vector>

#include "layerstore/gc/collector.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/usage/usage.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

class PruneTest : public StoreTest {
 protected:
  // An image with a layer of its own of about `size` bytes, last used at `used`.
  Image Make(const char* name, std::int64_t used, std::size_t size = 1) {
    const std::string label = name != nullptr ? name : std::to_string(used);
    LayerIngest ingest;
    ingest.keep_blob = false;
    const LayerInfo layer = Must(
        PutLayer(TarBuilder().AddFile("f" + label, std::string(size, label[0])).Finish(), ingest));
    const Image image = PutImage({base_, layer.diff_id}, name, label.c_str());
    Must(store_->database()->Write([&](Connection& connection) {
      return connection.Execute("UPDATE images SET used=" + std::to_string(used) + ", created=" +
                                std::to_string(used) + " WHERE id='" + image.id.ToString() + "'");
    }));
    return image;
  }

  std::vector<Digest> Images() {
    std::vector<Digest> ids;
    for (const Image& image : Must(store_->images().List())) ids.push_back(image.id);
    return ids;
  }

  Digest base_ = Must(PutLayer(TarBuilder().AddFile("base", "shared").Finish())).diff_id;
};

TEST_F(PruneTest, ADryRunTellsAndChangesNothing) {
  const Image dangling = Make(nullptr, 100);
  const Image tagged = Make("app:1", 200);
  const Digest garbage = Must(PutLayer(TarBuilder().AddFile("loose", "x").Finish())).diff_id;
  const auto layers = Names(root_ + "/layers/sha256");
  const auto blobs = Names(root_ + "/blobs/sha256");

  const PruneOptions options{.images = {.all = true}, .dry_run = true};
  const PruneReport told = Must(Prune(*store_, options));
  EXPECT_EQ(told.images, (std::vector<Digest>{dangling.id, tagged.id}));
  EXPECT_EQ(told.layers.size(), 4U);
  EXPECT_EQ(Must(Collect(*store_, true)).layers, std::vector<Digest>{garbage});
  EXPECT_EQ(Names(root_ + "/layers/sha256"), layers);
  EXPECT_EQ(Names(root_ + "/blobs/sha256"), blobs);
  EXPECT_EQ(Images().size(), 2U);
  EXPECT_TRUE(Succeeds(store_->layers().Find(garbage)));

  const PruneReport done = Must(Prune(*store_, {.images = {.all = true}}));
  EXPECT_EQ(done.images, told.images);
  EXPECT_EQ(done.layers, told.layers);
  EXPECT_EQ(done.blobs, told.blobs);
  EXPECT_EQ(done.untagged, told.untagged);
  EXPECT_EQ(done.reclaimed, told.reclaimed);
  EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
}

TEST_F(PruneTest, ByTheTimeOfTheLastUse) {
  const Image old = Make("old", 100);
  const Image recent = Make("recent", 300);
  const Image old_dangling = Make(nullptr, 101);
  EXPECT_EQ(Must(Prune(*store_, {.images = {.unused_since = 200}})).images,
            std::vector<Digest>{old_dangling.id});
  EXPECT_EQ(Must(Prune(*store_, {.images = {.all = true, .unused_since = 200}})).images,
            std::vector<Digest>{old.id});
  // To be given to a container is use.
  Must(store_->images().AddUser(recent.id, "container:1"));
  Must(store_->images().RemoveUser("container:1"));
  EXPECT_TRUE(Must(Prune(*store_, {.images = {.all = true, .unused_since = 400}})).images.empty());
}

TEST_F(PruneTest, ByTheTimeOfCreation) {
  const Image old = Make("old", 100);
  Make("recent", 300);
  EXPECT_EQ(Must(Prune(*store_, {.images = {.all = true, .created_before = 200}})).images,
            std::vector<Digest>{old.id});
}

TEST_F(PruneTest, DownToASize) {
  const Image first = Make("first", 100, 500'000);
  const Image second = Make("second", 200, 500'000);
  const Image third = Make("third", 300, 500'000);
  Must(store_->images().AddUser(first.id, "container:1"));  // not used longest, but in use
  PrunePolicy policy{.all = true, .keep_bytes = 1'600'000};
  EXPECT_TRUE(Must(Prune(*store_, {.images = policy})).images.empty());
  policy.keep_bytes = 1'100'000;
  EXPECT_EQ(Must(Prune(*store_, {.images = policy})).images, std::vector<Digest>{second.id});
  policy.keep_bytes = 0;
  EXPECT_EQ(Must(Prune(*store_, {.images = policy})).images, std::vector<Digest>{third.id});
  EXPECT_EQ(Images(), std::vector<Digest>{first.id});
  EXPECT_TRUE(Succeeds(store_->layers().Find(base_)));
}

TEST_F(PruneTest, LayersOfSeveralImagesCountOnce) {
  LayerIngest ingest;
  ingest.keep_blob = false;
  const LayerInfo big =
      Must(PutLayer(TarBuilder().AddFile("big", std::string(900'000, 'b')).Finish(), ingest));
  PutImage({big.diff_id}, "one", "one");
  PutImage({big.diff_id}, "two", "two");
  PrunePolicy policy{.all = true, .keep_bytes = 1'000'000};
  EXPECT_TRUE(Must(Prune(*store_, {.images = policy})).images.empty());
  policy.keep_bytes = 500'000;
  EXPECT_EQ(Must(Prune(*store_, {.images = policy})).images.size(), 2U);
}

// A file that several layers have is there once, and goes with the last of them.
TEST_F(PruneTest, AFileOfSeveralLayersCountsOnce) {
  const std::string big(1'000'000, 'b');
  const auto make = [&](const char* name, std::int64_t used) {
    const std::string tar =
        TarBuilder()
            .AddFile(name, big)
            .Add({.name = std::string(name) + "-link", .type = '1', .link = name})
            .AddFile("own", std::string(300'000, name[0]))
            .Finish();
    const Image image = PutImage({Must(PutLayer(tar)).diff_id}, name, name);
    Must(store_->database()->Write([&](Connection& connection) {
      return connection.Execute("UPDATE images SET used=" + std::to_string(used) + " WHERE id='" +
                                image.id.ToString() + "'");
    }));
    return image;
  };
  const Image first = make("one", 100);
  const Image second = make("two", 200);
  Must(Collect(*store_));  // base_
  const std::uint64_t before = Must(MeasureStore(*store_)).physical;
  EXPECT_LT(before, 1'800'000U);

  PrunePolicy policy{.all = true, .keep_bytes = 1'800'000};
  EXPECT_TRUE(Must(Prune(*store_, {.images = policy})).images.empty());
  policy.keep_bytes = 1'500'000;
  const PruneReport told = Must(Prune(*store_, {.images = policy, .dry_run = true}));
  const PruneReport done = Must(Prune(*store_, {.images = policy}));
  EXPECT_EQ(done.images, std::vector<Digest>{first.id});
  EXPECT_EQ(done.reclaimed, told.reclaimed);
  EXPECT_LT(done.reclaimed, 400'000U);
  const std::uint64_t after = Must(MeasureStore(*store_)).physical;
  EXPECT_EQ(before - after, done.reclaimed);

  policy.keep_bytes = 0;
  const PruneReport rest = Must(Prune(*store_, {.images = policy}));
  EXPECT_EQ(rest.images, std::vector<Digest>{second.id});
  EXPECT_EQ(rest.reclaimed, after);
  EXPECT_EQ(Must(MeasureStore(*store_)).physical, 0U);
}

// It is told of like every other.
TEST_F(PruneTest, ALayerThatWasNeverFinished) {
  const Digest unfinished = Digest::Of("unfinished");
  std::filesystem::create_directories(root_ + "/layers/sha256/" + unfinished.Hex() + "/fs");
  const auto names = [&](bool dry_run) { return Must(Collect(*store_, dry_run)).layers; };
  EXPECT_THAT(names(true), ::testing::Contains(unfinished));
  EXPECT_THAT(names(false), ::testing::Contains(unfinished));
  EXPECT_THAT(names(false), ::testing::Not(::testing::Contains(unfinished)));
}

TEST_F(PruneTest, DeletesInTheBackground) {
  store_.reset();
  store_ = Must(Store::Open({.root = root_, .delete_in_background = true}));
  std::vector<Digest> made;
  for (int i = 0; i < 20; ++i) {
    made.push_back(
        Must(PutLayer(TarBuilder().AddFile("f", "layer " + std::to_string(i)).Finish())).diff_id);
  }
  // One more than the layers: base_ goes, too.
  EXPECT_EQ(Must(Collect(*store_)).layers.size(), made.size() + 1);
  EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
  store_->store_root().WaitForTrash();
  ExpectNoLeftovers();
  // A staging directory and what another process left in the trash go with the next start.
  Must(FileOps::System().MakeDir(AT_FDCWD, (root_ + "/trash/left").c_str(), 0700));
  store_.reset();
  EXPECT_TRUE(Names(root_ + "/tmp").empty());
  store_ = Must(Store::Open({.root = root_, .delete_in_background = true}));
  store_->store_root().WaitForTrash();
  ExpectNoLeftovers();
}

}  // namespace
}  // namespace strata::layerstore
