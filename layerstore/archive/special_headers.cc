#include "layerstore/archive/special_headers.h"

#include <algorithm>
#include <limits>

#include "base/tar_header.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kSizeAt = 124;
constexpr std::size_t kSizeWidth = 12;
constexpr std::size_t kTypeAt = 156;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// A number as libarchive reads it: octal after blanks, or base 256.
std::uint64_t TarNumber(std::string_view field) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    // Negative ones, which no size is, come out too large, too.
    value = static_cast<unsigned char>(field[0]) & 0x7FU;
    for (const char c : field.substr(1)) {
      if (value >> 55U != 0) return kMax;
      value = (value << 8U) | static_cast<unsigned char>(c);
    }
    return value;
  }
  field.remove_prefix(std::min(field.find_first_not_of(" \t"), field.size()));
  for (const char c : field) {
    if (c < '0' || c > '7') break;
    value = value * 8 + static_cast<std::uint64_t>(c - '0');  // 36 bits at most
  }
  return value;
}

// A pax time before the epoch, rounded towards the past as GNU tar does; nothing for others.
std::optional<struct timespec> NegativeTime(std::string_view text) {
  constexpr long kBillion = 1'000'000'000;
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (!text.starts_with('-')) return std::nullopt;
  std::size_t at = 1;
  std::int64_t seconds = 0;
  for (; at < text.size() && IsDigit(text[at]); ++at) {
    const int digit = text[at] - '0';
    seconds = seconds > (kMax - digit) / 10 ? kMax : seconds * 10 + digit;
  }
  long nanoseconds = 0;
  bool more = false;
  if (at < text.size() && text[at] == '.') {
    long weight = kBillion / 10;
    for (++at; at < text.size() && IsDigit(text[at]); ++at) {
      more |= weight == 0 && text[at] != '0';
      nanoseconds += (text[at] - '0') * weight;
      weight /= 10;
    }
  }
  if (more) ++nanoseconds;
  if (nanoseconds == 0) return timespec{-seconds, 0};
  return timespec{-seconds - 1, kBillion - nanoseconds};
}

}  // namespace

Result<> SpecialHeaders::Feed(std::string_view data) {
  while (!done_ && !data.empty()) {
    if (passed_over_ > 0) {
      const std::uint64_t count = std::min<std::uint64_t>(passed_over_, data.size());
      passed_over_ -= count;
      data.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    const std::uint64_t wanted = records_ ? body_ : kTarBlock;
    const std::size_t count =
        std::min<std::size_t>(static_cast<std::size_t>(wanted) - block_.size(), data.size());
    block_.append(data.substr(0, count));
    data.remove_prefix(count);
    if (block_.size() < wanted) continue;
    if (records_) {
      STRATA_TRY(TakeRecords());
      passed_over_ = TarPadding(body_);
      records_ = false;
    } else {
      STRATA_TRY(TakeHeader());
    }
    block_.clear();
  }
  return {};
}

Result<> SpecialHeaders::AddAclText(std::uint64_t bytes) {
  acl_text_ += bytes;
  if (acl_text_ <= kAclTextMax) return {};
  return Fail(E2BIG, "tar",
              "an entry has more than " + std::to_string(kAclTextMax) + " bytes of ACLs");
}

Result<> SpecialHeaders::TakeHeader() {
  const char type = block_[kTypeAt];
  switch (type) {
    case 'x':
    case 'X':
    case 'g':
    case 'K':
    case 'L':
    case 'A':
      break;
    case 'V':  // of a volume: nothing follows it
      return {};
    default:
      done_ = true;
      return {};
  }
  body_ = TarNumber(std::string_view(block_).substr(kSizeAt, kSizeWidth));
  if (body_ > kHeaderMax) {
    return Fail(E2BIG, "tar",
                "an extended header has more than " + std::to_string(kHeaderMax) + " bytes");
  }
  records_ = body_ > 0 && (type == 'x' || type == 'X');
  if (!records_) passed_over_ = body_ + TarPadding(body_);
  if (type == 'A') return AddAclText(body_);
  return {};
}

// A header's records replace those of the header before; what comes after a malformed one is not
// read. Both as in libarchive.
Result<> SpecialHeaders::TakeRecords() {
  mtime_.reset();
  atime_.reset();
  std::string_view rest = block_;
  while (!rest.empty()) {
    std::size_t length = 0;
    std::size_t at = 0;
    while (at < rest.size() && IsDigit(rest[at]) && length <= kHeaderMax) {
      length = length * 10 + static_cast<std::size_t>(rest[at++] - '0');
    }
    if (at >= rest.size() || rest[at] != ' ' || length <= at || length > rest.size() ||
        rest[length - 1] != '\n') {
      break;
    }
    const std::string_view record = rest.substr(at + 1, length - at - 2);
    rest.remove_prefix(length);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) break;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "mtime") mtime_ = NegativeTime(value);
    if (key == "atime") atime_ = NegativeTime(value);
    if (key.starts_with("SCHILY.acl.")) STRATA_TRY(AddAclText(value.size()));
  }
  return {};
}

}  // namespace strata::layerstore
