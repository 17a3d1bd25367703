#include "fusefs/union/file_locks.h"

#include <algorithm>
#include <utility>

namespace strata::fusefs {
namespace {

bool Overlap(const FileLock& a, const FileLock& b) {
  return a.first <= b.last && b.first <= a.last;
}

bool Conflict(const FileLock& held, const FileLock& wanted) {
  return held.kind == wanted.kind && held.owner != wanted.owner && Overlap(held, wanted) &&
         (held.type == LockType::kExclusive || wanted.type == LockType::kExclusive);
}

bool SameGroup(const FileLock& a, const FileLock& b) {
  return a.kind == b.kind && a.owner == b.owner;
}

// `b` starts where `a` ends, or before that.
bool Touch(const FileLock& a, const FileLock& b) {
  return a.last == FileLock::kToEnd || b.first <= a.last + 1;
}

void TellAll(const std::vector<FileLocks::WaiterRef>& waiters) {
  for (const auto& waiter : waiters) waiter->Granted();
}

}  // namespace

const FileLock* FileLocks::Blocker(const File& file, const FileLock& wanted) {
  if (wanted.type == LockType::kUnlock) return nullptr;
  const auto found =
      std::ranges::find_if(file.held, [&](const FileLock& held) { return Conflict(held, wanted); });
  return found == file.held.end() ? nullptr : &*found;
}

std::optional<FileLock> FileLocks::Test(FileKey file, const FileLock& wanted) const {
  MutexLock lock(mu_);
  const auto found = files_.find(file);
  if (found == files_.end()) return std::nullopt;
  const std::vector<FileLock>& held = found->second.held;
  const FileLock* blocker = Blocker(found->second, wanted);
  if (blocker == nullptr) return std::nullopt;
  // Kept apart by handle, but one lock to whoever asks.
  FileLock whole = *blocker;
  for (const FileLock* next = blocker + 1; next != held.data() + held.size(); ++next) {
    if (!SameGroup(*next, whole) || next->type != whole.type || !Touch(whole, *next)) break;
    whole.last = next->last;
  }
  for (const FileLock* before = blocker; before != held.data();) {
    --before;
    if (!SameGroup(*before, whole) || before->type != whole.type || !Touch(*before, whole)) break;
    whole.first = before->first;
  }
  return whole;
}

void FileLocks::ApplyRecord(File& file, const FileLock& lock) {
  const auto begin =
      std::ranges::find_if(file.held, [&](const FileLock& held) { return SameGroup(held, lock); });
  const auto end = std::find_if(begin, file.held.end(),
                                [&](const FileLock& held) { return !SameGroup(held, lock); });
  std::vector<FileLock> group;
  const auto add = [&group](const FileLock& piece) {
    if (!group.empty()) {
      FileLock& last = group.back();
      if (last.type == piece.type && last.handle == piece.handle && last.pid == piece.pid &&
          Touch(last, piece)) {
        last.last = piece.last;
        return;
      }
    }
    group.push_back(piece);
  };
  bool placed = lock.type == LockType::kUnlock;
  const auto place = [&] {
    if (!std::exchange(placed, true)) add(lock);
  };
  for (auto held = begin; held != end; ++held) {
    if (held->first > lock.last) place();
    if (!Overlap(*held, lock)) {
      add(*held);
      continue;
    }
    if (held->first < lock.first) {
      FileLock head = *held;
      head.last = lock.first - 1;
      add(head);
    }
    place();
    if (held->last > lock.last) {
      FileLock tail = *held;
      tail.first = lock.last + 1;
      add(tail);
    }
  }
  place();
  const auto at = file.held.erase(begin, end);
  file.held.insert(at, group.begin(), group.end());
}

void FileLocks::Apply(File& file, const FileLock& lock) {
  if (lock.kind == LockKind::kRecord) return ApplyRecord(file, lock);
  std::erase_if(file.held, [&](const FileLock& held) { return SameGroup(held, lock); });
  if (lock.type != LockType::kUnlock) file.held.push_back(lock);
}

// Whether one of those who hold what is wanted waits, directly or through others, for the owner.
bool FileLocks::WouldDeadlock(const File& file, const FileLock& wanted) const {
  std::vector<std::uint64_t> asked;  // owners whose waits were followed
  std::vector<std::pair<const File*, const FileLock*>> open = {{&file, &wanted}};
  while (!open.empty()) {
    const auto [where, wait] = open.back();
    open.pop_back();
    for (const FileLock& held : where->held) {
      if (!Conflict(held, *wait)) continue;
      if (held.owner == wanted.owner) return true;
      if (std::ranges::find(asked, held.owner) != asked.end()) continue;
      asked.push_back(held.owner);
      for (const auto& [key, other] : files_) {
        for (const Wait& next : other.waits) {
          if (next.patient && next.lock.kind == LockKind::kRecord &&
              next.lock.owner == held.owner) {
            open.emplace_back(&other, &next.lock);
          }
        }
      }
    }
  }
  return false;
}

std::vector<FileLocks::WaiterRef> FileLocks::Settle(Files::iterator entry) {
  std::vector<WaiterRef> granted;
  File& file = entry->second;
  for (auto wait = file.waits.begin(); wait != file.waits.end();) {
    if (Blocker(file, wait->lock) != nullptr) {
      ++wait;
      continue;
    }
    granted.push_back(std::move(wait->waiter));
    const FileLock lock = wait->lock;
    file.waits.erase(wait);
    Apply(file, lock);
    wait = file.waits.begin();  // it may have been a downgrade
  }
  if (file.held.empty() && file.waits.empty()) {
    files_.erase(entry);
    files_in_use_.store(files_.size(), std::memory_order_release);
  }
  return granted;
}

FileLocks::Outcome FileLocks::Set(FileKey key, const FileLock& wanted, const WaiterRef& waiter,
                                  bool patient) {
  Outcome outcome = Outcome::kDone;
  std::vector<WaiterRef> granted;
  {
    MutexLock lock(mu_);
    if (wanted.type == LockType::kUnlock && !files_.contains(key)) return outcome;
    const auto entry = files_.try_emplace(key).first;
    files_in_use_.store(files_.size(), std::memory_order_release);
    File& file = entry->second;
    const auto own = std::ranges::find_if(
        file.held, [&](const FileLock& held) { return SameGroup(held, wanted); });
    if (wanted.kind == LockKind::kFlock && own != file.held.end()) {
      if (own->type == wanted.type) return outcome;
      file.held.erase(own);
    }
    if (Blocker(file, wanted) == nullptr) {
      Apply(file, wanted);
    } else if (!waiter) {
      outcome = Outcome::kConflict;
    } else if (wanted.kind == LockKind::kRecord && patient && WouldDeadlock(file, wanted)) {
      outcome = Outcome::kDeadlock;
    } else {
      file.waits.push_back({wanted, waiter, patient});
      outcome = Outcome::kWaiting;
    }
    granted = Settle(entry);
  }
  TellAll(granted);
  return outcome;
}

bool FileLocks::Cancel(FileKey key, const LockWaiter& waiter) {
  WaiterRef ended;  // destroyed outside the lock
  MutexLock lock(mu_);
  const auto entry = files_.find(key);
  if (entry == files_.end()) return false;
  std::list<Wait>& waits = entry->second.waits;
  const auto found =
      std::ranges::find_if(waits, [&](const Wait& wait) { return wait.waiter.get() == &waiter; });
  if (found == waits.end()) return false;
  ended = std::move(found->waiter);
  waits.erase(found);
  Settle(entry);  // grants nothing: nothing was given back
  return true;
}

template <class Goes>
void FileLocks::Drop(FileKey key, Goes goes) {
  if (empty()) return;
  std::vector<WaiterRef> granted;
  {
    MutexLock lock(mu_);
    const auto entry = files_.find(key);
    if (entry == files_.end() || std::erase_if(entry->second.held, goes) == 0) return;
    granted = Settle(entry);
  }
  TellAll(granted);
}

void FileLocks::OwnerClosed(FileKey key, std::uint64_t owner) {
  Drop(key, [owner](const FileLock& held) {
    return held.kind == LockKind::kRecord && held.owner == owner;
  });
}

void FileLocks::HandleClosed(FileKey key, std::uint64_t handle) {
  Drop(key, [handle](const FileLock& held) { return held.handle == handle; });
}

bool FileLocks::Has(FileKey file) const {
  if (empty()) return false;
  MutexLock lock(mu_);
  return files_.contains(file);
}

std::vector<FileLocks::WaiterRef> FileLocks::TakeWaiters() {
  std::vector<WaiterRef> waiters;
  MutexLock lock(mu_);
  for (auto& [key, file] : files_) {
    for (Wait& wait : file.waits) waiters.push_back(std::move(wait.waiter));
    file.waits.clear();
  }
  return waiters;
}

}  // namespace strata::fusefs
