// The part of Unpacker that makes regular files, or finds them.
#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/copy_bytes.h"
#include "base/logging.h"
#include "base/try.h"
#include "base/verity.h"
#include "base/writeback.h"
#include "layerstore/archive/file_blocks.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/objects/object_key.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kCompareBytes = std::size_t{128} * 1024;

}  // namespace

// A file that may be stored already is compared while it comes in; it is written only from where it
// turns out to be another. It is linked at once, or in the end gets the data of what is stored.
Result<> Unpacker::MakeFile(TarReader& reader, const Place& place) {
  const TarEntry& entry = reader.entry();
  FileBlocks blocks(reader);
  StoredFile stored;
  STRATA_TRY_ASSIGN(bool asked, FindStored(entry, blocks, stored));
  STRATA_TRY_ASSIGN(bool linked, LinkStored(place, stored));
  UniqueFd file;
  if (!linked) {
    STRATA_TRY_ASSIGN(file, MakeEmptyFile(entry, place));
  }

  EarlyWriteback writeback;  // the layer is synced in the end
  for (std::int64_t compared = 0;; compared = blocks.end()) {
    STRATA_TRY_ASSIGN(const auto block, blocks.Next());
    if (stored.fd) {
      STRATA_TRY_ASSIGN(const bool same, IsNext(block, compared, entry, stored.fd.get()));
      if (!same) {
        if (std::exchange(linked, false)) {
          STRATA_TRY(ops_.Unlink(place.parent, place.name));
          STRATA_TRY_ASSIGN(file, MakeEmptyFile(entry, place));
          asked = false;  // the place is taken by what it was compared with
        }
        STRATA_TRY(TakeData(std::exchange(stored.fd, UniqueFd()), file.get(), compared));
      }
    }
    if (!block) break;
    if (!stored.fd) {
      const auto data = std::as_bytes(std::span(block->data));
      STRATA_TRY(WriteAllAt(ops_, file.get(), data, block->offset));
      writeback.Reached(file.get(), blocks.end());
    }
    if (recorder_ != nullptr) {
      STRATA_TRY(recorder_->Content(place.path, entry.size, block->offset, block->data));
    }
  }
  summary_.room += RoomOf(static_cast<std::uint64_t>(entry.size));
  if (linked) return {};
  if (stored.fd) {
    STRATA_TRY(TakeData(std::move(stored.fd), file.get(), entry.size));
  } else if (blocks.end() < entry.size) {
    STRATA_TRY(ops_.Truncate(file.get(), entry.size));  // a hole at the end
  }
  STRATA_TRY(FinishFile(entry, file.get()));
  return asked && blocks.gapless() ? shared_->Offer(place.parent, place.name) : Result<>();
}

// Whether it was asked for; its beginning has been compared then.
Result<bool> Unpacker::FindStored(const TarEntry& entry, FileBlocks& blocks, StoredFile& stored) {
  if (shared_ == nullptr) return false;
  STRATA_TRY_ASSIGN(const bool may, shared_->MayHave(entry));
  if (!may) return false;
  const std::size_t wanted = std::min(shared_->StartBytes(), static_cast<std::size_t>(entry.size));
  STRATA_TRY(blocks.ReadStart(wanted, start_));
  const std::string_view start = std::string_view(start_).substr(0, wanted);
  if (start.size() < wanted) return false;  // with a hole, or cut off
  STRATA_TRY_ASSIGN(stored, shared_->Find(entry, start));
  return true;
}

// What is not the same from the start is not used.
Result<bool> Unpacker::LinkStored(const Place& place, StoredFile& stored) {
  if (!stored.fd) return false;
  STRATA_TRY_ASSIGN(const bool same, HasBytes(stored.fd.get(), start_, 0));
  if (!same) stored.fd.reset();
  bool linked = false;
  if (same && stored.same_file) {
    STRATA_TRY(MakeFresh(place, [&]() -> Result<> {
      STRATA_TRY_ASSIGN(linked, shared_->Link(stored.fd.get(), place.parent, place.name));
      return {};
    }));
  }
  return linked;
}

Result<bool> Unpacker::HasBytes(int file, std::string_view data, std::int64_t offset) {
  compared_.resize(kCompareBytes);
  while (!data.empty()) {
    const auto buffer = std::span(compared_).first(std::min(data.size(), kCompareBytes));
    auto got = ops_.ReadAt(file, buffer, offset);
    if (!got) {
      if (!IsDamage(got.error().code())) return std::unexpected(std::move(got).error());
      // Damaged, on a filesystem that notices: no reason not to write a good one.
      const auto path = ops_.ReadLink(AT_FDCWD, ProcFdPath(file).c_str());
      log::Warn("unpack: a stored file can not be read", {{"file", path ? *path : "?"}});
      return false;
    }
    if (*got == 0 || std::memcmp(buffer.data(), data.data(), *got) != 0) return false;
    data.remove_prefix(*got);
    offset += static_cast<std::int64_t>(*got);
  }
  return true;
}

// Whether the stored file goes on, or ends, like the archive's.
Result<bool> Unpacker::IsNext(const std::optional<TarReader::Block>& block, std::int64_t compared,
                              const TarEntry& entry, int stored) {
  if (!block) return compared == entry.size;
  if (block->offset != compared) return false;
  if (block->offset == 0) return true;  // LinkStored() has seen it
  return HasBytes(stored, block->data, block->offset);
}

// Gives the empty file the first `length` bytes of what is stored: they are the entry's.
Result<> Unpacker::TakeData(UniqueFd stored, int file, std::int64_t length) {
  STRATA_TRY_ASSIGN(const bool cloned,
                    shared_->Clone(stored.get(), file, static_cast<std::uint64_t>(length)));
  if (cloned) return {};
  STRATA_TRY_ASSIGN(const off_t copied, CopyBytes(ops_, stored.get(), file, 0, length));
  if (copied < length) return Fail(EIO, "unpack", "a stored file became shorter");
  return {};
}

// Set-id bits come after the owner.
bool Unpacker::IsMadeWithMode(const TarEntry& entry) const {
  constexpr mode_t kPlainBits = 0777;
  return (entry.mode & kPermissionBits & (umask_ | ~kPlainBits)) == 0;
}

Result<UniqueFd> Unpacker::MakeEmptyFile(const TarEntry& entry, const Place& place) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  constexpr mode_t kPrivate = 0600;
  const mode_t mode = IsMadeWithMode(entry) ? entry.mode & kPermissionBits : kPrivate;
  UniqueFd file;
  STRATA_TRY(MakeFresh(place, [&]() -> Result<> {
    STRATA_TRY_ASSIGN(file, ops_.Open(place.parent, place.name, kFlags, mode));
    return {};
  }));
  return file;
}

// The order matters: chown clears set-id bits and capabilities, everything changes times.
Result<> Unpacker::FinishFile(const TarEntry& entry, int fd) {
  if (privileged_ && !IsMadeWithOwner(entry)) {
    STRATA_TRY(ops_.Chown(fd, static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)));
  }
  if (!IsMadeWithMode(entry)) STRATA_TRY(ops_.Chmod(fd, entry.mode & kPermissionBits));
  STRATA_TRY(SetXattrs(entry, fd));
  return ops_.Utimes(fd, TimesOf(entry).data());
}

}  // namespace strata::layerstore
