// From what a client asks for to a container record: docker's rules for merging a request with the
// image's own configuration, and for what `-v`, --mount, --tmpfs and VOLUME mean.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "layerstore/oci/manifest.h"
#include "manager/container/types.h"

namespace strata::manager {

struct ContainerDefaults;

// Fills config, args and env of `record`, whose id, config and host are the client's. EINVAL: no
// command, a working directory that is not absolute or leads out through /proc, a bad signal.
Result<> MergeImageDefaults(const ContainerDefaults& image, ContainerRecord& record);

// Refuses, with EINVAL or ENOTSUP and a message that says what instead, host settings Strata does
// not have. Settings that merely have no effect are named in the returned warnings.
Result<std::vector<std::string>> CheckHostConfig(const HostConfig& host);

// What to say about an image that is not for this machine; "" if it is, or does not tell.
std::string PlatformWarning(const layerstore::Platform& image);

// Every mount of the container, each destination once. Volumes have names only, no source yet; an
// empty name is a new anonymous one. EINVAL in docker's words for what cannot be.
Result<std::vector<MountPoint>> ResolveMounts(const ContainerConfig& config,
                                              const HostConfig& host);

// "15", "TERM", "SIGTERM" -> 15; EINVAL otherwise.
Result<int> ParseSignal(const std::string& text);

}  // namespace strata::manager
