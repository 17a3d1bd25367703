#include "layerstore/import/sniff.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/digest.h"
#include "base/try.h"
#include "layerstore/archive/byte_channel.h"
#include "layerstore/archive/compression.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kPlainBytes = std::size_t{512} * 1024;

// As much of the plain stream as `start` and the buffer give; a corrupt stream gives less.
Result<Chunk> Decompressed(std::string_view start) {
  STRATA_TRY_ASSIGN(const Compression compression, DetectCompression(start));
  const auto decompressor = MakeDecompressor(compression);
  Chunk plain(kPlainBytes);
  while (plain.room() > 0) {
    const auto progress =
        decompressor->Run(start, std::span(plain.data() + plain.size(), plain.room()));
    if (!progress || (progress->consumed == 0 && progress->produced == 0)) break;
    start.remove_prefix(progress->consumed);
    plain.set_size(plain.size() + progress->produced);
  }
  return plain;
}

bool IsArchiveMember(std::string_view path) {
  constexpr std::array<std::string_view, 5> kNames = {"oci-layout", "index.json", "manifest.json",
                                                      "repositories", "blobs"};
  // "blobs/…", "<id>/layer.tar", "<id>.json", "<id>.tar", "sha256:<id>.json".
  std::string_view first = path.substr(0, path.find('/'));
  if (std::find(kNames.begin(), kNames.end(), first) != kNames.end()) return true;
  if (first.starts_with("sha256:")) first.remove_prefix(7);
  first = first.substr(0, first.find('.'));
  return Digest::FromHex(first).has_value();
}

}  // namespace

Result<StreamKind> SniffStream(std::string_view start) {
  STRATA_TRY_ASSIGN(const Chunk plain, Decompressed(start));
  bool given = false;
  TarReader reader([&]() -> Result<std::string_view> {
    if (given) return std::string_view();
    given = true;
    return plain.view();
  });
  for (;;) {
    const auto more = reader.Next();
    if (!more || !*more) return StreamKind::kRootFilesystem;
    const auto path = NormalizeEntryPath(reader.entry().path, UnpackLimits());
    if (!path) return StreamKind::kRootFilesystem;
    if (path->empty()) continue;
    return IsArchiveMember(*path) ? StreamKind::kArchive : StreamKind::kRootFilesystem;
  }
}

}  // namespace strata::layerstore
