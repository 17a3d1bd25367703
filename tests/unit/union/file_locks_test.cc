#include "fusefs/union/file_locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace strata::fusefs {
namespace {

using enum LockType;
using Outcome = FileLocks::Outcome;

constexpr FileKey kFile{7};
constexpr FileKey kOther{8};

FileLock Record(std::uint64_t owner, LockType type, std::uint64_t first = 0,
                std::uint64_t last = FileLock::kToEnd, std::uint64_t handle = 0) {
  return {.kind = LockKind::kRecord,
          .type = type,
          .owner = owner,
          .handle = handle,
          .first = first,
          .last = last,
          .pid = static_cast<std::int32_t>(owner)};
}

FileLock Whole(std::uint64_t owner, LockType type) {
  return {.kind = LockKind::kFlock, .type = type, .owner = owner, .handle = owner};
}

struct Waiter final : LockWaiter {
  void Granted() noexcept override { ++granted; }
  int granted = 0;
};

class FileLocksTest : public ::testing::Test {
 protected:
  // "first-last:owner" of what stands in the way of a stranger's exclusive lock, byte by byte.
  std::string Held(std::uint64_t end = 40) const {
    std::string text;
    for (std::uint64_t at = 0; at < end;) {
      const auto lock = locks_.Test(kFile, Record(99, kExclusive, at, at));
      if (!lock) {
        ++at;
        continue;
      }
      if (!text.empty()) text += ' ';
      text += std::to_string(lock->first) + "-" +
              (lock->last == FileLock::kToEnd ? "" : std::to_string(lock->last)) +
              (lock->type == kShared ? "r" : "w") + std::to_string(lock->owner);
      at = lock->last == FileLock::kToEnd ? end : lock->last + 1;
    }
    return text;
  }
  Outcome Set(const FileLock& lock) { return locks_.Set(kFile, lock); }
  std::shared_ptr<Waiter> Wait(const FileLock& lock, FileKey file = kFile) {
    auto waiter = std::make_shared<Waiter>();
    EXPECT_EQ(locks_.Set(file, lock, waiter), Outcome::kWaiting);
    return waiter;
  }

  FileLocks locks_;
};

TEST_F(FileLocksTest, UnlockingTheMiddleSplits) {
  Set(Record(1, kExclusive, 0, 29));
  Set(Record(1, kUnlock, 10, 19));
  EXPECT_EQ(Held(), "0-9w1 20-29w1");
  Set(Record(1, kExclusive, 10, 19));
  EXPECT_EQ(Held(), "0-29w1");
  Set(Record(1, kShared, 5, 6));
  EXPECT_EQ(Held(), "0-4w1 5-6r1 7-29w1");
  Set(Record(1, kShared, 0, FileLock::kToEnd));
  EXPECT_EQ(Held(), "0-r1");
  Set(Record(1, kUnlock, 3, FileLock::kToEnd));
  EXPECT_EQ(Held(), "0-2r1");
  Set(Record(1, kUnlock));
  EXPECT_TRUE(locks_.empty());
}

TEST_F(FileLocksTest, OneLockToWhoeverAsksWhicheverHandlesItWasSetThrough) {
  Set(Record(1, kExclusive, 0, 9, 100));
  Set(Record(1, kExclusive, 10, 19, 200));
  EXPECT_EQ(Held(), "0-19w1");
  locks_.HandleClosed(kFile, 100);
  EXPECT_EQ(Held(), "10-19w1");
  locks_.OwnerClosed(kFile, 2);
  EXPECT_EQ(Held(), "10-19w1");
  locks_.OwnerClosed(kFile, 1);
  EXPECT_FALSE(locks_.Has(kFile));
}

TEST_F(FileLocksTest, OwnersConflictUnlessBothShare) {
  EXPECT_EQ(Set(Record(1, kShared, 0, 9)), Outcome::kDone);
  EXPECT_EQ(Set(Record(2, kShared, 5, 14)), Outcome::kDone);
  EXPECT_EQ(Set(Record(1, kExclusive, 4, 5)), Outcome::kConflict);
  EXPECT_EQ(Set(Record(1, kExclusive, 0, 4)), Outcome::kDone);
  EXPECT_EQ(Set(Record(2, kShared, 4, 4)), Outcome::kConflict);
  EXPECT_EQ(locks_.Set(kOther, Record(2, kExclusive)), Outcome::kDone);
  EXPECT_EQ(Set(Whole(3, kExclusive)), Outcome::kDone) << "the kinds do not meet";
}

TEST_F(FileLocksTest, WaitersAreServedByAgeAsFarAsTheyCan) {
  Set(Record(1, kExclusive, 0, 19));
  const auto second = Wait(Record(2, kExclusive, 0, 9));
  const auto third = Wait(Record(3, kShared, 5, 14));
  const auto fourth = Wait(Record(4, kShared, 10, 14));
  Set(Record(1, kUnlock));
  EXPECT_EQ(second->granted, 1);
  EXPECT_EQ(third->granted, 0);
  EXPECT_EQ(fourth->granted, 1);
  locks_.OwnerClosed(kFile, 2);
  EXPECT_EQ(third->granted, 1);
  EXPECT_FALSE(locks_.Cancel(kFile, *third));
}

TEST_F(FileLocksTest, ADowngradeLetsReadersIn) {
  Set(Record(1, kExclusive));
  const auto reader = Wait(Record(2, kShared, 3, 3));
  const auto writer = Wait(Record(3, kExclusive, 3, 3));
  Set(Record(1, kShared));
  EXPECT_EQ(reader->granted, 1);
  EXPECT_EQ(writer->granted, 0);
  EXPECT_TRUE(locks_.Cancel(kFile, *writer));
  EXPECT_FALSE(locks_.Cancel(kFile, *writer));
}

TEST_F(FileLocksTest, CyclesOfAnyLengthAndOverSeveralFilesAreDeadlocks) {
  Set(Record(1, kExclusive, 0, 0));
  Set(Record(2, kExclusive, 1, 1));
  locks_.Set(kOther, Record(3, kExclusive, 2, 2));
  Wait(Record(1, kExclusive, 1, 1));
  Wait(Record(2, kExclusive, 2, 2), kOther);
  const auto waiter = std::make_shared<Waiter>();
  EXPECT_EQ(locks_.Set(kFile, Record(3, kExclusive, 0, 0), waiter), Outcome::kDeadlock);
  EXPECT_EQ(locks_.Set(kFile, Record(4, kExclusive, 0, 0), waiter), Outcome::kWaiting);
}

TEST_F(FileLocksTest, OneOfSeveralReadersIsEnoughForADeadlock) {
  Set(Record(1, kShared));
  Set(Record(2, kShared));
  Set(Record(3, kShared));
  Wait(Record(3, kExclusive, 5, 5));
  EXPECT_EQ(locks_.Set(kFile, Record(2, kExclusive, 5, 5), std::make_shared<Waiter>()),
            Outcome::kDeadlock);
}

TEST_F(FileLocksTest, WhoWillGiveUpIsNoPartOfADeadlock) {
  Set(Record(1, kExclusive, 0, 0));
  Set(Record(2, kExclusive, 1, 1));
  const auto hasty = std::make_shared<Waiter>();
  EXPECT_EQ(locks_.Set(kFile, Record(1, kExclusive, 1, 1), hasty, false), Outcome::kWaiting);
  Wait(Record(2, kExclusive, 0, 0));
}

TEST_F(FileLocksTest, FlocksWaitForEverRatherThanBeRefused) {
  Set(Whole(1, kExclusive));
  locks_.Set(kOther, Whole(2, kExclusive));
  Wait(Whole(1, kExclusive), kOther);
  Wait(Whole(2, kExclusive));
}

TEST_F(FileLocksTest, AFlockThatCannotBeConvertedIsLost) {
  Set(Whole(1, kShared));
  Set(Whole(2, kShared));
  EXPECT_EQ(Set(Whole(1, kExclusive)), Outcome::kConflict);
  EXPECT_EQ(Set(Whole(2, kExclusive)), Outcome::kDone);
  const auto first = Wait(Whole(1, kExclusive));
  Set(Whole(2, kShared));
  EXPECT_EQ(first->granted, 0);
  locks_.HandleClosed(kFile, 2);
  EXPECT_EQ(first->granted, 1);
}

TEST_F(FileLocksTest, NothingIsLeftBehind) {
  Set(Record(1, kExclusive));
  const auto waiter = Wait(Record(2, kExclusive));
  EXPECT_THAT(locks_.TakeWaiters(), ::testing::ElementsAre(waiter));
  locks_.OwnerClosed(kFile, 1);
  EXPECT_TRUE(locks_.empty());
  EXPECT_EQ(Set(Record(1, kUnlock)), Outcome::kDone);
  EXPECT_TRUE(locks_.empty());
}

// Against a model that knows each byte's owners.
TEST_F(FileLocksTest, RandomRangesAgreeWithAByteMap) {
  constexpr std::uint64_t kBytes = 24;
  constexpr std::uint64_t kOwners = 3;
  std::mt19937 random(20);
  const auto below = [&](std::uint64_t end) { return random() % end; };
  LockType model[kOwners][kBytes];
  for (auto& owner : model) std::ranges::fill(owner, kUnlock);
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t owner = below(kOwners);
    const std::uint64_t first = below(kBytes);
    const std::uint64_t last = first + below(kBytes - first);
    const auto type = static_cast<LockType>(below(3));
    bool free = true;
    for (std::uint64_t at = first; at <= last; ++at) {
      for (std::uint64_t other = 0; other < kOwners; ++other) {
        if (other == owner || model[other][at] == kUnlock || type == kUnlock) continue;
        free = free && model[other][at] == kShared && type == kShared;
      }
    }
    ASSERT_EQ(Set(Record(owner, type, first, last, below(2))),
              free ? Outcome::kDone : Outcome::kConflict);
    if (free) std::fill(model[owner] + first, model[owner] + last + 1, type);
    for (std::uint64_t at = 0; at < kBytes; ++at) {
      bool held = false;
      bool exclusive = false;
      for (const auto& bytes : model) {
        held = held || bytes[at] != kUnlock;
        exclusive = exclusive || bytes[at] == kExclusive;
      }
      ASSERT_EQ(locks_.Test(kFile, Record(99, kExclusive, at, at)).has_value(), held) << step;
      ASSERT_EQ(locks_.Test(kFile, Record(99, kShared, at, at)).has_value(), exclusive) << step;
    }
  }
}

}  // namespace
}  // namespace strata::fusefs
