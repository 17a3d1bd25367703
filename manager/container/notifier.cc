#include "manager/container/notifier.h"

#include <sys/eventfd.h>

#include "base/logging.h"

namespace strata::manager {

Result<Notifier> Notifier::Create() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return FailErrno("eventfd");
  return Notifier(std::move(fd));
}

void Notifier::Signal() const noexcept {
  // EAGAIN: the counter is full, so the descriptor is readable already.
  if (::eventfd_write(fd_.get(), 1) == -1 && errno != EAGAIN) {
    log::Error("eventfd write failed", {{"errno", errno}});
  }
}

void Notifier::Clear() const noexcept {
  eventfd_t count = 0;
  if (::eventfd_read(fd_.get(), &count) == -1 && errno != EAGAIN) {
    log::Error("eventfd read failed", {{"errno", errno}});
  }
}

}  // namespace strata::manager
