// What only statx(2) and the FS_IOC_* calls tell about an inode: its birth time and its flags
// (chattr(1)).
#include "base/inode_flags.h"

#include <linux/fs.h>
#include <sys/stat.h>

#include <cstring>

#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

template <class T>
T Load(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <class T>
void Store(std::span<std::byte> bytes, const T& value) {
  std::memcpy(bytes.data(), &value, sizeof value);
}

// A lower file is not kept from changing by its own flags: the change happens to a copy without
// them. So they are not shown.
void HideProtection(unsigned command, std::span<std::byte> argument) {
  if (command == FS_IOC_GETFLAGS) {
    Store(argument, Load<unsigned>(argument) & ~unsigned{FS_IMMUTABLE_FL | FS_APPEND_FL});
  } else {
    auto flags = Load<fsxattr>(argument);
    flags.fsx_xflags &= ~__u32{FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND};
    Store(argument, flags);
  }
}

}  // namespace

Result<struct timespec> UnionEngine::BirthTime(NodeId node) {
  STRATA_TRY_ASSIGN(const SharedFd fd, OpenNode(static_cast<NodeIndex>(node.value), O_PATH));
  return strata::BirthTime(fd->get());
}

Result<> UnionEngine::InodeFlags(NodeId node_id, unsigned command, std::span<std::byte> argument) {
  const bool sets = command == FS_IOC_SETFLAGS || command == FS_IOC_FSSETXATTR;
  if (!sets && command != FS_IOC_GETFLAGS && command != FS_IOC_FSGETXATTR) {
    return Fail(ENOTTY, "ioctl");
  }
  const bool is_short = command == FS_IOC_GETFLAGS || command == FS_IOC_SETFLAGS;
  if (argument.size() < (is_short ? sizeof(unsigned) : sizeof(fsxattr))) {
    return Fail(EINVAL, "ioctl");
  }
  const NodeIndex node = Current(static_cast<NodeIndex>(node_id.value));
  // All of it: a protected file could not be completed later.
  if (sets) STRATA_TRY(EnsureUpper(node, {.data = DataNeed::kWhole}));
  STRATA_TRY_ASSIGN(const SharedFd fd, OpenNode(node, O_RDONLY));
  STRATA_TRY(InodeFlagsCall(fd->get(), command, argument));
  if (sets) {
    AttributesChanged(node_id, node);
  } else if (!InUpperNow(node)) {
    HideProtection(command, argument);
  }
  return {};
}

}  // namespace strata::fusefs
