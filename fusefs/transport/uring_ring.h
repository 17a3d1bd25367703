// One thread's io_uring, on which it gets FUSE requests and sends replies.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "fusefs/transport/spin.h"
#include "fusefs/transport/uring_entry.h"

struct io_uring;

namespace strata::fusefs {

// Serves one entry of one of the connection's queues. Made by any thread, used by the one that
// calls Open().
class UringRing {
 public:
  // `device` and `stop` are borrowed. `spin`: polling before sleep (AdaptiveSpin). EPERM, ENOSYS or
  // EINVAL where io_uring is forbidden, missing or too old.
  static Result<std::unique_ptr<UringRing>> Create(int device, int stop, unsigned queue,
                                                   std::chrono::microseconds spin);
  ~UringRing();
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;

  // Offers the kernel `entry`, from now on this ring's.
  Result<> Open(const UringEntry& entry);
  // Hands the answered entry back, to be sent with the next Await().
  Result<> Commit(const UringEntry& entry);

  enum class Event : std::uint8_t {
    kRequest,  // the entry holds one
    kStop,     // `stop` has become readable
    kEnded,    // the connection is over
  };
  // Sends what is to be sent and waits for what comes next.
  Result<Event> Await();

 private:
  UringRing(int device, int stop, unsigned queue, std::chrono::microseconds spin);
  Result<> Prepare(const UringEntry& entry, std::uint32_t operation, std::uint64_t commit_id);
  bool Poll();
  Result<Event> Take();

  const int device_;
  const int stop_;
  const unsigned queue_;
  std::unique_ptr<io_uring> ring_;
  bool spins_;
  AdaptiveSpin spin_;
};

}  // namespace strata::fusefs
