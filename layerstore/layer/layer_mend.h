// Making a damaged layer's directory whole again. Private to this folder.
#pragma once

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/objects/object_directory.h"

namespace strata::layerstore {

// Makes the layer's directory `live` what `fresh` is, one of the same layer just unpacked. What is
// right in `live` is not touched. Wrong contents and attributes are written into the very file that
// has them: whoever has it open, mounts that run and layers that share it see it mended. What can
// not be mended like that, being missing, of another type or guarded against writing, is taken out
// of `fresh`; what is too much goes there. Stopped at any point, nothing is worse than before.
//
// Both directories hold "fs", "recipe" and so on, and are on one filesystem. Nobody else may be
// mending the layer.
Result<> MendLayer(FileOps& ops, ObjectDirectory& objects, int fresh, int live);

}  // namespace strata::layerstore
