#include "tests/property/generator.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/path.h"
#include "tests/property/generator_layers.h"
#include "tests/property/generator_names.h"

namespace strata::property {
namespace {

class OperationGenerator {
 public:
  OperationGenerator(Random& random, NamePool& names) : random_(random), names_(names) {}

  Operation Next() {
    op_ = {};
    if (random_.Chance(12)) op_.as = random_.Pick<uid_t>({1000, 1000, 1001});
    const std::uint64_t roll = random_.Below(100);
    if (roll < 20) {
      Open();
    } else if (roll < 42) {
      OnSlot();
    } else if (roll < 68) {
      OnNames();
    } else if (roll < 86) {
      OnAttributes();
    } else {
      Look();
    }
    return op_;
  }

 private:
  std::uint32_t Seed() { return static_cast<std::uint32_t>(random_.Next()); }
  std::uint32_t Slot() { return static_cast<std::uint32_t>(random_.Below(kSlots)); }
  // Slots that were opened last are likelier to be open still.
  std::uint32_t UsedSlot() { return random_.Chance(60) ? last_slot_ : Slot(); }
  std::int64_t Offset() {
    return random_.Pick<std::int64_t>({0, 0, 1, 50, 4'095, 4'096, 5'000, 8'192, 100'000});
  }
  std::int64_t Length() {
    return random_.Pick<std::int64_t>({1, 10, 100, 4'096, 4'097, 10'000, 66'000});
  }
  void MaybeBase() {
    if (random_.Chance(6)) op_.base = Slot() + 1;
  }

  void Open() {
    op_.kind = OpKind::kOpen;
    op_.slot = last_slot_ = Slot();
    op_.mode = RandomFileMode(random_);
    unsigned flags = random_.Pick<unsigned>({O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR});
    if (random_.Chance(30)) flags |= O_CREAT;
    if (random_.Chance(10)) flags |= O_EXCL | O_CREAT;
    if (random_.Chance(15)) flags |= O_TRUNC;
    if (random_.Chance(20)) flags |= O_APPEND;
    if (random_.Chance(10)) flags |= O_NOFOLLOW;
    if (random_.Chance(8)) flags = O_RDONLY | O_DIRECTORY;
    op_.flags = flags;
    op_.path = (flags & O_CREAT) != 0 && random_.Chance(60) ? names_.NewPath() : names_.KnownFile();
    if ((flags & O_DIRECTORY) != 0) op_.path = names_.KnownDir();
    if ((flags & O_CREAT) != 0) names_.AddFile(op_.path);
    written_[op_.slot] = (flags & O_ACCMODE) != O_RDONLY;
    MaybeBase();
  }

  void OnSlot() {
    op_.kind = random_.Pick({OpKind::kClose,     OpKind::kRead,      OpKind::kRead,
                             OpKind::kReadNext,  OpKind::kWrite,     OpKind::kWrite,
                             OpKind::kWriteNext, OpKind::kMapRead,   OpKind::kMapWrite,
                             OpKind::kFTruncate, OpKind::kFallocate, OpKind::kSeek,
                             OpKind::kCopyRange, OpKind::kFStat,     OpKind::kReadDirOpen,
                             OpKind::kFChmod,    OpKind::kFChown,    OpKind::kFUtimes,
                             OpKind::kFSetXattr, OpKind::kWrite,     OpKind::kFStat});
    if (random_.Chance(2)) op_.kind = OpKind::kFsync;
    op_.slot = UsedSlot();
    op_.slot2 = Slot();
    op_.a = Offset();
    op_.b = Length();
    op_.seed = Seed();
    switch (op_.kind) {
      case OpKind::kFallocate:
        op_.flags = random_.Pick<unsigned>({0, 0, FALLOC_FL_KEEP_SIZE,
                                            FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
                                            FALLOC_FL_ZERO_RANGE});
        break;
      case OpKind::kSeek:
        op_.flags = random_.Pick<unsigned>({SEEK_DATA, SEEK_HOLE});
        break;
      case OpKind::kCopyRange:
        op_.seed = static_cast<std::uint32_t>(Offset());
        break;
      case OpKind::kFChmod:
        op_.mode = ModeToSet(RandomFileMode(random_));
        break;
      case OpKind::kClose:
        written_[op_.slot] = false;
        break;
      case OpKind::kFChown:
        Owner();
        break;
      case OpKind::kFUtimes:
        Time();
        break;
      case OpKind::kFSetXattr:
        Xattr();
        break;
      default:
        break;
    }
  }

  // docs/limits.md: set-id bits set while a passthrough descriptor is open for writing go with the
  // next write through it.
  mode_t ModeToSet(mode_t mode) const {
    return std::ranges::find(written_, true) != written_.end() ? mode & ~mode_t{S_ISUID | S_ISGID}
                                                               : mode;
  }
  void Owner() {
    op_.a = random_.Chance(20) ? -1 : static_cast<std::int64_t>(RandomOwner(random_));
    op_.b = random_.Chance(20) ? -1 : static_cast<std::int64_t>(RandomOwner(random_));
  }
  void Time() { op_.a = random_.Chance(20) ? -1 : RandomTime(random_); }
  void Xattr() {
    const NamedXattr xattr = RandomXattr(random_);
    op_.name = xattr.name;
    op_.text = xattr.value;
    op_.flags = random_.Pick<unsigned>({0, 0, 0, XATTR_CREATE, XATTR_REPLACE});
  }

  void OnNames() {
    op_.kind = random_.Pick({OpKind::kMkdir, OpKind::kMkdir, OpKind::kRmdir, OpKind::kRmdir,
                             OpKind::kUnlink, OpKind::kUnlink, OpKind::kUnlink, OpKind::kSymlink,
                             OpKind::kMknod, OpKind::kLink, OpKind::kLink, OpKind::kRename,
                             OpKind::kRename, OpKind::kRename, OpKind::kRename});
    switch (op_.kind) {
      case OpKind::kMkdir:
        op_.path = random_.Chance(50) ? names_.NewPath() : names_.Path();
        op_.mode = RandomDirMode(random_);
        names_.AddDir(op_.path);
        break;
      case OpKind::kRmdir:
        op_.path = names_.KnownDir();
        break;
      case OpKind::kUnlink:
        op_.path = random_.Chance(80) ? names_.KnownFile() : names_.Path();
        break;
      case OpKind::kSymlink:
        op_.path = names_.NewPath();
        op_.text = names_.Name();
        names_.AddFile(op_.path);
        break;
      case OpKind::kMknod:
        op_.path = names_.NewPath();
        op_.mode = random_.Pick<mode_t>({S_IFIFO, S_IFIFO, S_IFCHR, S_IFBLK, S_IFREG, S_IFSOCK}) |
                   RandomFileMode(random_);
        op_.a = random_.Between(1, 8);
        names_.AddFile(op_.path);
        break;
      case OpKind::kLink:
        op_.path = random_.Chance(85) ? names_.KnownFile() : names_.Path();
        op_.path2 = names_.NewPath();
        names_.AddFile(op_.path2);
        break;
      default:
        Rename();
        break;
    }
    MaybeBase();
  }

  void Rename() {
    op_.flags = random_.Pick<unsigned>({0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE});
    op_.path = random_.Chance(45) ? names_.KnownDir() : names_.Path();
    op_.path2 = random_.Chance(50) ? names_.NewPath() : names_.Path();
    names_.Move(op_.path, op_.path2);
    if (op_.flags == RENAME_EXCHANGE) names_.Move(op_.path2, op_.path);
  }

  void OnAttributes() {
    op_.kind = random_.Pick({OpKind::kChmod, OpKind::kChmod, OpKind::kChown, OpKind::kChown,
                             OpKind::kUtimes, OpKind::kUtimes, OpKind::kSetXattr, OpKind::kSetXattr,
                             OpKind::kRemoveXattr, OpKind::kTruncate});
    op_.path = op_.kind == OpKind::kTruncate ? names_.KnownFile() : names_.Path();
    switch (op_.kind) {
      case OpKind::kChmod:
        op_.mode = ModeToSet(random_.Chance(50) ? RandomFileMode(random_) : RandomDirMode(random_));
        break;
      case OpKind::kChown:
        Owner();
        break;
      case OpKind::kUtimes:
        Time();
        break;
      case OpKind::kTruncate:
        op_.a = Offset();
        break;
      default:
        Xattr();
        break;
    }
    MaybeBase();
  }

  void Look() {
    op_.kind = random_.Pick({OpKind::kStat, OpKind::kStat, OpKind::kReadDir, OpKind::kReadDir,
                             OpKind::kReadLink, OpKind::kAccess, OpKind::kStatFs, OpKind::kGetXattr,
                             OpKind::kListXattr});
    op_.path = op_.kind == OpKind::kReadDir ? names_.KnownDir() : names_.Path();
    op_.mode = static_cast<mode_t>(random_.Below(8));
    if (op_.kind == OpKind::kGetXattr) op_.name = RandomXattr(random_).name;
    MaybeBase();
  }

  Random& random_;
  NamePool& names_;
  Operation op_;
  std::uint32_t last_slot_ = 0;
  std::array<bool, kSlots> written_ = {};  // slots that may be open for writing
};

}  // namespace

Sequence Generate(std::uint64_t seed, const GeneratorOptions& options) {
  Random random(seed);
  NamePool names(random);
  Sequence sequence;
  sequence.seed = seed;
  sequence.upper_prefilled = options.upper_prefilled;
  sequence.umask = random.Pick<mode_t>({022, 022, 0, 077});
  sequence.layers =
      GenerateLayers(random, names, options.layers + (options.upper_prefilled ? 1 : 0));
  OperationGenerator operations(random, names);
  for (int i = 0; i < options.operations; ++i) sequence.operations.push_back(operations.Next());
  return sequence;
}

}  // namespace strata::property
