#include "manager/cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"

namespace strata::manager::cli {
namespace {

// As docker's: what is in a container is nobody else's business.
constexpr mode_t kMode = 0600;

std::unexpected<Error> Named(Error error, const std::string& path) {
  return std::unexpected(std::move(error).WithContext(path));
}

}  // namespace

Result<OutputFile> OutputFile::Create(const std::string& path) {
  FileOps& ops = FileOps::System();
  const auto there = ops.StatAt(AT_FDCWD, path.c_str(), 0);
  if (there && S_ISDIR(there->st_mode)) return Fail(EISDIR, "write", path);
  if (there && !S_ISREG(there->st_mode)) {
    return Fail(EINVAL, "write", path + " is there and no regular file");
  }
  // A link stays one, and what it leads to becomes the file.
  std::string target = path;
  if (there) {
    STRATA_TRY_ASSIGN(target, RealPath(path));
  }
  const std::string above(DirName(target));
  auto dir = ops.Open(AT_FDCWD, above.empty() ? "." : above.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir) return Named(std::move(dir).error(), path);
  OutputFile output(path, *std::move(dir), std::string(BaseName(target)));
  if (auto opened = output.Open(); !opened) return Named(std::move(opened).error(), path);
  return output;
}

OutputFile::~OutputFile() {
  if (temporary_.empty() || !dir_) return;
  Ignore(FileOps::System().Unlink(dir_.get(), temporary_.c_str()), "an unfinished file");
}

std::string OutputFile::TemporaryName() const {
  return "." + name_.substr(0, kNameMax / 2) + ".strata-" + std::to_string(::getpid());
}

Result<> OutputFile::Open() {
  FileOps& ops = FileOps::System();
  auto unnamed = ops.Open(dir_.get(), ".", O_TMPFILE | O_WRONLY, kMode);
  if (unnamed) {
    file_ = *std::move(unnamed);
    return {};
  }
  const int code = unnamed.error().code();
  if (code != EOPNOTSUPP && code != EISDIR && code != ENOENT && code != EINVAL) {
    return std::unexpected(std::move(unnamed).error());
  }
  const std::string name = TemporaryName();
  STRATA_TRY_ASSIGN(file_, ops.Open(dir_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL, kMode));
  temporary_ = name;
  return {};
}

Result<> OutputFile::Write(std::string_view data) {
  auto written = WriteAll(FileOps::System(), file_.get(), data);
  if (!written) return Named(std::move(written).error(), path_);
  return {};
}

Result<> OutputFile::GiveName() {
  FileOps& ops = FileOps::System();
  STRATA_TRY(ops.Sync(file_.get()));
  if (temporary_.empty()) {
    const std::string self = ProcFdPath(file_.get());
    const auto link = [&](const std::string& name) {
      return ops.Link(AT_FDCWD, self.c_str(), dir_.get(), name.c_str(), AT_SYMLINK_FOLLOW);
    };
    auto linked = link(name_);
    if (linked) return ops.Sync(dir_.get());
    if (linked.error().code() != EEXIST) return linked;
    const std::string name = TemporaryName();
    STRATA_TRY(link(name));
    temporary_ = name;
  }
  STRATA_TRY(ops.Rename(dir_.get(), temporary_.c_str(), dir_.get(), name_.c_str()));
  temporary_.clear();
  return ops.Sync(dir_.get());
}

Result<> OutputFile::Commit() {
  auto done = GiveName();
  if (!done) return Named(std::move(done).error(), path_);
  return {};
}

}  // namespace strata::manager::cli
