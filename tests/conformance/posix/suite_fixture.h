// What the POSIX suite and the union suite have in common: the cases, how they come out natively,
// and a union in which they run. STRATA_CASE=NAME runs one case only.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/conformance/posix/world.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::conformance {

// The cases, and how they come out on the filesystem of the test's directory.
struct Oracle {
  Oracle();

  std::vector<Script> scripts;
  Transcripts body;
  std::vector<std::string> wrong;  // lines that are not what their case says
};

// Run once per process.
const Oracle& NativeRun();

struct Run {
  const Kind* kind;
  const Variant* variant;

  // "KIND/VARIANT", what known differences are looked up by.
  std::string Name() const { return std::string(kind->name) + "/" + std::string(variant->name); }
};

void PrintTo(const Run& run, std::ostream* out);
std::string TestName(const ::testing::TestParamInfo<Run>& info);

class SuiteTest : public ::testing::TestWithParam<Run> {
 protected:
  // Fails for each line that comes out otherwise than natively. Leaves the union mounted.
  void RunCases();

  const Oracle& oracle_ = NativeRun();
  support::TempRoot root_ = support::Must(support::TempRoot::Create());
  World world_{root_.path(), oracle_.scripts, *GetParam().variant};
};

}  // namespace strata::conformance
