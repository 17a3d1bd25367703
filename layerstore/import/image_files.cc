#include "layerstore/import/image_files.h"

#include <memory>
#include <span>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"

namespace strata::layerstore {
namespace {

constexpr int kLinksMax = 16;  // followed from one name
constexpr mode_t kPrivateDir = 0700;
constexpr mode_t kPrivateFile = 0600;

}  // namespace

Result<std::string> ImageFiles::Read(const std::string& name, std::size_t limit) {
  STRATA_TRY_ASSIGN(const UniqueFd fd, Open(name));
  auto content = ReadAll(ops_, fd.get(), limit);
  if (!content) return std::unexpected(std::move(content).error().WithContext(ShownName(name)));
  return content;
}

Result<bool> ImageFiles::Has(const std::string& name) {
  auto fd = Open(name);
  if (fd) return true;
  if (fd.error().code() == ENOENT) return false;
  return std::unexpected(std::move(fd).error());
}

Result<> ImageFiles::Stream(const std::string& name,
                            const std::function<Result<>(std::string_view)>& take) {
  STRATA_TRY_ASSIGN(const UniqueFd fd, Open(name));
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kImportChunk);
  for (;;) {
    STRATA_TRY_ASSIGN(const std::size_t got,
                      ops_.Read(fd.get(), std::span(buffer.get(), kImportChunk)));
    if (got == 0) return {};
    STRATA_TRY(take({reinterpret_cast<const char*>(buffer.get()), got}));
  }
}

Result<UniqueFd> DirectoryFiles::Open(const std::string& name) {
  if (name.find('\0') != std::string::npos) {
    return Fail(EINVAL, "image layout", ShownName(name) + " is no name of a file");
  }
  // O_NONBLOCK: a fifo in the layout must not make us wait.
  auto fd = ops_.OpenConfined(dir_.get(), name.c_str(), O_RDONLY | O_NONBLOCK, 0,
                              RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  if (!fd && fd.error().code() == EXDEV) {
    return Fail(EXDEV, "image layout", ShownName(name) + " leads out of the layout");
  }
  if (!fd) return std::unexpected(std::move(fd).error().WithContext(ShownName(name)));
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd->get()));
  if (!S_ISREG(st.st_mode))
    return Fail(EINVAL, "image layout", ShownName(name) + " is not a regular file");
  return fd;
}

Result<std::unique_ptr<SpooledFiles>> SpooledFiles::Spool(StoreRoot& root, TarReader& reader,
                                                          const UnpackLimits& limits) {
  STRATA_TRY_ASSIGN(const int staging, root.staging());
  StagedName staged = root.NewStaged("import-");
  STRATA_TRY(root.ops().MakeDir(staging, staged.c_str(), kPrivateDir));
  STRATA_TRY_ASSIGN(UniqueFd dir,
                    root.ops().Open(staging, staged.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::unique_ptr<SpooledFiles> files(new SpooledFiles(root, std::move(staged), std::move(dir)));
  for (;;) {
    STRATA_TRY_ASSIGN(const bool more, reader.Next());
    if (!more) return files;
    if (auto added = files->AddMember(reader, limits); !added) {
      return std::unexpected(
          std::move(added).error().WithContext("entry '" + ShownName(reader.entry().path) + "'"));
    }
  }
}

Result<> SpooledFiles::AddMember(TarReader& reader, const UnpackLimits& limits) {
  const TarEntry& entry = reader.entry();
  if (++members_ > limits.entries) {
    return OverLimit(limits, "import", "entries", limits.entries, "entries");
  }
  STRATA_TRY_ASSIGN(std::string name, NormalizeEntryPath(entry.path, limits));
  switch (entry.type) {
    case TarEntry::Type::kFile: {
      bytes_ += static_cast<std::uint64_t>(entry.size);
      if (entry.size < 0 || bytes_ > limits.total_bytes) {
        return OverLimit(limits, "import", "total-bytes", limits.total_bytes, "bytes of files");
      }
      STRATA_TRY(CountNames(name, {}, limits));
      const std::string file = std::to_string(members_);
      STRATA_TRY(WriteMember(reader, file));
      links_.erase(name);
      files_[std::move(name)] = file;
      return {};
    }
    case TarEntry::Type::kSymlink: {
      // docker save writes a layer once and links to it: "../<id>/layer.tar".
      STRATA_TRY_ASSIGN(std::string target,
                        NormalizeEntryPath(JoinPath(DirName(name), entry.link), limits));
      STRATA_TRY(CountNames(name, target, limits));
      links_[std::move(name)] = std::move(target);
      return {};
    }
    case TarEntry::Type::kHardLink: {
      STRATA_TRY_ASSIGN(std::string target, NormalizeEntryPath(entry.link, limits));
      STRATA_TRY(CountNames(name, target, limits));
      links_[std::move(name)] = std::move(target);
      return {};
    }
    default:
      return {};  // directories are in the names; others are no part of any archive format
  }
}

Result<> SpooledFiles::CountNames(const std::string& name, const std::string& target,
                                  const UnpackLimits& limits) {
  constexpr std::uint64_t kNode = 160;  // of the table, and the name of the spooled file
  name_bytes_ += kNode + name.size() + target.size();
  if (name_bytes_ <= limits.kept_bytes) return {};
  return OverLimit(limits, "import", "kept-bytes", limits.kept_bytes,
                   "bytes of names of members of the archive");
}

Result<> SpooledFiles::WriteMember(TarReader& reader, const std::string& file) {
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    ops_.Open(dir_.get(), file.c_str(), O_WRONLY | O_CREAT | O_EXCL, kPrivateFile));
  for (;;) {
    STRATA_TRY_ASSIGN(const auto block, reader.ReadBlock());
    if (!block) break;
    STRATA_TRY(WriteAllAt(ops_, fd.get(), std::as_bytes(std::span(block->data)), block->offset));
  }
  return ops_.Truncate(fd.get(), reader.entry().size);  // a hole at the end
}

Result<UniqueFd> SpooledFiles::Open(const std::string& name) {
  std::string current = name;
  for (int i = 0; i < kLinksMax; ++i) {
    if (const auto file = files_.find(current); file != files_.end()) {
      return ops_.Open(dir_.get(), file->second.c_str(), O_RDONLY | O_NOFOLLOW);
    }
    const auto link = links_.find(current);
    if (link == links_.end())
      return Fail(ENOENT, "image archive", ShownName(name) + " is not in the archive");
    current = link->second;
  }
  return Fail(ELOOP, "image archive", ShownName(name) + " is a chain of too many links");
}

}  // namespace strata::layerstore
