// Small files that are whole whatever happens: records that a later start reads.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata {

// Makes dir/name a file with this content, or gives it this content. Crash points: before the
// rename the old state is there, and perhaps dir/name.new, which the next call takes over; after it
// the new one, though a power loss before the last fsync may still bring the old one back. Two
// callers must not do it to one name at the same time.
Result<> ReplaceFile(FileOps& ops, int dir, const std::string& name, std::string_view content,
                     mode_t mode);

}  // namespace strata
