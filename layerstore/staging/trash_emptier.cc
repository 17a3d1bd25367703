#include "layerstore/staging/trash_emptier.h"

#include <utility>

#include "base/io_priority.h"
#include "base/logging.h"

namespace strata::layerstore {

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
  Ignore(SetIoPriority(IoPriority::kLowest), "it deletes all the same, only not behind others");
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
