// hostile_cases DIRECTORY CANARY: writes the tables as files, for the checks of the daemon.
//   DIRECTORY/layers/NAME       a layer, for `strata image import`
//   DIRECTORY/archives/NAME     an image archive, for `strata load`; layers are in it as archives, too
//   DIRECTORY/good/NAME         a layer that must be taken
//   DIRECTORY/{layers,archives,good}.tsv    a line for each: its name, and what the error must say
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include "tests/hostile/archives.h"
#include "tests/hostile/layers.h"
#include "tests/support/files.h"

namespace strata::hostile {
namespace {

class Writer {
 public:
  Writer(const std::string& directory, const std::string& kind)
      : path_(directory + '/' + kind), table_(path_ + ".tsv") {
    support::MakeDir(path_);
  }

  void Add(const std::string& name, const std::string& bytes, const std::string& says) {
    support::WriteFile(path_ + '/' + name, bytes);
    table_ << name << '\t' << says << '\n';
    if (!table_.flush()) throw std::runtime_error(path_ + ".tsv");
  }

 private:
  std::string path_;
  std::ofstream table_;
};

// The daemon has one set of limits, and these cases have others.
bool NeedsLimits(const layerstore::UnpackLimits& limits) {
  const layerstore::UnpackLimits usual;
  return limits.entries != usual.entries || limits.total_bytes != usual.total_bytes ||
         limits.path_depth != usual.path_depth || limits.name_bytes != usual.name_bytes ||
         limits.xattr_bytes != usual.xattr_bytes || limits.kept_bytes != usual.kept_bytes;
}

void WriteAll(const std::string& directory, const std::string& canary) {
  Writer layers(directory, "layers");
  Writer archives(directory, "archives");
  Writer good(directory, "good");
  for (const HostileLayer& layer : HostileLayers(canary)) {
    if (NeedsLimits(layer.limits)) continue;
    layers.Add(layer.name, layer.bytes, layer.says);
    archives.Add("layer-" + layer.name, AsTar(DockerArchive(ImageSpec::Of(layer.bytes))),
                 layer.says);
  }
  for (const HostileArchive& archive : HostileArchives()) {
    if (archive.tar.code == 0 || NeedsLimits(archive.limits)) continue;
    archives.Add(archive.name, AsTar(archive.members), archive.tar.says);
  }
  for (const GoodLayer& layer : GoodLayers(canary)) good.Add(layer.name, layer.tar, "");
}

}  // namespace
}  // namespace strata::hostile

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: hostile_cases DIRECTORY CANARY\n");
    return 2;
  }
  try {
    strata::hostile::WriteAll(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "%s\n", exception.what());
    return 1;
  }
}
