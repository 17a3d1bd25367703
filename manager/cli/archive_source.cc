#include "manager/cli/archive_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <utility>

#include "base/file_ops.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "manager/cli/client.h"
#include "manager/cli/tar_stream.h"

namespace strata::manager::cli {
namespace {

ByteSource FileSource(std::shared_ptr<UniqueFd> owner, int fd) {
  return [owner = std::move(owner), fd]() -> Result<std::string> {
    constexpr std::size_t kPiece = 256UL * 1024;
    std::string piece(kPiece, '\0');
    STRATA_TRY_ASSIGN(const std::size_t got,
                      FileOps::System().Read(fd, std::as_writable_bytes(std::span(piece))));
    piece.resize(got);
    return piece;
  };
}

// A tar made here has names and bytes alone: a root filesystem would lose all else.
Result<> CheckLayout(int directory, const std::string& path) {
  for (const char* name : {"oci-layout", "index.json"}) {
    const auto there = FileOps::System().StatAt(directory, name);
    if (there && S_ISREG(there->st_mode)) continue;
    if (!there && there.error().code() != ENOENT) {
      return Fail(there.error().code(), "read", path + "/" + name);
    }
    return Fail(EINVAL, kInputError,
                path + " is no OCI image layout (there is no '" + name +
                    "' in it); a root filesystem comes as a tar: tar -C " + path +
                    " -c . | strata import - NAME");
  }
  return {};
}

}  // namespace

Result<ByteSource> OpenArchive(const std::string& path) {
  if (path == "-") return FileSource(nullptr, STDIN_FILENO);
  FileOps& ops = FileOps::System();
  auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!file) return std::unexpected(std::move(file).error().WithContext(path));
  STRATA_TRY_ASSIGN(const struct stat info, ops.Stat(file->get()));
  if (!S_ISDIR(info.st_mode)) {
    auto owner = std::make_shared<UniqueFd>(*std::move(file));
    const int fd = owner->get();
    return FileSource(std::move(owner), fd);
  }
  STRATA_TRY(CheckLayout(file->get(), path));
  STRATA_TRY_ASSIGN(TarStream tar, TarStream::Open(path));
  auto stream = std::make_shared<TarStream>(std::move(tar));
  return [stream] { return stream->Next(); };
}

}  // namespace strata::manager::cli
