// Images as files, and what comes back from them.
#include "layerstore/save/save.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "layerstore/archive/tar_reader.h"
#include "layerstore/import/import.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/save/convert.h"
#include "layerstore/save/layer_source.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::TarBuilder;
using support::Zstd;
using Format = SaveOptions::Format;

constexpr Format kFormats[] = {Format::kDocker, Format::kDockerArchive, Format::kOciArchive};

std::string BaseTar() {
  return TarBuilder().AddDirectory("./etc").AddFile("./etc/name", std::string(5000, 'n')).Finish();
}
std::string TopTar(const std::string& name) {
  return TarBuilder().AddFile(name, "content of " + name).AddFile("etc/.wh.name", "").Finish();
}

// The members of an archive in its order; links as "-> target".
std::vector<std::pair<std::string, std::string>> Members(const std::string& tar) {
  bool given = false;
  TarReader reader([&]() -> Result<std::string_view> {
    return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
  });
  std::vector<std::pair<std::string, std::string>> members;
  while (Must(reader.Next())) {
    const TarEntry& entry = reader.entry();
    EXPECT_EQ(entry.mtime.tv_sec, 0) << entry.path;
    EXPECT_EQ(entry.uid, 0) << entry.path;
    std::string content;
    if (entry.type == TarEntry::Type::kSymlink) content = "-> " + entry.link;
    while (const auto block = Must(reader.ReadBlock())) content.append(block->data);
    members.emplace_back(entry.path, content);
  }
  return members;
}

class SaveTest : public StoreTest {
 protected:
  Image Add(const std::vector<std::string>& layers, const std::vector<std::string>& names,
            bool docker = false) {
    return Add(*store_, layers, names, docker);
  }

  // An image of these streams, each kept as it comes.
  static Image Add(Store& store, const std::vector<std::string>& layers,
                   const std::vector<std::string>& names, bool docker = false) {
    Lease lease = Must(store.NewLease());
    ImageConfig config;
    config.platform = HostPlatform();
    config.created = "2024-01-02T03:04:05Z";
    config.cmd = {"/bin/sh"};
    Manifest manifest;
    manifest.media_type =
        std::string(docker ? media_type::kDockerManifest : media_type::kOciManifest);
    for (const std::string& stream : layers) {
      const auto sink = Must(store.layers().Begin({}, lease));
      Must(sink->Write(stream));
      config.diff_ids.push_back(Must(sink->Commit()).diff_id);
      Descriptor layer;
      layer.media_type =
          docker ? std::string(media_type::kDockerLayerGzip) : sink->blob().media_type;
      layer.digest = sink->blob().blob;
      layer.size = sink->blob().size;
      manifest.layers.push_back(layer);
    }
    const std::string json = config.ToJson();
    manifest.config.media_type =
        std::string(docker ? media_type::kDockerConfig : media_type::kOciConfig);
    manifest.config.digest = Digest::Of(json);
    manifest.config.size = json.size();
    NewImage image{json, manifest.ToJson(), manifest.media_type, {}};
    for (const std::string& name : names) image.names.push_back(Must(Reference::Parse(name)));
    return Must(store.images().Put(image));
  }

  Result<std::string> TrySave(const std::vector<std::string>& names, const SaveOptions& options) {
    return TrySave(*store_, names, options);
  }
  static Result<std::string> TrySave(Store& store, const std::vector<std::string>& names,
                                     const SaveOptions& options) {
    auto saved = SavedImages::Prepare(store, names, options);
    if (!saved) return std::unexpected(std::move(saved).error());
    std::string bytes;
    auto written = (*saved)->Write([&](std::string_view piece) -> Result<> {
      bytes.append(piece);
      return {};
    });
    if (!written) return std::unexpected(std::move(written).error());
    return bytes;
  }
  std::string Save(const std::vector<std::string>& names, const SaveOptions& options = {}) {
    std::string bytes = Must(TrySave(names, options));
    ExpectNoLeftovers();
    return bytes;
  }

  // What a store of its own makes of an archive.
  std::vector<ImportedImage> Import(const std::string& bytes) {
    other_.reset();
    const std::string root = temp_.At("other-" + std::to_string(others_++));
    other_ = Must(Store::Open({.root = root}));
    std::size_t at = 0;
    ImportOptions options;
    options.accept = ImportOptions::Accept::kArchive;
    return Must(ImportStream(
        *other_,
        [&](std::span<std::byte> buffer) -> Result<std::size_t> {
          const std::size_t count = std::min(buffer.size(), bytes.size() - at);
          std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + at, count, buffer.begin());
          at += count;
          return count;
        },
        options));
  }

  // The forms that the store keeps of a layer.
  void DropBlobs(const Digest& diff_id) {
    for (const LayerBlob& blob : Must(store_->layers().Blobs(diff_id))) {
      Must(store_->blobs().Remove(blob.blob));
    }
  }

  std::unique_ptr<Store> other_;
  int others_ = 0;
};

TEST_F(SaveTest, ComesBackInEveryFormat) {
  const Image image = Add({Gzip(BaseTar()), Zstd(TopTar("top")), TopTar("plain")}, {"app:1"});
  for (const Format format : kFormats) {
    for (const std::optional<Compression> compression :
         {std::optional<Compression>(), std::optional(Compression::kNone),
          std::optional(Compression::kGzip), std::optional(Compression::kZstd)}) {
      const auto back = Import(Save({"app:1"}, {format, compression}));
      ASSERT_EQ(back.size(), 1U);
      EXPECT_EQ(back[0].id, image.id);
      EXPECT_EQ(back[0].diff_ids, image.diff_ids);
      EXPECT_EQ(back[0].tags, image.tags);
      EXPECT_EQ(ReadFile(Must(other_->LowerDirs(back[0])).front() + "/plain"), "content of plain");
    }
  }
}

TEST_F(SaveTest, KeepsBlobsAndManifestAsTheyCame) {
  const Image image = Add({Gzip(BaseTar()), Zstd(TopTar("top"))}, {"app:1"});
  for (const Format format : {Format::kDocker, Format::kOciArchive}) {
    EXPECT_EQ(Import(Save({"app:1"}, {format, {}}))[0].manifest_digest, image.manifest_digest);
  }
  const auto members = Members(Save({"app:1"}));
  const std::map<std::string, std::string> by_name(members.begin(), members.end());
  EXPECT_EQ(by_name.at("blobs/sha256/" + Digest::Of(Gzip(BaseTar())).Hex()), Gzip(BaseTar()));
}

TEST_F(SaveTest, LayoutsSpeakOci) {
  Add({Gzip(BaseTar())}, {"app:1"}, true);
  const auto back = Import(Save({"app:1"}));
  EXPECT_EQ(back[0].manifest_media_type, media_type::kOciManifest);
  const auto detail = Must(other_->images().Inspect(back[0].id));
  const Manifest manifest = Must(ParseManifest(detail.manifest_json, media_type::kOciManifest));
  EXPECT_EQ(manifest.config.media_type, media_type::kOciConfig);
  EXPECT_EQ(manifest.layers[0].media_type, media_type::kOciLayerGzip);
  EXPECT_EQ(manifest.layers[0].digest, Digest::Of(Gzip(BaseTar())));
}

TEST_F(SaveTest, TheSameBytesFromAnyStore) {
  const std::vector<std::string> first = {Gzip(BaseTar()), TopTar("first")};
  const std::vector<std::string> second = {Gzip(BaseTar()), TopTar("second")};
  Add(first, {"one:1", "one:2"});
  Add(second, {"two:1"});
  const auto other = Must(Store::Open({.root = temp_.At("reversed")}));
  Add(*other, second, {"two:1"});
  Add(*other, first, {"one:2", "one:1"});
  for (const Format format : kFormats) {
    const SaveOptions options{format, Compression::kZstd};
    const std::string bytes = Save({"one", "two"}, options);
    EXPECT_EQ(Save({"one", "two"}, options), bytes);
    EXPECT_EQ(Must(TrySave(*other, {"two", "one:2", "one:1", "two"}, options)), bytes);
  }
}

TEST_F(SaveTest, SeveralImagesShareTheirLayers) {
  const Image one = Add({Gzip(BaseTar()), TopTar("one")}, {"one:1"});
  const Image two = Add({Gzip(BaseTar()), TopTar("two")}, {"two:1"});
  // Of the same layers, but another image; and the base's layer on top of another.
  const Image three = Add({TopTar("one"), Gzip(BaseTar())}, {"three:1"});
  for (const Format format : kFormats) {
    const std::string bytes = Save({"one:1", "two:1", "three:1"}, {format, Compression::kNone});
    std::size_t base = 0;
    for (const auto& [name, content] : Members(bytes)) base += content == BaseTar() ? 1 : 0;
    EXPECT_EQ(base, 1U);
    const auto back = Import(bytes);
    ASSERT_EQ(back.size(), 3U);
    for (const Image& image : {one, two, three}) {
      EXPECT_EQ(Must(other_->images().Resolve(image.tags[0].ToString())).id, image.id);
    }
  }
}

TEST_F(SaveTest, TablesOfContentsComeFirst) {
  Add({Gzip(BaseTar())}, {"app:1"});
  const auto names = [&](Format format) {
    std::vector<std::string> list;
    for (const auto& [name, content] : Members(Save({"app:1"}, {format, {}}))) {
      list.push_back(name);
    }
    return list;
  };
  const auto docker = names(Format::kDocker);
  ASSERT_EQ(docker.size(), 8U);
  EXPECT_EQ(docker[0], "oci-layout");
  EXPECT_EQ(docker[1], "index.json");
  EXPECT_EQ(docker[2], "manifest.json");
  EXPECT_TRUE(std::is_sorted(docker.begin() + 3, docker.end()));
  const auto oci = names(Format::kOciArchive);
  EXPECT_EQ(oci[1], "index.json");
  EXPECT_EQ(oci[2], "blobs/");
  EXPECT_EQ(names(Format::kDockerArchive)[0], "manifest.json");
}

TEST_F(SaveTest, NamesAsDockerTakesThem) {
  const Image image = Add({Gzip(BaseTar())}, {"app:1", "app:2", "else:1"});
  const auto tags = [&](const std::string& name) {
    std::string text;
    const std::vector<ImportedImage> back = Import(Save({name}));
    for (const Reference& tag : back[0].tags) text += tag.Familiar() + " ";
    return text;
  };
  EXPECT_EQ(tags("app"), "app:1 app:2 ");
  EXPECT_EQ(tags("app:2"), "app:2 ");
  EXPECT_EQ(tags(image.id.ToString()), "");
  EXPECT_EQ(tags(image.id.Short()), "");
  EXPECT_TRUE(FailsWith(TrySave({"app:3"}, {}), ENOENT, "app:3"));
  EXPECT_TRUE(FailsWith(TrySave({"app:1", "none"}, {}), ENOENT, "none"));
  EXPECT_TRUE(FailsWith(TrySave({}, {}), EINVAL));
  ExpectNoLeftovers();
}

// What dockers before 1.10 read, without the newer table.
TEST_F(SaveTest, LegacyDirectories) {
  Add({Gzip(BaseTar()), TopTar("one")}, {"one:1"});
  Add({Gzip(BaseTar()), TopTar("two")}, {"two:1"});
  TarBuilder tar;
  for (const auto& [name, content] :
       Members(Save({"one:1", "two:1"}, {Format::kDockerArchive, {}}))) {
    if (name == "manifest.json" || name.ends_with('/')) continue;
    if (content.starts_with("-> ")) {
      tar.Add({.name = name, .type = '2', .link = content.substr(3)});
    } else {
      tar.AddFile(name, content);
    }
  }
  const auto back = Import(tar.Finish());
  ASSERT_EQ(back.size(), 2U);
  const auto detail = Must(other_->images().Inspect("two:1"));
  EXPECT_EQ(detail.config.cmd, std::vector<std::string>{"/bin/sh"});
  EXPECT_EQ(detail.image.diff_ids,
            (std::vector<Digest>{Digest::Of(BaseTar()), Digest::Of(TopTar("two"))}));
}

TEST_F(SaveTest, DamagedBlobsAreNamed) {
  const Image image = Add({Gzip(BaseTar())}, {"app:1"});
  const Digest blob = Digest::Of(Gzip(BaseTar()));
  const std::string path = root_ + "/blobs/sha256/" + blob.Hex();
  std::string bytes = ReadFile(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteFile(path, bytes);
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {}), EBADMSG, blob.ToString()));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {Format::kDocker, Compression::kZstd}), EBADMSG,
                        image.diff_ids[0].ToString()));
  // The plain tar does not need it.
  EXPECT_TRUE(Succeeds(TrySave({"app:1"}, {Format::kDocker, Compression::kNone})));
  WriteFile(path, ReadFile(path).substr(9));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {}), EBADMSG, blob.ToString()));
  ExpectNoLeftovers();
}

// Another whole stream in the blob's place: only the layer's own digest can tell.
TEST_F(SaveTest, BlobsOfAnotherLayer) {
  const Image image = Add({Gzip(BaseTar())}, {"app:1"});
  Must(store_->layers().AddBlob({Digest::Of(Gzip(TopTar("x"))), Gzip(TopTar("x")).size(),
                                 std::string(media_type::kOciLayerGzip), image.diff_ids[0], true}));
  WriteFile(root_ + "/blobs/sha256/" + Digest::Of(Gzip(TopTar("x"))).Hex(), Gzip(TopTar("x")));
  Must(store_->blobs().Remove(Digest::Of(Gzip(BaseTar()))));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {Format::kDocker, Compression::kZstd}), EBADMSG,
                        image.diff_ids[0].ToString()));
}

TEST_F(SaveTest, LayersWhoseBlobsAreNotKept) {
  const Image image = Add({Gzip(BaseTar())}, {"app:1"});
  DropBlobs(image.diff_ids[0]);
  // The layer's own files will do.
  for (const Format format : kFormats) {
    const auto back = Import(Save({"app:1"}, {format, {}}));
    EXPECT_EQ(back[0].id, image.id);
    EXPECT_EQ(back[0].diff_ids, image.diff_ids);
  }
  const std::string layer = root_ + "/layers/sha256/" + image.diff_ids[0].Hex();
  const std::string content = ReadFile(layer + "/fs/etc/name");
  WriteFile(layer + "/fs/etc/name", std::string(content.size(), 'x'));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {}), EBADMSG, "etc/name"));
  WriteFile(layer + "/fs/etc/name", content);
  Must(FileOps::System().Unlink(AT_FDCWD, (layer + "/recipe").c_str()));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {}), ENODATA, image.diff_ids[0].ToString()));
  ExpectNoLeftovers();
}

TEST_F(SaveTest, PlainLayersAreMadeWhileTheyAreWritten) {
  // Two entries of one name: not only what is in the layer's directory is in its tar.
  const std::string tar = TarBuilder().AddFile("f", "first").AddFile("f", "second").Finish();
  for (const bool docker : {false, true}) {
    const Image image = Add({BaseTar(), tar}, {"app:1"}, docker);
    EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    const std::vector<std::string> names = {"app:1"};
    for (const Format format : kFormats) {
      const auto saved = Must(SavedImages::Prepare(*store_, names, {format, {}}));
      ExpectNoLeftovers();  // and nothing is staged for it
      std::string bytes;
      Must(saved->Write([&](std::string_view piece) -> Result<> {
        bytes.append(piece);
        return {};
      }));
      std::set<std::string> contents;
      for (const auto& [name, content] : Members(bytes)) contents.insert(content);
      EXPECT_TRUE(contents.contains(BaseTar()));
      EXPECT_TRUE(contents.contains(tar));
      const auto back = Import(bytes);
      EXPECT_EQ(back[0].id, image.id);
      if (format != Format::kDockerArchive && !docker) {
        EXPECT_EQ(back[0].manifest_digest, image.manifest_digest);
      }
    }
  }
  const std::string file = root_ + "/layers/sha256/" + Digest::Of(BaseTar()).Hex() + "/fs/etc/name";
  WriteFile(file, std::string(ReadFile(file).size(), 'x'));
  EXPECT_TRUE(FailsWith(TrySave({"app:1"}, {}), EBADMSG, "etc/name"));
}

// What older programs made of them.
TEST_F(SaveTest, PlainLayersThatWereKeptAsGzip) {
  const Image image = Add({Gzip(BaseTar())}, {"app:1"});
  const std::string layer = root_ + "/layers/sha256/" + image.diff_ids[0].Hex();
  Must(FileOps::System().Unlink(AT_FDCWD, (layer + "/recipe").c_str()));
  for (const Format format : kFormats) {
    for (const auto compression : {std::optional<Compression>(), std::optional(Compression::kNone)})
      EXPECT_EQ(Import(Save({"app:1"}, {format, compression}))[0].id, image.id);
  }
}

TEST_F(SaveTest, ImagesWithoutNames) {
  const Image one = Add({Gzip(BaseTar())}, {});
  const Image two = Add({TopTar("two")}, {});
  for (const Format format : kFormats) {
    const auto back = Import(Save({one.id.ToString(), two.id.ToString()}, {format, {}}));
    ASSERT_EQ(back.size(), 2U);
    EXPECT_EQ((std::set{back[0].id, back[1].id}), (std::set{one.id, two.id}));
  }
}

// A layout of one image for each of these, listed by an index of its own, which has more.
class PlatformTest : public SaveTest {
 protected:
  static std::string Tar(const std::string& platform) {
    return TarBuilder().AddFile("platform", platform).Finish();
  }

  std::string Layout(const std::vector<std::string>& present, const std::string& missing,
                     bool nested) {
    TarBuilder tar;
    tar.AddFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    Index index;
    index.media_type = std::string(media_type::kOciIndex);
    const auto put = [&](std::string_view type, const std::string& blob, bool there = true) {
      Descriptor descriptor;
      descriptor.media_type = std::string(type);
      descriptor.digest = Digest::Of(blob);
      descriptor.size = blob.size();
      if (there) tar.AddFile("blobs/sha256/" + descriptor.digest.Hex(), blob);
      return descriptor;
    };
    for (const std::string& text : present) AddPlatform(text, put, true, index);
    if (!missing.empty()) AddPlatform(missing, put, false, index);
    Index outer = index;
    if (nested) {
      index_json_ = index.ToJson();
      outer.manifests = {put(media_type::kOciIndex, index_json_)};
    }
    for (Descriptor& descriptor : outer.manifests) {
      descriptor.annotations["org.opencontainers.image.ref.name"] = "example.com/multi:1";
    }
    return tar.AddFile("index.json", outer.ToJson()).Finish();
  }

  template <class Put>
  static void AddPlatform(const std::string& text, const Put& put, bool there, Index& index) {
    const std::string layer = Gzip(Tar(text));
    ImageConfig config;
    config.platform = Must(ParsePlatform(text));
    config.diff_ids = {Digest::Of(Tar(text))};
    Manifest manifest;
    manifest.media_type = std::string(media_type::kOciManifest);
    manifest.config = put(media_type::kOciConfig, config.ToJson(), there);
    manifest.layers = {put(media_type::kOciLayerGzip, layer, there)};
    index.manifests.push_back(put(media_type::kOciManifest, manifest.ToJson(), there));
    index.manifests.back().platform = config.platform;
  }

  // Into this store; how the platform that its name stands for calls itself.
  std::string Bring(const std::string& bytes, bool all) {
    const std::string path = temp_.At("multi.tar");
    WriteFile(path, bytes);
    ImportOptions options;
    options.all_platforms = all;
    options.platform = Must(ParsePlatform("linux/arm64"));
    const auto images = Must(strata::layerstore::Import(*store_, path, options));
    EXPECT_EQ(images.size(), 1U);
    EXPECT_EQ(images[0].names.size(), 1U);
    return ReadFile(Must(store_->LowerDirs(images[0]))[0] + "/platform");
  }

  // The member of a saved layout that its index.json names.
  static std::string Listed(const std::string& tar) {
    const auto members = Members(tar);
    const std::map<std::string, std::string> by_name(members.begin(), members.end());
    const Index index = Must(ParseIndex(by_name.at("index.json"), media_type::kOciIndex));
    EXPECT_EQ(index.manifests.size(), 1U);
    return by_name.at("blobs/sha256/" + index.manifests[0].digest.Hex());
  }

  std::string index_json_;
};

TEST_F(PlatformTest, TheIndexComesBackAsItWas) {
  EXPECT_EQ(Bring(Layout({"linux/amd64", "linux/arm64"}, "", true), true), "linux/arm64");
  EXPECT_EQ(Must(store_->images().List()).size(), 2U);
  for (const Format format : {Format::kDocker, Format::kOciArchive}) {
    const std::string saved = Save({"example.com/multi:1"}, {format, {}});
    EXPECT_EQ(Listed(saved), index_json_);
    // One that wants one platform only still gets that.
    EXPECT_EQ(Import(saved).size(), 1U);
    EXPECT_EQ(Must(other_->images().List()).size(), 1U);
  }
  // docker's archives have the image that the name stands for.
  const auto back = Import(Save({"example.com/multi:1"}, {Format::kDockerArchive, {}}));
  EXPECT_EQ(ReadFile(Must(other_->LowerDirs(back[0]))[0] + "/platform"), "linux/arm64");
  EXPECT_EQ(Must(other_->images().List()).size(), 1U);
}

TEST_F(PlatformTest, WhatIsMissingIsNotListed) {
  EXPECT_EQ(Bring(Layout({"linux/amd64", "linux/arm64"}, "linux/s390x", true), true),
            "linux/arm64");
  const std::string listed = Listed(Save({"example.com/multi:1"}));
  EXPECT_NE(listed, index_json_);
  const Index index = Must(ParseIndex(listed, media_type::kOciIndex));
  ASSERT_EQ(index.manifests.size(), 2U);
  EXPECT_EQ(index.manifests[1].platform->architecture, "arm64");
  // Packed anew, all of them are other blobs.
  const std::string zstd =
      Listed(Save({"example.com/multi:1"}, {Format::kDocker, Compression::kZstd}));
  EXPECT_NE(Must(ParseIndex(zstd, media_type::kOciIndex)).manifests[0].digest,
            index.manifests[0].digest);
}

TEST_F(PlatformTest, EntriesSideBySide) {
  const std::string layout = Layout({"linux/amd64", "linux/arm64"}, "", false);
  EXPECT_EQ(Bring(layout, false), "linux/arm64");
  EXPECT_EQ(Must(store_->images().List()).size(), 1U);
  EXPECT_EQ(Bring(layout, true), "linux/arm64");
  EXPECT_EQ(Must(store_->images().List()).size(), 2U);
  const Index index =
      Must(ParseIndex(Listed(Save({"example.com/multi:1"})), media_type::kOciIndex));
  EXPECT_EQ(index.manifests.size(), 2U);
}

TEST_F(PlatformTest, NothingOfItIsHere) {
  const std::string path = temp_.At("multi.tar");
  WriteFile(path, Layout({}, "linux/arm64", true));
  ImportOptions options;
  options.all_platforms = true;
  EXPECT_TRUE(FailsWith(strata::layerstore::Import(*store_, path, options), EINVAL, "no image"));
}

TEST_F(SaveTest, ConvertedInPlace) {
  const Image before = Add({Gzip(BaseTar()), TopTar("top")}, {"app:1"}, true);
  const auto types = [&] {
    const ImageDetail detail = Must(store_->images().Inspect("app:1"));
    const Manifest manifest =
        Must(ParseManifest(detail.manifest_json, detail.image.manifest_media_type));
    std::vector<std::string> list = {manifest.media_type};
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      const Descriptor& layer = manifest.layers[i];
      list.push_back(layer.media_type);
      if (layer.digest != before.diff_ids[i]) {
        const std::string blob = root_ + "/blobs/sha256/" + layer.digest.Hex();
        EXPECT_EQ(Digest::Of(ReadFile(blob)), layer.digest);
      }
      EXPECT_EQ(Must(store_->layers().FindBlob(layer.digest)).diff_id, before.diff_ids[i]);
    }
    return list;
  };
  using Strings = std::vector<std::string>;
  const auto convert = [&](std::optional<Compression> compression, ManifestKind kind) {
    const Image image = Must(ConvertImage(*store_, "app:1", {compression, kind}));
    EXPECT_EQ(image.id, before.id);
    EXPECT_EQ(image.tags, before.tags);
    ExpectNoLeftovers();
    return types();
  };
  EXPECT_EQ(convert(Compression::kZstd, ManifestKind::kAsItIs),
            (Strings{std::string(media_type::kOciManifest), std::string(media_type::kOciLayerZstd),
                     std::string(media_type::kOciLayerZstd)}));
  EXPECT_EQ(Import(Save({"app:1"}))[0].id, before.id);
  EXPECT_TRUE(
      FailsWith(ConvertImage(*store_, "app:1", {std::nullopt, ManifestKind::kDocker}), EINVAL));
  EXPECT_EQ(types()[0], media_type::kOciManifest);
  EXPECT_EQ(
      convert(Compression::kGzip, ManifestKind::kDocker),
      (Strings{std::string(media_type::kDockerManifest), std::string(media_type::kDockerLayerGzip),
               std::string(media_type::kDockerLayerGzip)}));
  // The one that came is used again.
  EXPECT_NE(Must(store_->images().Inspect("app:1"))
                .manifest_json.find(Digest::Of(Gzip(BaseTar())).ToString()),
            std::string::npos);
  const auto blobs = Names(root_ + "/blobs/sha256");
  EXPECT_EQ(convert(Compression::kNone, ManifestKind::kOci)[1], media_type::kOciLayer);
  EXPECT_EQ(Names(root_ + "/blobs/sha256"), blobs);  // the layers have it all
}

}  // namespace
}  // namespace strata::layerstore
