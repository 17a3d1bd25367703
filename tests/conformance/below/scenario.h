// One tree for a lower layer and one series of changes that meets all of copy-up, whiteouts, opaque
// directories, redirects and links. Made on a union and on a plain directory, the outcome must be
// the same.
#pragma once

#include <string>

namespace strata::conformance {

// What the filesystem of a layer can hold.
struct Holds {
  bool attributes = true;  // owners, modes, times to the nanosecond, odd names, links, fifos
  bool xattrs = true;
  bool acls = true;  // in the same form as other layers: XFS shows them a second time, in its own
  bool whiteouts = true;  // a union keeps such devices and marks to itself
  bool handles = true;    // without file handles, kernel overlayfs breaks links when it copies up
};

// Two layers: `base`, and `above` it, both existing directories.
void FillBase(const std::string& base, const Holds& holds);
void FillAbove(const std::string& above, const Holds& holds);

// Changes the merged tree, mounted or plain.
void Change(const std::string& dir, const Holds& holds);

// Bytes that tell their place, so that nothing moved goes unnoticed.
std::string Pattern(std::size_t size, char seed);

}  // namespace strata::conformance
