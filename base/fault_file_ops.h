// A FileOps that misbehaves on purpose: at the n-th call of a kind, at every call of a kind, or at
// one chosen by a test.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>

#include "base/file_ops.h"

namespace strata {

// Forwards to `target` unless `decide` wants something else for the call. Thread-safe as far as
// `decide` is.
class FaultFileOps final : public FileOps {
 public:
  struct Call {
    std::string_view name;  // the FileOps method: "Open", "Rename", ...
    std::uint64_t number;   // counts all calls from 0
    const char* path;       // the (first) path argument, nullptr for calls by descriptor
  };
  // What becomes of a call. As a number: 0 lets it through, a positive errno makes it fail with
  // that, without having happened.
  struct Outcome {
    Outcome(int code = 0) : error(code) {}  // implicit: most deciders return a number
    static Outcome Partial() {
      Outcome outcome;
      outcome.partial = true;
      return outcome;
    }
    static Outcome Swallowed() {
      Outcome outcome;
      outcome.swallowed = true;
      return outcome;
    }

    int error = 0;
    // Reads, writes and copies do the first half of their bytes and say so. Other calls, and those
    // of one byte, go through.
    bool partial = false;
    // Calls that return nothing succeed without having happened, like the fsync of a disk that
    // lies. Other calls go through.
    bool swallowed = false;
  };
  using Decide = std::function<Outcome(const Call&)>;

  FaultFileOps(FileOps& target, Decide decide) : target_(target), decide_(std::move(decide)) {}

  std::uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode) override;
  Result<UniqueFd> OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                std::uint64_t resolve) override;
  Result<struct stat> Stat(int fd) override;
  Result<struct stat> StatAt(int dir, const char* path, int flags) override;
  Result<struct statvfs> StatVfs(int fd) override;
  Result<std::string> ReadLink(int dir, const char* path) override;
  Result<> ReadDir(
      int fd, const std::function<bool(std::string_view, ino_t, unsigned char)>& each) override;
  Result<std::size_t> ReadAt(int fd, std::span<std::byte> buffer, off_t offset) override;
  Result<std::size_t> WriteAt(int fd, std::span<const std::byte> data, off_t offset) override;
  Result<std::size_t> Read(int fd, std::span<std::byte> buffer) override;
  Result<std::size_t> Write(int fd, std::span<const std::byte> data) override;
  Result<std::size_t> CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                std::size_t length) override;
  Result<> Clone(int from, int to) override;
  Result<off_t> Seek(int fd, off_t offset, int whence) override;
  Result<> Truncate(int fd, off_t size) override;
  Result<> TruncatePath(const char* path, off_t size) override;
  Result<> Allocate(int fd, int mode, off_t offset, off_t length) override;
  Result<> Sync(int fd) override;
  Result<> SyncData(int fd) override;
  Result<> SyncFilesystem(int fd) override;
  Result<> WriteOut(int fd) override;
  Result<> MakeDir(int dir, const char* path, mode_t mode) override;
  Result<> MakeNode(int dir, const char* path, mode_t mode, dev_t dev) override;
  Result<> SymLink(const char* target, int dir, const char* path) override;
  Result<> Link(int from_dir, const char* from, int to_dir, const char* to, int flags) override;
  Result<> Unlink(int dir, const char* path, int flags) override;
  Result<> Rename(int from_dir, const char* from, int to_dir, const char* to,
                  unsigned flags) override;
  Result<> ChownAt(int dir, const char* path, uid_t uid, gid_t gid, int flags) override;
  Result<> Chown(int fd, uid_t uid, gid_t gid) override;
  Result<> ChmodAt(int dir, const char* path, mode_t mode) override;
  Result<> Chmod(int fd, mode_t mode) override;
  Result<> UtimesAt(int dir, const char* path, const struct timespec times[2], int flags) override;
  Result<> Utimes(int fd, const struct timespec times[2]) override;
  Result<std::string> GetXattr(int fd, const char* name) override;
  Result<std::string> GetXattrAt(int dir, const char* name, const char* attribute) override;
  Result<> SetXattr(int fd, const char* name, std::string_view value, int flags) override;
  Result<> RemoveXattr(int fd, const char* name) override;
  Result<std::vector<std::string>> ListXattr(int fd) override;
  Result<std::vector<std::string>> ListXattrAt(int dir, const char* name) override;

 private:
  Outcome Ask(const char* name, const char* path);
  template <class T, class Forward>
  Result<T> Run(const char* name, const char* path, Forward forward);
  // `forward` takes how many of the `length` bytes to do.
  template <class Forward>
  Result<std::size_t> RunBytes(const char* name, std::size_t length, Forward forward);

  FileOps& target_;
  Decide decide_;
  std::atomic<std::uint64_t> calls_ = 0;
};

}  // namespace strata
