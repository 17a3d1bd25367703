#include "manager/container/events.h"

#include <ctime>

#include "base/try.h"

namespace strata::manager {
namespace {

constexpr std::size_t kQueueMax = 4096;

}  // namespace

std::int64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::vector<Event> EventSubscription::Take() {
  const MutexLock lock(mu_);
  notifier_.Clear();
  std::vector<Event> events(std::make_move_iterator(queue_.begin()),
                            std::make_move_iterator(queue_.end()));
  queue_.clear();
  return events;
}

void EventSubscription::Push(const Event& event) {
  const MutexLock lock(mu_);
  if (queue_.size() >= kQueueMax) queue_.pop_front();
  queue_.push_back(event);
  notifier_.Signal();
}

void EventBus::Publish(Event event) {
  event.time_ns = NowNs();
  const MutexLock lock(mu_);
  std::erase_if(listeners_, [&](const std::weak_ptr<EventSubscription>& weak) {
    const auto listener = weak.lock();
    if (listener) listener->Push(event);
    return !listener;
  });
  history_.push_back(std::move(event));
  if (history_.size() > kHistory) history_.pop_front();
}

Result<std::shared_ptr<EventSubscription>> EventBus::Subscribe(std::int64_t since_ns) {
  STRATA_TRY_ASSIGN(Notifier notifier, Notifier::Create());
  const std::shared_ptr<EventSubscription> listener(new EventSubscription(std::move(notifier)));
  const MutexLock lock(mu_);
  for (const auto& event : history_) {
    if (since_ns >= 0 && event.time_ns >= since_ns) listener->Push(event);
  }
  listeners_.push_back(listener);
  return listener;
}

}  // namespace strata::manager
