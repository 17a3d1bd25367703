#include "fusefs/union/engine.h"

#include <sys/resource.h>

#include <algorithm>

#include "base/try.h"
#include "fusefs/union/redirect.h"
#include "fusefs/union/union_engine.h"
#include "fusefs/union/volatile_mark.h"

namespace strata::fusefs {
namespace {

// A quarter of the descriptors we may have goes to layer directories; the rest is for open files.
std::size_t DirectoryFdBudget() {
  struct rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  return std::clamp<std::size_t>(limit.rlim_cur / 4, 64, 16384);
}

// Said plainly, before the first change says it of some name or other.
Result<> CheckWritable(FileOps& files, int directory, const std::string& name) {
  STRATA_TRY_ASSIGN(const struct statvfs st, files.StatVfs(directory));
  if ((st.f_flag & ST_RDONLY) == 0) return {};
  return Fail(EROFS, "", name + " is on a filesystem that is mounted read-only");
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Open(EngineOptions options, EngineEnv env) {
  auto engine = std::make_unique<UnionEngine>(std::move(options), env);
  STRATA_TRY(engine->Start());
  return engine;
}

// In a chain, the root is that of the layer which says what it is.
Result<UnionEngine::RootInode> UnionEngine::FindRoot(LayerIndex layer) {
  if (layers_->InChain(layer)) {
    auto root = layers_->index().At(0);
    if (!root) {
      return std::unexpected(std::move(root).error().WithContext("chain " + options_.chain));
    }
    return RootInode{layers_->FromChain(root->layer), root->attr.st_ino};
  }
  STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(layer));
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(root->get()));
  return RootInode{layer, st.st_ino};
}

Result<> UnionEngine::Start() {
  backing_ = env_.backing;
  cache_ = env_.cache;
  max_cached_fds_ = DirectoryFdBudget();
  STRATA_TRY_ASSIGN(layers_, Layers::Open(options_, env_.files));
  const std::string work_name = "workdir " + options_.work;
  if (layers_->writable()) {
    STRATA_TRY_ASSIGN(const SharedFd upper, layers_->Root(kUpperLayer));
    STRATA_TRY(CheckWritable(env_.files, upper->get(), "upperdir " + options_.upper));
    STRATA_TRY(CheckWritable(env_.files, layers_->work_root(), work_name));
    auto work = WorkDir::Open(*layers_, env_.files, options_.file_whiteouts);
    if (!work) return std::unexpected(std::move(work).error().WithContext(work_name));
    work_ = std::move(*work);
    CollectBlockMaps();
    data_order_ = options_.volatile_upper ? DataOrder::kNone : DataOrderOf(work_->fd());
  }
  links_ = std::make_unique<LinkGroups>(work_ ? work_->TakeIndexed() : std::vector<std::string>());
  STRATA_TRY_ASSIGN(nodes_, NodeTable::Create());

  std::vector<LayerIndex> all;
  for (LayerIndex layer = layers_->first(); layer < layers_->first_in_chain(); ++layer) {
    all.push_back(layer);
  }
  if (layers_->first_in_chain() < layers_->end()) all.push_back(layers_->first_in_chain());
  STRATA_TRY_ASSIGN(const RootInode top, FindRoot(all.front()));
  NodeRecord root;
  root.lookups = 1;
  root.refs = 1;  // never freed
  root.layer = top.layer;
  root.real_ino = top.ino;
  root.Set(kNodeDirectory);
  // It keeps the number of the topmost image layer's, as any directory that was copied up.
  const bool over_image = top.layer == kUpperLayer && all.size() > 1;
  STRATA_TRY_ASSIGN(const RootInode shown, over_image ? FindRoot(all[1]) : Result<RootInode>(top));
  root.ino = layers_->ShownIno(shown.layer, shown.ino);
  STRATA_TRY(nodes_->Add(root, {}));

  auto directory = std::make_shared<Directory>(static_cast<NodeIndex>(kRootNode.value), all);
  {
    MutexLock lock(directory->stack_mu);
    for (const LayerIndex layer : all) {
      if (layers_->InChain(layer)) {
        if (auto added = AddChainPart(*directory, layerstore::MetadataIndex::kRoot); !added) {
          return std::unexpected(std::move(added).error().WithContext("chain " + options_.chain));
        }
        continue;
      }
      STRATA_TRY_ASSIGN(const SharedFd root_fd, layers_->Root(layer));
      STRATA_TRY_ASSIGN(UniqueFd fd, OpenDirectory(layer, root_fd->get(), "."));
      STRATA_TRY_ASSIGN(const DirectoryMarks marks,
                        ReadDirectoryMarks(env_.files, layers_->xattrs(), fd.get()));
      directory->stack.push_back({layer, std::make_unique<std::string>(),
                                  std::make_shared<const UniqueFd>(std::move(fd))});
      if (marks.opaque) break;
    }
    directory->resolved = true;
  }
  const NodeIndex index = directory->index;
  dirs_.Put(index, std::move(directory));
  // Last: a union that cannot be opened leaves none.
  if (!work_ || !options_.volatile_upper) return {};
  auto marked = SetVolatileMark(env_.files, layers_->work_root(), work_->fd());
  if (!marked) return std::unexpected(std::move(marked).error().WithContext(work_name));
  return {};
}

Result<> UnionEngine::Close() {
  completion_.Stop();
  layers_->SayEnding();
  if (!work_ || !options_.volatile_upper) return {};
  auto cleared = SyncAndClearVolatileMark(env_.files, layers_->work_root(), work_->fd());
  if (cleared) return {};
  return std::unexpected(std::move(cleared).error().WithContext("the volatile upperdir " +
                                                                options_.upper + " stays marked"));
}

void UnionEngine::Connect(BackingFiles* backing, KernelCache* cache) {
  backing_ = backing;
  cache_ = cache;
}

Result<struct statvfs> UnionEngine::StatVfs() {
  STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(layers_->first()));
  STRATA_TRY_ASSIGN(struct statvfs st, env_.files.StatVfs(root->get()));
  // The union lives in memory beside the layers: its own identity and limits, the upper's space.
  st.f_fsid = 0;
  st.f_namemax = NAME_MAX;
  return st;
}

Engine::Counters UnionEngine::Count() const {
  Counters counters;
  counters.nodes = nodes_->live();
  counters.directories = dirs_.size();
  counters.copy_ups = copy_ups_;
  counters.copied_bytes = copied_bytes_;
  counters.passthrough_opens = passthrough_opens_;
  counters.cached_opens = cached_opens_;
  counters.retired_nodes = retired_nodes_;
  return counters;
}

}  // namespace strata::fusefs
