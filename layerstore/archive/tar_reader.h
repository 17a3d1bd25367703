// Reads a tar stream: ustar, pax, GNU and their sparse forms, by libarchive. Only the format is
// libarchive's business here: bytes come in decompressed, and nothing is written to disk.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace strata::layerstore {

// One member of the archive. Nothing in it is checked or normalised.
struct TarEntry {
  enum class Type : std::uint8_t {
    kFile,
    kDirectory,
    kSymlink,
    kHardLink,
    kCharDevice,
    kBlockDevice,
    kFifo,
  };

  std::string path;
  Type type = Type::kFile;
  std::string link;  // kSymlink: its target; kHardLink: the name of the other entry
  mode_t mode = 0;   // permission bits with set-id and sticky
  std::int64_t uid = 0;
  std::int64_t gid = 0;
  std::int64_t size = 0;  // kFile; holes included
  struct timespec mtime = {};
  std::optional<struct timespec> atime;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  // In the archive's order, ACLs as kAclAccessXattr and kAclDefaultXattr.
  std::vector<std::pair<std::string, std::string>> xattrs;
  // ACL entries that name a user or group without its number; left out of the ACL.
  std::uint32_t unresolved_acl_entries = 0;
};

// Not thread-safe.
class TarReader {
 public:
  // Gives the next bytes, valid until the next call; empty at the end.
  using Source = std::function<Result<std::string_view>()>;
  // Is given, in their order, the bytes of the stream that ReadBlock() does not return: headers,
  // padding, what was not read. With the blocks they make up the stream. What stands before a block
  // is given before ReadBlock() returns it.
  using Framing = std::function<Result<>(std::string_view bytes)>;

  explicit TarReader(Source source, Framing framing = nullptr);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // Moves to the next entry, skipping what was not read of the last; false at the archive's end.
  // EBADMSG: not a tar archive, or corrupt. E2BIG: longer headers than anybody needs. Errors of the
  // source and of `framing` come through as they are.
  Result<bool> Next();
  const TarEntry& entry() const { return entry_; }

  struct Block {
    std::string_view data;  // valid until the next call
    std::int64_t offset = 0;
  };
  // The next piece of the entry's content; holes are left out, so `offset` may jump. Nothing at its
  // end.
  Result<std::optional<Block>> ReadBlock();
  // After the archive's end: reads the source to its own.
  Result<> ReadRest();
  // The whole content of a small file; EFBIG above `limit`.
  Result<std::string> ReadContent(std::size_t limit);

 private:
  struct Impl;
  // To the start of the next entry's headers.
  Result<> GoToHeader();
  Result<> FillEntry(void* archive_entry);
  std::unexpected<Error> Failure(const std::string& doing);

  std::unique_ptr<Impl> impl_;
  TarEntry entry_;
};

}  // namespace strata::layerstore
