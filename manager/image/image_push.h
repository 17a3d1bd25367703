// One image from the store into a registry.
#pragma once

#include "base/cancellation.h"
#include "base/error.h"
#include "layerstore/oci/reference.h"
#include "layerstore/store/store.h"
#include "manager/image/image_service.h"
#include "manager/image/progress.h"
#include "manager/registry/registry_client.h"

namespace strata::manager {

// Layers sent at a time.
inline constexpr std::size_t kParallelUploads = 3;

// What ImageService::Push() promises; `reference` has a tag.
Result<PushOutcome> PushImage(layerstore::Store& store, const layerstore::Reference& reference,
                              const PushOptions& options, const RegistryOptions& registry,
                              const ProgressSink& progress, Cancellation* cancel);

}  // namespace strata::manager
