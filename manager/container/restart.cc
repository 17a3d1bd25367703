// Restart policies: containers that ended, or were there when the daemon started, run again.
#include <algorithm>
#include <chrono>

#include "base/logging.h"
#include "manager/container/container.h"
#include "manager/container/container_service.h"
#include "manager/container/timer_queue.h"

namespace strata::manager {
namespace {

// docker's back-off: doubled by each run that was shorter than kSettled.
constexpr std::chrono::milliseconds kDelayMin(100);
constexpr std::chrono::milliseconds kDelayMax(60'000);
constexpr std::chrono::seconds kSettled(10);

bool FailedTooOften(const ContainerRecord& record) {
  const std::int64_t limit = record.host.restart.maximum_retries;
  return limit > 0 && record.restart_count >= limit;
}

bool WantedAfterExit(const ContainerRecord& record) {
  if (record.state.manually_stopped) return false;
  switch (record.host.restart.kind) {
    case RestartPolicy::Kind::kNo:
      return false;
    case RestartPolicy::Kind::kAlways:
    case RestartPolicy::Kind::kUnlessStopped:
      return true;
    case RestartPolicy::Kind::kOnFailure:
      return record.state.exit_code != 0 && !FailedTooOften(record);
  }
  return false;
}

std::chrono::milliseconds NextDelay(std::chrono::milliseconds last, const ContainerState& state) {
  const std::chrono::nanoseconds ran(state.finished_ns - state.started_ns);
  if (ran >= kSettled || last.count() == 0) return kDelayMin;
  return std::min(2 * last, kDelayMax);
}

}  // namespace

void ContainerService::RestartAfterExitLocked(const ContainerPtr& container) {
  container->OperationIsHeld();
  const ContainerRecord record = container->Snapshot();
  if (!WantedAfterExit(record)) return;
  container->restart_delay = NextDelay(container->restart_delay, record.state);
  PostRestartLocked(container, container->restart_delay);
}

// "always" means even one that was stopped before the daemon was.
void ContainerService::RestartAtOpenLocked(const ContainerPtr& container, bool just_ended) {
  const ContainerRecord record = container->Snapshot();
  if (record.state.status != Status::kExited) return;
  const bool always = record.host.restart.kind == RestartPolicy::Kind::kAlways;
  const bool on_failure = record.host.restart.kind == RestartPolicy::Kind::kOnFailure;
  if (always || (WantedAfterExit(record) && (just_ended || !on_failure))) {
    PostRestartLocked(container, std::chrono::milliseconds(0));
  }
}

void ContainerService::PostRestartLocked(const ContainerPtr& container,
                                         std::chrono::milliseconds delay) {
  container->OperationIsHeld();
  const std::uint64_t ticket = ++container->restart_tickets;
  container->restart_due = ticket;
  timers_->Post(delay, [this, container, ticket] {
    workers_->Post([this, container, ticket] { RunAgain(container, ticket); });
  });
}

void ContainerService::RunAgain(const ContainerPtr& container, std::uint64_t ticket) {
  const MutexLock operation(container->operation);
  // Stopped, started or removed meanwhile.
  if (container->removed || container->restart_due != ticket) return;
  {
    const MutexLock lock(container->mu);
    ++container->record.restart_count;
  }
  if (auto started = StartLocked(container); !started) {
    log::Error("a container was not restarted",
               {{"id", container->id}, {"error", started.error().ToString()}});
  }
}

void ContainerService::ForgetRestartsLocked(Container& container) {
  container.OperationIsHeld();
  container.restart_delay = {};
  const MutexLock lock(container.mu);
  container.record.restart_count = 0;
}

}  // namespace strata::manager
