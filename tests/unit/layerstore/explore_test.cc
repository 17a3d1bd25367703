// Which layer brought, replaced and hid what, of layers made by hand; and sums of random ones
// against the merge that containers see.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/remove_tree.h"
#include "layerstore/explore/layer_report.h"
#include "layerstore/explore/path_history.h"
#include "layerstore/index/metadata_index.h"
#include "tests/property/generator.h"
#include "tests/property/layer_builder.h"
#include "tests/support/chain_index.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::layerstore {
namespace {

using support::MakeDir;
using support::MakeWhiteout;
using support::Must;
using support::MustCall;
using support::WriteFile;
using testing::ElementsAre;
using testing::IsEmpty;
using How = WastedFile::How;

constexpr time_t kTime = 1'700'000'000;

class ExploreTest : public ::testing::Test {
 protected:
  // A new layer on top; what is written goes there.
  void NewLayer() { MakeDir(Layer(count_++)); }
  std::string Layer(int number) const { return temp_.At("l" + std::to_string(number)); }
  std::string At(const std::string& path) const { return Layer(count_ - 1) + "/" + path; }

  void Dir(const std::string& path) { std::filesystem::create_directories(At(path)); }
  void File(const std::string& path, std::size_t size, time_t time = kTime, mode_t mode = 0644) {
    WriteFile(At(path), std::string(size, 'x'), mode);
    SetTime(path, time);
  }
  void SetTime(const std::string& path, time_t time) {
    const struct timespec times[2] = {{time, 0}, {time, 0}};
    MustCall(::utimensat(AT_FDCWD, At(path).c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat");
  }
  void Link(const std::string& from, const std::string& to) {
    std::filesystem::create_hard_link(At(from), At(to));
  }
  void Opaque(const std::string& path) { WriteFile(At(JoinPath(path, ".wh..wh..opq")), ""); }

  // `shared`: files of the layers may have inodes in common, as in a store.
  std::vector<std::shared_ptr<const MetadataIndex>> Indexes(bool shared = false) {
    std::vector<std::shared_ptr<const MetadataIndex>> indexes;
    for (int i = 0; i < count_; ++i) {
      const ScanHints hints{.will_share = shared};
      Must(support::WriteLayerIndex(Layer(i), temp_.path(), "index", hints));
      indexes.push_back(
          Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, temp_.At("index").c_str())));
      MustCall(::unlink(temp_.At("index").c_str()), "unlink");
    }
    return indexes;
  }
  ImageReport Report(bool shared = false) {
    return Must(ReportLayers(Indexes(shared), {.largest = 100}));
  }
  PathHistory Trace(const std::string& path) { return Must(TracePath(Indexes(), path)); }

  support::TempRoot temp_ = Must(support::TempRoot::Create());
  int count_ = 0;
};

// added, replaced, merged, hidden
using Counts = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>;
Counts CountsOf(const LayerReport& layer) {
  return {layer.added, layer.replaced, layer.merged, layer.hidden};
}

// path, size, layer, hidden by, how
using Waste = std::tuple<std::string, std::uint64_t, int, int, How>;
std::vector<Waste> WasteOf(const ImageReport& report) {
  std::vector<Waste> waste;
  for (const WastedFile& file : report.largest) {
    waste.emplace_back(file.path, file.size, file.layer, file.hidden_by, file.how);
  }
  return waste;
}

// layer, effect
std::vector<std::pair<int, Effect>> EffectsOf(const PathHistory& history) {
  std::vector<std::pair<int, Effect>> effects;
  for (const PathEvent& event : history.events) effects.emplace_back(event.layer, event.effect);
  return effects;
}

TEST_F(ExploreTest, OneLayerWastesNothing) {
  NewLayer();
  Dir("d");
  File("d/f", 10);
  File("g", 5);
  const ImageReport report = Report();
  ASSERT_EQ(report.layers.size(), 1U);
  EXPECT_EQ(CountsOf(report.layers[0]), Counts(3, 0, 0, 0));
  EXPECT_EQ(report.layers[0].entries, 3U);
  EXPECT_EQ(report.size, 15U);
  EXPECT_EQ(report.wasted, 0U);
  EXPECT_THAT(report.largest, IsEmpty());
}

TEST_F(ExploreTest, NoLayersAreNothing) {
  const ImageReport report = Report();
  EXPECT_EQ(report.size, 0U);
  EXPECT_THAT(report.layers, IsEmpty());
  const auto history = TracePath({}, "/");
  ASSERT_FALSE(history.has_value());
  EXPECT_EQ(history.error().code(), ENOENT);
}

TEST_F(ExploreTest, AWhiteoutOfAFile) {
  NewLayer();
  Dir("d");
  File("d/gone", 100);
  File("d/kept", 7);
  NewLayer();
  Dir("d");
  MakeWhiteout(At("d/gone"));
  MakeWhiteout(At("d/never-was"));
  const ImageReport report = Report();
  EXPECT_EQ(CountsOf(report.layers[1]), Counts(0, 0, 1, 1));
  EXPECT_EQ(report.layers[1].whiteouts, 2U);
  EXPECT_EQ(report.layers[1].entries, 1U);
  EXPECT_EQ(report.layers[0].wasted, 100U);
  EXPECT_EQ(report.wasted_on_disk, 100U);
  EXPECT_THAT(WasteOf(report), ElementsAre(Waste("/d/gone", 100, 0, 1, How::kHidden)));

  const PathHistory history = Trace("d/gone");
  EXPECT_THAT(EffectsOf(history),
              ElementsAre(std::pair(0, Effect::kAdded), std::pair(1, Effect::kHidden)));
  EXPECT_FALSE(history.shows());
  EXPECT_EQ(history.events[1].cause, Cause::kWhiteout);
  EXPECT_EQ(history.events[1].culprit, "/d/gone");
  const auto never = TracePath(Indexes(), "/d/never-was");
  ASSERT_FALSE(never.has_value());
  EXPECT_EQ(never.error().code(), ENOENT);
}

TEST_F(ExploreTest, AWhiteoutOfATree) {
  NewLayer();
  Dir("d/sub");
  File("d/a", 1);
  File("d/sub/b", 2);
  NewLayer();
  Dir("d/sub");
  File("d/sub/c", 4);
  NewLayer();
  MakeWhiteout(At("d"));
  NewLayer();
  Dir("d");
  File("d/a", 8);
  const ImageReport report = Report();
  EXPECT_EQ(CountsOf(report.layers[0]), Counts(4, 0, 0, 0));
  EXPECT_EQ(CountsOf(report.layers[1]), Counts(1, 0, 2, 0));
  EXPECT_EQ(CountsOf(report.layers[2]), Counts(0, 0, 0, 5));
  EXPECT_EQ(CountsOf(report.layers[3]), Counts(2, 0, 0, 0));
  EXPECT_EQ(report.size, 15U);
  EXPECT_EQ(report.wasted, 7U);
  EXPECT_THAT(WasteOf(report), ElementsAre(Waste("/d/sub/c", 4, 1, 2, How::kHidden),
                                           Waste("/d/sub/b", 2, 0, 2, How::kHidden),
                                           Waste("/d/a", 1, 0, 2, How::kHidden)));

  const PathHistory history = Trace("/d/sub/b");
  ASSERT_THAT(EffectsOf(history),
              ElementsAre(std::pair(0, Effect::kAdded), std::pair(2, Effect::kHidden)));
  EXPECT_EQ(history.events[1].cause, Cause::kWhiteout);
  EXPECT_EQ(history.events[1].culprit, "/d");
  EXPECT_THAT(EffectsOf(Trace("/d/a")),
              ElementsAre(std::pair(0, Effect::kAdded), std::pair(2, Effect::kHidden),
                          std::pair(3, Effect::kAdded)));
}

TEST_F(ExploreTest, AnOpaqueDirectory) {
  NewLayer();
  Dir("d/sub");
  File("d/again", 1);
  File("d/sub/f", 2);
  NewLayer();
  Dir("d");
  Opaque("d");
  File("d/again", 4, kTime + 1);
  const ImageReport report = Report();
  EXPECT_EQ(CountsOf(report.layers[1]), Counts(0, 2, 0, 2));  // d and again; sub and f
  EXPECT_EQ(report.wasted, 3U);
  EXPECT_THAT(WasteOf(report), ElementsAre(Waste("/d/sub/f", 2, 0, 1, How::kHidden),
                                           Waste("/d/again", 1, 0, 1, How::kReplaced)));
  const PathHistory history = Trace("/d/sub/f");
  EXPECT_EQ(history.events.back().cause, Cause::kOpaque);
  EXPECT_EQ(history.events.back().culprit, "/d");
  const PathHistory again = Trace("/d/again");
  EXPECT_EQ(again.events.back().effect, Effect::kReplaced);
  EXPECT_EQ(again.events.back().cause, Cause::kOpaque);
}

TEST_F(ExploreTest, AnOpaqueRoot) {
  NewLayer();
  Dir("d");
  File("d/f", 3);
  File("g", 5);
  NewLayer();
  Opaque("");
  Dir("d");
  File("d/new", 7);
  const ImageReport report = Report();
  EXPECT_EQ(CountsOf(report.layers[1]), Counts(1, 1, 0, 2));
  EXPECT_EQ(report.wasted, 8U);
  const PathHistory history = Trace("/g");
  EXPECT_EQ(history.events.back().cause, Cause::kOpaque);
  EXPECT_EQ(history.events.back().culprit, "/");
  const PathHistory root = Trace("/");
  EXPECT_TRUE(root.is_directory);
  ASSERT_EQ(root.children.size(), 2U);
  EXPECT_EQ(root.children[0].name, "d");
  EXPECT_EQ(root.children[1].hidden_by, 1);
}

TEST_F(ExploreTest, AFileInPlaceOfADirectoryAndBack) {
  NewLayer();
  Dir("d/sub");
  File("d/sub/f", 16);
  NewLayer();
  File("d", 2);
  NewLayer();
  Dir("d");
  File("d/g", 4);
  const ImageReport report = Report();
  EXPECT_EQ(CountsOf(report.layers[1]), Counts(0, 1, 0, 2));
  EXPECT_EQ(CountsOf(report.layers[2]), Counts(1, 1, 0, 0));
  EXPECT_THAT(WasteOf(report), ElementsAre(Waste("/d/sub/f", 16, 0, 1, How::kHidden),
                                           Waste("/d", 2, 1, 2, How::kReplaced)));
  const PathHistory below = Trace("/d/sub/f");
  EXPECT_EQ(below.events.back().cause, Cause::kNotDirectory);
  EXPECT_EQ(below.events.back().culprit, "/d");
  const PathHistory history = Trace("/d");
  EXPECT_THAT(EffectsOf(history),
              ElementsAre(std::pair(0, Effect::kAdded), std::pair(1, Effect::kReplaced),
                          std::pair(2, Effect::kReplaced)));
  EXPECT_EQ(history.events[1].difference, Difference::kType);
  EXPECT_TRUE(history.is_directory);
  ASSERT_EQ(history.children.size(), 2U);
  EXPECT_EQ(history.children[0].name, "g");
  EXPECT_EQ(history.children[1].name, "sub");  // of the directory that was there first
  EXPECT_EQ(history.children[1].hidden_by, 1);
}

TEST_F(ExploreTest, LinksOfALayerAreOneContent) {
  NewLayer();
  File("a", 100);
  Link("a", "b");
  File("c", 10);
  Link("c", "d");
  NewLayer();
  MakeWhiteout(At("a"));
  MakeWhiteout(At("c"));
  ImageReport report = Report();
  EXPECT_EQ(report.layers[0].size, 110U);
  EXPECT_EQ(report.wasted, 0U);  // b and d still show
  NewLayer();
  File("b", 1);
  report = Report();
  EXPECT_EQ(report.layers[0].wasted, 100U);
  EXPECT_EQ(report.wasted_files, 1U);
  EXPECT_EQ(report.largest[0].hidden_by, 2);
  EXPECT_EQ(report.largest[0].how, How::kReplaced);
}

TEST_F(ExploreTest, TheSameFileAgainIsWastedButMayBeStoredOnce) {
  NewLayer();
  File("same", 1000);
  File("copy", 10);
  NewLayer();
  std::filesystem::create_hard_link(Layer(0) + "/same", At("same"));
  File("copy", 10);
  const ImageReport report = Report(true);
  EXPECT_EQ(report.layers[1].replaced, 2U);
  EXPECT_EQ(report.layers[1].unchanged, 2U);
  EXPECT_EQ(report.wasted, 1010U);
  EXPECT_EQ(report.wasted_on_disk, 10U);
  EXPECT_THAT(WasteOf(report), ElementsAre(Waste("/same", 1000, 0, 1, How::kUnchanged),
                                           Waste("/copy", 10, 0, 1, How::kUnchanged)));
}

TEST_F(ExploreTest, WastedTwiceButStoredOnceTakesItsRoomOnce) {
  NewLayer();
  File("a", 1000);
  NewLayer();
  std::filesystem::create_hard_link(Layer(0) + "/a", At("b"));
  NewLayer();
  MakeWhiteout(At("a"));
  MakeWhiteout(At("b"));
  const ImageReport report = Report(true);
  EXPECT_EQ(report.wasted, 2000U);
  EXPECT_EQ(report.wasted_on_disk, 1000U);
}

TEST_F(ExploreTest, TellsMetadataFromContent) {
  NewLayer();
  File("mode", 10);
  File("owner", 10);
  File("touched", 10);
  File("grown", 10);
  MustCall(::symlink("to", At("link").c_str()), "symlink");
  Dir("d");
  NewLayer();
  File("mode", 10, kTime, 0755);
  File("owner", 10);
  MustCall(::chown(At("owner").c_str(), 5, 6), "chown");
  File("touched", 10, kTime + 1);
  File("grown", 11);
  MustCall(::symlink("elsewhere", At("link").c_str()), "symlink");
  Dir("d");
  MustCall(::chmod(At("d").c_str(), 0700), "chmod");
  EXPECT_EQ(Trace("mode").events.back().difference, Difference::kMetadata);
  EXPECT_EQ(Trace("owner").events.back().difference, Difference::kMetadata);
  EXPECT_EQ(Trace("touched").events.back().difference, Difference::kContent);
  EXPECT_EQ(Trace("grown").events.back().difference, Difference::kContent);
  EXPECT_EQ(Trace("link").events.back().difference, Difference::kContent);
  EXPECT_EQ(Trace("link").events.back().target, "elsewhere");
  const PathHistory directory = Trace("d");
  EXPECT_EQ(directory.events.back().effect, Effect::kMerged);
  EXPECT_EQ(directory.events.back().difference, Difference::kMetadata);
  for (const WastedFile& file : Report().largest) {
    const bool kept = file.path == "/mode" || file.path == "/owner";
    EXPECT_EQ(file.how, kept ? How::kNewMetadata : How::kReplaced) << file.path;
  }
}

TEST_F(ExploreTest, ListsADirectoryWithWhoBroughtWhat) {
  NewLayer();
  Dir("etc/a");
  File("etc/gone", 1);
  File("etc/old", 1);
  NewLayer();
  Dir("etc/a");
  File("etc/old", 2);
  File("etc/new", 3);
  MakeWhiteout(At("etc/gone"));
  const PathHistory history = Trace("//etc/./");
  EXPECT_EQ(history.path, "/etc");
  std::vector<std::string> names;
  for (const ChildHistory& child : history.children) names.push_back(child.name);
  ASSERT_THAT(names, ElementsAre("a", "gone", "new", "old"));
  const auto& [a, gone, added, old] =
      std::tie(history.children[0], history.children[1], history.children[2], history.children[3]);
  EXPECT_EQ(a.added_by, 0);
  EXPECT_EQ(a.replaced_by, std::nullopt);
  EXPECT_EQ(gone.hidden_by, 1);
  EXPECT_EQ(gone.attr.st_size, 1);
  EXPECT_EQ(added.added_by, 1);
  EXPECT_EQ(old.added_by, 0);
  EXPECT_EQ(old.replaced_by, 1);
  EXPECT_EQ(old.attr.st_size, 2);
}

TEST_F(ExploreTest, SaysWhyAPathIsNotThere) {
  NewLayer();
  Dir("usr/lib");
  MustCall(::symlink("usr/lib", At("lib").c_str()), "symlink");
  const auto error = [&](const char* path) {
    const auto history = TracePath(Indexes(), path);
    return history ? std::pair(0, std::string())
                   : std::pair(history.error().code(), std::string(history.error().detail()));
  };
  EXPECT_EQ(error("/nope/at/all"), std::pair(ENOENT, std::string("no layer has \"/nope/at/all\"")));
  EXPECT_EQ(error("/lib/x"), std::pair(ENOENT, std::string("no layer has \"/lib/x\"; \"/lib\" is a "
                                                           "symbolic link to \"usr/lib\"")));
  EXPECT_EQ(error("/usr/../lib").first, EINVAL);
}

TEST_F(ExploreTest, MarksThatNoImageHasAreRefused) {
  NewLayer();
  Dir("d");
  MustCall(::setxattr(At("d").c_str(), "trusted.overlay.redirect", "/from", 5, 0), "setxattr");
  const auto report = ReportLayers(Indexes());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ENOTSUP);
}

// --- random layers ------------------------------------------------------------------------------

// An image's layers have no redirects: a tar can not bring any.
void DropRedirects(const std::string& layer) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(layer)) {
    if (entry.is_symlink() || !entry.is_directory()) continue;
    if (::lremovexattr(entry.path().c_str(), "trusted.overlay.redirect") != 0 && errno != ENODATA) {
      MustCall(-1, "lremovexattr");
    }
  }
}

struct Shown {
  std::uint64_t names = 0;
  std::uint64_t bytes = 0;
};

// What the merged index shows.
Shown Sum(const MetadataIndex& chain) {
  Shown shown;
  std::set<std::tuple<std::uint16_t, bool, std::uint64_t>> counted;
  for (MetadataIndex::Number number = 1; number < chain.entries(); ++number) {
    const MetadataIndex::Entry entry = Must(chain.At(number));
    ++shown.names;
    if (!S_ISREG(entry.attr.st_mode)) continue;
    const std::tuple file(entry.layer, entry.identity.has_value(),
                          entry.identity ? *entry.identity : entry.attr.st_ino);
    if (counted.insert(file).second) shown.bytes += static_cast<std::uint64_t>(entry.attr.st_size);
  }
  return shown;
}

TEST_F(ExploreTest, SumsOfRandomLayersAreThoseOfTheirMerge) {
  const char* given = std::getenv("STRATA_SEED");
  const std::uint64_t first = given == nullptr ? 20261130 : std::strtoull(given, nullptr, 10);
  for (std::uint64_t seed = first; seed < first + 60; ++seed) {
    SCOPED_TRACE("STRATA_SEED=" + std::to_string(seed));
    const auto sequence =
        property::Generate(seed, {.layers = static_cast<int>(seed % 6 + 1), .operations = 0});
    std::vector<std::string> layers;
    for (const auto& commands : sequence.layers) {
      NewLayer();
      Must(property::BuildLayer(Layer(count_ - 1), "t", commands));
      DropRedirects(Layer(count_ - 1));
      layers.insert(layers.begin(), Layer(count_ - 1));
    }
    MakeDir(temp_.At("chain"));
    Must(support::WriteChainIndex(layers, temp_.At("chain")));
    const auto chain =
        Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, temp_.At("chain/index").c_str()));
    const Shown shown = Sum(*chain);
    const ImageReport report = Report();
    std::uint64_t added = 0;
    std::uint64_t hidden = 0;
    std::uint64_t wasted = 0;
    for (const LayerReport& layer : report.layers) {
      added += layer.added;
      hidden += layer.hidden;
      wasted += layer.wasted;
      EXPECT_EQ(layer.entries, layer.added + layer.replaced + layer.merged);
    }
    EXPECT_EQ(added - hidden, shown.names);
    EXPECT_EQ(report.size - report.wasted, shown.bytes);
    EXPECT_EQ(wasted, report.wasted);
    for (const std::string& layer : layers) Must(support::RemoveTree(layer));
    Must(support::RemoveTree(temp_.At("chain")));
    count_ = 0;
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace strata::layerstore
