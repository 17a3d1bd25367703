// Images from files of every format, and files that are none.
#include "layerstore/import/import.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "layerstore/gc/collector.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/save/layer_source.h"
#include "tests/support/process.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::TarBuilder;
using support::Zstd;

std::string RootTar() {
  return TarBuilder()
      .AddDirectory("./bin")
      .AddFile("./bin/sh", "#!")
      .AddFile("./etc/os-release", "ID=test\n")
      .Finish();
}

std::string SecondTar() {
  return TarBuilder().AddFile("etc/added", "added").AddFile("etc/.wh.os-release", "").Finish();
}

ImageConfig TwoLayerConfig() {
  ImageConfig config;
  config.platform = HostPlatform();
  config.created = "2024-01-02T03:04:05.123Z";
  config.cmd = {"/bin/sh"};
  config.diff_ids = {Digest::Of(RootTar()), Digest::Of(SecondTar())};
  return config;
}

class ImportTest : public StoreTest {
 protected:
  Result<std::vector<ImportedImage>> ImportBytes(const std::string& bytes,
                                                 const char* name = nullptr) {
    const std::string path = temp_.At("import.tar");
    WriteFile(path, bytes);
    ImportOptions options;
    if (name != nullptr) options.name = Must(Reference::Parse(name));
    return Import(*store_, path, options);
  }

  void ExpectTwoLayers(const Image& image) {
    ASSERT_EQ(image.diff_ids, TwoLayerConfig().diff_ids);
    const auto dirs = Must(store_->LowerDirs(image));
    ASSERT_EQ(dirs.size(), 2U);
    EXPECT_EQ(ReadFile(dirs[0] + "/etc/added"), "added");
    EXPECT_TRUE(S_ISCHR(Lstat(dirs[0] + "/etc/os-release").st_mode));
    EXPECT_EQ(ReadFile(dirs[1] + "/etc/os-release"), "ID=test\n");
    ExpectPushable(image);
    ExpectNoLeftovers();
  }

  // What the manifest names is at hand, whole: as a blob, or made again of the layer's files.
  void ExpectPushable(const Image& image) {
    const ImageDetail detail = Must(store_->images().Inspect(image.id));
    const Manifest manifest = Must(ParseManifest(detail.manifest_json, image.manifest_media_type));
    EXPECT_EQ(manifest.config.digest, image.id);
    Lease lease = Must(store_->NewLease());
    LayerSource source(*store_, lease);
    for (const Descriptor& layer : manifest.layers) {
      const auto form = Must(source.Get(Must(store_->layers().FindBlob(layer.digest)).diff_id,
                                        layer.digest, std::nullopt));
      std::string bytes;
      Must(form.Stream([&](std::string_view piece) -> Result<> {
        bytes.append(piece);
        return {};
      }));
      EXPECT_EQ(Digest::Of(bytes), layer.digest);
      EXPECT_EQ(bytes.size(), layer.size);
    }
  }

  // Nothing but layers that came whole: another try finds them, a collection takes them.
  void ExpectNothing() {
    EXPECT_TRUE(Must(store_->images().List()).empty());
    Must(Collect(*store_));
    EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
    EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    ExpectNoLeftovers();
  }

  // Members of an OCI layout with two layers.
  TarBuilder OciLayout(const std::string& first_blob, bool index_first) {
    const ImageConfig config = TwoLayerConfig();
    const std::string config_json = config.ToJson();
    const std::string second_blob = all_gzip_ ? Gzip(SecondTar()) : Zstd(SecondTar());
    Manifest manifest;
    manifest.media_type = std::string(media_type::kOciManifest);
    manifest.config = Describe(media_type::kOciConfig, config_json);
    manifest.layers = {
        Describe(media_type::kOciLayerGzip, Gzip(RootTar())),
        Describe(all_gzip_ ? media_type::kOciLayerGzip : media_type::kOciLayerZstd, second_blob)};
    const std::string manifest_json = manifest.ToJson();
    Index index;
    index.media_type = std::string(media_type::kOciIndex);
    index.manifests = {Describe(media_type::kOciManifest, manifest_json)};
    index.manifests[0].annotations["org.opencontainers.image.ref.name"] = "example.com/app:1.0";
    TarBuilder tar;
    const auto tables = [&] {
      tar.AddFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
      tar.AddFile("index.json", index.ToJson());
    };
    if (index_first) tables();
    tar.AddDirectory("blobs").AddDirectory("blobs/sha256");
    tar.AddFile("blobs/sha256/" + Digest::Of(Gzip(RootTar())).Hex(), first_blob);
    for (const std::string& blob : {second_blob, config_json, manifest_json}) {
      tar.AddFile("blobs/sha256/" + Digest::Of(blob).Hex(), blob);
    }
    if (!index_first) tables();
    return tar;
  }

  bool all_gzip_ = false;  // docker's formats know no zstd

  static Descriptor Describe(std::string_view type, const std::string& blob) {
    Descriptor descriptor;
    descriptor.media_type = std::string(type);
    descriptor.digest = Digest::Of(blob);
    descriptor.size = blob.size();
    return descriptor;
  }
};

TEST_F(ImportTest, RootFilesystem) {
  for (const std::string& bytes : {RootTar(), Gzip(RootTar()), Zstd(RootTar())}) {
    const auto images = Must(ImportBytes(bytes, "debian"));
    ASSERT_EQ(images.size(), 1U);
    const Image& image = images[0];
    EXPECT_EQ(image.diff_ids, std::vector<Digest>{Digest::Of(RootTar())});
    ASSERT_EQ(image.tags.size(), 1U);
    EXPECT_EQ(image.tags[0].Familiar(), "debian:latest");
    const ImageDetail detail = Must(store_->images().Inspect("debian"));
    EXPECT_EQ(detail.config.cmd, std::vector<std::string>{"/bin/sh"});
    EXPECT_EQ(detail.config.platform, HostPlatform());
    EXPECT_GT(image.created, 1'600'000'000);
    EXPECT_EQ(ReadFile(Must(store_->LowerDirs(image))[0] + "/etc/os-release"), "ID=test\n");
    ExpectPushable(image);
    ExpectNoLeftovers();
  }
}

TEST_F(ImportTest, FromAStreamInSmallPieces) {
  const std::string bytes = Gzip(RootTar());
  std::size_t at = 0;
  ImportOptions options;
  options.config.cmd = {"/sbin/init"};
  const auto images = Must(ImportStream(
      *store_,
      [&](std::span<std::byte> buffer) -> Result<std::size_t> {
        const std::size_t count = std::min<std::size_t>({buffer.size(), 7, bytes.size() - at});
        std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + at, count, buffer.begin());
        at += count;
        return count;
      },
      options));
  EXPECT_TRUE(images[0].tags.empty());
  EXPECT_EQ(Must(store_->images().Inspect(images[0].id)).config.cmd[0], "/sbin/init");
}

TEST_F(ImportTest, OciLayoutTarAndDirectory) {
  for (const bool index_first : {true, false}) {
    const std::string tar = OciLayout(Gzip(RootTar()), index_first).Finish();
    const auto images = Must(ImportBytes(tar));
    ASSERT_EQ(images.size(), 1U);
    ExpectTwoLayers(images[0]);
    ASSERT_EQ(images[0].tags.size(), 1U);
    EXPECT_EQ(images[0].tags[0].Familiar(), "example.com/app:1.0");
    EXPECT_EQ(images[0].created, 1704164645);
  }
  const std::string dir = Must(temp_.MakeDir("layout"));
  WriteFile(temp_.At("layout.tar"), OciLayout(Gzip(RootTar()), true).Finish());
  ASSERT_EQ(Must(support::RunProcess({"tar", "-C", dir, "-xf", temp_.At("layout.tar")})).exit_code,
            0);
  ImportOptions options;
  options.name = Must(Reference::Parse("other:2"));
  const auto images = Must(Import(*store_, dir, options));
  ExpectTwoLayers(images[0]);
  EXPECT_EQ(images[0].tags.size(), 2U);
}

TEST_F(ImportTest, OciLayoutWithWrongBytes) {
  const std::string good = Gzip(RootTar());
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
  EXPECT_TRUE(FailsWith(ImportBytes(OciLayout(flipped, true).Finish()), EBADMSG, "digest"));
  ExpectNothing();
  EXPECT_TRUE(FailsWith(ImportBytes(OciLayout(good.substr(0, good.size() - 9), true).Finish()),
                        EBADMSG, "size"));
  ExpectNothing();
}

TEST_F(ImportTest, DockerArchive) {
  const std::string config_json = TwoLayerConfig().ToJson();
  const std::string id = Digest::Of(config_json).Hex();
  const std::string a(64, 'a');
  const std::string b(64, 'b');
  TarBuilder tar;
  tar.AddDirectory(a).AddFile(a + "/layer.tar", RootTar());
  tar.Add({.name = b + "/layer.tar", .type = '2', .link = "../" + std::string(64, 'c') + "/x.tar"});
  tar.AddFile(std::string(64, 'c') + "/x.tar", SecondTar());
  tar.AddFile(id + ".json", config_json);
  tar.AddFile("manifest.json", R"([{"Config":")" + id + R"(.json","RepoTags":["app:1","app:2"],)" +
                                   R"("Layers":[")" + a + R"(/layer.tar",")" + b +
                                   R"(/layer.tar"]}])");
  for (const std::string& bytes : {tar.Finish(), Gzip(tar.Finish())}) {
    const auto images = Must(ImportBytes(bytes));
    ASSERT_EQ(images.size(), 1U);
    EXPECT_EQ(images[0].id.Hex(), id);
    EXPECT_EQ(images[0].tags.size(), 2U);
    ExpectTwoLayers(images[0]);
  }
}

TEST_F(ImportTest, DockerArchiveWithAWrongLayer) {
  const std::string config_json = TwoLayerConfig().ToJson();
  TarBuilder tar;
  tar.AddFile("manifest.json",
              R"([{"Config":"c.json","RepoTags":["app:1"],"Layers":["a.tar","a.tar"]}])");
  tar.AddFile("c.json", config_json).AddFile("a.tar", RootTar());
  EXPECT_TRUE(FailsWith(ImportBytes(tar.Finish()), EBADMSG, "diffID"));
  EXPECT_TRUE(Must(store_->images().List()).empty());
  ExpectNoLeftovers();
}

TEST_F(ImportTest, LegacyDockerArchive) {
  const std::string base(64, '1');
  const std::string top(64, '2');
  TarBuilder tar;
  tar.AddFile("repositories", R"({"old/app":{"1":")" + top + R"("}})");
  tar.AddFile(base + "/json", R"({"id":")" + base + R"(","os":"linux"})");
  tar.AddFile(base + "/layer.tar", RootTar());
  tar.AddFile(
      top + "/json",
      R"({"parent":")" + base + R"(","os":"linux","architecture":"amd64","config":{"Cmd":["x"]}})");
  tar.AddFile(top + "/layer.tar", SecondTar());
  const auto images = Must(ImportBytes(tar.Finish()));
  ASSERT_EQ(images.size(), 1U);
  ExpectTwoLayers(images[0]);
  EXPECT_EQ(images[0].tags[0].Familiar(), "old/app:1");
  EXPECT_EQ(Must(store_->images().Inspect("old/app:1")).config.cmd[0], "x");
}

TEST_F(ImportTest, BadFiles) {
  EXPECT_TRUE(FailsWith(Import(*store_, temp_.At("missing"), {}), ENOENT, "missing"));
  EXPECT_TRUE(FailsWith(ImportBytes(""), EBADMSG, "import.tar"));
  EXPECT_TRUE(FailsWith(ImportBytes(std::string(5000, 'x')), EBADMSG));
  EXPECT_TRUE(FailsWith(ImportBytes(std::string("\xfd\x37zXZ\0", 6) + "rest"), ENOTSUP, "xz"));
  std::string corrupt = RootTar();
  corrupt[600] = static_cast<char>(corrupt[600] ^ 1);  // in the second header
  EXPECT_TRUE(FailsWith(ImportBytes(corrupt), EBADMSG));
  const std::string gzip = Gzip(RootTar());
  EXPECT_TRUE(FailsWith(ImportBytes(gzip.substr(0, gzip.size() - 4)), EBADMSG, "truncated"));
  EXPECT_TRUE(FailsWith(ImportBytes(RootTar().substr(0, 1030)), EBADMSG));
  EXPECT_TRUE(
      FailsWith(ImportBytes(TarBuilder().AddFile("blobs/x", "x").Finish()), EINVAL, "is no image"));
  EXPECT_TRUE(FailsWith(
      ImportBytes(TarBuilder().AddFile("manifest.json", "[{\"Config\":\"../x\"}]").Finish()),
      ENOENT));
  EXPECT_TRUE(FailsWith(Import(*store_, Must(temp_.MakeDir("empty")), {}), EINVAL, "is no image"));
  ImportOptions archive_only;
  archive_only.accept = ImportOptions::Accept::kArchive;
  WriteFile(temp_.At("root.tar"), RootTar());
  EXPECT_TRUE(FailsWith(Import(*store_, temp_.At("root.tar"), archive_only), EINVAL));
  ExpectNothing();
}

TEST_F(ImportTest, LayoutCanNotLeadOut) {
  WriteFile(temp_.At("secret"), "secret");
  const std::string dir = Must(temp_.MakeDir("layout"));
  Must(FileOps::System().SymLink("../secret", AT_FDCWD, (dir + "/oci-layout").c_str()));
  EXPECT_TRUE(FailsWith(Import(*store_, dir, {}), EXDEV));
}

// Another program's idea of the formats, where it is installed.
TEST_F(ImportTest, WhatSkopeoWrites) {
  if (::access("/usr/bin/skopeo", X_OK) != 0) GTEST_SKIP() << "skopeo is not installed";
  all_gzip_ = true;
  const std::string dir = Must(temp_.MakeDir("layout"));
  WriteFile(temp_.At("layout.tar"), OciLayout(Gzip(RootTar()), true).Finish());
  Must(support::RunProcess({"tar", "-C", dir, "-xf", temp_.At("layout.tar")}));
  for (const std::string target : {"docker-archive", "oci-archive"}) {
    const std::string file = temp_.At(target);
    const auto copied = Must(support::RunProcess(
        {"skopeo", "copy", "--insecure-policy", "oci:" + dir + ":example.com/app:1.0",
         target + ":" + file + ":example.com/copied:" + target}));
    ASSERT_EQ(copied.exit_code, 0) << copied.err;
    const auto images = Must(Import(*store_, file, {}));
    ASSERT_EQ(images.size(), 1U);
    ExpectTwoLayers(images[0]);
  }
}

}  // namespace
}  // namespace strata::layerstore
