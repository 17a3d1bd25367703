#include "tests/conformance/union_fixture.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "base/path.h"
#include "tests/support/chain_index.h"
#include "tests/support/tree_snapshot.h"

namespace strata::conformance {

using support::UnionMount;
using support::UnionSpec;

namespace {

std::string Below(const std::string& dir, std::string_view path) {
  return path.empty() ? dir : JoinPath(dir, path);
}

}  // namespace

UnionTest::UnionTest() : root_(Must(support::TempRoot::Create())) {
  ::umask(022);
  Must(root_.MakeDir("mnt"));
  PutUpperIn(root_.path());
}

UnionTest::~UnionTest() = default;

void UnionTest::SetUp() {
  if (support::LacksDefaultTransport()) GTEST_SKIP() << support::kNoUring;
}

std::vector<std::string> LeftInWork(const std::string& work) {
  std::vector<std::string> names;
  for (const std::string& name : List(work + "/work")) {
    if (!S_ISCHR(Lstat(work + "/work/" + name).st_mode)) names.push_back(name);
  }
  return names;
}

std::string UnionTest::Lower(std::size_t layer, std::string_view path) {
  while (layers_.size() <= layer) {
    layers_.push_back(Must(root_.MakeDir("lower" + std::to_string(layers_.size()))));
  }
  return Below(layers_[layer], path);
}

void UnionTest::PutUpperIn(const std::string& directory) {
  upper_ = directory + "/upper";
  work_ = directory + "/work";
  MakeDir(upper_);
  MakeDir(work_);
}

std::string UnionTest::Upper(std::string_view path) const { return Below(upper_, path); }

std::string UnionTest::At(std::string_view path) const { return Below(root_.At("mnt"), path); }

UnionSpec UnionTest::Spec(UnionSpec spec) const {
  if (spec.lower.empty()) {
    spec.lower.assign(layers_.rbegin(), layers_.rend());
    spec.chain = chain_;
  }
  if (spec.upper.empty()) spec.upper = Upper();
  if (spec.work.empty()) spec.work = Work();
  if (spec.mount_point.empty()) spec.mount_point = At();
  return spec;
}

// With $STRATA_CHAIN set, all mounts are made through the index of the lower layers.
void UnionTest::Index() {
  if (std::getenv("STRATA_CHAIN") == nullptr) return;
  if (support::DefaultMounter() != support::Mounter::kStratafs) return;
  Must(root_.MakeDir("chain"));
  const std::vector<std::string> layers(layers_.rbegin(), layers_.rend());
  Must(support::WriteChainIndex(layers, root_.At("chain")));
  chain_ = root_.At("chain");
}

void UnionTest::Mount(UnionSpec spec) {
  Lower(0);  // there is always one
  if (digests_.empty()) {
    for (const std::string& layer : layers_) digests_.push_back(Must(support::LayerDigest(layer)));
    Index();
  }
  mount_ = Must(UnionMount::Start(support::DefaultMounter(), Spec(std::move(spec))));
}

void UnionTest::MountReadOnly() {
  Lower(0);
  Index();
  UnionSpec spec = Spec();
  spec.upper.clear();
  spec.work.clear();
  for (const std::string& layer : layers_) digests_.push_back(Must(support::LayerDigest(layer)));
  mount_ = Must(UnionMount::Start(support::DefaultMounter(), spec));
}

void UnionTest::Unmount() { Must(mount_.Stop()); }

void UnionTest::TearDown() {
  const Result<> stopped = mount_.Stop();
  EXPECT_TRUE(stopped) << stopped.error().ToString();
  for (std::size_t i = 0; i < digests_.size(); ++i) {
    EXPECT_EQ(Must(support::LayerDigest(layers_[i])), digests_[i])
        << "lower layer " << i << " was changed";
  }
}

}  // namespace strata::conformance
