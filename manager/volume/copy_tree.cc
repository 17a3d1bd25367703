#include "manager/volume/copy_tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/copy_bytes.h"
#include "base/file_ops.h"
#include "base/try.h"

namespace strata::manager {
namespace {

// Deeper trees than this cannot be named by a path, either.
constexpr int kDepthMax = 2048;

class Copier {
 public:
  explicit Copier(int root) : root_(root) {}

  Result<> CopyDirectory(int from, int to, const std::string& path, int depth) {
    if (depth > kDepthMax) return Fail(ELOOP, "copy volume content", "too deep");
    std::vector<std::string> names;
    STRATA_TRY_ASSIGN(const UniqueFd listing, ops_.Open(from, ".", O_RDONLY | O_DIRECTORY));
    STRATA_TRY(ops_.ReadDir(listing.get(), [&](std::string_view name, ino_t, unsigned char) {
      names.emplace_back(name);
      return true;
    }));
    for (const auto& name : names) {
      const std::string inner = path.empty() ? name : path + '/' + name;
      auto copied = CopyEntry(from, to, name, inner, depth);
      if (!copied) return std::unexpected(std::move(copied).error().WithContext(inner));
    }
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(from));
    return CopyAttributes(from, to, st);
  }

 private:
  Result<> CopyEntry(int from, int to, const std::string& name, const std::string& path,
                     int depth) {
    STRATA_TRY_ASSIGN(const UniqueFd source, ops_.Open(from, name.c_str(), O_PATH | O_NOFOLLOW));
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(source.get()));
    if (S_ISSOCK(st.st_mode)) return {};
    if (S_ISDIR(st.st_mode)) {
      STRATA_TRY(ops_.MakeDir(to, name.c_str(), 0700));
      STRATA_TRY_ASSIGN(const UniqueFd made,
                        ops_.Open(to, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      return CopyDirectory(source.get(), made.get(), path, depth + 1);
    }
    if (st.st_nlink > 1) {
      const auto [it, first] = links_.try_emplace(std::pair(st.st_dev, st.st_ino), path);
      if (!first) return ops_.Link(root_, it->second.c_str(), to, name.c_str());
    }
    if (S_ISREG(st.st_mode)) {
      STRATA_TRY(CopyContent(from, to, name, st.st_size));
    } else if (S_ISLNK(st.st_mode)) {
      STRATA_TRY_ASSIGN(const std::string target, ops_.ReadLink(from, name.c_str()));
      STRATA_TRY(ops_.SymLink(target.c_str(), to, name.c_str()));
    } else {
      STRATA_TRY(ops_.MakeNode(to, name.c_str(), st.st_mode, st.st_rdev));
    }
    STRATA_TRY_ASSIGN(const UniqueFd made, ops_.Open(to, name.c_str(), O_PATH | O_NOFOLLOW));
    return CopyAttributes(source.get(), made.get(), st);
  }

  Result<> CopyContent(int from, int to, const std::string& name, off_t size) {
    STRATA_TRY_ASSIGN(const UniqueFd in, ops_.Open(from, name.c_str(), O_RDONLY | O_NOFOLLOW));
    STRATA_TRY_ASSIGN(const UniqueFd out,
                      ops_.Open(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    STRATA_TRY(ops_.Truncate(out.get(), size));
    // Data by data: holes stay holes.
    off_t at = 0;
    while (at < size) {
      auto data = ops_.Seek(in.get(), at, SEEK_DATA);
      if (!data) {
        if (data.error().code() == ENXIO) break;
        return std::unexpected(std::move(data).error());
      }
      STRATA_TRY_ASSIGN(const off_t hole, ops_.Seek(in.get(), *data, SEEK_HOLE));
      STRATA_TRY(CopyBytes(ops_, in.get(), out.get(), *data, hole));  // or less: it shrank
      at = hole;
    }
    return {};
  }

  // Owner first: it clears set-id bits and file capabilities.
  Result<> CopyAttributes(int from, int to, const struct stat& st) {
    STRATA_TRY(ops_.ChownAt(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH));
    const std::string to_path = ProcFdPath(to);
    if (!S_ISLNK(st.st_mode) && ::chmod(to_path.c_str(), st.st_mode & 07777U) == -1) {
      return FailErrno("chmod");
    }
    STRATA_TRY_ASSIGN(const std::vector<std::string> names, ops_.ListXattr(from));
    for (const auto& name : names) {
      // The union's own marks mean nothing outside of it.
      if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) continue;
      STRATA_TRY_ASSIGN(const std::string value, ops_.GetXattr(from, name.c_str()));
      auto set = ops_.SetXattr(to, name.c_str(), value);
      if (!set && set.error().code() != ENOTSUP) return set;
    }
    const std::array<timespec, 2> times{st.st_atim, st.st_mtim};
    return ops_.UtimesAt(to, "", times.data(), AT_EMPTY_PATH);
  }

  FileOps& ops_ = FileOps::System();
  int root_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<> CopyTree(int from, int to) { return Copier(to).CopyDirectory(from, to, "", 0); }

}  // namespace strata::manager
