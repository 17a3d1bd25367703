#include "layerstore/recipe/recipe_reader.h"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/recipe/format.h"

namespace strata::layerstore {
namespace {

std::unexpected<Error> Damaged(const char* what) { return Fail(EBADMSG, "read recipe", what); }

constexpr std::size_t kReadBytes = std::size_t{64} * 1024;

bool IsNormalised(std::string_view path) {
  for (;;) {
    const std::size_t slash = path.find('/');
    if (!PathComponent::Valid(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<UniqueFd> OpenRecipe(FileOps& ops, int layer_dir) {
  return ops.OpenConfined(layer_dir, recipe::kFileName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                          RESOLVE_BENEATH);
}

Result<> CheckBody(FileOps& ops, int file, std::uint64_t expected) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       XXH3_freeState);
  if (!state) return Fail(ENOMEM, "read recipe");
  XXH3_64bits_reset(state.get());
  std::vector<std::byte> buffer(kReadBytes);
  for (off_t at = sizeof(recipe::Header);;) {
    STRATA_TRY_ASSIGN(const std::size_t got, ops.ReadAt(file, buffer, at));
    if (got == 0) break;
    XXH3_64bits_update(state.get(), buffer.data(), got);
    at += static_cast<off_t>(got);
  }
  if (XXH3_64bits_digest(state.get()) != expected) return Damaged("its checksum is wrong");
  return {};
}

Result<recipe::Header> ReadHeader(FileOps& ops, int file) {
  recipe::Header header;
  STRATA_TRY_ASSIGN(const std::size_t got,
                    ops.ReadAt(file, std::as_writable_bytes(std::span(&header, 1)), 0));
  if (got < sizeof header || header.magic != recipe::kMagic) return Damaged("it is no recipe");
  if (header.version != recipe::kVersion) {
    return Fail(EPROTONOSUPPORT, "read recipe", "version " + std::to_string(header.version));
  }
  if (XXH3_64bits(&header, offsetof(recipe::Header, header_checksum)) != header.header_checksum) {
    return Damaged("the checksum of its header is wrong");
  }
  return header;
}

}  // namespace

// The decompressed records.
class RecipeReader::Stream {
 public:
  Stream(FileOps& ops, UniqueFd file)
      : ops_(ops), file_(std::move(file)), zstd_(ZSTD_createDStream()), input_(kReadBytes) {
    if (zstd_ == nullptr) throw std::bad_alloc();
  }
  ~Stream() { ZSTD_freeDStream(zstd_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int file() const { return file_.get(); }

  Result<> Rewind() {
    if (ZSTD_isError(ZSTD_DCtx_reset(zstd_, ZSTD_reset_session_only)) != 0 ||
        ZSTD_isError(ZSTD_DCtx_setParameter(zstd_, ZSTD_d_windowLogMax, recipe::kWindowLog)) != 0) {
      return Fail(ENOMEM, "read recipe");
    }
    at_ = sizeof(recipe::Header);
    in_ = {input_.data(), 0, 0};
    plain_.clear();
    used_ = 0;
    complete_ = false;
    return {};
  }

  // The next `count` bytes, valid until the next call.
  Result<std::string_view> Take(std::size_t count) {
    if (plain_.size() - used_ < count) STRATA_TRY(Fill(count));
    const std::string_view result = std::string_view(plain_).substr(used_, count);
    used_ += count;
    return result;
  }

  Result<std::uint64_t> TakeNumber() {
    std::uint64_t number = 0;
    for (unsigned shift = 0;; shift += 7) {
      STRATA_TRY_ASSIGN(const std::string_view byte, Take(1));
      const auto bits = static_cast<unsigned char>(byte[0]);
      if (shift == 63 && bits > 1) return Damaged("a number is too large");
      number |= std::uint64_t{bits & 0x7FU} << shift;
      if ((bits & 0x80U) == 0) return number;
    }
  }

  Result<std::size_t> TakeCount(std::size_t max) {
    STRATA_TRY_ASSIGN(const std::uint64_t count, TakeNumber());
    if (count > max) return Damaged("a length is too large");
    return static_cast<std::size_t>(count);
  }

  // After the last record.
  Result<> ExpectEnd() {
    while (plain_.size() == used_ && !complete_) STRATA_TRY(Decompress());
    if (plain_.size() > used_ || in_.pos < in_.size) return Damaged("something follows its end");
    return {};
  }

 private:
  Result<> Fill(std::size_t count) {
    plain_.erase(0, used_);
    used_ = 0;
    while (plain_.size() < count) {
      if (complete_) return Damaged("it is cut off");
      STRATA_TRY(Decompress());
    }
    return {};
  }

  Result<> Decompress() {
    if (in_.pos == in_.size) {
      STRATA_TRY_ASSIGN(const std::size_t got,
                        ops_.ReadAt(file_.get(), std::as_writable_bytes(std::span(input_)), at_));
      at_ += static_cast<off_t>(got);
      in_ = {input_.data(), got, 0};
    }
    const std::size_t before = plain_.size();
    plain_.resize(before + kReadBytes);
    ZSTD_outBuffer out{plain_.data() + before, kReadBytes, 0};
    const bool ended = in_.size == 0;
    const std::size_t status = ZSTD_decompressStream(zstd_, &out, &in_);
    plain_.resize(before + out.pos);
    if (ZSTD_isError(status) != 0) return Damaged(ZSTD_getErrorName(status));
    complete_ = status == 0;
    if (ended && out.pos == 0 && !complete_) return Damaged("it is cut off");
    return {};
  }

  FileOps& ops_;
  const UniqueFd file_;
  ZSTD_DStream* zstd_;
  std::vector<char> input_;
  ZSTD_inBuffer in_{};
  off_t at_ = 0;
  std::string plain_;
  std::size_t used_ = 0;
  bool complete_ = false;
};

// Which paths were taken out of the tree, when, and where they are now.
class RecipeReader::Replaced {
 public:
  void Add(const std::string& path, std::uint64_t record, std::uint64_t number) {
    events_[path].push_back({record, number});
  }

  // Where the content told of by record `record` is now, below the layer's directory.
  std::string Find(const std::string& path, std::uint64_t record) const {
    std::optional<Event> first;
    std::size_t length = 0;
    // It went at the first time that something at its path or at a directory above was taken away.
    for (std::string_view above = path; !above.empty(); above = DirName(above)) {
      const auto found = events_.find(above);
      if (found == events_.end()) continue;
      const auto next = std::ranges::upper_bound(found->second, record, {}, &Event::record);
      if (next == found->second.end() || (first && next->record > first->record)) continue;
      first = *next;
      length = above.size();
    }
    if (!first) return std::string(recipe::kFsName) + '/' + path;
    return std::string(recipe::kReplacedName) + '/' + std::to_string(first->number) +
           path.substr(length);
  }

 private:
  struct Event {
    std::uint64_t record;
    std::uint64_t number;
  };
  std::map<std::string, std::vector<Event>, std::less<>> events_;
};

RecipeReader::RecipeReader() = default;
RecipeReader::~RecipeReader() = default;

Result<std::uint64_t> RecipeReader::TarBytesOf(FileOps& ops, int layer_dir) {
  STRATA_TRY_ASSIGN(const UniqueFd file, OpenRecipe(ops, layer_dir));
  STRATA_TRY_ASSIGN(const recipe::Header header, ReadHeader(ops, file.get()));
  return header.tar_bytes;
}

Result<std::unique_ptr<RecipeReader>> RecipeReader::Open(FileOps& ops, int layer_dir) {
  STRATA_TRY_ASSIGN(UniqueFd file, OpenRecipe(ops, layer_dir));
  STRATA_TRY_ASSIGN(const recipe::Header header, ReadHeader(ops, file.get()));
  STRATA_TRY(CheckBody(ops, file.get(), header.body_checksum));
  std::unique_ptr<RecipeReader> reader(new RecipeReader());
  reader->diff_id_ = Digest(header.diff_id);
  reader->tar_bytes_ = header.tar_bytes;
  reader->records_ = header.records;
  reader->stream_ = std::make_unique<Stream>(ops, std::move(file));
  reader->replaced_ = std::make_unique<Replaced>();
  STRATA_TRY(reader->Rewind());
  if ((header.flags & recipe::kHasReplaced) != 0) {
    STRATA_TRY(reader->LoadReplaced());
    STRATA_TRY(reader->Rewind());
  }
  return reader;
}

Result<> RecipeReader::Rewind() {
  read_ = 0;
  left_ = tar_bytes_;
  record_ = RecipeRecord();
  return stream_->Rewind();
}

Result<> RecipeReader::LoadReplaced() {
  for (;;) {
    STRATA_TRY_ASSIGN(const bool more, ReadRecord());
    if (!more) return {};
    if (is_replaced_) replaced_->Add(record_.path, read_, number_);
  }
}

Result<bool> RecipeReader::Next() {
  do {
    STRATA_TRY_ASSIGN(const bool more, ReadRecord());
    if (!more) return false;
  } while (is_replaced_);
  if (record_.kind != RecipeRecord::Kind::kLiteral) {
    record_.file = replaced_->Find(record_.path, read_);
  }
  return true;
}

Result<bool> RecipeReader::ReadRecord() {
  if (read_ == records_) {
    STRATA_TRY(stream_->ExpectEnd());
    if (left_ != 0) return Damaged("its records are not the whole tar");
    return false;
  }
  ++read_;
  record_.extents.clear();
  is_replaced_ = false;
  STRATA_TRY_ASSIGN(const std::string_view kind, stream_->Take(1));
  switch (kind[0]) {
    case recipe::kLiteral:
      record_.kind = RecipeRecord::Kind::kLiteral;
      STRATA_TRY(ReadLiteral());
      return true;
    case recipe::kContent:
      record_.kind = RecipeRecord::Kind::kContent;
      STRATA_TRY(ReadPath());
      STRATA_TRY(ReadWhole());
      break;
    case recipe::kExtents:
      record_.kind = RecipeRecord::Kind::kExtents;
      STRATA_TRY(ReadPath());
      STRATA_TRY(ReadExtents());
      break;
    case recipe::kReplaced: {
      is_replaced_ = true;
      STRATA_TRY(ReadPath());
      STRATA_TRY_ASSIGN(number_, stream_->TakeNumber());
      return true;
    }
    default:
      return Damaged("a record is of an unknown kind");
  }
  STRATA_TRY(ReadChecksum());
  return true;
}

Result<> RecipeReader::ReadLiteral() {
  STRATA_TRY_ASSIGN(const std::size_t length, stream_->TakeCount(recipe::kLiteralMax));
  STRATA_TRY_ASSIGN(record_.literal, stream_->Take(length));
  return CountTarBytes(length);
}

Result<> RecipeReader::ReadWhole() {
  STRATA_TRY_ASSIGN(const std::uint64_t length, stream_->TakeNumber());
  record_.extents.push_back({0, length});
  return CountTarBytes(length);
}

Result<> RecipeReader::ReadChecksum() {
  STRATA_TRY_ASSIGN(const std::string_view checksum, stream_->Take(Xxh128::kBytes));
  Xxh128::Bytes bytes;
  std::memcpy(bytes.data(), checksum.data(), bytes.size());
  record_.checksum = Xxh128(bytes);
  return {};
}

Result<> RecipeReader::ReadPath() {
  STRATA_TRY_ASSIGN(const std::size_t shared, stream_->TakeCount(record_.path.size()));
  STRATA_TRY_ASSIGN(const std::size_t more, stream_->TakeCount(recipe::kPathMax - shared));
  STRATA_TRY_ASSIGN(const std::string_view rest, stream_->Take(more));
  record_.path.resize(shared);
  record_.path += rest;
  if (!IsNormalised(record_.path)) return Damaged("a path is none of a layer's");
  return {};
}

Result<> RecipeReader::ReadExtents() {
  constexpr std::uint64_t kMax = std::uint64_t{1} << 62U;
  STRATA_TRY_ASSIGN(const std::size_t count, stream_->TakeCount(recipe::kExtentsMax));
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    STRATA_TRY_ASSIGN(const std::uint64_t gap, stream_->TakeNumber());
    STRATA_TRY_ASSIGN(const std::uint64_t length, stream_->TakeNumber());
    if (gap > kMax || length > kMax || end + gap + length > kMax) {
      return Damaged("a place in a file is too large");
    }
    record_.extents.push_back({end + gap, length});
    STRATA_TRY(CountTarBytes(length));
    end += gap + length;
  }
  return {};
}

Result<> RecipeReader::CountTarBytes(std::uint64_t bytes) {
  if (bytes > left_) return Damaged("its records are more than the tar");
  left_ -= bytes;
  return {};
}

}  // namespace strata::layerstore
