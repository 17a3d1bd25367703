// The Docker Engine API, and Strata's additions below /strata/, on top of the manager's services.
#pragma once

#include <memory>
#include <string>

namespace strata::layerstore {
class Scrubber;
class Store;
}  // namespace strata::layerstore

namespace strata::manager {

class ContainerService;
class EventBus;
class Exchange;
class ImageMounts;
class ImageService;
class OciRuntime;
class Router;
class VolumeStore;

// What handlers work with; everything outlives them.
struct ApiContext {
  layerstore::Store& store;
  ImageService& images;
  ContainerService& containers;
  VolumeStore& volumes;
  EventBus& events;
  OciRuntime& runtime;
  ImageMounts& mounts;
  layerstore::Scrubber& scrubber;
  std::string data_root;
  std::string monitor_version;
  std::string stratafs;
};

void AddSystemRoutes(Router& router, const ApiContext& context);
void AddImageRoutes(Router& router, const ApiContext& context);
void AddExploreRoutes(Router& router, const ApiContext& context);
void AddSaveRoutes(Router& router, const ApiContext& context);
void AddContainerRoutes(Router& router, const ApiContext& context);
void AddLayerRoutes(Router& router, const ApiContext& context);
void AddStreamRoutes(Router& router, const ApiContext& context);
void AddExecRoutes(Router& router, const ApiContext& context);
void AddVolumeRoutes(Router& router, const ApiContext& context);
void AddStrataRoutes(Router& router, const ApiContext& context);
void AddStoreRoutes(Router& router, const ApiContext& context);

// Answers one request: version check, routing, errors. Called by many threads at once.
void HandleRequest(const Router& router, Exchange& exchange);

}  // namespace strata::manager
