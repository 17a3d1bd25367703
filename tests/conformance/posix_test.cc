// Every system call a filesystem sees, on the mount as natively: tests/conformance/posix/cases says
// what is called, the native run says what must come out. In the upper layer and over a lower one,
// in every way of mounting.
#include "tests/conformance/posix/suite_fixture.h"

namespace strata::conformance {
namespace {

TEST(Cases, AreWhatTheySay) {
  for (const auto& line : NativeRun().wrong) ADD_FAILURE() << line;
}

class Posix : public SuiteTest {};

TEST_P(Posix, AsNatively) {
  RunCases();
  world_.Unmount();
  EXPECT_TRUE(world_.LowersUntouched());
}

std::vector<Run> Runs() {
  std::vector<Run> runs;
  for (const Variant& variant : Variants()) {
    runs.push_back({&FindKind("lower"), &variant});
    // How lower files are copied up makes no difference there.
    const bool copies_otherwise =
        variant.copy_up != "write" || variant.options.find("threshold") != std::string_view::npos;
    if (!copies_otherwise) runs.push_back({&FindKind("upper"), &variant});
  }
  return runs;
}

INSTANTIATE_TEST_SUITE_P(Variants, Posix, ::testing::ValuesIn(Runs()), TestName);

}  // namespace
}  // namespace strata::conformance
