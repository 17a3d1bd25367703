#include "manager/api/exchange.h"

#include <poll.h>

namespace strata::manager {

bool Exchange::AwaitReadable(std::span<const int> fds, std::chrono::milliseconds timeout) const {
  const short hang_up = hijacked() ? short{0} : short{POLLRDHUP};  // POLLHUP comes unasked
  std::vector<pollfd> polled{{socket(), hang_up, 0}, {stop_fd(), POLLIN, 0}};
  for (const int fd : fds) polled.push_back({fd, POLLIN, 0});
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    int wait = -1;
    if (timeout.count() >= 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      wait = left.count() > 0 ? static_cast<int>(left.count()) : 0;
    }
    const int ready = ::poll(polled.data(), polled.size(), wait);
    if (ready == -1 && errno == EINTR) continue;
    if (ready <= 0) return false;
    for (std::size_t i = 2; i < polled.size(); ++i) {
      if (polled[i].revents != 0) return true;
    }
    return false;
  }
}

}  // namespace strata::manager
