// What an unpacker asks for files that need not be written, because they are stored already.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {

// A file that is stored.
struct StoredFile {
  UniqueFd fd;             // for reading; invalid: there is none that this layer may have
  bool same_file = false;  // the attributes are the same, too: it may be linked
};

// Called file by file: Find() if it MayHave() it, then Link(), Clone() or neither, then Offer() if
// it was not linked. An error ends the unpacking.
class SharedFiles {
 public:
  virtual ~SharedFiles() = default;

  // How much of a file's content Find() has to be given, if there is as much.
  virtual std::size_t StartBytes() const = 0;
  // Whether files like the entry's are stored at all.
  virtual Result<bool> MayHave(const TarEntry& entry) = 0;
  // A file of the entry's size whose content may begin with `start`.
  virtual Result<StoredFile> Find(const TarEntry& entry, std::string_view start) = 0;
  // Makes parent/name a link to `file`, which Find() gave. EEXIST; false: it can have no more.
  virtual Result<bool> Link(int file, int parent, const char* name) = 0;
  // Gives the empty file `to`, which may be in the place of the link, the first `length` bytes of
  // `file`, which Find() gave, without writing them. False: that can not be done.
  virtual Result<bool> Clone(int file, int to, std::uint64_t length) = 0;
  // `parent`/`name` is the finished file that was asked for; others may share it.
  virtual Result<> Offer(int parent, const char* name) = 0;
};

}  // namespace strata::layerstore
