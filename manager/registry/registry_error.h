// What a registry's refusal says, as one of our errors.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "manager/registry/web_client.h"

namespace strata::manager {

// The errno a registry's HTTP status becomes: 401 and 403 EACCES, 404 ENOENT, 429 EBUSY, 413 EFBIG,
// 416 ERANGE, 405 and 501 EOPNOTSUPP, other 4xx EINVAL, 5xx EREMOTEIO, everything else EPROTO.
int ErrnoOfStatus(int status);

// Detail: "<what>: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown", where the code and message
// come from the answer's body
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes). A body that
// is something else is quoted, shortened and with its control characters removed.
Error MakeRegistryError(std::string_view what, const WebResponse& response);

}  // namespace strata::manager
