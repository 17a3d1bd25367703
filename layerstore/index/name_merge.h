// The names of several directories, each of its index, in one order.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// Memory grows with the directories, not with their names. Borrows the indexes. Not thread-safe.
class NameMerge {
 public:
  // A name in one of the directories.
  struct Found {
    std::size_t part = 0;  // which one, in the order of Add()
    MetadataIndex::Number number = 0;
  };

  // One more directory, before the first Next().
  Result<> Add(const MetadataIndex& index, MetadataIndex::Directory directory);

  // The next name: what has it, the first part in front. None: there is no further one. What it
  // gives ends with the next call.
  Result<std::span<const Found>> Next();

 private:
  // The next name of a part.
  struct Cursor {
    std::string_view name;
    Found at;
    MetadataIndex::Number end;
  };
  static bool Later(const Cursor& a, const Cursor& b);
  Result<> Push(Cursor cursor);

  std::vector<const MetadataIndex*> parts_;
  std::vector<Cursor> heap_;  // the first name of the first part in front
  std::vector<Found> found_;
};

}  // namespace strata::layerstore
