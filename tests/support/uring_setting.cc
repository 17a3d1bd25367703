#include "tests/support/uring_setting.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace strata::support {
namespace {

constexpr const char* kParameter = "/sys/module/fuse/parameters/enable_uring";
constexpr const char* kLock = "/tmp/strata-test-uring.lock";

Result<> Set(char value) {
  const UniqueFd file(::open(kParameter, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), &value, 1) != 1) return FailErrno("write", kParameter);
  return {};
}

}  // namespace

bool KernelHasUring() { return ::access(kParameter, F_OK) == 0; }

Result<UringSetting> UringSetting::Hold() {
  UniqueFd lock(::open(kLock, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0) return FailErrno("flock", kLock);
  const UniqueFd file(::open(kParameter, O_RDONLY | O_CLOEXEC));
  char value = 0;
  if (!file || ::read(file.get(), &value, 1) != 1) return FailErrno("read", kParameter);
  if (value != 'Y') {
    if (::pwrite(lock.get(), &value, 1, 0) != 1) return FailErrno("write", kLock);
    if (auto set = Set('Y'); !set) return std::unexpected(std::move(set.error()));
  }
  if (::flock(lock.get(), LOCK_SH) != 0) return FailErrno("flock", kLock);
  return UringSetting(std::move(lock));
}

UringSetting::~UringSetting() {
  // The exclusive lock is there for the last holder only.
  if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) return;
  char value = 0;
  if (::pread(lock_.get(), &value, 1, 0) != 1) return;
  Ignore(Set(value), "tests that need it set it again");
  if (::ftruncate(lock_.get(), 0) != 0)
    Ignore(FailErrno("ftruncate", kLock), "same value next time");
}

}  // namespace strata::support
