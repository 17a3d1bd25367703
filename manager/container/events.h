// What happened to containers, images and volumes, for GET /events.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "manager/container/notifier.h"

namespace strata::manager {

struct Event {
  std::string type;    // "container", "image", "volume"
  std::string action;  // "create", "start", "die", ...
  std::string actor;   // id or name
  std::map<std::string, std::string> attributes;
  std::int64_t time_ns = 0;
};

// One listener. Events wait in a bounded queue; a listener that falls behind loses the oldest.
class EventSubscription {
 public:
  int fd() const { return notifier_.fd(); }  // readable when Take() has something
  std::vector<Event> Take();

 private:
  friend class EventBus;
  explicit EventSubscription(Notifier notifier) : notifier_(std::move(notifier)) {}
  void Push(const Event& event);

  Notifier notifier_;
  Mutex mu_;  // leaf
  std::deque<Event> queue_ STRATA_GUARDED_BY(mu_);
};

// Thread-safe. Keeps the last kHistory events for `since=`.
class EventBus {
 public:
  static constexpr std::size_t kHistory = 256;

  // Stamps the event with the current time.
  void Publish(Event event);
  // The history from `since_ns` on (a negative number: none) and everything after it, each event
  // once.
  Result<std::shared_ptr<EventSubscription>> Subscribe(std::int64_t since_ns);

 private:
  Mutex mu_;  // rank: manager/events; subscriptions' mutexes are taken under it
  std::deque<Event> history_ STRATA_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<EventSubscription>> listeners_ STRATA_GUARDED_BY(mu_);
};

// Unix time in nanoseconds.
std::int64_t NowNs();

}  // namespace strata::manager
