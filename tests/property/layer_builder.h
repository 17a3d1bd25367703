// Writes generated layers to disk, in the format kernel overlayfs leaves behind.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "tests/property/sequence.h"

namespace strata::property {

// Builds the commands' result below `layer`/`prefix`, which it creates with mode 0777. Commands
// that make no sense are skipped; errors are the machine's. If `below` (the layers below) is not
// empty, whiteouts are only made where one of them has that name: others are legal, but kernel
// overlayfs, which never writes them, takes them for entries when it removes their directory.
Result<> BuildLayer(const std::string& layer, const std::string& prefix,
                    const std::vector<LayerCommand>& commands,
                    const std::vector<std::string>& below = {});

// `length` bytes that only depend on the seed; no byte is 0, so that holes show.
std::string PatternBytes(std::uint32_t seed, std::size_t length);

}  // namespace strata::property
