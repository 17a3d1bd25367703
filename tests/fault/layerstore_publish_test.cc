// Every single step of a publish goes wrong in turn: file system calls and SQLite's own, in every
// way they can. Afterwards the store is as before or as after it, never in between, and the next
// start leaves nothing behind.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/fault/store_steps.h"

namespace strata::layerstore {
namespace {

using support::FaultKind;
using support::FaultName;
using support::FaultPlan;
using support::FaultVfs;
using support::Must;
using support::TarBuilder;
using support::UnsyncedFileOps;

// A way in, and the names that it gives.
struct Entrance {
  const char* name;
  std::vector<std::string> names;
  bool archive;
};

std::vector<Entrance> Entrances() {
  return {{"RootFilesystem", {"app:1"}, false}, {"DockerArchive", {"app:1", "app:2"}, true}};
}

class PublishFaultTest : public StoreStepsTest,
                         public ::testing::WithParamInterface<std::tuple<FaultKind, Entrance>> {
 protected:
  PublishFaultTest() : StoreStepsTest(std::get<0>(GetParam())) {}

  FaultKind kind() const { return std::get<0>(GetParam()); }
  const std::vector<std::string>& names() const { return std::get<1>(GetParam()).names; }

  Result<> Import(Store& store) const {
    return std::get<1>(GetParam()).archive ? ImportArchive(store) : ImportRoot(store);
  }

  void ExpectOldOrNew(bool must_be_new) {
    EXPECT_EQ(OldOrNew(names(), must_be_new), "");
    ExpectNoLeftovers();
  }
};

std::string ParamName(const ::testing::TestParamInfo<std::tuple<FaultKind, Entrance>>& param) {
  return FaultName(std::get<0>(param.param)) + std::get<1>(param.param).name;
}

const auto kLivingKinds =
    ::testing::Values(FaultKind::kError, FaultKind::kErrorFromThere, FaultKind::kFull,
                      FaultKind::kFullFromThere, FaultKind::kShort);

TEST_P(PublishFaultTest, EveryStepOfAnImport) {
  std::uint64_t failed = 0;
  ForEveryStep([&](std::uint64_t at) {
    std::optional<Result<>> imported;
    store_.reset();
    WithFault(at, [&](Store& store) { imported = Import(store); });
    Reopen();
    ExpectOldOrNew(imported->has_value());
    if (!*imported) {
      ++failed;
      EXPECT_TRUE(Succeeds(Import(*store_)));
      ExpectOldOrNew(true);
    }
    RemoveAll();
    return reached_;
  });
  // Short counts are nothing to fail for, except SQLite's.
  EXPECT_GE(failed * kStride, kind() == FaultKind::kShort ? 5U : 30U);
}

INSTANTIATE_TEST_SUITE_P(Faults, PublishFaultTest,
                         ::testing::Combine(kLivingKinds, ::testing::ValuesIn(Entrances())),
                         ParamName);

// The same without the entrances.
class StoreFaultTest : public PublishFaultTest {};

TEST_P(StoreFaultTest, EveryStepOfACollection) {
  ForEveryStep([&](std::uint64_t at) {
    Reopen();
    Must(Import(*store_));
    Must(store_->images().Remove("app:1", false));
    const auto kept = Must(PutLayer(TarBuilder().AddFile("kept", "kept").Finish()));
    {
      Lease lease = Must(store_->NewLease());
      Must(lease.PinLayer(kept.diff_id));
      WithFault(at, [](Store& store) {
        const auto report = Collect(store);  // may well fail
        EXPECT_TRUE(report || report.error().code() == EIO || report.error().code() == ENOSPC)
            << report.error().ToString();
      });
      EXPECT_EQ(ReadFile(Must(store_->layers().Find(kept.diff_id)).path + "/kept"), "kept");
      Must(Collect(*store_));
      EXPECT_EQ(Names(root_ + "/layers/sha256"), std::set<std::string>{kept.diff_id.Hex()});
    }
    Reopen();
    ExpectNoLeftovers();
    return reached_;
  });
}

TEST_P(StoreFaultTest, EveryStepOfOpening) {
  store_.reset();
  ForEveryStep([&](std::uint64_t at) {
    root_ = temp_.At("fresh" + std::to_string(at) + "/deep/store");
    bool opened = false;
    {
      const auto vfs = Must(FaultVfs::Install(plan_));
      plan_.Arm(at);
      opened = Store::Open({.root = root_, .ops = &ops_}).has_value();
      reached_ = plan_.Reached();
      plan_.Disarm();
    }
    Reopen();
    EXPECT_TRUE(Succeeds(PutLayer(SampleTar())));
    ExpectNoLeftovers();
    store_.reset();
    EXPECT_TRUE(opened || reached_);
    return reached_;
  });
}

INSTANTIATE_TEST_SUITE_P(Faults, StoreFaultTest,
                         ::testing::Combine(kLivingKinds, ::testing::Values(Entrances().front())),
                         ParamName);

// A process that dies at any step, for real: what it staged stays until the next start.
class KillTest : public PublishFaultTest {};

TEST_P(KillTest, DyingAtEveryStepOfAnImport) {
  store_.reset();
  ForEveryStep([&](std::uint64_t at) {
    const bool imported = WithDeath(at, [&](Store& store) { return Import(store); });
    Reopen();
    ExpectOldOrNew(imported);
    RemoveAll();
    store_.reset();
    return reached_;
  });
}

INSTANTIATE_TEST_SUITE_P(Faults, KillTest,
                         ::testing::Combine(::testing::Values(FaultKind::kDie),
                                            ::testing::ValuesIn(Entrances())),
                         ParamName);

// The power fails at any step, and what was not synced until then is lost.
class PowerTest : public PublishFaultTest {};

TEST_P(PowerTest, FailsAtEveryStepOfAnImport) {
  std::uint64_t failed = 0;
  ForEveryStep([&](std::uint64_t at) {
    store_.reset();
    const bool imported = WithPowerFailure(at, [&](Store& store) { return Import(store); });
    Reopen();
    ExpectOldOrNew(imported);
    RemoveAll();
    if (!imported) ++failed;
    return reached_;
  });
  EXPECT_GE(failed * kStride, 30U);
}

INSTANTIATE_TEST_SUITE_P(Faults, PowerTest,
                         ::testing::Combine(::testing::Values(FaultKind::kErrorFromThere),
                                            ::testing::ValuesIn(Entrances())),
                         ParamName);

// What is done is on the disk when it is reported, and it is the syncs that bring it there: without
// any one of them it is lost, and the tests above would see that.
class SyncTest : public ImportFaultTest {
 protected:
  // Runs `body` with a store, the power failing after it. `swallowed` numbers the sync (of `body`
  // and, with a fresh root, of opening) that does nothing.
  template <class Body>
  void ThenPowerFails(std::optional<int> swallowed, Body body) {
    store_.reset();
    const auto disk = Must(
        UnsyncedFileOps::Create(FileOps::System(), temp_.At("attic" + std::to_string(attics_++))));
    bool counting = fresh_root_;
    syncs_ = 0;
    FaultFileOps ops(*disk, [&](const FaultFileOps::Call& call) {
      const bool sync = call.name == "Sync" || call.name == "SyncFilesystem";
      if (!sync || !counting || syncs_++ != swallowed) return FaultFileOps::Outcome();
      return FaultFileOps::Outcome::Swallowed();
    });
    {
      const auto store = Must(Store::Open({.root = root_, .ops = &ops}));
      counting = true;
      body(*store);
      counting = false;
    }
    Must(disk->DropUnsynced());
    Reopen();
  }

  // A blob, for that is published without a syncfs, which would make up for what was left out.
  bool BlobSurvives(std::optional<int> swallowed) {
    const std::string bytes = "the bytes of a blob";
    ThenPowerFails(swallowed, [&](Store& store) {
      Lease lease = Must(store.NewLease());
      const auto writer = Must(store.blobs().Begin(lease));
      Must(writer->Write(bytes));
      Must(writer->Commit(std::nullopt, std::nullopt));
    });
    const bool whole = ReadFile(root_ + "/blobs/sha256/" + Digest::Of(bytes).Hex()) == bytes;
    Must(Collect(*store_));
    return whole;
  }

  bool fresh_root_ = false;
  int syncs_ = 0;
  int attics_ = 0;
};

TEST_F(SyncTest, OfBlobs) {
  EXPECT_TRUE(BlobSurvives(std::nullopt));
  ASSERT_EQ(syncs_, 2);
  EXPECT_FALSE(BlobSurvives(0));  // its bytes
  EXPECT_FALSE(BlobSurvives(1));  // its name
  EXPECT_TRUE(BlobSurvives(2));
}

TEST_F(SyncTest, OfLayers) {
  const auto put = [&](std::optional<int> swallowed) {
    ThenPowerFails(swallowed, [&](Store& store) {
      Lease lease = Must(store.NewLease());
      LayerIngest ingest;
      ingest.keep_blob = false;
      const auto sink = Must(store.layers().Begin(ingest, lease));
      Must(sink->Write(SampleTar()));
      Must(sink->Commit());
    });
    const auto layer = store_->layers().Find(Digest::Of(SampleTar()));
    const bool whole = layer && ReadFile(layer->path + "/d/f") == "again" &&
                       ReadFile(layer->path + "/h") == "content";
    Must(Collect(*store_));
    return whole;
  };
  EXPECT_TRUE(put(std::nullopt));
  ASSERT_EQ(syncs_, 2);
  EXPECT_FALSE(put(0));  // all that is in it
  EXPECT_FALSE(put(1));  // its name
  EXPECT_TRUE(put(2));
}

TEST_F(SyncTest, OfTheWayToTheRoot) {
  fresh_root_ = true;
  const auto survives = [&](std::optional<int> swallowed) {
    root_ = temp_.At("fresh" + std::to_string(swallowed.value_or(-1)) + "/deep/store");
    return BlobSurvives(swallowed);
  };
  EXPECT_TRUE(survives(std::nullopt));
  for (const int directory : {0, 1, 2}) EXPECT_FALSE(survives(directory)) << directory;
}

}  // namespace
}  // namespace strata::layerstore
