#include "fusefs/daemon/transports.h"

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/transport/device_transport.h"
#include "fusefs/transport/uring_support.h"
#include "fusefs/transport/uring_transport.h"

namespace strata::fusefs {

Result<bool> DecideOnUring(TransportChoice choice) {
  switch (choice) {
    case TransportChoice::kDevice:
      return false;
    case TransportChoice::kUring:
      STRATA_TRY(EnableUring());
      return true;
    case TransportChoice::kAuto:
      break;
  }
  const auto usable = CheckUring();
  if (!usable) log::Info("serving over /dev/fuse", {{"reason", usable.error().ToString()}});
  return usable.has_value();
}

Result<std::unique_ptr<Transport>> MakeTransport(bool uring, UniqueFd device,
                                                 const TransportOptions& options) {
  if (uring) {
    UringTransportOptions rings{.threads = options.threads};
    rings.spin = options.spin.value_or(rings.spin);
    return UringTransport::Create(std::move(device), rings);
  }
  DeviceTransportOptions queue{.threads = options.threads};
  queue.spin = options.spin.value_or(queue.spin);
  return DeviceTransport::Create(std::move(device), queue);
}

}  // namespace strata::fusefs
