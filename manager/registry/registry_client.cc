#include "manager/registry/registry_client.h"

#include <algorithm>
#include <array>

#include "base/try.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "manager/registry/blob_download.h"
#include "manager/registry/blob_upload.h"
#include "manager/registry/registry_error.h"

namespace strata::manager {
namespace {

namespace media_type = layerstore::media_type;

constexpr std::array kManifestTypes = {media_type::kOciIndex, media_type::kOciManifest,
                                       media_type::kDockerList, media_type::kDockerManifest};
constexpr std::chrono::milliseconds kManifestTimeout{120'000};

std::string PullScope(const std::string& repository) {
  return "repository:" + repository + ":pull";
}
std::string PushScope(const std::string& repository) {
  return "repository:" + repository + ":pull,push";
}

// "a/b; charset=utf-8" -> "a/b".
std::string_view BareType(std::string_view type) {
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return type;
}

// The media type to go by; EPROTO for an answer that can not be a manifest.
Result<std::string> ManifestType(const WebResponse& response) {
  const std::string_view type = BareType(response.Header("Content-Type"));
  if (std::ranges::find(kManifestTypes, type) != kManifestTypes.end()) return std::string(type);
  // Plain files behind a web server: the body says what it is.
  if (type.empty() || type == "application/json" || type == "application/octet-stream" ||
      type == "text/plain") {
    return std::string();
  }
  if (type.starts_with("application/vnd.docker.distribution.manifest.v1")) {
    return Fail(EOPNOTSUPP, "get manifest",
                "the image is in docker's retired schema 1; push it again with a current client");
  }
  return Fail(EPROTO, "get manifest",
              "the answer is of type \"" + std::string(type) + "\", which is no image manifest");
}

Result<> CheckManifestDigest(const WebResponse& response, const std::string& reference,
                             const Digest& actual) {
  if (const auto wanted = Digest::Parse(reference); wanted && *wanted != actual) {
    return Fail(EBADMSG, "get manifest",
                "the content has digest " + actual.ToString() + " instead");
  }
  // A registry may use another algorithm there; it is the content that counts.
  const auto claimed = Digest::Parse(response.Header("Docker-Content-Digest"));
  if (claimed && *claimed != actual) {
    return Fail(EBADMSG, "get manifest",
                "the registry announced " + claimed->ToString() + ", the content has digest " +
                    actual.ToString());
  }
  return {};
}

}  // namespace

RegistryClient::RegistryClient(std::unique_ptr<RegistrySession> session)
    : session_(std::move(session)) {}

Result<std::unique_ptr<RegistryClient>> RegistryClient::Open(std::string registry,
                                                             RegistryCredentials credentials,
                                                             const RegistryOptions& options,
                                                             Cancellation* cancel) {
  STRATA_TRY_ASSIGN(auto session, RegistrySession::Open(std::move(registry), std::move(credentials),
                                                        options, cancel));
  return std::unique_ptr<RegistryClient>(new RegistryClient(std::move(session)));
}

Result<RemoteManifest> RegistryClient::GetManifest(const std::string& repository,
                                                   const std::string& reference) {
  const RegistryPurpose purpose{"get manifest " + reference + " of " + repository,
                                PullScope(repository)};
  WebRequest request;
  request.url = session_->Url("/v2/" + repository + "/manifests/" + reference);
  std::string accept;
  for (const std::string_view type : kManifestTypes) {
    if (!accept.empty()) accept += ", ";
    accept += type;
  }
  request.headers.push_back({"Accept", accept});
  request.body_limit = layerstore::kManifestBytesMax;
  request.total_timeout = kManifestTimeout;
  STRATA_TRY_ASSIGN(WebResponse response,
                    session_->Expect(purpose, session_->SendRepeatedly(purpose, request), {200}));

  RemoteManifest manifest;
  manifest.digest = Digest::Of(response.body);
  auto type = ManifestType(response);
  if (!type) return std::unexpected(session_->Explain(purpose, std::move(type.error())));
  manifest.media_type = *std::move(type);
  Result<> checked = CheckManifestDigest(response, reference, manifest.digest);
  if (!checked) return std::unexpected(session_->Explain(purpose, std::move(checked).error()));
  manifest.bytes = std::move(response.body);
  return manifest;
}

Result<> RegistryClient::StreamBlob(const std::string& repository, const Digest& digest,
                                    std::uint64_t size,
                                    const std::function<Result<>(std::string_view)>& on_piece) {
  const RegistryPurpose purpose{"get blob " + digest.ToString() + " of " + repository,
                                PullScope(repository)};
  return DownloadBlob(*session_, purpose,
                      session_->Url("/v2/" + repository + "/blobs/" + digest.ToString()), size,
                      on_piece);
}

Result<std::string> RegistryClient::ReadBlob(const std::string& repository, const Digest& digest,
                                             std::uint64_t size, std::size_t limit) {
  const RegistryPurpose purpose{"get blob " + digest.ToString() + " of " + repository, ""};
  if (size > limit) {
    return std::unexpected(session_->Explain(
        purpose, Error(EFBIG, "get blob",
                       std::to_string(size) + " bytes are more than " + std::to_string(limit))));
  }
  std::string bytes;
  STRATA_TRY(StreamBlob(repository, digest, size, [&](std::string_view piece) -> Result<> {
    bytes += piece;
    return {};
  }));
  if (const Digest actual = Digest::Of(bytes); actual != digest) {
    return std::unexpected(session_->Explain(
        purpose,
        Error(EBADMSG, "get blob", "the content has digest " + actual.ToString() + " instead")));
  }
  return bytes;
}

Result<bool> RegistryClient::HasBlob(const std::string& repository, const Digest& digest) {
  const RegistryPurpose purpose{"look for blob " + digest.ToString() + " of " + repository,
                                PushScope(repository)};
  WebRequest request;
  request.method = "HEAD";
  request.url = session_->Url("/v2/" + repository + "/blobs/" + digest.ToString());
  STRATA_TRY_ASSIGN(
      const WebResponse response,
      session_->Expect(purpose, session_->SendRepeatedly(purpose, request), {200, 404}));
  return response.status == 200;
}

Result<BlobUpload> RegistryClient::PushBlob(const std::string& repository, const BlobSource& blob,
                                            const std::optional<std::string>& mount_from) {
  RegistryPurpose purpose{"push blob " + blob.digest.ToString() + " to " + repository,
                          PushScope(repository)};
  if (mount_from) purpose.scope += " " + PullScope(*mount_from);
  return UploadBlob(*session_, purpose, repository, blob, mount_from);
}

Result<> RegistryClient::PutManifest(const std::string& repository, const std::string& reference,
                                     std::string_view media_type, std::string_view bytes) {
  const RegistryPurpose purpose{"put manifest " + reference + " of " + repository,
                                PushScope(repository)};
  WebRequest request;
  request.method = "PUT";
  request.url = session_->Url("/v2/" + repository + "/manifests/" + reference);
  request.headers.push_back({"Content-Type", std::string(media_type)});
  request.body = std::string(bytes);
  request.total_timeout = kManifestTimeout;
  // Putting the same manifest twice is putting it once.
  STRATA_TRY_ASSIGN(
      const WebResponse response,
      session_->Expect(purpose, session_->SendRepeatedly(purpose, request), {200, 201, 202}));
  const auto stored = Digest::Parse(response.Header("Docker-Content-Digest"));
  if (stored && *stored != Digest::Of(bytes)) {
    return std::unexpected(session_->Explain(
        purpose, Error(EBADMSG, "put manifest", "the registry stored " + stored->ToString())));
  }
  return {};
}

}  // namespace strata::manager
