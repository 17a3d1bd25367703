#include "manager/container/rootfs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "manager/runtime/command.h"

namespace strata::manager {
namespace {

constexpr std::size_t kLogMax = std::size_t{1} << 20U;
// A stratafs whose mount was just taken away may hold its upper directory for a moment longer.
constexpr int kBusyRetries = 40;
constexpr auto kBusyPause = std::chrono::milliseconds(50);

const char* CopyUpOption(CopyUp policy) {
  switch (policy) {
    case CopyUp::kOpen:
      return "open";
    case CopyUp::kRead:
      return "read";
    case CopyUp::kWrite:
      break;
  }
  return "write";
}

std::string OptionText(const RootFsRequest& request) {
  const std::size_t named =
      request.layers.size() - (request.chain.empty() ? 0 : request.chain_layers);
  std::string text;
  for (std::size_t i = 0; i < named; ++i) {
    text += i == 0 ? "lowerdir=" : ":";
    text += EscapeOption(request.layers[i]);
  }
  if (!request.chain.empty()) {
    text += (text.empty() ? "chain=" : ",chain=") + EscapeOption(request.chain);
  }
  if (!request.upper.empty()) {
    text += ",upperdir=" + EscapeOption(request.upper);
    text += ",workdir=" + EscapeOption(request.work);
    text += std::string(",copyup=") + CopyUpOption(request.copy_up);
  }
  return text;
}

// What stratafs wrote since `from`, its last line.
std::string LastLogLine(const std::string& path, off_t from) {
  auto fd = FileOps::System().Open(AT_FDCWD, path.c_str(), O_RDONLY | O_NOFOLLOW);
  if (!fd || ::lseek(fd->get(), from, SEEK_SET) == -1) return {};
  CommandResult result;
  result.err = ReadAll(FileOps::System(), fd->get(), kLogMax).value_or("");
  return result.LastErrorLine();
}

}  // namespace

std::string EscapeOption(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ':' || c == ',' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

Result<> RootFsMounter::Mount(const RootFsRequest& request) const {
  if (request.layers.empty()) return Fail(EINVAL, "mount", "an image without layers");
  std::vector<std::string> argv{stratafs_, "-o", OptionText(request), request.target};
  CommandOptions options;
  options.stderr_file = request.log_file;
  options.new_session = true;
  for (int attempt = 0;; ++attempt) {
    const auto before = FileOps::System().StatAt(AT_FDCWD, request.log_file.c_str());
    STRATA_TRY_ASSIGN(const CommandResult result, RunCommand(argv, options));
    if (result.ok()) return {};
    std::string reason = LastLogLine(request.log_file, before ? before->st_size : 0);
    if (attempt < kBusyRetries && reason.find("in use") != std::string::npos) {
      std::this_thread::sleep_for(kBusyPause);
      continue;
    }
    if (reason.empty()) reason = "exited with code " + std::to_string(result.exit_code);
    return Fail(EIO, "mount", "mounting the root filesystem failed: " + reason);
  }
}

Result<> RootFsMounter::Unmount(const std::string& target) {
  if (State(target) == MountState::kAbsent) return {};
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  if (errno == EINVAL || errno == ENOENT) return {};  // no mount (any more)
  if (errno != EBUSY && errno != ENOTCONN && errno != EIO) return FailErrno("umount", target);
  log::Warn("mount is busy, detaching it", {{"target", target}});
  if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == -1) {
    return FailErrno("umount", target);
  }
  return {};
}

MountState RootFsMounter::State(const std::string& target) {
  struct statx info {};
  if (::statx(AT_FDCWD, target.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &info) ==
      -1) {
    return errno == ENOTCONN || errno == EIO || errno == ECONNABORTED ? MountState::kBroken
                                                                      : MountState::kAbsent;
  }
  return (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 ? MountState::kLive
                                                            : MountState::kAbsent;
}

}  // namespace strata::manager
