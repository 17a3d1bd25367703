#include "fusefs/frontend/kernel_link.h"

#include <fuse3/fuse_lowlevel.h>

#include "base/logging.h"
#include "fusefs/transport/passthrough.h"

namespace strata::fusefs {

Result<std::int32_t> DeviceBackingFiles::Register(int fd) {
  if (refused_.load(std::memory_order_relaxed)) return Fail(EPERM, "register backing file");
  auto id = OpenBackingFile(transport_.device(), fd);
  if (!id && (id.error().code() == EPERM || id.error().code() == ENOTTY) &&
      !refused_.exchange(true)) {
    log::Info("passthrough refused, serving files through the page cache",
              {{"error", id.error().ToString()}});
  }
  return id;
}

void DeviceBackingFiles::Unregister(std::int32_t id) {
  Ignore(CloseBackingFile(transport_.device(), id), "the connection's end drops what is left");
}

void SessionKernelCache::InvalidateAttributes(NodeId node) {
  // A negative offset: the attributes only. ENOENT: the kernel does not know the node, or any more.
  const int result = fuse_lowlevel_notify_inval_inode(session_, node.value, -1, 0);
  if (result != 0 && result != -ENOENT) {
    log::Debug("attributes not invalidated", {{"node", node.value}, {"errno", -result}});
  }
}

}  // namespace strata::fusefs
