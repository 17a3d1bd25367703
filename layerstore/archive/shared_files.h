// What an unpacker asks for files that need not be written, because they are stored already.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {

// Called file by file: Find(), then Link() or nothing, then Offer() if the file was written. An
// error ends the unpacking.
class SharedFiles {
 public:
  virtual ~SharedFiles() = default;

  // How much of a file's content Find() has to be given, if there is as much.
  virtual std::size_t StartBytes() const = 0;
  // A file with the entry's attributes and size whose content begins with `start`, open for
  // reading. An invalid descriptor: there is none that this layer may have.
  virtual Result<UniqueFd> Find(const TarEntry& entry, std::string_view start) = 0;
  // Makes parent/name a link to `file`, which Find() gave. EEXIST; false: it can have no more.
  virtual Result<bool> Link(int file, int parent, const char* name) = 0;
  // `parent`/`name` is the finished file that was asked for; others may share it.
  virtual Result<> Offer(int parent, const char* name) = 0;
};

}  // namespace strata::layerstore
