// What a container changed, name by name: `docker diff`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/diff/layer_diff.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// The numbers are docker's.
enum class ChangeKind : std::uint8_t { kModified = 0, kAdded = 1, kDeleted = 2 };

struct Change {
  std::string path;  // absolute
  ChangeKind kind = ChangeKind::kModified;
  bool operator==(const Change&) const = default;
};

// The names that the layers below an upper one show.
class LowerNames {
 public:
  virtual ~LowerNames() = default;
  virtual Result<bool> Has(const std::string& path) const = 0;
  // Of a directory; none if it is not there.
  virtual Result<std::vector<std::string>> In(const std::string& directory) const = 0;
};

// Those of a chain of layers.
class ChainNames final : public LowerNames {
 public:
  explicit ChainNames(const MetadataIndex& chain) : chain_(chain) {}
  Result<bool> Has(const std::string& path) const override;
  Result<std::vector<std::string>> In(const std::string& directory) const override;

 private:
  const MetadataIndex& chain_;
};

// Sorted by path. A directory counts as changed if anything in it did; of a deleted one only its
// own name is told.
Result<std::vector<Change>> ListChanges(FileOps& ops, const UpperLayer& upper,
                                        const LowerNames& lower);

}  // namespace strata::layerstore
