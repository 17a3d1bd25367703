#include "layerstore/index/chain_merge.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/path.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

using Entry = MetadataIndex::Entry;
using Place = MetadataIndex::Place;

constexpr std::size_t kMaxLayers = 65000;
constexpr int kMaxDepth = 4096;  // a path of more levels cannot be given to any system call
// A redirect shows a directory twice if the old name is not hidden; nobody does that a lot.
constexpr std::uint64_t kMaxGrowth = 4;
// Redirects to what was itself redirected: one more for each time a directory is renamed.
constexpr int kMaxRedirects = 200;

std::unexpected<Error> TooOften() {
  return Fail(E2BIG, "index", "redirects show the same directories too often");
}

void Append(std::vector<Place>& places, unsigned first, unsigned last, const std::string& above,
            std::string_view name) {
  places.push_back(
      {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), JoinPath(above, name)});
}

// One step down from the places of a directory to those of a directory in it, which has some of its
// own.
std::vector<Place> Descended(const std::vector<Place>& above, std::string_view name,
                             const std::vector<Place>& own) {
  std::vector<Place> places = own;
  for (const Place& place : above) {
    // What is left of this range between the directory's own.
    unsigned first = place.first;
    for (const Place& taken : own) {
      if (taken.last < first || taken.first > place.last) continue;
      if (taken.first > first) Append(places, first, taken.first - 1U, place.path, name);
      first = taken.last + 1U;
    }
    if (first <= place.last) Append(places, first, place.last, place.path, name);
  }
  std::ranges::sort(places, {}, &Place::first);
  return places;
}

}  // namespace

class ChainMerge::Merger {
 public:
  Merger(const ChainMerge& chain, FileOps& files, const IndexFile& to)
      : chain_(chain),
        sources_(chain.sources_),
        to_(to),
        writer_(files, to.scratch, MetadataIndex::Kind::kChain, chain.user_marks_) {}

  Result<> Run() {
    for (const Layer& layer : chain_.layers_) {
      writer_.AddLayer({layer.proof, layer.block_size, layer.path});
    }
    const Source& top = sources_.back();
    STRATA_TRY_ASSIGN(Entry root, top.index->At(0));
    Settle(root, top, !top.is_chain() && top.layer > 0);
    STRATA_TRY(InheritRoot(root));
    STRATA_TRY(writer_.AddRoot(root));

    const auto all = static_cast<std::uint32_t>(sources_.size());
    open_.push_back({RootBelow(all), MetadataIndex::kRoot, 0});
    while (!open_.empty()) {
      const Open next = std::move(open_.back());
      open_.pop_back();
      if (next.depth > kMaxDepth) {
        return Fail(E2BIG, "index", "too many levels of directories");
      }
      STRATA_TRY(Write(next));
      if (writer_.entries() > kMaxGrowth * chain_.names_given_) return TooOften();
    }
    return writer_.Finish(to_.file);
  }

 private:
  // A directory that has its entry, but nothing in it yet.
  struct Open {
    Directory directory;
    MetadataIndex::Directory number;
    int depth;
  };
  // What lies under a redirected directory.
  struct Below {
    std::vector<Part> parts;
    std::vector<Place> moves;
    std::string path;
  };

  const MetadataIndex& IndexOf(const Part& part) const { return *sources_[part.source].index; }

  // What the entry of a source is in the chain.
  static void Settle(Entry& entry, const Source& from, bool merged) {
    if (!from.is_chain()) {
      entry.layer = from.layer;
      entry.merged = merged;
    }
    entry.opaque = false;
    entry.alone = false;
  }

  // Gives an implied directory the attributes of the same in a source further down.
  static void TakeAttributes(Entry& entry, const Entry& below, const Source& from) {
    entry.attr = below.attr;
    entry.has_xattrs = below.has_xattrs;
    entry.implied = below.implied;
    entry.layer = from.is_chain() ? below.layer : from.layer;
  }

  // `lower`: where the directory's name is further down. Those an opaque mark hides have been the
  // directory's, too: it is its names that are hidden.
  Result<> Inherit(Entry& entry, const std::vector<Part>& parts,
                   std::span<const Found> lower) const {
    for (const Found& each : lower) {
      if (!entry.implied) return {};
      const Part& part = parts[each.part];
      STRATA_TRY_ASSIGN(const Entry below, IndexOf(part).At(each.number));
      if (!below.directory) return {};
      TakeAttributes(entry, below, sources_[part.source]);
      if (below.alone) return {};
    }
    return {};
  }

  Result<> InheritRoot(Entry& root) const {
    for (std::size_t source = sources_.size() - 1; root.implied && source > 0; --source) {
      const Source& lower = sources_[source - 1];
      STRATA_TRY_ASSIGN(const Entry below, lower.index->At(0));
      TakeAttributes(root, below, lower);
    }
    return {};
  }

  // The root of the chain of the sources below `end`.
  Directory RootBelow(std::uint32_t end) const {
    Directory root;
    for (std::uint32_t source = end; source > 0; --source) {
      root.parts.push_back({source - 1, MetadataIndex::kRoot, nullptr});
      if (sources_[source - 1].opaque) break;
    }
    return root;
  }

  Result<> Write(const Open& open) {
    NameMerge names;
    for (const Part& part : open.directory.parts) {
      STRATA_TRY(names.Add(IndexOf(part), part.directory));
    }
    writer_.Begin(open.number);
    const std::size_t first_below = open_.size();
    for (;;) {
      STRATA_TRY_ASSIGN(const std::span<const Found> found, names.Next());
      if (found.empty()) break;
      STRATA_TRY(WriteName(open, found));
    }
    STRATA_TRY(writer_.End(open.directory.moves));
    // The first is opened next.
    std::reverse(open_.begin() + static_cast<std::ptrdiff_t>(first_below), open_.end());
    return {};
  }

  Result<> WriteName(const Open& open, std::span<const Found> found) {
    const Part& part = open.directory.parts[found.front().part];
    STRATA_TRY_ASSIGN(Entry entry, IndexOf(part).At(found.front().number));
    if (entry.whiteout) return {};
    if (!entry.directory) {
      Settle(entry, sources_[part.source], false);
      return writer_.Add(entry);
    }
    STRATA_TRY_ASSIGN(Directory below, Descend(open.directory, entry.name, found, 0));
    const bool hides_lower = entry.alone;
    Settle(entry, sources_[part.source], below.parts.size() > 1);
    if (!hides_lower) STRATA_TRY(Inherit(entry, open.directory.parts, found.subspan(1)));
    entry.target = {};  // a redirect that has been followed
    STRATA_TRY(writer_.Add(entry));
    open_.push_back({std::move(below), *entry.directory, open.depth + 1});
    return {};
  }

  // The directory `name` of `parent`, where `found` is of that name, a directory in the topmost
  // part.
  Result<Directory> Descend(const Directory& parent, std::string_view name,
                            std::span<const Found> found, int redirects) {
    Directory directory;
    directory.path = JoinPath(parent.path, name);
    for (const Found& each : found) {
      const Part& above = parent.parts[each.part];
      STRATA_TRY_ASSIGN(const Entry entry, IndexOf(above).At(each.number));
      if (!entry.directory) break;  // hides what is below
      Part part{above.source, *entry.directory, nullptr};
      if (above.path) part.path = std::make_shared<const std::string>(JoinPath(*above.path, name));
      directory.parts.push_back(std::move(part));
      if (sources_[above.source].is_chain()) {
        STRATA_TRY_ASSIGN(directory.moves, IndexOf(above).Moves(*entry.directory));
        break;
      }
      if (entry.opaque) break;
      if (!entry.target.empty()) {
        const bool over_nothing = each.part + 1 == parent.parts.size();
        STRATA_TRY_ASSIGN(std::optional<Below> below,
                          FollowRedirect(above.source, above.path ? *above.path : parent.path,
                                         over_nothing, entry.target, redirects + 1));
        if (!below) break;
        directory.parts.back().path = std::make_shared<const std::string>(std::move(below->path));
        directory.parts.insert(directory.parts.end(), below->parts.begin(), below->parts.end());
        directory.moves = std::move(below->moves);
        break;
      }
      if (entry.alone) break;
    }
    return directory;
  }

  // Where the chain below a source shows the directory a redirect names, and where each of its
  // layers has that. `parent`: the path of the redirected directory's parent in that chain;
  // `over_nothing`: it has none.
  Result<std::optional<Below>> FollowRedirect(std::uint32_t source, const std::string& parent,
                                              bool over_nothing, std::string_view redirect,
                                              int redirects) {
    if (redirects > kMaxRedirects || ++followed_ > kMaxGrowth * chain_.names_given_) {
      return TooOften();
    }
    std::string path;
    if (redirect.starts_with('/')) {
      path = redirect.substr(1);
    } else if (over_nothing) {
      return std::optional<Below>();
    } else {
      path = JoinPath(parent, redirect);
    }
    if (source == 0) return std::optional<Below>();
    Directory directory = RootBelow(source);
    std::vector<Place> moves = {{0, static_cast<std::uint16_t>(sources_[source].layer - 1), ""}};
    for (std::string_view rest = path; !rest.empty();) {
      const std::size_t slash = std::min(rest.find('/'), rest.size());
      const std::string_view name = rest.substr(0, slash);
      STRATA_TRY_ASSIGN(std::optional<Directory> next, Find(directory, name, redirects));
      if (!next) return std::optional<Below>();
      directory = std::move(*next);
      moves = Descended(moves, name, directory.moves);
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
    const auto shown = std::make_shared<const std::string>(path);
    for (Part& part : directory.parts) {
      if (!part.path) part.path = shown;
    }
    return Below{std::move(directory.parts), std::move(moves), std::move(path)};
  }

  Result<std::optional<Directory>> Find(const Directory& parent, std::string_view name,
                                        int redirects) {
    std::vector<Found> found;
    for (std::size_t part = 0; part < parent.parts.size(); ++part) {
      STRATA_TRY_ASSIGN(const auto number,
                        IndexOf(parent.parts[part]).Find(parent.parts[part].directory, name));
      if (number) found.push_back({part, *number});
    }
    if (found.empty()) return std::optional<Directory>();
    STRATA_TRY_ASSIGN(Directory directory, Descend(parent, name, found, redirects));
    if (directory.parts.empty()) return std::optional<Directory>();
    return std::optional(std::move(directory));
  }

  const ChainMerge& chain_;
  const std::vector<Source>& sources_;
  const IndexFile to_;
  IndexWriter writer_;
  std::vector<Open> open_;
  std::uint64_t followed_ = 0;  // redirects
};

Result<> ChainMerge::StartWith(std::shared_ptr<const MetadataIndex> chain) {
  if (chain->kind() != MetadataIndex::Kind::kChain || !layers_.empty()) {
    return Fail(EINVAL, "index", "not the index of a chain");
  }
  for (const MetadataIndex::Layer& layer : chain->layers()) {
    layers_.push_back({layer.proof, layer.block_size, std::string(layer.path)});
  }
  user_marks_ = chain->user_marks();
  names_given_ += chain->entries();
  sources_.push_back({std::move(chain), 0, false});
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
  STRATA_TRY_ASSIGN(const Entry root, layer->NameAt(0));
  const MetadataIndex::Layer& from = layer->layers().front();
  layers_.push_back({from.proof, from.block_size, std::move(path)});
  names_given_ += layer->entries();
  sources_.push_back({std::move(layer), number, root.opaque});
  return {};
}

Result<> ChainMerge::Finish(FileOps& files, const IndexFile& to) const {
  if (layers_.empty()) return Fail(EINVAL, "index", "a chain without layers");
  return Merger(*this, files, to).Run();
}

}  // namespace strata::layerstore
