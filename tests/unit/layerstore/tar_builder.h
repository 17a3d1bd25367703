// Writes tar archives byte by byte, so that tests can say things no well-meaning program would.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strata::support {

// A member; the defaults make a small file owned by root.
struct TarMember {
  std::string name;
  char type =
      '0';  // ustar's typeflag: 0 file, 1 hard link, 2 symlink, 3 char, 4 block, 5 dir, 6 fifo
  std::string content = {};
  std::string link = {};
  unsigned mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  std::uint64_t mtime = 1'000'000'000;
  unsigned major = 0;
  unsigned minor = 0;
  // Records of a pax header in front: {"SCHILY.xattr.user.x", "value"}.
  std::vector<std::pair<std::string, std::string>> pax = {};
};

class TarBuilder {
 public:
  // Names over 100 bytes go into a pax header by themselves.
  TarBuilder& Add(const TarMember& member);
  TarBuilder& AddDirectory(std::string_view name, unsigned mode = 0755);
  TarBuilder& AddFile(std::string_view name, std::string_view content);
  // With the two blocks of zeros that end an archive.
  std::string Finish() const;

 private:
  void AddBlock(const TarMember& member, std::string_view content);
  std::string tar_;
};

// The same bytes compressed, by libraries other than those the store uses where there is a choice.
std::string Gzip(std::string_view data);
std::string Zstd(std::string_view data);

}  // namespace strata::support
