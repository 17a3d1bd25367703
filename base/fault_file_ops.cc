#include "base/fault_file_ops.h"

#include <type_traits>

namespace strata {

FaultFileOps::Outcome FaultFileOps::Ask(const char* name, const char* path) {
  return decide_(Call{name, calls_.fetch_add(1, std::memory_order_relaxed), path});
}

template <class T, class Forward>
Result<T> FaultFileOps::Run(const char* name, const char* path, Forward forward) {
  const Outcome outcome = Ask(name, path);
  if (outcome.error != 0) return Fail(outcome.error, name);
  if constexpr (std::is_void_v<T>) {
    if (outcome.swallowed) return {};
  }
  return forward();
}

template <class Forward>
Result<std::size_t> FaultFileOps::RunBytes(const char* name, std::size_t length, Forward forward) {
  const Outcome outcome = Ask(name, nullptr);
  if (outcome.error != 0) return Fail(outcome.error, name);
  return forward(outcome.partial && length > 1 ? length / 2 : length);
}

Result<UniqueFd> FaultFileOps::Open(int dir, const char* path, int flags, mode_t mode) {
  return Run<UniqueFd>("Open", path, [&] { return target_.Open(dir, path, flags, mode); });
}
Result<UniqueFd> FaultFileOps::OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                            std::uint64_t resolve) {
  return Run<UniqueFd>("OpenConfined", path,
                       [&] { return target_.OpenConfined(dir, path, flags, mode, resolve); });
}
Result<struct stat> FaultFileOps::Stat(int fd) {
  return Run<struct stat>("Stat", nullptr, [&] { return target_.Stat(fd); });
}
Result<struct stat> FaultFileOps::StatAt(int dir, const char* path, int flags) {
  return Run<struct stat>("StatAt", path, [&] { return target_.StatAt(dir, path, flags); });
}
Result<struct statvfs> FaultFileOps::StatVfs(int fd) {
  return Run<struct statvfs>("StatVfs", nullptr, [&] { return target_.StatVfs(fd); });
}
Result<std::string> FaultFileOps::ReadLink(int dir, const char* path) {
  return Run<std::string>("ReadLink", path, [&] { return target_.ReadLink(dir, path); });
}
Result<> FaultFileOps::ReadDir(
    int fd, const std::function<bool(std::string_view, ino_t, unsigned char)>& each) {
  return Run<void>("ReadDir", nullptr, [&] { return target_.ReadDir(fd, each); });
}
Result<std::size_t> FaultFileOps::ReadAt(int fd, std::span<std::byte> buffer, off_t offset) {
  return RunBytes("ReadAt", buffer.size(), [&](std::size_t count) {
    return target_.ReadAt(fd, buffer.first(count), offset);
  });
}
Result<std::size_t> FaultFileOps::WriteAt(int fd, std::span<const std::byte> data, off_t offset) {
  return RunBytes("WriteAt", data.size(), [&](std::size_t count) {
    return target_.WriteAt(fd, data.first(count), offset);
  });
}
Result<std::size_t> FaultFileOps::Read(int fd, std::span<std::byte> buffer) {
  return RunBytes("Read", buffer.size(),
                  [&](std::size_t count) { return target_.Read(fd, buffer.first(count)); });
}
Result<std::size_t> FaultFileOps::Write(int fd, std::span<const std::byte> data) {
  return RunBytes("Write", data.size(),
                  [&](std::size_t count) { return target_.Write(fd, data.first(count)); });
}
Result<std::size_t> FaultFileOps::CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                            std::size_t length) {
  return RunBytes("CopyRange", length, [&](std::size_t count) {
    return target_.CopyRange(in, in_offset, out, out_offset, count);
  });
}
Result<> FaultFileOps::Clone(int from, int to) {
  return Run<void>("Clone", nullptr, [&] { return target_.Clone(from, to); });
}
Result<off_t> FaultFileOps::Seek(int fd, off_t offset, int whence) {
  return Run<off_t>("Seek", nullptr, [&] { return target_.Seek(fd, offset, whence); });
}
Result<> FaultFileOps::Truncate(int fd, off_t size) {
  return Run<void>("Truncate", nullptr, [&] { return target_.Truncate(fd, size); });
}

Result<> FaultFileOps::TruncatePath(const char* path, off_t size) {
  return Run<void>("TruncatePath", path, [&] { return target_.TruncatePath(path, size); });
}
Result<> FaultFileOps::Allocate(int fd, int mode, off_t offset, off_t length) {
  return Run<void>("Allocate", nullptr, [&] { return target_.Allocate(fd, mode, offset, length); });
}
Result<> FaultFileOps::Sync(int fd) {
  return Run<void>("Sync", nullptr, [&] { return target_.Sync(fd); });
}
Result<> FaultFileOps::SyncData(int fd) {
  return Run<void>("SyncData", nullptr, [&] { return target_.SyncData(fd); });
}
Result<> FaultFileOps::SyncFilesystem(int fd) {
  return Run<void>("SyncFilesystem", nullptr, [&] { return target_.SyncFilesystem(fd); });
}
Result<> FaultFileOps::WriteOut(int fd) {
  return Run<void>("WriteOut", nullptr, [&] { return target_.WriteOut(fd); });
}
Result<> FaultFileOps::MakeDir(int dir, const char* path, mode_t mode) {
  return Run<void>("MakeDir", path, [&] { return target_.MakeDir(dir, path, mode); });
}
Result<> FaultFileOps::MakeNode(int dir, const char* path, mode_t mode, dev_t dev) {
  return Run<void>("MakeNode", path, [&] { return target_.MakeNode(dir, path, mode, dev); });
}
Result<> FaultFileOps::SymLink(const char* target, int dir, const char* path) {
  return Run<void>("SymLink", path, [&] { return target_.SymLink(target, dir, path); });
}
Result<> FaultFileOps::Link(int from_dir, const char* from, int to_dir, const char* to, int flags) {
  return Run<void>("Link", from, [&] { return target_.Link(from_dir, from, to_dir, to, flags); });
}
Result<> FaultFileOps::Unlink(int dir, const char* path, int flags) {
  return Run<void>("Unlink", path, [&] { return target_.Unlink(dir, path, flags); });
}
Result<> FaultFileOps::Rename(int from_dir, const char* from, int to_dir, const char* to,
                              unsigned flags) {
  return Run<void>("Rename", from,
                   [&] { return target_.Rename(from_dir, from, to_dir, to, flags); });
}
Result<> FaultFileOps::ChownAt(int dir, const char* path, uid_t uid, gid_t gid, int flags) {
  return Run<void>("ChownAt", path, [&] { return target_.ChownAt(dir, path, uid, gid, flags); });
}
Result<> FaultFileOps::Chown(int fd, uid_t uid, gid_t gid) {
  return Run<void>("Chown", nullptr, [&] { return target_.Chown(fd, uid, gid); });
}
Result<> FaultFileOps::ChmodAt(int dir, const char* path, mode_t mode) {
  return Run<void>("ChmodAt", path, [&] { return target_.ChmodAt(dir, path, mode); });
}
Result<> FaultFileOps::Chmod(int fd, mode_t mode) {
  return Run<void>("Chmod", nullptr, [&] { return target_.Chmod(fd, mode); });
}
Result<> FaultFileOps::UtimesAt(int dir, const char* path, const struct timespec times[2],
                                int flags) {
  return Run<void>("UtimesAt", path, [&] { return target_.UtimesAt(dir, path, times, flags); });
}
Result<> FaultFileOps::Utimes(int fd, const struct timespec times[2]) {
  return Run<void>("Utimes", nullptr, [&] { return target_.Utimes(fd, times); });
}
Result<std::string> FaultFileOps::GetXattr(int fd, const char* name) {
  return Run<std::string>("GetXattr", nullptr, [&] { return target_.GetXattr(fd, name); });
}
Result<std::string> FaultFileOps::GetXattrAt(int dir, const char* name, const char* attribute) {
  return Run<std::string>("GetXattrAt", name,
                          [&] { return target_.GetXattrAt(dir, name, attribute); });
}
Result<> FaultFileOps::SetXattr(int fd, const char* name, std::string_view value, int flags) {
  return Run<void>("SetXattr", nullptr, [&] { return target_.SetXattr(fd, name, value, flags); });
}
Result<> FaultFileOps::RemoveXattr(int fd, const char* name) {
  return Run<void>("RemoveXattr", nullptr, [&] { return target_.RemoveXattr(fd, name); });
}
Result<std::vector<std::string>> FaultFileOps::ListXattr(int fd) {
  return Run<std::vector<std::string>>("ListXattr", nullptr, [&] { return target_.ListXattr(fd); });
}
Result<std::vector<std::string>> FaultFileOps::ListXattrAt(int dir, const char* name) {
  return Run<std::vector<std::string>>("ListXattrAt", name,
                                       [&] { return target_.ListXattrAt(dir, name); });
}

}  // namespace strata
