#include "tests/unit/union/union_fixture.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"

namespace strata::fusefs {

using support::Must;
using support::MustCall;

LayerDirs::LayerDirs(int lowers) : root_(Must(support::TempRoot::Create())), lowers_(lowers) {
  for (int layer = 0; layer <= lowers; ++layer)
    Must(root_.MakeDir("layer" + std::to_string(layer)));
  Must(root_.MakeDir("work"));
}

std::string LayerDirs::Path(int layer, std::string_view path) const {
  return JoinPath(root_.At("layer" + std::to_string(layer)), path);
}

void LayerDirs::Dir(int layer, const std::string& path, mode_t mode) {
  std::filesystem::create_directories(Path(layer, path));
  MustCall(::chmod(Path(layer, path).c_str(), mode), "chmod");
}

void LayerDirs::File(int layer, const std::string& path, std::string_view content, mode_t mode) {
  std::filesystem::create_directories(std::filesystem::path(Path(layer, path)).parent_path());
  std::ofstream(Path(layer, path)) << content;
  MustCall(::chmod(Path(layer, path).c_str(), mode), "chmod");
}

void LayerDirs::Whiteout(int layer, const std::string& path) {
  std::filesystem::create_directories(std::filesystem::path(Path(layer, path)).parent_path());
  MustCall(::mknod(Path(layer, path).c_str(), S_IFCHR, makedev(0, 0)), "mknod");
}

void LayerDirs::Opaque(int layer, const std::string& path) {
  Dir(layer, path);
  MustCall(::setxattr(Path(layer, path).c_str(), "trusted.overlay.opaque", "y", 1, 0), "setxattr");
}

std::string LayerDirs::Read(int layer, const std::string& path) const {
  std::ifstream in(Path(layer, path));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool LayerDirs::Exists(int layer, const std::string& path) const {
  struct stat st;
  return ::lstat(Path(layer, path).c_str(), &st) == 0;
}

std::vector<std::string> LayerDirs::UpperTree() const {
  std::vector<std::string> tree;
  const std::string upper = Path(0);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(upper)) {
    struct stat st;
    MustCall(::lstat(entry.path().c_str(), &st), "lstat");
    const std::string path = std::filesystem::relative(entry.path(), upper).string();
    tree.push_back((S_ISCHR(st.st_mode) && st.st_rdev == 0 ? "!" : "") + path);
  }
  std::ranges::sort(tree);
  return tree;
}

EngineOptions LayerDirs::Options() const {
  EngineOptions options;
  for (int layer = 1; layer <= lowers_; ++layer) options.lower.push_back(Path(layer));
  options.upper = Path(0);
  options.work = Work();
  return options;
}

class UnionDriver::Ref {
 public:
  Ref(Engine& engine, EntryReply entry) : engine_(&engine), entry_(entry) {}
  Ref(Ref&& other) noexcept
      : engine_(std::exchange(other.engine_, nullptr)), entry_(other.entry_) {}
  Ref& operator=(Ref&& other) noexcept {
    std::swap(engine_, other.engine_);
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~Ref() {
    if (engine_ != nullptr) engine_->Forget(entry_.node, 1);
  }
  NodeId node() const { return entry_.node; }
  const EntryReply& entry() const { return entry_; }
  EntryReply release() {
    engine_ = nullptr;
    return entry_;
  }

 private:
  Engine* engine_;
  EntryReply entry_;
};

UnionDriver::UnionDriver(EngineOptions options, FileOps& files)
    : engine_(Must(Engine::Open(std::move(options), EngineEnv{files}))) {}

Result<UnionDriver::Ref> UnionDriver::Find(std::string_view path) {
  EntryReply root;
  root.node = kRootNode;
  Ref current(*engine_, root);  // forgetting the root does nothing
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    STRATA_TRY_ASSIGN(EntryReply next, engine_->Lookup(current.node(), path.substr(0, slash)));
    current = Ref(*engine_, next);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return current;
}

Result<UnionDriver::Ref> UnionDriver::Parent(std::string_view path, std::string* name) {
  *name = BaseName(path);
  return Find(DirName(path));
}

Result<EntryReply> UnionDriver::Walk(std::string_view path) {
  STRATA_TRY_ASSIGN(Ref ref, Find(path));
  return ref.release();
}

Result<struct stat> UnionDriver::Stat(std::string_view path) {
  STRATA_TRY_ASSIGN(const Ref ref, Find(path));
  bool stable = false;
  return engine_->GetAttr(ref.node(), &stable);
}

Result<std::string> UnionDriver::Read(std::string_view path) {
  STRATA_TRY_ASSIGN(const Ref ref, Find(path));
  bool stable = false;
  STRATA_TRY_ASSIGN(const struct stat st, engine_->GetAttr(ref.node(), &stable));
  STRATA_TRY_ASSIGN(const OpenReply open, engine_->OpenFile(ref.node(), O_RDONLY, who_));
  // More than there should be.
  const std::size_t length = static_cast<std::size_t>(st.st_size) + 4096;
  auto data = ReadOpen(ref.node(), open.handle, 0, length);
  engine_->Release(ref.node(), open.handle);
  return data;
}

Result<std::string> UnionDriver::ReadOpen(NodeId node, std::uint64_t handle, off_t offset,
                                          std::size_t length) {
  std::string data;
  STRATA_TRY(engine_->ReadFile(
      node, handle, offset, length, [&](std::span<const ContentPart> parts) -> Result<> {
        for (const ContentPart& part : parts) {
          const std::size_t before = data.size();
          data.resize(before + part.length);
          STRATA_TRY_ASSIGN(const std::size_t got,
                            GatherParts(FileOps::System(), {&part, 1},
                                        std::as_writable_bytes(std::span(data).subspan(before))));
          data.resize(before + got);
        }
        return {};
      }));
  return data;
}

Result<> UnionDriver::WriteOpen(NodeId node, std::uint64_t handle, std::string_view content,
                                off_t offset) {
  STRATA_TRY_ASSIGN(
      const std::size_t wrote,
      engine_->WriteFile(node, handle, std::as_bytes(std::span(content)), offset, {}));
  return wrote == content.size() ? Result<>() : Fail(ENOSPC, "write");
}

Result<> UnionDriver::Write(std::string_view path, std::string_view content, int flags) {
  std::string name;
  STRATA_TRY_ASSIGN(const Ref parent, Parent(path, &name));
  STRATA_TRY_ASSIGN(const Engine::Created made,
                    engine_->Create(parent.node(), name, 0644, flags, who_));
  const Ref file(*engine_, made.entry);
  auto written = WriteOpen(file.node(), made.open.handle, content, 0);
  engine_->Release(file.node(), made.open.handle);
  return written;
}

Result<> UnionDriver::Append(std::string_view path, std::string_view content) {
  STRATA_TRY_ASSIGN(const Ref file, Find(path));
  STRATA_TRY_ASSIGN(const OpenReply open,
                    engine_->OpenFile(file.node(), O_WRONLY | O_APPEND, who_));
  bool stable = false;
  auto st = engine_->GetAttr(file.node(), &stable);
  Result<> written = st ? WriteOpen(file.node(), open.handle, content, st->st_size)
                        : Result<>(std::unexpected(std::move(st).error()));
  engine_->Release(file.node(), open.handle);
  return written;
}

Result<> UnionDriver::MakeDir(std::string_view path, mode_t mode) {
  std::string name;
  STRATA_TRY_ASSIGN(const Ref parent, Parent(path, &name));
  STRATA_TRY_ASSIGN(const EntryReply made, engine_->MakeDir(parent.node(), name, mode, who_));
  engine_->Forget(made.node, 1);
  return {};
}

Result<> UnionDriver::Unlink(std::string_view path) {
  std::string name;
  STRATA_TRY_ASSIGN(const Ref parent, Parent(path, &name));
  return engine_->Unlink(parent.node(), name);
}

Result<> UnionDriver::RemoveDir(std::string_view path) {
  std::string name;
  STRATA_TRY_ASSIGN(const Ref parent, Parent(path, &name));
  return engine_->RemoveDir(parent.node(), name);
}

Result<> UnionDriver::Rename(std::string_view from, std::string_view to, unsigned flags) {
  std::string from_name;
  std::string to_name;
  STRATA_TRY_ASSIGN(const Ref from_parent, Parent(from, &from_name));
  STRATA_TRY_ASSIGN(const Ref to_parent, Parent(to, &to_name));
  return engine_->Rename(from_parent.node(), from_name, to_parent.node(), to_name, flags);
}

Result<> UnionDriver::Link(std::string_view from, std::string_view to) {
  std::string name;
  STRATA_TRY_ASSIGN(const Ref file, Find(from));
  STRATA_TRY_ASSIGN(const Ref parent, Parent(to, &name));
  STRATA_TRY_ASSIGN(const EntryReply made, engine_->Link(file.node(), parent.node(), name));
  engine_->Forget(made.node, 1);
  return {};
}

Result<> UnionDriver::Chmod(std::string_view path, mode_t mode) {
  STRATA_TRY_ASSIGN(const Ref file, Find(path));
  AttrChange change;
  change.mode = mode;
  bool stable = false;
  STRATA_TRY(engine_->SetAttr(file.node(), change, who_, &stable));
  return {};
}

std::vector<std::string> UnionDriver::List(std::string_view path) {
  std::vector<std::string> names;
  const Ref dir = Must(Find(path));
  Must(engine_->List(dir.node(), 0, false, [&](const ListedEntry& entry) {
    if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
    return true;
  }));
  std::ranges::sort(names);
  return names;
}

}  // namespace strata::fusefs
