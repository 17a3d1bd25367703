// Pulls from registries that do not keep to the rules, into a real store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "layerstore/oci/media_types.h"
#include "manager/image/image_service.h"
#include "tests/support/must.h"
#include "tests/support/sample_image.h"
#include "tests/support/temp_root.h"
#include "tests/unit/registry/registry_fixture.h"

namespace strata::manager {
namespace {

using layerstore::Reference;
using layerstore::Store;
using support::Must;
using support::SampleImage;
using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::HasSubstr;

// What a registry has in one repository; tests take things away or change them.
struct Content {
  std::string manifest;
  std::string manifest_type{layerstore::media_type::kOciManifest};
  std::map<std::string, std::string> blobs;  // by digest
  std::string hang_blob;                     // this one stops half way

  explicit Content(const SampleImage& image) : manifest(image.manifest_json) {
    blobs[image.id().ToString()] = image.config_json;
    for (const auto& layer : image.layers) blobs[layer.digest.ToString()] = layer.blob;
  }

  ScriptedReply operator()(const ScriptedRequest& request) const {
    if (request.target.contains("/manifests/")) {
      return {.headers = {{"Content-Type", manifest_type}}, .body = manifest};
    }
    const std::string digest = request.target.substr(request.target.rfind('/') + 1);
    const auto it = blobs.find(digest);
    if (it == blobs.end()) return {.status = 404};
    ScriptedReply reply{.body = it->second};
    if (digest == hang_blob) reply.hang_after = it->second.size() / 2;
    return reply;
  }
};

class ImagePullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    sample_ = support::MakeSampleImage(Must(root_.MakeDir("sample")), "one");
    store_ = Must(Store::Open({.root = root_.At("store")}));
    ImageServiceOptions options;
    options.registry = QuickRegistryOptions();
    service_ = std::make_unique<ImageService>(*store_, options);
  }

  // The error of a pull of `content`, after which nothing must be left.
  Error FailingPull(const Content& content, Cancellation* cancel = nullptr) {
    ScriptedHttpServer server(Registry(std::cref(content)));
    const auto result =
        service_->Pull(Must(Reference::Parse(server.Address() + "/s:1")), {}, {}, cancel);
    EXPECT_FALSE(result);
    EXPECT_TRUE(Must(service_->List({})).empty());
    Must(layerstore::Collect(*store_));
    EXPECT_TRUE(Must(store_->blobs().List()).empty());
    for (const auto& layer : sample_.layers) EXPECT_FALSE(store_->layers().Find(layer.diff_id));
    if (result) return Error(EIO, "the pull succeeded");
    Error copy(result.error().code(), result.error().op(), std::string(result.error().detail()));
    EXPECT_THAT(copy.ToString(), HasSubstr(server.Address() + "/s:1"));
    return copy;
  }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  SampleImage sample_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<ImageService> service_;
};

TEST_F(ImagePullTest, GoodContentIsTaken) {
  const Content content(sample_);
  ScriptedHttpServer server(Registry(std::cref(content)));
  const auto result =
      service_->Pull(Must(Reference::Parse(server.Address() + "/s:1")), {}, {}, nullptr);
  ASSERT_TRUE(result) << result.error().ToString();
  const auto defaults = Must(service_->Defaults(server.Address() + "/s:1"));
  EXPECT_EQ(defaults.cmd, std::vector<std::string>{"/bin/tool"});
  EXPECT_EQ(defaults.working_dir, "/");
  EXPECT_EQ(defaults.stop_signal, "SIGTERM");
  const auto image = Must(service_->Inspect(server.Address() + "/s:1"));
  const auto layers = Must(store_->layers().LowerDirs(image.config.diff_ids));
  EXPECT_EQ(layers.size(), sample_.layers.size());
}

TEST_F(ImagePullTest, AMissingLayer) {
  Content content(sample_);
  content.blobs.erase(sample_.layers[2].digest.ToString());
  const Error error = FailingPull(content);
  EXPECT_EQ(error.code(), ENOENT);
  EXPECT_THAT(error.ToString(), HasSubstr(sample_.layers[2].digest.ToString()));
}

TEST_F(ImagePullTest, ALayerOfOtherBytes) {
  Content content(sample_);
  std::string& blob = content.blobs[sample_.layers[0].digest.ToString()];
  blob[blob.size() / 2] = static_cast<char>(blob[blob.size() / 2] ^ 1);
  EXPECT_EQ(FailingPull(content).code(), EBADMSG);
}

TEST_F(ImagePullTest, ALayerOfOtherSize) {
  Content content(sample_);
  content.blobs[sample_.layers[0].digest.ToString()] += "more";
  EXPECT_EQ(FailingPull(content).code(), EBADMSG);
}

TEST_F(ImagePullTest, ALayerThatIsNoArchive) {
  SampleImage image = sample_;
  image.layers[1].blob = "no tar at all";
  image.layers[1].digest = Digest::Of(image.layers[1].blob);
  const SampleImage broken = support::MakeImage(image.layers, "broken");
  EXPECT_EQ(FailingPull(Content(broken)).code(), EBADMSG);
}

TEST_F(ImagePullTest, ALayerThatIsNotWhatTheConfigurationSays) {
  SampleImage image = sample_;
  image.layers[0].diff_id = Digest::Of("another tar");
  const SampleImage swapped = support::MakeImage(image.layers, "swapped");
  EXPECT_EQ(FailingPull(Content(swapped)).code(), EBADMSG);
}

TEST_F(ImagePullTest, AConfigurationOfOtherBytes) {
  Content content(sample_);
  content.blobs[sample_.id().ToString()].back() = ' ';
  EXPECT_EQ(FailingPull(content).code(), EBADMSG);
}

TEST_F(ImagePullTest, AConfigurationWithFewerLayers) {
  SampleImage image = sample_;
  image.config.diff_ids.pop_back();
  image.config_json = image.config.ToJson();
  image.manifest.config.digest = image.id();
  image.manifest.config.size = image.config_json.size();
  image.manifest_json = image.manifest.ToJson();
  const Error error = FailingPull(Content(image));
  EXPECT_EQ(error.code(), EINVAL);
  EXPECT_THAT(error.ToString(), HasSubstr("the manifest has 3 layers, the configuration 2"));
}

TEST_F(ImagePullTest, ThingsThatAreNoContainerImage) {
  SampleImage chart = sample_;
  chart.manifest.config.media_type = "application/vnd.cncf.helm.config.v1+json";
  chart.manifest_json = chart.manifest.ToJson();
  EXPECT_THAT(FailingPull(Content(chart)).ToString(), HasSubstr("helm"));
  SampleImage odd = sample_;
  odd.manifest.layers[1].media_type = "application/vnd.in-toto+json";
  odd.manifest_json = odd.manifest.ToJson();
  EXPECT_THAT(FailingPull(Content(odd)).ToString(), HasSubstr("in-toto"));
}

TEST_F(ImagePullTest, ManifestsThatAreNoManifest) {
  for (const char* text :
       {"", "{}", "[]", "null", "{\"schemaVersion\":2", "\x7f\x45LF",
        // An index and a manifest at once (CVE-2021-41190).
        R"({"schemaVersion":2,"manifests":[],"layers":[],"config":{}})",
        R"({"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",)"
        R"("digest":"sha256:../../../etc/passwd","size":1},"layers":[]})"}) {
    Content content(sample_);
    content.manifest = text;
    EXPECT_EQ(FailingPull(content).code(), EINVAL) << text;
  }
}

TEST_F(ImagePullTest, AnIndexWithoutThisPlatform) {
  Content content(sample_);
  layerstore::Index index;
  index.media_type = layerstore::media_type::kOciIndex;
  layerstore::Descriptor entry;
  entry.media_type = sample_.manifest.media_type;
  entry.digest = sample_.digest();
  entry.size = sample_.manifest_json.size();
  entry.platform = Must(layerstore::ParsePlatform("linux/s390x"));
  index.manifests = {entry};
  content.manifest = index.ToJson();
  content.manifest_type = index.media_type;
  EXPECT_EQ(FailingPull(content).code(), ENOENT);
}

TEST_F(ImagePullTest, ForeignLayersAreNotFetchedFromElsewhere) {
  ScriptedHttpServer elsewhere([](const ScriptedRequest&) { return ScriptedReply{}; });
  SampleImage image = sample_;
  image.manifest.layers[0].media_type =
      std::string(layerstore::media_type::kDockerForeignLayerGzip);
  image.manifest.layers[0].urls = {elsewhere.Url("/layer")};
  image.manifest_json = image.manifest.ToJson();
  Content content(image);
  content.blobs.erase(image.layers[0].digest.ToString());
  EXPECT_EQ(FailingPull(content).code(), ENOENT);
  EXPECT_TRUE(elsewhere.Requests().empty());
}

TEST_F(ImagePullTest, ALayerThatStopsHalfWay) {
  Content content(sample_);
  content.hang_blob = sample_.layers[0].digest.ToString();
  content.blobs[content.hang_blob].resize(1000);  // each connection gives 500 bytes of it
  EXPECT_EQ(FailingPull(content).code(), ETIMEDOUT);
}

TEST_F(ImagePullTest, Canceling) {
  Content content(sample_);
  content.hang_blob = sample_.layers[0].digest.ToString();
  Cancellation cancel;
  const std::jthread canceler([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    cancel.Cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(FailingPull(content, &cancel).code(), ECANCELED);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST_F(ImagePullTest, AFailedPullLeavesTheOldImageInPlace) {
  Content content(sample_);
  ScriptedHttpServer server(
      Registry([&](const ScriptedRequest& request) { return content(request); }));
  const Reference name = Must(Reference::Parse(server.Address() + "/s:1"));
  ASSERT_TRUE(service_->Pull(name, {}, {}, nullptr));
  const SampleImage next = support::MakeSampleImage(Must(root_.MakeDir("next")), "two");
  content = Content(next);
  content.blobs.erase(next.layers[1].digest.ToString());
  EXPECT_FALSE(service_->Pull(name, {}, {}, nullptr));
  EXPECT_EQ(Must(service_->Inspect(name.ToString())).image.id, sample_.id());
  content = Content(next);
  const auto pulled = service_->Pull(name, {}, {}, nullptr);
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_EQ(Must(service_->Inspect(name.ToString())).image.id, next.id());
  ImageFilter dangling;
  dangling.dangling = true;
  const auto old = Must(service_->List(dangling));
  ASSERT_EQ(old.size(), 1U);
  EXPECT_EQ(old[0].id, sample_.id());
  const auto pruned = Must(service_->Prune({}));
  EXPECT_FALSE(pruned.deletions.empty());
  EXPECT_EQ(Must(service_->List({})).size(), 1U);
}

}  // namespace
}  // namespace strata::manager
