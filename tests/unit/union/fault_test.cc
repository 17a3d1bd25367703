// Every file system call of an operation fails in turn. What the union shows afterwards, and after
// a remount, is the state before or the state after, and nothing is left in the work directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>

#include "base/fault_file_ops.h"
#include "tests/unit/union/union_fixture.h"

namespace strata::fusefs {
namespace {

using support::Must;

struct Case {
  const char* name;
  std::function<Result<>(UnionDriver&)> run;
};

void Populate(LayerDirs& layers) {
  layers.File(1, "d/f", "lower");
  layers.File(1, "d/g", "other");
  layers.File(1, "e/deep/x", "x");
  layers.Dir(1, "empty");
  layers.File(1, "d/big", std::string(20000, 'b'));
  support::MustCall(::link(layers.Path(1, "d/f").c_str(), layers.Path(1, "hard").c_str()), "link");
}

// Path and content of everything the union shows.
std::string Show(UnionDriver& fs, const std::string& path = "") {
  std::string text;
  for (const std::string& name : fs.List(path)) {
    const std::string child = path.empty() ? name : path + "/" + name;
    const struct stat st = Must(fs.Stat(child));
    text += child;
    if (S_ISDIR(st.st_mode)) {
      text += "/\n" + Show(fs, child);
    } else {
      text += " " + std::to_string(st.st_mode) + " " + Must(fs.Read(child)) + "\n";
    }
  }
  return text;
}

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {"append", [](UnionDriver& fs) { return fs.Append("d/f", "+"); }},
      {"chmod", [](UnionDriver& fs) { return fs.Chmod("d/g", 0600); }},
      {"unlink", [](UnionDriver& fs) { return fs.Unlink("d/g"); }},
      {"unlink of a link group", [](UnionDriver& fs) { return fs.Unlink("hard"); }},
      {"rmdir", [](UnionDriver& fs) { return fs.RemoveDir("empty"); }},
      {"create", [](UnionDriver& fs) { return fs.MakeDir("d/new"); }},
      {"rename file", [](UnionDriver& fs) { return fs.Rename("d/g", "e/g"); }},
      {"rename over", [](UnionDriver& fs) { return fs.Rename("d/g", "d/f"); }},
      {"rename directory", [](UnionDriver& fs) { return fs.Rename("e", "d/e"); }},
      {"exchange", [](UnionDriver& fs) { return fs.Rename("d", "e", RENAME_EXCHANGE); }},
      {"link", [](UnionDriver& fs) { return fs.Link("d/g", "e/g2"); }},
      {"chmod of a large file", [](UnionDriver& fs) { return fs.Chmod("d/big", 0600); }},
      {"append to a large file", [](UnionDriver& fs) { return fs.Append("d/big", "+"); }},
      {"rename of a large file", [](UnionDriver& fs) { return fs.Rename("d/big", "e/big"); }},
      {"truncation of a large file",
       [](UnionDriver& fs) { return fs.Write("d/big", "", O_WRONLY | O_TRUNC); }},
  };
  return cases;
}

// Whose calls come in the same order every time.
EngineOptions Sequential(const LayerDirs& layers) {
  EngineOptions options = layers.Options();
  options.walk_ahead_threads = 0;
  options.metacopy_threshold = 8192;
  options.copy_up_threshold = 8192;
  return options;
}

class FaultTest : public testing::TestWithParam<int> {};

// Calls that only look, or whose failure the engine answers by another way, may still let the
// operation succeed.
TEST_P(FaultTest, OldStateOrNewState) {
  const Case& c = Cases()[static_cast<std::size_t>(GetParam())];
  std::string before;
  std::string after;
  std::uint64_t total = 0;
  std::uint64_t first = 0;
  {
    LayerDirs layers(1);
    Populate(layers);
    FaultFileOps counting(FileOps::System(), [](const FaultFileOps::Call&) { return 0; });
    UnionDriver fs(Sequential(layers), counting);
    before = Show(fs);
    first = counting.calls();
    Must(c.run(fs));
    total = counting.calls() - first;
    after = Show(fs);
  }
  ASSERT_GT(total, 0U);
  for (std::uint64_t at = 0; at < total; ++at) {
    LayerDirs layers(1);
    Populate(layers);
    std::string failed;
    {
      FaultFileOps faulty(FileOps::System(), [&](const FaultFileOps::Call& call) {
        if (call.number != first + at) return 0;
        failed = call.name;
        return EIO;
      });
      UnionDriver fs(Sequential(layers), faulty);
      ASSERT_EQ(Show(fs), before);
      const auto done = c.run(fs);
      const std::string shown = Show(fs);
      EXPECT_TRUE(shown == before || shown == after)
          << c.name << ", call " << at << " (" << failed << ")\n"
          << shown;
      if (done) {
        EXPECT_EQ(shown, after) << c.name << ", call " << at << " (" << failed << ")";
      }
    }
    UnionDriver fs(layers.Options());
    const std::string shown = Show(fs);
    EXPECT_TRUE(shown == before || shown == after)
        << "after remount: " << c.name << ", call " << at << " (" << failed << ")\n"
        << shown;
    // Only the whiteout inode is kept there.
    EXPECT_LE(std::distance(std::filesystem::directory_iterator(layers.Work() + "/work"), {}), 1);
  }
}

// As readdirplus does. Everything listed is forgotten again.
Result<std::vector<std::string>> ListWithAttributes(UnionDriver& fs, NodeId dir) {
  std::vector<std::string> names;
  std::vector<NodeId> nodes;
  auto listed = fs.engine().List(dir, 0, true, [&](const ListedEntry& entry) {
    names.emplace_back(entry.name);
    if (entry.entry != nullptr) nodes.push_back(entry.entry->node);
    return true;
  });
  for (const NodeId node : nodes) fs.engine().Forget(node, 1);
  if (!listed) return std::unexpected(std::move(listed).error());
  std::ranges::sort(names);
  return names;
}

// A listing fails, or has all names: also of what the kernel knows already, and of what it does
// not. And what failed leaves nothing behind that shows in the next one.
TEST(ListingFaultTest, NoNameIsLeftOut) {
  const std::vector<std::string> all{".", "..", "known", "new", "stranger"};
  const auto populate = [](LayerDirs& layers) {
    layers.File(1, "d/known", "k");
    layers.File(1, "d/stranger", "s");
    layers.Whiteout(1, "d/gone");
    layers.File(2, "d/gone", "g");
    layers.File(2, "d/new", "n");
  };
  for (const bool known : {false, true}) {
    bool reached = true;
    int listed_broken = 0;
    for (std::uint64_t at = 0; reached; ++at) {
      const std::string where = "call " + std::to_string(at) + (known ? ", known: " : ": ");
      LayerDirs layers(2);
      populate(layers);
      std::optional<std::uint64_t> hit;
      std::string failed;
      FaultFileOps faulty(FileOps::System(), [&](const FaultFileOps::Call& call) {
        if (call.number != hit) return 0;
        failed = call.name;
        return EIO;
      });
      UnionDriver fs(Sequential(layers), faulty);
      const EntryReply dir = Must(fs.Walk("d"));
      if (known) Must(fs.Walk("d/known"));  // which loads the directory's names
      hit = faulty.calls() + at;
      const auto names = ListWithAttributes(fs, dir.node);
      hit.reset();
      reached = !failed.empty();
      if (names) {
        EXPECT_EQ(*names, all) << where << failed;
        if (reached) ++listed_broken;
      }
      EXPECT_EQ(Must(ListWithAttributes(fs, dir.node)), all) << where << failed;
      Must(fs.MakeDir("d/gone"));
      Must(fs.RemoveDir("d/gone"));
      EXPECT_FALSE(layers.Exists(0, "d/gone")) << where << failed << ": no whiteout is needed";
    }
    EXPECT_GT(listed_broken, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Operations, FaultTest,
                         testing::Range(0, static_cast<int>(Cases().size())));

}  // namespace
}  // namespace strata::fusefs
