#include "tests/property/layers/layer_model.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <utility>

namespace strata::property {
namespace {

using Kind = LayerEntry::Kind;

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kReserved = ".wh..wh.";
constexpr std::string_view kRootlessMarks = "user.overlay.";
constexpr std::size_t kNameMax = 255;
constexpr mode_t kPermissions = 07777;

enum AclTag : unsigned {
  kUserObj = 1,
  kUser = 2,
  kGroupObj = 4,
  kGroup = 8,
  kMask = 16,
  kOther = 32
};
constexpr std::uint32_t kNobody = 0xffffffff;

std::vector<std::string_view> Split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view Parent(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

// By its words; nothing if it leads out of the layer or has a name that is none.
std::optional<std::string> Normalized(std::string_view path) {
  if (path.empty()) return std::nullopt;
  std::vector<std::string_view> names;
  for (const std::string_view name : Split(path, '/')) {
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (names.empty()) return std::nullopt;
      names.pop_back();
    } else if (name.size() > kNameMax) {
      return std::nullopt;
    } else {
      names.push_back(name);
    }
  }
  std::string normal;
  for (const std::string_view name : names) {
    if (!normal.empty()) normal += '/';
    normal += name;
  }
  return normal;
}

// Of the directory itself, if `self`, and of all that is in it.
void EraseTree(ModelTree& tree, const std::string& path, bool self) {
  const std::string below = path.empty() ? path : path + '/';
  for (auto it = tree.lower_bound(below); it != tree.end() && it->first.starts_with(below);) {
    it = it->first.empty() ? std::next(it) : tree.erase(it);
  }
  if (self) tree.erase(path);
}

bool IsDirectory(const ModelNode& node) { return S_ISDIR(node.mode); }

unsigned Number(std::string_view text) {
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Lines as setfacl(1) takes them, numeric ids only. Without named entries it says what the mode
// says, and is none.
ModelAcl ParseAcl(std::string_view text, bool is_default) {
  ModelAcl acl;
  if (text.empty()) return acl;
  bool named = false;
  bool masked = false;
  unsigned all = 0;
  for (const std::string_view line : Split(text, ',')) {
    const auto fields = Split(line, ':');
    unsigned permissions = 0;
    if (fields[2][0] == 'r') permissions |= 4U;
    if (fields[2][1] == 'w') permissions |= 2U;
    if (fields[2][2] == 'x') permissions |= 1U;
    const bool has_id = !fields[1].empty();
    const std::uint32_t id = has_id ? Number(fields[1]) : kNobody;
    AclTag tag = kOther;
    if (fields[0] == "user") tag = has_id ? kUser : kUserObj;
    if (fields[0] == "group") tag = has_id ? kGroup : kGroupObj;
    if (fields[0] == "mask") tag = kMask;
    named |= has_id;
    masked |= tag == kMask;
    if (tag == kUser || tag == kGroup || tag == kGroupObj) all |= permissions;
    acl[{tag, id}] = permissions;
  }
  if (named && !masked) acl[{kMask, kNobody}] = all;
  if (!named && !masked && !is_default) acl.clear();
  return acl;
}

// chmod(2) of something that has an ACL, and the reverse.
void SetMode(ModelNode& node, unsigned mode) {
  node.mode = (node.mode & S_IFMT) | (mode & kPermissions);
  if (node.acl.empty()) return;
  node.acl[{kUserObj, kNobody}] = (mode >> 6U) & 7U;
  node.acl[{kOther, kNobody}] = mode & 7U;
  const auto mask = node.acl.find({kMask, kNobody});
  (mask != node.acl.end() ? mask->second : node.acl[{kGroupObj, kNobody}]) = (mode >> 3U) & 7U;
}

void SetAcl(ModelNode& node, ModelAcl acl) {
  if (acl.empty()) return;
  const auto mask = acl.find({kMask, kNobody});
  const unsigned group = mask != acl.end() ? mask->second : acl[{kGroupObj, kNobody}];
  node.mode = (node.mode & ~mode_t{0777}) | (acl[{kUserObj, kNobody}] << 6U) | (group << 3U) |
              acl[{kOther, kNobody}];
  node.acl = std::move(acl);
}

mode_t TypeOf(const LayerEntry& entry) {
  switch (entry.kind) {
    case Kind::kDirectory:
      return S_IFDIR;
    case Kind::kSymlink:
      return S_IFLNK;
    case Kind::kCharDevice:
      return S_IFCHR;
    case Kind::kBlockDevice:
      return S_IFBLK;
    case Kind::kFifo:
      return S_IFIFO;
    default:
      return S_IFREG;
  }
}

// The entry's attributes on top of those that are there.
void Dress(ModelNode& node, const LayerEntry& entry) {
  node.uid = entry.uid;
  node.gid = entry.gid;
  node.mtime = entry.mtime;
  node.implied = false;
  SetMode(node, S_ISLNK(node.mode) ? 0777 : entry.mode);
  const bool has_user_xattrs = S_ISREG(node.mode) || S_ISDIR(node.mode);
  for (const auto& [name, value] : entry.xattrs) {
    if (name.starts_with(kRootlessMarks)) {
      // Never obeyed, and the marks of these layers are trusted.overlay.*: it stays escaped.
      if (has_user_xattrs)
        node.xattrs["user.overlay.overlay." + name.substr(kRootlessMarks.size())] = value;
      continue;
    }
    if (name.starts_with("user.") && !has_user_xattrs) continue;
    if (name.starts_with("user.") || name.starts_with("trusted.") ||
        name == "security.capability") {
      node.xattrs[name] = value;
    }
  }
  if (S_ISLNK(node.mode)) return;
  SetAcl(node, ParseAcl(entry.acl, false));
  if (!IsDirectory(node)) return;
  ModelAcl acl = ParseAcl(entry.default_acl, true);
  if (!acl.empty()) node.default_acl = std::move(acl);
}

std::shared_ptr<ModelNode> ImpliedDirectory() {
  return std::make_shared<ModelNode>(ModelNode{.mode = S_IFDIR | 0755, .implied = true});
}

}  // namespace

LayerModel::LayerModel(Rule rule) : rule_(rule), tree_{{"", ImpliedDirectory()}} {}

bool LayerModel::Apply(const LayerEntries& entries) {
  Layer layer;
  layer.own = {{"", ImpliedDirectory()}};
  if (rule_ == Rule::kSequential) {
    // Which names the whiteouts hide has to be known first.
    Layer markers;
    markers.own = layer.own;
    for (const LayerEntry& entry : entries) {
      const auto path = Normalized(entry.path);
      if (!path) return false;
      NoteMarker(markers, *path);
    }
    before_ = tree_;
    Hide(markers);
    layer.own = tree_;
  }
  for (const LayerEntry& entry : entries) {
    if (!Take(layer, entry)) return false;
  }
  if (!MakeLateLinks(layer)) return false;
  if (rule_ == Rule::kSequential) {
    tree_ = std::move(layer.own);
  } else {
    Merge(std::move(layer));
  }
  return true;
}

bool LayerModel::Enter(Layer& layer, std::string_view directory) {
  for (std::size_t end = 0; end != std::string_view::npos && !directory.empty();) {
    end = directory.find('/', end + 1);
    const std::string path(directory.substr(0, end));
    if (layer.late_links.contains(path)) return false;
    auto& node = layer.own[path];
    if (node == nullptr) {
      node = ImpliedDirectory();
      oddities_.insert("implied directory");
      if (layer.whiteouts.contains(path)) oddities_.insert("path through a whiteout");
      const auto it = before_.find(path);
      if (it != before_.end() && !IsDirectory(*it->second) && !Hidden(layer, path)) {
        oddities_.insert("whiteout after a path through its name");
      }
    }
    if (!IsDirectory(*node)) return false;
  }
  return true;
}

bool LayerModel::Hidden(const Layer& layer, std::string_view path) {
  for (; !path.empty(); path = Parent(path)) {
    if (layer.whiteouts.contains(std::string(path)) ||
        layer.emptied.contains(std::string(Parent(path)))) {
      return true;
    }
  }
  return false;
}

bool LayerModel::Clear(Layer& layer, const std::string& path) {
  const bool late = layer.late_links.erase(path) > 0;
  const auto it = layer.own.find(path);
  if (it == layer.own.end()) return late;
  const bool directory = IsDirectory(*it->second);
  if (directory) oddities_.insert("something else in a directory's place");
  EraseTree(layer.own, path, true);
  std::erase_if(layer.late_links,
                [&](const auto& link) { return link.first.starts_with(path + '/'); });
  return !directory;
}

bool LayerModel::NoteMarker(Layer& layer, const std::string& path) {
  const std::string directory(Parent(path));
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  if (!name.starts_with(kWhiteout)) return true;
  if (name == ".wh..wh..opq") {
    layer.emptied.insert(directory);
    return true;
  }
  const std::string_view target = name.substr(kWhiteout.size());
  if (target.empty() || target == "." || target == "..") return false;
  layer.whiteouts.insert(directory.empty() ? std::string(target)
                                           : directory + '/' + std::string(target));
  return true;
}

bool LayerModel::TakeMarker(Layer& layer, const std::string& path) {
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  if (name.starts_with(kReserved) && name != ".wh..wh..opq") return true;
  if (!NoteMarker(layer, path) || !Enter(layer, Parent(path))) return false;
  std::string hidden(Parent(path));
  if (!hidden.empty()) hidden += '/';
  hidden += name.substr(kWhiteout.size());
  if (layer.own.contains(hidden) || layer.late_links.contains(hidden)) {
    oddities_.insert("whiteout after its name");
  }
  return true;
}

bool LayerModel::Take(Layer& layer, const LayerEntry& entry) {
  const auto path = Normalized(entry.path);
  if (!path) return false;
  if (!layer.named.insert(*path).second) oddities_.insert("name twice");
  const auto names = Split(*path, '/');
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    if (names[i].starts_with(kReserved)) return true;
    if (names[i].starts_with(kWhiteout)) return false;
  }
  if (names.back().starts_with(kWhiteout)) return TakeMarker(layer, *path);
  if (entry.kind == Kind::kDirectory) return TakeDirectory(layer, *path, entry);
  if (path->empty()) return false;
  if (entry.kind == Kind::kHardLink) return TakeHardLink(layer, *path, entry);
  const dev_t device = makedev(entry.device_major, entry.device_minor);
  if (entry.kind == Kind::kCharDevice && device == 0) return false;
  if (!Enter(layer, Parent(*path))) return false;
  if (layer.own.contains(*path)) oddities_.insert("replaced name");
  Clear(layer, *path);
  const auto node = std::make_shared<ModelNode>();
  node->mode = TypeOf(entry);
  if (entry.kind == Kind::kCharDevice || entry.kind == Kind::kBlockDevice) node->device = device;
  if (entry.kind == Kind::kFile) node->content = entry.content;
  if (entry.kind == Kind::kSymlink) node->content = entry.link;
  Dress(*node, entry);
  layer.own[*path] = node;
  return true;
}

bool LayerModel::TakeDirectory(Layer& layer, const std::string& path, const LayerEntry& entry) {
  if (!Enter(layer, Parent(path))) return false;
  const auto it = layer.own.find(path);
  const bool merges = it != layer.own.end() && IsDirectory(*it->second);
  if (!merges && Clear(layer, path)) {
    layer.emptied.insert(path);
    oddities_.insert("directory in a file's place");
  }
  if (!merges && layer.whiteouts.contains(path)) oddities_.insert("directory after its whiteout");
  if (merges && !it->second->xattrs.empty()) oddities_.insert("directory again, with xattrs");
  // A node of its own: in the sequential reading the old one may be that of a lower layer.
  const auto node = std::make_shared<ModelNode>(merges ? *layer.own[path] : ModelNode{});
  node->mode = S_IFDIR | (node->mode & kPermissions);
  Dress(*node, entry);
  layer.own[path] = node;
  return true;
}

bool LayerModel::TakeHardLink(Layer& layer, const std::string& path, const LayerEntry& entry) {
  const auto target = Normalized(entry.link);
  if (!target || target->empty()) return false;
  for (const std::string_view name : Split(*target, '/')) {
    if (name.starts_with(kWhiteout)) return false;
  }
  if (*target == path) {
    oddities_.insert("hard link to itself");
    return true;
  }
  // Through a symbolic link no target is looked for.
  for (std::string_view above = Parent(*target); !above.empty(); above = Parent(above)) {
    const auto it = layer.own.find(above);
    if (it != layer.own.end() && S_ISLNK(it->second->mode)) return false;
  }
  const auto it = layer.own.find(*target);
  if (it != layer.own.end() && !IsDirectory(*it->second)) {
    const auto node = it->second;
    if (target->starts_with(path + '/')) return false;
    if (!Enter(layer, Parent(path))) return false;
    if (layer.own.contains(path)) oddities_.insert("replaced name");
    Clear(layer, path);
    layer.own[path] = node;
    return true;
  }
  oddities_.insert("hard link before its target");
  if (!Enter(layer, Parent(path))) return false;
  Clear(layer, path);
  layer.late_links[path] = *target;
  return true;
}

bool LayerModel::MakeLateLinks(Layer& layer) {
  while (!layer.late_links.empty()) {
    bool progress = false;
    for (auto it = layer.late_links.begin(); it != layer.late_links.end();) {
      const auto& [path, target] = *it;
      const auto found = layer.own.find(target);
      if (found == layer.own.end() || IsDirectory(*found->second)) {
        ++it;
        continue;
      }
      layer.own[path] = found->second;
      it = layer.late_links.erase(it);
      progress = true;
    }
    if (!progress) return false;
  }
  return true;
}

void LayerModel::Hide(const Layer& layer) {
  for (const std::string& path : layer.emptied) EraseTree(tree_, path, false);
  for (const std::string& path : layer.whiteouts) EraseTree(tree_, path, true);
}

void LayerModel::Merge(Layer layer) {
  Hide(layer);
  for (auto& [path, node] : layer.own) {
    auto& below = tree_[path];
    if (below != nullptr && node->implied && IsDirectory(*below)) {
      if (!path.empty()) oddities_.insert("implied directory over a lower one");
      if (rule_ == Rule::kLayered) continue;
    }
    if (below != nullptr && IsDirectory(*below) && !IsDirectory(*node))
      EraseTree(tree_, path, false);
    below = std::move(node);
  }
}

}  // namespace strata::property
