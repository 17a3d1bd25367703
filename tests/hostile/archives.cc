#include "tests/hostile/archives.h"

#include <sys/stat.h>

#include <filesystem>
#include <stdexcept>

#include "base/file_ops.h"
#include "base/path.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/media_types.h"
#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::hostile {
namespace {

namespace media_type = layerstore::media_type;
using support::TarMember;

TarMember File(const std::string& name, const std::string& content) {
  return {.name = name, .content = content};
}

std::string BlobName(const std::string& bytes) { return "blobs/sha256/" + Digest::Of(bytes).Hex(); }

std::string Changed(std::string json, const std::function<void(std::string&)>& change) {
  if (change) change(json);
  return json;
}

layerstore::Descriptor Describe(std::string_view type, const std::string& bytes) {
  layerstore::Descriptor descriptor;
  descriptor.media_type = std::string(type);
  descriptor.digest = Digest::Of(bytes);
  descriptor.size = bytes.size();
  return descriptor;
}

}  // namespace

std::string AsTar(const Members& members) {
  support::TarBuilder tar;
  for (const TarMember& member : members) tar.Add(member);
  return tar.Finish();
}

void AsDirectory(const Members& members, const std::string& directory) {
  FileOps& ops = FileOps::System();
  for (const TarMember& member : members) {
    const std::string path = directory + '/' + member.name;
    std::filesystem::create_directories(DirName(path));
    switch (member.type) {
      case '5':
        support::MakeDir(path);
        break;
      case '2':
        support::Must(ops.SymLink(member.link.c_str(), AT_FDCWD, path.c_str()));
        break;
      case '6':
        support::MustCall(::mkfifo(path.c_str(), 0644), "mkfifo");
        break;
      default:
        support::WriteFile(path, member.content);
    }
  }
}

ImageSpec ImageSpec::Of(const std::string& tar) {
  return {.layer = tar, .diff_id = Digest::Of(tar).ToString()};
}

BuiltImage Build(const ImageSpec& spec) {
  BuiltImage image;
  image.config = Changed(R"({"architecture":"amd64","os":"linux","config":{"Cmd":["/f"]},)"
                         R"("rootfs":{"type":"layers","diff_ids":[")" +
                             spec.diff_id + R"("]}})",
                         spec.config);
  layerstore::Manifest manifest;
  manifest.media_type = std::string(media_type::kOciManifest);
  manifest.config = Describe(media_type::kOciConfig, image.config);
  manifest.layers = {Describe(spec.layer_type, spec.layer)};
  image.manifest = Changed(manifest.ToJson(), spec.manifest);
  return image;
}

Members DockerArchive(const ImageSpec& spec) {
  const std::string manifest =
      R"([{"Config":"config.json","RepoTags":["hostile:1"],"Layers":["layer.tar"]}])";
  return {File("manifest.json", Changed(manifest, spec.index)),
          File("config.json", Build(spec).config), File("layer.tar", spec.layer)};
}

Members OciLayout(const ImageSpec& spec) {
  const BuiltImage image = Build(spec);
  layerstore::Index index;
  index.media_type = std::string(media_type::kOciIndex);
  index.manifests = {Describe(media_type::kOciManifest, image.manifest)};
  index.manifests[0].annotations["org.opencontainers.image.ref.name"] = "example.com/hostile:1";
  return {File("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"),
          File("index.json", Changed(index.ToJson(), spec.index)),
          File(BlobName(image.manifest), image.manifest),
          File(BlobName(image.config), image.config), File(BlobName(spec.layer), spec.layer)};
}

void Replace(std::string& text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  if (at == std::string::npos || text.find(what, at + 1) != std::string::npos) {
    throw std::runtime_error("not one place of " + what);
  }
  text.replace(at, what.size(), by);
}

}  // namespace strata::hostile
