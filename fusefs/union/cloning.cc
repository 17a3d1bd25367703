#include "fusefs/union/cloning.h"

#include <algorithm>
#include <cerrno>

namespace strata::fusefs {
namespace {

// Below, sharing blocks costs more than copying them.
constexpr off_t kCloneFrom = off_t{64} * 1024;

// It is not the file or the moment, but the filesystem: another one than the upper's, or one that
// shares no blocks at all.
bool IsForGood(int code) {
  return code == EXDEV || code == EOPNOTSUPP || code == ENOTTY || code == EBADF;
}

}  // namespace

bool Cloning::Hopeless(dev_t device) const {
  MutexLock lock(mu_);
  return std::ranges::find(hopeless_, device) != hopeless_.end();
}

bool Cloning::Try(int from, int to, off_t size) {
  if (size < kCloneFrom) return false;
  const auto st = files_.Stat(from);
  if (!st || Hopeless(st->st_dev)) return false;
  const auto cloned = files_.Clone(from, to);
  if (!cloned && IsForGood(cloned.error().code())) {
    MutexLock lock(mu_);
    if (std::ranges::find(hopeless_, st->st_dev) == hopeless_.end()) {
      hopeless_.push_back(st->st_dev);
    }
  }
  return cloned.has_value();
}

}  // namespace strata::fusefs
