// What a long image operation tells about itself, in the terms of docker's progress streams.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/digest.h"

namespace strata::manager {

// One line of a progress stream. Texts and ids are docker's own, since its clients show them.
struct ProgressEvent {
  struct Detail {
    std::uint64_t current = 0;
    std::uint64_t total = 0;
  };
  // The last word of a push: what went under which tag.
  struct Pushed {
    std::string tag;
    Digest digest;           // of the manifest
    std::uint64_t size = 0;  // of the manifest
  };

  std::string id;  // of the layer (12 hex digits), or a tag; "" for the operation as a whole
  std::string status;
  std::optional<Detail> detail{};  // bytes, while something moves
  std::optional<Pushed> pushed{};
};

// Called by one thread at a time, though not always by the same; must not call back into the
// operation. May be empty.
using ProgressSink = std::function<void(const ProgressEvent&)>;

}  // namespace strata::manager
