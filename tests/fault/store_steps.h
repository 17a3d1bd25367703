// Runs an operation on a store again and again, another of its steps going wrong each time.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/fault_file_ops.h"
#include "tests/fault/layerstore_image.h"
#include "tests/support/fault_plan.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/process.h"
#include "tests/support/unsynced_file_ops.h"

namespace strata::layerstore {

// Far more than any operation here has.
inline constexpr std::uint64_t kStepsMax = 1000;

// Sanitizers make every step ten times as slow, and look at the same code in each.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t kStride = 5;
#else
inline constexpr std::uint64_t kStride = 1;
#endif

class StoreStepsTest : public ImportFaultTest {
 protected:
  explicit StoreStepsTest(support::FaultKind kind) : plan_(kind) {}

  // Calls `step` with the number of each step; it says whether the operation got that far.
  template <class Step>
  void ForEveryStep(Step step) {
    for (std::uint64_t at = 0; at < kStepsMax && !HasFailure(); at += kStride) {
      SCOPED_TRACE("step " + std::to_string(at));
      if (!step(at)) return;
    }
    EXPECT_TRUE(HasFailure()) << "more than " << kStepsMax << " steps";
  }

  // Runs `body` with a store, the `at`-th step of it going wrong.
  template <class Body>
  void WithFault(std::uint64_t at, Body body) {
    const auto vfs = support::Must(support::FaultVfs::Install(plan_));
    {
      const auto store =
          support::Must(Store::Open({.root = root_, .verity = Verity::kAll, .ops = &ops_}));
      plan_.Arm(at);
      body(*store);
    }  // with the fault still there: destructors see it, too
    reached_ = plan_.Reached();
    plan_.Disarm();
  }

  // The same in a process that dies there; whether `body`, a Result<>, got to its end.
  template <class Body>
  bool WithDeath(std::uint64_t at, Body body) {
    auto child = support::Must(support::ChildProcess::Fork([&] {
      const auto vfs = support::FaultVfs::Install(plan_);
      auto store = Store::Open({.root = root_, .verity = Verity::kAll, .ops = &ops_});
      if (!vfs || !store) return 1;
      plan_.Arm(at);
      return body(**store) ? 0 : 1;
    }));
    const int code = support::Must(child.Wait(std::chrono::seconds(60)));
    EXPECT_TRUE(code == 0 || code == support::kDeadExit) << code;
    reached_ = code != 0;
    return code == 0;
  }

  // The same where the power fails instead: what was not synced until then is lost.
  template <class Body>
  bool WithPowerFailure(std::uint64_t at, Body body) {
    if (!disk_) {
      disk_ = support::Must(support::UnsyncedFileOps::Create(FileOps::System(), temp_.At("attic")));
    }
    bool done = false;
    {
      FaultFileOps power(*disk_, plan_.Decider());
      const auto vfs = support::Must(support::FaultVfs::Install(plan_));
      const auto store =
          support::Must(Store::Open({.root = root_, .verity = Verity::kAll, .ops = &power}));
      plan_.Arm(at);
      done = body(*store).has_value();
    }
    reached_ = plan_.Reached();
    plan_.Disarm();
    support::Must(disk_->DropUnsynced());
    return done;
  }

  void RemoveAll() {
    for (const Image& image : support::Must(store_->images().List())) {
      support::Must(store_->images().Remove(image.id.ToString(), true));
    }
    support::Must(Collect(*store_));
  }

  support::FaultPlan plan_;
  FaultFileOps ops_{FileOps::System(), plan_.Decider()};
  std::unique_ptr<support::UnsyncedFileOps> disk_;
  bool reached_ = false;
};

}  // namespace strata::layerstore
