#include "base/tar_header.h"

#include <algorithm>

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

}  // namespace

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
  // It counts as spaces in its own sum; six digits, a NUL and a space.
  PutText(block, kChecksum, "        ");
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  PutOctal(block, {kChecksum.at, kChecksum.width - 1}, sum);
  return block;
}

}  // namespace strata
