// Directories that a walk will list next are loaded before it asks for them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "base/fault_file_ops.h"
#include "base/mutex.h"
#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using std::chrono_literals::operator""s;
using support::Must;

// Remembers every path that was opened.
class Opened {
 public:
  void Add(const char* path) {
    MutexLock lock(mu_);
    paths_.insert(path);
    changed_.NotifyAll();
  }
  bool Has(const std::string& path) {
    MutexLock lock(mu_);
    return paths_.contains(path);
  }
  bool WaitFor(const std::string& path) {
    MutexLock lock(mu_);
    return changed_.WaitFor(mu_, 20s, [&]() STRATA_REQUIRES(mu_) { return paths_.contains(path); });
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::set<std::string> paths_ STRATA_GUARDED_BY(mu_);
};

class WalkAheadTest : public testing::Test {
 protected:
  static std::string Name(int i) { return "d" + std::to_string(10 + i); }

  WalkAheadTest() {
    for (int i = 0; i < 30; ++i) layers_.File(1 + i % 2, Name(i) + "/file", "x");
  }

  // A union whose root was listed as the kernel does it: the names are known from then on. The
  // order of the names in the listing is `order_`.
  std::unique_ptr<UnionDriver> Mount(unsigned threads) {
    EngineOptions options = layers_.Options();
    options.walk_ahead_threads = threads;
    auto fs = std::make_unique<UnionDriver>(std::move(options), files_);
    Must(fs->engine().List(kRootNode, 0, true, [&](const ListedEntry& entry) {
      if (entry.entry != nullptr) order_.emplace_back(entry.name);
      return true;
    }));
    return fs;
  }

  LayerDirs layers_{2};
  Opened opened_;
  FaultFileOps files_{FileOps::System(), [this](const FaultFileOps::Call& call) {
                        if (call.name == "Open" && call.path != nullptr) opened_.Add(call.path);
                        return 0;
                      }};
  std::vector<std::string> order_;
};

TEST_F(WalkAheadTest, LoadsWhatComesNext) {
  const auto fs = Mount(2);
  ASSERT_EQ(order_.size(), 30U);
  fs->List(order_[0]);
  fs->List(order_[10]);  // not the next one: no walk
  fs->List(order_[11]);
  EXPECT_TRUE(opened_.WaitFor(order_[20]));
  EXPECT_FALSE(opened_.Has(order_[5]));
  EXPECT_THAT(fs->List(order_[20]), testing::ElementsAre("file"));
}

TEST_F(WalkAheadTest, LoadsBackwardsForAWalkFromTheEnd) {
  const auto fs = Mount(2);
  fs->List(order_[29]);
  fs->List(order_[28]);
  EXPECT_TRUE(opened_.WaitFor(order_[20]));
}

TEST_F(WalkAheadTest, SurvivesDirectoriesThatGoAway) {
  const auto fs = Mount(4);
  fs->List(order_[0]);
  fs->List(order_[1]);
  for (int i = 2; i < 30; ++i) {
    const std::string& name = order_[static_cast<std::size_t>(i)];
    if (i % 3 == 0) {
      Must(fs->Rename(name, name + "x"));
    } else {
      Must(fs->Unlink(name + "/file"));
      Must(fs->RemoveDir(name));
    }
  }
  EXPECT_EQ(fs->List("").size(), 2U + 9U);
}

TEST_F(WalkAheadTest, CanBeSwitchedOff) {
  const auto fs = Mount(0);
  for (std::size_t i = 0; i < 10; ++i) fs->List(order_[i]);
  EXPECT_FALSE(opened_.Has(order_[11]));
}

}  // namespace
}  // namespace strata::fusefs
