#include "layerstore/save/archive_members.h"

#include "base/try.h"

namespace strata::layerstore {
namespace {

TarEntry Member(const std::string& path, TarEntry::Type type, mode_t mode) {
  TarEntry entry;
  entry.path = path;
  entry.type = type;
  entry.mode = mode;
  return entry;
}

}  // namespace

Result<> ArchiveMembers::AddDirectory(const std::string& path) {
  return tar_.Add(Member(path, TarEntry::Type::kDirectory, 0755));
}

Result<> ArchiveMembers::AddFile(const std::string& path, std::string_view content) {
  return AddFile(path, content.size(), [&](const TarWriter::Sink& take) { return take(content); });
}

Result<> ArchiveMembers::AddFile(const std::string& path, std::uint64_t size,
                                 const std::function<Result<>(const TarWriter::Sink&)>& feed) {
  TarEntry entry = Member(path, TarEntry::Type::kFile, 0644);
  entry.size = static_cast<std::int64_t>(size);
  STRATA_TRY(tar_.Add(entry));
  return feed([&](std::string_view piece) { return tar_.Write(piece); });
}

Result<> ArchiveMembers::AddSymlink(const std::string& path, const std::string& target) {
  TarEntry entry = Member(path, TarEntry::Type::kSymlink, 0777);
  entry.link = target;
  return tar_.Add(entry);
}

}  // namespace strata::layerstore
