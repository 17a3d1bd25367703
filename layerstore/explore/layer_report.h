// What each layer of an image brought and hid, and how much of its content nobody sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "layerstore/explore/name_story.h"

namespace strata::layerstore {

// Layers count from 0, the base. Roots are not counted. Bytes are those of regular files, holes
// included, each link group of a layer once: what the layer's tar holds of content. A layer that an
// image has twice counts twice, though it is fetched and stored once.
struct LayerReport {
  std::uint64_t entries = 0;    // files, directories and others
  std::uint64_t whiteouts = 0;  // and names it hides with a mark of their own
  // What became of names, those of the layers below included: see Effect. Where the layer hides a
  // directory, each name in it counts.
  std::uint64_t added = 0;
  std::uint64_t replaced = 0;
  std::uint64_t unchanged = 0;  // of those replaced: by the same again (Difference::kNone)
  std::uint64_t merged = 0;
  std::uint64_t hidden = 0;
  std::uint64_t size = 0;
  std::uint64_t wasted = 0;  // of its size: content that layers above hid under all of its names
};

// A file whose content no container sees.
struct WastedFile {
  enum class How : std::uint8_t {
    kHidden,       // nothing of its name is there after it
    kReplaced,     // by other content, or another type
    kNewMetadata,  // by the same content with other attributes
    kUnchanged,    // by the same again
  };
  std::string path;  // absolute; of a link group, one of its names
  std::uint64_t size = 0;
  std::uint16_t layer = 0;
  std::uint16_t hidden_by = 0;  // the layer that took its last name out of view
  How how = How::kHidden;       // that layer did it
};

struct ImageReport {
  std::vector<LayerReport> layers;  // base first
  std::uint64_t size = 0;           // the layers' together: what a pull unpacks
  std::uint64_t wasted = 0;         // the layers' together
  // What of that takes disk space of its own: a file that is stored once with one that shows, or
  // with another wasted one, does not. Other images are not asked.
  std::uint64_t wasted_on_disk = 0;
  std::uint64_t wasted_files = 0;   // how many, with content
  std::vector<WastedFile> largest;  // of them, largest first
};

struct ReportOptions {
  std::size_t largest = 0;  // how many wasted files to name
};

// Reads every entry of every layer once and no file. Memory: some 50 bytes for each file with
// content and for each directory of each layer. E2BIG for too many layers; EBADMSG for an index
// that is no tree; ENOTSUP as LoadEntry().
Result<ImageReport> ReportLayers(LayerIndexes layers, const ReportOptions& options = {});

}  // namespace strata::layerstore
