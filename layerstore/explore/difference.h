// What became of a name that one layer has and a later one has again.
#pragma once

#include <cstdint>

#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

enum class Difference : std::uint8_t {
  kNone,      // the same again, as far as an index tells
  kMetadata,  // mode, owner, whether there are extended attributes; a symbolic link's time
  kContent,   // size or time of a file, target of a link, number of a device
  kType,
};

// By the attributes in the indexes, nothing is read: files of one size and one time to the
// nanosecond count as equal in content, as a changed mode or owner leaves them; a file written
// again with the same bytes counts as changed. What is one inode is the same. Of directories the
// time says nothing. Both entries come from At(), of layers on one filesystem.
Difference CompareEntries(const MetadataIndex::Entry& below, const MetadataIndex::Entry& above);

}  // namespace strata::layerstore
