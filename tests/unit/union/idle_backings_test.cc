#include "fusefs/union/idle_backings.h"

#include <gtest/gtest.h>

namespace strata::fusefs {
namespace {

TEST(IdleBackingsTest, GivesBackWhatWasKept) {
  IdleBackings idle(2);
  EXPECT_EQ(idle.Take(7), std::nullopt);
  EXPECT_EQ(idle.Put(7, 70), std::nullopt);
  EXPECT_EQ(idle.Take(7), 70);
  EXPECT_EQ(idle.Take(7), std::nullopt);
}

TEST(IdleBackingsTest, GivesUpTheOldest) {
  IdleBackings idle(2);
  EXPECT_EQ(idle.Put(1, 10), std::nullopt);
  EXPECT_EQ(idle.Put(2, 20), std::nullopt);
  EXPECT_EQ(idle.Take(1), 10);
  EXPECT_EQ(idle.Put(1, 10), std::nullopt);  // used again: now the youngest
  EXPECT_EQ(idle.Put(3, 30), 20);
  EXPECT_EQ(idle.Take(2), std::nullopt);
  EXPECT_EQ(idle.Take(1), 10);
  EXPECT_EQ(idle.Take(3), 30);
}

TEST(IdleBackingsTest, TheNewerOfTwoStays) {
  IdleBackings idle(2);
  EXPECT_EQ(idle.Put(1, 10), std::nullopt);
  EXPECT_EQ(idle.Put(1, 11), 10);
  EXPECT_EQ(idle.Take(1), 11);
}

}  // namespace
}  // namespace strata::fusefs
