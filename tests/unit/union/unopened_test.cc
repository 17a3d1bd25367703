// Files that are read and written without having been opened: the kernel was told not to ask.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;
using support::MustCall;

constexpr int kMany = 300;

EngineOptions Unopened(const LayerDirs& layers) {
  EngineOptions options = layers.Options();
  options.opens = false;
  return options;
}

std::size_t Descriptors() {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

// Of this process, while it lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    MustCall(::getrlimit(RLIMIT_NOFILE, &before_), "getrlimit");
    const rlimit lower{limit, before_.rlim_max};
    MustCall(::setrlimit(RLIMIT_NOFILE, &lower), "setrlimit");
  }
  ~DescriptorLimit() { MustCall(::setrlimit(RLIMIT_NOFILE, &before_), "setrlimit"); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

std::string Name(int number) { return "f" + std::to_string(number); }

TEST(UnopenedTest, ReadAndWritten) {
  LayerDirs layers(1);
  layers.File(1, "f", "lower");
  UnionDriver fs(Unopened(layers));
  const NodeId node = Must(fs.Walk("f")).node;
  EXPECT_EQ(Must(fs.ReadOpen(node, 0, 0, 100)), "lower");
  Must(fs.WriteOpen(node, 0, "U", 0));
  EXPECT_EQ(Must(fs.ReadOpen(node, 0, 0, 100)), "Uower");
  EXPECT_EQ(layers.Read(0, "f"), "Uower");
  EXPECT_EQ(layers.Read(1, "f"), "lower");
  Must(fs.engine().Sync(node, 0, false));
}

TEST(UnopenedTest, CreatedFilesAreServedThroughTheCache) {
  LayerDirs layers(1);
  UnionDriver fs(Unopened(layers));
  const auto made = Must(fs.engine().Create(kRootNode, "f", 0644, O_RDWR, {}));
  EXPECT_EQ(made.open.mode, IoMode::kCached);
  EXPECT_TRUE(made.open.keep_cache);
  Must(fs.WriteOpen(made.entry.node, made.open.handle, "text", 0));
  EXPECT_EQ(layers.Read(0, "f"), "text");
  const auto again = Must(fs.engine().Create(kRootNode, "f", 0644, O_RDWR | O_TRUNC, {}));
  EXPECT_EQ(layers.Read(0, "f"), "");
  EXPECT_EQ(again.entry.node, made.entry.node);
}

// Nobody tells when a file is closed.
TEST(UnopenedTest, DescriptorsAreGivenBack) {
  LayerDirs layers(1);
  for (int i = 0; i < kMany; ++i) layers.File(1, Name(i), Name(i));
  const DescriptorLimit limit(256);
  UnionDriver fs(Unopened(layers));
  for (int i = 0; i < kMany; ++i) {
    const NodeId node = Must(fs.Walk(Name(i))).node;
    EXPECT_EQ(Must(fs.ReadOpen(node, 0, 0, 100)), Name(i));
    Must(fs.WriteOpen(node, 0, "!", 0));
    const auto made = Must(fs.engine().Create(kRootNode, "new" + Name(i), 0644, O_RDWR, {}));
    Must(fs.WriteOpen(made.entry.node, 0, "?", 0));
  }
  EXPECT_LT(Descriptors(), 200U);
  for (int i = 0; i < kMany; ++i) {
    const NodeId node = Must(fs.Walk(Name(i))).node;
    EXPECT_EQ(Must(fs.ReadOpen(node, 0, 0, 1)), "!");
    fs.engine().Forget(node, 2);
  }
}

// The kernel may still have them open.
TEST(UnopenedTest, RemovedFilesKeepTheirContent) {
  LayerDirs layers(1);
  for (int i = 0; i < kMany; ++i) layers.File(1, Name(i), Name(i));
  layers.File(0, "upper", "in the upper");
  layers.File(1, "lower", "in the lower");
  const DescriptorLimit limit(256);
  UnionDriver fs(Unopened(layers));
  const NodeId upper = Must(fs.Walk("upper")).node;
  const NodeId lower = Must(fs.Walk("lower")).node;
  EXPECT_EQ(Must(fs.ReadOpen(upper, 0, 0, 100)), "in the upper");
  Must(fs.Unlink("upper"));
  Must(fs.Unlink("lower"));
  for (int i = 0; i < kMany; ++i) {
    EXPECT_EQ(Must(fs.ReadOpen(Must(fs.Walk(Name(i))).node, 0, 0, 100)), Name(i));
  }
  EXPECT_EQ(Must(fs.ReadOpen(upper, 0, 0, 100)), "in the upper");
  Must(fs.WriteOpen(upper, 0, "I", 0));
  EXPECT_EQ(Must(fs.ReadOpen(upper, 0, 0, 100)), "In the upper");
  EXPECT_EQ(Must(fs.ReadOpen(lower, 0, 0, 100)), "in the lower");
  EXPECT_FALSE(layers.Exists(0, "upper"));
}

}  // namespace
}  // namespace strata::fusefs
