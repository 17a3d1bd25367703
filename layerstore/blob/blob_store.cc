#include "layerstore/blob/blob_store.h"

#include <utility>

#include "base/try.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kBlobMode = 0600;

// Whether a blob of that size, or of none that could be told, is there.
Result<bool> IsThere(const Digest& digest, const Result<std::uint64_t>& size) {
  if (size) return true;
  if (size.error().code() == ENOENT) return false;
  return Fail(size.error().code(), "stat blob", digest.ToString());
}

std::unexpected<Error> Mismatch(const char* what, const std::string& expected,
                                const std::string& actual) {
  return Fail(EBADMSG, "verify blob",
              std::string(what) + " is " + actual + ", expected " + expected);
}

}  // namespace

BlobWriter::BlobWriter(StoreRoot& root, Lease& lease, StagedName staged, UniqueFd fd)
    : root_(root), lease_(lease), staged_(std::move(staged)), fd_(std::move(fd)) {}

Result<> BlobWriter::Write(std::string_view data) {
  STRATA_TRY(WriteAll(root_.ops(), fd_.get(), data));
  hash_.Update(data);
  written_ += data.size();
  writeback_.Reached(fd_.get(), static_cast<off_t>(written_));
  return {};
}

const Digest& BlobWriter::Finish() {
  if (!digest_) digest_ = hash_.Finish();
  return *digest_;
}

Result<BlobInfo> BlobWriter::Commit(const std::optional<Digest>& digest,
                                    const std::optional<std::uint64_t>& size) {
  const BlobInfo info{Finish(), written_};
  if (size && *size != info.size) {
    return Mismatch("size", std::to_string(*size), std::to_string(info.size));
  }
  if (digest && *digest != info.digest) {
    return Mismatch("digest", digest->ToString(), info.digest.ToString());
  }
  // Pinned before it can be seen: the collector never finds it without a reason to stay.
  STRATA_TRY(lease_.PinBlob(info.digest));
  STRATA_TRY(root_.PublishFile(fd_.get(), staged_, root_.blobs(), info.digest.Hex()));
  return info;
}

Result<std::unique_ptr<BlobWriter>> BlobStore::Begin(Lease& lease) {
  STRATA_TRY_ASSIGN(const int dir, root_.staging());
  StagedName staged = root_.NewStaged("blob-");
  STRATA_TRY_ASSIGN(UniqueFd fd,
                    root_.ops().Open(dir, staged.c_str(), O_WRONLY | O_CREAT | O_EXCL, kBlobMode));
  return std::unique_ptr<BlobWriter>(
      new BlobWriter(root_, lease, std::move(staged), std::move(fd)));
}

Result<UniqueFd> BlobStore::OpenBlob(const Digest& digest) {
  auto fd =
      root_.ops().Open(root_.blobs(), digest.Hex().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  for (BlobStore* const lower : below_) {
    if (fd || fd.error().code() != ENOENT) break;
    fd = lower->OpenBlob(digest);
  }
  if (!fd) return std::unexpected(std::move(fd).error().WithContext("blob " + digest.ToString()));
  return fd;
}

Result<bool> BlobStore::Has(const Digest& digest) { return IsThere(digest, Size(digest)); }

Result<bool> BlobStore::HasOwn(const Digest& digest) { return IsThere(digest, OwnSize(digest)); }

Result<std::uint64_t> BlobStore::OwnSize(const Digest& digest) {
  auto st = root_.ops().StatAt(root_.blobs(), digest.Hex().c_str());
  if (!st) return std::unexpected(std::move(st).error().WithContext("blob " + digest.ToString()));
  return static_cast<std::uint64_t>(st->st_size);
}

Result<std::uint64_t> BlobStore::Size(const Digest& digest) {
  auto size = OwnSize(digest);
  for (BlobStore* const lower : below_) {
    if (size || size.error().code() != ENOENT) break;
    size = lower->Size(digest);
  }
  return size;
}

Result<> BlobStore::Remove(const Digest& digest) {
  if (root_.read_only()) return Fail(EROFS, "remove blob", digest.ToString());
  return root_.ops().Unlink(root_.blobs(), digest.Hex().c_str());
}

Result<std::vector<BlobInfo>> BlobStore::List() {
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    root_.ops().Open(root_.blobs(), ".", O_RDONLY | O_DIRECTORY));
  std::vector<Digest> digests;
  STRATA_TRY(root_.ops().ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char) {
    if (const auto digest = Digest::FromHex(name)) digests.push_back(*digest);
    return true;
  }));
  std::vector<BlobInfo> blobs;
  for (const Digest& digest : digests) {
    const auto size = OwnSize(digest);
    // One that another process removed meanwhile is no longer there.
    if (!size && size.error().code() == ENOENT) continue;
    if (!size) return Fail(size.error().code(), "stat blob", digest.ToString());
    blobs.push_back({digest, *size});
  }
  return blobs;
}

}  // namespace strata::layerstore
