// The header block of a member of a tar archive, in the ustar form (POSIX.1-1988; pax(1)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata {

inline constexpr std::size_t kTarBlock = 512;
inline constexpr std::size_t kTarNameField = 100;  // of a name, and of a link's target

struct TarHeader {
  std::string_view name;  // what does not fit is cut off
  char type = '0';  // 0 file, 1 hard link, 2 symlink, 3 char, 4 block, 5 directory, 6 fifo, x pax
  std::string_view link = {};
  unsigned mode = 0644;
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::uint64_t size = 0;
  std::uint64_t mtime = 0;  // seconds
  unsigned device_major = 0;
  unsigned device_minor = 0;
};

// The largest values that fields of 8 and of 12 bytes hold in octal.
inline constexpr std::uint64_t kTarMax8 = 07777777;
inline constexpr std::uint64_t kTarMax12 = 077777777777;

// Its 512 bytes. A size beyond kTarMax12 is written in base 256, as GNU tar does; other numbers
// that do not fit are written as 0, and must stand in a pax record.
std::string EncodeTarHeader(const TarHeader& header);

// What such a block says of a member that needs no more than this.
struct TarMemberHeader {
  std::string name;
  char type = '0';
  std::uint64_t size = 0;
};
// EBADMSG for a block that is none, or whose sum is wrong.
Result<TarMemberHeader> DecodeTarHeader(std::string_view block);

// The zeros that follow `size` bytes of content.
inline std::size_t TarPadding(std::uint64_t size) {
  return static_cast<std::size_t>((kTarBlock - size % kTarBlock) % kTarBlock);
}

}  // namespace strata
