#include "tests/property/runner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/path.h"
#include "base/try.h"
#include "tests/property/layer_builder.h"
#include "tests/property/layer_diff.h"
#include "tests/property/sequence_text.h"
#include "tests/property/session.h"
#include "tests/support/chain_index.h"
#include "tests/support/flatten.h"
#include "tests/support/temp_root.h"
#include "tests/support/tree_snapshot.h"

namespace strata::property {
namespace {

using support::HiddenLinks;
using support::Mounter;
using support::TreeSnapshot;
using support::UnionMount;
using support::UnionSpec;

bool IsKernel(Mounter mounter) { return mounter == Mounter::kOverlay; }

std::string Prefix(std::size_t sequence) { return "s" + std::to_string(sequence); }

// The layers, the model and the mount point of one group of sequences.
class Group {
 public:
  Group(std::string path, const RunnerOptions& options, Watchdog& watchdog,
        const std::vector<Sequence>& sequences)
      : path_(std::move(path)), options_(options), watchdog_(watchdog), sequences_(sequences) {}

  Result<std::vector<Failure>> Run() {
    STRATA_TRY(Build());
    STRATA_TRY_ASSIGN(const std::vector<Digest> before, Digests());
    STRATA_TRY_ASSIGN(UnionMount mount, UnionMount::Start(options_.mounter, Spec()));
    watchdog_.Watch(mount.pid());
    RunSessions(mount);
    STRATA_TRY_ASSIGN(const auto trees, Snapshots());
    watchdog_.Stop();
    if (auto stopped = mount.Stop(); !stopped) FailAll(stopped.error().ToString());
    if (options_.diff) STRATA_TRY(CheckDiff(trees));
    bool finalized = options_.mounter != Mounter::kStratafs;
    for (const Mounter mounter : options_.remounts) {
      // Others cannot read what is copied up in part.
      if (mounter != Mounter::kStratafs && !std::exchange(finalized, true)) {
        STRATA_TRY(support::FinalizeUpper(Spec()));
      }
      STRATA_TRY(CheckRemount(mounter, trees));
      if (options_.chain && mounter == options_.mounter) {
        STRATA_TRY(CheckRemount(mounter, trees, false));
      }
    }
    STRATA_TRY_ASSIGN(const std::vector<Digest> after, Digests());
    if (before != after) FailAll("a lower layer was changed");
    return Take();
  }

 private:
  std::string At(const std::string& name) const { return JoinPath(path_, name); }
  std::string LayerPath(std::size_t i) const { return At("l" + std::to_string(i)); }

  Result<> Build() {
    for (const Sequence& sequence : sequences_) {
      const std::size_t lower = sequence.layers.size() - (sequence.upper_prefilled ? 1 : 0);
      layers_ = std::max(layers_, lower);
    }
    std::vector<std::string> dirs = {path_, At("upper"), At("work"), At("mnt"), At("model")};
    for (std::size_t i = 0; i < layers_; ++i) dirs.push_back(LayerPath(i));
    for (const std::string& dir : dirs) {
      if (::mkdir(dir.c_str(), 0755) != 0) return FailErrno("mkdir", dir);
      if (::chmod(dir.c_str(), 0755) != 0) return FailErrno("chmod", dir);
    }
    for (std::size_t i = 0; i < sequences_.size(); ++i) STRATA_TRY(BuildLayers(i));
    std::vector<std::string> stack = Spec().lower;
    if (options_.chain) {
      if (::mkdir(At("chain").c_str(), 0755) != 0) return FailErrno("mkdir", At("chain"));
      STRATA_TRY(support::WriteChainIndex(stack, At("chain"), layers_ / 2));
    }
    stack.insert(stack.begin(), At("upper"));
    STRATA_TRY_ASSIGN(hidden_, support::Flatten(stack, At("model")));
    return {};
  }

  Result<> BuildLayers(std::size_t index) {
    const Sequence& sequence = sequences_[index];
    std::vector<std::string> below;
    for (std::size_t i = 0; i < sequence.layers.size(); ++i) {
      const bool upper = sequence.upper_prefilled && i + 1 == sequence.layers.size();
      const std::string layer = upper ? At("upper") : LayerPath(i);
      STRATA_TRY(BuildLayer(layer, Prefix(index), sequence.layers[i], below));
      if (IsKernel(options_.mounter)) below.push_back(layer);
    }
    return {};
  }

  UnionSpec Spec() const {
    UnionSpec spec;
    for (std::size_t i = layers_; i > 0; --i) spec.lower.push_back(LayerPath(i - 1));
    if (options_.chain) spec.chain = At("chain");
    spec.upper = At("upper");
    spec.work = At("work");
    spec.mount_point = At("mnt");
    spec.copy_up = options_.copy_up;
    spec.passthrough = options_.passthrough;
    spec.options = options_.mount_options;
    return spec;
  }

  Result<std::vector<Digest>> Digests() const {
    std::vector<Digest> digests;
    for (std::size_t i = 0; i < layers_; ++i) {
      STRATA_TRY_ASSIGN(Digest digest, support::LayerDigest(LayerPath(i)));
      digests.push_back(digest);
    }
    return digests;
  }

  // The links of one sequence's files that other layers hide.
  std::map<Identity, nlink_t> HiddenIn(std::size_t sequence) const {
    std::map<Identity, nlink_t> found;
    for (const HiddenLinks& links : hidden_) {
      if (!links.path.starts_with(Prefix(sequence) + "/")) continue;
      if (const auto file = IdentityOf(AT_FDCWD, JoinPath(At("model"), links.path))) {
        found[*file] = links.hidden;
      }
    }
    return found;
  }

  void RunSessions(UnionMount& mount) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      const std::string model = JoinPath(At("model"), Prefix(i));
      auto session = Session::Open(JoinPath(At("mnt"), Prefix(i)), model,
                                   {.hidden_links = HiddenIn(i),
                                    .lenient = IsKernel(options_.mounter),
                                    .passthrough = options_.passthrough != "off"},
                                   book_);
      if (!session) {
        Add(i, 0, session.error().ToString());
        sessions_.push_back(nullptr);
        continue;
      }
      sessions_.push_back(std::make_unique<Session>(std::move(*session)));
      RunOne(i, *sessions_.back());
      sessions_.back()->Close();
      if (watchdog_.bit()) Add(i, 0, "hung");
      if (mount.pid() > 0 && !mount.process().Running()) {
        Add(i, sequences_[i].operations.size(), "the daemon died: " + mount.Log());
        return;
      }
    }
  }

  void RunOne(std::size_t index, Session& session) {
    const Sequence& sequence = sequences_[index];
    const std::size_t count = sequence.operations.size();
    const mode_t umask = ::umask(sequence.umask);
    for (std::size_t i = 0; i < count && !failures_.contains(index); ++i) {
      watchdog_.Progress();
      std::string difference = session.Step(sequence.operations[i]);
      if (!difference.empty() && watchdog_.bit())
        difference += "  (the daemon was ended: it hung)\n";
      if (!difference.empty()) Add(index, i, difference);
      if (difference.empty() && i == count / 2) Add(index, i, session.CompareTrees());
    }
    ::umask(umask);
    watchdog_.Progress();
    if (!failures_.contains(index)) Add(index, count, session.CompareTrees());
  }

  // The whole union as it is now, by sequence.
  Result<std::map<std::string, TreeSnapshot>> Snapshots() {
    std::map<std::string, TreeSnapshot> trees;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (failures_.contains(i)) continue;
      watchdog_.Progress();
      auto tree =
          TreeSnapshot::Take(JoinPath(At("mnt"), Prefix(i)),
                             {.holes = true, .skip_unfindable = IsKernel(options_.mounter)});
      if (!tree) {
        Add(i, sequences_[i].operations.size(), tree.error().ToString());
        continue;
      }
      CheckUnique(i, *tree);
      trees.emplace(Prefix(i), std::move(*tree));
    }
    return trees;
  }

  // No st_ino twice in the whole union.
  void CheckUnique(std::size_t index, const TreeSnapshot& tree) {
    for (const auto& [path, node] : tree.nodes()) {
      const auto [owner, fresh] = owners_.emplace(node.stat.st_ino, index);
      if (!fresh && owner->second != index) {
        Add(index, sequences_[index].operations.size(),
            "  " + support::Printable(path) + " has the st_ino of a file of another directory\n");
      }
    }
  }

  Result<> CheckRemount(Mounter mounter, const std::map<std::string, TreeSnapshot>& before,
                        bool chain = true) {
    UnionSpec spec = Spec();
    if (!chain) spec.chain.clear();
    if (mounter != options_.mounter) spec.options.clear();
    auto mount = UnionMount::Start(mounter, spec);
    const std::string name(support::MounterName(mounter));
    if (!mount) {
      FailAll("mounting again with " + name + ": " + mount.error().ToString());
      return {};
    }
    watchdog_.Watch(mount->pid());
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      const auto old = before.find(Prefix(i));
      if (old == before.end() || failures_.contains(i)) continue;
      watchdog_.Progress();
      const std::string difference =
          CompareRemounted(*sessions_[i], JoinPath(At("mnt"), Prefix(i)), old->second, mounter);
      if (difference.empty()) continue;
      Add(i, sequences_[i].operations.size(), " mounted again with " + name + ":\n" + difference);
    }
    watchdog_.Stop();
    if (auto stopped = mount->Stop(); !stopped) FailAll(name + ": " + stopped.error().ToString());
    return {};
  }

  // The diff of the upper layer, unpacked and put on top of the lower ones, shows the same.
  Result<> CheckDiff(const std::map<std::string, TreeSnapshot>& before) {
    const std::string layer = At("diff");
    STRATA_TRY_ASSIGN(UnionMount mount, UnionMount::Start(options_.mounter, Spec()));
    watchdog_.Watch(mount.pid());
    const auto unpacked = UnpackDiff(At("upper"), At("work"), At("mnt"), layer);
    STRATA_TRY(mount.Stop());
    if (!unpacked) {
      FailAll("diff: " + unpacked.error().ToString());
      return {};
    }
    UnionSpec spec = Spec();
    spec.chain.clear();
    spec.upper.clear();
    spec.work.clear();
    spec.lower.insert(spec.lower.begin(), layer);
    STRATA_TRY_ASSIGN(mount, UnionMount::Start(options_.mounter, spec));
    watchdog_.Watch(mount.pid());
    support::CompareRules rules;
    rules.sockets = false;      // tar has none
    rules.link_counts = false;  // the union counts lower names that are hidden, too
    for (const auto& [name, old] : before) {
      watchdog_.Progress();
      const std::size_t index = std::stoul(name.substr(1));
      STRATA_TRY_ASSIGN(const TreeSnapshot tree, TreeSnapshot::Take(JoinPath(At("mnt"), name), {}));
      const std::string difference = support::Diff(old, tree, rules);
      if (difference.empty()) continue;
      Add(index, sequences_[index].operations.size(),
          " the diff on the lower layers (left: union, right: that):\n" + difference);
    }
    watchdog_.Stop();
    return mount.Stop();
  }

  std::string CompareRemounted(Session& session, const std::string& root, const TreeSnapshot& old,
                               Mounter mounter) const {
    const auto tree =
        TreeSnapshot::Take(root, {.holes = true, .skip_unfindable = IsKernel(mounter)});
    if (!tree) return "  " + tree.error().ToString() + "\n";
    if (mounter != options_.mounter) return session.CompareWith(*tree, Session::Inodes::kIgnore);
    support::CompareRules exact;
    exact.inode_numbers = true;
    const std::string difference = support::Diff(old, *tree, exact);
    if (!difference.empty()) return " (left: before, right: after)\n" + difference;
    return session.CompareWith(*tree, Session::Inodes::kCheck);
  }

  void Add(std::size_t sequence, std::size_t operation, const std::string& text) {
    if (!text.empty()) failures_.emplace(sequence, Failure{sequence, operation, text});
  }

  // For what cannot be blamed on one sequence.
  void FailAll(const std::string& text) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      Add(i, sequences_[i].operations.size(), "  " + text + "\n");
    }
  }

  std::vector<Failure> Take() const {
    std::vector<Failure> failures;
    for (const auto& [index, failure] : failures_) failures.push_back(failure);
    return failures;
  }

  const std::string path_;
  const RunnerOptions& options_;
  Watchdog& watchdog_;
  const std::vector<Sequence>& sequences_;
  std::size_t layers_ = 1;
  std::vector<HiddenLinks> hidden_;
  InodeBook book_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::map<ino_t, std::size_t> owners_;
  std::map<std::size_t, Failure> failures_;
};

}  // namespace

Result<std::vector<Failure>> Runner::Run(const std::vector<Sequence>& sequences) {
  const std::string path = JoinPath(directory_, "g" + std::to_string(groups_++));
  auto failures = Group(path, options_, watchdog_, sequences).Run();
  STRATA_TRY(support::UnmountBelow(path));
  STRATA_TRY(support::RemoveTree(path));
  return failures;
}

}  // namespace strata::property
