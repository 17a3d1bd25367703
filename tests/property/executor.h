// Runs the operations of a sequence in one tree and says what each of them returned. Two executors
// running the same operations, one on the union and one on the plain-directory model, must agree.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"
#include "tests/property/sequence.h"

namespace strata::property {

// What a program sees of one operation.
struct Outcome {
  std::int64_t value = 0;  // what the call returned
  int error = 0;           // its errno, 0 for success
  std::string data;        // bytes read, names listed, a link's target
  std::optional<struct stat> stat;
};

// Not thread-safe: changes the effective ids of the calling thread during a call (and the umask of
// the process, which the owner sets).
class Executor {
 public:
  // `root`: the directory that all paths are relative to. `lenient_listing`, for kernel
  // overlayfs only: names that are listed but cannot be looked up (whiteouts that hide nothing) are
  // left out, and d_ino is not checked (of directories without trusted.overlay.origin it is wrong).
  static Result<Executor> Open(const std::string& root, bool lenient_listing = false);

  Outcome Run(const Operation& op);

  // The descriptor in a slot; -1 if there is none.
  int slot(std::uint32_t index) const { return slots_[index].get(); }
  int root() const { return root_.get(); }
  // The directory that an operation's paths start from; -1 if its slot is closed.
  int Base(const Operation& op) const;
  void CloseSlot(std::uint32_t index) { slots_[index].reset(); }
  void CloseAll();
  void CloseRoot() { root_.reset(); }

 private:
  Outcome RunAsCaller(const Operation& op);
  Outcome RunOpen(const Operation& op);
  Outcome RunOnData(const Operation& op, int fd);
  Outcome RunOnNames(const Operation& op, int base);
  Outcome RunOnAttributes(const Operation& op, int base);
  Outcome RunOnOpenAttributes(const Operation& op, int fd);
  Outcome RunLook(const Operation& op, int base);
  Outcome List(int fd) const;

  UniqueFd root_;
  bool lenient_listing_ = false;
  std::array<UniqueFd, kSlots> slots_;
};

}  // namespace strata::property
