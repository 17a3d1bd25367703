// One image from a registry into the store.
#pragma once

#include "base/cancellation.h"
#include "base/error.h"
#include "layerstore/oci/reference.h"
#include "layerstore/store/store.h"
#include "manager/image/image_service.h"
#include "manager/image/progress.h"
#include "manager/registry/registry_client.h"

namespace strata::manager {

// Layers fetched at a time, docker's default.
inline constexpr std::size_t kParallelDownloads = 3;

// What ImageService::Pull() promises; `reference` has a tag or a digest.
Result<PullOutcome> PullImage(layerstore::Store& store, const layerstore::Reference& reference,
                              const PullOptions& options, const RegistryOptions& registry,
                              const layerstore::UnpackLimits& limits, const ProgressSink& progress,
                              Cancellation* cancel);

}  // namespace strata::manager
