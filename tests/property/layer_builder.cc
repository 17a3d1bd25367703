#include "tests/property/layer_builder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "tests/property/random.h"

namespace strata::property {
namespace {

// When the prefix directories seem to have been changed last; any fixed moment does.
constexpr std::int64_t kPrefixTime = 1'400'000'000'123'456'789;

timespec ToTimespec(std::int64_t nanoseconds) {
  return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
}

// The errors of a command that does not fit what is there; everything else is a real failure.
bool DoesNotFit(int code) {
  return code == EEXIST || code == ENOENT || code == ENOTDIR || code == ELOOP || code == EISDIR ||
         code == EPERM || code == EACCES || code == ENOTSUP || code == EXDEV;
}

Result<> Skip(const char* op) { return Fail(EEXIST, op); }

class LayerBuilder {
 public:
  LayerBuilder(int root, std::string prefix) : root_(root), prefix_(std::move(prefix)) {}

  Result<> Apply(const LayerCommand& c) {
    STRATA_TRY_ASSIGN(const UniqueFd parent, Parent(c.path));
    const std::string name(BaseName(c.path));
    STRATA_TRY(Make(parent.get(), name, c));
    const std::string path = JoinPath(ProcFdPath(parent.get()), name);
    switch (c.kind) {
      case LayerKind::kOpaque:
        return SetXattr(path, "trusted.overlay.opaque", "y");
      case LayerKind::kXattr:
        return SetXattr(path, c.name, c.text);
      case LayerKind::kHardLink:
      case LayerKind::kWhiteout:
        return {};
      default:
        break;
    }
    if (::lchown(path.c_str(), c.uid, c.gid) != 0) return FailErrno("lchown");
    if (c.kind != LayerKind::kSymlink && ::chmod(path.c_str(), c.mode) != 0) {
      return FailErrno("chmod");
    }
    times_.emplace_back(c.path, c.mtime);
    return {};
  }

  // Last, since making entries changes the times of directories.
  Result<> SetTimes() {
    times_.emplace_back(".", kPrefixTime);
    for (const auto& [path, mtime] : times_) {
      const timespec times[2] = {ToTimespec(mtime), ToTimespec(mtime)};
      if (::utimensat(root_, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
        return FailErrno("utimensat", path);
      }
    }
    return {};
  }

 private:
  Result<UniqueFd> Parent(const std::string& path) const {
    const std::string dir(DirName(path));
    return FileOps::System().OpenConfined(root_, dir.empty() ? "." : dir.c_str(),
                                          O_PATH | O_DIRECTORY, 0,
                                          RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  }

  static Result<> SetXattr(const std::string& path, const std::string& name,
                           const std::string& value) {
    if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
      return FailErrno("lsetxattr");
    }
    return {};
  }

  Result<> Make(int parent, const std::string& name, const LayerCommand& c) {
    FileOps& files = FileOps::System();
    const char* const n = name.c_str();
    switch (c.kind) {
      case LayerKind::kDir:
        return files.MakeDir(parent, n, 0700);
      case LayerKind::kFile:
        return MakeFile(parent, n, c);
      case LayerKind::kSymlink:
        return files.SymLink(c.text.c_str(), parent, n);
      case LayerKind::kFifo:
        return files.MakeNode(parent, n, S_IFIFO | 0600, 0);
      case LayerKind::kCharDev:
        return files.MakeNode(parent, n, S_IFCHR | 0600,
                              makedev(kTestMajor, static_cast<unsigned>(c.size)));
      case LayerKind::kBlockDev:
        return files.MakeNode(parent, n, S_IFBLK | 0600,
                              makedev(kTestMajor, static_cast<unsigned>(c.size)));
      case LayerKind::kHardLink:
        return MakeHardLink(parent, n, c);
      case LayerKind::kWhiteout:
        return files.MakeNode(parent, n, S_IFCHR, 0);
      case LayerKind::kMoveDir:
        return MakeMovedDir(parent, n, c);
      case LayerKind::kOpaque:
      case LayerKind::kXattr: {
        STRATA_TRY_ASSIGN(const struct stat st, files.StatAt(parent, n));
        const bool whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
        if (c.kind == LayerKind::kOpaque ? !S_ISDIR(st.st_mode) : whiteout) return Skip("xattr");
        return {};
      }
    }
    return Skip("command");
  }

  static Result<> MakeFile(int parent, const char* name, const LayerCommand& c) {
    FileOps& files = FileOps::System();
    STRATA_TRY_ASSIGN(const UniqueFd fd,
                      files.Open(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    constexpr std::int64_t kTail = 100;
    const std::int64_t written = c.hole ? std::min(c.size, kTail) : c.size;
    const std::string bytes = PatternBytes(c.seed, static_cast<std::size_t>(written));
    return WriteAllAt(files, fd.get(), std::as_bytes(std::span(bytes)), c.size - written);
  }

  Result<> MakeHardLink(int parent, const char* name, const LayerCommand& c) const {
    FileOps& files = FileOps::System();
    STRATA_TRY_ASSIGN(const UniqueFd from, Parent(c.text));
    const std::string existing(BaseName(c.text));
    STRATA_TRY_ASSIGN(const struct stat st, files.StatAt(from.get(), existing.c_str()));
    if (S_ISDIR(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == 0)) return Skip("link");
    return files.Link(from.get(), existing.c_str(), parent, name);
  }

  Result<> MakeMovedDir(int parent, const char* name, const LayerCommand& c) const {
    FileOps& files = FileOps::System();
    STRATA_TRY_ASSIGN(const UniqueFd from, Parent(c.text));
    const std::string old(BaseName(c.text));
    if (files.StatAt(from.get(), old.c_str()) || files.StatAt(parent, name)) return Skip("movedir");
    STRATA_TRY(files.MakeDir(parent, name, 0700));
    STRATA_TRY(files.MakeNode(from.get(), old.c_str(), S_IFCHR, 0));
    const std::string redirect =
        DirName(c.text) == DirName(c.path) ? old : "/" + prefix_ + "/" + c.text;
    return SetXattr(JoinPath(ProcFdPath(parent), name), "trusted.overlay.redirect", redirect);
  }

  const int root_;
  const std::string prefix_;
  std::vector<std::pair<std::string, std::int64_t>> times_;
};

}  // namespace

std::string PatternBytes(std::uint32_t seed, std::size_t length) {
  std::string bytes(length, '\0');
  Random random(seed);
  for (std::size_t i = 0; i < length; i += 8) {
    const std::uint64_t word = random.Next() | 0x0101010101010101;
    for (std::size_t j = i; j < std::min(i + 8, length); ++j) {
      bytes[j] = static_cast<char>(word >> (8 * (j - i)));
    }
  }
  return bytes;
}

Result<> BuildLayer(const std::string& layer, const std::string& prefix,
                    const std::vector<LayerCommand>& commands,
                    const std::vector<std::string>& below) {
  FileOps& files = FileOps::System();
  const std::string top = JoinPath(layer, prefix);
  STRATA_TRY(files.MakeDir(AT_FDCWD, top.c_str(), 0777));
  STRATA_TRY(files.ChmodAt(AT_FDCWD, top.c_str(), 0777));
  STRATA_TRY_ASSIGN(const UniqueFd root, files.Open(AT_FDCWD, top.c_str(), O_PATH | O_DIRECTORY));
  LayerBuilder builder(root.get(), prefix);
  const auto hides_nothing = [&](const LayerCommand& command) {
    return command.kind == LayerKind::kWhiteout && !below.empty() &&
           std::ranges::none_of(below, [&](const std::string& lower) {
             return files.StatAt(AT_FDCWD, JoinPath(JoinPath(lower, prefix), command.path).c_str())
                 .has_value();
           });
  };
  for (const LayerCommand& command : commands) {
    if (hides_nothing(command)) continue;
    const Result<> applied = builder.Apply(command);
    if (!applied && !DoesNotFit(applied.error().code())) {
      return Fail(applied.error().code(), "build layer", applied.error().ToString());
    }
  }
  return builder.SetTimes();
}

}  // namespace strata::property
