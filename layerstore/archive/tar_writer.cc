#include "layerstore/archive/tar_writer.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/path.h"
#include "base/tar_header.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

// Sorted by their keys' bytes.
using PaxRecords = std::map<std::string, std::string>;

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
// The other form, in base 64. In pax a record without a value says that there is no such attribute.
constexpr const char* kLibarchivePrefix = "LIBARCHIVE.xattr.";
constexpr long kNanosecondDigits = 9;

char TypeFlag(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kFile:
      return '0';
    case TarEntry::Type::kHardLink:
      return '1';
    case TarEntry::Type::kSymlink:
      return '2';
    case TarEntry::Type::kCharDevice:
      return '3';
    case TarEntry::Type::kBlockDevice:
      return '4';
    case TarEntry::Type::kDirectory:
      return '5';
    case TarEntry::Type::kFifo:
      return '6';
  }
  return '0';
}

// A pax time: decimal, the fraction counted away from zero (-1.5 is half a second before -1).
std::string PaxTime(const struct timespec& time) {
  const bool negative = time.tv_sec < 0;
  std::uint64_t seconds =
      negative ? -static_cast<std::uint64_t>(time.tv_sec) : static_cast<std::uint64_t>(time.tv_sec);
  long fraction = time.tv_nsec;
  if (negative && fraction != 0) {
    --seconds;
    fraction = 1'000'000'000 - fraction;
  }
  std::string text = (negative ? "-" : "") + std::to_string(seconds);
  if (fraction == 0) return text;
  std::string digits = std::to_string(fraction);
  digits.insert(0, static_cast<std::size_t>(kNanosecondDigits) - digits.size(), '0');
  digits.erase(digits.find_last_not_of('0') + 1);
  return text + "." + digits;
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;  // space, '=', newline
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) {
    length = std::to_string(length).size() + rest;
  }
  return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

std::string UrlEncoded(std::string_view name) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : name) {
    if (c > ' ' && c < '\x7f' && c != '%' && c != '=') {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded.append({'%', kHex[byte >> 4U], kHex[byte & 0xFU]});
    }
  }
  return encoded;
}

void AddNumber(PaxRecords& records, const char* key, std::uint64_t value, std::uint64_t max) {
  if (value > max) records[key] = std::to_string(value);
}

PaxRecords RecordsOf(const TarEntry& entry, std::string_view path) {
  PaxRecords records;
  if (path.size() > kTarNameField) records["path"] = path;
  if (entry.link.size() > kTarNameField) records["linkpath"] = entry.link;
  AddNumber(records, "uid", static_cast<std::uint64_t>(entry.uid), kTarMax8);
  AddNumber(records, "gid", static_cast<std::uint64_t>(entry.gid), kTarMax8);
  if (entry.type == TarEntry::Type::kFile) {
    AddNumber(records, "size", static_cast<std::uint64_t>(entry.size), kTarMax12);
  }
  if (entry.mtime.tv_nsec != 0 || entry.mtime.tv_sec < 0 ||
      static_cast<std::uint64_t>(entry.mtime.tv_sec) > kTarMax12) {
    records["mtime"] = PaxTime(entry.mtime);
  }
  for (const auto& [name, value] : entry.xattrs) {
    if (value.empty()) {
      records[kLibarchivePrefix + UrlEncoded(name)] = "=";
    } else {
      records[std::string(kXattrPrefix) + name] = value;
    }
  }
  return records;
}

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

Result<> Check(const TarEntry& entry) {
  const auto refuse = [&](const char* why) {
    return Fail(EINVAL, "tar", "entry '" + entry.path + "' " + why);
  };
  if (entry.path.empty()) return refuse("has no name");
  if (HasNul(entry.path) || HasNul(entry.link)) return refuse("has a NUL in its name");
  if (entry.size < 0) return refuse("has a negative size");
  if (entry.uid < 0 || entry.gid < 0) return refuse("has a negative owner");
  if (entry.device_major > kTarMax8 || entry.device_minor > kTarMax8) {
    return refuse("has a device number that tar cannot hold");
  }
  for (const auto& [name, value] : entry.xattrs) {
    if (name.empty() || HasNul(name) || name.find('=') != std::string::npos) {
      return refuse("has an extended attribute whose name tar cannot hold");
    }
  }
  return {};
}

}  // namespace

Result<> TarWriter::CheckComplete() const {
  if (left_ == 0) return {};
  return Fail(EINVAL, "tar", std::to_string(left_) + " bytes of the last entry are missing");
}

Result<> TarWriter::WritePadded(std::string_view content) {
  STRATA_TRY(sink_(content));
  const std::size_t padding = TarPadding(content.size());
  return padding == 0 ? Result<>() : sink_(std::string(padding, '\0'));
}

Result<> TarWriter::Add(const TarEntry& entry) {
  STRATA_TRY(CheckComplete());
  STRATA_TRY(Check(entry));
  // Readers of the oldest form tell directories by the slash.
  std::string path = entry.path;
  if (entry.type == TarEntry::Type::kDirectory && !path.ends_with('/')) path += '/';

  const PaxRecords records = RecordsOf(entry, path);
  if (!records.empty()) {
    std::string text;
    for (const auto& [key, value] : records) text += PaxRecord(key, value);
    const std::string name = "PaxHeaders.0/" + std::string(BaseName(entry.path));
    STRATA_TRY(sink_(EncodeTarHeader({.name = name, .type = 'x', .size = text.size()})));
    STRATA_TRY(WritePadded(text));
  }
  TarHeader header{.name = path,
                   .type = TypeFlag(entry.type),
                   .link = entry.link,
                   .mode = entry.mode & 07777U,
                   .uid = static_cast<std::uint64_t>(entry.uid),
                   .gid = static_cast<std::uint64_t>(entry.gid)};
  if (entry.mtime.tv_sec > 0) header.mtime = static_cast<std::uint64_t>(entry.mtime.tv_sec);
  if (entry.type == TarEntry::Type::kFile) header.size = static_cast<std::uint64_t>(entry.size);
  if (entry.type == TarEntry::Type::kCharDevice || entry.type == TarEntry::Type::kBlockDevice) {
    header.device_major = entry.device_major;
    header.device_minor = entry.device_minor;
  }
  left_ = header.size;
  padding_ = TarPadding(header.size);
  return sink_(EncodeTarHeader(header));
}

Result<> TarWriter::Write(std::string_view content) {
  if (content.size() > left_) return Fail(EINVAL, "tar", "more content than the entry says");
  if (content.empty()) return {};
  STRATA_TRY(sink_(content));
  left_ -= content.size();
  if (left_ > 0 || padding_ == 0) return {};
  return sink_(std::string(padding_, '\0'));
}

Result<> TarWriter::Finish() {
  STRATA_TRY(CheckComplete());
  return sink_(std::string(2 * kTarBlock, '\0'));
}

}  // namespace strata::layerstore
