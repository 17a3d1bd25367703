#include "layerstore/import/import.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/byte_channel.h"
#include "layerstore/archive/compression.h"
#include "layerstore/import/image_files.h"
#include "layerstore/import/importer.h"
#include "layerstore/import/sniff.h"

namespace strata::layerstore {
namespace {

// A stream whose start has been looked at.
class PeekedSource {
 public:
  explicit PeekedSource(const ByteSource& source) : source_(source) {}

  // Reads the start, once.
  Result<std::string_view> Peek(std::size_t count) {
    start_ = Chunk(count);
    while (start_.room() > 0) {
      STRATA_TRY_ASSIGN(
          const std::size_t got,
          source_(std::as_writable_bytes(std::span(start_.data() + start_.size(), start_.room()))));
      if (got == 0) break;
      start_.set_size(start_.size() + got);
    }
    return start_.view();
  }

  // The next bytes, start first; valid until the next call, empty at the end.
  Result<std::string_view> Next() {
    if (!start_given_) {
      start_given_ = true;
      if (start_.size() > 0) return start_.view();
    }
    STRATA_TRY_ASSIGN(const std::size_t got,
                      source_(std::as_writable_bytes(std::span(buffer_.data(), kImportChunk))));
    return std::string_view(buffer_.data(), got);
  }

 private:
  const ByteSource& source_;
  Chunk start_;
  bool start_given_ = false;
  Chunk buffer_{kImportChunk};
};

// The plain form of a stream, for an archive as a whole may be compressed.
class PlainSource {
 public:
  PlainSource(PeekedSource& source, Compression compression, const UnpackLimits& limits)
      : source_(source), limits_(limits), decompressor_(MakeDecompressor(compression)) {}

  Result<std::string_view> Next() {
    for (;;) {
      STRATA_TRY_ASSIGN(const auto progress,
                        decompressor_->Run(input_, std::span(output_.data(), kImportChunk)));
      input_.remove_prefix(progress.consumed);
      consumed_ += progress.consumed;
      produced_ += progress.produced;
      STRATA_TRY(CheckExpansion(limits_, consumed_, produced_));
      if (progress.produced > 0) return std::string_view(output_.data(), progress.produced);
      if (!input_.empty() && progress.consumed == 0) {
        return Fail(EBADMSG, "decompress", "the data is corrupt");
      }
      if (!input_.empty()) continue;
      if (ended_) {
        STRATA_TRY(decompressor_->Finish());
        return std::string_view();
      }
      STRATA_TRY_ASSIGN(input_, source_.Next());
      ended_ = input_.empty();
    }
  }

 private:
  PeekedSource& source_;
  const UnpackLimits limits_;
  std::unique_ptr<Decompressor> decompressor_;
  Chunk output_{kImportChunk};
  std::string_view input_;
  std::uint64_t consumed_ = 0;
  std::uint64_t produced_ = 0;
  bool ended_ = false;
};

Result<std::vector<ImportedImage>> ImportFiles(const ImportContext& context, ImageFiles& files) {
  if (context.options.accept == ImportOptions::Accept::kRootFilesystem) {
    return Fail(EINVAL, "import", "is an image archive, not a root filesystem");
  }
  // Archives of newer dockers are both; the layout keeps the manifests as they were.
  STRATA_TRY_ASSIGN(const bool layout, files.Has("oci-layout"));
  if (layout) return ImportOciLayout(context, files);
  STRATA_TRY_ASSIGN(const bool docker, files.Has("manifest.json"));
  if (docker) return ImportDockerArchive(context, files);
  STRATA_TRY_ASSIGN(const bool legacy, files.Has("repositories"));
  if (legacy) return ImportLegacyArchive(context, files);
  return Fail(EINVAL, "import",
              "is no image: it has neither oci-layout nor manifest.json nor repositories");
}

Result<std::vector<ImportedImage>> ImportArchiveStream(const ImportContext& context,
                                                       PeekedSource& source,
                                                       std::string_view start) {
  STRATA_TRY_ASSIGN(const Compression compression, DetectCompression(start));
  PlainSource plain(source, compression, context.options.limits);
  TarReader reader([&] { return plain.Next(); });
  STRATA_TRY_ASSIGN(const auto files, SpooledFiles::Spool(context.store.store_root(), reader,
                                                          context.options.limits));
  return ImportFiles(context, *files);
}

Result<std::vector<ImportedImage>> ImportRootStream(const ImportContext& context,
                                                    PeekedSource& source) {
  if (context.options.accept == ImportOptions::Accept::kArchive) {
    return Fail(EINVAL, "import", "is not an image archive");
  }
  STRATA_TRY_ASSIGN(ImportedImage image,
                    ImportRootFilesystem(context, [&](const auto& take) -> Result<> {
                      for (;;) {
                        STRATA_TRY_ASSIGN(const std::string_view data, source.Next());
                        if (data.empty()) return {};
                        STRATA_TRY(take(data));
                      }
                    }));
  std::vector<ImportedImage> images;
  images.push_back(std::move(image));
  return images;
}

}  // namespace

Result<std::vector<ImportedImage>> ImportStream(Store& store, const ByteSource& source,
                                                const ImportOptions& options) {
  STRATA_TRY_ASSIGN(Lease lease, store.NewLease());
  const ImportContext context{store, lease, options};
  PeekedSource peeked(source);
  STRATA_TRY_ASSIGN(const std::string_view start, peeked.Peek(kSniffBytes));
  STRATA_TRY_ASSIGN(const StreamKind kind, SniffStream(start));
  if (kind == StreamKind::kArchive) return ImportArchiveStream(context, peeked, start);
  return ImportRootStream(context, peeked);
}

Result<std::vector<ImportedImage>> Import(Store& store, const std::string& path,
                                          const ImportOptions& options) {
  const auto explain =
      [&](Result<std::vector<ImportedImage>> result) -> Result<std::vector<ImportedImage>> {
    if (!result) return std::unexpected(std::move(result).error().WithContext(path));
    return result;
  };
  FileOps& ops = store.ops();
  auto fd = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!fd) return std::unexpected(std::move(fd).error().WithContext(path));
  STRATA_TRY_ASSIGN(const struct stat st, ops.Stat(fd->get()));
  if (S_ISDIR(st.st_mode)) {
    STRATA_TRY_ASSIGN(Lease lease, store.NewLease());
    DirectoryFiles files(ops, std::move(*fd));
    return explain(ImportFiles({store, lease, options}, files));
  }
  ImportOptions file_options = options;
  if (file_options.comment.empty()) {
    file_options.comment = "Imported from " + std::string(BaseName(path));
  }
  return explain(ImportStream(
      store, [&](std::span<std::byte> buffer) { return ops.Read(fd->get(), buffer); },
      file_options));
}

}  // namespace strata::layerstore
