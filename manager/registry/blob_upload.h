// One blob's bytes to a registry: mounted, in one piece, or in chunks that can be resumed.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "manager/registry/registry_client.h"
#include "manager/registry/registry_session.h"

namespace strata::manager {

inline constexpr int kUploadAttempts = 5;

Result<BlobUpload> UploadBlob(RegistrySession& session, const RegistryPurpose& purpose,
                              const std::string& repository, const BlobSource& blob,
                              const std::optional<std::string>& mount_from);

}  // namespace strata::manager
