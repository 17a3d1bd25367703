#include "layerstore/archive/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <algorithm>
#include <cwchar>
#include <new>

#include "base/logging.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/posix_acl.h"
#include "layerstore/archive/special_headers.h"

namespace strata::layerstore {
namespace {

// libarchive turns pax names, which are UTF-8, into the thread's character set. With a UTF-8 locale
// that leaves the bytes as they are. One object for the life of the process: it never changes, and
// its conversion functions, which the C library loads at first use, are loaded before it is shared.
locale_t Utf8Locale() {
  static const locale_t kLocale = [] {
    const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    if (locale == nullptr) return locale;
    const locale_t before = ::uselocale(locale);
    wchar_t wide = 0;
    std::mbstate_t state = {};
    std::mbrtowc(&wide, "x", 1, &state);
    ::uselocale(before);
    return locale;
  }();
  return kLocale;
}

class LocaleScope {
 public:
  LocaleScope() : before_(Utf8Locale() != nullptr ? ::uselocale(Utf8Locale()) : nullptr) {}
  ~LocaleScope() {
    if (before_ != nullptr) ::uselocale(before_);
  }
  LocaleScope(const LocaleScope&) = delete;
  LocaleScope& operator=(const LocaleScope&) = delete;

 private:
  locale_t before_;
};

struct ArchiveDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};

std::string OrEmpty(const char* text) { return text != nullptr ? text : ""; }

Result<TarEntry::Type> TypeOf(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return TarEntry::Type::kHardLink;
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return TarEntry::Type::kFile;
    case AE_IFDIR:
      return TarEntry::Type::kDirectory;
    case AE_IFLNK:
      return TarEntry::Type::kSymlink;
    case AE_IFCHR:
      return TarEntry::Type::kCharDevice;
    case AE_IFBLK:
      return TarEntry::Type::kBlockDevice;
    case AE_IFIFO:
      return TarEntry::Type::kFifo;
    default:
      return Fail(EBADMSG, "tar", "an entry of unknown type");
  }
}

std::optional<AclEntry::Tag> AclTag(int tag) {
  switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER_OBJ:
      return AclEntry::Tag::kUserObj;
    case ARCHIVE_ENTRY_ACL_USER:
      return AclEntry::Tag::kUser;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
      return AclEntry::Tag::kGroupObj;
    case ARCHIVE_ENTRY_ACL_GROUP:
      return AclEntry::Tag::kGroup;
    case ARCHIVE_ENTRY_ACL_MASK:
      return AclEntry::Tag::kMask;
    case ARCHIVE_ENTRY_ACL_OTHER:
      return AclEntry::Tag::kOther;
    default:
      return std::nullopt;
  }
}

std::uint16_t AclPermissions(int permset) {
  int bits = 0;
  if ((permset & ARCHIVE_ENTRY_ACL_READ) != 0) bits |= 4;
  if ((permset & ARCHIVE_ENTRY_ACL_WRITE) != 0) bits |= 2;
  if ((permset & ARCHIVE_ENTRY_ACL_EXECUTE) != 0) bits |= 1;
  return static_cast<std::uint16_t>(bits);
}

// The ACL of one type in the kernel's form, "" if the mode bits say it all.
std::string ReadAcl(archive_entry* entry, int want, std::uint32_t& unresolved) {
  std::vector<AclEntry> acl;
  bool extended = want == ARCHIVE_ENTRY_ACL_TYPE_DEFAULT;
  archive_entry_acl_reset(entry, want);
  int type = 0;
  int permset = 0;
  int tag = 0;
  int id = -1;
  const char* name = nullptr;
  while (archive_entry_acl_next(entry, want, &type, &permset, &tag, &id, &name) == ARCHIVE_OK) {
    const auto known = AclTag(tag);
    if (!known) continue;
    const bool named = *known == AclEntry::Tag::kUser || *known == AclEntry::Tag::kGroup;
    if (named || *known == AclEntry::Tag::kMask) extended = true;
    if (named && id < 0) {
      ++unresolved;
      continue;
    }
    acl.push_back({*known, AclPermissions(permset), named ? static_cast<std::uint32_t>(id) : 0});
  }
  return extended ? EncodeAcl(std::move(acl)) : std::string();
}

// An ACL of nothing but its version, which the kernel does not keep.
bool IsEmptyAcl(std::string_view name, std::size_t size) {
  constexpr std::size_t kVersionBytes = 4;
  return size <= kVersionBytes && (name == kAclAccessXattr || name == kAclDefaultXattr);
}

}  // namespace

// Knows which bytes of the stream libarchive made an entry's content of: its position counts those
// it is done with, and when it returns a block, it stands at the block's start.
struct TarReader::Impl {
  // Of one entry, the list of a sparse file's parts included, which libarchive keeps in memory
  // whatever its length: up to twelve times as much.
  static constexpr std::uint64_t kHeadersMax = std::uint64_t{2} << 20U;

  static la_ssize_t Read(archive* a, void* self, const void** buffer) {
    auto* impl = static_cast<Impl*>(self);
    auto data = impl->NextChunk();
    if (!data) {
      archive_set_error(a, data.error().code(), "source");
      impl->error.emplace(std::move(data).error());
      return -1;
    }
    *buffer = data->data();
    return static_cast<la_ssize_t>(data->size());
  }

  std::uint64_t Position() const {
    return static_cast<std::uint64_t>(archive_filter_bytes(reader.get(), 0));
  }

  Result<std::string_view> NextChunk() {
    if (in_header && Position() - header_at > kHeadersMax) {
      return Fail(
          E2BIG, "tar",
          "the headers of an entry have more than " + std::to_string(kHeadersMax) + " bytes");
    }
    STRATA_TRY(Tell(Position()));
    // libarchive has a copy of its own of what it has not used yet.
    held.append(chunk.substr(static_cast<std::size_t>(std::max(told, chunk_at) - chunk_at)));
    chunk_at += chunk.size();
    chunk = {};
    STRATA_TRY_ASSIGN(chunk, source());
    STRATA_TRY(special_headers.Feed(chunk));
    return chunk;
  }

  // Gives what stands before `end` to `framing`, unless it was given before.
  Result<> Tell(std::uint64_t end) {
    if (end <= told) return {};
    if (framing) {
      STRATA_TRY(ForEach(told, end, [this](std::string_view bytes) { return framing(bytes); }));
    }
    Pass(end);
    return {};
  }

  void Pass(std::uint64_t end) {
    held.erase(0, static_cast<std::size_t>(std::min<std::uint64_t>(end - told, held.size())));
    told = end;
  }

  // Calls `each` for the one or two pieces that bytes from `begin` (not before `told`) to `end` are
  // kept in.
  template <class Each>
  Result<> ForEach(std::uint64_t begin, std::uint64_t end, Each each) {
    if (begin < chunk_at) {
      const std::uint64_t middle = std::min(end, chunk_at);
      STRATA_TRY(each(std::string_view(held).substr(static_cast<std::size_t>(begin - told),
                                                    static_cast<std::size_t>(middle - begin))));
      begin = middle;
    }
    if (begin == end) return {};
    return each(chunk.substr(static_cast<std::size_t>(begin - chunk_at),
                             static_cast<std::size_t>(end - begin)));
  }

  // Positions are what a layer is made again from, so none is believed.
  Result<> TakeBlock(std::string_view data) {
    const std::uint64_t begin = Position();
    const std::uint64_t end = begin + data.size();
    if (begin < told || end > chunk_at + chunk.size()) return WrongPosition();
    STRATA_TRY(Tell(begin));
    std::string_view rest = data;
    STRATA_TRY(ForEach(begin, end, [&](std::string_view bytes) -> Result<> {
      const std::string_view same = rest.substr(0, bytes.size());
      if (same.data() != bytes.data() && same != bytes) return WrongPosition();
      rest.remove_prefix(bytes.size());
      return {};
    }));
    Pass(end);
    return {};
  }

  static std::unexpected<Error> WrongPosition() {
    return Fail(EPROTO, "tar", "libarchive does not stand where its data is");
  }

  Source source;
  Framing framing;
  std::optional<Error> error;  // of one of them
  std::unique_ptr<archive, ArchiveDeleter> reader{archive_read_new()};
  bool opened = false;
  bool in_entry = false;
  bool in_header = false;
  std::uint64_t header_at = 0;  // where it began
  SpecialHeaders special_headers;

  std::string_view chunk;      // the last that the source gave
  std::uint64_t chunk_at = 0;  // its position
  std::uint64_t told = 0;      // the position up to which bytes were given away or returned
  std::string held;            // those from `told` to `chunk_at`
};

TarReader::TarReader(Source source, Framing framing) : impl_(std::make_unique<Impl>()) {
  impl_->source = std::move(source);
  impl_->framing = std::move(framing);
  if (!impl_->reader || archive_read_support_format_tar(impl_->reader.get()) != ARCHIVE_OK) {
    throw std::bad_alloc();
  }
}

TarReader::~TarReader() = default;

std::unexpected<Error> TarReader::Failure(const std::string& doing) {
  if (impl_->error) {
    Error error = std::move(*impl_->error);
    impl_->error.reset();
    return std::unexpected(std::move(error));
  }
  const char* why = archive_error_string(impl_->reader.get());
  const int code = archive_errno(impl_->reader.get()) == ENOMEM ? ENOMEM : EBADMSG;
  return Fail(code, "tar", doing + (why != nullptr ? std::string(": ") + why : ""));
}

Result<> TarReader::GoToHeader() {
  archive* reader = impl_->reader.get();
  if (!impl_->opened) {
    if (archive_read_open(reader, impl_.get(), nullptr, Impl::Read, nullptr) != ARCHIVE_OK) {
      return Failure("no tar archive");
    }
    impl_->opened = true;
    return {};  // what was read to tell the format has been looked at
  }
  if (impl_->in_entry && archive_read_data_skip(reader) != ARCHIVE_OK)
    return Failure("tar content");
  impl_->in_entry = false;
  STRATA_TRY(impl_->Tell(impl_->Position()));
  impl_->special_headers = SpecialHeaders();
  return impl_->ForEach(
      impl_->told, impl_->chunk_at + impl_->chunk.size(),
      [this](std::string_view bytes) { return impl_->special_headers.Feed(bytes); });
}

Result<bool> TarReader::Next() {
  const LocaleScope locale;
  STRATA_TRY(GoToHeader());
  archive* reader = impl_->reader.get();
  archive_entry* entry = nullptr;
  impl_->header_at = impl_->Position();
  impl_->in_header = true;
  const int status = archive_read_next_header(reader, &entry);
  impl_->in_header = false;
  if (status == ARCHIVE_EOF) return false;
  // Warnings are about names in another character set or odd pax records; the entry is usable.
  if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
    return Failure("tar header at byte " + std::to_string(impl_->header_at));
  }
  if (status == ARCHIVE_WARN) {
    log::Debug("tar: oddity", {{"message", OrEmpty(archive_error_string(reader))}});
  }
  impl_->in_entry = true;
  STRATA_TRY(FillEntry(entry));
  return true;
}

Result<> TarReader::ReadRest() {
  for (;;) {
    STRATA_TRY(impl_->Tell(impl_->chunk_at + impl_->chunk.size()));
    impl_->chunk_at += impl_->chunk.size();
    impl_->chunk = {};
    STRATA_TRY_ASSIGN(impl_->chunk, impl_->source());
    if (impl_->chunk.empty()) return {};
  }
}

Result<> TarReader::FillEntry(void* archive_entry_pointer) {
  auto* entry = static_cast<archive_entry*>(archive_entry_pointer);
  entry_ = TarEntry();
  const char* path = archive_entry_pathname(entry);
  if (path == nullptr) return Fail(EBADMSG, "tar", "an entry's name can not be represented");
  entry_.path = path;
  auto type = TypeOf(entry);
  if (!type) return std::unexpected(std::move(type).error().WithContext(ShownName(entry_.path)));
  entry_.type = *type;
  if (entry_.type == TarEntry::Type::kHardLink) {
    entry_.link = OrEmpty(archive_entry_hardlink(entry));
  } else if (entry_.type == TarEntry::Type::kSymlink) {
    entry_.link = OrEmpty(archive_entry_symlink(entry));
  }
  entry_.mode = archive_entry_perm(entry);
  entry_.uid = archive_entry_uid(entry);
  entry_.gid = archive_entry_gid(entry);
  entry_.size = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0;
  entry_.mtime = {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
  if (archive_entry_atime_is_set(entry) != 0) {
    entry_.atime = {archive_entry_atime(entry), archive_entry_atime_nsec(entry)};
  }
  if (const auto& mtime = impl_->special_headers.mtime()) entry_.mtime = *mtime;
  if (entry_.atime && impl_->special_headers.atime()) entry_.atime = impl_->special_headers.atime();
  entry_.device_major = static_cast<std::uint32_t>(archive_entry_rdevmajor(entry));
  entry_.device_minor = static_cast<std::uint32_t>(archive_entry_rdevminor(entry));

  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (IsEmptyAcl(name, size)) continue;
    entry_.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  for (const auto& [kind, xattr] : {std::pair(ARCHIVE_ENTRY_ACL_TYPE_ACCESS, kAclAccessXattr),
                                    std::pair(ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, kAclDefaultXattr)}) {
    if (archive_entry_acl_count(entry, kind) == 0) continue;
    std::string acl = ReadAcl(entry, kind, entry_.unresolved_acl_entries);
    if (!acl.empty()) entry_.xattrs.emplace_back(xattr, std::move(acl));
  }
  return {};
}

Result<std::optional<TarReader::Block>> TarReader::ReadBlock() {
  const void* data = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  const int status = archive_read_data_block(impl_->reader.get(), &data, &size, &offset);
  if (status == ARCHIVE_EOF) return std::nullopt;
  if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return Failure("tar content");
  const std::string_view block(static_cast<const char*>(data), size);
  STRATA_TRY(impl_->TakeBlock(block));
  return Block{block, offset};
}

Result<std::string> TarReader::ReadContent(std::size_t limit) {
  std::string content;
  for (;;) {
    STRATA_TRY_ASSIGN(const auto block, ReadBlock());
    if (!block) break;
    const std::size_t end = static_cast<std::size_t>(block->offset) + block->data.size();
    if (end > limit) {
      return Fail(EFBIG, "tar",
                  ShownName(entry_.path) + " is larger than " + std::to_string(limit));
    }
    content.resize(static_cast<std::size_t>(block->offset), '\0');
    content.append(block->data);
  }
  return content;
}

}  // namespace strata::layerstore
