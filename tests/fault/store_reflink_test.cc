// A layer whose files share their data with those of another, with every step of its import going
// wrong in turn: afterwards it is there or not, whole, and so is the other.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/fault/store_steps.h"
#include "tests/support/test_disk.h"

namespace strata::layerstore {
namespace {

using support::FaultKind;
using support::Must;
using support::TarBuilder;

class ReflinkFaultTest : public StoreStepsTest, public ::testing::WithParamInterface<FaultKind> {
 protected:
  ReflinkFaultTest() : StoreStepsTest(GetParam()) {}
  void SetUp() override {
    constexpr auto kType = support::Filesystem::kBtrfs;
    if (!support::KernelHas(kType)) GTEST_SKIP() << "not in this kernel";
    volume_.emplace(Must(support::TestDisk::Create(temp_, "volume", kType)));
    root_ = volume_->path() + "/store";
    Reopen();
    const LayerInfo base = Must(PutLayer(Tar(1)));
    PutImage({base.diff_id}, "base:1");
    store_.reset();
  }
  ~ReflinkFaultTest() override {
    store_.reset();
    disk_.reset();
  }

  static std::string Content(std::size_t size) {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * i % 251);
    return content;
  }
  static std::string Large(std::uint64_t mtime) {
    std::string large = Content((std::size_t{1} << 20U) + 100'000);
    large[large.size() - 1000] = static_cast<char>(mtime);
    return large;
  }

  // Of two times, one that differs late, one with an attribute, two that are twins.
  static std::string Tar(std::uint64_t mtime) {
    const std::string small = Content(20'000);
    return TarBuilder()
        .Add({.name = "large", .content = Large(mtime), .mtime = mtime})
        .Add({.name = "small", .content = small, .mtime = mtime})
        .Add({.name = "twin", .content = small, .mtime = mtime})
        .Add({.name = "marked", .content = small, .pax = {{"SCHILY.xattr.user.a", "b"}}})
        .Finish();
  }

  Result<> Import(Store& store) {
    auto lease = store.NewLease();
    if (!lease) return std::unexpected(std::move(lease).error());
    LayerIngest ingest;
    ingest.diff_id = Digest::Of(Tar(2));
    auto sink = store.layers().Begin(std::move(ingest), *lease);
    if (!sink) return std::unexpected(std::move(sink).error());
    if (auto written = (*sink)->Write(Tar(2)); !written) return written;
    auto layer = (*sink)->Commit();
    if (!layer) return std::unexpected(std::move(layer).error());
    return {};
  }

  void ExpectWhole(std::uint64_t mtime) {
    const auto layer = Must(store_->layers().Find(Digest::Of(Tar(mtime))));
    EXPECT_TRUE(ReadFile(layer.path + "/large") == Large(mtime));
    for (const char* name : {"/small", "/twin", "/marked"}) {
      EXPECT_TRUE(ReadFile(layer.path + name) == Content(20'000)) << name;
    }
  }

  // As before the import or as after it; then it is done, and undone.
  void ExpectOldOrNew(bool must_be_new) {
    Reopen();
    EXPECT_EQ(Damage(), "");
    ExpectNoLeftovers();
    ExpectWhole(1);
    const bool there = store_->layers().Find(Digest::Of(Tar(2))).has_value();
    EXPECT_TRUE(there || !must_be_new);
    if (!there) {
      EXPECT_TRUE(Succeeds(Import(*store_)));
    }
    ExpectWhole(2);
    Must(Collect(*store_));
    ExpectWhole(1);
    EXPECT_EQ(Names(root_ + "/layers/sha256").size(), 1U);
    store_.reset();
  }

  std::optional<support::TestDisk> volume_;
};

TEST_P(ReflinkFaultTest, EveryStepOfAnImport) {
  std::uint64_t failed = 0;
  ForEveryStep([&](std::uint64_t at) {
    bool done = false;
    if (plan_.kind() == FaultKind::kDie) {
      done = WithDeath(at, [&](Store& store) { return Import(store); });
    } else {
      WithFault(at, [&](Store& store) { done = Import(store).has_value(); });
    }
    if (!done) ++failed;
    ExpectOldOrNew(done);
    return reached_;
  });
  EXPECT_GE(failed * kStride, 20U);
}

INSTANTIATE_TEST_SUITE_P(Faults, ReflinkFaultTest,
                         ::testing::Values(FaultKind::kError, FaultKind::kFull,
                                           FaultKind::kFullFromThere, FaultKind::kDie),
                         [](const auto& param) { return support::FaultName(param.param); });

// What was not synced is lost.
class ReflinkPowerTest : public ReflinkFaultTest {};

TEST_P(ReflinkPowerTest, EveryStepOfAnImport) {
  disk_ = Must(support::UnsyncedFileOps::Create(FileOps::System(), volume_->path() + "/attic"));
  ForEveryStep([&](std::uint64_t at) {
    const bool done = WithPowerFailure(at, [&](Store& store) { return Import(store); });
    ExpectOldOrNew(done);
    return reached_;
  });
}

INSTANTIATE_TEST_SUITE_P(Faults, ReflinkPowerTest, ::testing::Values(FaultKind::kErrorFromThere),
                         [](const auto& param) { return support::FaultName(param.param); });

}  // namespace
}  // namespace strata::layerstore
