#include "tests/support/uring_setting.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include "base/file_lock.h"
#include "base/try.h"

namespace strata::support {
namespace {

constexpr const char* kParameter = "/sys/module/fuse/parameters/enable_uring";
constexpr const char* kHolders = "/tmp/strata-test-uring.holders";
// Held for the moment in which somebody joins or leaves the holders.
constexpr const char* kGate = "/tmp/strata-test-uring.gate";

Result<FileLock> EnterGate() {
  UniqueFd file(::open(kGate, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return FailErrno("open", kGate);
  return FileLock::Acquire(std::move(file));
}

Result<> Set(char value) {
  const UniqueFd file(::open(kParameter, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), &value, 1) != 1) return FailErrno("write", kParameter);
  return {};
}

}  // namespace

bool KernelHasUring() { return ::access(kParameter, F_OK) == 0; }

Result<UringSetting> UringSetting::Hold() {
  STRATA_TRY_ASSIGN(const FileLock gate, EnterGate());
  UniqueFd holders(::open(kHolders, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!holders || ::flock(holders.get(), LOCK_SH) != 0) return FailErrno("flock", kHolders);
  const UniqueFd file(::open(kParameter, O_RDONLY | O_CLOEXEC));
  char value = 0;
  if (!file || ::read(file.get(), &value, 1) != 1) return FailErrno("read", kParameter);
  if (value != 'Y') {
    if (::pwrite(holders.get(), &value, 1, 0) != 1) return FailErrno("write", kHolders);
    STRATA_TRY(Set('Y'));
  }
  return UringSetting(std::move(holders));
}

UringSetting::~UringSetting() {
  if (!holders_) return;
  const auto gate = EnterGate();
  // The exclusive lock is there for the last holder only.
  if (!gate || ::flock(holders_.get(), LOCK_EX | LOCK_NB) != 0) return;
  char value = 0;
  if (::pread(holders_.get(), &value, 1, 0) != 1) return;
  Ignore(Set(value), "tests that need it set it again");
  if (::ftruncate(holders_.get(), 0) != 0) Ignore(FailErrno("ftruncate"), "the value stays right");
}

}  // namespace strata::support
