// Value types of the union engine's interface. No FUSE types: the engine is testable without a
// mount.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strata::fusefs {

// Names an inode of the union for as long as it is referenced; index into the node table. 1 is the
// root.
struct NodeId {
  std::uint64_t value = 0;
  auto operator<=>(const NodeId&) const = default;
};
inline constexpr NodeId kRootNode{1};

// Who asks: the credentials the kernel sent with the request.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 0;  // applied by the engine unless the directory has a default ACL
  // The kernel did not say whether what the caller writes takes setuid and setgid away, which it
  // does not with CAP_FSETID.
  bool to_be_asked = false;

  Caller ToBeAsked() const {
    Caller who = *this;
    who.to_be_asked = true;
    return who;
  }
};

// When a lower file is copied into the upper layer. DESIGN §4.
enum class CopyUpPolicy : std::uint8_t { kWrite, kOpen, kRead };
// Which lower files are opened in passthrough mode, where the kernel has it. DESIGN §5.
enum class PassthroughPolicy : std::uint8_t { kAll, kLarge, kOff };

struct EngineOptions {
  std::vector<std::string> lower;  // top first; at least one unless there is a chain
  // Holds the merged index of further layers, below all of `lower` (docs/formats/index.md).
  std::string chain;
  std::string upper;  // empty: a read-only union
  std::string work;   // same filesystem as upper, empty directory or a former work directory
  CopyUpPolicy copy_up = CopyUpPolicy::kWrite;
  PassthroughPolicy passthrough = PassthroughPolicy::kLarge;
  // Lower files of at least this many bytes are passed through under kLarge.
  std::uint64_t passthrough_threshold = std::uint64_t{128} * 1024;
  bool user_xattr = false;  // user.overlay.* instead of trusted.overlay.*
  bool volatile_upper =
      false;  // no fsync before a copy becomes visible, fsync requests are not passed on
  bool file_whiteouts =
      false;  // write whiteouts as `.wh.` files even where device nodes can be made
  unsigned walk_ahead_threads = 4;  // that load directories before a walk asks for them; 0: none
  bool acl = true;                  // POSIX ACLs; without, none is shown, set or inherited
  bool coherent = false;            // old descriptors see new data: no passthrough of lower files
  // The kernel says when files are opened and closed. Where it does not (FUSE_NO_OPEN_SUPPORT), all
  // are served through its page cache, and copies are made when something is written.
  bool opens = true;
  // Files of at least copy_up_threshold bytes are copied up block by block, as they are written.
  bool partial_copy_up = true;
  std::uint64_t copy_up_threshold = std::uint64_t{1} << 20U;
  std::uint64_t completion_rate = 0;  // bytes a second; 0: what nobody writes is never copied
  // Of files of at least metacopy_threshold bytes, a change of attributes copies no data.
  bool metacopy = true;
  std::uint64_t metacopy_threshold = std::uint64_t{128} * 1024;
};

// An inode handed to the kernel; each one given out counts one lookup until Forget().
struct EntryReply {
  NodeId node;
  std::uint64_t generation = 0;
  struct stat attr = {};
};

// Which attributes to change; absent ones stay.
struct AttrChange {
  std::optional<mode_t> mode;  // permission bits
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<off_t> size;
  bool size_by_name = false;             // by truncate(2): not of an open file
  std::optional<struct timespec> atime;  // tv_nsec may be UTIME_NOW
  std::optional<struct timespec> mtime;
  bool kill_suid_sgid = false;  // clear setuid, setgid and file capabilities (FATTR_KILL_SUIDGID)
};

// How the kernel shall serve an open file.
enum class IoMode : std::uint8_t {
  kCached,       // READ and WRITE requests through the page cache
  kPassthrough,  // by `backing_id`, without us
};

// Handles of the engine keep below this bit; what a caller adds from here up comes back to the
// engine unheeded.
inline constexpr unsigned kHandleBits = 7;

struct OpenReply {
  std::uint64_t handle = 0;
  IoMode mode = IoMode::kCached;
  std::int32_t backing_id = 0;
  bool keep_cache = true;  // kCached only: what the page cache holds is still right
};

// Where a stretch of a file's content lies. The bytes may be fewer on disk where the file ends.
struct ContentPart {
  int fd = -1;  // -1: zeros, on no disk
  off_t offset = 0;
  std::size_t length = 0;
};

// What a write is about besides its data.
struct WriteRules {
  // Whose write takes setuid and setgid away first (FUSE_WRITE_KILL_SUIDGID), unless it is to be
  // asked and may keep them; null: nobody's.
  const Caller* kills_for = nullptr;
  bool from_mapping = false;  // a page of a shared mapping: takes no privilege away
};

// One name of a directory listing.
struct ListedEntry {
  std::string_view name;
  std::uint64_t next_offset = 0;  // where to go on after this one
  std::uint64_t ino = 0;
  unsigned char type = 0;             // DT_*
  const EntryReply* entry = nullptr;  // with attributes: nullptr for "." and ".."
};

}  // namespace strata::fusefs
