#include "layerstore/save/layer_source.h"

#include <fcntl.h>

#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "base/try.h"
#include "layerstore/archive/compressor.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kPiece = std::size_t{256} * 1024;
constexpr mode_t kPrivateFile = 0600;

Result<Compression> CompressionOf(FileOps& ops, int file) {
  std::array<char, kMagicBytes> start{};
  STRATA_TRY_ASSIGN(const std::size_t got,
                    ops.ReadAt(file, std::as_writable_bytes(std::span(start)), 0));
  return DetectCompression({start.data(), got});
}

// Passes a compressed stream on as a plain one.
class Unpacking {
 public:
  Unpacking(Compression compression, const ByteSink& sink)
      : decompressor_(MakeDecompressor(compression)), sink_(sink), output_(kPiece) {}

  Result<> Write(std::string_view input) {
    for (;;) {
      STRATA_TRY_ASSIGN(const auto progress, decompressor_->Run(input, output_));
      input.remove_prefix(progress.consumed);
      if (progress.produced > 0) STRATA_TRY(sink_({output_.data(), progress.produced}));
      if (progress.produced > 0 || (progress.consumed > 0 && !input.empty())) continue;
      return input.empty() ? Result<>() : Fail(EBADMSG, "decompress", "the data is corrupt");
    }
  }
  Result<> Finish() { return decompressor_->Finish(); }

 private:
  std::unique_ptr<Decompressor> decompressor_;
  const ByteSink& sink_;
  std::vector<char> output_;
};

Result<> Replay(Store& store, const Digest& diff_id, bool verify, const ByteSink& sink) {
  STRATA_TRY_ASSIGN(const UniqueFd layer, store.layers().OpenDirectory(diff_id));
  LayerTarOptions options;
  options.verify = verify;
  return LayerTar::Write(store.ops(), layer.get(), sink, options);
}

}  // namespace

Result<UniqueFd> LayerForm::Open() const {
  if (place_ == Place::kBlobStore) return store_->blobs().OpenBlob(packed_.digest);
  if (place_ == Place::kFiles) return Fail(ENOTSUP, "open layer", diff_id_.ToString());
  STRATA_TRY_ASSIGN(const StoreRoot* root, store_->store_root().Scratch());
  STRATA_TRY_ASSIGN(const int staging, root->staging());
  return store_->ops().Open(staging, staged_->c_str(), O_RDONLY | O_NOFOLLOW);
}

Result<> LayerForm::StreamFrom(int file, const ByteSink& sink) const {
  Sha256 hash;
  std::uint64_t streamed = 0;
  std::vector<char> buffer(kPiece);
  while (streamed <= packed_.size) {
    STRATA_TRY_ASSIGN(const std::size_t got,
                      store_->ops().Read(file, std::as_writable_bytes(std::span(buffer))));
    if (got == 0) break;
    streamed += got;
    // Whoever takes them counts on so many.
    if (streamed > packed_.size) break;
    const std::string_view piece(buffer.data(), got);
    hash.Update(piece);
    STRATA_TRY(sink(piece));
  }
  if (streamed != packed_.size) {
    return Fail(EBADMSG, "verify blob",
                std::string(streamed > packed_.size ? "more" : "fewer") + " than " +
                    std::to_string(packed_.size) + " bytes");
  }
  const Digest digest = hash.Finish();
  if (digest == packed_.digest) return {};
  return Fail(EBADMSG, "verify blob", "the digest is " + digest.ToString());
}

Result<> LayerForm::Stream(const ByteSink& sink) const {
  if (place_ == Place::kFiles) {
    auto replayed = Replay(*store_, diff_id_, true, sink);
    if (replayed) return {};
    return std::unexpected(std::move(replayed).error().WithContext("layer " + diff_id_.ToString()));
  }
  STRATA_TRY_ASSIGN(const UniqueFd file, Open());
  auto streamed = StreamFrom(file.get(), sink);
  if (streamed) return {};
  return std::unexpected(std::move(streamed).error().WithContext(
      "layer " + diff_id_.ToString() + ", blob " + packed_.digest.ToString()));
}

Result<std::optional<LayerForm>> LayerSource::OpenKept(const Digest& diff_id, const Digest& blob) {
  STRATA_TRY(lease_.PinBlob(blob));
  auto file = store_.blobs().OpenBlob(blob);
  if (!file) {
    if (file.error().code() == ENOENT) return std::optional<LayerForm>();
    return std::unexpected(std::move(file).error());
  }
  STRATA_TRY_ASSIGN(const struct stat st, store_.ops().Stat(file->get()));
  LayerForm form;
  form.store_ = &store_;
  form.diff_id_ = diff_id;
  form.packed_.digest = blob;
  form.packed_.size = static_cast<std::uint64_t>(st.st_size);
  STRATA_TRY_ASSIGN(form.packed_.compression, CompressionOf(store_.ops(), file->get()));
  return std::optional(std::move(form));
}

Result<std::optional<LayerForm>> LayerSource::FindKept(const Digest& diff_id, const Digest& wanted,
                                                       std::optional<Compression> compression) {
  STRATA_TRY_ASSIGN(const auto known, store_.layers().Blobs(diff_id));
  std::vector<Digest> blobs = {wanted};
  for (const LayerBlob& blob : known) {
    if (blob.blob != wanted) blobs.push_back(blob.blob);
  }
  for (const Digest& blob : blobs) {
    if (blob.empty()) continue;
    STRATA_TRY_ASSIGN(auto form, OpenKept(diff_id, blob));
    if (form && (!compression || form->packed().compression == *compression)) return form;
  }
  return std::optional<LayerForm>();
}

Result<std::optional<LayerForm>> LayerSource::FindPlain(const Digest& diff_id) {
  const auto size = store_.layers().TarSize(diff_id);
  if (!size) {
    if (size.error().code() == ENOENT) return std::optional<LayerForm>();
    return Fail(size.error().code(), "read recipe",
                "layer " + diff_id.ToString() + ": " + std::string(size.error().detail()));
  }
  LayerForm form;
  form.store_ = &store_;
  form.diff_id_ = diff_id;
  form.packed_ = {diff_id, *size, Compression::kNone};
  form.place_ = LayerForm::Place::kFiles;
  return std::optional(std::move(form));
}

Result<std::optional<LayerForm>> LayerSource::Find(const Digest& diff_id, const Digest& wanted,
                                                   std::optional<Compression> compression) {
  const bool plain = compression ? *compression == Compression::kNone : wanted == diff_id;
  if (plain) {
    // Older programs kept the blobs of plain layers.
    STRATA_TRY_ASSIGN(auto kept, FindKept(diff_id, diff_id, Compression::kNone));
    if (kept) return kept;
    STRATA_TRY_ASSIGN(auto made, FindPlain(diff_id));
    if (made) return made;
  }
  return FindKept(diff_id, wanted, compression);
}

Result<LayerForm> LayerSource::Get(const Digest& diff_id, const Digest& wanted,
                                   std::optional<Compression> compression) {
  STRATA_TRY_ASSIGN(auto found, Find(diff_id, wanted, compression));
  if (found) return *std::move(found);
  return Make(diff_id, compression.value_or(Compression::kGzip));
}

Result<LayerForm> LayerSource::Make(const Digest& diff_id, Compression compression) {
  STRATA_TRY_ASSIGN(StoreRoot* const root, store_.store_root().Scratch());
  STRATA_TRY_ASSIGN(const int staging, root->staging());
  LayerForm form;
  form.store_ = &store_;
  form.diff_id_ = diff_id;
  form.packed_.compression = compression;
  form.place_ = LayerForm::Place::kStaging;
  form.staged_ = root->NewStaged("save-");
  STRATA_TRY_ASSIGN(
      const UniqueFd file,
      store_.ops().Open(staging, form.staged_->c_str(), O_WRONLY | O_CREAT | O_EXCL, kPrivateFile));
  Sha256 hash;
  STRATA_TRY(Pack(diff_id, compression, [&](std::string_view packed) {
    hash.Update(packed);
    form.packed_.size += packed.size();
    return WriteAll(store_.ops(), file.get(), packed);
  }));
  form.packed_.digest = hash.Finish();
  return form;
}

Result<> LayerSource::Pack(const Digest& diff_id, Compression compression, const ByteSink& sink) {
  const auto compressor = MakeCompressor(compression, sink);
  Sha256 hash;
  STRATA_TRY(StreamTar(diff_id, [&](std::string_view plain) {
    hash.Update(plain);
    return compressor->Write(plain);
  }));
  if (const Digest digest = hash.Finish(); digest != diff_id) {
    return Fail(EBADMSG, "verify layer",
                "the tar of layer " + diff_id.ToString() + " has digest " + digest.ToString());
  }
  return compressor->Finish();
}

// The one place that says where a layer's tar comes from.
Result<> LayerSource::StreamTar(const Digest& diff_id, const ByteSink& sink) {
  STRATA_TRY_ASSIGN(const auto kept, FindKept(diff_id, Digest(), std::nullopt));
  // Pack() compares the digest.
  auto streamed = kept ? Unpack(*kept, sink) : Replay(store_, diff_id, false, sink);
  if (streamed) return {};
  if (!kept && streamed.error().code() == ENOENT && store_.layers().Find(diff_id)) {
    streamed = Fail(ENODATA, "read layer", "neither a packed form nor a recipe of it is kept");
  }
  return std::unexpected(std::move(streamed).error().WithContext("layer " + diff_id.ToString()));
}

Result<> LayerSource::Unpack(const LayerForm& form, const ByteSink& sink) {
  Unpacking plain(form.packed().compression, sink);
  STRATA_TRY(form.Stream([&](std::string_view packed) { return plain.Write(packed); }));
  return plain.Finish();
}

}  // namespace strata::layerstore
