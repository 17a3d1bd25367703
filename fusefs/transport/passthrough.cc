#include "fusefs/transport/passthrough.h"

#include <sys/ioctl.h>

#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {

Result<std::int32_t> OpenBackingFile(int device, int file) {
  // The kernel writes with the credentials that registered the file. Without CAP_FSETID the
  // filesystem below clears setuid and setgid on each such write, which the writing process may
  // have no right to keep; opens of files that already have those bits are not passed through, so
  // that a privileged writer keeps them.
  thread_local const auto capabilities = ThreadCapabilities::Get();  // nothing else changes them
  if (!capabilities) return Fail(capabilities.error().code(), "capget");
  if (capabilities->Has(CAP_FSETID)) STRATA_TRY(capabilities->Without(CAP_FSETID).Apply());
  wire::BackingMap map{.fd = file, .flags = 0, .padding = 0};
  const int id = ::ioctl(device, wire::kBackingOpen, &map);
  Result<std::int32_t> opened = id;
  if (id < 0) opened = FailErrno("FUSE_DEV_IOC_BACKING_OPEN");
  if (id == 0) opened = Fail(EIO, "FUSE_DEV_IOC_BACKING_OPEN");
  if (capabilities->Has(CAP_FSETID)) STRATA_TRY(capabilities->Apply());
  return opened;
}

Result<> CloseBackingFile(int device, std::int32_t id) {
  auto number = static_cast<std::uint32_t>(id);
  if (::ioctl(device, wire::kBackingClose, &number) != 0) {
    return FailErrno("FUSE_DEV_IOC_BACKING_CLOSE");
  }
  return {};
}

}  // namespace strata::fusefs
