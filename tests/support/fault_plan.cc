#include "tests/support/fault_plan.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

namespace strata::support {
namespace {

constexpr std::array<std::string_view, 6> kMovesBytes = {"Read",    "ReadAt",    "Write",
                                                         "WriteAt", "CopyRange", "xWrite"};
// Calls of which a full disk may be the end.
constexpr std::array<std::string_view, 18> kTakesSpace = {
    "Open",     "OpenConfined", "Write",    "WriteAt", "CopyRange", "Clone",
    "Allocate", "Sync",         "SyncData", "MakeDir", "MakeNode",  "SymLink",
    "Link",     "Rename",       "SetXattr", "xOpen",   "xWrite",    "xShmMap"};

bool IsOneOf(std::string_view call, std::span<const std::string_view> calls) {
  return std::ranges::find(calls, call) != calls.end();
}

bool CanHappen(FaultKind kind, std::string_view call) {
  switch (kind) {
    case FaultKind::kFull:
    case FaultKind::kFullFromThere:
      return IsOneOf(call, kTakesSpace);
    case FaultKind::kShort:
      return IsOneOf(call, kMovesBytes);
    case FaultKind::kError:
    case FaultKind::kErrorFromThere:
    case FaultKind::kDie:
      return true;
  }
  return true;
}

}  // namespace

std::string FaultName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kError:
      return "Error";
    case FaultKind::kErrorFromThere:
      return "ErrorFromThere";
    case FaultKind::kFull:
      return "Full";
    case FaultKind::kFullFromThere:
      return "FullFromThere";
    case FaultKind::kShort:
      return "Short";
    case FaultKind::kDie:
      return "Die";
  }
  return "?";
}

void FaultPlan::Arm(std::uint64_t at) {
  steps_ = 0;
  at_ = at;
}

void FaultPlan::Disarm() {
  at_ = kNever;
  steps_ = 0;
}

FaultFileOps::Outcome FaultPlan::Next(std::string_view call) {
  const std::uint64_t at = at_.load();
  if (at == kNever || !CanHappen(kind_, call)) return 0;
  const std::uint64_t number = steps_.fetch_add(1);
  const bool from_there = kind_ == FaultKind::kErrorFromThere || kind_ == FaultKind::kFullFromThere;
  if (number != at && !(from_there && number > at)) return 0;
  switch (kind_) {
    case FaultKind::kError:
    case FaultKind::kErrorFromThere:
      return EIO;
    case FaultKind::kFull:
    case FaultKind::kFullFromThere:
      return ENOSPC;
    case FaultKind::kShort:
      return FaultFileOps::Outcome::Partial();
    case FaultKind::kDie:
      ::_exit(kDeadExit);
  }
  return 0;
}

}  // namespace strata::support
