#include "tests/unit/layerstore/tar_builder.h"

#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace strata::support {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameField = 100;

void PutOctal(char* field, std::size_t width, std::uint64_t value) {
  std::array<char, 32> digits;
  std::snprintf(digits.data(), digits.size(), "%0*llo", static_cast<int>(width - 1),
                static_cast<unsigned long long>(value));
  std::memcpy(field, digits.data(), width - 1);
}

std::string PaxRecord(const std::string& key, const std::string& value) {
  // "LENGTH KEY=VALUE\n", where the length counts its own digits.
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return std::to_string(length) + ' ' + key + '=' + value + '\n';
}

}  // namespace

void TarBuilder::AddBlock(const TarMember& member, std::string_view content) {
  std::array<char, kBlock> header = {};
  std::memcpy(&header[0], member.name.data(), std::min(member.name.size(), kNameField));
  PutOctal(&header[100], 8, member.mode);
  PutOctal(&header[108], 8, member.uid);
  PutOctal(&header[116], 8, member.gid);
  PutOctal(&header[124], 12, content.size());
  PutOctal(&header[136], 12, member.mtime);
  std::memset(&header[148], ' ', 8);
  header[156] = member.type;
  std::memcpy(&header[157], member.link.data(), std::min(member.link.size(), kNameField));
  std::memcpy(&header[257], "ustar\00000", 8);
  PutOctal(&header[329], 8, member.major);
  PutOctal(&header[337], 8, member.minor);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  PutOctal(&header[148], 7, sum);
  tar_.append(header.data(), header.size());
  tar_.append(content);
  tar_.append((kBlock - content.size() % kBlock) % kBlock, '\0');
}

TarBuilder& TarBuilder::Add(const TarMember& member) {
  std::string records;
  for (const auto& [key, value] : member.pax) records += PaxRecord(key, value);
  if (member.name.size() > kNameField) records += PaxRecord("path", member.name);
  if (member.link.size() > kNameField) records += PaxRecord("linkpath", member.link);
  if (!records.empty()) AddBlock({.name = "pax", .type = 'x'}, records);
  AddBlock(member, member.content);
  return *this;
}

TarBuilder& TarBuilder::AddDirectory(std::string_view name, unsigned mode) {
  return Add({.name = std::string(name) + '/', .type = '5', .mode = mode});
}

TarBuilder& TarBuilder::AddFile(std::string_view name, std::string_view content) {
  return Add({.name = std::string(name), .content = std::string(content)});
}

std::string TarBuilder::Finish() const { return tar_ + std::string(2 * kBlock, '\0'); }

std::string Gzip(std::string_view data) {
  z_stream stream = {};
  constexpr int kGzipWindow = 15 + 16;
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  std::string out(deflateBound(&stream, data.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("deflate");
  return out;
}

std::string Zstd(std::string_view data) {
  std::string out(ZSTD_compressBound(data.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3);
  if (ZSTD_isError(size) != 0) throw std::runtime_error("ZSTD_compress");
  out.resize(size);
  return out;
}

}  // namespace strata::support
