// From a container record to the OCI bundle that runs it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "manager/container/types.h"
#include "manager/runtime/bundle.h"

namespace strata::manager {

// `rootfs` is the mounted root's path, `root` a descriptor of it (borrowed; the user is looked up
// there), `etc_mounts` what PrepareEtcFiles gave. EINVAL: no such user, device or capability.
Result<BundleSpec> BuildBundle(const ContainerRecord& record, const std::string& rootfs, int root,
                               std::vector<MountSpec> etc_mounts);

// The process of an exec in a running container.
Result<ProcessSpec> BuildExecProcess(const ContainerRecord& record, const ExecConfig& exec,
                                     int root);

}  // namespace strata::manager
