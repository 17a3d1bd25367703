// The marks of overlay layers that more than one reader has to understand (docs/formats/upper.md).
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

namespace strata::layerstore {

// The file form of whiteouts: an empty file of that prefix and the hidden name, or, for all names
// of its directory, kOpaqueMarker. Other names with kReservedPrefix are AUFS's own.
inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kReservedPrefix = ".wh..wh.";
inline constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";

// The other form: a character device 0/0.
inline bool IsWhiteoutDevice(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

// The xattrs that carry overlay metadata, in kernel overlayfs's format
// (linux: Documentation/filesystems/overlayfs.rst, fs/overlayfs/overlayfs.h).
class OverlayXattrs {
 public:
  explicit OverlayXattrs(bool user) : prefix_(user ? "user.overlay." : "trusted.overlay.") {}

  std::string Opaque() const { return prefix_ + "opaque"; }  // "y"
  std::string Redirect() const {
    return prefix_ + "redirect";
  }  // where a renamed directory's lower parts are
  std::string Origin() const { return prefix_ + "origin"; }  // file handle of what was copied up
  std::string Metacopy() const { return prefix_ + "metacopy"; }  // the data is in a lower layer
  std::string LinkCount() const {
    return prefix_ + "nlink";
  }  // "U+1": links shown beyond the upper inode's
  // "y": the layer says nothing of the directory but that there are names in it.
  std::string Implied() const { return prefix_ + "strata.implied"; }
  std::string Inode() const { return prefix_ + "strata.ino"; }      // the st_ino shown, decimal
  std::string Blocks() const { return prefix_ + "strata.blocks"; }  // names a file's block map
  std::string BlockMap() const { return prefix_ + "strata.map"; }   // a block map's header
  const std::string& prefix() const { return prefix_; }

  // Ours, not to be shown to or set by users of the mount.
  bool IsPrivate(std::string_view name) const { return name.starts_with(prefix_); }
  // What a user's own xattr of that namespace is stored as, and back (nested overlays use them).
  std::string Escape(std::string_view name) const;
  bool IsEscaped(std::string_view name) const;
  std::string Unescape(std::string_view name) const;

 private:
  std::string prefix_;
};

// Whether a redirect is one that overlays write: an absolute path, or a name without a slash; no
// empty component, "." or "..".
bool IsRedirect(std::string_view redirect);

}  // namespace strata::layerstore
