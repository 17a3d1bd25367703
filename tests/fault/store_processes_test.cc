// Several processes work on one store and are killed wherever they are; whoever goes on with it
// finds it whole, and nothing of theirs is left.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/try.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/gc/collector.h"
#include "layerstore/import/import.h"
#include "layerstore/meta/database.h"
#include "layerstore/save/save.h"
#include "tests/support/process.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::ChildProcess;
using support::Must;
using support::TarBuilder;
using Random = std::mt19937_64;
using Clock = std::chrono::steady_clock;

constexpr int kProcesses = 4;
constexpr auto kTime = std::chrono::seconds(15);
constexpr auto kPatience = std::chrono::seconds(60);
constexpr std::array kNames = {"one:1", "one:2", "two:1", "two:2", "three:1"};

std::uint64_t Pick(Random& random, std::uint64_t below) {
  return std::uniform_int_distribution<std::uint64_t>(0, below - 1)(random);
}

std::string Bytes(Random& random, std::size_t count) {
  std::string bytes(count, '\0');
  std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
  return bytes;
}

// What the processes bring in: archives whose images share layers, and layers that share files.
std::vector<std::string> MakeArchives(Random& random) {
  constexpr std::size_t kFile = std::size_t{64} * 1024;
  const std::string shared = Bytes(random, kFile);
  std::vector<std::string> layers;
  for (int i = 0; i < 5; ++i) {
    layers.push_back(TarBuilder()
                         .AddFile("shared", shared)
                         .AddFile("own-" + std::to_string(i), Bytes(random, kFile))
                         .AddFile("dir/.wh.gone-" + std::to_string(i), "")
                         .Finish());
  }
  std::vector<std::string> archives;
  for (std::size_t top = 1; top < layers.size(); ++top) {
    ImageConfig config;
    config.platform = HostPlatform();
    config.diff_ids = {Digest::Of(layers[0]), Digest::Of(layers[top])};
    archives.push_back(
        TarBuilder()
            .AddFile("manifest.json", R"([{"Config":"config.json","RepoTags":[],)"
                                      R"("Layers":["base.tar","top.tar"]}])")
            .AddFile("config.json", config.ToJson())
            .AddFile("base.tar", top % 2 == 0 ? support::Gzip(layers[0]) : layers[0])
            .AddFile("top.tar", top % 2 == 0 ? support::Gzip(layers[top]) : layers[top])
            .Finish());
  }
  return archives;
}

// One process: does this and that until it is killed, or for `steps` steps.
class Worker {
 public:
  Worker(Store& store, const std::vector<std::string>& archives, std::uint64_t seed)
      : store_(store), archives_(archives), random_(seed) {}

  Result<> Run(std::uint64_t steps) {
    using Step = Result<> (Worker::*)();
    constexpr std::array<std::pair<Step, const char*>, 8> kSteps = {{
        {&Worker::Import, "import"},
        {&Worker::Import, "import"},
        {&Worker::Tag, "tag"},
        {&Worker::Remove, "remove"},
        {&Worker::Collect, "collect"},
        {&Worker::Save, "save"},
        {&Worker::MakeChain, "chain"},
        {&Worker::Check, "check"},
    }};
    for (std::uint64_t step = 0; step < steps; ++step) {
      const auto& [run, name] = kSteps[Pick(random_, kSteps.size())];
      auto done = (this->*run)();
      // Another process may have removed what it works on.
      if (done || done.error().code() == ENOENT) continue;
      return std::unexpected(std::move(done).error().WithContext(name));
    }
    return {};
  }

 private:
  std::string AnyName() { return kNames[Pick(random_, kNames.size())]; }

  Result<> Import() {
    const std::string& archive = archives_[Pick(random_, archives_.size())];
    std::size_t at = 0;
    ImportOptions options;
    options.accept = ImportOptions::Accept::kArchive;
    options.name = Must(Reference::Parse(AnyName()));
    auto imported = ImportStream(
        store_,
        [&](std::span<std::byte> buffer) -> Result<std::size_t> {
          const std::size_t count = std::min(buffer.size(), archive.size() - at);
          std::copy_n(reinterpret_cast<const std::byte*>(archive.data()) + at, count,
                      buffer.begin());
          at += count;
          return count;
        },
        options);
    // What is brought in is held until it is there: nobody can take it away.
    if (!imported) return Fail(EIO, "import", imported.error().ToString());
    return {};
  }

  Result<> Tag() {
    STRATA_TRY_ASSIGN(const Image image, store_.images().Resolve(AnyName()));
    return store_.images().Tag(image.id, Must(Reference::Parse(AnyName())));
  }

  Result<> Remove() {
    STRATA_TRY(store_.images().Remove(AnyName(), false));
    return Collect();
  }

  Result<> Collect() {
    STRATA_TRY(Prune(store_, {}));
    return {};
  }

  Result<> Save() {
    const std::vector<std::string> names = {AnyName()};
    STRATA_TRY_ASSIGN(const auto saved, SavedImages::Prepare(store_, names, {}));
    return saved->Write([](std::string_view) -> Result<> { return {}; });
  }

  Result<> MakeChain() {
    STRATA_TRY_ASSIGN(const Image image, store_.images().Resolve(AnyName()));
    STRATA_TRY(store_.chains().Ensure(image.diff_ids));
    return {};
  }

  Result<> Check() {
    std::string damage;
    STRATA_TRY(CheckStore(store_, {}, [&](const Finding& finding) {
      if (!Harmless(finding.kind)) damage += finding.ToString() + '\n';
    }));
    if (damage.empty()) return {};
    return Fail(EBADMSG, "check", damage);
  }

  Store& store_;
  const std::vector<std::string>& archives_;
  Random random_;
};

class StoreProcessesTest : public StoreTest {
 protected:
  StoreProcessesTest() {
    store_.reset();
    const char* given = std::getenv("STRATA_SEED");
    const std::uint64_t seed =
        given != nullptr
            ? std::strtoull(given, nullptr, 10)
            : static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed());
    std::printf("STRATA_SEED=%llu\n", static_cast<unsigned long long>(seed));
    random_.seed(seed);
    archives_ = MakeArchives(random_);
  }

  ChildProcess Start() {
    const std::uint64_t seed = random_();
    return Must(ChildProcess::Fork([&, seed]() -> int {
      auto store = Store::Open({.root = root_, .delete_in_background = seed % 2 == 0});
      if (!store) return Report(store.error());
      auto done = Worker(**store, archives_, seed).Run(kSteps);
      return done ? 0 : Report(done.error());
    }));
  }

  static int Report(const Error& error) {
    std::fprintf(stderr, "process %d: %s\n", ::getpid(), error.ToString().c_str());
    return 1;
  }

  static constexpr std::uint64_t kSteps = 400;
  Random random_;
  std::vector<std::string> archives_;
};

TEST_F(StoreProcessesTest, KilledAnywhereTheyLeaveTheStoreWhole) {
  std::vector<ChildProcess> processes(kProcesses);
  int killed = 0;
  for (const auto end = Clock::now() + kTime; Clock::now() < end;) {
    for (ChildProcess& process : processes) {
      if (process.Running()) continue;
      ASSERT_LE(process.exit_code(), 0);  // -1: not started yet
      process = Start();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + Pick(random_, 300)));
    ChildProcess& victim = processes[Pick(random_, processes.size())];
    if (!victim.Running()) continue;
    Must(victim.Signal(SIGKILL));
    const int code = Must(victim.Wait(kPatience));
    ASSERT_TRUE(code == 128 + SIGKILL || code == 0) << code;  // it may have just come to its end
    victim = Start();
    if (code != 0) ++killed;
  }
  for (ChildProcess& process : processes) process.Kill();
  EXPECT_GT(killed, 10);

  Reopen();
  ExpectNoLeftovers();
  Must(Collect(*store_));
  ExpectNoLeftovers();
  Must(CheckStore(*store_, {.depth = CheckOptions::Depth::kDeep},
                  [](const Finding& finding) { ADD_FAILURE() << finding.ToString(); }));
  Must(store_->database()->Read([](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement leases, connection.Prepare("SELECT COUNT(*) FROM leases"));
    STRATA_TRY_ASSIGN(const bool row, leases.Step());
    EXPECT_TRUE(row);
    EXPECT_EQ(leases.Integer(0), 0);
    return {};
  }));
  // And it works on.
  EXPECT_TRUE(Succeeds(Worker(*store_, archives_, random_()).Run(20)));
  Must(Prune(*store_, {.images = {.all = true}}));
  for (const char* directory : {"layers/sha256", "blobs/sha256", "chains/sha256"}) {
    EXPECT_TRUE(Names(root_ + '/' + directory).empty()) << directory;
  }
  ExpectNoLeftovers();
}

}  // namespace
}  // namespace strata::layerstore
