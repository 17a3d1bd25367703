// /strata: what docker's API has no word for.
#include "base/try.h"
#include "layerstore/store/store.h"
#include "manager/api/api.h"
#include "manager/api/image_mounts.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/json_fields.h"
#include "manager/runtime/oci_runtime.h"

namespace strata::manager {
namespace {

using nlohmann::json;

json MountJson(const ImageMount& mount) {
  return {{"Image", mount.image},
          {"Target", mount.target},
          {"Rw", mount.read_write},
          {"Upper", mount.upper}};
}

Result<CopyUp> ParseCopyUp(const std::string& text) {
  if (text.empty() || text == "write") return CopyUp::kWrite;
  if (text == "open") return CopyUp::kOpen;
  if (text == "read") return CopyUp::kRead;
  return Fail(EINVAL, "mount", "copyup is one of write, open, read, not '" + text + "'");
}

Result<> AddMount(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  std::string image;
  std::string target;
  std::string copy_up;
  bool read_write = false;
  JsonFields fields(body);
  fields.Get("image", image);
  fields.Get("target", target);
  fields.Get("rw", read_write);
  fields.Get("copyup", copy_up);
  STRATA_TRY(fields.Finish());
  STRATA_TRY_ASSIGN(const CopyUp policy, ParseCopyUp(copy_up));
  STRATA_TRY_ASSIGN(const ImageMount mount,
                    context.mounts.Mount(image, target, read_write, policy));
  return ReplyJson(exchange, 201, MountJson(mount));
}

Result<> ListMounts(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const auto mounts, context.mounts.List());
  json list = json::array();
  for (const auto& mount : mounts) list.push_back(MountJson(mount));
  return ReplyJson(exchange, 200, list);
}

Result<> RemoveMount(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY(context.mounts.Unmount(std::string(exchange.request().Query("target"))));
  return ReplyNothing(exchange, 204);
}

Result<> Info(Exchange& exchange, const ApiContext& context) {
  json below = json::array();
  for (const layerstore::Store* store : context.store.below()) below.push_back(store->root());
  return ReplyJson(exchange, 200,
                   {{"Version", STRATA_VERSION},
                    {"DataRoot", context.data_root},
                    {"StoreRoot", context.store.root()},
                    {"AdditionalStores", std::move(below)},
                    {"Stratafs", context.stratafs},
                    {"Runtime", context.runtime.path()},
                    {"RuntimeVersion", context.runtime.version()},
                    {"MonitorVersion", context.monitor_version}});
}

}  // namespace

void AddStrataRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters&) {
      return handler(e, context);
    });
  };
  add("POST", "/strata/mounts", AddMount);
  add("GET", "/strata/mounts", ListMounts);
  add("DELETE", "/strata/mounts", RemoveMount);
  add("GET", "/strata/info", Info);
}

}  // namespace strata::manager
