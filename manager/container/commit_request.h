// What `commit` asks for, and the configuration of the image that comes of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/reference.h"
#include "manager/container/types.h"

namespace strata::manager {

struct CommitRequest {
  std::optional<layerstore::Reference> name;
  std::string comment;
  std::string author;
  bool pause = true;
  std::optional<ContainerConfig> config;  // instead of the container's own
  std::vector<std::string> changes;       // image/config_changes.h
};

// The image's own configuration with what the container runs with, the request's config and the
// changes over it, in docker's order. Layers and history are the image's still. EINVAL: a change
// that is none.
Result<layerstore::ImageConfig> CommittedConfig(const layerstore::ImageConfig& image,
                                                const ContainerRecord& container,
                                                const CommitRequest& request);

}  // namespace strata::manager
