#include "tests/support/sample_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <random>
#include <utility>

#include "base/file_ops.h"
#include "layerstore/oci/media_types.h"
#include "tests/support/must.h"
#include "tests/support/process.h"

namespace strata::support {
namespace {

namespace media_type = layerstore::media_type;

constexpr std::size_t kFileLimit = std::size_t{1} << 30U;

std::string ReadFile(const std::string& path) {
  FileOps& ops = FileOps::System();
  const UniqueFd fd = Must(ops.Open(AT_FDCWD, path.c_str(), O_RDONLY));
  return Must(ReadAll(ops, fd.get(), kFileLimit));
}

void WriteFile(const std::string& path, std::string_view content, mode_t mode = 0644) {
  FileOps& ops = FileOps::System();
  const UniqueFd fd = Must(ops.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600));
  Must(WriteAll(ops, fd.get(), content));
  Must(ops.Chmod(fd.get(), mode));
}

void MakeDirs(const std::string& root, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    MustCall(::mkdir((root + "/" + name).c_str(), 0755), name);
  }
}

void Run(const std::vector<std::string>& argv) {
  const ProcessResult result = Must(RunProcess(argv));
  if (result.exit_code != 0) throw std::runtime_error(argv[0] + ": " + result.err);
}

std::string RandomBytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

void FillBase(const std::string& root) {
  MakeDirs(root, {"bin", "etc", "etc/skel", "opt", "opt/data", "tmp"});
  WriteFile(root + "/etc/os-release", "NAME=Sample\nVERSION=1\n");
  WriteFile(root + "/etc/removed", "goes away\n");
  WriteFile(root + "/bin/tool", "#!/bin/sh\nexit 0\n", 04755);
  WriteFile(root + "/opt/data/random", RandomBytes(std::size_t{3} << 20U, 1));
  WriteFile(root + "/opt/data/old", "hidden by the opaque directory\n");
  MustCall(::chmod((root + "/tmp").c_str(), 01777), "chmod");
  MustCall(::chown((root + "/etc/skel").c_str(), 1000, 100), "chown");
  MustCall(::link((root + "/bin/tool").c_str(), (root + "/bin/alias").c_str()), "link");
  MustCall(::symlink("../bin/tool", (root + "/etc/link").c_str()), "symlink");
  MustCall(::setxattr((root + "/etc/os-release").c_str(), "user.note", "kept", 4, 0), "setxattr");
}

void FillAddition(const std::string& root, const std::string& label) {
  MakeDirs(root, {"etc", "srv"});
  WriteFile(root + "/etc/label", label);
  WriteFile(root + "/srv/random",
            RandomBytes(std::size_t{1} << 20U, static_cast<unsigned>(label.size()) + 2));
}

void FillChange(const std::string& root, const std::string& label) {
  MakeDirs(root, {"etc", "opt", "opt/data"});
  WriteFile(root + "/etc/os-release", "NAME=Sample\nVERSION=" + label + "\n");
  WriteFile(root + "/etc/.wh.removed", "");
  WriteFile(root + "/opt/data/.wh..wh..opq", "");
  WriteFile(root + "/opt/data/new", "on its own\n");
}

}  // namespace

SampleLayer PackLayer(const std::string& dir) {
  const std::string tar = dir + ".tar";
  Run({"tar", "--sort=name", "--xattrs", "--numeric-owner", "--format=pax",
       "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "-C", dir, "-cf", tar,
       "."});
  SampleLayer layer;
  layer.tar = ReadFile(tar);
  layer.diff_id = Digest::Of(layer.tar);
  Run({"gzip", "-n", "-1", "-f", tar});
  layer.blob = ReadFile(tar + ".gz");
  layer.digest = Digest::Of(layer.blob);
  return layer;
}

SampleImage MakeImage(std::vector<SampleLayer> layers, const std::string& label) {
  SampleImage image;
  image.layers = std::move(layers);
  image.config.created = "2026-01-02T03:04:05Z";
  image.config.platform = layerstore::HostPlatform();
  image.config.env = {"PATH=/bin", "LABEL=" + label};
  image.config.cmd = {"/bin/tool"};
  image.config.labels = {{"label", label}};
  for (const SampleLayer& layer : image.layers) image.config.diff_ids.push_back(layer.diff_id);
  image.config_json = image.config.ToJson();

  image.manifest.media_type = media_type::kOciManifest;
  image.manifest.config.media_type = media_type::kOciConfig;
  image.manifest.config.digest = Digest::Of(image.config_json);
  image.manifest.config.size = image.config_json.size();
  for (const SampleLayer& layer : image.layers) {
    layerstore::Descriptor descriptor;
    descriptor.media_type = media_type::kOciLayerGzip;
    descriptor.digest = layer.digest;
    descriptor.size = layer.blob.size();
    image.manifest.layers.push_back(std::move(descriptor));
  }
  image.manifest_json = image.manifest.ToJson();
  return image;
}

SampleImage WithPlainLayers(const SampleImage& image, bool docker) {
  SampleImage plain = image;
  plain.manifest.media_type = docker ? media_type::kDockerManifest : media_type::kOciManifest;
  plain.manifest.config.media_type = docker ? media_type::kDockerConfig : media_type::kOciConfig;
  for (std::size_t i = 0; i < plain.layers.size(); ++i) {
    SampleLayer& layer = plain.layers[i];
    layer.blob = layer.tar;
    layer.digest = layer.diff_id;
    layerstore::Descriptor& descriptor = plain.manifest.layers[i];
    descriptor.media_type = docker ? media_type::kDockerLayer : media_type::kOciLayer;
    descriptor.digest = layer.digest;
    descriptor.size = layer.blob.size();
  }
  plain.manifest_json = plain.manifest.ToJson();
  return plain;
}

SampleImage MakeSampleImage(const std::string& scratch, const std::string& label) {
  MakeDirs(scratch, {"base", "addition", "change"});
  FillBase(scratch + "/base");
  FillAddition(scratch + "/addition", label);
  FillChange(scratch + "/change", label);
  // tar records times to the second or finer; the base must be the same whenever it is made.
  for (const char* layer : {"base", "addition", "change"}) {
    Run({"find", scratch + "/" + layer, "-exec", "touch", "-h", "-d", "2026-01-02 03:04:05.25 UTC",
         "{}", "+"});
  }
  return MakeImage({PackLayer(scratch + "/base"), PackLayer(scratch + "/addition"),
                    PackLayer(scratch + "/change")},
                   label);
}

layerstore::Image PutImage(layerstore::Store& store, const SampleImage& image,
                           const layerstore::Reference& name) {
  layerstore::Lease lease = Must(store.NewLease());
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    const SampleLayer& layer = image.layers[i];
    layerstore::LayerIngest ingest;
    ingest.blob = layer.digest;
    ingest.blob_size = layer.blob.size();
    ingest.diff_id = layer.diff_id;
    ingest.media_type = image.manifest.layers[i].media_type;
    const auto sink = Must(store.layers().Begin(std::move(ingest), lease));
    if (sink == nullptr) continue;
    Must(sink->Write(layer.blob));
    Must(sink->Commit());
  }
  layerstore::NewImage entry;
  entry.config_json = image.config_json;
  entry.manifest_json = image.manifest_json;
  entry.manifest_media_type = image.manifest.media_type;
  entry.names = {name};
  return Must(store.images().Put(entry));
}

}  // namespace strata::support
