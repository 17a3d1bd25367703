#include "fusefs/union/chain_layers.h"

#include <filesystem>
#include <utility>

#include "base/mount_tree.h"
#include "base/path.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

using layerstore::LayerProof;
using layerstore::MetadataIndex;

constexpr std::string_view kUp = "../";
// Layers that are open at a time; files keep descriptors of their own.
constexpr std::size_t kMaxRoots = 256;

// The length of the "../" a path begins with.
std::size_t UpLength(std::string_view path) {
  std::size_t length = 0;
  while (path.substr(length).starts_with(kUp)) length += kUp.size();
  return length;
}

}  // namespace

Result<std::unique_ptr<ChainLayers>> ChainLayers::Open(const std::string& directory,
                                                       bool needs_user_marks, FileOps& files) {
  const auto explain = [&](Error error) {
    return std::unexpected(std::move(error).WithContext("chain " + directory));
  };
  auto dir = files.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir) return explain(std::move(dir).error());
  auto index = MetadataIndex::Open(files, dir->get(), "index");
  if (!index) return explain(std::move(index).error());
  if ((*index)->kind() != MetadataIndex::Kind::kChain) {
    return explain(Error(EINVAL, "index", "not the index of a chain"));
  }
  if (needs_user_marks && !(*index)->user_marks()) {
    return explain(Error(EINVAL, "index",
                         "its layers have trusted.overlay marks, this mount reads user.overlay"));
  }
  std::unique_ptr<ChainLayers> chain(new ChainLayers(files, std::move(*index)));
  auto opened = chain->OpenBase(directory);
  if (opened) opened = chain->CheckLayers();
  if (!opened) return explain(std::move(opened).error());
  return chain;
}

Result<> ChainLayers::OpenBase(const std::string& directory) {
  base_length_ = UpLength(index_->layers().front().path);
  for (const MetadataIndex::Layer& layer : index_->layers()) {
    if (UpLength(layer.path) != base_length_)
      return Fail(EINVAL, "index", "layers in unlike places");
  }
  std::string base = directory;
  for (std::size_t up = 0; up < base_length_; up += kUp.size()) base += "/..";
  STRATA_TRY_ASSIGN(base_, files_.Open(AT_FDCWD, base.c_str(), O_PATH | O_DIRECTORY));
  return {};
}

std::string_view ChainLayers::PathFromBase(std::size_t layer) const {
  return index_->layers()[layer].path.substr(base_length_);
}

Result<> ChainLayers::CheckLayers() {
  const auto layers = index_->layers();
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const std::string path(PathFromBase(layer));
    const auto st = files_.StatAt(base_.get(), path.c_str());
    if (!st) return Fail(st.error().code(), "layer", path);
    if (!S_ISDIR(st->st_mode)) return Fail(ENOTDIR, "layer", path);
    if (LayerProof::Of(*st) != layers[layer].proof) {
      return Fail(ESTALE, "layer", path + " is not the directory that was indexed");
    }
    devices_.push_back(st->st_dev);
  }
  const MutexLock lock(mu_);
  roots_.resize(layers.size());
  return {};
}

Result<std::vector<std::string>> ChainLayers::RealPaths() const {
  // Resolved once: the directories of a store are no symbolic links.
  STRATA_TRY_ASSIGN(const std::filesystem::path base, RealPath(ProcFdPath(base_.get())));
  std::vector<std::string> paths;
  for (std::size_t layer = 0; layer < size(); ++layer) {
    paths.push_back((base / PathFromBase(layer)).lexically_normal().string());
  }
  return paths;
}

Result<SharedFd> ChainLayers::Root(std::size_t layer) {
  SharedFd closing;  // closed outside the lock
  const MutexLock lock(mu_);
  if (roots_[layer]) return roots_[layer];
  const std::string path(PathFromBase(layer));
  const std::string full = path.starts_with('/') ? path : ProcFdPath(base_.get()) + "/" + path;
  STRATA_TRY_ASSIGN(const MountTree tree, OpenReadOnlyTree(full));
  STRATA_TRY_ASSIGN(UniqueFd fd, files_.Open(tree.fd.get(), ".", O_RDONLY | O_DIRECTORY));
  STRATA_TRY_ASSIGN(const struct stat st, files_.Stat(fd.get()));
  if (st.st_ino != index_->layers()[layer].proof.root_ino) {
    return Fail(EIO, "layer", path + " is not the directory that was indexed");
  }
  roots_[layer] = std::make_shared<const UniqueFd>(std::move(fd));
  opened_.push_back(layer);
  if (opened_.size() > kMaxRoots) {
    closing = std::move(roots_[opened_.front()]);
    opened_.pop_front();
  }
  return roots_[layer];
}

}  // namespace strata::fusefs
