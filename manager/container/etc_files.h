// The three files docker puts over a container's own: /etc/hosts, /etc/hostname, /etc/resolv.conf;
// and what every container is mounted on, of which its own layer is to have nothing.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "manager/container/types.h"
#include "manager/runtime/bundle.h"

namespace strata::manager {

// Writes the files into `directory` where they are not there yet (they outlive a restart) and
// returns the mounts that put them into the container. With the host's network, hosts and
// resolv.conf start as copies of the host's.
Result<std::vector<MountSpec>> PrepareEtcFiles(const std::string& directory,
                                               const ContainerConfig& config,
                                               const HostConfig& host);

// Makes, at `directory`, a layer that goes between the image's layers (`layers`, top first) and the
// container's own: empty files for those of the three that the image lacks, and /dev, /proc and
// /sys likewise, so that mounting over them leaves nothing in the container's layer. Returns false,
// with nothing made, if none lacks.
Result<bool> PrepareInitLayer(const std::string& directory, const std::vector<std::string>& layers);

}  // namespace strata::manager
