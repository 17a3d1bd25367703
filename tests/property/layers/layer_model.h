// What layers mean, worked out from their entries alone: the tree of an image by the OCI
// specification. Shares no code with the store.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/property/layers/layer_entry.h"

namespace strata::property {

// A POSIX ACL's entries: {tag, id} to permissions, in the order the kernel keeps them.
using ModelAcl = std::map<std::pair<unsigned, std::uint32_t>, unsigned>;

struct ModelNode {
  mode_t mode = 0;  // with the type
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<struct timespec> mtime = {};  // nothing: the clock's
  dev_t device = 0;
  std::string content = {};                        // or a symlink's target
  std::map<std::string, std::string> xattrs = {};  // but for ACLs
  ModelAcl acl = {};
  ModelAcl default_acl = {};
  bool implied = false;  // a directory that only paths name
};

// Names of one file share their node. "" is the root.
using ModelTree = std::map<std::string, std::shared_ptr<ModelNode>, std::less<>>;

// Three readings, which agree for what tools make:
//   kLayered     each layer is a directory of its own, and they are merged (strata)
//   kAdHoc       the same, but a directory that only paths name hides what the lower one is:
//   whoever
//                merges directories without asking them for that (overlay drivers)
//   kSequential  each layer is extracted over the tree of those below it: what all do that make one
//                tree (umoci, vfs drivers)
// In all, whiteouts are about the layers below, wherever they stand in theirs.
class LayerModel {
 public:
  enum class Rule : std::uint8_t { kLayered, kAdHoc, kSequential };

  explicit LayerModel(Rule rule);

  // False if the layer must be refused; the model is of no use any more.
  bool Apply(const LayerEntries& entries);
  const ModelTree& tree() const { return tree_; }
  // What was met that peers may read in another way.
  const std::set<std::string>& oddities() const { return oddities_; }

 private:
  struct Layer {
    ModelTree own;
    std::set<std::string> whiteouts;
    std::set<std::string> emptied;  // directories that hide what is in lower ones
    std::map<std::string, std::string> late_links;
    std::set<std::string> named;
  };

  bool Take(Layer& layer, const LayerEntry& entry);
  bool TakeMarker(Layer& layer, const std::string& path);
  // What it hides, whether or not its place can be.
  static bool NoteMarker(Layer& layer, const std::string& path);
  bool TakeDirectory(Layer& layer, const std::string& path, const LayerEntry& entry);
  bool TakeHardLink(Layer& layer, const std::string& path, const LayerEntry& entry);
  bool MakeLateLinks(Layer& layer);
  // Makes the directories on the way that are missing. False if one is something else.
  bool Enter(Layer& layer, std::string_view directory);
  // Whether markers that were read by now hide it.
  static bool Hidden(const Layer& layer, std::string_view path);
  // Whatever is there goes; true if it was there and no directory.
  bool Clear(Layer& layer, const std::string& path);
  void Hide(const Layer& layer);
  void Merge(Layer layer);

  Rule rule_;
  ModelTree tree_;
  ModelTree before_;  // kSequential: the tree without the layer
  std::set<std::string> oddities_;
};

}  // namespace strata::property
