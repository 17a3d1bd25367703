#include "tests/property/layers/tar_encoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace strata::property {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameField = 100;
constexpr std::size_t kPrefixField = 155;
constexpr std::int64_t kOctal8Max = 07777777;
constexpr std::int64_t kOctal12Max = 077777777777;

using Form = LayerEntry::Form;
using Kind = LayerEntry::Kind;
using Sparse = LayerEntry::Sparse;

std::string Padding(std::size_t size) { return std::string((kBlock - size % kBlock) % kBlock, 0); }

// `digits` octal digits.
void PutOctal(char* field, std::size_t digits, std::uint64_t value) {
  for (std::size_t i = digits; i-- > 0; value >>= 3U) {
    field[i] = static_cast<char>('0' + (value & 7U));
  }
}

// In octal with a NUL, or in base 256 where that is asked for or the only way.
void PutNumber(char* field, std::size_t width, std::int64_t value, bool base256 = false) {
  const std::int64_t max = width == 8 ? kOctal8Max : kOctal12Max;
  if (value >= 0 && value <= max && !base256) {
    PutOctal(field, width - 1, static_cast<std::uint64_t>(value));
    return;
  }
  const char first = value < 0 ? '\xff' : '\x80';
  for (std::size_t i = width; i-- > 1; value >>= 8) field[i] = static_cast<char>(value);
  field[0] = first;
}

class Header {
 public:
  explicit Header(Form form) {
    block_.fill(0);
    if (form == Form::kGnu) {
      Text(257, 8, "ustar  ");
    } else if (form != Form::kV7) {
      Text(257, 8, std::string_view("ustar\00000", 8));
    }
  }

  Header& Text(std::size_t at, std::size_t width, std::string_view text) {
    if (text.size() > width) throw std::logic_error("a field is too short");
    std::memcpy(&block_[at], text.data(), text.size());
    return *this;
  }
  Header& Number(std::size_t at, std::size_t width, std::int64_t value, bool base256 = false) {
    PutNumber(&block_[at], width, value, base256);
    return *this;
  }
  Header& Type(char type) {
    block_[156] = type;
    return *this;
  }
  std::string Finish() {
    std::memset(&block_[148], ' ', 8);
    std::uint64_t sum = 0;
    for (const char c : block_) sum += static_cast<unsigned char>(c);
    PutOctal(&block_[148], 6, sum);
    block_[154] = '\0';
    return {block_.data(), block_.size()};
  }

 private:
  std::array<char, kBlock> block_;
};

// That of something that only tells of the entry to come.
Header SpecialHeader(Form form, char type, std::string_view name, std::size_t size) {
  Header header(form);
  header.Text(0, kNameField, name)
      .Number(100, 8, 0644)
      .Number(108, 8, 0)
      .Number(116, 8, 0)
      .Number(124, 12, static_cast<std::int64_t>(size))
      .Number(136, 12, 0)
      .Type(type);
  return header;
}

char TypeFlagOf(const LayerEntry& entry) {
  switch (entry.kind) {
    case Kind::kFile:
      return entry.old_type ? '\0' : '0';
    case Kind::kDirectory:
      return entry.form == Form::kV7 ? '\0' : '5';
    case Kind::kSymlink:
      return '2';
    case Kind::kHardLink:
      return '1';
    case Kind::kCharDevice:
      return '3';
    case Kind::kBlockDevice:
      return '4';
    case Kind::kFifo:
      return '6';
  }
  return '0';
}

// All but names, link and content's size.
Header Attributes(const LayerEntry& entry) {
  Header header(entry.form);
  const bool other = entry.form == Form::kGnu;
  const auto fit = [&](std::int64_t value, std::int64_t max) {
    return other || (value >= 0 && value <= max) ? value : 0;  // else a pax record has it
  };
  const bool base256 = other && entry.base256;
  header.Number(100, 8, entry.mode)
      .Number(108, 8, fit(entry.uid, kOctal8Max), base256)
      .Number(116, 8, fit(entry.gid, kOctal8Max), base256)
      .Number(136, 12, fit(entry.mtime.tv_sec, kOctal12Max), base256)
      .Type(TypeFlagOf(entry));
  if (entry.form != Form::kV7) {
    header.Number(329, 8, entry.device_major).Number(337, 8, entry.device_minor);
  }
  return header;
}

std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return std::to_string(length) + ' ' + std::string(key) + '=' + std::string(value) + '\n';
}

std::string PaxTime(const struct timespec& time) {
  constexpr long kBillion = 1'000'000'000;
  std::int64_t seconds = time.tv_sec;
  long nanoseconds = time.tv_nsec;
  std::string sign;
  if (seconds < 0) {
    sign = "-";
    seconds = -seconds;
    if (nanoseconds > 0) {
      --seconds;
      nanoseconds = kBillion - nanoseconds;
    }
  }
  std::string text = sign + std::to_string(seconds);
  if (nanoseconds == 0) return text;
  std::string digits = std::to_string(nanoseconds);
  digits.insert(0, 9 - digits.size(), '0');
  digits.resize(digits.find_last_not_of('0') + 1);
  return text + '.' + digits;
}

std::string Base64(std::string_view data) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < data.size(); i += 3) {
    std::uint32_t bits = 0;
    const std::size_t count = std::min<std::size_t>(3, data.size() - i);
    for (std::size_t j = 0; j < 3; ++j) {
      bits = (bits << 8U) | (j < count ? static_cast<unsigned char>(data[i + j]) : 0);
    }
    for (std::size_t j = 0; j <= count; ++j) out += kDigits[(bits >> (18 - 6 * j)) & 63U];
  }
  return out;
}

std::string DataOf(const LayerEntry& entry) {
  if (entry.sparse == Sparse::kNone) return entry.content;
  std::string data;
  for (const auto& [at, size] : entry.data) data += entry.content.substr(at, size);
  return data;
}

std::string Numbers(const LayerEntry& entry, char between) {
  std::string text;
  for (const auto& [at, size] : entry.data) {
    if (!text.empty()) text += between;
    text += std::to_string(at) + between + std::to_string(size);
  }
  return text;
}

std::string SparseRecords(const LayerEntry& entry, const std::string& name) {
  const std::string size = std::to_string(entry.content.size());
  const std::string count = std::to_string(entry.data.size());
  switch (entry.sparse) {
    case Sparse::kPax00: {
      std::string records =
          PaxRecord("GNU.sparse.size", size) + PaxRecord("GNU.sparse.numblocks", count);
      for (const auto& [at, length] : entry.data) {
        records += PaxRecord("GNU.sparse.offset", std::to_string(at)) +
                   PaxRecord("GNU.sparse.numbytes", std::to_string(length));
      }
      return records;
    }
    case Sparse::kPax01:
      return PaxRecord("GNU.sparse.name", name) + PaxRecord("GNU.sparse.size", size) +
             PaxRecord("GNU.sparse.numblocks", count) +
             PaxRecord("GNU.sparse.map", Numbers(entry, ','));
    case Sparse::kPax10:
      return PaxRecord("GNU.sparse.major", "1") + PaxRecord("GNU.sparse.minor", "0") +
             PaxRecord("GNU.sparse.name", name) + PaxRecord("GNU.sparse.realsize", size);
    default:
      return {};
  }
}

// Where a name can be cut for ustar's two fields; npos if it can not.
std::size_t UstarCut(const std::string& name) {
  if (name.size() <= kNameField) return 0;
  for (std::size_t slash = name.find('/'); slash != std::string::npos;
       slash = name.find('/', slash + 1)) {
    const std::size_t rest = name.size() - slash - 1;
    if (slash > 0 && slash <= kPrefixField && rest > 0 && rest <= kNameField) return slash;
  }
  return std::string::npos;
}

void AddSparseMap(Header& header, const LayerEntry& entry, std::string& more) {
  constexpr std::size_t kInHeader = 4;
  constexpr std::size_t kInBlock = 21;
  for (std::size_t i = 0; i < std::min(kInHeader, entry.data.size()); ++i) {
    header.Number(386 + 24 * i, 12, static_cast<std::int64_t>(entry.data[i].first))
        .Number(398 + 24 * i, 12, static_cast<std::int64_t>(entry.data[i].second));
  }
  header.Number(483, 12, static_cast<std::int64_t>(entry.content.size()));
  if (entry.data.size() > kInHeader) header.Text(482, 1, "\1");
  for (std::size_t i = kInHeader; i < entry.data.size();) {
    std::string block(kBlock, '\0');
    for (std::size_t j = 0; j < kInBlock && i < entry.data.size(); ++j, ++i) {
      PutNumber(&block[24 * j], 12, static_cast<std::int64_t>(entry.data[i].first));
      PutNumber(&block[24 * j + 12], 12, static_cast<std::int64_t>(entry.data[i].second));
    }
    if (i < entry.data.size()) block[504] = '\1';
    more += block;
  }
}

}  // namespace

std::string TarEncoder::Name(const LayerEntry& entry) const {
  return entry.lead + prefix_ + entry.path;
}

std::string TarEncoder::Link(const LayerEntry& entry) const {
  return entry.kind == Kind::kHardLink ? entry.link_lead + prefix_ + entry.link : entry.link;
}

bool TarEncoder::CanWrite(const LayerEntry& entry, std::size_t prefix) {
  std::string before(prefix, 'p');
  if (prefix > 0) before.back() = '/';
  const std::size_t name = entry.lead.size() + prefix + entry.path.size();
  const std::size_t link = entry.link_lead.size() + prefix + entry.link.size();
  const bool records = !entry.xattrs.empty() || !entry.acl.empty() || !entry.default_acl.empty();
  const bool device = entry.kind == Kind::kCharDevice || entry.kind == Kind::kBlockDevice ||
                      entry.kind == Kind::kFifo;
  const bool octal = entry.uid <= kOctal8Max && entry.gid <= kOctal8Max &&
                     entry.mtime.tv_sec >= 0 && entry.mtime.tv_sec <= kOctal12Max;
  const bool whole = entry.mtime.tv_nsec == 0;
  switch (entry.form) {
    case Form::kV7:
      return name < kNameField && link < kNameField && !records && octal && whole && !device &&
             entry.sparse == Sparse::kNone &&
             (entry.kind != Kind::kDirectory || entry.path.ends_with('/'));
    case Form::kUstar:
      return UstarCut(entry.lead + before + entry.path) != std::string::npos &&
             link <= kNameField && !records && octal && whole && entry.sparse == Sparse::kNone;
    case Form::kGnu:
      return !records && whole && (entry.sparse == Sparse::kNone || entry.sparse == Sparse::kGnu);
    case Form::kPax:
      return entry.sparse != Sparse::kGnu;
  }
  return false;
}

void TarEncoder::Add(const LayerEntry& entry) {
  switch (entry.form) {
    case Form::kPax:
      return AddPax(entry);
    case Form::kGnu:
      return AddGnu(entry);
    default:
      return AddPlain(entry);
  }
}

void TarEncoder::AddPlain(const LayerEntry& entry) {
  Header header = Attributes(entry);
  const std::string name = Name(entry);
  const std::size_t cut = entry.form == Form::kUstar ? UstarCut(name) : 0;
  if (cut == std::string::npos) throw std::logic_error("a name does not fit");
  if (cut > 0) header.Text(345, kPrefixField, name.substr(0, cut));
  header.Text(0, kNameField, cut > 0 ? name.substr(cut + 1) : name)
      .Text(157, kNameField, Link(entry))
      .Number(124, 12, static_cast<std::int64_t>(entry.content.size()));
  tar_ += header.Finish() + entry.content + Padding(entry.content.size());
}

void TarEncoder::AddGnu(const LayerEntry& entry) {
  Header header = Attributes(entry);
  const std::string name = Name(entry);
  const std::string link = Link(entry);
  for (const auto& [type, text] : {std::pair('L', name), std::pair('K', link)}) {
    if (text.size() < kNameField) continue;
    tar_ += SpecialHeader(Form::kGnu, type, "././@LongLink", text.size() + 1).Finish();
    tar_ += text + '\0' + Padding(text.size() + 1);
  }
  const std::string data = DataOf(entry);
  header.Text(0, kNameField, name.substr(0, kNameField))
      .Text(157, kNameField, link.substr(0, kNameField))
      .Number(124, 12, static_cast<std::int64_t>(data.size()), entry.base256);
  std::string map;
  if (entry.sparse == Sparse::kGnu) {
    header.Type('S');
    AddSparseMap(header, entry, map);
  }
  tar_ += header.Finish() + map + data + Padding(data.size());
}

void TarEncoder::AddPax(const LayerEntry& entry) {
  const std::string name = Name(entry);
  const std::string link = Link(entry);
  std::string records;
  const bool named_by_sparse = entry.sparse == Sparse::kPax01 || entry.sparse == Sparse::kPax10;
  const bool ascii = std::ranges::none_of(name, [](char c) { return (c & 0x80) != 0; });
  if ((name.size() > kNameField || !ascii) && !named_by_sparse) records += PaxRecord("path", name);
  if (link.size() > kNameField) records += PaxRecord("linkpath", link);
  if (entry.uid > kOctal8Max) records += PaxRecord("uid", std::to_string(entry.uid));
  if (entry.gid > kOctal8Max) records += PaxRecord("gid", std::to_string(entry.gid));
  if (entry.mtime.tv_nsec != 0 || entry.mtime.tv_sec < 0 || entry.mtime.tv_sec > kOctal12Max) {
    records += PaxRecord("mtime", PaxTime(entry.mtime));
  }
  for (const auto& [key, value] : entry.xattrs) {
    if (entry.libarchive_xattrs) {
      records += PaxRecord("LIBARCHIVE.xattr." + key, Base64(value));
    } else {
      records += PaxRecord("SCHILY.xattr." + key, value);
    }
  }
  if (!entry.acl.empty()) records += PaxRecord("SCHILY.acl.access", entry.acl);
  if (!entry.default_acl.empty()) records += PaxRecord("SCHILY.acl.default", entry.default_acl);
  records += SparseRecords(entry, name);
  std::string data = DataOf(entry);
  if (entry.sparse == Sparse::kPax10) {
    std::string map = std::to_string(entry.data.size()) + '\n';
    if (!entry.data.empty()) map += Numbers(entry, '\n') + '\n';
    data.insert(0, map + Padding(map.size()));
  }
  if (!records.empty()) {
    tar_ += SpecialHeader(Form::kPax, 'x', "PaxHeaders.0/x", records.size()).Finish();
    tar_ += records + Padding(records.size());
  }
  Header header = Attributes(entry);
  header.Text(0, kNameField, named_by_sparse ? "GNUSparseFile.0/x" : name.substr(0, kNameField))
      .Text(157, kNameField, link.substr(0, kNameField))
      .Number(124, 12, static_cast<std::int64_t>(data.size()));
  tar_ += header.Finish() + data + Padding(data.size());
}

void TarEncoder::AddGlobalComment() {
  const std::string records = PaxRecord("comment", "0123456789abcdef");
  tar_ += SpecialHeader(Form::kPax, 'g', "pax_global_header", records.size()).Finish();
  tar_ += records + Padding(records.size());
}

std::string TarEncoder::Finish() const { return tar_ + std::string(2 * kBlock, '\0'); }

}  // namespace strata::property
