// File locks, by logical file: flock(2) locks, and record locks as fcntl(2) takes them for a
// process or for an open file (OFD). The kernel would keep them by node, and a copy-up can change a
// file's node while it is open (DESIGN §5); here both nodes' descriptors meet.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

namespace strata::fusefs {

// What locks belong to: the number a file shows for life, whichever node and layer stand for it.
struct FileKey {
  std::uint64_t ino = 0;
  bool operator==(const FileKey&) const = default;
};

enum class LockKind : std::uint8_t {
  kRecord,  // byte ranges; waiting for one may be a deadlock
  kFlock,   // the whole file
};
enum class LockType : std::uint8_t { kShared, kExclusive, kUnlock };

struct FileLock {
  // Up to the end of the file, however long it becomes; the kernel's OFFSET_MAX.
  static constexpr std::uint64_t kToEnd = std::numeric_limits<std::int64_t>::max();

  LockKind kind = LockKind::kRecord;
  LockType type = LockType::kShared;
  std::uint64_t owner = 0;   // locks of one owner never conflict
  std::uint64_t handle = 0;  // of the open file it was set through
  std::uint64_t first = 0;   // bytes first..last
  std::uint64_t last = kToEnd;
  std::int32_t pid = 0;  // who set it, for F_GETLK
};

// Somebody who waits for a lock. Told once, by the thread that made way, without table locks held.
class LockWaiter {
 public:
  virtual ~LockWaiter() = default;
  virtual void Granted() noexcept = 0;
};

// Takes memory only while there are locks. Thread-safe.
class FileLocks {
 public:
  enum class Outcome : std::uint8_t { kDone, kConflict, kDeadlock, kWaiting };
  using WaiterRef = std::shared_ptr<LockWaiter>;

  // The lock in the way of `wanted`, as wide as its owner holds it; nothing if there is none.
  std::optional<FileLock> Test(FileKey file, const FileLock& wanted) const;

  // Takes, changes or gives back a lock. Where another one is in the way: kConflict without a
  // `waiter`, else kWaiting, and the waiter is told later - or kDeadlock, if a record lock's owner
  // would wait for itself. A flock that is to be converted is given up first, so that it is lost if
  // that fails, as flock(2) has it. Unless `patient`, the wait will be cancelled soon, and so is no
  // part of a deadlock.
  Outcome Set(FileKey file, const FileLock& lock, const WaiterRef& waiter = nullptr,
              bool patient = true);

  // Ends a wait. False if it is over already: the waiter has been or is being told.
  bool Cancel(FileKey file, const LockWaiter& waiter);

  // A process closed a descriptor of the file: its record locks there go.
  void OwnerClosed(FileKey file, std::uint64_t owner);
  // The last descriptor of an open file is gone, and with it all locks that were set through it.
  void HandleClosed(FileKey file, std::uint64_t handle);

  // Whether the file has locks or somebody waits for one.
  bool Has(FileKey file) const;
  // Whether any file has.
  bool empty() const { return files_in_use_.load(std::memory_order_acquire) == 0; }
  // All that wait, who are forgotten: for the end of the connection.
  std::vector<WaiterRef> TakeWaiters();

 private:
  struct Wait {
    FileLock lock;
    WaiterRef waiter;
    bool patient = true;
  };
  struct File {
    // Record locks of one owner stand together, by offset; owners, and flocks, by age.
    std::vector<FileLock> held;
    std::list<Wait> waits;  // by age
  };
  struct Hash {
    std::size_t operator()(FileKey key) const { return std::hash<std::uint64_t>()(key.ino); }
  };
  using Files = std::unordered_map<FileKey, File, Hash>;

  static const FileLock* Blocker(const File& file, const FileLock& wanted);
  static void Apply(File& file, const FileLock& lock);
  static void ApplyRecord(File& file, const FileLock& lock);
  bool WouldDeadlock(const File& file, const FileLock& wanted) const STRATA_REQUIRES(mu_);
  // Grants what nothing stands in the way of any more, and forgets the file if it is free.
  std::vector<WaiterRef> Settle(Files::iterator file) STRATA_REQUIRES(mu_);
  template <class Goes>
  void Drop(FileKey key, Goes goes);

  mutable Mutex mu_;  // docs/locking.md: leaf
  Files files_ STRATA_GUARDED_BY(mu_);
  std::atomic<std::size_t> files_in_use_ = 0;
};

}  // namespace strata::fusefs
