// Many threads on one engine: for the thread sanitizer, and for lost updates.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;

constexpr int kThreads = 4;
constexpr int kSteps = 600;

bool Expected(int code) {
  return code == ENOENT || code == EEXIST || code == ENOTEMPTY || code == ENOTDIR || code == EISDIR;
}

TEST(StressTest, RandomOperationsInOneTree) {
  LayerDirs layers(2);
  for (int i = 0; i < 8; ++i) {
    layers.File(2, "d" + std::to_string(i) + "/f", "base");
    layers.File(1, "d" + std::to_string(i) + "/g", "top");
  }
  UnionDriver fs(layers.Options());
  std::atomic<int> unexpected = 0;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937 random(static_cast<unsigned>(thread));
        const auto dir = [&] { return "d" + std::to_string(random() % 10); };
        const auto file = [&] { return dir() + "/" + "fgh"[random() % 3]; };
        for (int step = 0; step < kSteps; ++step) {
          Result<> done;
          switch (random() % 9) {
            case 0:
              done = fs.Write(file(), "w");
              break;
            case 1:
              done = fs.Append(file(), "a");
              break;
            case 2:
              done = fs.Unlink(file());
              break;
            case 3:
              done = fs.Rename(file(), file());
              break;
            case 4:
              done = fs.MakeDir(dir());
              break;
            case 5:
              done = fs.RemoveDir(dir());
              break;
            case 6:
              done = fs.Chmod(file(), 0600 + random() % 64);
              break;
            case 7:
              done = fs.Link(file(), file());
              break;
            default: {
              auto data = fs.Read(file());
              if (!data) done = std::unexpected(std::move(data).error());
            }
          }
          if (!done && !Expected(done.error().code())) {
            ++unexpected;
            ADD_FAILURE() << done.error().ToString();
          }
        }
      });
    }
  }
  EXPECT_EQ(unexpected, 0);
  EXPECT_EQ(fs.engine().Count().nodes, 1U) << "every lookup was given back";
}

TEST(StressTest, OneCopyUpForManyWriters) {
  LayerDirs layers(1);
  layers.File(1, "f", std::string(300000, 'x'));
  UnionDriver fs(layers.Options());
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        const EntryReply file = Must(fs.Walk("f"));
        const OpenReply open = Must(fs.engine().OpenFile(file.node, O_RDWR, {}));
        Must(fs.WriteOpen(file.node, open.handle, std::to_string(thread), thread));
        fs.engine().Release(file.node, open.handle);
        fs.engine().Forget(file.node, 1);
      });
    }
  }
  EXPECT_EQ(fs.engine().Count().copy_ups, 1U);
  EXPECT_EQ(Must(fs.Read("f")).substr(0, 5), "0123x");
}

}  // namespace
}  // namespace strata::fusefs
