// A FileOps that does nothing of its own: for tests that change a few calls and leave the rest.
#pragma once

#include "base/file_ops.h"

namespace strata::support {

// As thread-safe as `target`, which must outlive it.
class ForwardingFileOps : public FileOps {
 public:
  explicit ForwardingFileOps(FileOps& target) : target_(target) {}

  Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode) override {
    return target_.Open(dir, path, flags, mode);
  }
  Result<UniqueFd> OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                std::uint64_t resolve) override {
    return target_.OpenConfined(dir, path, flags, mode, resolve);
  }
  Result<struct stat> Stat(int fd) override { return target_.Stat(fd); }
  Result<struct stat> StatAt(int dir, const char* path, int flags) override {
    return target_.StatAt(dir, path, flags);
  }
  Result<struct statvfs> StatVfs(int fd) override { return target_.StatVfs(fd); }
  Result<std::string> ReadLink(int dir, const char* path) override {
    return target_.ReadLink(dir, path);
  }
  Result<> ReadDir(
      int fd, const std::function<bool(std::string_view, ino_t, unsigned char)>& each) override {
    return target_.ReadDir(fd, each);
  }
  Result<std::size_t> ReadAt(int fd, std::span<std::byte> buffer, off_t offset) override {
    return target_.ReadAt(fd, buffer, offset);
  }
  Result<std::size_t> WriteAt(int fd, std::span<const std::byte> data, off_t offset) override {
    return target_.WriteAt(fd, data, offset);
  }
  Result<std::size_t> Read(int fd, std::span<std::byte> buffer) override {
    return target_.Read(fd, buffer);
  }
  Result<std::size_t> Write(int fd, std::span<const std::byte> data) override {
    return target_.Write(fd, data);
  }
  Result<std::size_t> CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                std::size_t length) override {
    return target_.CopyRange(in, in_offset, out, out_offset, length);
  }
  Result<> Clone(int from, int to) override { return target_.Clone(from, to); }
  Result<off_t> Seek(int fd, off_t offset, int whence) override {
    return target_.Seek(fd, offset, whence);
  }
  Result<> Truncate(int fd, off_t size) override { return target_.Truncate(fd, size); }
  Result<> TruncatePath(const char* path, off_t size) override {
    return target_.TruncatePath(path, size);
  }
  Result<> Allocate(int fd, int mode, off_t offset, off_t length) override {
    return target_.Allocate(fd, mode, offset, length);
  }
  Result<> Sync(int fd) override { return target_.Sync(fd); }
  Result<> SyncData(int fd) override { return target_.SyncData(fd); }
  Result<> SyncFilesystem(int fd) override { return target_.SyncFilesystem(fd); }
  Result<> WriteOut(int fd) override { return target_.WriteOut(fd); }
  Result<> MakeDir(int dir, const char* path, mode_t mode) override {
    return target_.MakeDir(dir, path, mode);
  }
  Result<> MakeNode(int dir, const char* path, mode_t mode, dev_t dev) override {
    return target_.MakeNode(dir, path, mode, dev);
  }
  Result<> SymLink(const char* target, int dir, const char* path) override {
    return target_.SymLink(target, dir, path);
  }
  Result<> Link(int from_dir, const char* from, int to_dir, const char* to, int flags) override {
    return target_.Link(from_dir, from, to_dir, to, flags);
  }
  Result<> Unlink(int dir, const char* path, int flags) override {
    return target_.Unlink(dir, path, flags);
  }
  Result<> Rename(int from_dir, const char* from, int to_dir, const char* to,
                  unsigned flags) override {
    return target_.Rename(from_dir, from, to_dir, to, flags);
  }
  Result<> ChownAt(int dir, const char* path, uid_t uid, gid_t gid, int flags) override {
    return target_.ChownAt(dir, path, uid, gid, flags);
  }
  Result<> Chown(int fd, uid_t uid, gid_t gid) override { return target_.Chown(fd, uid, gid); }
  Result<> ChmodAt(int dir, const char* path, mode_t mode) override {
    return target_.ChmodAt(dir, path, mode);
  }
  Result<> Chmod(int fd, mode_t mode) override { return target_.Chmod(fd, mode); }
  Result<> UtimesAt(int dir, const char* path, const struct timespec times[2], int flags) override {
    return target_.UtimesAt(dir, path, times, flags);
  }
  Result<> Utimes(int fd, const struct timespec times[2]) override {
    return target_.Utimes(fd, times);
  }
  Result<std::string> GetXattr(int fd, const char* name) override {
    return target_.GetXattr(fd, name);
  }
  Result<std::string> GetXattrAt(int dir, const char* name, const char* attribute) override {
    return target_.GetXattrAt(dir, name, attribute);
  }
  Result<> SetXattr(int fd, const char* name, std::string_view value, int flags) override {
    return target_.SetXattr(fd, name, value, flags);
  }
  Result<> RemoveXattr(int fd, const char* name) override { return target_.RemoveXattr(fd, name); }
  Result<std::vector<std::string>> ListXattr(int fd) override { return target_.ListXattr(fd); }
  Result<std::vector<std::string>> ListXattrAt(int dir, const char* name) override {
    return target_.ListXattrAt(dir, name);
  }

 protected:
  FileOps& target() { return target_; }

 private:
  FileOps& target_;
};

}  // namespace strata::support
