#include "fusefs/union/node_table.h"

#include <gtest/gtest.h>

#include "tests/support/must.h"

namespace strata::fusefs {
namespace {

using support::Must;

NodeRecord Fields() {
  NodeRecord record;
  record.lookups = 1;
  record.ino = 7;
  return record;
}

TEST(NodeTableTest, RecordsAreSmall) { EXPECT_LE(sizeof(NodeRecord), 64U); }

TEST(NodeTableTest, AFreedNodeIsNoLongerReached) {
  const auto table = Must(NodeTable::Create());
  const WeakNode node = Must(table->Add(Fields(), "name"));
  EXPECT_EQ(table->View(node.index).name_text, "name");
  EXPECT_TRUE(table->TryLookup(node));
  NodeRecord last;
  EXPECT_FALSE(table->Release(node.index, 1, 0, &last));
  EXPECT_TRUE(table->Release(node.index, 1, 0, &last));
  EXPECT_FALSE(table->TryLookup(node)) << "a dying node must not come back";
  table->Free(node.index);
  EXPECT_EQ(table->live(), 0U);

  const WeakNode next = Must(table->Add(Fields(), "other"));
  EXPECT_EQ(next.index, node.index) << "freed records are used again";
  EXPECT_NE(next.generation, node.generation);
  EXPECT_FALSE(table->TryLookup(node));
}

TEST(NodeTableTest, NamesOfAllLengthsAndTheirSpaceComeBack) {
  const auto table = Must(NodeTable::Create());
  for (std::size_t round = 0; round < 3; ++round) {
    std::vector<WeakNode> nodes;
    for (std::size_t length = 1; length <= 255; ++length) {
      nodes.push_back(
          Must(table->Add(Fields(), std::string(length, static_cast<char>('a' + round)))));
    }
    for (std::size_t length = 1; length <= 255; ++length) {
      const WeakNode node = nodes[length - 1];
      EXPECT_EQ(table->View(node.index).name_text,
                std::string(length, static_cast<char>('a' + round)));
      NodeRecord last;
      EXPECT_TRUE(table->Release(node.index, 1, 0, &last));
      table->Free(node.index);
    }
  }
  const auto too_long = table->Add(Fields(), std::string(256, 'x'));
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code(), ENAMETOOLONG);
}

TEST(NodeTableTest, MemoryOfManyFreedNodesIsGivenBack) {
  constexpr std::uint64_t kMany = 50'000;
  const auto table = Must(NodeTable::Create());
  const WeakNode first = Must(table->Add(Fields(), "first"));
  std::vector<WeakNode> nodes;
  const auto name = [](std::uint64_t i) { return std::string(1 + i % 200, 'n'); };
  for (std::uint64_t i = 0; i < kMany; ++i) nodes.push_back(Must(table->Add(Fields(), name(i))));
  const WeakNode middle = nodes[kMany / 2];
  const std::uint64_t most = table->bytes();
  EXPECT_GT(most, kMany * sizeof(NodeRecord));
  NodeRecord last;
  for (const WeakNode node : nodes) {
    if (node == middle) continue;
    ASSERT_TRUE(table->Release(node.index, 1, 0, &last));
    table->Free(node.index);
  }
  EXPECT_LT(table->bytes(), most / 10);
  EXPECT_EQ(table->View(first.index).name_text, "first");
  EXPECT_EQ(table->View(middle.index).name_text, name(kMany / 2));

  // What is used again is not taken for what it was.
  for (std::uint64_t i = 0; i < kMany; ++i) {
    const WeakNode node = Must(table->Add(Fields(), name(i)));
    EXPECT_NE(node.index, middle.index);
    EXPECT_EQ(table->View(node.index).name_text, name(i));
  }
  EXPECT_EQ(table->View(middle.index).name_text, name(kMany / 2));
  for (const WeakNode node : nodes) EXPECT_EQ(table->TryLookup(node), node == middle);
}

}  // namespace
}  // namespace strata::fusefs
