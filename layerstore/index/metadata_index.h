// The names and attributes of one layer, or of a chain of layers merged, in one read-only file that
// is mapped and shared by all who use it. Format: docs/formats/index.md.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata::layerstore {

namespace format {
struct Header;
struct EntryRecord;
}  // namespace format

// What changes when a layer directory is replaced by another, moved or given other names.
struct LayerProof {
  std::uint64_t root_ino = 0;
  std::int64_t ctime_sec = 0;
  std::uint32_t ctime_nsec = 0;
  bool operator==(const LayerProof&) const = default;

  static LayerProof Of(const struct stat& root);
};

// Safe against any bytes: nothing outside of the mapping is touched, no number in the file is
// believed. What the head says is checked by Open(); every 64 KiB of the rest when they are first
// used. Thread-safe.
//
// The errors are EBADMSG for a damaged file and EPROTONOSUPPORT for one of another version; what a
// caller does about both is to build it anew.
class MetadataIndex {
 public:
  enum class Kind : std::uint8_t { kLayer, kChain };
  using Directory = std::uint32_t;  // its number; the root is 0
  using Number = std::uint32_t;     // of an entry; the root's is 0
  static constexpr Directory kRoot = 0;

  struct Layer {
    LayerProof proof;
    blksize_t block_size = 0;
    std::string_view path;  // absolute, or from the directory the index is in
  };

  // Views are valid as long as the index.
  struct Entry {
    Number number = 0;
    std::string_view name;
    std::string_view target;  // of a symbolic link; of a directory in a layer index, its redirect
    std::optional<Directory> directory;  // where its own entries are
    Directory parent = kRoot;            // the directory it is in
    std::uint16_t layer = 0;             // 0 is the base
    bool whiteout = false;
    bool opaque = false;
    bool alone = false;
    bool has_xattrs = false;
    bool merged = false;
    bool metacopy = false;
    bool implied = false;
    // Of a file whose inode other files may have, too: what stands for it instead, within its
    // layer. Its names, and nothing else, have the same.
    std::optional<std::uint32_t> identity;
    struct stat attr = {};  // st_dev is 0; st_nlink of a file counts its names in its layer
  };
  struct Names {
    Number first = 0;
    std::uint32_t count = 0;
    Number end() const { return first + count; }
  };
  // In the layers first..last (0 is the base) a directory is at `path` from the layer's root.
  struct Place {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    std::string path;
  };

  // Costs the same for any number of entries. Also ENOENT and what open(2) says.
  static Result<std::shared_ptr<const MetadataIndex>> Open(FileOps& files, int dir,
                                                           const char* name);
  // What a file says of its marks (user_marks()) even if it is of another version or damaged
  // further on; nothing if it is no index or not there.
  static std::optional<bool> MarksOf(FileOps& files, int dir, const char* name);
  ~MetadataIndex();
  MetadataIndex(const MetadataIndex&) = delete;
  MetadataIndex& operator=(const MetadataIndex&) = delete;

  Kind kind() const;
  // Opaque and redirect marks were read from user.overlay.* instead of trusted.overlay.*.
  bool user_marks() const;
  std::uint32_t entries() const;
  std::uint32_t directories() const;
  std::uint64_t bytes() const { return size_; }
  // Base first; one for a layer index.
  std::span<const Layer> layers() const { return layers_; }

  Result<Names> List(Directory directory) const;
  Result<Entry> At(Number number) const;
  // Less than At(), for listings: only name, directory, flags, layer and the type in st_mode.
  Result<Entry> NameAt(Number number) const;
  Result<std::optional<Number>> Find(Directory directory, std::string_view name) const;
  // Follows a path of directories from the root; nothing if one of them is not there.
  Result<std::optional<Directory>> FindDirectory(std::string_view path) const;
  Result<Number> EntryOf(Directory directory) const;

  // Where the union shows a directory; no leading slash, the root is "".
  Result<std::string> PathOf(Directory directory) const;
  // Where an entry is in the layer it comes from.
  Result<std::string> PathInLayer(const Entry& entry) const;
  // Where a layer has a directory, if it has it.
  Result<std::string> PathInLayer(Directory directory, std::uint16_t layer) const;
  // Where the layers have a directory if not under PathOf().
  Result<std::vector<Place>> Moves(Directory directory) const;

  // Checks every checksum.
  Result<> Verify() const;

 private:
  MetadataIndex(const std::byte* data, std::uint64_t size) : data_(data), size_(size) {}
  Result<> CheckHead();
  const format::Header& header() const;
  // Makes sure that these bytes are in the body and what was written.
  Result<> Check(std::uint64_t offset, std::uint64_t length) const;
  Result<> CheckBlock(std::uint64_t block) const;
  template <class Record>
  Result<const Record*> RecordAt(std::uint64_t section, std::uint64_t number,
                                 std::uint64_t count) const;
  Result<std::string_view> String(std::uint64_t at, std::uint64_t length) const;
  Result<std::string> Climb(Directory directory, std::optional<std::uint16_t> layer) const;
  Result<Entry> Decode(const format::EntryRecord& record, Number number) const;

  const std::byte* const data_;
  const std::uint64_t size_;
  std::vector<Layer> layers_;
  std::uint64_t sums_at_ = 0;  // the checksums of the blocks
  std::uint64_t body_at_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t directories_at_ = 0;
  std::uint64_t entries_at_ = 0;
  std::uint64_t moves_at_ = 0;
  std::uint64_t strings_at_ = 0;
  std::unique_ptr<std::atomic<bool>[]> good_;  // blocks whose checksum was right
};

}  // namespace strata::layerstore
