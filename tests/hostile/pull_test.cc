// Hostile layers and images from registries: one on loopback that says what a test wants, and the
// one of Debian, which takes any bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/try.h"
#include "layerstore/oci/media_types.h"
#include "manager/image/image_service.h"
#include "manager/registry/registry_client.h"
#include "tests/hostile/archives.h"
#include "tests/hostile/canary.h"
#include "tests/hostile/layers.h"
#include "tests/hostile/refusal.h"
#include "tests/support/docker_registry.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/unit/registry/registry_fixture.h"

namespace strata::hostile {
namespace {

namespace media_type = layerstore::media_type;
using layerstore::Reference;
using layerstore::Store;
using layerstore::UnpackLimits;
using manager::ImageService;
using manager::PullOutcome;
using support::Must;
using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;

// A layout, as a registry would have it: the tag is its index.
ScriptedReply Serve(const Members& layout, const ScriptedRequest& request) {
  const std::string name = request.target.substr(request.target.rfind('/') + 1);
  const std::string member =
      name.starts_with("sha256:") ? "blobs/sha256/" + name.substr(7) : "index.json";
  const auto found = std::ranges::find(layout, member, &support::TarMember::name);
  if (found == layout.end()) return {.status = 404};
  std::string_view type = "application/octet-stream";
  if (request.target.contains("/manifests/")) {
    const bool index = found->content.contains(R"("manifests":)");
    type = index && !found->content.contains(R"("layers":)") ? media_type::kOciIndex
                                                             : media_type::kOciManifest;
  }
  return {.headers = {{"Content-Type", std::string(type)}}, .body = found->content};
}

class HostilePullTest : public ::testing::Test {
 protected:
  Result<PullOutcome> Pull(const std::string& name, const UnpackLimits& limits) {
    manager::ImageServiceOptions options;
    options.registry = manager::QuickRegistryOptions();
    options.layer_limits = limits;
    ImageService service(*store_, options);
    manager::PullOptions pull;
    pull.platform = Must(layerstore::ParsePlatform("linux/amd64"));
    return service.Pull(Must(Reference::Parse(name)), pull, {}, nullptr);
  }

  void ExpectRefused(const std::string& what, const std::string& name, int code,
                     const std::string& says, const UnpackLimits& limits) {
    SCOPED_TRACE(what);
    const auto take = [&]() -> Result<> {
      STRATA_TRY(Pull(name, limits));
      return {};
    };
    const std::string text = ExpectRefusal(*store_, canary_, take, code, says);
    EXPECT_NE(text.find(name), std::string::npos) << text;
  }

  void ExpectTaken(const std::string& name, const GoodLayer& layer) {
    SCOPED_TRACE(layer.name);
    const auto pulled = Pull(name, {});
    if (!pulled) {
      ADD_FAILURE() << pulled.error().ToString();
      return;
    }
    layer.check(Must(store_->layers().LowerDirs(pulled->image.diff_ids)).back());
  }

  support::TempRoot temp_ = Must(support::TempRoot::CreateInMemory());
  Canary canary_{temp_.path()};
  std::unique_ptr<Store> store_ = Must(Store::Open({.root = temp_.At("store")}));
};

TEST_F(HostilePullTest, Layers) {
  for (const HostileLayer& layer : HostileLayers(canary_.path())) {
    const Members layout = OciLayout(ImageSpec::Of(layer.bytes));
    ScriptedHttpServer server(
        manager::Registry([&](const ScriptedRequest& request) { return Serve(layout, request); }));
    ExpectRefused(layer.name, server.Address() + "/s:1", layer.code, layer.says, layer.limits);
  }
}

TEST_F(HostilePullTest, Images) {
  for (const HostileArchive& archive : HostileArchives()) {
    if (archive.pull.code == 0) continue;
    ScriptedHttpServer server(manager::Registry(
        [&](const ScriptedRequest& request) { return Serve(archive.members, request); }));
    ExpectRefused(archive.name, server.Address() + "/s:1", archive.pull.code, archive.pull.says,
                  archive.limits);
  }
}

TEST_F(HostilePullTest, LookAlikesAreTaken) {
  for (const GoodLayer& layer : GoodLayers(canary_.path())) {
    const Members layout = OciLayout(ImageSpec::Of(layer.tar));
    ScriptedHttpServer server(
        manager::Registry([&](const ScriptedRequest& request) { return Serve(layout, request); }));
    ExpectTaken(server.Address() + "/s:1", layer);
  }
  EXPECT_EQ(Findings(*store_), "");
  EXPECT_EQ(canary_.Harm(), "");
}

class HostileRegistryTest : public HostilePullTest {
 protected:
  void SetUp() override {
    if (!support::DockerRegistry::Installed()) GTEST_SKIP() << "docker-registry is not installed";
    registry_ = support::DockerRegistry::Start(Must(temp_.MakeDir("registry")));
    client_ = Must(manager::RegistryClient::Open(registry_->address(), {},
                                                 manager::QuickRegistryOptions(), nullptr));
  }

  void PushBlob(const std::string& bytes) {
    const auto read = [&](std::uint64_t offset,
                          std::span<std::byte> buffer) -> Result<std::size_t> {
      return bytes.copy(reinterpret_cast<char*>(buffer.data()), buffer.size(), offset);
    };
    Must(client_->PushBlob("h", {Digest::Of(bytes), {bytes.size(), read}, nullptr}, {}));
  }

  // Returns the image's name.
  std::string Push(const ImageSpec& spec) {
    const BuiltImage image = Build(spec);
    PushBlob(spec.layer);
    PushBlob(image.config);
    const std::string tag = "t" + std::to_string(++tags_);
    Must(client_->PutManifest("h", tag, media_type::kOciManifest, image.manifest));
    return registry_->address() + "/h:" + tag;
  }

  std::unique_ptr<support::DockerRegistry> registry_;
  std::unique_ptr<manager::RegistryClient> client_;
  int tags_ = 0;
};

TEST_F(HostileRegistryTest, Layers) {
  for (const HostileLayer& layer : HostileLayers(canary_.path())) {
    ExpectRefused(layer.name, Push(ImageSpec::Of(layer.bytes)), layer.code, layer.says,
                  layer.limits);
  }
}

TEST_F(HostileRegistryTest, LookAlikesAreTaken) {
  for (const GoodLayer& layer : GoodLayers(canary_.path())) {
    ExpectTaken(Push(ImageSpec::Of(layer.tar)), layer);
  }
  EXPECT_EQ(Findings(*store_), "");
  EXPECT_EQ(canary_.Harm(), "");
}

}  // namespace
}  // namespace strata::hostile
