#include "layerstore/explore/difference.h"

#include "base/same_time.h"

namespace strata::layerstore {
namespace {

bool SameContent(const MetadataIndex::Entry& below, const MetadataIndex::Entry& above) {
  const struct stat& a = below.attr;
  const struct stat& b = above.attr;
  if (S_ISREG(a.st_mode)) return a.st_size == b.st_size && SameTime(a.st_mtim, b.st_mtim);
  if (S_ISLNK(a.st_mode)) return below.target == above.target;
  if (S_ISCHR(a.st_mode) || S_ISBLK(a.st_mode)) return a.st_rdev == b.st_rdev;
  return true;
}

bool SameMetadata(const MetadataIndex::Entry& below, const MetadataIndex::Entry& above) {
  const struct stat& a = below.attr;
  const struct stat& b = above.attr;
  return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
         below.has_xattrs == above.has_xattrs &&
         (S_ISDIR(a.st_mode) || SameTime(a.st_mtim, b.st_mtim));
}

}  // namespace

Difference CompareEntries(const MetadataIndex::Entry& below, const MetadataIndex::Entry& above) {
  const struct stat& a = below.attr;
  const struct stat& b = above.attr;
  if ((a.st_mode & S_IFMT) != (b.st_mode & S_IFMT)) return Difference::kType;
  if (S_ISREG(a.st_mode) && a.st_ino == b.st_ino) return Difference::kNone;
  if (!SameContent(below, above)) return Difference::kContent;
  return SameMetadata(below, above) ? Difference::kNone : Difference::kMetadata;
}

}  // namespace strata::layerstore
