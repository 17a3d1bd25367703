#include "manager/cli/layout_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/tar_header.h"
#include "base/try.h"

namespace strata::manager::cli {
namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0644;
constexpr std::uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

Result<> CheckFree(FileOps& ops, const std::string& path) {
  auto there = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!there && there.error().code() == ENOENT) return {};
  if (there) {
    STRATA_TRY_ASSIGN(const auto names, NamesIn(ops, there->get()));
    if (names.empty()) return {};
  }
  return Fail(EEXIST, "write", path + " is there and no empty directory");
}

}  // namespace

Result<LayoutDirectory> LayoutDirectory::Create(const std::string& path) {
  FileOps& ops = FileOps::System();
  std::string target = path;
  while (target.size() > 1 && target.ends_with('/')) target.pop_back();
  STRATA_TRY(CheckFree(ops, target));
  const std::string above(DirName(target));
  auto dir = ops.Open(AT_FDCWD, above.empty() ? "." : above.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir) return std::unexpected(std::move(dir).error().WithContext(path));
  LayoutDirectory layout(path, *std::move(dir), std::string(BaseName(target)));
  const std::string name =
      "." + layout.name_.substr(0, kNameMax / 2) + ".strata-" + std::to_string(::getpid());
  auto made = ops.MakeDir(layout.above_.get(), name.c_str(), kDirectoryMode);
  if (!made) return std::unexpected(std::move(made).error().WithContext(path));
  layout.temporary_ = name;
  STRATA_TRY_ASSIGN(layout.root_, ops.Open(layout.above_.get(), name.c_str(),
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return layout;
}

LayoutDirectory::~LayoutDirectory() {
  if (temporary_.empty() || !above_) return;
  Ignore(RemoveTree(FileOps::System(), above_.get(), temporary_.c_str()), "an unfinished layout");
}

Result<> LayoutDirectory::TakeHeader() {
  const std::string block = std::exchange(block_, {});
  if (block.find_first_not_of('\0') == std::string::npos) {
    ++end_blocks_;
    return {};
  }
  if (end_blocks_ > 0) return Fail(EBADMSG, "tar", "something stands after the archive's end");
  STRATA_TRY_ASSIGN(const TarMemberHeader member, DecodeTarHeader(block));
  FileOps& ops = FileOps::System();
  std::string name = member.name;
  while (name.ends_with('/')) name.pop_back();
  const std::string above(DirName(name));
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.OpenConfined(root_.get(), above.empty() ? "." : above.c_str(),
                                     O_RDONLY | O_DIRECTORY, 0, kResolve));
  STRATA_TRY_ASSIGN(const PathComponent last, PathComponent::Make(BaseName(name)));
  if (member.type == '5') return ops.MakeDir(dir.get(), last.c_str(), kDirectoryMode);
  if (member.type != '0') {
    return Fail(EBADMSG, "tar", "'" + member.name + "' is neither file nor directory");
  }
  STRATA_TRY_ASSIGN(file_, ops.Open(dir.get(), last.c_str(),
                                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode));
  left_ = member.size;
  padding_ = TarPadding(member.size);
  return {};
}

Result<> LayoutDirectory::Consume(std::string_view& data) {
  const auto take = [&](std::uint64_t wanted) {
    const std::string_view piece =
        data.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(wanted, data.size())));
    data.remove_prefix(piece.size());
    return piece;
  };
  if (left_ > 0) {
    const std::string_view piece = take(left_);
    left_ -= piece.size();
    return WriteAll(FileOps::System(), file_.get(), piece);
  }
  if (padding_ > 0) {
    padding_ -= take(padding_).size();
    return {};
  }
  block_.append(take(kTarBlock - block_.size()));
  return block_.size() < kTarBlock ? Result<>() : TakeHeader();
}

Result<> LayoutDirectory::Write(std::string_view data) {
  while (!data.empty()) {
    if (auto done = Consume(data); !done) {
      return std::unexpected(std::move(done).error().WithContext(path_));
    }
  }
  return {};
}

Result<> LayoutDirectory::Commit() {
  if (end_blocks_ == 0 || !block_.empty()) {
    return Fail(EBADMSG, "tar", path_ + ": the archive has no end");
  }
  FileOps& ops = FileOps::System();
  const auto put = [&]() -> Result<> {
    STRATA_TRY(ops.SyncFilesystem(root_.get()));
    STRATA_TRY(ops.Rename(above_.get(), temporary_.c_str(), above_.get(), name_.c_str()));
    temporary_.clear();
    return ops.Sync(above_.get());
  };
  auto done = put();
  if (!done) return std::unexpected(std::move(done).error().WithContext(path_));
  return {};
}

}  // namespace strata::manager::cli
