#include "layerstore/index/chain_merge.h"

#include <algorithm>
#include <span>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/index_writer.h"

namespace strata::layerstore {
namespace {

using Entry = MetadataIndex::Entry;
using Place = MetadataIndex::Place;

constexpr std::size_t kMaxLayers = 65000;
constexpr int kMaxDepth = 4096;  // a path of more levels cannot be given to any system call
// A redirect shows a directory twice if the old name is not hidden; nobody does that a lot.
constexpr std::uint64_t kMaxGrowth = 4;

std::unexpected<Error> TooDeep() { return Fail(E2BIG, "index", "too many levels of directories"); }

}  // namespace

const ChainMerge::Name* ChainMerge::Find(const Directory& directory, std::string_view name) {
  const auto found = std::ranges::lower_bound(directory.names, name, {}, &Name::name);
  return found != directory.names.end() && found->name == name ? &*found : nullptr;
}

// One layer on its way to the top.
class ChainMerge::Layering {
 public:
  Layering(ChainMerge& chain, const MetadataIndex& layer, std::uint16_t number)
      : chain_(chain), layer_(layer), number_(number) {}

  // The layer's directory over what is below it.
  Result<DirectoryRef> Over(MetadataIndex::Directory directory, bool opaque, Below below,
                            int depth) {
    if (depth > kMaxDepth) return TooDeep();
    if (opaque) below = {};
    STRATA_TRY_ASSIGN(const MetadataIndex::Names listed, layer_.List(directory));
    std::vector<Name> names;
    const std::span<const Name> lowers =
        below.directory ? std::span<const Name>(below.directory->names) : std::span<const Name>();
    names.reserve(lowers.size() + listed.count);
    auto next = lowers.begin();
    for (MetadataIndex::Number number = listed.first; number < listed.end(); ++number) {
      STRATA_TRY_ASSIGN(const Entry entry, layer_.At(number));
      const Name* under = nullptr;
      for (; next != lowers.end() && next->name <= entry.name; ++next) {
        if (next->name == entry.name) {
          under = &*next;
        } else {
          names.push_back(*next);
        }
      }
      if (entry.whiteout) continue;
      Name name{entry.name, &layer_, number, number_, false, nullptr};
      if (entry.directory) STRATA_TRY(Descend(entry, below, under, name, depth));
      names.push_back(std::move(name));
    }
    names.insert(names.end(), next, lowers.end());
    return std::make_shared<const Directory>(std::move(names), std::move(below.moves));
  }

 private:
  Result<> Descend(const Entry& entry, const Below& parent, const Name* under, Name& name,
                   int depth) {
    Below below;
    if (!entry.target.empty()) {
      below = FollowRedirect(parent, entry.target);
    } else if (!entry.alone && under != nullptr && under->directory) {
      below.directory = under->directory;
      below.path = JoinPath(parent.path, entry.name);
      below.moves = under->directory->moves;
    }
    name.merged = below.directory && !entry.opaque;
    STRATA_TRY_ASSIGN(name.directory,
                      Over(*entry.directory, entry.opaque, std::move(below), depth + 1));
    return {};
  }

  // Where the chain below shows the directory a redirect names, and where each of its layers has
  // that.
  Below FollowRedirect(const Below& parent, std::string_view redirect) const {
    Below below;
    if (redirect.starts_with('/')) {
      below.path = redirect.substr(1);
    } else if (parent.directory) {
      below.path = JoinPath(parent.path, redirect);
    } else {
      return {};
    }
    below.directory = chain_.root_.directory;
    if (!below.directory) return {};  // the lowest layer
    below.moves = {{0, static_cast<std::uint16_t>(number_ - 1), ""}};
    for (std::string_view rest = below.path; !rest.empty();) {
      const std::size_t slash = std::min(rest.find('/'), rest.size());
      const Name* name = Find(*below.directory, rest.substr(0, slash));
      if (name == nullptr || !name->directory) return {};
      const DirectoryRef above = std::move(below.directory);  // which holds `name`
      below.directory = name->directory;
      below.moves = Descended(below.moves, *name);
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
    return below;
  }

  // One step down from the places of a directory to those of a directory in it.
  static std::vector<Place> Descended(const std::vector<Place>& above, const Name& name) {
    const std::vector<Place>& own = name.directory->moves;
    std::vector<Place> places = own;
    for (const Place& place : above) {
      // What is left of this range between the directory's own.
      unsigned first = place.first;
      for (const Place& taken : own) {
        if (taken.last < first || taken.first > place.last) continue;
        if (taken.first > first) Append(places, first, taken.first - 1U, place.path, name.name);
        first = taken.last + 1U;
      }
      if (first <= place.last) Append(places, first, place.last, place.path, name.name);
    }
    std::ranges::sort(places, {}, &Place::first);
    return places;
  }

  static void Append(std::vector<Place>& places, unsigned first, unsigned last,
                     const std::string& above, std::string_view name) {
    places.push_back({static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last),
                      JoinPath(above, name)});
  }

  ChainMerge& chain_;
  const MetadataIndex& layer_;
  const std::uint16_t number_;
};

Result<ChainMerge::DirectoryRef> ChainMerge::Load(const MetadataIndex& chain,
                                                  MetadataIndex::Directory directory, int depth) {
  if (depth > kMaxDepth) return TooDeep();
  STRATA_TRY_ASSIGN(const MetadataIndex::Names listed, chain.List(directory));
  std::vector<Name> names;
  names.reserve(listed.count);
  for (MetadataIndex::Number number = listed.first; number < listed.end(); ++number) {
    STRATA_TRY_ASSIGN(const Entry entry, chain.NameAt(number));
    Name name{entry.name, &chain, number, entry.layer, entry.merged, nullptr};
    if (entry.directory) {
      STRATA_TRY_ASSIGN(name.directory, Load(chain, *entry.directory, depth + 1));
    }
    names.push_back(std::move(name));
  }
  STRATA_TRY_ASSIGN(std::vector<Place> moves, chain.Moves(directory));
  return std::make_shared<const Directory>(std::move(names), std::move(moves));
}

Result<> ChainMerge::StartWith(std::shared_ptr<const MetadataIndex> chain) {
  if (chain->kind() != MetadataIndex::Kind::kChain || !layers_.empty()) {
    return Fail(EINVAL, "index", "not the index of a chain");
  }
  STRATA_TRY_ASSIGN(const DirectoryRef root, Load(*chain, MetadataIndex::kRoot, 0));
  STRATA_TRY_ASSIGN(const Entry entry, chain->NameAt(0));
  root_ = {{}, chain.get(), 0, entry.layer, entry.merged, root};
  for (const MetadataIndex::Layer& layer : chain->layers()) {
    layers_.push_back({layer.proof, layer.block_size, std::string(layer.path)});
  }
  user_marks_ = chain->user_marks();
  names_given_ += chain->entries();
  sources_.push_back(std::move(chain));
  return {};
}

Result<> ChainMerge::Add(std::shared_ptr<const MetadataIndex> layer, std::string path) {
  if (layer->kind() != MetadataIndex::Kind::kLayer) {
    return Fail(EINVAL, "index", "not the index of a layer");
  }
  if (!layers_.empty() && layer->user_marks() != user_marks_) {
    return Fail(EINVAL, "index", "layers with marks of two kinds");
  }
  if (layers_.size() == kMaxLayers) return Fail(E2BIG, "index", "too many layers");
  user_marks_ = layer->user_marks();
  const auto number = static_cast<std::uint16_t>(layers_.size());
  STRATA_TRY_ASSIGN(const Entry entry, layer->At(0));
  Below below;
  below.directory = root_.directory;
  STRATA_TRY_ASSIGN(const DirectoryRef root,
                    Layering(*this, *layer, number)
                        .Over(MetadataIndex::kRoot, entry.opaque, std::move(below), 0));
  root_ = {{}, layer.get(), 0, number, number > 0, root};
  const MetadataIndex::Layer& from = layer->layers().front();
  layers_.push_back({from.proof, from.block_size, std::move(path)});
  names_given_ += layer->entries();
  sources_.push_back(std::move(layer));
  return {};
}

Result<std::string> ChainMerge::Finish() const {
  if (layers_.empty()) return Fail(EINVAL, "index", "a chain without layers");
  IndexWriter writer(MetadataIndex::Kind::kChain, user_marks_);
  for (const Layer& layer : layers_) {
    writer.AddLayer({layer.proof, layer.block_size, layer.path});
  }
  const auto describe = [](const Name& name) -> Result<Entry> {
    STRATA_TRY_ASSIGN(Entry entry, name.source->At(name.number));
    entry.layer = name.layer;
    entry.opaque = false;
    entry.alone = false;
    entry.merged = name.merged;
    if (name.directory) entry.target = {};  // a redirect that has been followed
    return entry;
  };
  STRATA_TRY_ASSIGN(const Entry root, describe(root_));
  STRATA_TRY(writer.AddRoot(root));

  std::vector<std::pair<const Directory*, MetadataIndex::Directory>> open = {
      {root_.directory.get(), MetadataIndex::kRoot}};
  std::vector<Entry> entries;
  while (!open.empty()) {
    const auto [directory, number] = open.back();
    open.pop_back();
    entries.clear();
    for (const Name& name : directory->names) {
      STRATA_TRY_ASSIGN(Entry entry, describe(name));
      entries.push_back(entry);
    }
    STRATA_TRY(writer.Fill(number, entries, directory->moves));
    if (writer.entries() > kMaxGrowth * names_given_) {
      return Fail(E2BIG, "index", "redirects show the same directories too often");
    }
    for (std::size_t i = entries.size(); i > 0; --i) {
      if (entries[i - 1].directory) {
        open.emplace_back(directory->names[i - 1].directory.get(), *entries[i - 1].directory);
      }
    }
  }
  return writer.Finish();
}

}  // namespace strata::layerstore
