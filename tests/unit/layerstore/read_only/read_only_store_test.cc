// A store on media that nobody can write: everything that only reads works as on its own disk, and
// nothing changes.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layerstore/fsck/checker.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/save/save.h"
#include "tests/support/sample_image.h"
#include "tests/support/test_disk.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/union_mount.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Filesystem;
using support::Must;
using support::MustCall;
using support::TestDisk;
using support::TreeSnapshot;

struct Medium {
  const char* name;
  std::optional<Filesystem> packed;  // none: the store's own filesystem, by another way to it
  bool nfs = false;                  // that way: NFS, else a read-only bind mount
};
void PrintTo(const Medium& medium, std::ostream* out) { *out << medium.name; }

// Where the directory for temporary files is to be seen over NFS: set in the machine of tests/vm.
const char* NfsMount() { return std::getenv("STRATA_TEST_NFS"); }

support::CompareRules Unchanged() {
  support::CompareRules rules;
  rules.inode_numbers = true;
  rules.holes = true;
  return rules;
}

class ReadOnlyStoreTest : public StoreTest, public ::testing::WithParamInterface<Medium> {
 protected:
  void SetUp() override {
    if (GetParam().packed && !KernelHas(*GetParam().packed)) {
      GTEST_SKIP() << "this kernel has no " << GetParam().name;
    }
    if (GetParam().nfs && NfsMount() == nullptr) GTEST_SKIP() << "tests/vm runs this";
    // Where the program makes what it can not put into the store.
    scratch_ = Must(temp_.MakeDir("scratch"));
    if (const char* before = std::getenv("TMPDIR")) temporary_ = before;
    MustCall(::setenv("TMPDIR", scratch_.c_str(), 1), "setenv");
    for (const char* name : {"app:1", "app:2"}) {
      Must(support::RemoveTree(temp_.At("trees")));
      support::PutImage(*store_, support::MakeSampleImage(Must(temp_.MakeDir("trees")), name),
                        Must(Reference::Parse(name)));
    }
    image_ = Must(store_->images().Resolve("app:1"));
  }

  void TearDown() override {
    if (scratch_.empty()) return;
    MustCall(temporary_ ? ::setenv("TMPDIR", temporary_->c_str(), 1) : ::unsetenv("TMPDIR"),
             "TMPDIR");
  }

  // squashfs keeps whole seconds, and a check says so.
  static bool IsCoarse() { return GetParam().packed == Filesystem::kSquashfs; }

  static support::CompareRules Shown() {
    support::CompareRules rules;
    if (IsCoarse()) rules.clock_since = timespec{};
    return rules;
  }

  // Moves the store to where it is from now on.
  void Close() {
    store_.reset();
    const std::string tree = Must(temp_.MakeDir("tree"));
    std::filesystem::rename(root_, tree + "/store");
    watched_ = tree + "/store";
    if (GetParam().packed) {
      disk_.emplace(Must(TestDisk::Pack(temp_, "disk", *GetParam().packed, tree)));
      closed_ = watched_ = disk_->path() + "/store";
    } else if (GetParam().nfs) {
      closed_ = NfsMount() + watched_.substr(temporary_->size());
    } else {
      const std::string mount = Must(temp_.MakeDir("disk"));
      MustCall(::mount(tree.c_str(), mount.c_str(), nullptr, MS_BIND, nullptr), "mount");
      MustCall(::mount(nullptr, mount.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr),
               "remount");
      closed_ = mount + "/store";
    }
    before_.emplace(Must(TreeSnapshot::Take(watched_, {.holes = true})));
    store_ = Must(Store::Open({.root = closed_, .read_only = true}));
  }

  void ExpectNothingChanged() {
    EXPECT_EQ(Diff(*before_, Must(TreeSnapshot::Take(watched_, {.holes = true})), Unchanged()), "");
  }

  static std::string Save(Store& store, const std::string& name, const SaveOptions& options) {
    const auto saved = Must(SavedImages::Prepare(store, std::vector{name}, options));
    std::string bytes;
    Must(saved->Write([&](std::string_view piece) -> Result<> {
      bytes.append(piece);
      return {};
    }));
    return bytes;
  }

  // What a container of the image finds.
  TreeSnapshot Show(Store& store, const Image& image) {
    const std::string at = temp_.At("shown");
    Must(support::RemoveTree(at));
    support::UnionSpec spec{.chain = Must(store.chains().Ensure(image.diff_ids)),
                            .upper = Must(temp_.MakeDir("upper")),
                            .work = Must(temp_.MakeDir("work")),
                            .mount_point = Must(temp_.MakeDir("shown"))};
    // The root's time is the upper's.
    std::filesystem::last_write_time(spec.upper, std::filesystem::file_time_type());
    auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, spec));
    TreeSnapshot shown = Must(TreeSnapshot::Take(at));
    // A container writes into its own layer.
    WriteFile(at + "/new", "a container's own");
    EXPECT_EQ(ReadFile(spec.upper + "/new"), "a container's own");
    const std::string label = ReadFile(at + "/etc/label");
    std::ofstream(at + "/etc/label", std::ios::app) << "and more";
    EXPECT_EQ(ReadFile(spec.upper + "/etc/label"), label + "and more");
    Must(mount.Stop());
    for (const std::string& dir : {spec.upper, spec.work}) Must(support::RemoveTree(dir));
    return shown;
  }

  void ExpectNothingInScratch() {
    store_.reset();
    EXPECT_TRUE(Names(scratch_).empty()) << *Names(scratch_).begin();
  }

  std::string scratch_;
  std::optional<std::string> temporary_;  // $TMPDIR as it was
  std::string closed_;
  std::string watched_;  // the same where a change would show at once
  std::optional<TestDisk> disk_;
  std::optional<TreeSnapshot> before_;
  Image image_;
};

TEST_P(ReadOnlyStoreTest, ListsAndInspects) {
  const auto images = Must(store_->images().List());
  const ImageDetail detail = Must(store_->images().Inspect("app:2"));
  Close();
  const auto now = Must(store_->images().List());
  ASSERT_EQ(now.size(), images.size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    EXPECT_EQ(now[i].id, images[i].id);
    EXPECT_EQ(now[i].tags, images[i].tags);
  }
  EXPECT_EQ(Must(store_->images().Inspect("app:2")).config_json, detail.config_json);
  EXPECT_EQ(Must(store_->images().Inspect("app:2")).manifest_json, detail.manifest_json);
  EXPECT_TRUE(FailsWith(store_->images().Tag(image_.id, Must(Reference::Parse("x:1"))), EROFS));
  EXPECT_TRUE(FailsWith(PutLayer("x"), EROFS));
  ExpectNothingChanged();
}

TEST_P(ReadOnlyStoreTest, Saves) {
  const std::vector<SaveOptions> all = {
      {},
      {.format = SaveOptions::Format::kDockerArchive, .compression = {}},
      {.format = SaveOptions::Format::kOciArchive, .compression = Compression::kZstd}};
  std::vector<std::string> expected;
  for (const SaveOptions& options : all) expected.push_back(Save(*store_, "app:1", options));
  Close();
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_TRUE(Save(*store_, "app:1", all[i]) == expected[i]) << i;
  }
  ExpectNothingChanged();
  ExpectNothingInScratch();
}

TEST_P(ReadOnlyStoreTest, MountsWithAnIndexThatIsThere) {
  Must(store_->chains().Ensure(image_.diff_ids));
  const TreeSnapshot expected = Show(*store_, image_);
  Close();
  EXPECT_EQ(Diff(expected, Show(*store_, image_), Shown()), "");
  // Packing gives every directory another inode, so that the index is of other layers.
  const bool own = Must(store_->chains().Ensure(image_.diff_ids)).starts_with(closed_);
  EXPECT_EQ(own, !GetParam().packed);
  ExpectNothingChanged();
  ExpectNothingInScratch();
}

TEST_P(ReadOnlyStoreTest, MountsWithoutAnyIndex) {
  const TreeSnapshot expected = Show(*store_, image_);
  std::filesystem::remove_all(root_ + "/chains");
  for (const Digest& diff_id : image_.diff_ids) {
    std::filesystem::remove(root_ + "/layers/sha256/" + diff_id.Hex() + "/index");
  }
  Close();
  if (GetParam().nfs) {
    // Which directories hide what is below is not to be seen there.
    EXPECT_TRUE(FailsWith(store_->chains().Ensure(image_.diff_ids), ENOTSUP,
                          "does not show trusted.overlay.opaque"));
    return ExpectNothingChanged();
  }
  EXPECT_EQ(Diff(expected, Show(*store_, image_), Shown()), "");
  const std::string chain = Must(store_->chains().Ensure(image_.diff_ids));
  EXPECT_TRUE(chain.starts_with(scratch_)) << chain;
  const auto index =
      Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, (chain + "/index").c_str()));
  EXPECT_EQ(index->layers().back().path,
            closed_ + "/layers/sha256/" + image_.diff_ids.back().Hex() + "/fs");
  // Once is enough, and a longer chain begins with it.
  EXPECT_EQ(Must(store_->chains().Ensure(image_.diff_ids)), chain);
  std::vector<Digest> more = image_.diff_ids;
  more.push_back(Must(store_->images().Resolve("app:2")).diff_ids.back());
  EXPECT_TRUE(Succeeds(store_->chains().Ensure(more)));
  ExpectNothingChanged();
  ExpectNothingInScratch();
}

TEST_P(ReadOnlyStoreTest, IsCheckedFromEndToEnd) {
  Must(store_->chains().Ensure(image_.diff_ids));
  Close();
  for (const auto depth : {CheckOptions::Depth::kQuick, CheckOptions::Depth::kDeep}) {
    const CheckSummary summary =
        Must(CheckStore(*store_, {.depth = depth}, [](const Finding& finding) {
          if (IsCoarse() && finding.kind == FindingKind::kWrongTime) return;
          ADD_FAILURE() << finding.ToString();
        }));
    EXPECT_EQ(summary.images, 2U);
    EXPECT_EQ(summary.layers, 5U);
  }
  ExpectNothingChanged();
  ExpectNothingInScratch();
}

TEST_P(ReadOnlyStoreTest, SeesAtOnceWhatItsWriterDoes) {
  if (GetParam().packed) return;  // it has none
  Close();
  for (int i = 0; i < 3; ++i) {
    // Each time with a log that is new, and gone again.
    const std::string name = "new:" + std::to_string(i);
    const auto own = temp_.At("tree/store");
    EXPECT_TRUE(FailsWith(store_->images().Resolve(name), ENOENT));
    Must(Must(Store::Open({.root = own}))->images().Tag(image_.id, Must(Reference::Parse(name))));
    EXPECT_TRUE(Succeeds(store_->images().Resolve(name)));
  }
}

INSTANTIATE_TEST_SUITE_P(Media, ReadOnlyStoreTest,
                         ::testing::Values(Medium{"bind", std::nullopt},
                                           Medium{"erofs", Filesystem::kErofs},
                                           Medium{"squashfs", Filesystem::kSquashfs},
                                           Medium{"nfs", std::nullopt, true}),
                         [](const auto& medium) { return std::string(medium.param.name); });

}  // namespace
}  // namespace strata::layerstore
