// Proves the union right: random layer stacks and random operations, on a mount and on a plain
// directory, must give the same results to the last errno (session.h says what may differ), leave
// the lower layers untouched, and survive a remount, also by kernel overlayfs (and the reverse,
// with
// --mounter=overlay --remount=stratafs).
//
//   union_model_test [--seed=N] [--sequences=N] [--ops=N] [--seconds=N] [--copyup=P]
//   [--passthrough=P]
//                    [--mounter=M] [--remount=M,..] [--option=O] [--disk=FILESYSTEM]
//                    [--replay=FILE] [--out=DIR]
//
// STRATA_SEED and STRATA_MOUNTER do the same; STRATA_TRANSPORT chooses what stratafs is served by.
// Failing sequences are shrunk and written to --out (default: the working directory) as text that
// --replay takes; those worth keeping go to tests/property/regress/, which is replayed first.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <sstream>

#include "tests/property/generator.h"
#include "tests/property/runner.h"
#include "tests/property/sequence_text.h"
#include "tests/property/shrinker.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"

namespace strata::property {
namespace {

using Clock = std::chrono::steady_clock;
using support::Must;
using support::TempRoot;

struct Flags {
  std::uint64_t seed = 0;
  int sequences = 1000;
  int operations = 40;
  int seconds = 60;
  int per_mount = 50;
  std::string replay;
  std::string out = ".";
  // Of all layers and of the plain directory.
  support::Filesystem disk = support::Filesystem::kExt4NoJournal;
  RunnerOptions runner;
};
Flags flags;  // set once in main(), read by the tests

constexpr int kDiskMebibytes = 1024;
constexpr int kMaxReported = 3;  // failures worth shrinking in one run
constexpr std::chrono::seconds kShrinkTime{40};
constexpr std::chrono::seconds kHang{20};

std::string Name(const RunnerOptions& options) {
  return std::string(support::MounterName(options.mounter)) + " copyup=" + options.copy_up +
         " passthrough=" + options.passthrough + (options.chain ? " --chain" : "");
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Shrinks, writes and reports a failure.
void Report(Runner& runner, Sequence sequence, const Failure& failure) {
  sequence.operations.resize(std::min(sequence.operations.size(), failure.operation + 1));
  std::string text = failure.text;
  const auto fails = [&](const Sequence& candidate) {
    const auto failures = Must(runner.Run({candidate}));
    if (failures.empty()) return false;
    text = failures[0].text;
    return true;
  };
  std::string note = "alone it passes: it takes the other sequences of its mount\n";
  if (fails(sequence)) {
    const std::string first = text;
    sequence = Shrink(sequence, fails, kShrinkTime);
    note = fails(sequence) ? "" : "does not fail every time: " + first;
  }
  const std::string file =
      flags.out + "/failed-" + flags.runner.copy_up + "-" + std::to_string(sequence.seed) + ".txt";
  std::ofstream(file) << ToText(sequence);
  ADD_FAILURE() << Name(runner.options()) << " seed " << sequence.seed
                << ", replay with --replay=" << file << "\n"
                << text << note << ToText(sequence);
}

class UnionModel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (support::LacksDefaultTransport()) GTEST_SKIP() << support::kNoUring;
    if (!support::KernelHas(flags.disk)) {
      GTEST_SKIP() << "this kernel has no " << support::FilesystemName(flags.disk);
    }
    disk_ = Must(support::TestDisk::Create(root_, "disk", flags.disk, kDiskMebibytes));
    runner_.emplace(disk_->path(), flags.runner, watchdog_);
  }

  TempRoot root_ = Must(TempRoot::Create());
  Watchdog watchdog_{kHang};
  std::optional<support::TestDisk> disk_;
  std::optional<Runner> runner_;
};

TEST_F(UnionModel, ReplaysWhatFailedBefore) {
  std::vector<std::string> files;
  if (!flags.replay.empty()) {
    files.push_back(flags.replay);
  } else {
    const char* source = std::getenv("STRATA_SOURCE_DIR");
    ASSERT_NE(source, nullptr) << "STRATA_SOURCE_DIR is not set";
    const std::string dir = std::string(source) + "/tests/property/regress";
    for (const auto& entry : std::filesystem::directory_iterator(dir)) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
    }
    std::ranges::sort(files);
  }
  for (const std::string& file : files) {
    const Sequence sequence = Must(ParseSequence(ReadFile(file)));
    for (const Failure& failure : Must(runner_->Run({sequence}))) {
      ADD_FAILURE() << Name(flags.runner) << " " << file << "\n" << failure.text;
    }
  }
}

TEST_F(UnionModel, RandomSequencesAgreeWithPlainDirectories) {
  if (!flags.replay.empty()) GTEST_SKIP() << "only replaying";
  std::cout << Name(flags.runner) << " --seed=" << flags.seed << std::endl;
  const Clock::time_point start = Clock::now();
  const auto deadline = start + std::chrono::seconds(flags.seconds);
  int ran = 0;
  int failed = 0;
  while (ran < flags.sequences && Clock::now() < deadline && failed < kMaxReported) {
    std::vector<Sequence> group;
    for (int i = 0; i < std::min(flags.per_mount, flags.sequences - ran); ++i) {
      const std::uint64_t seed = flags.seed + static_cast<std::uint64_t>(ran + i);
      // Kernel overlayfs cannot remove directories with whiteouts that it would not have written.
      const bool may_prefill = flags.runner.mounter != support::Mounter::kOverlay;
      group.push_back(Generate(seed, {.layers = static_cast<int>(seed % 7 % 6 + 1),
                                      .operations = flags.operations,
                                      .upper_prefilled = may_prefill && seed % 3 == 0}));
    }
    for (const Failure& failure : Must(runner_->Run(group))) {
      if (failed++ < kMaxReported) Report(*runner_, group[failure.sequence], failure);
    }
    ran += static_cast<int>(group.size());
  }
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
  std::cout << ran << " sequences, " << elapsed << " ms" << std::endl;
  RecordProperty("sequences", ran);
  EXPECT_GT(ran, 0);
}

bool TakeFlag(const std::string& argument, const std::string& name, std::string& value) {
  if (!argument.starts_with("--" + name + "=")) return false;
  value = argument.substr(name.size() + 3);
  return true;
}

std::vector<support::Mounter> ParseMounters(const std::string& list) {
  std::vector<support::Mounter> mounters;
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');) {
    mounters.push_back(Must(support::ParseMounter(name)));
  }
  return mounters;
}

// False for an argument nobody knows.
bool ParseFlag(const std::string& argument) {
  std::string value;
  const auto number = [&argument, &value](const std::string& name, auto& target) {
    return TakeFlag(argument, name, value) &&
           std::from_chars(value.data(), value.data() + value.size(), target).ec == std::errc();
  };
  if (number("seed", flags.seed) || number("sequences", flags.sequences) ||
      number("ops", flags.operations) || number("seconds", flags.seconds) ||
      number("per-mount", flags.per_mount) || TakeFlag(argument, "replay", flags.replay) ||
      TakeFlag(argument, "out", flags.out) || TakeFlag(argument, "copyup", flags.runner.copy_up) ||
      TakeFlag(argument, "passthrough", flags.runner.passthrough)) {
    return true;
  }
  if (TakeFlag(argument, "mounter", value)) {
    flags.runner.mounter = Must(support::ParseMounter(value));
  } else if (TakeFlag(argument, "remount", value)) {
    flags.runner.remounts = ParseMounters(value);
  } else if (TakeFlag(argument, "disk", value)) {
    flags.disk = Must(support::ParseFilesystem(value));
  } else if (argument == "--chain") {
    flags.runner.chain = true;
  } else if (argument == "--diff") {
    flags.runner.diff = true;
  } else if (TakeFlag(argument, "option", value)) {
    flags.runner.mount_options.push_back(value);
  } else {
    return false;
  }
  return true;
}

int Main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::signal(SIGPIPE, SIG_IGN);  // sequences write to fifos without readers
  flags.seed = std::random_device()();
  if (const char* seed = std::getenv("STRATA_SEED")) flags.seed = std::strtoull(seed, nullptr, 10);
  flags.runner.mounter = support::DefaultMounter();
  flags.runner.remounts = {flags.runner.mounter, support::Mounter::kOverlay};
  for (int i = 1; i < argc; ++i) {
    if (!ParseFlag(argv[i])) {
      std::cerr << "union_model_test: unknown argument " << argv[i] << '\n';
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace strata::property

int main(int argc, char** argv) { return strata::property::Main(argc, argv); }
