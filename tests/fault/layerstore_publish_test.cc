// Fails every single file system call of a publish in turn. Afterwards the store is as before or as
// after it, never in between, and the next start leaves nothing behind.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>

#include "base/fault_file_ops.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

constexpr std::uint64_t kNever = ~std::uint64_t{0};

std::string SampleTar() {
  return TarBuilder()
      .Add({.name = "./", .type = '5', .mode = 0755, .mtime = 5})
      .AddDirectory("./d")
      .AddFile("./d/f", "content")
      .Add({.name = "./d/s", .type = '2', .link = "f"})
      .Add({.name = "./h", .type = '1', .link = "d/f"})
      .AddFile("./.wh.gone", "")
      .AddFile("./d/.wh..wh..opq", "")
      .AddFile("./d/f", "again")
      .Finish();
}

// Says which call fails; the pipeline's threads ask it, too.
class Fault {
 public:
  explicit Fault(bool sticky) : sticky_(sticky) {}

  FaultFileOps::Decide Decider() {
    return [this](const FaultFileOps::Call&) {
      const std::uint64_t number = calls_.fetch_add(1);
      const std::uint64_t at = at_.load();
      // Sticky: from there on nothing works any more, as when a process or a disk dies.
      return number == at || (sticky_ && number > at) ? EIO : 0;
    };
  }
  void Arm(std::uint64_t at) {
    calls_ = 0;
    at_ = at;
  }
  std::uint64_t calls() const { return calls_; }

 private:
  const bool sticky_;
  std::atomic<std::uint64_t> calls_ = 0;
  std::atomic<std::uint64_t> at_ = kNever;
};

class PublishFaultTest : public StoreTest, public ::testing::WithParamInterface<bool> {
 protected:
  Result<> ImportSample(Store& store) {
    ImportOptions options;
    options.name = Must(Reference::Parse("app:1"));
    const std::string tar = SampleTar();
    std::size_t at = 0;
    auto images = ImportStream(
        store,
        [&](std::span<std::byte> buffer) -> Result<std::size_t> {
          const std::size_t count = std::min(buffer.size(), tar.size() - at);
          std::copy_n(reinterpret_cast<const std::byte*>(tar.data()) + at, count, buffer.begin());
          at += count;
          return count;
        },
        options);
    if (!images) return std::unexpected(std::move(images).error());
    return {};
  }

  // The image is there with all its bytes, or there is no trace of it but what a collection takes.
  void ExpectOldOrNew(bool must_be_new) {
    const auto image = store_->images().Resolve("app:1");
    if (image) {
      const auto dirs = Must(store_->LowerDirs(*image));
      EXPECT_EQ(ReadFile(dirs[0] + "/d/f"), "again");
      EXPECT_EQ(ReadFile(dirs[0] + "/h"), "content");
      EXPECT_EQ(Lstat(dirs[0]).st_mtim.tv_sec, 5);
    } else {
      EXPECT_EQ(image.error().code(), ENOENT) << image.error().ToString();
      EXPECT_FALSE(must_be_new);
      Must(Collect(*store_));
      EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
      EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    }
    ExpectNoLeftovers();
  }
};

TEST_P(PublishFaultTest, EveryCallOfAnImport) {
  Fault fault(GetParam());
  FaultFileOps ops(FileOps::System(), fault.Decider());
  std::uint64_t failed = 0;
  for (std::uint64_t at = 0;; ++at) {
    SCOPED_TRACE("failing call " + std::to_string(at));
    fault.Arm(kNever);
    Reopen(&ops);
    fault.Arm(at);
    const auto imported = ImportSample(*store_);
    const bool reached = fault.calls() > at;
    store_.reset();  // with the fault still there: destructors see it, too
    Reopen();
    ExpectOldOrNew(imported.has_value());
    if (!imported) {
      ++failed;
      EXPECT_TRUE(Succeeds(ImportSample(*store_)));
      ExpectOldOrNew(true);
    }
    Must(store_->images().Remove("app:1", true));
    Must(Collect(*store_));
    if (!reached) break;
    ASSERT_LT(at, 1000U);
    if (HasFailure()) break;
  }
  EXPECT_GT(failed, 30U);
}

TEST_P(PublishFaultTest, EveryCallOfACollection) {
  Fault fault(GetParam());
  FaultFileOps ops(FileOps::System(), fault.Decider());
  for (std::uint64_t at = 0;; ++at) {
    SCOPED_TRACE("failing call " + std::to_string(at));
    Reopen();
    Must(ImportSample(*store_));
    Must(store_->images().Remove("app:1", false));
    const auto kept = Must(PutLayer(TarBuilder().AddFile("kept", "kept").Finish()));
    Lease lease = Must(store_->NewLease());
    Must(lease.PinLayer(kept.diff_id));
    {
      const auto faulty = Must(Store::Open({.root = root_, .ops = &ops}));
      fault.Arm(at);
      const auto report = Collect(*faulty);  // may well fail
      EXPECT_TRUE(report || report.error().code() == EIO) << report.error().ToString();
    }
    const bool reached = fault.calls() > at;
    fault.Arm(kNever);
    EXPECT_EQ(ReadFile(Must(store_->layers().Find(kept.diff_id)).path + "/kept"), "kept");
    Must(Collect(*store_));
    EXPECT_EQ(Names(root_ + "/layers/sha256"), std::set<std::string>{kept.diff_id.Hex()});
    if (!reached) break;
    ASSERT_LT(at, 1000U);
    if (HasFailure()) break;
  }
}

TEST_P(PublishFaultTest, EveryCallOfOpening) {
  Fault fault(GetParam());
  FaultFileOps ops(FileOps::System(), fault.Decider());
  store_.reset();
  for (std::uint64_t at = 0;; ++at) {
    SCOPED_TRACE("failing call " + std::to_string(at));
    const std::string root = temp_.At("fresh" + std::to_string(at));
    fault.Arm(at);
    const bool opened = Store::Open({.root = root, .ops = &ops}).has_value();
    const bool reached = fault.calls() > at;
    fault.Arm(kNever);
    root_ = root;
    Reopen();
    EXPECT_TRUE(Succeeds(PutLayer(SampleTar())));
    ExpectNoLeftovers();
    store_.reset();
    if (!reached) {
      EXPECT_TRUE(opened);
      break;
    }
    ASSERT_LT(at, 1000U);
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, PublishFaultTest, ::testing::Bool(), [](const auto& param) {
  return std::string(param.param ? "FromThereOn" : "Once");
});

// A process that dies at any call, for real: what it staged stays until the next start.
class KillTest : public PublishFaultTest {};

TEST_P(KillTest, DyingAtEveryCallOfAnImport) {
  store_.reset();
  for (int at = 0;; ++at) {
    SCOPED_TRACE("dying at call " + std::to_string(at));
    const pid_t child = ::fork();
    if (child == 0) {
      std::atomic<int> calls = 0;
      FaultFileOps ops(FileOps::System(), [&](const FaultFileOps::Call&) {
        if (calls.fetch_add(1) == at) ::_exit(9);
        return 0;
      });
      auto store = Store::Open({.root = root_, .ops = &ops});
      ::_exit(store && ImportSample(**store) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_NE(WEXITSTATUS(status), 1);
    const bool survived = WEXITSTATUS(status) == 0;
    Reopen();
    ExpectOldOrNew(survived);
    if (store_->images().Resolve("app:1")) Must(store_->images().Remove("app:1", true));
    Must(Collect(*store_));
    store_.reset();
    if (survived) break;
    ASSERT_LT(at, 1000);
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, KillTest, ::testing::Values(false));

}  // namespace
}  // namespace strata::layerstore
