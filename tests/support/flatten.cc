#include "tests/support/flatten.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <map>
#include <set>
#include <tuple>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/xattrs.h"

namespace strata::support {
namespace {

constexpr std::string_view kOverlayXattr = "trusted.overlay.";
constexpr std::string_view kEscapedXattr = "trusted.overlay.overlay.";

// A file or directory of one layer.
struct Source {
  std::size_t layer;
  std::string path;  // relative to the layer
  struct stat stat;
};

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    if (slash != 0) parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

class Flattener {
 public:
  Flattener(const std::vector<std::string>& layers, std::string output)
      : layers_(layers), output_(std::move(output)) {}

  Result<std::vector<HiddenLinks>> Run() {
    std::vector<Source> roots;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Source root{i, "", {}};
      if (::lstat(layers_[i].c_str(), &root.stat) != 0) return FailErrno("lstat", layers_[i]);
      roots.push_back(std::move(root));
      if (OverlayXattr(roots.back(), "opaque") == "y") break;
    }
    STRATA_TRY(MergeDirectory(roots, ""));
    std::vector<HiddenLinks> hidden;
    for (const auto& [key, links] : links_) {
      if (links.total > links.visible) {
        hidden.push_back({links.first, static_cast<nlink_t>(links.total - links.visible)});
      }
    }
    return hidden;
  }

 private:
  struct Links {
    std::string first;
    nlink_t total = 0;
    nlink_t visible = 0;
  };

  std::string InLayer(const Source& source) const {
    return JoinPath(layers_[source.layer], source.path);
  }

  std::string OverlayXattr(const Source& source, const char* name) const {
    const auto value = GetXattr(InLayer(source), std::string(kOverlayXattr) + name);
    return value ? *value : std::string();
  }

  // False if the layer has nothing there.
  bool Find(std::size_t layer, const std::string& path, Source& found) const {
    found = {layer, path, {}};
    return ::lstat(InLayer(found).c_str(), &found.stat) == 0;
  }

  // Adds to `found` what an absolute redirect names in the layers from `layer` on.
  void FollowAbsolute(std::string_view redirect, std::size_t layer,
                      std::vector<Source>& found) const {
    std::vector<std::string> path = Split(redirect);
    for (bool stop = false; layer < layers_.size() && !stop; ++layer) {
      std::vector<std::string> below;  // how the lower layers know the same directory
      Source here{layer, "", {}};
      bool exists = true;
      for (std::size_t i = 0; i < path.size(); ++i) {
        const std::string& part = path[i];
        if (!Find(layer, JoinPath(here.path, part), here)) {
          // What this layer says of the parents holds for the layers below all the same.
          below.insert(below.end(), path.begin() + static_cast<std::ptrdiff_t>(i), path.end());
          exists = false;
          break;
        }
        if (!S_ISDIR(here.stat.st_mode)) {  // a whiteout or something else hides it
          exists = false;
          stop = true;
          break;
        }
        below.push_back(part);
        if (OverlayXattr(here, "opaque") == "y") {
          stop = true;
          continue;
        }
        const std::string next = OverlayXattr(here, "redirect");
        if (next.starts_with('/')) {
          below = Split(next);
          stop = false;  // it leads out of any opaque directory on the way
        } else if (!next.empty()) {
          below.back() = next;
        }
      }
      if (exists) found.push_back(here);
      path = below;
    }
  }

  // What `name` is in a merged directory: nothing, one file, or the directories that merge.
  std::vector<Source> Lookup(const std::vector<Source>& parents, std::string name) const {
    std::vector<Source> found;
    for (const Source& parent : parents) {
      Source here;
      if (!Find(parent.layer, JoinPath(parent.path, name), here)) continue;
      if (IsWhiteout(here.stat)) break;
      if (!S_ISDIR(here.stat.st_mode)) {
        if (found.empty()) found.push_back(here);
        break;
      }
      found.push_back(here);
      if (OverlayXattr(here, "opaque") == "y") break;
      const std::string redirect = OverlayXattr(here, "redirect");
      if (redirect.starts_with('/')) {
        FollowAbsolute(redirect, here.layer + 1, found);
        break;
      }
      if (!redirect.empty()) name = redirect;
    }
    return found;
  }

  Result<> MergeDirectory(const std::vector<Source>& sources, const std::string& path) {
    std::set<std::string> names;
    for (const Source& source : sources) {
      UniqueFd dir(::open(InLayer(source).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!dir) return FailErrno("open", InLayer(source));
      STRATA_TRY(
          FileOps::System().ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char) {
            names.emplace(name);
            return true;
          }));
    }
    for (const std::string& name : names) {
      const std::vector<Source> found = Lookup(sources, name);
      if (found.empty()) continue;
      const std::string child = JoinPath(path, name);
      if (S_ISDIR(found[0].stat.st_mode)) {
        if (::mkdir(Output(child).c_str(), 0700) != 0) return FailErrno("mkdir", child);
        STRATA_TRY(MergeDirectory(found, child));
      } else {
        STRATA_TRY(CopyFile(found[0], child));
      }
    }
    return CopyAttributes(sources[0], path);
  }

  std::string Output(const std::string& path) const { return JoinPath(output_, path); }

  Result<> CopyFile(const Source& source, const std::string& path) {
    const struct stat& st = source.stat;
    if (st.st_nlink > 1) {
      Links& links = links_[{source.layer, st.st_dev, st.st_ino}];
      ++links.visible;
      if (!links.first.empty()) {
        if (::link(Output(links.first).c_str(), Output(path).c_str()) != 0) {
          return FailErrno("link", path);
        }
        return {};
      }
      links.first = path;
      links.total = st.st_nlink;
    }
    if (S_ISREG(st.st_mode)) {
      STRATA_TRY(CopyContent(source, path));
    } else if (S_ISLNK(st.st_mode)) {
      STRATA_TRY_ASSIGN(const std::string target,
                        FileOps::System().ReadLink(AT_FDCWD, InLayer(source).c_str()));
      if (::symlink(target.c_str(), Output(path).c_str()) != 0) return FailErrno("symlink", path);
    } else if (::mknod(Output(path).c_str(), st.st_mode, st.st_rdev) != 0) {
      return FailErrno("mknod", path);
    }
    return CopyAttributes(source, path);
  }

  Result<> CopyContent(const Source& source, const std::string& path) {
    FileOps& files = FileOps::System();
    STRATA_TRY_ASSIGN(const UniqueFd in, files.Open(AT_FDCWD, InLayer(source).c_str(), O_RDONLY));
    STRATA_TRY_ASSIGN(const UniqueFd out, files.Open(AT_FDCWD, Output(path).c_str(),
                                                     O_WRONLY | O_CREAT | O_EXCL, 0600));
    STRATA_TRY(files.Truncate(out.get(), source.stat.st_size));
    off_t end = 0;
    while (true) {
      const off_t data = ::lseek(in.get(), end, SEEK_DATA);
      if (data < 0 && errno == ENXIO) return {};
      if (data < 0) return FailErrno("lseek", path);
      end = ::lseek(in.get(), data, SEEK_HOLE);
      if (end < 0) return FailErrno("lseek", path);
      std::vector<std::byte> buffer(static_cast<std::size_t>(end - data));
      STRATA_TRY_ASSIGN(const std::size_t n, files.ReadAt(in.get(), buffer, data));
      STRATA_TRY(WriteAllAt(files, out.get(), std::span(buffer).first(n), data));
    }
  }

  Result<> CopyAttributes(const Source& source, const std::string& path) {
    const std::string to = Output(path);
    const struct stat& st = source.stat;
    if (::lchown(to.c_str(), st.st_uid, st.st_gid) != 0) return FailErrno("lchown", to);
    if (!S_ISLNK(st.st_mode) && ::chmod(to.c_str(), st.st_mode & 07777) != 0) {
      return FailErrno("chmod", to);
    }
    STRATA_TRY_ASSIGN(const auto xattrs, ReadXattrs(InLayer(source)));
    for (const auto& [name, value] : xattrs) {
      std::string as = name;
      if (name.starts_with(kEscapedXattr)) {
        as = std::string(kOverlayXattr) + name.substr(kEscapedXattr.size());
      } else if (name.starts_with(kOverlayXattr)) {
        continue;
      }
      if (::lsetxattr(to.c_str(), as.c_str(), value.data(), value.size(), 0) != 0) {
        return FailErrno("lsetxattr", to + " " + as);
      }
    }
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (::utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return FailErrno("utimensat", to);
    }
    return {};
  }

  const std::vector<std::string>& layers_;
  const std::string output_;
  std::map<std::tuple<std::size_t, dev_t, ino_t>, Links> links_;
};

}  // namespace

Result<std::vector<HiddenLinks>> Flatten(const std::vector<std::string>& layers,
                                         const std::string& output) {
  return Flattener(layers, output).Run();
}

}  // namespace strata::support
