#include "fusefs/union/file_handle.h"

#include <cstring>

namespace strata::fusefs {

std::optional<FileHandle> FileHandle::Of(int dir, const char* name, int flags) {
  FileHandle handle;
  handle.get()->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (::name_to_handle_at(dir, name, handle.get(), &mount, flags) != 0) return std::nullopt;
  return handle;
}

std::optional<FileHandle> FileHandle::From(int type, std::string_view bytes) {
  if (bytes.size() > MAX_HANDLE_SZ) return std::nullopt;
  FileHandle handle;
  handle.get()->handle_type = type;
  handle.get()->handle_bytes = static_cast<unsigned>(bytes.size());
  std::memcpy(handle.get()->f_handle, bytes.data(), bytes.size());
  return handle;
}

UniqueFd FileHandle::Open(int mount) const {
  FileHandle copy = *this;  // the call takes a pointer it could write through
  return UniqueFd(::open_by_handle_at(mount, copy.get(), O_PATH | O_CLOEXEC));
}

}  // namespace strata::fusefs
