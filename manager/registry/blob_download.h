// One blob's bytes from a registry, through connections that break.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "manager/registry/registry_session.h"

namespace strata::manager {

// How often a download that gets nowhere is started again, and how many connections one blob may
// use up in all.
inline constexpr int kBlobAttempts = 5;
inline constexpr int kBlobConnections = 50;

// Gives `on_piece` exactly `size` bytes, in order, each once. A broken connection is resumed with a
// Range request; a registry that ignores Range is read again and the known part skipped. An error
// of `on_piece` is returned at once. EBADMSG for more bytes than `size`.
Result<> DownloadBlob(RegistrySession& session, const RegistryPurpose& purpose,
                      const std::string& url, std::uint64_t size,
                      const std::function<Result<>(std::string_view)>& on_piece);

}  // namespace strata::manager
