// Writes entries in each of the forms that tars of real layers have. Knows nothing of the code
// under test, and says what it is told, sense or not.
#pragma once

#include <string>
#include <string_view>

#include "tests/property/layers/layer_entry.h"

namespace strata::property {

class TarEncoder {
 public:
  // All paths, and targets of hard links, start with `prefix`: "" or a directory with its slash.
  explicit TarEncoder(std::string prefix = {}) : prefix_(std::move(prefix)) {}

  // The entry must fit its form (CanWrite()).
  void Add(const LayerEntry& entry);
  // A pax header that is about all entries to come, and says nothing about any.
  void AddGlobalComment();
  void Append(const TarEncoder& other) { tar_ += other.tar_; }
  // With the zeros that end an archive.
  std::string Finish() const;

  // Whether all of the entry can be said in its form; `prefix` bytes come in front of names.
  static bool CanWrite(const LayerEntry& entry, std::size_t prefix);

 private:
  std::string Name(const LayerEntry& entry) const;
  std::string Link(const LayerEntry& entry) const;
  void AddPax(const LayerEntry& entry);
  void AddGnu(const LayerEntry& entry);
  void AddPlain(const LayerEntry& entry);

  std::string prefix_;
  std::string tar_;
};

}  // namespace strata::property
