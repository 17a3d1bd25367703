#include "fusefs/union/directory_merge.h"

#include <dirent.h>

#include <string>

#include "base/try.h"
#include "fusefs/union/work_dir.h"
#include "layerstore/index/marks.h"

namespace strata::fusefs {
namespace {

unsigned char TypeOf(const struct stat& st) {
  return static_cast<unsigned char>(IFTODT(st.st_mode));
}

}  // namespace

Result<bool> DirectoryMerge::Add(LayerIndex layer, int fd) {
  bool opaque = false;
  std::vector<std::string> unknown;  // the filesystem does not tell their type
  std::vector<std::string> devices;  // may be whiteouts
  std::vector<std::string>
      markers;  // hide lower names only, so they wait for this layer's own entries
  STRATA_TRY(files_.Seek(fd, 0, SEEK_SET));
  STRATA_TRY(files_.ReadDir(fd, [&](std::string_view name, ino_t, unsigned char type) {
    if (name.starts_with(kWhiteoutPrefix)) {
      if (name == kOpaqueMarker) {
        opaque = true;
      } else if (!name.starts_with(kReservedPrefix) && name.size() > kWhiteoutPrefix.size()) {
        markers.emplace_back(name.substr(kWhiteoutPrefix.size()));
      }
    } else if (type == DT_UNKNOWN) {
      unknown.emplace_back(name);
    } else if (type == DT_CHR) {
      devices.emplace_back(name);
    } else {
      AddName(layer, name, type);
    }
    return true;
  }));
  for (const auto* list : {&unknown, &devices}) {
    for (const std::string& name : *list) {
      STRATA_TRY_ASSIGN(const struct stat st, files_.StatAt(fd, name.c_str()));
      if (layerstore::IsWhiteoutDevice(st)) {
        AddWhiteout(layer, name, false);
      } else {
        AddName(layer, name, TypeOf(st));
      }
    }
  }
  for (const std::string& name : markers) AddWhiteout(layer, name, true);
  return opaque;
}

Result<> DirectoryMerge::AddChain(const Layers& layers, ChainDirectory directory) {
  const layerstore::MetadataIndex& index = layers.index();
  STRATA_TRY_ASSIGN(const auto listed, index.List(directory));
  for (auto number = listed.first; number < listed.end(); ++number) {
    STRATA_TRY_ASSIGN(const auto entry, index.NameAt(number));
    AddName(layers.FromChain(entry.layer), entry.name, TypeOf(entry.attr));
  }
  return {};
}

void DirectoryMerge::AddName(LayerIndex layer, std::string_view name, unsigned char type) {
  NameTable::Slot slot = names_.Find(name);
  if (slot == NameTable::kNone) {
    slot = names_.Insert(name);
    DirSlot& entry = names_.at(slot);
    entry.type = type;
    entry.layer = layer;
    entry.lower_exists = layer != kUpperLayer;
    if (type == DT_DIR) open_[slot].merged.push_back(layer);
    return;
  }
  DirSlot& entry = names_.at(slot);
  Open& open = open_[slot];
  if (entry.layer == kUpperLayer && !open.lower_decided) {
    open.lower_decided = true;
    entry.lower_exists = true;
  }
  if (open.closed || entry.whiteout || entry.type != DT_DIR) return;
  if (type == DT_DIR) {
    open.merged.push_back(layer);
  } else {
    open.closed = true;
  }
}

void DirectoryMerge::AddWhiteout(LayerIndex layer, std::string_view name, bool marker) {
  NameTable::Slot slot = names_.Find(name);
  if (slot == NameTable::kNone) {
    slot = names_.Insert(name);
    DirSlot& entry = names_.at(slot);
    entry.layer = layer;
    entry.whiteout = true;
    entry.marker = marker && layer == kUpperLayer;
    if (layer != kUpperLayer) lower_whiteouts_.push_back(slot);
    return;
  }
  if (layer == kUpperLayer) names_.at(slot).marker = marker;
  Open& open = open_[slot];
  open.lower_decided = true;
  open.closed = true;
}

void DirectoryMerge::Finish() {
  for (const auto& [slot, open] : open_) {
    if (open.merged.size() > 1) names_.SetMergedLayers(slot, open.merged);
  }
  for (const NameTable::Slot slot : lower_whiteouts_) names_.Erase(slot);
  open_.clear();
  names_.ShrinkToFit();  // few directories change
}

}  // namespace strata::fusefs
