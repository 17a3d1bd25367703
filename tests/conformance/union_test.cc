// The cases of the POSIX suite over every kind of name a union has: whiteouts, merged, opaque and
// redirected directories, copied-up files. Afterwards the same tree is there again when mounted
// anew, and when kernel overlayfs mounts the layers.
#include "tests/conformance/posix/suite_fixture.h"
#include "tests/support/tree_snapshot.h"

namespace strata::conformance {
namespace {

using support::Must;
using support::TreeSnapshot;

class Union : public SuiteTest {};

TEST_P(Union, AsNativelyAndForTheKernel) {
  RunCases();
  const TreeSnapshot ours = Must(TreeSnapshot::Take(world_.At()));
  world_.Unmount();
  world_.Mount();
  support::CompareRules same_files;
  same_files.inode_numbers = true;
  EXPECT_EQ(Diff(ours, Must(TreeSnapshot::Take(world_.At())), same_files), "")
      << "left: before, right: after a remount";
  world_.Unmount();
  world_.Finalize();
  world_.MountOverlay();
  EXPECT_EQ(Diff(ours, Must(TreeSnapshot::Take(world_.At())), {}), "")
      << "left: stratafs, right: kernel overlayfs";
  world_.Unmount();
  EXPECT_TRUE(world_.LowersUntouched());
}

std::vector<Run> Runs() {
  std::vector<Run> runs;
  for (const Kind& kind : Kinds()) runs.push_back({&kind, &Variants()[0]});
  // Copied up in part: nearly every file.
  for (const char* kind : {"copied-up", "chmodded"}) {
    runs.push_back({&FindKind(kind), &Variants()[3]});
  }
  return runs;
}

INSTANTIATE_TEST_SUITE_P(Kinds, Union, ::testing::ValuesIn(Runs()), TestName);

}  // namespace
}  // namespace strata::conformance
