#include "layerstore/recipe/recipe_writer.h"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "base/try.h"
#include "layerstore/recipe/format.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivate = 0600;
constexpr std::size_t kFlushBytes = std::size_t{128} * 1024;

}  // namespace

// zstd into the file, with a checksum of what was written.
struct RecipeWriter::Compressor {
  Compressor() {
    if (zstd == nullptr || xxh == nullptr ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 1)) != 0 ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, recipe::kWindowLog)) != 0) {
      throw std::bad_alloc();
    }
    XXH3_64bits_reset(xxh);
  }
  ~Compressor() {
    ZSTD_freeCCtx(zstd);
    XXH3_freeState(xxh);
  }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  Result<> Write(FileOps& ops, int file, std::string_view data, bool last) {
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0) {
        return Fail(EIO, "write recipe", std::string(ZSTD_getErrorName(left)));
      }
      XXH3_64bits_update(xxh, out.dst, out.pos);
      STRATA_TRY(WriteAllAt(ops, file, std::as_bytes(std::span(buffer).first(out.pos)), end));
      end += static_cast<off_t>(out.pos);
      if (last ? left == 0 : in.pos == in.size) return {};
    }
  }

  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  XXH3_state_t* xxh = XXH3_createState();
  std::vector<char> buffer = std::vector<char>(ZSTD_CStreamOutSize());
  off_t end = sizeof(recipe::Header);
};

Result<std::unique_ptr<RecipeWriter>> RecipeWriter::Create(FileOps& ops, int layer_dir,
                                                           const UnpackLimits& limits) {
  std::unique_ptr<RecipeWriter> writer(new RecipeWriter(ops, layer_dir, limits));
  STRATA_TRY_ASSIGN(writer->file_, ops.Open(layer_dir, recipe::kFileName,
                                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kPrivate));
  return writer;
}

RecipeWriter::RecipeWriter(FileOps& ops, int layer_dir, const UnpackLimits& limits)
    : ops_(ops),
      limits_(limits),
      compressor_(std::make_unique<Compressor>()),
      replaced_files_(ops, layer_dir) {
  records_.reserve(kFlushBytes + recipe::kLiteralMax);
}

RecipeWriter::~RecipeWriter() = default;

void RecipeWriter::PutKind(std::uint8_t kind) {
  ++records_count_;
  records_.push_back(static_cast<char>(kind));
}

void RecipeWriter::PutNumber(std::uint64_t number) {
  for (; number >= 0x80; number >>= 7U) records_.push_back(static_cast<char>(number | 0x80U));
  records_.push_back(static_cast<char>(number));
}

void RecipeWriter::PutPath(std::string_view path) {
  const auto differ = std::ranges::mismatch(path, last_path_).in1;
  const auto shared = static_cast<std::size_t>(differ - path.begin());
  PutNumber(shared);
  PutNumber(path.size() - shared);
  records_.append(path.substr(shared));
  last_path_ = path;
}

void RecipeWriter::PutChecksum(const Xxh128& checksum) {
  const auto& bytes = checksum.bytes();
  records_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<> RecipeWriter::Flush(bool last) {
  if (!last && records_.size() < kFlushBytes) return {};
  STRATA_TRY(compressor_->Write(ops_, file_.get(), records_, last));
  records_.clear();
  return {};
}

Result<> RecipeWriter::Literal(std::string_view bytes) {
  STRATA_TRY(EndContent());
  tar_bytes_ += bytes.size();
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), recipe::kLiteralMax - literal_.size());
    literal_.append(bytes.substr(0, count));
    bytes.remove_prefix(count);
    if (literal_.size() == recipe::kLiteralMax) STRATA_TRY(EndLiteral());
  }
  return {};
}

Result<> RecipeWriter::EndLiteral() {
  if (literal_.empty()) return {};
  PutKind(recipe::kLiteral);
  PutNumber(literal_.size());
  records_.append(literal_);
  literal_.clear();
  return Flush(false);
}

Result<> RecipeWriter::Content(const std::string& path, std::int64_t size, std::int64_t offset,
                               std::string_view data) {
  if (data.empty()) return {};
  STRATA_TRY(EndLiteral());
  const auto length = static_cast<std::int64_t>(data.size());
  tar_bytes_ += data.size();
  if (!extents_.empty() && extents_.back().offset + extents_.back().length == offset) {
    extents_.back().length += length;
  } else {
    if (extents_.size() == recipe::kExtentsMax) STRATA_TRY(EndContent());
    if (extents_.empty()) {
      path_ = path;
      size_ = size;
    }
    extents_.push_back({offset, length});
  }
  hasher_.Update(data);
  return {};
}

Result<> RecipeWriter::EndContent() {
  if (extents_.empty()) return {};
  const Extent& first = extents_.front();
  if (extents_.size() == 1 && first.offset == 0 && first.length == size_) {
    PutKind(recipe::kContent);
    PutPath(path_);
    PutNumber(static_cast<std::uint64_t>(size_));
  } else {
    PutKind(recipe::kExtents);
    PutPath(path_);
    PutNumber(extents_.size());
    std::int64_t end = 0;
    for (const Extent& extent : extents_) {
      PutNumber(static_cast<std::uint64_t>(extent.offset - end));
      PutNumber(static_cast<std::uint64_t>(extent.length));
      end = extent.offset + extent.length;
    }
  }
  PutChecksum(hasher_.Finish());
  extents_.clear();
  return Flush(false);
}

Result<> RecipeWriter::Replace(int parent, const char* name, const std::string& path) {
  constexpr std::uint64_t kNode = 128;  // of the reader's table
  replaced_bytes_ += path.size() + kNode;
  if (replaced_bytes_ > limits_.kept_bytes) {
    return OverLimit(limits_, "unpack", "kept-bytes", limits_.kept_bytes,
                     "bytes of names that later entries replace");
  }
  STRATA_TRY(EndContent());
  STRATA_TRY(EndLiteral());
  STRATA_TRY_ASSIGN(const std::uint64_t number, replaced_files_.Take(parent, name));
  PutKind(recipe::kReplaced);
  PutPath(path);
  PutNumber(number);
  return Flush(false);
}

Result<> RecipeWriter::Finish(const Digest& diff_id) {
  STRATA_TRY(EndContent());
  STRATA_TRY(EndLiteral());
  STRATA_TRY(Flush(true));
  STRATA_TRY(replaced_files_.Unshare());
  recipe::Header header;
  header.magic = recipe::kMagic;
  header.version = recipe::kVersion;
  if (replaced_bytes_ > 0) header.flags = recipe::kHasReplaced;
  header.diff_id = diff_id.bytes();
  header.tar_bytes = tar_bytes_;
  header.records = records_count_;
  header.body_checksum = XXH3_64bits_digest(compressor_->xxh);
  header.header_checksum = XXH3_64bits(&header, offsetof(recipe::Header, header_checksum));
  STRATA_TRY(WriteAllAt(ops_, file_.get(), std::as_bytes(std::span(&header, 1)), 0));
  file_.reset();
  return {};
}

}  // namespace strata::layerstore
