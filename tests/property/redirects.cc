#include "tests/property/redirects.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "tests/support/files.h"
#include "tests/support/flatten.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::property {
namespace {

void SetMark(const std::string& path, const char* name, const std::string& value) {
  support::MustCall(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0), "lsetxattr");
}

}  // namespace

void AddRedirects(const std::string& layer, const std::vector<std::string>& below, Random& random,
                  const std::string& scratch) {
  support::MakeDir(scratch);
  support::Must(support::Flatten(below, scratch));
  std::vector<std::string> directories;
  for (const std::string& path : support::ListAll(scratch)) {
    if (S_ISDIR(support::Lstat(scratch + "/" + path).st_mode)) directories.push_back(path);
  }
  support::Must(support::RemoveTree(scratch));
  if (directories.empty()) return;
  for (std::uint64_t i = random.Below(4); i > 0; --i) {
    const std::string target = random.Pick(directories);
    const std::string parent(DirName(target));
    const bool sibling = random.Chance(30) && support::Exists(layer + "/" + parent);
    const std::string moved = layer + "/" + (sibling && !parent.empty() ? parent + "/" : "") +
                              "moved" + std::to_string(random.Below(5));
    if (::mkdir(moved.c_str(), 0755) != 0) continue;
    SetMark(moved, "trusted.overlay.redirect",
            sibling ? std::string(BaseName(target)) : "/" + target);
    // The way a rename leaves it; without a whiteout the directory shows twice.
    const std::string old = layer + "/" + target;
    if (random.Chance(60) && !support::Exists(old)) {
      ::mknod(old.c_str(), S_IFCHR, 0);
    }
    if (random.Chance(50)) support::WriteFile(moved + "/added", "new");
    if (random.Chance(20)) SetMark(moved, "trusted.overlay.opaque", "y");
  }
}

}  // namespace strata::property
