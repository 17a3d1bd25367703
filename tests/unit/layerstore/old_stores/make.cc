// Makes a store as this version of the program leaves it behind, for old_stores_test.cc of every
// later version:
//   make_old_store DIRECTORY
// writes vN.tar.zst and vN.json there. Run it, as root, before the schema or the layout changes;
// what it wrote is never made again.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layerstore/oci/media_types.h"
#include "layerstore/store/store.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/old_stores/describe.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::TarBuilder;

std::string BaseTar() {
  return TarBuilder()
      .Add({.name = "./", .type = '5', .mode = 0755, .mtime = 1'700'000'000})
      .AddDirectory("./etc")
      .AddFile("./etc/name", "base\n")
      .AddFile("./etc/gone", "removed above\n")
      .AddDirectory("./data")
      .AddFile("./data/old", "hidden above\n")
      .Add({.name = "./bin/tool", .content = "#!/bin/sh\n", .mode = 04755, .uid = 5, .gid = 6})
      .Add({.name = "./bin/alias", .type = '1', .link = "bin/tool"})
      .Add({.name = "./bin/link", .type = '2', .link = "../etc/name"})
      .Add({.name = "./null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
      .Add({.name = "./fifo", .type = '6', .mode = 0600})
      .Add({.name = "./marked",
            .content = "marked",
            .pax = {{"SCHILY.xattr.user.note", "kept"},
                    {"SCHILY.xattr.security.capability", support::EncodeCapability(1U << 10U)},
                    {"mtime", "1600000000.123456789"}}})
      .Finish();
}

std::string ChangeTar(const std::string& what) {
  return TarBuilder()
      .AddDirectory("./etc")
      .AddFile("./etc/name", what + '\n')
      .AddFile("./etc/.wh.gone", "")
      .AddDirectory("./data", 0700)
      .AddFile("./data/.wh..wh..opq", "")
      .AddFile("./data/new", what)
      .Finish();
}

// Unpacks `tar`, which came as gzip.
LayerBlob PutLayer(Store& store, Lease& lease, const std::string& tar, bool keep_blob) {
  LayerIngest ingest;
  ingest.diff_id = Digest::Of(tar);
  ingest.keep_blob = keep_blob;
  const auto sink = Must(store.layers().Begin(std::move(ingest), lease));
  Must(sink->Write(Gzip(tar)));
  Must(sink->Commit());
  return sink->blob();
}

Image PutImage(Store& store, const std::vector<LayerBlob>& layers, const std::string& author,
               const std::vector<Reference>& names) {
  ImageConfig config;
  config.created = "2026-01-02T03:04:05Z";
  config.platform.os = "linux";
  config.platform.architecture = "amd64";
  config.author = author;
  config.env = {"PATH=/bin"};
  config.cmd = {"/bin/tool"};
  Manifest manifest;
  manifest.media_type = std::string(media_type::kOciManifest);
  for (const LayerBlob& layer : layers) {
    config.diff_ids.push_back(layer.diff_id);
    Descriptor descriptor;
    descriptor.media_type = layer.media_type;
    descriptor.digest = layer.blob;
    descriptor.size = layer.size;
    manifest.layers.push_back(std::move(descriptor));
  }
  manifest.config.media_type = std::string(media_type::kOciConfig);
  manifest.config.digest = Digest::Of(config.ToJson());
  manifest.config.size = config.ToJson().size();
  return Must(store.images().Put({config.ToJson(), manifest.ToJson(), manifest.media_type, names}));
}

// Everything that the schema has a table for; returns the layers that only a container holds.
std::vector<Digest> Fill(Store& store) {
  Lease lease = Must(store.NewLease());
  const LayerBlob base = PutLayer(store, lease, BaseTar(), true);
  const LayerBlob one = PutLayer(store, lease, ChangeTar("one"), true);
  const LayerBlob two = PutLayer(store, lease, ChangeTar("two"), false);
  const LayerBlob three = PutLayer(store, lease, ChangeTar("three"), true);

  const Image tagged = PutImage(store, {base, one}, "one", {Must(Reference::Parse("app:1"))});
  Must(store.images().Tag(tagged.id, Must(Reference::Parse("registry.example/team/app:stable"))));
  Must(store.images().AddUser(tagged.id, "container:kept"));
  const Image pulled = PutImage(store, {base, two}, "two", {});
  Must(store.images().Tag(pulled.id, Must(Reference::Parse("registry.example/team/app@" +
                                                           pulled.manifest_digest.ToString()))));
  const Image removed = PutImage(store, {base, three}, "three", {});
  Must(store.images().AddUser(removed.id, "container:of a removed image"));
  Must(store.images().Remove(removed.id.ToString(), true));

  Must(store.chains().Ensure(tagged.diff_ids));
  return {three.diff_id};
}

// A process that dies with a lease on a layer, and with its transactions still in the log.
Digest DieWithLease(const std::string& root) {
  const std::string tar = ChangeTar("leased");
  auto child = Must(support::ChildProcess::Fork([&]() -> int {
    auto store = Store::Open({.root = root});
    if (!store) return 1;
    auto lease = (*store)->NewLease();
    if (!lease) return 2;
    PutLayer(**store, *lease, tar, true);
    ::_exit(0);
  }));
  if (Must(child.Wait(std::chrono::seconds(30))) != 0) throw std::runtime_error("child failed");
  return Digest::Of(tar);
}

void Make(const std::string& directory) {
  const auto temp = Must(support::TempRoot::Create());
  const std::string root = temp.At("store");
  nlohmann::json kept{{"held", nlohmann::json::array()}};
  std::string name;
  std::vector<Digest> held;
  {
    const auto store = Must(Store::Open({.root = root}));
    held = Fill(*store);
    const int version = Must(store->database()->Version("layerstore"));
    kept["version"] = version;
    name = directory + "/v" + std::to_string(version);
    for (const Digest& diff_id : held) kept["held"].push_back(diff_id.ToString());
    kept["answers"] = nlohmann::json::parse(DescribeStore(*store, held));
  }
  kept["leased"] = DieWithLease(root).ToString();
  Must(support::RunTool({"tar", "--sort=name", "--xattrs", "--xattrs-include=*", "--numeric-owner",
                         "--format=pax", "--pax-option=delete=atime,delete=ctime", "-I", "zstd -19",
                         "-C", temp.path(), "-cf", name + ".tar.zst", "store"}));
  std::ofstream file(name + ".json");
  file << kept.dump(1) << '\n';
  file.close();
  if (!file) throw std::runtime_error("write " + name + ".json");
}

}  // namespace
}  // namespace strata::layerstore

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_old_store DIRECTORY\n");
    return 2;
  }
  try {
    strata::layerstore::Make(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_old_store: %s\n", error.what());
    return 1;
  }
  return 0;
}
