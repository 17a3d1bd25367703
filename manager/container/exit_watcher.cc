#include "manager/container/exit_watcher.h"

#include <sys/epoll.h>

#include <array>

#include "base/logging.h"
#include "base/try.h"

namespace strata::manager {

Result<std::unique_ptr<ExitWatcher>> ExitWatcher::Create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return FailErrno("epoll_create1");
  STRATA_TRY_ASSIGN(Notifier stop, Notifier::Create());
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop.fd(), &event) == -1) {
    return FailErrno("epoll_ctl");
  }
  std::unique_ptr<ExitWatcher> watcher(new ExitWatcher(std::move(epoll), std::move(stop)));
  watcher->thread_ = std::jthread([raw = watcher.get()] { raw->Loop(); });
  return watcher;
}

ExitWatcher::~ExitWatcher() {
  stop_.Signal();
  if (thread_.joinable()) thread_.join();
}

Result<> ExitWatcher::Watch(UniqueFd pidfd, std::function<void()> ended) {
  const MutexLock lock(mu_);
  const std::uint64_t key = next_key_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = key;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) == -1) {
    return FailErrno("epoll_ctl");
  }
  entries_.emplace(key, Entry{std::move(pidfd), std::move(ended)});
  return {};
}

void ExitWatcher::Loop() {
  for (;;) {
    std::array<epoll_event, 16> events{};
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    if (count == -1 && errno == EINTR) continue;
    if (count == -1) {
      log::Error("watching processes failed",
                 {{"error", Error::FromErrno("epoll_wait").ToString()}});
      return;
    }
    for (int i = 0; i < count; ++i) {
      const std::uint64_t key = events.at(static_cast<std::size_t>(i)).data.u64;
      if (key == 0) return;
      std::function<void()> ended;
      {
        const MutexLock lock(mu_);
        const auto it = entries_.find(key);
        if (it == entries_.end()) continue;
        ended = std::move(it->second.ended);
        entries_.erase(it);  // closing the pidfd takes it out of the epoll set
      }
      ended();
    }
  }
}

}  // namespace strata::manager
