#include "layerstore/staging/trash_emptier.h"

#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "base/logging.h"

namespace strata::layerstore {
namespace {

// Whoever reads or writes goes first. Without the right to say so it deletes all the same.
void YieldTheDisk() {
  constexpr int kLowest = 7;
  ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, kLowest));
}

}  // namespace

TrashEmptier::~TrashEmptier() {
  std::thread thread;
  {
    MutexLock lock(mu_);
    stop_ = true;
    changed_.NotifyAll();
    thread.swap(thread_);
  }
  if (thread.joinable()) thread.join();
}

void TrashEmptier::Add(Work work) {
  MutexLock lock(mu_);
  works_.push_back(std::move(work));
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.NotifyAll();
}

void TrashEmptier::Wait() {
  MutexLock lock(mu_);
  changed_.Wait(mu_, [&]() STRATA_REQUIRES(mu_) { return works_.empty(); });
}

void TrashEmptier::Run() {
  YieldTheDisk();
  for (;;) {
    Work work;
    {
      MutexLock lock(mu_);
      changed_.Wait(mu_, [&]() STRATA_REQUIRES(mu_) { return stop_ || !works_.empty(); });
      if (stop_) return;
      work = works_.front();
    }
    if (auto done = work(); !done) {
      log::Warn("store: trash could not be removed", {{"error", done.error().ToString()}});
    }
    MutexLock lock(mu_);
    works_.pop_front();
    changed_.NotifyAll();
  }
}

}  // namespace strata::layerstore
