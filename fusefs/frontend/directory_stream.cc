#include "fusefs/frontend/directory_stream.h"

#include <dirent.h>
#include <fuse3/fuse_lowlevel.h>

#include <array>
#include <cstring>

#include "base/path.h"
#include "fusefs/frontend/conversions.h"

namespace strata::fusefs {
namespace {

std::vector<std::byte>& ThreadBuffer() {
  static thread_local std::vector<std::byte> buffer;
  return buffer;
}

std::vector<NodeId>& ThreadNodes() {
  static thread_local std::vector<NodeId> nodes;
  nodes.clear();
  return nodes;
}

}  // namespace

DirectoryStream::DirectoryStream(fuse_req* request, std::size_t size, bool attributes)
    : request_(request), attributes_(attributes), nodes_(ThreadNodes()) {
  std::vector<std::byte>& memory = ThreadBuffer();
  if (memory.size() < size) memory.resize(size);
  buffer_ = std::span(memory).first(size);
}

bool DirectoryStream::Add(const ListedEntry& entry) {
  std::array<char, kNameMax + 1> name{};
  if (entry.name.size() > kNameMax) return false;
  std::memcpy(name.data(), entry.name.data(), entry.name.size());

  const auto room = buffer_.subspan(used_);
  char* out = reinterpret_cast<char*>(room.data());
  const auto offset = static_cast<off_t>(entry.next_offset);
  fuse_entry_param param{};  // node id 0: the kernel takes the name, but no lookup
  if (entry.entry != nullptr) param = EntryParam(*entry.entry);
  if (entry.entry == nullptr) {
    param.attr.st_ino = entry.ino;
    param.attr.st_mode = DTTOIF(static_cast<mode_t>(entry.type));
  }
  const std::size_t size =
      attributes_ ? fuse_add_direntry_plus(request_, out, room.size(), name.data(), &param, offset)
                  : fuse_add_direntry(request_, out, room.size(), name.data(), &param.attr, offset);
  if (size > room.size()) return false;
  used_ += size;
  if (attributes_ && entry.entry != nullptr) nodes_.push_back(entry.entry->node);
  return true;
}

}  // namespace strata::fusefs
