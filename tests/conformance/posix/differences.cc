#include "tests/conformance/posix/differences.h"

namespace strata::conformance {
namespace {

constexpr std::string_view kFuse = "the kernel's FUSE does not ask";
constexpr std::string_view kAtime = "reading changes nothing: directories and lower layers";
constexpr std::string_view kOld =
    "a descriptor of a passed-through lower file keeps what it opened (docs/limits.md)";
constexpr std::string_view kBlocks =
    "holes of the lower file do not show in the block count of one that is copied up in part";

constexpr Difference kDifferences[] = {
    {"*", "chown-changes", "chown f -1 -1", "ok", kFuse},
    {"*", "chown-clears", "lstat f", "file 6755 1000:1000 links=1 size=1", kFuse},
    {"*", "times-of-attributes", "chown f -1 -1", "ok", kFuse},
    {"@(lower|merged|redirected|redirected-merged)/*", "open-tmpfile",
     "open a d O_TMPFILE|O_RDWR 0640", "ok {d: ctime}",
     "the directory is copied up to hold the file"},
    {"!(*@@(btrfs|tmpfs))", "fallocate-moves", "fallocate a collapse 0 4096", "EOPNOTSUPP", kFuse},
    {"!(*@@(btrfs|tmpfs))", "fallocate-moves", "fallocate a insert 0 4096", "EOPNOTSUPP", kFuse},
    {"*", "rename-whiteout", "*", "",
     "a whiteout is a mark of the layers' format, not a file of the union: as kernel overlayfs"},
    {"*", "open-fifo", "write a hello", "5", "the kernel does not tell of writes to a FIFO"},
    {"*", "atime-of-reading", "atime d", "as set", kAtime},
    {"from-overlay/*", "holes", "*", "", "kernel overlayfs fills holes when it copies up"},
    {"@(lower|merged|redirected|redirected-merged)/*", "atime-of-reading", "atime f", "as set",
     kAtime},
    {"@(lower|chmodded|merged|redirected|redirected-merged)/*/@(large|all)*", "old-descriptors",
     "pread b 3 0", "ooo", kOld},
    {"@(lower|chmodded|merged|redirected|redirected-merged)/*/@(large|all)*", "old-descriptors",
     "mread mb 0 3", "ooo", kOld},
    {"@(lower|merged|redirected|redirected-merged)/*/all", "old-descriptors", "pread s 3 0", "old",
     kOld},
    {"@(lower|merged|redirected|redirected-merged)/*/all", "old-descriptors", "mread ms 0 3", "old",
     kOld},
    // Elsewhere the copy shares its blocks, and is whole.
    {"copied-up/*/large!(*@@(xfs|btrfs))", "holes", "sparse f", "full", kBlocks},
    {"remounted-copy/*/large*", "holes", "sparse f", "full", kBlocks},
    {"chmodded/*/large*", "holes", "sparse f", "full", kBlocks},
    {"*/unopened@@(xfs|btrfs|tmpfs)", "times-of-truncating-to-the-size", "truncate e 0",
     "ok {e: mtime ctime}", "taken for O_TRUNC, which comes as the same request"},
    {"*@xfs", "rename-errors", "rename d full", "ENOTEMPTY",
     "POSIX has two words for it, and what is in a merged directory no filesystem knows"},
    {"*@btrfs", "xattr-permissions", "listxattr f", "user.one",
     "trusted attributes are listed for root alone, as on all other filesystems"},
};

}  // namespace

std::span<const Difference> KnownDifferences() { return kDifferences; }

}  // namespace strata::conformance
