// Finds files of a layer that is being unpacked among those of other layers. Private to this
// folder.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "layerstore/archive/shared_files.h"
#include "layerstore/objects/object_directory.h"
#include "layerstore/objects/object_key.h"
#include "layerstore/objects/object_list.h"

namespace strata::layerstore {

// Tells most keys it has seen from those it has not: it may take one for seen, never the reverse.
// Memory is bounded.
class SeenKeys {
 public:
  bool MayHave(const ObjectKey& key) const {
    const auto& page = pages_[PageOf(key)];
    return page && page->test(BitOf(key));
  }
  void Add(const ObjectKey& key) {
    auto& page = pages_[PageOf(key)];
    if (!page) page = std::make_unique<Page>();
    page->set(BitOf(key));
  }

 private:
  // At most 4 MiB, wrong for three of a hundred when there are a million; small layers, of which
  // several are unpacked at a time, use few pages of it.
  static constexpr std::size_t kPages = 1024;
  static constexpr std::size_t kPageBits = std::size_t{1} << 15U;
  using Page = std::bitset<kPageBits>;

  // Traits are hashed with the content.
  static std::size_t PageOf(const ObjectKey& key) { return key.Traits() / kPageBits % kPages; }
  static std::size_t BitOf(const ObjectKey& key) { return key.Traits() % kPageBits; }

  std::vector<std::unique_ptr<Page>> pages_ = std::vector<std::unique_ptr<Page>>(kPages);
};

// Two files of one layer never become one, whatever they have in common: then the names that an
// inode has in a layer's directory are one file to everybody who looks at it. The second of two
// that are alike is shared with the second of another layer.
class LayerObjects final : public SharedFiles {
 public:
  LayerObjects(FileOps& ops, ObjectDirectory& objects, int layer_dir);

  std::size_t StartBytes() const override { return ObjectKey::kStartBytes; }
  // Extended attributes do not keep a file from sharing its data.
  Result<bool> MayHave(const TarEntry& entry) override;
  Result<StoredFile> Find(const TarEntry& entry, std::string_view start) override;
  Result<bool> Link(int file, int parent, const char* name) override;
  Result<bool> Clone(int file, int to, std::uint64_t length) override;
  Result<> Offer(int parent, const char* name) override;

  // After the unpacking, whether it succeeded or not: the list of the layer's objects.
  Result<> Finish() { return list_.Finish(); }
  // After that: some of the files it made objects are no files of the layer any more.
  Result<> DropUnused();
  // In whole blocks: of the files that became objects, and of those that were some or share the
  // data of some.
  std::uint64_t offered_room() const { return offered_room_; }
  std::uint64_t found_room() const { return found_room_; }

 private:
  // What is to become of the key's name if the file is written.
  enum class Name : std::uint8_t {
    kTake,     // it is free
    kLeave,    // too many files of this layer are like it
    kNone,     // it has none, as it can be no object
    kReplace,  // what has it is damaged, or can have no more links
  };

  Result<UniqueFd> FindSame(const ObjectTraits& traits);

  FileOps& ops_;
  ObjectDirectory& objects_;
  const int layer_dir_;
  ObjectListWriter list_;
  const bool privileged_;
  SeenKeys seen_;
  // Of the file that Find() was asked for last.
  ObjectKey key_;
  std::uint64_t size_ = 0;
  Name name_ = Name::kLeave;
  bool linked_ = false;
  bool cloned_ = false;  // as a whole
  std::uint64_t offered_room_ = 0;
  std::uint64_t found_room_ = 0;
};

}  // namespace strata::layerstore
