#include "manager/cli/tar_stream.h"

#include <fcntl.h>

#include <algorithm>
#include <span>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/tar_header.h"
#include "base/try.h"

namespace strata::manager::cli {

Result<> TarStream::Collect(int dir, const std::string& prefix, std::vector<Entry>& entries) {
  FileOps& ops = FileOps::System();
  std::vector<std::string> names;
  STRATA_TRY(ops.ReadDir(dir, [&](std::string_view name, ino_t, unsigned char) {
    names.emplace_back(name);
    return true;
  }));
  std::ranges::sort(names);
  for (const auto& name : names) {
    const std::string path = JoinPath(prefix, name);
    if (path.size() + 1 > kTarNameField) return Fail(ENAMETOOLONG, "tar", path);
    STRATA_TRY_ASSIGN(const struct stat info, ops.StatAt(dir, name.c_str()));
    if (S_ISDIR(info.st_mode)) {
      entries.push_back({path + "/", 0, true});
      STRATA_TRY_ASSIGN(const UniqueFd child,
                        ops.Open(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      STRATA_TRY(Collect(child.get(), path, entries));
    } else if (S_ISREG(info.st_mode)) {
      entries.push_back({path, static_cast<std::uint64_t>(info.st_size), false});
    } else {
      return Fail(EINVAL, "tar", path + " is neither a file nor a directory");
    }
  }
  return {};
}

Result<TarStream> TarStream::Open(const std::string& directory) {
  auto root = FileOps::System().Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!root) return std::unexpected(std::move(root).error().WithContext(directory));
  std::vector<Entry> entries;
  if (auto collected = Collect(root->get(), "", entries); !collected) {
    return std::unexpected(std::move(collected).error().WithContext(directory));
  }
  return TarStream(*std::move(root), std::move(entries));
}

Result<std::string> TarStream::NextEntry() {
  const Entry& entry = entries_[next_++];
  if (!entry.directory) {
    STRATA_TRY_ASSIGN(
        file_, FileOps::System().Open(root_.get(), entry.path.c_str(), O_RDONLY | O_NOFOLLOW));
    left_ = entry.size;
    padding_ = TarPadding(entry.size);
  }
  return EncodeTarHeader({.name = entry.path,
                          .type = entry.directory ? '5' : '0',
                          .mode = entry.directory ? 0755U : 0644U,
                          .size = entry.size});
}

Result<std::string> TarStream::Next() {
  if (left_ > 0) {
    constexpr std::uint64_t kPiece = 256UL * 1024;
    std::string piece(static_cast<std::size_t>(std::min(left_, kPiece)), '\0');
    STRATA_TRY_ASSIGN(
        const std::size_t got,
        FileOps::System().Read(file_.get(), std::as_writable_bytes(std::span(piece))));
    if (got == 0) return Fail(EIO, "tar", entries_[next_ - 1].path + " shrank while it was read");
    piece.resize(got);
    left_ -= got;
    return piece;
  }
  if (padding_ > 0) return std::string(std::exchange(padding_, 0), '\0');
  if (next_ < entries_.size()) return NextEntry();
  if (std::exchange(finished_, true)) return std::string();
  return std::string(2 * kTarBlock, '\0');
}

}  // namespace strata::manager::cli
