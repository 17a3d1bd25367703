#include "fusefs/transport/mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>
#include <utility>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/transport/fusermount.h"

namespace strata::fusefs {
namespace {

constexpr const char* kDevice = "/dev/fuse";
constexpr const char* kType = "fuse.stratafs";

// How fusermount3 spells the flags; it refuses to give a plain user dev and suid anyway.
constexpr std::array<std::pair<unsigned long, const char*>, 6> kFlagNames{{
    {MS_NOSUID, "nosuid"},
    {MS_NODEV, "nodev"},
    {MS_NOEXEC, "noexec"},
    {MS_NOATIME, "noatime"},
    {MS_SYNCHRONOUS, "sync"},
    {MS_DIRSYNC, "dirsync"},
}};

std::string EscapeCommas(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ',' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

std::vector<std::string> HelperOptions(const MountOptions& options) {
  std::vector<std::string> list{options.read_only ? "ro" : "rw", "default_permissions",
                                "subtype=stratafs", "fsname=" + EscapeCommas(options.source)};
  if (options.allow_other) list.emplace_back("allow_other");
  for (const auto& [flag, name] : kFlagNames) {
    if ((options.flags & flag) != 0) list.emplace_back(name);
  }
  for (const std::string& option : options.extra) list.push_back(EscapeCommas(option));
  return list;
}

Result<UniqueFd> MountDirectly(const MountOptions& options) {
  UniqueFd device(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!device) {
    if (errno == ENOENT || errno == ENODEV) {
      return Fail(ENODEV, "open", std::string(kDevice) + ": is the kernel's fuse module loaded?");
    }
    return FailErrno("open", kDevice);
  }
  std::string data = "fd=" + std::to_string(device.get()) +
                     ",rootmode=40000,user_id=" + std::to_string(::getuid()) +
                     ",group_id=" + std::to_string(::getgid()) + ",default_permissions";
  if (options.allow_other) data += ",allow_other";
  for (const std::string& option : options.extra) data.append(",").append(option);
  unsigned long flags = options.flags;
  if (options.read_only) flags |= MS_RDONLY;
  if (::mount(options.source.c_str(), options.mountpoint.c_str(), kType, flags, data.c_str()) !=
      0) {
    if (errno == ENODEV) {
      return Fail(ENODEV, "mount", "the kernel does not know the fuse filesystem");
    }
    return FailErrno("mount", options.mountpoint);
  }
  return device;
}

// Which mount is at a path; does not ask the server of that mount anything.
std::uint64_t MountIdAt(const std::string& path) {
  struct statx info = {};
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &info) !=
          0 ||
      (info.stx_mask & STATX_MNT_ID) == 0) {
    return 0;
  }
  return info.stx_mnt_id;
}

// Writes back what users of a busy mount have dirtied through mappings: detaching does not.
void SyncFilesystemAt(const std::string& path) {
  const UniqueFd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root || ::syncfs(root.get()) != 0) {
    Ignore(FailErrno("syncfs", path), "the mount is taken down either way");
  }
}

}  // namespace

Mount::Mount(UniqueFd device, std::string mountpoint, bool by_helper)
    : device_(std::move(device)),
      mountpoint_(std::move(mountpoint)),
      by_helper_(by_helper),
      mount_id_(MountIdAt(mountpoint_)) {}

Result<Mount> Mount::Create(const MountOptions& options) {
  auto direct = MountDirectly(options);
  if (direct) return Mount(std::move(*direct), options.mountpoint, false);
  const int code = direct.error().code();
  if (code != EPERM && code != EACCES) return std::unexpected(std::move(direct.error()));
  auto helped = FusermountMount(options.mountpoint, HelperOptions(options));
  if (helped) return Mount(std::move(*helped), options.mountpoint, true);
  if (helped.error().code() == ENOENT) {
    return Fail(code, "mount",
                options.mountpoint + ": not permitted, and fusermount3 is not installed");
  }
  return std::unexpected(std::move(helped.error()));
}

bool Mount::Attached() const { return mount_id_ != 0 && MountIdAt(mountpoint_) == mount_id_; }

Result<Mount::Unmounted> Mount::Remove() {
  if (!Attached()) return Unmounted::kGone;
  if (by_helper_) {
    if (FusermountUnmount(mountpoint_, false)) return Unmounted::kGone;
    if (!Attached()) return Unmounted::kGone;
    SyncFilesystemAt(mountpoint_);
    STRATA_TRY(FusermountUnmount(mountpoint_, true));
    return Unmounted::kBusy;
  }
  if (::umount2(mountpoint_.c_str(), UMOUNT_NOFOLLOW) == 0) return Unmounted::kGone;
  if (errno != EBUSY) return FailErrno("umount", mountpoint_);
  SyncFilesystemAt(mountpoint_);
  if (::umount2(mountpoint_.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) != 0) {
    return FailErrno("umount", mountpoint_);
  }
  return Unmounted::kBusy;
}

}  // namespace strata::fusefs
