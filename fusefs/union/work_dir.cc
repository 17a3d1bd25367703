#include "fusefs/union/work_dir.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/logging.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "fusefs/union/volatile_mark.h"

namespace strata::fusefs {
namespace {

constexpr char kStagingName[] = "work";
constexpr char kIndexName[] = "index";
constexpr char kBlocksName[] = "blocks";

Result<UniqueFd> EnsureDirectory(FileOps& files, int root, const char* name) {
  auto made = files.MakeDir(root, name, 0700);
  if (!made && made.error().code() != EEXIST) return std::unexpected(std::move(made).error());
  return files.Open(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

bool IsOurs(std::string_view name) {
  return name == kStagingName || name == kIndexName || name == kBlocksName;
}

bool IsNumbered(std::string_view name, std::string_view prefix) {
  return name.size() > prefix.size() && name.starts_with(prefix) &&
         name.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

// What a crash may leave: TempName() and kernel overlayfs number what they stage, RemoveTree() what
// it moves up.
bool IsLeftover(std::string_view name) {
  return IsNumbered(name, "#") || IsNumbered(name, ".strata-deep-");
}

bool BelongsInWork(std::string_view name) { return name == kIncompatName || IsLeftover(name); }

// Handles in hexadecimal; and what the kernel stages, which does it here with index=on.
bool BelongsInIndex(std::string_view name) { return IsNumbered(name, "") || IsLeftover(name); }

// Whoever names a directory of something else must not lose it.
Result<> CheckNames(const std::vector<std::string>& names, const std::string& path,
                    bool (*expected)(std::string_view name)) {
  std::string foreign;
  for (const std::string& name : names) {
    if (!expected(name) && (foreign.empty() || name < foreign)) foreign = name;
  }
  if (foreign.empty()) return {};
  return Fail(ENOTEMPTY, "",
              "'" + path + foreign +
                  "' in it was made by no overlay; name an empty directory, or one used as workdir "
                  "before");
}

// Most can be done without; what cannot will fail, and who mounts should know before.
void WarnWithoutXattrs(FileOps& files, int staging, const std::string& mark) {
  auto set = files.SetXattr(staging, mark.c_str(), "0");
  if (set) set = files.RemoveXattr(staging, mark.c_str());
  if (set) return;
  if (set.error().code() != EOPNOTSUPP) {
    Ignore(set, "the first change that needs a mark will say so");
    return;
  }
  log::Warn(
      "the filesystem of upperdir has no place for overlay marks: directories of lower layers "
      "cannot be renamed, none can be made over a deleted name, and what is copied up has another "
      "inode number at the next mount",
      {{"xattr", mark}});
}

}  // namespace

Result<std::unique_ptr<WorkDir>> WorkDir::Open(const Layers& layers, FileOps& files,
                                               bool force_file_whiteouts) {
  std::unique_ptr<WorkDir> work(new WorkDir(files));
  STRATA_TRY(work->Prepare(layers));
  if (force_file_whiteouts) {
    work->form_ = WhiteoutForm::kFile;
    STRATA_TRY(work->ProbeFileWhiteouts());
    return work;
  }
  MutexLock lock(work->mu_);
  if (auto made = work->MakeSharedWhiteout(); !made) {
    const int code = made.error().code();
    // No room, but no refusal either: the first whiteout will be tried then. A full upper must
    // still mount, to be emptied.
    if (code == ENOSPC || code == EDQUOT) return work;
    if (code != EPERM && code != EACCES && code != EOPNOTSUPP) {
      return std::unexpected(std::move(made).error());
    }
    log::Info("no device nodes here: whiteouts are written as .wh. files",
              {{"error", made.error().ToString()}});
    work->form_ = WhiteoutForm::kFile;
    STRATA_TRY(work->ProbeFileWhiteouts());
  }
  return work;
}

// A union keeps such names for itself and refuses them, for one.
Result<> WorkDir::ProbeFileWhiteouts() {
  const std::string name = TempName();
  if (!AddWhiteout(fd(), name)) {
    return Fail(EOPNOTSUPP, "upperdir",
                "neither device nodes nor .wh. files can be made on its filesystem");
  }
  return RemoveFileWhiteout(fd(), name);
}

Result<> WorkDir::Prepare(const Layers& layers) {
  const int root = layers.work_root();
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(files_, root));
  STRATA_TRY(CheckNames(names, "", IsOurs));
  STRATA_TRY_ASSIGN(staging_, EnsureDirectory(files_, root, kStagingName));
  STRATA_TRY_ASSIGN(const std::vector<std::string> leftovers, NamesIn(files_, staging_.get()));
  STRATA_TRY(CheckNames(leftovers, "work/", BelongsInWork));
  STRATA_TRY(CheckUnmarked(files_, staging_.get()));
  STRATA_TRY_ASSIGN(index_, EnsureDirectory(files_, root, kIndexName));
  STRATA_TRY(ReadIndex());
  STRATA_TRY_ASSIGN(blocks_, EnsureDirectory(files_, root, kBlocksName));
  for (const std::string& name : leftovers) {
    STRATA_TRY(RemoveTree(files_, staging_.get(), name.c_str()));
  }
  WarnWithoutXattrs(files_, staging_.get(), layers.xattrs().Opaque());
  return {};
}

Result<> WorkDir::ReadIndex() {
  STRATA_TRY_ASSIGN(indexed_, NamesIn(files_, index_.get()));
  STRATA_TRY(CheckNames(indexed_, "index/", BelongsInIndex));
  const auto leftovers = std::ranges::partition(indexed_, std::not_fn(IsLeftover));
  for (const std::string& name : leftovers) {
    STRATA_TRY(RemoveTree(files_, index_.get(), name.c_str()));
  }
  indexed_.erase(leftovers.begin(), leftovers.end());
  return {};
}

std::string WorkDir::TempName() {
  return "#" + std::to_string(next_temp_.fetch_add(1, std::memory_order_relaxed));
}

Result<StagedFile> WorkDir::StageFile() {
  if (nameless_.load(std::memory_order_relaxed)) {
    auto file = files_.Open(fd(), ".", O_RDWR | O_TMPFILE, 0600);
    if (file) return StagedFile{std::move(*file)};
    const int code = file.error().code();
    // EISDIR and EINVAL: what a kernel or a filesystem says that does not know the flag.
    if (code != EOPNOTSUPP && code != EISDIR && code != EINVAL) {
      return std::unexpected(std::move(file).error());
    }
    nameless_.store(false, std::memory_order_relaxed);
  }
  auto entry = std::make_unique<StagedEntry>(*this, TempName());
  STRATA_TRY_ASSIGN(UniqueFd file,
                    files_.Open(fd(), entry->c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  return StagedFile{std::move(file), std::move(entry)};
}

Result<> WorkDir::LinkStaged(const StagedFile& file, int dir, const char* name) {
  if (file.entry != nullptr) return files_.Link(fd(), file.entry->c_str(), dir, name);
  return files_.Link(AT_FDCWD, ProcFdPath(file.fd.get()).c_str(), dir, name, AT_SYMLINK_FOLLOW);
}

Result<> WorkDir::PlaceStaged(StagedFile& file, int dir, const char* name) {
  if (file.entry == nullptr) return LinkStaged(file, dir, name);
  STRATA_TRY(files_.Rename(fd(), file.entry->c_str(), dir, name, RENAME_NOREPLACE));
  file.entry->Published();
  return {};
}

Result<> WorkDir::MakeSharedWhiteout() {
  std::string name = TempName();
  STRATA_TRY(files_.MakeNode(fd(), name.c_str(), S_IFCHR | 0000, makedev(0, 0)));
  shared_whiteout_ = std::move(name);
  return {};
}

Result<> WorkDir::LinkWhiteout(int dir, const char* name) {
  MutexLock lock(mu_);
  if (!shared_whiteout_.empty()) {
    auto linked = files_.Link(fd(), shared_whiteout_.c_str(), dir, name);
    if (linked) return linked;
    if (linked.error().code() != EMLINK) return linked;
    // The inode is full: leave its links be and go on with a fresh one.
    Ignore(files_.Unlink(fd(), shared_whiteout_.c_str()),
           "full whiteout inode in the work directory");
    shared_whiteout_.clear();
  }
  STRATA_TRY(MakeSharedWhiteout());
  return files_.Link(fd(), shared_whiteout_.c_str(), dir, name);
}

Result<> WorkDir::AddWhiteout(int dir, const std::string& name) {
  if (form_ == WhiteoutForm::kDevice) return LinkWhiteout(dir, name.c_str());
  const std::string marker = std::string(kWhiteoutPrefix) + name;
  auto made = files_.Open(dir, marker.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
  if (!made) return std::unexpected(std::move(made).error());
  return {};
}

Result<std::string> WorkDir::StageWhiteout() {
  std::string name = TempName();
  STRATA_TRY(LinkWhiteout(fd(), name.c_str()));
  return name;
}

Result<> WorkDir::RemoveFileWhiteout(int dir, const std::string& name) {
  const std::string marker = std::string(kWhiteoutPrefix) + name;
  auto removed = files_.Unlink(dir, marker.c_str());
  if (!removed && removed.error().code() != ENOENT) return removed;
  return {};
}

Result<> WorkDir::Discard(const std::string& name) {
  return RemoveTree(files_, fd(), name.c_str());
}

StagedEntry::~StagedEntry() {
  if (!published_) Ignore(work_.Discard(name_), "staged entry that was not published");
}

}  // namespace strata::fusefs
