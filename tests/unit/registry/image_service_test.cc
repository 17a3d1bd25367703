#include "manager/image/image_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/must.h"
#include "tests/support/sample_image.h"
#include "tests/support/temp_root.h"

namespace strata::manager {
namespace {

using layerstore::Reference;
using layerstore::Store;
using support::Must;
using support::SampleImage;
using ::testing::HasSubstr;

constexpr auto kNoneRuns = [](std::string_view) { return false; };

class ImageServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    sample_ = support::MakeSampleImage(Must(root_.MakeDir("sample")), "one");
    store_ = Must(Store::Open({.root = root_.At("store")}));
    service_ = std::make_unique<ImageService>(*store_, ImageServiceOptions{});
    support::PutImage(*store_, sample_, Must(Reference::Parse("sample:1")));
  }

  std::size_t Count(const ImageFilter& filter) { return Must(service_->List(filter)).size(); }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  SampleImage sample_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<ImageService> service_;
};

TEST_F(ImageServiceTest, ListsByReferenceLabelAndTag) {
  EXPECT_EQ(Count({}), 1U);
  for (const char* pattern : {"sample", "sample:1", "sam*", "s*:?", "docker.io/library/sample"}) {
    ImageFilter filter;
    filter.references = {"nothing", pattern};
    EXPECT_EQ(Count(filter), 1U) << pattern;
  }
  ImageFilter other;
  other.references = {"sample:2"};
  EXPECT_EQ(Count(other), 0U);
  for (const auto& [label, count] : std::map<std::string, std::size_t>{
           {"label", 1}, {"label=one", 1}, {"label=two", 0}, {"none", 0}}) {
    ImageFilter filter;
    filter.labels = {label};
    EXPECT_EQ(Count(filter), count) << label;
  }
  ImageFilter dangling;
  dangling.dangling = true;
  EXPECT_EQ(Count(dangling), 0U);
  dangling.dangling = false;
  EXPECT_EQ(Count(dangling), 1U);
  ImageFilter before;
  before.before = "sample:1";
  EXPECT_EQ(Count(before), 0U);
  before.before = "absent";
  EXPECT_FALSE(service_->List(before));
}

TEST_F(ImageServiceTest, RemovesNamesBeforeTheImage) {
  ASSERT_TRUE(service_->Tag("sample:1", Must(Reference::Parse("sample"))));
  const auto one = Must(service_->Remove("sample:1", false, kNoneRuns));
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].what, ImageDeletion::What::kUntagged);
  EXPECT_EQ(one[0].name, "sample:1");
  const auto last = Must(service_->Remove("sample", false, kNoneRuns));
  ASSERT_EQ(last.size(), 2 + sample_.layers.size());
  EXPECT_EQ(last[0].name, "sample:latest");
  EXPECT_EQ(last[1].what, ImageDeletion::What::kDeleted);
  EXPECT_EQ(last[1].name, sample_.id().ToString());
  EXPECT_EQ(Count({}), 0U);
  const auto again = service_->Remove("sample", false, kNoneRuns);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ENOENT);
}

TEST_F(ImageServiceTest, AnImageInUseStays) {
  ASSERT_TRUE(store_->images().AddUser(sample_.id(), "container:0123456789abcdef"));
  const auto removed = service_->Remove("sample:1", false, kNoneRuns);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code(), EBUSY);
  EXPECT_THAT(removed.error().ToString(),
              HasSubstr("container 0123456789ab is using its referenced image"));
  EXPECT_EQ(Must(service_->Prune({.images = {.all = true}})).deletions.size(), 0U);
  // One that runs is not even forced away.
  const auto runs = [](std::string_view id) { return id == "0123456789abcdef"; };
  const auto forced = service_->Remove("sample:1", true, runs);
  ASSERT_FALSE(forced);
  EXPECT_EQ(forced.error().code(), EBUSY);
  EXPECT_THAT(forced.error().ToString(),
              HasSubstr("(cannot be forced) - image is being used by running container "
                        "0123456789ab"));
  ASSERT_TRUE(service_->Tag("sample:1", Must(Reference::Parse("other"))));
  EXPECT_EQ(Must(service_->Remove("other", true, runs)).size(), 1U);  // a name only
  EXPECT_EQ(Must(service_->Remove("sample:1", true, kNoneRuns))[1].what,
            ImageDeletion::What::kDeleted);
}

TEST_F(ImageServiceTest, AnImageNoLongerInUseGoes) {
  ASSERT_TRUE(store_->images().AddUser(sample_.id(), "container:0123456789abcdef"));
  ASSERT_TRUE(store_->images().RemoveUser("container:0123456789abcdef"));
  EXPECT_TRUE(service_->Remove("sample:1", false, kNoneRuns));
}

TEST_F(ImageServiceTest, NamesThatCanNotBeGiven) {
  const Reference digest = Must(Reference::Parse("x@" + sample_.digest().ToString()));
  EXPECT_FALSE(service_->Tag("sample:1", digest));
  EXPECT_FALSE(service_->Tag("absent", Must(Reference::Parse("x"))));
  const auto push = service_->Push(digest, {}, {}, nullptr);
  ASSERT_FALSE(push);
  EXPECT_EQ(push.error().code(), EINVAL);
}

TEST_F(ImageServiceTest, DefaultsOfAContainer) {
  const auto defaults = Must(service_->Defaults("sample:1"));
  EXPECT_EQ(defaults.image, sample_.id());
  EXPECT_EQ(defaults.env, (std::vector<std::string>{"PATH=/bin", "LABEL=one"}));
  EXPECT_EQ(defaults.labels.at("label"), "one");
}

}  // namespace
}  // namespace strata::manager
