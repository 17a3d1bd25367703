#include "tests/conformance/below/fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <time.h>

#include <functional>

#include "base/file_ops.h"
#include "base/path.h"

namespace strata::conformance {

using support::CompareRules;
using support::TreeSnapshot;
using support::UnionMount;

void BelowTest::MakePlain(const std::string& directory) const {
  MakeDir(directory);
  support::UnionSpec spec;
  spec.lower.assign(layers_.rbegin(), layers_.rend());
  spec.upper = Upper();
  spec.mount_point = directory;
  Must(UnionMount::Start(support::Mounter::kPlain, spec));
}

void BelowTest::DropCaches(const std::string& mount_point) {
  MustCall(::mount(nullptr, mount_point.c_str(), nullptr, MS_REMOUNT, nullptr), "remount");
}

std::map<std::string, ino_t> BelowTest::Numbers(const TreeSnapshot& plain) const {
  std::map<std::string, ino_t> numbers;
  std::map<ino_t, std::string> files;
  const auto groups = plain.HardLinkGroups();
  const auto file_of = [&](const std::string& path) {
    const auto group = groups.find(path);
    return group == groups.end() ? path : group->second;
  };
  const dev_t device = Lstat(At()).st_dev;
  const std::function<void(const std::string&)> walk = [&](const std::string& dir) {
    std::vector<std::string> below;
    Must(FileOps::System().ReadDir(OpenFile(At(dir), O_RDONLY | O_DIRECTORY).get(),
                                   [&](std::string_view name, ino_t listed, unsigned char) {
                                     const std::string path = JoinPath(dir, name);
                                     const struct stat st = Lstat(At(path));
                                     EXPECT_EQ(st.st_ino, listed) << path;
                                     EXPECT_EQ(st.st_dev, device) << path;
                                     const auto known =
                                         files.emplace(st.st_ino, file_of(path)).first;
                                     EXPECT_EQ(known->second, file_of(path))
                                         << "two files, one number: " << st.st_ino;
                                     numbers[path] = st.st_ino;
                                     if (S_ISDIR(st.st_mode)) below.push_back(path);
                                     return true;
                                   }));
    for (const std::string& path : below) walk(path);
  };
  walk("");
  return numbers;
}

void BelowTest::ActAsPlain(const std::string& plain_root, const Holds& holds,
                           const std::vector<std::string>& options) {
  MakePlain(plain_root);
  Mount({.options = options});
  EXPECT_EQ(Diff(Must(TreeSnapshot::Take(plain_root)), Must(TreeSnapshot::Take(At())), {}), "")
      << "left: plain, right: union, before all changes";
  const auto before = Numbers(Must(TreeSnapshot::Take(plain_root)));

  CompareRules rules;
  rules.clock_since.emplace();
  ::clock_gettime(CLOCK_REALTIME_COARSE, &*rules.clock_since);
  Change(plain_root, holds);
  Change(At(), holds);
  const TreeSnapshot plain = Must(TreeSnapshot::Take(plain_root));
  const TreeSnapshot ours = Must(TreeSnapshot::Take(At()));
  EXPECT_EQ(Diff(plain, ours, rules), "") << "left: plain, right: union";
  const auto after = Numbers(plain);
  for (const char* kept : {"d/f", "big", "metadata", "sparse", "d", "untouched", "d/link-b"}) {
    if (before.contains(kept)) {
      EXPECT_EQ(after.at(kept), before.at(kept)) << kept;
    }
  }
  EXPECT_EQ(after.at("risen"), before.at("d/sub/deep"));
  EXPECT_EQ(after.at("d/moved"), before.at("move"));
  EXPECT_EQ(LeftInWork(Work()), std::vector<std::string>());

  DropCaches(At());
  EXPECT_EQ(Numbers(plain), after) << "after dropping caches";
  CompareRules same_files;
  same_files.inode_numbers = true;
  EXPECT_EQ(Diff(ours, Must(TreeSnapshot::Take(At())), same_files), "")
      << "right: after dropping caches";
  Unmount();
  Mount({.options = options});
  EXPECT_EQ(Numbers(plain), after) << "after a remount";
  EXPECT_EQ(Diff(ours, Must(TreeSnapshot::Take(At())), same_files), "") << "right: remounted";
  Unmount();
  if (!holds.handles) return;
  Must(support::FinalizeUpper(Spec()));
  UnionMount kernel = Must(UnionMount::Start(support::Mounter::kOverlay, Spec()));
  EXPECT_EQ(Diff(ours, Must(TreeSnapshot::Take(At(), {.skip_unfindable = true})), {}), "")
      << "right: kernel overlayfs";
  Must(kernel.Stop());
}

}  // namespace strata::conformance
