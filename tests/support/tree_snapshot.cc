#include "tests/support/tree_snapshot.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <sstream>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "base/unique_fd.h"

namespace strata::support {
namespace {

Result<Digest> DigestContent(int fd) {
  Sha256 sha;
  std::vector<char> buffer(128 * 1024);
  off_t offset = 0;
  while (true) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (n < 0) return FailErrno("pread");
    if (n == 0) return sha.Finish();
    sha.Update(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    offset += n;
  }
}

Result<std::vector<std::pair<off_t, off_t>>> DataRanges(int fd) {
  std::vector<std::pair<off_t, off_t>> ranges;
  off_t end = 0;
  while (true) {
    const off_t data = ::lseek(fd, end, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return ranges;
    if (data < 0) return FailErrno("lseek");
    end = ::lseek(fd, data, SEEK_HOLE);
    if (end < 0) return FailErrno("lseek");
    ranges.emplace_back(data, end);
  }
}

class Walker {
 public:
  Walker(const SnapshotOptions& options, std::map<std::string, NodeRecord>& nodes)
      : options_(options), nodes_(nodes) {}

  Result<> Visit(int dir, const std::string& name, const std::string& path) {
    NodeRecord node;
    if (::fstatat(dir, name.c_str(), &node.stat, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT && options_.skip_unfindable) return {};
      return FailErrno("fstatat", Printable(path));
    }
    if (options_.xattrs) {
      STRATA_TRY_ASSIGN(node.xattrs, ReadXattrs(JoinPath(ProcFdPath(dir), name)));
    }
    if (S_ISLNK(node.stat.st_mode)) {
      STRATA_TRY_ASSIGN(node.link_target, FileOps::System().ReadLink(dir, name.c_str()));
    } else if (S_ISREG(node.stat.st_mode) && (options_.contents || options_.holes)) {
      STRATA_TRY(ReadFile(dir, name, path, node));
    }
    const bool directory = S_ISDIR(node.stat.st_mode);
    nodes_.emplace(path, std::move(node));
    return directory ? Descend(dir, name, path) : Result<>{};
  }

 private:
  Result<> ReadFile(int dir, const std::string& name, const std::string& path, NodeRecord& node) {
    UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC));
    if (!fd) return FailErrno("openat", Printable(path));
    if (options_.holes) {
      STRATA_TRY_ASSIGN(node.data_ranges, DataRanges(fd.get()));
    }
    if (options_.contents) {
      STRATA_TRY_ASSIGN(node.content, DigestContent(fd.get()));
    }
    return {};
  }

  Result<> Descend(int dir, const std::string& name, const std::string& path) {
    UniqueFd sub(
        ::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC));
    if (!sub) return FailErrno("openat", Printable(path));
    std::set<std::string> names;
    bool twice = false;
    STRATA_TRY(
        FileOps::System().ReadDir(sub.get(), [&](std::string_view child, ino_t, unsigned char) {
          twice = !names.emplace(child).second || twice;
          return true;
        }));
    if (twice) return Fail(EUCLEAN, "readdir", Printable(path) + ": a name is listed twice");
    for (const std::string& child : names) {
      STRATA_TRY(Visit(sub.get(), child, JoinPath(path, child)));
    }
    return {};
  }

  const SnapshotOptions& options_;
  std::map<std::string, NodeRecord>& nodes_;
};

std::string TimeText(const struct timespec& t) {
  std::ostringstream out;
  out << t.tv_sec << '.' << t.tv_nsec;
  return out.str();
}

bool AtOrAfter(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec >= b.tv_nsec;
}

bool SameTime(const struct timespec& a, const struct timespec& b, const CompareRules& rules) {
  if (a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec) return true;
  return rules.clock_since && AtOrAfter(a, *rules.clock_since) && AtOrAfter(b, *rules.clock_since);
}

std::string XattrText(const Xattrs& xattrs) {
  std::string out;
  for (const auto& [name, value] : xattrs) out += " " + name + "=" + Printable(value);
  return out.empty() ? " none" : out;
}

std::string RangesText(const std::vector<std::pair<off_t, off_t>>& ranges) {
  std::ostringstream out;
  for (const auto& [from, to] : ranges) out << ' ' << from << '-' << to;
  return out.str();
}

std::string Octal(mode_t mode) {
  std::ostringstream out;
  out << std::oct << mode;
  return out.str();
}

// The bits of a file's mode that the rules leave out.
mode_t LooseModeBits(const std::string& path, mode_t left, mode_t right,
                     const CompareRules& rules) {
  if (!S_ISREG(left) || !S_ISREG(right)) return 0;
  mode_t loose = 0;
  if (rules.loose_lock_bit && ((left | right) & S_IXGRP) == 0) loose |= S_ISGID;
  if (rules.lost_set_ids.contains(path)) loose |= left & ~right & (S_ISUID | S_ISGID);
  return loose;
}

bool SameLinkCount(const std::string& path, nlink_t left, nlink_t right,
                   const CompareRules& rules) {
  const auto extra = rules.extra_links.find(path);
  const nlink_t most = left + (extra != rules.extra_links.end() ? extra->second : 0);
  return right >= left && right <= most;
}

}  // namespace

Result<TreeSnapshot> TreeSnapshot::Take(const std::string& root, const SnapshotOptions& options) {
  TreeSnapshot snapshot;
  UniqueFd dir(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return FailErrno("open", root);
  STRATA_TRY(Walker(options, snapshot.nodes_).Visit(dir.get(), ".", ""));
  if (options.links_within) snapshot.CountLinksWithin();
  return snapshot;
}

void TreeSnapshot::CountLinksWithin() {
  std::map<ino_t, nlink_t> names;
  for (const auto& [path, node] : nodes_) ++names[node.stat.st_ino];
  for (auto& [path, node] : nodes_) {
    if (!S_ISDIR(node.stat.st_mode)) node.stat.st_nlink = names[node.stat.st_ino];
  }
}

std::map<std::string, std::string> TreeSnapshot::HardLinkGroups() const {
  std::map<ino_t, std::string> first;
  std::map<std::string, std::string> groups;
  for (const auto& [path, node] : nodes_) {
    if (S_ISDIR(node.stat.st_mode)) continue;
    groups[path] = first.emplace(node.stat.st_ino, path).first->second;
  }
  return groups;
}

std::string TreeSnapshot::ToString() const {
  std::ostringstream out;
  for (const auto& [path, node] : nodes_) {
    const struct stat& st = node.stat;
    out << Printable(path) << " mode=" << Octal(st.st_mode) << " uid=" << st.st_uid
        << " gid=" << st.st_gid << " ino=" << st.st_ino << " nlink=" << st.st_nlink
        << " rdev=" << st.st_rdev << " mtime=" << TimeText(st.st_mtim);
    if (!S_ISDIR(st.st_mode)) out << " size=" << st.st_size;
    if (S_ISLNK(st.st_mode)) out << " target=" << Printable(node.link_target);
    if (S_ISREG(st.st_mode)) {
      out << " content=" << node.content.Hex() << " data=" << RangesText(node.data_ranges);
    }
    out << " xattrs=" << XattrText(node.xattrs) << '\n';
  }
  return out.str();
}

std::string DiffNodes(const std::string& path, const NodeRecord& left, const NodeRecord& right,
                      const CompareRules& rules) {
  const struct stat& a = left.stat;
  const struct stat& b = right.stat;
  std::string out;
  const auto differ = [&](const char* what, const std::string& l, const std::string& r) {
    out += "  " + Printable(path) + ": " + what + ": left " + l + ", right " + r + "\n";
  };
  const mode_t loose = LooseModeBits(path, a.st_mode, b.st_mode, rules);
  if ((a.st_mode & ~loose) != (b.st_mode & ~loose))
    differ("mode", Octal(a.st_mode), Octal(b.st_mode));
  if ((a.st_mode & S_IFMT) != (b.st_mode & S_IFMT)) return out;
  if (a.st_uid != b.st_uid) differ("uid", std::to_string(a.st_uid), std::to_string(b.st_uid));
  if (a.st_gid != b.st_gid) differ("gid", std::to_string(a.st_gid), std::to_string(b.st_gid));
  if (a.st_rdev != b.st_rdev) differ("rdev", std::to_string(a.st_rdev), std::to_string(b.st_rdev));
  const bool timed = S_ISDIR(a.st_mode) ? rules.directory_times : !S_ISFIFO(a.st_mode);
  if (timed && !SameTime(a.st_mtim, b.st_mtim, rules)) {
    differ("mtime", TimeText(a.st_mtim), TimeText(b.st_mtim));
  }
  if (rules.inode_numbers && a.st_ino != b.st_ino) {
    differ("ino", std::to_string(a.st_ino), std::to_string(b.st_ino));
  }
  if (!S_ISDIR(a.st_mode)) {
    if (a.st_size != b.st_size) {
      differ("size", std::to_string(a.st_size), std::to_string(b.st_size));
    }
    if (rules.link_counts && !SameLinkCount(path, a.st_nlink, b.st_nlink, rules)) {
      differ("nlink", std::to_string(a.st_nlink), std::to_string(b.st_nlink));
    }
  }
  if (left.link_target != right.link_target) {
    differ("target", Printable(left.link_target), Printable(right.link_target));
  }
  if (left.xattrs != right.xattrs)
    differ("xattrs", XattrText(left.xattrs), XattrText(right.xattrs));
  if (left.content != right.content) differ("content", left.content.Hex(), right.content.Hex());
  if (rules.holes && !rules.loose_holes.contains(path) && left.data_ranges != right.data_ranges) {
    differ("data ranges", RangesText(left.data_ranges), RangesText(right.data_ranges));
  }
  return out;
}

std::string Diff(const TreeSnapshot& left, const TreeSnapshot& right, const CompareRules& rules) {
  std::string out;
  const auto left_out = [&](const NodeRecord& node) {
    return !rules.sockets && S_ISSOCK(node.stat.st_mode);
  };
  for (const auto& [path, node] : left.nodes()) {
    if (left_out(node)) continue;
    const auto other = right.nodes().find(path);
    if (other == right.nodes().end()) {
      out += "  " + Printable(path) + ": only left\n";
    } else {
      out += DiffNodes(path, node, other->second, rules);
    }
  }
  for (const auto& [path, node] : right.nodes()) {
    if (!left.nodes().contains(path)) out += "  " + Printable(path) + ": only right\n";
  }
  if (!out.empty()) return out;
  const auto groups = right.HardLinkGroups();
  for (const auto& [path, first] : left.HardLinkGroups()) {
    if (!left_out(left.nodes().at(path)) && groups.at(path) != first) {
      out += "  " + Printable(path) + ": same file as: left " + Printable(first) + ", right " +
             Printable(groups.at(path)) + "\n";
    }
  }
  return out;
}

Result<Digest> LayerDigest(const std::string& layer) {
  STRATA_TRY_ASSIGN(const TreeSnapshot snapshot,
                    TreeSnapshot::Take(layer, {.contents = true, .xattrs = true, .holes = true}));
  return Digest::Of(snapshot.ToString());
}

std::string Printable(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\') {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace strata::support
