// An engine without files: answers what a test tells it to and remembers what it was asked. For
// tests of what stands in front of the engine.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fusefs/union/engine.h"

namespace strata::fusefs::testing {

class FakeEngine : public Engine {
 public:
  // What the next calls find.
  std::map<std::string, EntryReply> entries;
  std::vector<std::string> listing;
  std::string xattr_value;
  OpenReply open_reply;
  int error = 0;  // if set, every call that can fail fails with it
  bool throws = false;
  std::optional<struct timespec> birth_time;
  unsigned inode_flags = 0x10;
  bool attributes_stable = true;

  // What was asked.
  bool connected = false;
  BackingFiles* backing = nullptr;
  KernelCache* cache = nullptr;
  std::map<std::uint64_t, std::uint64_t> forgotten;
  std::vector<std::uint64_t> released;
  AttrChange last_change;
  Caller last_caller;
  mode_t last_mode = 0;
  int fd = -1;
  bool last_kill = false;
  unsigned last_rename_flags = 0;
  bool created_unnamed = false;

  Result<> Close() override { return Nothing(); }
  void Connect(BackingFiles* files, KernelCache* kernel_cache) override {
    connected = true;
    backing = files;
    cache = kernel_cache;
  }
  Result<EntryReply> Lookup(NodeId /*parent*/, std::string_view name) override {
    if (throws) throw std::runtime_error("lookup threw");
    if (error != 0) return Fail(error, "fake");
    const auto found = entries.find(std::string(name));
    if (found == entries.end()) return Fail(ENOENT, "fake");
    return found->second;
  }
  void Forget(NodeId node, std::uint64_t count) override { forgotten[node.value] += count; }
  Result<struct stat> GetAttr(NodeId /*node*/, bool* stable) override {
    *stable = attributes_stable;
    return Give(StatOf(S_IFREG | 0644));
  }
  Result<struct timespec> BirthTime(NodeId /*node*/) override {
    if (!birth_time) return Fail(ENODATA, "fake");
    return *birth_time;
  }
  Result<> InodeFlags(NodeId, unsigned, std::span<std::byte> argument) override {
    if (argument.size() < sizeof inode_flags) return Fail(ENOTTY, "fake");
    std::ranges::copy(std::as_bytes(std::span(&inode_flags, 1)), argument.begin());
    return Nothing();
  }
  Result<struct stat> SetAttr(NodeId /*node*/, const AttrChange& change, const Caller& who,
                              bool* stable) override {
    *stable = attributes_stable;
    last_change = change;
    last_caller = who;
    return Give(StatOf(S_IFREG | 0644));
  }
  Result<std::string> ReadLink(NodeId /*node*/) override { return Give(std::string("target")); }
  Result<> List(NodeId /*dir*/, std::uint64_t offset, bool attributes,
                const std::function<bool(const ListedEntry&)>& add) override {
    if (error != 0) return Fail(error, "fake");
    for (std::uint64_t i = offset; i < listing.size(); ++i) {
      EntryReply entry{.node = NodeId{100 + i}, .attr = StatOf(S_IFREG | 0644)};
      const ListedEntry listed{.name = listing[i],
                               .next_offset = i + 1,
                               .ino = 100 + i,
                               .type = 8,
                               .entry = attributes ? &entry : nullptr};
      if (!add(listed)) break;
    }
    return {};
  }
  Result<EntryReply> MakeNode(NodeId, std::string_view, mode_t mode, dev_t,
                              const Caller& who) override {
    return Made(mode, who);
  }
  Result<EntryReply> MakeDir(NodeId, std::string_view, mode_t mode, const Caller& who) override {
    return Made(mode, who);
  }
  Result<EntryReply> SymLink(NodeId, std::string_view, const char*, const Caller& who) override {
    return Made(0777, who);
  }
  Result<EntryReply> Link(NodeId, NodeId, std::string_view) override { return Made(0, {}); }
  Result<> Unlink(NodeId, std::string_view) override { return Nothing(); }
  Result<> RemoveDir(NodeId, std::string_view) override { return Nothing(); }
  Result<> Rename(NodeId, std::string_view, NodeId, std::string_view, unsigned flags) override {
    last_rename_flags = flags;
    return Nothing();
  }
  Result<Created> Create(NodeId, std::string_view, mode_t mode, int, const Caller& who) override {
    auto entry = Made(mode, who);
    if (!entry) return std::unexpected(std::move(entry.error()));
    return Created{.entry = *entry, .open = open_reply};
  }
  Result<Created> CreateUnnamed(NodeId, mode_t mode, int, const Caller& who) override {
    created_unnamed = true;
    return Create({}, {}, mode, 0, who);
  }
  Result<OpenReply> OpenFile(NodeId, int, const Caller&) override { return Give(open_reply); }
  void Release(NodeId, std::uint64_t handle) override { released.push_back(handle); }
  FileKey LockKey(NodeId node) override { return {node.value}; }
  Result<> ReadFile(NodeId, std::uint64_t, off_t offset, std::size_t length,
                    const std::function<Result<>(std::span<const ContentPart>)>& use) override {
    const ContentPart part{fd, offset, length};
    auto given = Nothing();
    if (!given) return given;
    return use({&part, 1});
  }
  Result<std::size_t> WriteFile(NodeId, std::uint64_t, std::span<const std::byte> data,
                                off_t offset, WriteRules rules) override {
    last_kill = rules.kills_for != nullptr;
    auto given = Nothing();
    if (!given) return std::unexpected(std::move(given).error());
    return FileOps::System().WriteAt(fd, data, offset);
  }
  Result<> Sync(NodeId, std::uint64_t, bool) override { return Nothing(); }
  Result<FinalizeReport> Finalize() override { return FinalizeReport{}; }
  Result<> SyncDir(NodeId) override { return Nothing(); }
  Result<> Allocate(NodeId, std::uint64_t, int, off_t, off_t, const Caller*) override {
    return Nothing();
  }
  Result<std::size_t> CopyRange(NodeId, std::uint64_t, off_t, NodeId, std::uint64_t, off_t,
                                std::size_t length, const Caller*) override {
    return Give(length);
  }
  Result<off_t> Seek(NodeId, std::uint64_t, off_t offset, int) override { return Give(offset); }
  Result<std::string> GetXattr(NodeId, const char*) override { return Give(xattr_value); }
  Result<std::vector<std::string>> ListXattr(NodeId) override {
    return Give(std::vector<std::string>{"user.a", "user.bc"});
  }
  Result<> SetXattr(NodeId, const char*, std::string_view value, int, bool) override {
    xattr_value = value;
    return Nothing();
  }
  Result<> RemoveXattr(NodeId, const char*) override { return Nothing(); }
  Result<struct statvfs> StatVfs() override { return Give(statvfs_of()); }
  Counters Count() const override { return {}; }

  static struct stat StatOf(mode_t mode) {
    struct stat stat = {};
    stat.st_ino = 42;
    stat.st_mode = mode;
    stat.st_nlink = 1;
    stat.st_size = 7;
    return stat;
  }

 private:
  static struct statvfs statvfs_of() {
    struct statvfs info = {};
    info.f_bsize = 4096;
    return info;
  }
  template <class T>
  Result<T> Give(T value) {
    if (error != 0) return Fail(error, "fake");
    return value;
  }
  Result<> Nothing() {
    if (error != 0) return Fail(error, "fake");
    return {};
  }
  Result<EntryReply> Made(mode_t mode, const Caller& who) {
    last_mode = mode;
    last_caller = who;
    return Give(EntryReply{.node = NodeId{9}, .generation = 3, .attr = StatOf(mode)});
  }
};

}  // namespace strata::fusefs::testing
