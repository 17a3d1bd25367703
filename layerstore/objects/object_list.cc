#include "layerstore/objects/object_list.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>

#include "base/little.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr std::array<char, 8> kMagic = {'S', 'T', 'R', 'A', 'T', 'O', 'B', 'J'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kBatch = 4096;  // keys
constexpr mode_t kPrivateFile = 0600;

struct Header {
  std::array<char, 8> magic{};
  Little<std::uint32_t> version;
  Little<std::uint64_t> count;
  Xxh128::Bytes checksum{};  // of the keys
};
static_assert(sizeof(Header) == 36 && alignof(Header) == 1);

using KeyBytes = Xxh128::Bytes;

std::unexpected<Error> Damaged(const char* how) { return Fail(EBADMSG, "list of objects", how); }

Result<> ReadExactly(FileOps& ops, int fd, std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    STRATA_TRY_ASSIGN(const std::size_t got, ops.Read(fd, buffer));
    if (got == 0) return Damaged("it is too short");
    buffer = buffer.subspan(got);
  }
  return {};
}

// All keys, in batches.
Result<> ReadKeys(FileOps& ops, int fd, std::uint64_t count,
                  const std::function<Result<>(std::span<const KeyBytes>)>& each) {
  std::vector<KeyBytes> keys;
  while (count > 0) {
    keys.resize(static_cast<std::size_t>(std::min<std::uint64_t>(count, kBatch)));
    STRATA_TRY(ReadExactly(ops, fd, std::as_writable_bytes(std::span(keys))));
    STRATA_TRY(each(keys));
    count -= keys.size();
  }
  return {};
}

std::string_view BytesOf(std::span<const KeyBytes> keys) {
  return {reinterpret_cast<const char*>(keys.data()), keys.size_bytes()};
}

}  // namespace

Result<> ObjectListWriter::Add(const ObjectKey& key) {
  keys_.push_back(key);
  return keys_.size() < kBatch ? Result<>() : Flush();
}

Result<> ObjectListWriter::Flush() {
  if (!file_) {
    STRATA_TRY_ASSIGN(file_, ops_.Open(layer_dir_, kFileName,
                                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kPrivateFile));
  }
  std::vector<KeyBytes> bytes;
  bytes.reserve(keys_.size());
  for (const ObjectKey& key : keys_) bytes.push_back(key.value().bytes());
  const std::string_view text = BytesOf(bytes);
  hasher_.Update(text);
  const auto at = static_cast<off_t>(sizeof(Header) + written_ * sizeof(KeyBytes));
  STRATA_TRY(WriteAllAt(ops_, file_.get(), std::as_bytes(std::span(text)), at));
  written_ += keys_.size();
  keys_.clear();
  return {};
}

Result<> ObjectListWriter::Finish() {
  if (finished_ || (keys_.empty() && !file_)) return {};
  STRATA_TRY(Flush());
  finished_ = true;
  Header header;
  header.magic = kMagic;
  header.version = kVersion;
  header.count = written_;
  header.checksum = hasher_.Finish().bytes();
  return WriteAllAt(ops_, file_.get(), std::as_bytes(std::span(&header, 1)), 0);
}

Result<> ForEachObject(FileOps& ops, int layer_dir,
                       const std::function<Result<>(const ObjectKey&)>& each) {
  auto fd = ops.Open(layer_dir, ObjectListWriter::kFileName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd && fd.error().code() == ENOENT) return {};
  if (!fd) return std::unexpected(std::move(fd).error());
  Header header;
  STRATA_TRY(ReadExactly(ops, fd->get(), std::as_writable_bytes(std::span(&header, 1))));
  if (header.magic != kMagic) return Damaged("it is none");
  if (header.version != kVersion) return Fail(EPROTONOSUPPORT, "list of objects", "version");
  STRATA_TRY_ASSIGN(const struct stat st, ops.Stat(fd->get()));
  const auto body = static_cast<std::uint64_t>(st.st_size) - sizeof(Header);
  if (body / sizeof(KeyBytes) != header.count || body % sizeof(KeyBytes) != 0) {
    return Damaged("its length is wrong");
  }
  Xxh128Hasher hasher;
  STRATA_TRY(ReadKeys(ops, fd->get(), header.count, [&](auto keys) -> Result<> {
    hasher.Update(BytesOf(keys));
    return {};
  }));
  if (hasher.Finish().bytes() != header.checksum) return Damaged("its checksum is wrong");
  STRATA_TRY(ops.Seek(fd->get(), sizeof(Header), SEEK_SET));
  return ReadKeys(ops, fd->get(), header.count, [&](auto keys) -> Result<> {
    for (const KeyBytes& key : keys) STRATA_TRY(each(ObjectKey(Xxh128(key))));
    return {};
  });
}

}  // namespace strata::layerstore
