#include "tests/property/layers/tree_text.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdio>
#include <vector>

#include "base/digest.h"

namespace strata::property {
namespace {

std::string Octal(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "%o", value);
  return text;
}

std::string TimeText(const struct timespec& time) {
  return " mtime " + std::to_string(time.tv_sec) + '+' + std::to_string(time.tv_nsec);
}

struct Line {
  mode_t mode;
  std::uint32_t uid;
  std::uint32_t gid;
  dev_t device;
  const struct timespec* mtime;
  std::string link_target;
  Digest content;
  std::size_t size;
  const std::map<std::string, std::string>& xattrs;
  std::string first_name;

  std::string Text() const {
    std::string text = Octal(mode) + ' ' + std::to_string(uid) + ':' + std::to_string(gid);
    if (S_ISCHR(mode) || S_ISBLK(mode)) {
      text += " device " + std::to_string(major(device)) + ':' + std::to_string(minor(device));
    }
    if (mtime != nullptr) text += TimeText(*mtime);
    if (S_ISLNK(mode)) text += " to " + support::Printable(link_target);
    if (S_ISREG(mode)) text += ' ' + std::to_string(size) + " bytes " + content.Short();
    for (const auto& [name, value] : xattrs) {
      text += ' ' + name + '=' + support::Printable(value);
    }
    if (!first_name.empty()) text += " same as " + support::Printable(first_name);
    return text;
  }
};

std::string Find(const std::map<std::string, std::string>& groups, const std::string& path) {
  const auto it = groups.find(path);
  return it == groups.end() ? std::string() : it->second;
}

}  // namespace

std::string AclXattr(const ModelAcl& acl) {
  std::string value;
  const auto put = [&](std::uint32_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) value += static_cast<char>((number >> (8 * i)) & 0xffU);
  };
  put(2, 4);
  for (const auto& [key, permissions] : acl) {
    put(key.first, 2);
    put(permissions, 2);
    put(key.second, 4);
  }
  return value;
}

std::map<std::string, std::string> AllXattrs(const ModelNode& node) {
  auto xattrs = node.xattrs;
  if (!node.acl.empty()) xattrs["system.posix_acl_access"] = AclXattr(node.acl);
  if (!node.default_acl.empty()) xattrs["system.posix_acl_default"] = AclXattr(node.default_acl);
  return xattrs;
}

std::map<std::string, std::string> LinkGroups(const ModelTree& tree) {
  std::map<const ModelNode*, std::vector<std::string>> names;
  for (const auto& [path, node] : tree) {
    if (!S_ISDIR(node->mode)) names[node.get()].push_back(path);
  }
  std::map<std::string, std::string> groups;
  for (const auto& [node, paths] : names) {
    for (std::size_t i = 1; i < paths.size(); ++i) groups[paths[i]] = paths[0];
  }
  return groups;
}

TreeText TextOf(const ModelTree& tree) {
  TreeText text;
  const auto groups = LinkGroups(tree);
  for (const auto& [path, node] : tree) {
    if (path.empty() && node->implied) continue;
    const auto xattrs = AllXattrs(*node);
    const bool file = S_ISREG(node->mode);
    text[path] = Line{node->mode,
                      node->uid,
                      node->gid,
                      node->device,
                      node->mtime ? &*node->mtime : nullptr,
                      file ? std::string() : node->content,
                      file ? Digest::Of(node->content) : Digest(),
                      node->content.size(),
                      xattrs,
                      Find(groups, path)}
                     .Text();
  }
  return text;
}

TreeText TextOf(const support::TreeSnapshot& snapshot, const ModelTree& model) {
  TreeText text;
  // Those of all files, not of regular ones only.
  std::map<std::pair<dev_t, ino_t>, std::string> first_names;
  for (const auto& [path, node] : snapshot.nodes()) {
    const auto known = model.find(path);
    if (path.empty() && known != model.end() && known->second->implied) continue;
    const bool timeless = known != model.end() && !known->second->mtime;
    std::string first;
    if (!S_ISDIR(node.stat.st_mode) && node.stat.st_nlink > 1) {
      const auto [it, fresh] = first_names.try_emplace({node.stat.st_dev, node.stat.st_ino}, path);
      if (!fresh) first = it->second;
    }
    text[path] = Line{node.stat.st_mode,
                      node.stat.st_uid,
                      node.stat.st_gid,
                      node.stat.st_rdev,
                      timeless ? nullptr : &node.stat.st_mtim,
                      node.link_target,
                      node.content,
                      static_cast<std::size_t>(node.stat.st_size),
                      node.xattrs,
                      first}
                     .Text();
  }
  return text;
}

std::string Difference(const TreeText& model, const TreeText& found) {
  std::string lines;
  for (const auto& [path, text] : model) {
    const auto it = found.find(path);
    if (it != found.end() && it->second == text) continue;
    lines += '\'' + support::Printable(path) + "': wanted " + text + "\n    found " +
             (it == found.end() ? "nothing" : it->second) + '\n';
  }
  for (const auto& [path, text] : found) {
    if (!model.contains(path)) {
      lines += '\'' + support::Printable(path) + "': wanted nothing\n    found " + text + '\n';
    }
  }
  return lines;
}

}  // namespace strata::property
