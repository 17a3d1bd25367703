#include "manager/registry/blob_upload.h"

#include <algorithm>
#include <charconv>

#include "base/logging.h"
#include "base/try.h"
#include "manager/registry/registry_error.h"
#include "manager/registry/url.h"

namespace strata::manager {
namespace {

using std::chrono::milliseconds;

// A registry hashes and moves a blob before it answers the last request.
constexpr milliseconds kCommitTimeout{300'000};

// The upload of one blob, across the connections it takes.
class Upload {
 public:
  Upload(RegistrySession& session, const RegistryPurpose& purpose, const std::string& repository,
         const BlobSource& blob)
      : session_(session), purpose_(purpose), repository_(repository), blob_(blob) {}

  // Begins an upload, or mounts the blob and needs none.
  Result<BlobUpload> Begin(const std::optional<std::string>& mount_from);
  // Sends what is missing and completes the upload.
  Result<> Run();
  // Asks how far the registry got; begins anew if it has forgotten the upload.
  Result<> Recover();
  // Best effort: lets the registry drop what it has.
  void Abandon();

 private:
  Result<> SendChunk(std::uint64_t length);
  Result<> Complete(std::uint64_t length);
  WebUpload Part(std::uint64_t length) const;
  Result<> Follow(const WebResponse& response);
  void Report(std::uint64_t sent) const {
    if (blob_.on_progress) blob_.on_progress(sent);
  }

  RegistrySession& session_;
  const RegistryPurpose& purpose_;
  const std::string& repository_;
  const BlobSource& blob_;
  std::string location_;      // where the next request goes
  std::uint64_t offset_ = 0;  // bytes the registry has
};

Result<> Upload::Follow(const WebResponse& response) {
  const std::string_view location = response.Header("Location");
  if (location.empty()) {
    return std::unexpected(session_.Explain(
        purpose_, Error(EPROTO, "push blob", "the registry does not say where to upload to")));
  }
  auto url = ResolveUrl(response.url, std::string(location));
  if (!url) return std::unexpected(session_.Explain(purpose_, std::move(url.error())));
  location_ = *std::move(url);
  return {};
}

Result<BlobUpload> Upload::Begin(const std::optional<std::string>& mount_from) {
  WebRequest request;
  request.method = "POST";
  request.url = session_.Url("/v2/" + repository_ + "/blobs/uploads/");
  if (mount_from) {
    request.url +=
        "?mount=" + PercentEncode(blob_.digest.ToString()) + "&from=" + PercentEncode(*mount_from);
  }
  STRATA_TRY_ASSIGN(
      const WebResponse response,
      session_.Expect(purpose_, session_.SendRepeatedly(purpose_, request), {201, 202}));
  if (response.status == 201) return BlobUpload::kMounted;
  offset_ = 0;
  STRATA_TRY(Follow(response));
  return BlobUpload::kUploaded;
}

WebUpload Upload::Part(std::uint64_t length) const {
  const std::uint64_t base = offset_;
  return {.length = length,
          .read = [this, base](std::uint64_t offset,
                               std::span<std::byte> buffer) -> Result<std::size_t> {
            auto got = blob_.content.read(base + offset, buffer);
            if (got) Report(base + offset + *got);
            return got;
          }};
}

Result<> Upload::SendChunk(std::uint64_t length) {
  WebRequest request;
  request.method = "PATCH";
  request.url = location_;
  request.headers = {
      {"Content-Type", "application/octet-stream"},
      {"Content-Range", std::to_string(offset_) + "-" + std::to_string(offset_ + length - 1)}};
  request.upload = Part(length);
  request.stall_timeout = kCommitTimeout;
  STRATA_TRY_ASSIGN(const WebResponse response,
                    session_.Expect(purpose_, session_.Send(purpose_, request), {202, 204}));
  STRATA_TRY(Follow(response));
  offset_ += length;
  return {};
}

Result<> Upload::Complete(std::uint64_t length) {
  WebRequest request;
  request.method = "PUT";
  auto url = AddQuery(location_, "digest", blob_.digest.ToString());
  if (!url) return std::unexpected(session_.Explain(purpose_, std::move(url.error())));
  request.url = *std::move(url);
  request.headers = {{"Content-Type", "application/octet-stream"}};
  if (length > 0) request.upload = Part(length);
  request.stall_timeout = kCommitTimeout;
  STRATA_TRY(session_.Expect(purpose_, session_.Send(purpose_, request), {201, 204}));
  return {};
}

Result<> Upload::Run() {
  const std::uint64_t size = blob_.content.length;
  const std::uint64_t chunk = std::max<std::uint64_t>(session_.options().upload_chunk, 1);
  if (offset_ == 0 && size <= chunk) return Complete(size);
  while (offset_ < size) STRATA_TRY(SendChunk(std::min(chunk, size - offset_)));
  return Complete(0);
}

Result<> Upload::Recover() {
  WebRequest request;
  request.url = location_;
  STRATA_TRY_ASSIGN(const WebResponse response, session_.SendRepeatedly(purpose_, request));
  std::uint64_t last = 0;
  const std::string_view range = response.Header("Range");  // "0-1023"; "0-0" for nothing
  const std::size_t dash = range.find('-');
  const bool known =
      (response.status == 204 || response.status == 202) && dash != std::string_view::npos &&
      std::from_chars(range.data() + dash + 1, range.data() + range.size(), last).ec == std::errc();
  if (!known || last >= blob_.content.length) {
    STRATA_TRY(Begin(std::nullopt));
    return {};
  }
  offset_ = last == 0 ? 0 : last + 1;
  if (!response.Header("Location").empty()) STRATA_TRY(Follow(response));
  return {};
}

void Upload::Abandon() {
  if (location_.empty()) return;
  WebRequest request;
  request.method = "DELETE";
  request.url = location_;
  const auto response = session_.Send(purpose_, request);
  if (!response) {
    log::Debug("upload could not be withdrawn",
               {{"registry", session_.registry()}, {"error", response.error().ToString()}});
  }
}

bool WorthAnotherTry(const Error& error) {
  return IsTransient(error) || error.code() == EREMOTEIO || error.code() == EBUSY ||
         error.code() == ERANGE;
}

}  // namespace

Result<BlobUpload> UploadBlob(RegistrySession& session, const RegistryPurpose& purpose,
                              const std::string& repository, const BlobSource& blob,
                              const std::optional<std::string>& mount_from) {
  Upload upload(session, purpose, repository, blob);
  STRATA_TRY_ASSIGN(const BlobUpload begun, upload.Begin(mount_from));
  if (begun == BlobUpload::kMounted) return begun;
  for (int attempt = 1;; ++attempt) {
    Result<> sent = upload.Run();
    if (sent) return BlobUpload::kUploaded;
    if (attempt >= kUploadAttempts || !WorthAnotherTry(sent.error())) {
      upload.Abandon();
      return std::unexpected(std::move(sent).error());
    }
    log::Info("blob upload is resumed", {{"registry", session.registry()},
                                         {"request", purpose.what},
                                         {"after", sent.error().ToString()}});
    STRATA_TRY(session.Pause(attempt));
    STRATA_TRY(upload.Recover());
  }
}

}  // namespace strata::manager
