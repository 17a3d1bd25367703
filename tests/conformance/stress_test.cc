// Many processes in one tree of a mount: creating, renaming, linking, deleting, mapping, copying
// up. What each of them knows of its own names, and what must hold of the shared ones, is compared
// with the tree at the end; after a remount; and under kernel overlayfs.
//
//   conformance_stress_test [--seconds=N] [--seed=N]
#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/conformance/posix/world.h"
#include "tests/conformance/stress/worker.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"

namespace strata::conformance {
namespace {

using support::Must;
using support::TempRoot;
using support::UnionMount;

constexpr int kWorkers = 6;

int seconds_in_all = 6;
std::uint64_t seed = 1;

// A worker's journal as a file: the parent reads it when the worker has ended.
void Save(const Journal& journal, const std::string& path) {
  std::ofstream out(path);
  out << journal.steps << '\n' << journal.failure << '\n';
  for (const long count : journal.appended) out << count << ' ';
  out << '\n';
  for (const auto& [name, line] : journal.model.Lines()) out << name << '\t' << line << '\n';
}

class Stress : public ::testing::TestWithParam<const Variant*> {
 protected:
  std::string At(const std::string& name) const { return root_.At(name); }

  void SetUp() override {
    if (support::LacksDefaultTransport()) GTEST_SKIP() << support::kNoUring;
    for (const char* dir : {"base", "top", "upper", "work", "mnt"}) Must(root_.MakeDir(dir));
    for (int i = 0; i < kSharedDirs; ++i) {
      for (const char* layer : {"base/d", "top/d"}) {
        Must(root_.MakeDir(layer + std::to_string(i)));
      }
    }
    for (int i = 0; i < kSharedFiles; ++i) {
      support::WriteFile(At("base/shared" + std::to_string(i)), std::string(kRecordSize, '-'));
    }
    for (int worker = 0; worker < kWorkers; ++worker) {
      const Model model = InitialModel(worker);
      WriteModel(model, At(worker % 2 == 0 ? "base" : "top"));
      expected_.merge(model.Lines());
    }
  }

  support::UnionSpec Spec() const {
    support::UnionSpec spec = {.lower = {At("top"), At("base")},
                               .upper = At("upper"),
                               .work = At("work"),
                               .mount_point = At("mnt"),
                               .copy_up = std::string(GetParam()->copy_up),
                               .passthrough = std::string(GetParam()->passthrough)};
    if (!GetParam()->options.empty()) spec.options = {std::string(GetParam()->options)};
    return spec;
  }

  // Runs the workers and takes their journals in.
  void RunWorkers() {
    const auto length = std::chrono::milliseconds(1000 * seconds_in_all / 2);
    const auto deadline = std::chrono::steady_clock::now() + length;
    std::vector<support::ChildProcess> children;
    for (int worker = 0; worker < kWorkers; ++worker) {
      children.push_back(Must(support::ChildProcess::Fork([&, worker] {
        const Journal journal = Work(At("mnt"), worker, seed, deadline);
        Save(journal, At("journal" + std::to_string(worker)));
        return journal.failure.empty() ? 0 : 1;
      })));
    }
    for (auto& child : children) {
      EXPECT_EQ(Must(child.Wait(length + std::chrono::seconds(120))), 0);
    }
    expected_.clear();
    for (int worker = 0; worker < kWorkers; ++worker) ReadJournal(worker);
  }

  void ReadJournal(int worker) {
    std::ifstream in(At("journal" + std::to_string(worker)));
    std::string line;
    ASSERT_TRUE(std::getline(in, line));
    steps_ += std::stol(line);
    ASSERT_TRUE(std::getline(in, line));
    EXPECT_EQ(line, "");
    ASSERT_TRUE(std::getline(in, line));
    std::istringstream counts(line);
    for (int i = 0; i < kSharedFiles; ++i) {
      long count = 0;
      counts >> count;
      for (long n = 0; n < count; ++n) records_[i].insert(Record(worker, n));
    }
    while (std::getline(in, line)) {
      const std::size_t tab = line.find('\t');
      expected_[line.substr(0, tab)] = line.substr(tab + 1);
    }
  }

  void ExpectOutcome(const char* when) {
    const auto got = LinesOf(At("mnt"));
    int shown = 0;
    for (const auto& [path, line] : expected_) {
      const auto found = got.find(path);
      if ((found == got.end() || found->second != line) && shown++ < 10) {
        ADD_FAILURE() << when << ": " << path << "\n  expected: " << line
                      << "\n  got:      " << (found == got.end() ? "nothing" : found->second);
      }
    }
    for (const auto& [path, line] : got) {
      if (!expected_.contains(path) && shown++ < 10) {
        ADD_FAILURE() << when << ": " << path << " should not be there: " << line;
      }
    }
    for (int i = 0; i < kSharedFiles; ++i) {
      const std::string all = support::ReadFile(At("mnt/shared" + std::to_string(i)));
      std::multiset<std::string> records;
      for (std::size_t at = kRecordSize; at < all.size(); at += kRecordSize) {
        records.insert(all.substr(at, kRecordSize));
      }
      EXPECT_TRUE(records == records_[i]) << when << ": shared" << i << " holds " << records.size()
                                          << " records, " << records_[i].size() << " were appended";
    }
  }

  const TempRoot root_ = Must(TempRoot::Create());
  std::map<std::string, std::string> expected_;
  std::multiset<std::string> records_[kSharedFiles];
  long steps_ = 0;
};

TEST_P(Stress, EndsAsEveryProcessKnows) {
  auto mount = Must(UnionMount::Start(support::Mounter::kStratafs, Spec()));
  RunWorkers();
  std::cout << steps_ << " steps, seed " << seed << "\n";
  EXPECT_GT(steps_, 0);
  ExpectOutcome("at the end");
  Must(mount.Stop());
  mount = Must(UnionMount::Start(support::Mounter::kStratafs, Spec()));
  ExpectOutcome("after a remount");
  Must(mount.Stop());
  Must(support::FinalizeUpper(Spec()));
  support::UnionSpec plain = Spec();
  plain.options.clear();
  mount = Must(UnionMount::Start(support::Mounter::kOverlay, plain));
  ExpectOutcome("under kernel overlayfs");
  Must(mount.Stop());
}

std::string NameOf(const ::testing::TestParamInfo<const Variant*>& info) {
  std::string name(info.param->name);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Variants, Stress,
                         ::testing::Values(&Variants()[0], &Variants()[2], &Variants()[3],
                                           &Variants()[6]),
                         NameOf);

}  // namespace
}  // namespace strata::conformance

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (argument.starts_with("--seconds=")) {
      strata::conformance::seconds_in_all = std::stoi(value);
    } else if (argument.starts_with("--seed=")) {
      strata::conformance::seed = std::stoull(value);
    } else {
      std::cerr << "unknown argument " << argument << "\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
