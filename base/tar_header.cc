#include "base/tar_header.h"

#include <algorithm>
#include <charconv>

#include "base/try.h"

namespace strata {
namespace {

// A field of the block. Numbers end in a NUL.
struct Field {
  std::size_t at;
  std::size_t width;
};
constexpr Field kName{0, kTarNameField};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kType = 156;
constexpr Field kLink{157, kTarNameField};
constexpr Field kMagic{257, 8};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};

void PutText(std::string& block, Field field, std::string_view text) {
  text = text.substr(0, field.width);
  block.replace(field.at, text.size(), text);
}

void PutOctal(std::string& block, Field field, std::uint64_t value) {
  if (value >> (3 * (field.width - 1)) != 0) value = 0;
  for (std::size_t i = field.width - 1; i-- > 0;) {
    block[field.at + i] = static_cast<char>('0' + (value & 7U));
    value >>= 3U;
  }
}

void PutSize(std::string& block, std::uint64_t size) {
  if (size <= kTarMax12) return PutOctal(block, kSize, size);
  for (std::size_t i = kSize.width; i-- > kSize.width - sizeof size;) {
    block[kSize.at + i] = static_cast<char>(size & 0xFFU);
    size >>= 8U;
  }
  block[kSize.at] = static_cast<char>(0x80);
}

Result<std::uint64_t> GetOctal(std::string_view block, Field field) {
  std::string_view text = block.substr(field.at, field.width);
  text = text.substr(0, text.find_first_of(std::string_view("\0 ", 2)));
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return Fail(EBADMSG, "tar", "a header has a number that is none");
}

Result<std::uint64_t> GetSize(std::string_view block) {
  if (static_cast<unsigned char>(block[kSize.at]) != 0x80) return GetOctal(block, kSize);
  std::uint64_t size = 0;
  for (std::size_t i = kSize.width - sizeof size; i < kSize.width; ++i) {
    size = size << 8U | static_cast<unsigned char>(block[kSize.at + i]);
  }
  return size;
}

// The checksum counts as spaces in its own sum.
unsigned SumOf(std::string_view block) {
  unsigned sum = static_cast<unsigned>(kChecksum.width) * static_cast<unsigned char>(' ');
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.width;
    if (!own) sum += static_cast<unsigned char>(block[i]);
  }
  return sum;
}

}  // namespace

Result<TarMemberHeader> DecodeTarHeader(std::string_view block) {
  if (block.size() != kTarBlock || block.substr(kMagic.at, 5) != "ustar") {
    return Fail(EBADMSG, "tar", "what should be a header is none");
  }
  STRATA_TRY_ASSIGN(const std::uint64_t sum, GetOctal(block, kChecksum));
  if (sum != SumOf(block)) return Fail(EBADMSG, "tar", "a header's checksum is wrong");
  const std::string_view name = block.substr(kName.at, kName.width);
  TarMemberHeader member;
  member.name = name.substr(0, name.find('\0'));
  member.type = block[kType];
  STRATA_TRY_ASSIGN(member.size, GetSize(block));
  return member;
}

std::string EncodeTarHeader(const TarHeader& header) {
  std::string block(kTarBlock, '\0');
  PutText(block, kName, header.name);
  PutOctal(block, kMode, header.mode);
  PutOctal(block, kUid, header.uid);
  PutOctal(block, kGid, header.gid);
  PutSize(block, header.size);
  PutOctal(block, kMtime, header.mtime);
  block[kType] = header.type;
  PutText(block, kLink, header.link);
  PutText(block, kMagic,
          std::string_view("ustar\0"
                           "00",
                           8));
  PutOctal(block, kMajor, header.device_major);
  PutOctal(block, kMinor, header.device_minor);
  // Six digits, a NUL and a space.
  PutOctal(block, {kChecksum.at, kChecksum.width - 1}, SumOf(block));
  block[kChecksum.at + kChecksum.width - 1] = ' ';
  return block;
}

}  // namespace strata
