// What the POSIX suite and the union suite have in common: the cases, how they come out natively,
// and a union in which they run. STRATA_CASE=NAME runs one case only.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/conformance/posix/world.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"

namespace strata::conformance {

// Where everything is: nothing for the filesystem of the tests' directory.
using Place = std::optional<support::Filesystem>;

// The cases, and how they come out natively in a place.
struct Oracle {
  explicit Oracle(Place place);

  std::vector<Script> scripts;
  Transcripts body;
  std::vector<std::string> wrong;  // lines that are not what their case says
};

// Run once per process and place.
const Oracle& NativeRun(Place place = {});

struct Run {
  const Kind* kind;
  const Variant* variant;
  Place place = {};  // of all layers, and of the native run

  // "KIND/VARIANT" or "KIND/VARIANT@PLACE", what known differences are looked up by.
  std::string Name() const;
};

void PrintTo(const Run& run, std::ostream* out);
std::string TestName(const ::testing::TestParamInfo<Run>& info);

// A directory in that place, which is mounted below the root; the root itself if the kernel has no
// such filesystem.
std::string Open(const support::TempRoot& root, Place place);

class SuiteTest : public ::testing::TestWithParam<Run> {
 protected:
  void SetUp() override;
  // Fails for each line that comes out otherwise than natively. Leaves the union mounted.
  void RunCases();

  const Oracle& oracle_ = NativeRun(GetParam().place);
  support::TempRoot root_ = support::Must(support::TempRoot::Create());
  World world_{Open(root_, GetParam().place), oracle_.scripts, *GetParam().variant};
};

}  // namespace strata::conformance
