// Which step of an operation goes wrong, and how. The steps are counted in one sequence, whether
// they are file system calls (FaultFileOps) or SQLite's (FaultVfs), so that a test can run an
// operation again and again with another step hit each time.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fault_file_ops.h"

namespace strata::support {

enum class FaultKind : std::uint8_t {
  kError,           // EIO, once
  kErrorFromThere,  // EIO, and at every step after it: the disk has died
  kFull,            // ENOSPC, once
  kFullFromThere,   // ENOSPC at every step that takes space: the disk is full
  kShort,           // half of the bytes are done
  kDie,             // the process ends with kDeadExit
};
inline constexpr int kDeadExit = 9;

// "ErrorFromThere": for the names of tests and in messages.
std::string FaultName(FaultKind kind);

// Thread-safe. Only steps at which the kind of fault can happen are counted: a rename is never
// short. Disarmed at the start.
class FaultPlan {
 public:
  explicit FaultPlan(FaultKind kind) : kind_(kind) {}
  FaultPlan(const FaultPlan&) = delete;
  FaultPlan& operator=(const FaultPlan&) = delete;

  FaultKind kind() const { return kind_; }

  // Counts from 0 again and hits step `at`.
  void Arm(std::uint64_t at);
  // Nothing goes wrong any more, and nothing is counted.
  void Disarm();
  // Whether the step was reached since Arm(). If not, the operation has fewer.
  bool Reached() const { return steps_.load() > at_.load(); }

  // What becomes of a step, by the name of the call: FileOps' methods, or FaultVfs' own.
  FaultFileOps::Outcome Next(std::string_view call);

  // For a FaultFileOps. The plan must outlive it.
  FaultFileOps::Decide Decider() {
    return [this](const FaultFileOps::Call& call) { return Next(call.name); };
  }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  const FaultKind kind_;
  std::atomic<std::uint64_t> steps_ = 0;
  std::atomic<std::uint64_t> at_ = kNever;
};

}  // namespace strata::support
