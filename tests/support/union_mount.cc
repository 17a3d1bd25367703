#include "tests/support/union_mount.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/flatten.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::support {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string Escape(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == ':' || c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

Result<> ConfigString(int fs, const char* key, const std::string& value) {
  if (::fsconfig(fs, FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0) return {};
  const Error error = Error::FromErrno("fsconfig");
  std::string why;
  char message[512];
  const ssize_t n = ::read(fs, message, sizeof(message));  // the kernel's log for this context
  if (n > 0) why.assign(message, static_cast<std::size_t>(n));
  return Fail(error.code(), "fsconfig", std::string(key) + "=" + value + ": " + why);
}

// The new mount API: mount(2)'s one page of options does not hold hundreds of layers.
Result<> MountOverlay(const UnionSpec& spec) {
  UniqueFd fs(::fsopen("overlay", FSOPEN_CLOEXEC));
  if (!fs) return FailErrno("fsopen", "overlay");
  for (const std::string& layer : spec.lower) {
    STRATA_TRY(ConfigString(fs.get(), "lowerdir+", layer));
  }
  std::map<std::string, std::string> options = {{"metacopy", "off"}};
  if (!spec.upper.empty()) {
    options["redirect_dir"] = "on";
    options["index"] = "on";
    STRATA_TRY(ConfigString(fs.get(), "upperdir", spec.upper));
    STRATA_TRY(ConfigString(fs.get(), "workdir", spec.work));
  } else {
    options["redirect_dir"] = "follow";
  }
  for (const std::string& option : spec.options) {
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) {
      if (::fsconfig(fs.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0) != 0) {
        return FailErrno("fsconfig", option);
      }
      continue;
    }
    options[option.substr(0, equals)] = option.substr(equals + 1);
  }
  for (const auto& [key, value] : options) {
    STRATA_TRY(ConfigString(fs.get(), key.c_str(), value));
  }
  if (::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return FailErrno("fsconfig", "create " + spec.mount_point);
  }
  const unsigned attributes = spec.upper.empty() ? MOUNT_ATTR_RDONLY : 0U;
  UniqueFd mount(::fsmount(fs.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount) return FailErrno("fsmount", spec.mount_point);
  if (::move_mount(mount.get(), "", AT_FDCWD, spec.mount_point.c_str(), MOVE_MOUNT_F_EMPTY_PATH) !=
      0) {
    return FailErrno("move_mount", spec.mount_point);
  }
  return {};
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

Result<Mounter> ParseMounter(std::string_view name) {
  for (const Mounter m :
       {Mounter::kStratafs, Mounter::kOverlay, Mounter::kFuseOverlayfs, Mounter::kPlain}) {
    if (MounterName(m) == name) return m;
  }
  return Fail(EINVAL, "mounter", std::string(name));
}

std::string_view MounterName(Mounter mounter) {
  switch (mounter) {
    case Mounter::kStratafs:
      return "stratafs";
    case Mounter::kOverlay:
      return "overlay";
    case Mounter::kFuseOverlayfs:
      return "fuse-overlayfs";
    case Mounter::kPlain:
      break;
  }
  return "plain";
}

Mounter DefaultMounter() {
  const char* name = std::getenv("STRATA_MOUNTER");
  return name != nullptr && *name != '\0' ? Must(ParseMounter(name)) : Mounter::kStratafs;
}

std::string DefaultTransport() {
  const char* name = std::getenv("STRATA_TRANSPORT");
  return name != nullptr ? name : "";
}

bool LacksDefaultTransport() { return DefaultTransport() == "uring" && !KernelHasUring(); }

std::string StratafsPath() {
  const char* dir = std::getenv("STRATA_BIN_DIR");
  return (dir != nullptr ? std::string(dir) + "/" : std::string()) + "stratafs";
}

std::string OptionString(Mounter mounter, const UnionSpec& spec) {
  std::string options;
  const auto add = [&options](const std::string& option) {
    if (!options.empty()) options += ',';
    options += option;
  };
  if (!spec.chain.empty()) {
    add("chain=" + Escape(spec.chain));
  } else if (!spec.lower.empty()) {
    std::string lower;
    for (const std::string& layer : spec.lower) {
      if (!lower.empty()) lower += ':';
      lower += Escape(layer);
    }
    add("lowerdir=" + lower);
  }
  if (!spec.upper.empty()) add("upperdir=" + Escape(spec.upper));
  if (!spec.work.empty()) add("workdir=" + Escape(spec.work));
  if (mounter == Mounter::kStratafs) {
    add("allow_other");
    if (!spec.copy_up.empty()) add("copyup=" + spec.copy_up);
    if (!spec.passthrough.empty()) add("passthrough=" + spec.passthrough);
    if (!spec.transport.empty()) add("transport=" + spec.transport);
  }
  for (const std::string& option : spec.options) add(option);
  return options;
}

Result<UnionMount> UnionMount::Start(Mounter mounter, const UnionSpec& spec) {
  UnionMount mount;
  mount.mounter_ = mounter;
  mount.mount_point_ = spec.mount_point;
  switch (mounter) {
    case Mounter::kPlain: {
      std::vector<std::string> layers = spec.lower;
      if (!spec.upper.empty()) layers.insert(layers.begin(), spec.upper);
      STRATA_TRY(Flatten(layers, spec.mount_point));
      return mount;
    }
    case Mounter::kOverlay:
      STRATA_TRY(MountOverlay(spec));
      mount.mounted_ = true;
      return mount;
    case Mounter::kStratafs:
    case Mounter::kFuseOverlayfs:
      break;
  }
  const std::string program =
      mounter == Mounter::kStratafs ? StratafsPath() : std::string("fuse-overlayfs");
  if (mounter == Mounter::kStratafs && spec.transport == "uring") {
    STRATA_TRY_ASSIGN(auto setting, UringSetting::Hold());
    mount.uring_.emplace(std::move(setting));
  }
  mount.log_path_ = spec.mount_point + ".log";
  STRATA_TRY_ASSIGN(
      mount.process_,
      ChildProcess::Start({program, "-f", "-o", OptionString(mounter, spec), spec.mount_point},
                          mount.log_path_));
  STRATA_TRY(mount.WaitForMount(seconds(20)));
  mount.mounted_ = true;
  if (mount.Log().find("declined FUSE over io_uring") != std::string::npos) {
    return Fail(EOPNOTSUPP, "mount", mount.Log());
  }
  return mount;
}

Result<> UnionMount::WaitForMount(milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  useconds_t pause = 500;
  while (true) {
    struct statfs info;
    if (::statfs(mount_point_.c_str(), &info) == 0 && info.f_type == FUSE_SUPER_MAGIC) return {};
    if (!process_.Running()) {
      return Fail(EIO, "mount", "exit code " + std::to_string(process_.exit_code()) + ": " + Log());
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      process_.Kill();
      Abandon();
      return Fail(ETIMEDOUT, "mount", mount_point_ + ": " + Log());
    }
    ::usleep(pause);
    if (pause < 5'000) pause *= 2;
  }
}

UnionMount& UnionMount::operator=(UnionMount&& other) noexcept {
  std::swap(mounter_, other.mounter_);
  std::swap(mount_point_, other.mount_point_);
  std::swap(log_path_, other.log_path_);
  std::swap(process_, other.process_);
  std::swap(mounted_, other.mounted_);
  uring_.swap(other.uring_);
  return *this;
}

UnionMount::~UnionMount() {
  if (mounted_) Ignore(Stop(), "a test that cares calls Stop() itself");
}

std::string UnionMount::Log() const { return log_path_.empty() ? "" : ReadFile(log_path_); }

void UnionMount::Abandon() {
  process_.Kill();
  Ignore(UnmountBelow(mount_point_), "TempRoot tries again");
  mounted_ = false;
}

Result<> UnionMount::Stop() {
  if (!mounted_) return {};
  for (int attempt = 0;; ++attempt) {
    if (::umount2(mount_point_.c_str(), UMOUNT_NOFOLLOW) == 0) break;
    if (errno != EBUSY || attempt >= 50) {
      const int code = errno;
      Error error(code, "umount2", mount_point_ + ": " + Log());
      Abandon();
      return std::unexpected(std::move(error));
    }
    ::usleep(20'000);
  }
  mounted_ = false;
  if (process_.pid() < 0) return {};
  const Result<int> code = process_.Wait(seconds(20));
  if (!code) {
    process_.Kill();
    return Fail(ETIMEDOUT, "unmount", "the daemon did not end: " + Log());
  }
  if (*code != 0) {
    return Fail(EIO, "unmount", "exit code " + std::to_string(*code) + ": " + Log());
  }
  return {};
}

Result<> FinalizeUpper(const UnionSpec& spec) {
  STRATA_TRY(RunTool({StratafsPath(), "--finalize", "-o", OptionString(Mounter::kStratafs, spec)}));
  return {};
}

}  // namespace strata::support
