// Client of the OCI distribution protocol, which docker registries speak too.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancellation.h"
#include "base/digest.h"
#include "base/error.h"
#include "manager/registry/credentials.h"
#include "manager/registry/registry_session.h"
#include "manager/registry/web_client.h"

namespace strata::manager {

// A manifest or index just as the registry sent it.
struct RemoteManifest {
  std::string bytes;
  std::string media_type;  // from Content-Type; "" where that says nothing of use
  Digest digest;           // of `bytes`
};

enum class BlobUpload : std::uint8_t {
  kUploaded,
  kMounted,  // the registry took it from another of its repositories
};

// A blob to push: where its bytes are, what they are, who wants to know about them.
struct BlobSource {
  Digest digest;
  WebUpload content;
  std::function<void(std::uint64_t sent)> on_progress;  // may be empty
};

// One registry. Thread-safe: blobs may be moved in parallel.
//
// Every error's detail names the registry, what was asked of which repository, and what the
// registry said. Codes: those of WebClient for the connection; EACCES, ENOENT, EBUSY (429),
// EREMOTEIO (5xx) and the rest of ErrnoOfStatus() for refusals; EBADMSG for content that is not
// what its digest or size promises; EPROTO for answers no registry gives.
class RegistryClient {
 public:
  // `cancel` may be null, else it must outlive the client. See RegistrySession::Open().
  static Result<std::unique_ptr<RegistryClient>> Open(std::string registry,
                                                      RegistryCredentials credentials,
                                                      const RegistryOptions& options,
                                                      Cancellation* cancel);

  // `reference` is a tag or a digest; content got by digest has that digest.
  Result<RemoteManifest> GetManifest(const std::string& repository, const std::string& reference);

  // A small blob (configuration), whole and verified. EFBIG if `size` is above `limit`.
  Result<std::string> ReadBlob(const std::string& repository, const Digest& digest,
                               std::uint64_t size, std::size_t limit);

  // Streams a blob of `size` bytes, from its start, in order, each byte once, through dropped
  // connections (a bounded number, resumed where the last one ended). Whoever takes the pieces
  // verifies the digest; an error of `on_piece` ends the download and is returned as it is.
  Result<> StreamBlob(const std::string& repository, const Digest& digest, std::uint64_t size,
                      const std::function<Result<>(std::string_view)>& on_piece);

  // Whether the repository has the blob.
  Result<bool> HasBlob(const std::string& repository, const Digest& digest);

  // Puts a blob there. With `mount_from`, the registry is first asked to take it from that
  // repository of its own. Large blobs go in chunks and are resumed after dropped connections.
  Result<BlobUpload> PushBlob(const std::string& repository, const BlobSource& blob,
                              const std::optional<std::string>& mount_from);

  // `reference` is a tag or the digest of `bytes`. Every blob it names must be there.
  Result<> PutManifest(const std::string& repository, const std::string& reference,
                       std::string_view media_type, std::string_view bytes);

 private:
  explicit RegistryClient(std::unique_ptr<RegistrySession> session);
  std::unique_ptr<RegistrySession> session_;
};

}  // namespace strata::manager
