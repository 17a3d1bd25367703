// The options of `run` and `create`, and the container they describe in the API's terms.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "manager/cli/flags.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// What `create` takes; `run` adds its own.
std::vector<FlagSpec> CreateFlags();

// The body of POST /containers/create. Operands: the image, then the command. Reads --env-file
// files and this process's environment (for -e NAME). EINVAL for what makes no sense.
Result<Json> ContainerBody(const Flags& flags);

// Parts of it, for tests and exec.
// "NAME=value" for each: files first, then options; a bare NAME takes this process's value or, if
// there is none, is left out.
Result<std::vector<std::string>> CollectEnvironment(const std::vector<std::string>& files,
                                                    const std::vector<std::string>& options);
// One --mount value as an element of HostConfig.Mounts.
Result<Json> ParseMount(std::string_view text);
// One -v value: a bind, or (no colon) an anonymous volume's path.
struct VolumeOption {
  std::string bind;       // "SRC:DST[:OPTIONS]", a relative host path made absolute
  std::string anonymous;  // "DST"
};
Result<VolumeOption> ParseVolume(std::string_view text);

}  // namespace strata::manager::cli
