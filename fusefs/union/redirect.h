// Where a directory's lower parts are: opaque and redirect marks, and the walk along a redirect.
#pragma once

#include <optional>
#include <string>

#include "base/file_ops.h"
#include "fusefs/union/layers.h"

namespace strata::fusefs {

// What a layer directory's xattrs say about the layers below it.
struct DirectoryMarks {
  bool opaque = false;                  // nothing of them shows
  std::optional<std::string> redirect;  // they are found under this path (absolute) or sibling name
};

// EINVAL for a redirect that no overlay writes ("..", empty components).
Result<DirectoryMarks> ReadDirectoryMarks(FileOps& files, const OverlayXattrs& xattrs, int dir);

// Looks one path up in layer after layer, top to bottom, as kernel overlayfs does for an absolute
// redirect: a whiteout or another file on the way ends the search, an opaque directory ends it
// below its layer unless an absolute redirect beneath it leads elsewhere, and a directory that was
// itself renamed in some layer changes the path for the layers below.
class RedirectWalk {
 public:
  struct Found {
    UniqueFd fd;
    std::string path;  // in this layer
  };

  // `path` without a leading slash.
  RedirectWalk(FileOps& files, const OverlayXattrs& xattrs, std::string path)
      : files_(files), xattrs_(xattrs), path_(std::move(path)) {}

  // The directory in the next layer, if that has it.
  Result<std::optional<Found>> In(int layer_root);
  // Under which path the layers further down are asked.
  const std::string& path() const { return path_; }
  // No layer further down can have it.
  bool ended() const { return ended_; }

 private:
  FileOps& files_;
  const OverlayXattrs& xattrs_;
  std::string path_;
  bool ended_ = false;
};

}  // namespace strata::fusefs
