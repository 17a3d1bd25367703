#include "tests/property/layer_diff.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <set>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/diff/layer_diff.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/xattrs.h"

namespace strata::property {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

// The numbers of the lower files that are in the index of link groups. Its names end in a handle,
// an ext4 one here: the inode's number and its generation, 32 bits each, little endian.
Result<std::set<ino_t>> Indexed(const std::string& work) {
  constexpr std::size_t kHandleDigits = 16;
  FileOps& files = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd index,
                    files.Open(AT_FDCWD, (work + "/index").c_str(), kDirectory));
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(files, index.get()));
  std::set<ino_t> numbers;
  for (const std::string& name : names) {
    const std::size_t handle = name.size() - kHandleDigits;
    ino_t number = 0;
    for (std::size_t byte = 4; byte-- > 0;) {
      number = number << 8U | std::stoul(name.substr(handle + 2 * byte, 2), nullptr, 16);
    }
    numbers.insert(number);
  }
  return numbers;
}

// What is below a renamed directory is in the diff, too.
bool BelowRenamed(const std::string& upper, std::string_view path) {
  constexpr const char* kRedirect = "trusted.overlay.redirect";
  for (path = DirName(path); !path.empty(); path = DirName(path)) {
    if (support::GetXattr(JoinPath(upper, path), kRedirect)) return true;
  }
  return false;
}

// The names, of files that are in the diff by others, that are not in the upper layer. The union
// numbers files as their one filesystem does.
Result<std::vector<std::string>> LowerLinks(const std::string& upper, const std::string& work,
                                            const std::string& mount) {
  STRATA_TRY_ASSIGN(std::set<ino_t> files, Indexed(work));
  STRATA_TRY_ASSIGN(const auto tree, support::TreeSnapshot::Take(mount, {}));
  for (const auto& [path, node] : tree.nodes()) {
    if (node.stat.st_nlink > 1 && BelowRenamed(upper, path)) files.insert(node.stat.st_ino);
  }
  std::vector<std::string> links;
  for (const auto& [path, node] : tree.nodes()) {
    if (S_ISDIR(node.stat.st_mode) || !files.contains(node.stat.st_ino)) continue;
    if (!FileOps::System().StatAt(AT_FDCWD, JoinPath(upper, path).c_str())) links.push_back(path);
  }
  return links;
}

Result<std::string> Diff(const layerstore::UpperLayer& upper) {
  std::string tar;
  STRATA_TRY(
      layerstore::WriteLayerDiff(FileOps::System(), upper, [&](std::string_view bytes) -> Result<> {
        tar += bytes;
        return {};
      }));
  return tar;
}

}  // namespace

Result<> UnpackDiff(const std::string& upper, const std::string& work, const std::string& mount,
                    const std::string& layer) {
  FileOps& files = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd directory, files.Open(AT_FDCWD, upper.c_str(), kDirectory));
  layerstore::UpperLayer source;
  source.directory = directory.get();
  source.open_union = [&] { return files.Open(AT_FDCWD, mount.c_str(), kDirectory); };
  STRATA_TRY_ASSIGN(source.lower_links, LowerLinks(upper, work, mount));
  STRATA_TRY_ASSIGN(const std::string tar, Diff(source));
  STRATA_TRY_ASSIGN(const std::string again, Diff(source));
  if (tar != again) return Fail(EIO, "diff", "two diffs of one upper layer differ");

  STRATA_TRY(files.MakeDir(AT_FDCWD, layer.c_str(), 0755));
  STRATA_TRY_ASSIGN(const UniqueFd to, files.Open(AT_FDCWD, layer.c_str(), kDirectory));
  bool given = false;
  layerstore::TarReader reader([&]() -> Result<std::string_view> {
    return std::exchange(given, true) ? std::string_view() : std::string_view(tar);
  });
  layerstore::Unpacker unpacker(files, to.get(), {});
  STRATA_TRY(unpacker.Run(reader));
  return {};
}

}  // namespace strata::property
