#include "tests/property/generator_layers.h"

#include <set>

#include "base/path.h"

namespace strata::property {
namespace {

class LayerGenerator {
 public:
  // `moved`: the directories that some layer moved already.
  LayerGenerator(Random& random, NamePool& names, bool bottom, std::set<std::string>& moved)
      : random_(random), names_(names), bottom_(bottom), moved_(moved) {}

  std::vector<LayerCommand> Run(int count) {
    for (int i = 0; i < count; ++i) One();
    return std::move(commands_);
  }

 private:
  LayerCommand& Add(LayerKind kind, const std::string& path) {
    MakeParents(path);
    return Push(kind, path);
  }

  void MakeParents(std::string_view path) {
    const std::string dir(DirName(path));
    if (!dir.empty()) MakeDir(dir);
  }

  void MakeDir(const std::string& path) {
    if (!made_.insert(path).second) return;
    MakeParents(path);
    AddDir(path);
  }

  LayerCommand& Push(LayerKind kind, const std::string& path) {
    LayerCommand& command = commands_.emplace_back();
    command.kind = kind;
    command.path = path;
    command.mtime = RandomTime(random_);
    return command;
  }

  void AddDir(const std::string& path) {
    LayerCommand& dir = Push(LayerKind::kDir, path);
    dir.mode = RandomDirMode(random_);
    dir.uid = RandomOwner(random_);
    dir.gid = RandomOwner(random_);
    names_.AddDir(path);
    here_.push_back(path);
  }

  void AddFile(const std::string& path) {
    LayerCommand& file = Add(LayerKind::kFile, path);
    file.mode = RandomFileMode(random_);
    file.uid = RandomOwner(random_);
    file.gid = RandomOwner(random_);
    file.seed = static_cast<std::uint32_t>(random_.Next());
    file.hole = random_.Chance(20);
    file.size = file.hole ? random_.Between(4'096, 200'000)
                          : random_.Pick<std::int64_t>(
                                {0, 1, 10, 100, 100, 4'095, 4'096, 5'000, 5'000, 20'000, 70'000});
    names_.AddFile(path);
    here_.push_back(path);
  }

  void AddSpecial(const std::string& path) {
    const LayerKind kind =
        random_.Pick({LayerKind::kFifo, LayerKind::kCharDev, LayerKind::kBlockDev});
    LayerCommand& node = Add(kind, path);
    node.mode = 0644;
    node.uid = RandomOwner(random_);
    node.size = random_.Between(1, 8);
    names_.AddFile(path);
    here_.push_back(path);
  }

  void AddSymlink(const std::string& path) {
    const std::string target =
        random_.Chance(70) ? names_.Name() : JoinPath(names_.Name(), names_.Name());
    LayerCommand& link = Add(LayerKind::kSymlink, path);
    link.text = target;
    link.uid = RandomOwner(random_);
    names_.AddFile(path);
    here_.push_back(path);
  }

  // Only within this layer.
  void AddHardLink() {
    if (here_.empty()) return;
    const std::string existing = random_.Pick(here_);
    const std::string path = names_.NewPath();
    Add(LayerKind::kHardLink, path).text = existing;
    names_.AddFile(path);
  }

  void AddXattr() {
    if (here_.empty()) return;
    const NamedXattr xattr = RandomXattr(random_);
    LayerCommand& command = Add(LayerKind::kXattr, random_.Pick(here_));
    command.name = xattr.name;
    command.text = xattr.value;
  }

  void AddMovedDir() {
    const std::string from = names_.KnownDir();
    const std::string to = names_.NewPath();
    if (to == from || to.starts_with(from + "/") || from.starts_with(to + "/")) return;
    // One redirect per origin: two directories with the same one are no layer the kernel writes.
    if (made_.contains(from) || !moved_.insert(from).second) return;
    MakeParents(from);
    LayerCommand& dir = Add(LayerKind::kMoveDir, to);
    dir.text = from;
    dir.mode = RandomDirMode(random_);
    dir.uid = RandomOwner(random_);
    made_.insert(to);
    names_.AddDir(to);
    names_.Move(from, to);
    here_.push_back(to);
  }

  void One() {
    const std::uint64_t roll = random_.Below(100);
    if (roll < 30) {
      AddFile(names_.NewPath());
    } else if (roll < 38) {
      AddFile(names_.Path());  // often replaces what a lower layer has there
    } else if (roll < 50) {
      MakeDir(random_.Chance(60) ? names_.NewPath() : names_.Path());
    } else if (roll < 56) {
      AddSymlink(names_.NewPath());
    } else if (roll < 60) {
      AddSpecial(names_.NewPath());
    } else if (roll < 68) {
      AddHardLink();
    } else if (roll < 78) {
      AddXattr();
    } else if (bottom_) {
      AddFile(names_.NewPath());
    } else if (roll < 88) {
      Add(LayerKind::kWhiteout, names_.Path());
    } else if (roll < 94) {
      const std::string dir = names_.KnownDir();
      MakeDir(dir);
      Push(LayerKind::kOpaque, dir);
    } else {
      AddMovedDir();
    }
  }

  Random& random_;
  NamePool& names_;
  const bool bottom_;
  std::set<std::string>& moved_;
  std::vector<LayerCommand> commands_;
  std::set<std::string> made_;     // directories of this layer
  std::vector<std::string> here_;  // everything of this layer
};

}  // namespace

std::vector<std::vector<LayerCommand>> GenerateLayers(Random& random, NamePool& names, int count) {
  std::vector<std::vector<LayerCommand>> layers;
  std::set<std::string> moved;
  for (int i = 0; i < count; ++i) {
    LayerGenerator generator(random, names, i == 0, moved);
    layers.push_back(generator.Run(static_cast<int>(random.Between(i == 0 ? 8 : 2, 14))));
  }
  return layers;
}

}  // namespace strata::property
