// What a container changed, name by name.
#include "layerstore/diff/changes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/path.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/xattrs.h"

namespace strata::layerstore {
namespace {

using support::MakeDir;
using support::MakeWhiteout;
using support::Must;
using support::SetXattr;
using support::WriteFile;
using testing::ElementsAre;

class SetOfNames final : public LowerNames {
 public:
  explicit SetOfNames(std::set<std::string> paths) : paths_(std::move(paths)) {}
  Result<bool> Has(const std::string& path) const override { return paths_.contains(path); }
  Result<std::vector<std::string>> In(const std::string& directory) const override {
    std::vector<std::string> names;
    for (const std::string& path : paths_) {
      if (DirName(path) == directory) names.emplace_back(BaseName(path));
    }
    return names;
  }

 private:
  const std::set<std::string> paths_;
};

class ChangesTest : public testing::Test {
 protected:
  ChangesTest() : upper_(Must(root_.MakeDir("upper"))) {}
  std::string At(const std::string& path) const { return upper_ + "/" + path; }

  // "A /path", as the client shows them.
  std::vector<std::string> Shown(std::set<std::string> lower) {
    const UniqueFd directory = support::OpenFile(upper_, O_RDONLY | O_DIRECTORY);
    UpperLayer upper;
    upper.directory = directory.get();
    upper.open_union = [&]() -> Result<UniqueFd> {
      return FileOps::System().Open(AT_FDCWD, union_.c_str(), O_RDONLY | O_DIRECTORY);
    };
    std::vector<std::string> shown;
    const auto changes = Must(ListChanges(FileOps::System(), upper, SetOfNames(std::move(lower))));
    for (const Change& change : changes) {
      shown.push_back(std::string(1, "CAD"[static_cast<int>(change.kind)]) + " " + change.path);
    }
    return shown;
  }

  const support::TempRoot root_ = Must(support::TempRoot::Create());
  const std::string upper_;
  std::string union_ = root_.At("nowhere");
};

TEST_F(ChangesTest, NothingChanged) { EXPECT_THAT(Shown({"etc", "etc/a"}), ElementsAre()); }

TEST_F(ChangesTest, AddedChangedAndDeleted) {
  MakeDir(At("etc"));
  WriteFile(At("etc/changed"), "new");
  WriteFile(At("etc/added"), "new");
  MakeWhiteout(At("etc/deleted"));
  MakeWhiteout(At("etc/never"));
  MakeDir(At("var"));
  WriteFile(At(".wh.gone"), "");
  EXPECT_THAT(Shown({"etc", "etc/changed", "etc/deleted", "gone", "gone/below"}),
              ElementsAre("C /etc", "A /etc/added", "C /etc/changed", "D /etc/deleted", "D /gone",
                          "A /var"));
}

TEST_F(ChangesTest, DirectoriesMadeAnew) {
  MakeDir(At("data"));
  Must(SetXattr(At("data"), "trusted.overlay.opaque", "y"));
  WriteFile(At("data/kept"), "new");
  EXPECT_THAT(Shown({"data", "data/kept", "data/lost", "data/sub", "data/sub/file"}),
              ElementsAre("C /data", "C /data/kept", "D /data/lost", "D /data/sub"));
}

TEST_F(ChangesTest, RenamedDirectories) {
  MakeDir(At("to"));
  Must(SetXattr(At("to"), "trusted.overlay.redirect", "/from"));
  MakeWhiteout(At("from"));
  union_ = Must(root_.MakeDir("union"));
  MakeDir(union_ + "/to");
  WriteFile(union_ + "/to/file", "");
  EXPECT_THAT(Shown({"from", "from/file"}), ElementsAre("D /from", "A /to", "A /to/file"));
}

}  // namespace
}  // namespace strata::layerstore
