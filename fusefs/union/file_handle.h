// File handles: what finds an inode again without its name (name_to_handle_at(2)).
#pragma once

#include <fcntl.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "base/unique_fd.h"

namespace strata::fusefs {

class FileHandle {
 public:
  // Of dir/name, which is not followed; with AT_EMPTY_PATH in `flags` and an empty name, of `dir`
  // itself. Nothing if the filesystem has no file handles.
  static std::optional<FileHandle> Of(int dir, const char* name, int flags = 0);
  // One from its parts; nothing if there are too many bytes.
  static std::optional<FileHandle> From(int type, std::string_view bytes);

  int type() const { return get()->handle_type; }
  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(get()->f_handle), get()->handle_bytes};
  }
  // An O_PATH descriptor of the inode on the filesystem of `mount`; none, and errno, if that is
  // gone (ESTALE) or we may not (CAP_DAC_READ_SEARCH).
  UniqueFd Open(int mount) const;

 private:
  FileHandle() = default;
  file_handle* get() { return reinterpret_cast<file_handle*>(memory_.data()); }
  const file_handle* get() const { return reinterpret_cast<const file_handle*>(memory_.data()); }

  alignas(file_handle) std::array<std::byte, sizeof(file_handle) + MAX_HANDLE_SZ> memory_{};
};

}  // namespace strata::fusefs
