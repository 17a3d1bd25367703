// One step on a store in this process, timed: what bench/store runs beside its peers.
//
//   store_workload import STORE FILE|LAYOUT   brings an image in
//   store_workload index LAYER DIR            writes the index of a layer's directory to DIR/index
//   store_workload stages TAR.GZ DIR          decompresses, hashes and unpacks into DIR, each alone
//   store_workload fill STORE COUNT           makes small layers, and an image of the last one
//   store_workload collect STORE              removes the garbage
//   store_workload check STORE                checks it, not deep; findings are an error
//   store_workload time COMMAND...            runs a program, as one of this small size can
//
// Prints {"seconds": ..., "cpu": ..., "peak_kib": ...}; of collect also after how long all is
// deleted, and of stages the seconds of each.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file_ops.h"
#include "base/tar_header.h"
#include "base/try.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "layerstore/layer/layer_store.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/store/store.h"
#include "tests/support/chain_index.h"

namespace strata::bench {
namespace {

using layerstore::Store;

constexpr std::size_t kPiece = std::size_t{256} * 1024;

Result<double> Seconds(const std::function<Result<>()>& action) {
  const auto start = std::chrono::steady_clock::now();
  STRATA_TRY(action());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double SecondsOf(const struct timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

Result<> Report(double seconds, int who = RUSAGE_SELF) {
  struct rusage usage = {};
  if (::getrusage(who, &usage) != 0) return FailErrno("getrusage");
  std::printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"peak_kib\": %ld}\n", seconds,
              SecondsOf(usage.ru_utime) + SecondsOf(usage.ru_stime), usage.ru_maxrss);
  return {};
}

Result<> Timed(const std::function<Result<>()>& action) {
  STRATA_TRY_ASSIGN(const double seconds, Seconds(action));
  return Report(seconds);
}

// What the kernel counts for a new process begins with the size of the one that made it.
Result<> Time(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const auto run = [&]() -> Result<> {
    const pid_t child = ::fork();
    if (child < 0) return FailErrno("fork");
    if (child == 0) {
      ::execvp(words[0], words.data());
      ::_exit(127);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) < 0) return FailErrno("waitpid");
    if (status == 0) return {};
    return Fail(ECHILD, "time", command[0] + " ended with status " + std::to_string(status));
  };
  STRATA_TRY_ASSIGN(const double seconds, Seconds(run));
  return Report(seconds, RUSAGE_CHILDREN);
}

Result<> Import(const std::string& root, const std::string& path) {
  return Timed([&]() -> Result<> {
    STRATA_TRY_ASSIGN(const auto store, Store::Open({.root = root}));
    STRATA_TRY(layerstore::Import(*store, path, {}));
    return {};
  });
}

Result<> Index(const std::string& layer, const std::string& dir) {
  // What the unpacker tells the scan of a layer without xattrs and hard links.
  return Timed([&] { return support::WriteLayerIndex(layer, dir, "index"); });
}

// Gives all of a stream's plain bytes to `sink`.
Result<> Decompress(const std::string& packed,
                    const std::function<Result<>(std::string_view)>& sink) {
  STRATA_TRY_ASSIGN(const auto compression, layerstore::DetectCompression(packed));
  const auto decompressor = layerstore::MakeDecompressor(compression);
  std::vector<char> buffer(kPiece);
  std::string_view rest = packed;
  for (;;) {
    STRATA_TRY_ASSIGN(const auto progress, decompressor->Run(rest.substr(0, kPiece), buffer));
    rest.remove_prefix(progress.consumed);
    if (progress.produced > 0) STRATA_TRY(sink({buffer.data(), progress.produced}));
    if (rest.empty() && progress.produced == 0) return decompressor->Finish();
  }
}

Result<> Unpack(const std::string& tar, const std::string& dir) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd root, ops.Open(AT_FDCWD, dir.c_str(), O_RDONLY | O_DIRECTORY));
  std::string_view rest = tar;
  layerstore::TarReader reader([&]() -> Result<std::string_view> {
    const std::string_view piece = rest.substr(0, kPiece);
    rest.remove_prefix(piece.size());
    return piece;
  });
  STRATA_TRY(layerstore::Unpacker(ops, root.get(), {}).Run(reader));
  return ops.SyncFilesystem(root.get());
}

Result<> Stages(const std::string& path, const std::string& dir) {
  std::ifstream file(path, std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (packed.empty()) return Fail(ENOENT, "stages", path);
  std::string tar;
  STRATA_TRY_ASSIGN(const double decompress, Seconds([&] {
                      return Decompress(packed, [](std::string_view) { return Result<>(); });
                    }));
  STRATA_TRY(Decompress(packed, [&](std::string_view bytes) -> Result<> {
    tar += bytes;
    return {};
  }));
  STRATA_TRY_ASSIGN(const double hash, Seconds([&]() -> Result<> {
                      if (Digest::Of(tar).empty()) return Fail(EIO, "stages");
                      return {};
                    }));
  STRATA_TRY_ASSIGN(const double unpack, Seconds([&] { return Unpack(tar, dir); }));
  std::printf("{\"decompress\": %.6f, \"hash\": %.6f, \"unpack\": %.6f}\n", decompress, hash,
              unpack);
  return {};
}

std::string SmallTar(int number) {
  std::string tar;
  for (const char* name : {"etc/number", "usr/bin/tool", "usr/share/doc/text"}) {
    std::string content = name + std::to_string(number) + '\n';
    content.resize(1000, 'x');
    tar += EncodeTarHeader({.name = name, .size = content.size()}) + content +
           std::string(TarPadding(content.size()), '\0');
  }
  return tar + std::string(2 * kTarBlock, '\0');
}

Result<> PutImage(Store& store, const Digest& diff_id) {
  layerstore::ImageConfig config;
  config.platform = layerstore::HostPlatform();
  config.diff_ids = {diff_id};
  layerstore::Manifest manifest;
  manifest.media_type = "application/vnd.oci.image.manifest.v1+json";
  manifest.config.digest = Digest::Of(config.ToJson());
  manifest.config.size = config.ToJson().size();
  manifest.layers.resize(1);
  STRATA_TRY_ASSIGN(const auto name, layerstore::Reference::Parse("live"));
  STRATA_TRY(store.images().Put(
      {config.ToJson(), manifest.ToJson(), manifest.media_type, {name.WithDefaultTag()}}));
  return {};
}

Result<> Fill(const std::string& root, int count) {
  return Timed([&]() -> Result<> {
    STRATA_TRY_ASSIGN(const auto store, Store::Open({.root = root}));
    STRATA_TRY_ASSIGN(auto lease, store->NewLease());
    Digest last;
    for (int i = 0; i < count; ++i) {
      STRATA_TRY_ASSIGN(auto sink, store->layers().Begin({}, lease));
      STRATA_TRY(sink->Write(SmallTar(i)));
      STRATA_TRY_ASSIGN(const auto layer, sink->Commit());
      last = layer.diff_id;
    }
    return PutImage(*store, last);
  });
}

// As the daemon has it: what is collected is gone at once and deleted afterwards.
Result<> Collect(const std::string& root, std::size_t expected) {
  STRATA_TRY_ASSIGN(const auto store, Store::Open({.root = root, .delete_in_background = true}));
  std::size_t collected = 0;
  STRATA_TRY_ASSIGN(const double seconds, Seconds([&]() -> Result<> {
                      STRATA_TRY_ASSIGN(const auto report, layerstore::Collect(*store));
                      collected = report.layers.size();
                      return {};
                    }));
  STRATA_TRY_ASSIGN(const double rest, Seconds([&]() -> Result<> {
                      store->store_root().WaitForTrash();
                      return {};
                    }));
  if (collected != expected) return Fail(EIO, "collect", std::to_string(collected) + " layers");
  std::printf("{\"seconds\": %.6f, \"deleted\": %.6f}\n", seconds, seconds + rest);
  return {};
}

Result<> Check(const std::string& root) {
  STRATA_TRY_ASSIGN(const auto store, Store::Open({.root = root}));
  std::string found;
  STRATA_TRY_ASSIGN(
      const double seconds, Seconds([&]() -> Result<> {
        STRATA_TRY(layerstore::CheckStore(*store, {}, [&](const layerstore::Finding& finding) {
          if (found.empty()) found = finding.ToString();
        }));
        return {};
      }));
  if (!found.empty()) return Fail(EIO, "check", found);
  return Report(seconds);
}

Result<> Run(const std::vector<std::string>& words) {
  if (words.size() > 1 && words[0] == "time") return Time({words.begin() + 1, words.end()});
  if (words.size() == 3) {
    if (words[0] == "import") return Import(words[1], words[2]);
    if (words[0] == "index") return Index(words[1], words[2]);
    if (words[0] == "stages") return Stages(words[1], words[2]);
    if (words[0] == "fill") return Fill(words[1], std::atoi(words[2].c_str()));
    if (words[0] == "collect") {
      return Collect(words[1], static_cast<std::size_t>(std::atoi(words[2].c_str())));
    }
  }
  if (words.size() == 2 && words[0] == "check") return Check(words[1]);
  return Fail(EINVAL, "store_workload", "usage: see bench/store/README.md");
}

}  // namespace
}  // namespace strata::bench

int main(int argc, char** argv) {
  const auto done = strata::bench::Run({argv + 1, argv + argc});
  if (done) return EXIT_SUCCESS;
  std::cerr << "store_workload: " << done.error().ToString() << '\n';
  return EXIT_FAILURE;
}
