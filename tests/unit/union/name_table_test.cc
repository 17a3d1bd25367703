#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fusefs/union/directory.h"

namespace strata::fusefs {
namespace {

// Few names are searched, many hashed; one round each, and one that goes from one to the other.
class NameTableSizesTest : public ::testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Names, NameTableSizesTest, ::testing::Values(8, 20, 2000));

TEST_P(NameTableSizesTest, AgreesWithAMapOverRandomChanges) {
  std::mt19937 random(20);
  NameTable table;
  std::map<std::string, NameTable::Slot> model;
  for (int step = 0; step < 50000; ++step) {
    const std::string name = "name" + std::to_string(random() % GetParam());
    if (random() % 3 != 0) {
      if (!model.contains(name)) model[name] = table.Insert(name);
    } else if (const auto found = model.find(name); found != model.end()) {
      table.Erase(found->second);
      model.erase(found);
    }
  }
  for (const auto& [name, slot] : model) {
    EXPECT_EQ(table.Find(name), slot);
    EXPECT_EQ(table.NameOf(slot), name);
  }
  EXPECT_EQ(table.Find("absent"), NameTable::kNone);
  std::size_t used = 0;
  for (NameTable::Slot slot = 0; slot < table.end(); ++slot) used += table.InUse(slot) ? 1U : 0U;
  EXPECT_EQ(used, model.size());
}

TEST(NameTableTest, SlotsStayWhileOthersComeAndGo) {
  NameTable table;
  const NameTable::Slot kept = table.Insert("kept");
  for (int i = 0; i < 1000; ++i) table.Insert("x" + std::to_string(i));
  for (int i = 0; i < 1000; ++i) table.Erase(table.Find("x" + std::to_string(i)));
  EXPECT_EQ(table.Find("kept"), kept);
  EXPECT_EQ(table.NameOf(kept), "kept");
}

TEST(NameTableTest, KeepsTheLayersADirectoryMergesIn) {
  NameTable table;
  const NameTable::Slot slot = table.Insert("dir");
  table.SetMergedLayers(slot, {2, 5, 9});
  EXPECT_EQ(table.MergedLayers(slot), (std::vector<LayerIndex>{2, 5, 9}));
  EXPECT_EQ(table.at(slot).layer, 2);
  table.SetMergedLayers(slot, {0, 2, 5, 9});
  EXPECT_EQ(table.MergedLayers(slot), (std::vector<LayerIndex>{0, 2, 5, 9}));
}

TEST(NameTableTest, WhiteoutsAreNotVisible) {
  NameTable table;
  EXPECT_FALSE(table.HasVisible());
  table.at(table.Insert("gone")).whiteout = true;
  EXPECT_FALSE(table.HasVisible());
  table.Insert("here");
  EXPECT_TRUE(table.HasVisible());
}

}  // namespace
}  // namespace strata::fusefs
