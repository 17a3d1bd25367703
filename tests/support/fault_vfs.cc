#include "tests/support/fault_vfs.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "base/logging.h"

namespace strata::support {
namespace {

constexpr const char* kName = "strata-fault";

// SQLite's object for an open file; that of "unix" lies behind it in the same memory.
struct FaultFile {
  sqlite3_file base;
  FaultPlan* plan;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
static_assert(sizeof(FaultFile) % alignof(std::max_align_t) == 0);

FaultFile* Of(sqlite3_file* file) { return reinterpret_cast<FaultFile*>(file); }
sqlite3_file* RealOf(sqlite3_file* file) { return Of(file)->real(); }

sqlite3_vfs* Unix() { return sqlite3_vfs_find("unix"); }

// The result of a call that the plan lets fail; SQLITE_OK for one that goes through.
int Refused(const FaultFileOps::Outcome& outcome, int result) {
  if (outcome.error == 0) return SQLITE_OK;
  errno = outcome.error;  // as a system call leaves it: sqlite3_system_errno() asks for it
  return outcome.error == ENOSPC && result != SQLITE_CANTOPEN ? SQLITE_FULL : result;
}

int Step(sqlite3_file* file, std::string_view call, int result) {
  return Refused(Of(file)->plan->Next(call), result);
}

// sqlite3_io_methods. What is not listed here forwards.
int Close(sqlite3_file* file) { return RealOf(file)->pMethods->xClose(RealOf(file)); }
int Read(sqlite3_file* file, void* buffer, int size, sqlite3_int64 offset) {
  return RealOf(file)->pMethods->xRead(RealOf(file), buffer, size, offset);
}
int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const auto outcome = Of(file)->plan->Next("xWrite");
  if (const int refused = Refused(outcome, SQLITE_IOERR_WRITE); refused != SQLITE_OK) {
    return refused;
  }
  const int count = outcome.partial ? size / 2 : size;
  const int status = RealOf(file)->pMethods->xWrite(RealOf(file), data, count, offset);
  return status == SQLITE_OK && count < size ? SQLITE_FULL : status;
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  const int refused = Step(file, "xTruncate", SQLITE_IOERR_TRUNCATE);
  return refused != SQLITE_OK ? refused : RealOf(file)->pMethods->xTruncate(RealOf(file), size);
}
int Sync(sqlite3_file* file, int flags) {
  const int refused = Step(file, "xSync", SQLITE_IOERR_FSYNC);
  return refused != SQLITE_OK ? refused : RealOf(file)->pMethods->xSync(RealOf(file), flags);
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return RealOf(file)->pMethods->xFileSize(RealOf(file), size);
}
int Lock(sqlite3_file* file, int level) {
  return RealOf(file)->pMethods->xLock(RealOf(file), level);
}
int Unlock(sqlite3_file* file, int level) {
  return RealOf(file)->pMethods->xUnlock(RealOf(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* result) {
  return RealOf(file)->pMethods->xCheckReservedLock(RealOf(file), result);
}
int FileControl(sqlite3_file* file, int op, void* argument) {
  return RealOf(file)->pMethods->xFileControl(RealOf(file), op, argument);
}
int SectorSize(sqlite3_file* file) { return RealOf(file)->pMethods->xSectorSize(RealOf(file)); }
int DeviceCharacteristics(sqlite3_file* file) {
  return RealOf(file)->pMethods->xDeviceCharacteristics(RealOf(file));
}
int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** memory) {
  const int refused = Step(file, "xShmMap", SQLITE_IOERR_SHMMAP);
  if (refused != SQLITE_OK) return refused;
  return RealOf(file)->pMethods->xShmMap(RealOf(file), page, size, extend, memory);
}
int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return RealOf(file)->pMethods->xShmLock(RealOf(file), offset, count, flags);
}
void ShmBarrier(sqlite3_file* file) { RealOf(file)->pMethods->xShmBarrier(RealOf(file)); }
int ShmUnmap(sqlite3_file* file, int remove) {
  return RealOf(file)->pMethods->xShmUnmap(RealOf(file), remove);
}

// Version 2: without xFetch, so that no page is read or written behind our back.
constexpr sqlite3_io_methods kMethods = {2,
                                         Close,
                                         Read,
                                         Write,
                                         Truncate,
                                         Sync,
                                         FileSize,
                                         Lock,
                                         Unlock,
                                         CheckReservedLock,
                                         FileControl,
                                         SectorSize,
                                         DeviceCharacteristics,
                                         ShmMap,
                                         ShmLock,
                                         ShmBarrier,
                                         ShmUnmap,
                                         nullptr,
                                         nullptr};

int Open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  auto* plan = static_cast<FaultPlan*>(vfs->pAppData);
  auto* fault_file = Of(file);
  fault_file->base.pMethods = nullptr;  // SQLite closes only what has methods
  fault_file->plan = plan;
  if ((flags & SQLITE_OPEN_CREATE) != 0) {
    const int refused = Refused(plan->Next("xOpen"), SQLITE_CANTOPEN);
    if (refused != SQLITE_OK) return refused;
  }
  const int status = Unix()->xOpen(Unix(), path, fault_file->real(), flags, out_flags);
  // Even a failed open may leave something to close.
  if (fault_file->real()->pMethods != nullptr) fault_file->base.pMethods = &kMethods;
  return status;
}

int Delete(sqlite3_vfs* vfs, const char* path, int sync_directory) {
  const int refused =
      Refused(static_cast<FaultPlan*>(vfs->pAppData)->Next("xDelete"), SQLITE_IOERR_DELETE);
  return refused != SQLITE_OK ? refused : Unix()->xDelete(Unix(), path, sync_directory);
}

}  // namespace

FaultVfs::FaultVfs() : vfs_(std::make_unique<sqlite3_vfs>()) {}

Result<std::unique_ptr<FaultVfs>> FaultVfs::Install(FaultPlan& plan) {
  if (sqlite3_initialize() != SQLITE_OK || Unix() == nullptr) {
    return Fail(ENOTSUP, "fault vfs", "SQLite has no \"unix\"");
  }
  if (sqlite3_vfs_find(kName) != nullptr) return Fail(EBUSY, "fault vfs", "there is one already");
  std::unique_ptr<FaultVfs> installed(new FaultVfs());
  // The rest is unix's own; none of it looks at the object it is given.
  *installed->vfs_ = *Unix();
  sqlite3_vfs& vfs = *installed->vfs_;
  vfs.iVersion = 2;  // without the system calls of version 3, which are unix's to change
  vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + Unix()->szOsFile;
  vfs.pNext = nullptr;
  vfs.zName = kName;
  vfs.pAppData = &plan;
  vfs.xOpen = Open;
  vfs.xDelete = Delete;
  if (sqlite3_vfs_register(&vfs, /*makeDflt=*/1) != SQLITE_OK) {
    return Fail(EIO, "fault vfs", "it cannot be registered");
  }
  return installed;
}

FaultVfs::~FaultVfs() {
  // "unix" was the default before and becomes it again.
  if (sqlite3_vfs_unregister(vfs_.get()) != SQLITE_OK ||
      sqlite3_vfs_register(Unix(), /*makeDflt=*/1) != SQLITE_OK) {
    log::Error("fault vfs: it cannot be taken away");
  }
}

}  // namespace strata::support
