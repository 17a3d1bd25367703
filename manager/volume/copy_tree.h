// Copies a directory's content with everything a file system keeps: what fills a new named volume
// from the image.
#pragma once

#include "base/error.h"

namespace strata::manager {

// Copies what is below `from` (a directory's descriptor) into `to` (an empty directory's), and
// `from`'s own owner, mode and times to `to`. Files, directories, symbolic links, devices, fifos;
// owners, modes, times, xattrs; hard links stay hard links among what is copied. Never follows a
// symbolic link and never leaves either tree. Sockets are left out. On an error `to` keeps what was
// copied so far.
Result<> CopyTree(int from, int to);

}  // namespace strata::manager
