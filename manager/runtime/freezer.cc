#include "manager/runtime/freezer.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/file_ops.h"
#include "base/try.h"

namespace strata::manager {
namespace {

constexpr std::size_t kFileMax = std::size_t{64} * 1024;
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kFirstPause = std::chrono::microseconds(50);
constexpr auto kLongestPause = std::chrono::milliseconds(5);

Result<std::string> ReadFile(const std::string& path) {
  FileOps& ops = FileOps::System();
  auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!file) return std::unexpected(std::move(file).error().WithContext(path));
  return ReadAll(ops, file->get(), kFileMax);
}

Result<> WriteFile(const std::string& path, std::string_view text) {
  FileOps& ops = FileOps::System();
  auto file = ops.Open(AT_FDCWD, path.c_str(), O_WRONLY);
  auto written = file ? WriteAll(ops, file->get(), text) : std::unexpected(std::move(file).error());
  if (!written) return std::unexpected(std::move(written).error().WithContext(path));
  return {};
}

bool Exists(const std::string& path) {
  return FileOps::System().StatAt(AT_FDCWD, path.c_str()).has_value();
}

// Calls `each` with the controllers and the path of every line of /proc/PID/cgroup.
template <class Each>
void ForEachCgroup(std::string_view text, const Each& each) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    each(line.substr(first + 1, second - first - 1), line.substr(second + 1));
  }
}

}  // namespace

Result<Freezer> Freezer::Of(pid_t pid, std::string_view container_id) {
  STRATA_TRY_ASSIGN(const std::string text, ReadFile("/proc/" + std::to_string(pid) + "/cgroup"));
  std::string v1;
  std::string v2;
  ForEachCgroup(text, [&](std::string_view controllers, std::string_view path) {
    // One that others are in, too, or that is beyond our own root, is not to be touched.
    if (path.find(container_id) == std::string_view::npos || path.starts_with("/..")) return;
    if (controllers == "freezer") v1 = "/sys/fs/cgroup/freezer" + std::string(path);
    if (controllers.empty()) v2 = "/sys/fs/cgroup" + std::string(path);
  });
  if (!v1.empty() && Exists(v1 + "/freezer.state")) return Freezer(v1, false);
  if (!v2.empty() && Exists(v2 + "/cgroup.freeze")) return Freezer(v2, true);
  return Fail(ENOENT, "find freezer", "container " + std::string(container_id));
}

Result<bool> Freezer::Frozen() const {
  STRATA_TRY_ASSIGN(const std::string text,
                    ReadFile(directory_ + (v2_ ? "/cgroup.events" : "/freezer.state")));
  return text.find(v2_ ? "frozen 1" : "FROZEN") != std::string::npos;
}

Result<> Freezer::Freeze() const {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::chrono::microseconds pause = kFirstPause;
  while (true) {
    // Again: v1 stops trying when a process was born meanwhile.
    STRATA_TRY(v2_ ? WriteFile(directory_ + "/cgroup.freeze", "1")
                   : WriteFile(directory_ + "/freezer.state", "FROZEN"));
    STRATA_TRY_ASSIGN(const bool frozen, Frozen());
    if (frozen) return {};
    if (std::chrono::steady_clock::now() > deadline) break;
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(pause * 2, kLongestPause);
  }
  STRATA_TRY(Thaw());
  return Fail(ETIMEDOUT, "freeze", directory_);
}

Result<> Freezer::Thaw() const {
  return v2_ ? WriteFile(directory_ + "/cgroup.freeze", "0")
             : WriteFile(directory_ + "/freezer.state", "THAWED");
}

}  // namespace strata::manager
