// Random layers, unpacked and merged, against the tree that their entries mean: thousands of them,
// or those of STRATA_SEED on.
#include "tests/property/layers/layer_model.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "base/file_ops.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpacker.h"
#include "tests/property/layers/random_layers.h"
#include "tests/property/layers/tar_encoder.h"
#include "tests/property/layers/tree_text.h"
#include "tests/support/chain_index.h"
#include "tests/support/files.h"
#include "tests/support/flatten.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"

namespace strata::property {
namespace {

using layerstore::TarReader;
using layerstore::Unpacker;
using support::Must;
using support::MustCall;

// Those that once failed: opaque roots.
constexpr std::uint64_t kRegressions[] = {1008, 1071, 1137, 1235, 1348};

class LayerModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    disk_ = Must(temp_.MakeDir("memory"));
    MustCall(::mount("tmpfs", disk_.c_str(), "tmpfs", 0, "size=256m"), "mount");
  }

  Result<> Unpack(const LayerEntries& entries, const std::string& directory) {
    TarEncoder encoder;
    for (const LayerEntry& entry : entries) encoder.Add(entry);
    const std::string tar = encoder.Finish();
    support::MakeDir(directory);
    const UniqueFd root = support::OpenFile(directory, O_RDONLY | O_DIRECTORY);
    bool given = false;
    TarReader reader([&]() -> Result<std::string_view> {
      return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
    });
    auto done = Unpacker(FileOps::System(), root.get(), {}).Run(reader);
    if (!done) return std::unexpected(std::move(done).error());
    return {};
  }

  void Expect(const std::string& what, const ModelTree& model, const std::string& root) {
    EXPECT_EQ(Difference(TextOf(model), TextOf(Must(support::TreeSnapshot::Take(root)), model)), "")
        << what;
  }

  // What a mount of the layers shows, by their directories and by their index.
  void ExpectMounted(const ModelTree& model, const ModelTree& ad_hoc,
                     const std::vector<std::string>& layers) {
    support::UnionSpec spec{.lower = layers, .mount_point = work_ + "/mount"};
    support::MakeDir(spec.mount_point);
    support::MakeDir(work_ + "/chain");
    for (const bool indexed : {false, true}) {
      if (indexed) {
        spec.chain = work_ + "/chain";
        Must(support::WriteChainIndex(layers, spec.chain, 0));
      }
      auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, spec));
      Expect(indexed ? "mounted by the index" : "mounted", indexed ? model : ad_hoc, mount.path());
      Must(mount.Stop());
    }
  }

  // False if the case is refused.
  bool Check(std::uint64_t seed, bool mounted) {
    work_ = disk_ + "/case";
    support::MakeDir(work_);
    const LayerCase random = MakeRandomLayers(seed);
    LayerModel model(LayerModel::Rule::kLayered);
    LayerModel ad_hoc(LayerModel::Rule::kAdHoc);
    std::vector<std::string> layers;
    for (const LayerEntries& entries : random.layers) {
      layers.insert(layers.begin(), work_ + '/' + std::to_string(layers.size()));
      const auto unpacked = Unpack(entries, layers.front());
      const bool accepted = model.Apply(entries) && ad_hoc.Apply(entries);
      EXPECT_EQ(unpacked.has_value(), accepted)
          << "layer " << layers.size() << ": "
          << (unpacked ? "unpacked" : unpacked.error().ToString());
      if (!unpacked || !accepted) return false;
    }
    const std::string merged = work_ + "/merged";
    support::MakeDir(merged);
    Must(support::Flatten(layers, merged));
    Expect("merged", ad_hoc.tree(), merged);
    if (mounted) ExpectMounted(model.tree(), ad_hoc.tree(), layers);
    Count(random.oddities);
    Count(model.oddities());
    return true;
  }

  bool CheckSeed(std::uint64_t seed, bool mounted) {
    SCOPED_TRACE("STRATA_SEED=" + std::to_string(seed));
    const bool accepted = Check(seed, mounted);
    Must(support::RemoveTree(work_));
    return accepted;
  }

  void Count(const std::set<std::string>& oddities) {
    for (const std::string& oddity : oddities) ++met_[oddity];
  }

  support::TempRoot temp_ = Must(support::TempRoot::Create());
  std::string disk_;
  std::string work_;
  std::map<std::string, int> met_;  // of accepted cases
};

TEST_F(LayerModelTest, OnceFailed) {
  for (const std::uint64_t seed : kRegressions) CheckSeed(seed, true);
}

TEST_F(LayerModelTest, RandomLayers) {
  constexpr std::uint64_t kMountedOf = 40;
  constexpr std::uint64_t kAcceptedMin = 60;  // percent
  constexpr int kMetMin = 20;                 // of each oddity
  const char* given = std::getenv("STRATA_SEED");
  const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 0) : 1000;
  const char* wanted = std::getenv("STRATA_CASES");
  const std::uint64_t cases = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : 6000;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(100);
  std::uint64_t done = 0;
  std::uint64_t accepted = 0;
  for (; done < cases && !HasFailure(); ++done) {
    if (wanted == nullptr && std::chrono::steady_clock::now() > end) break;
    if (CheckSeed(first + done, done % kMountedOf == 0)) ++accepted;
  }
  std::cout << done << " cases, " << accepted << " of them accepted\n";
  for (const auto& [oddity, count] : met_) std::cout << "  " << count << " with " << oddity << '\n';
  if (given != nullptr || wanted != nullptr || HasFailure()) return;
  EXPECT_GE(accepted * 100, done * kAcceptedMin);
  EXPECT_GE(met_.size(), 20U);
  for (const auto& [oddity, count] : met_) EXPECT_GE(count, kMetMin) << oddity;
}

}  // namespace
}  // namespace strata::property
