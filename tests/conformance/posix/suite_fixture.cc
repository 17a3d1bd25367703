#include "tests/conformance/posix/suite_fixture.h"

#include <cctype>
#include <cstdlib>
#include <map>

namespace strata::conformance {
namespace {

using support::Must;
using support::TempRoot;

std::vector<Script> Load() {
  const char* source = std::getenv("STRATA_SOURCE_DIR");
  auto scripts = Must(LoadScripts(std::string(source != nullptr ? source : ".") +
                                  "/tests/conformance/posix/cases"));
  if (const char* only = std::getenv("STRATA_CASE")) {
    std::erase_if(scripts, [only](const Script& script) { return script.name != only; });
  }
  return scripts;
}

}  // namespace

std::string Open(const TempRoot& root, Place place) {
  if (!place || !support::KernelHas(*place)) return root.path();
  return Must(support::TestDisk::Create(root, "disk", *place)).path();
}

Oracle::Oracle(Place place) : scripts(Load()) {
  const TempRoot root = Must(TempRoot::Create());
  const std::string base = Open(root, place);
  wrong = Unexpected(scripts, RunScripts(scripts, base, Part::kSetup), Part::kSetup);
  body = RunScripts(scripts, base, Part::kBody);
  for (auto& line : Unexpected(scripts, body, Part::kBody)) wrong.push_back(std::move(line));
}

const Oracle& NativeRun(Place place) {
  static std::map<Place, Oracle> oracles;
  return oracles.try_emplace(place, place).first->second;
}

std::string Run::Name() const {
  std::string name = std::string(kind->name) + "/" + std::string(variant->name);
  if (place) name += "@" + std::string(support::FilesystemName(*place));
  return name;
}

void PrintTo(const Run& run, std::ostream* out) { *out << run.Name(); }

std::string TestName(const ::testing::TestParamInfo<Run>& info) {
  std::string name = info.param.Name();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

void SuiteTest::SetUp() {
  if (support::LacksDefaultTransport()) GTEST_SKIP() << support::kNoUring;
  const Place place = GetParam().place;
  if (place && !support::KernelHas(*place)) {
    GTEST_SKIP() << "this kernel has no " << support::FilesystemName(*place);
  }
}

void SuiteTest::RunCases() {
  GetParam().kind->prepare(world_);
  const auto mount = RunScripts(oracle_.scripts, world_.At(), Part::kBody);
  for (const auto& line : Compare(oracle_.scripts, oracle_.body, mount, GetParam().Name())) {
    ADD_FAILURE() << line;
  }
}

}  // namespace strata::conformance
