// The POSIX suite with all layers on a filesystem of another kind, against the native run on that
// same kind: what it answers otherwise than ext4, the union passes on.
#include "tests/conformance/posix/suite_fixture.h"

namespace strata::conformance {
namespace {

using support::Filesystem;

class PosixOn : public SuiteTest {};

TEST_P(PosixOn, AsNatively) {
  RunCases();
  world_.Unmount();
  EXPECT_TRUE(world_.LowersUntouched());
}

std::vector<Run> Runs() {
  std::vector<Run> runs;
  for (const Filesystem place : {Filesystem::kXfs, Filesystem::kBtrfs, Filesystem::kTmpfs}) {
    for (const char* kind : {"upper", "lower"}) {
      runs.push_back({&FindKind(kind), &Variants()[0], place});
    }
    // Copied up in part: nearly every file.
    runs.push_back({&FindKind("copied-up"), &Variants()[3], place});
    // Without opens, a truncation is all that comes of O_TRUNC.
    runs.push_back({&FindKind("upper"), &Variants()[6], place});
  }
  return runs;
}

INSTANTIATE_TEST_SUITE_P(Filesystems, PosixOn, ::testing::ValuesIn(Runs()), TestName);

}  // namespace
}  // namespace strata::conformance
