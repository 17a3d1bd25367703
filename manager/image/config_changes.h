// Changes to an image's configuration in a Dockerfile's words: what `commit --change` and
// `import --change` take.
#pragma once

#include <span>
#include <string>

#include "base/error.h"
#include "layerstore/oci/image_config.h"

namespace strata::manager {

// Applies instructions in their order; a text may have several, a line each. CMD, ENTRYPOINT, ENV,
// EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR as in a Dockerfile, with $NAME of
// what ENV says so far. EINVAL, with the instruction, for others and for what they do not take;
// then `config` is as it was.
Result<> ApplyConfigChanges(std::span<const std::string> changes, layerstore::ImageConfig& config);

}  // namespace strata::manager
