// The work directory: where things are made before they get their name in the upper layer, and the
// source of whiteouts.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "base/mutex.h"
#include "fusefs/union/layers.h"

namespace strata::fusefs {

// How a deleted lower name is recorded in the upper layer.
enum class WhiteoutForm : std::uint8_t {
  kDevice,  // character device 0/0 of that name (kernel overlayfs)
  kFile,    // empty file ".wh.NAME" (OCI layers, AUFS)
};

using layerstore::kOpaqueMarker;
using layerstore::kReservedPrefix;
using layerstore::kWhiteoutPrefix;

class WorkDir;

// Removes dir/<name> from work/ at the end of the scope unless it was moved to its place.
class StagedEntry {
 public:
  StagedEntry(WorkDir& work, std::string name) : work_(work), name_(std::move(name)) {}
  ~StagedEntry();
  StagedEntry(const StagedEntry&) = delete;
  StagedEntry& operator=(const StagedEntry&) = delete;

  const std::string& name() const { return name_; }
  const char* c_str() const { return name_.c_str(); }
  void Published() { published_ = true; }

 private:
  WorkDir& work_;
  std::string name_;
  bool published_ = false;
};

// A file being made, without a name where the filesystem can hold such (O_TMPFILE), else under a
// temporary one. Whatever is not given a name is gone at the end.
struct StagedFile {
  UniqueFd fd;
  std::unique_ptr<StagedEntry> entry = nullptr;  // absent: the file has no name
};

// Thread-safe. Layout as kernel overlayfs has it: <workdir>/work for staging, <workdir>/index for
// link groups; and <workdir>/blocks for the block maps of half-copied files.
class WorkDir {
 public:
  // Makes the directories, removes what a crash left in work/ and index/, finds out which whiteouts
  // can be made. ENOTEMPTY if there is anything that no overlay made; EINVAL if the upper is marked
  // (volatile_mark.h).
  static Result<std::unique_ptr<WorkDir>> Open(const Layers& layers, FileOps& files,
                                               bool force_file_whiteouts);

  int fd() const { return staging_.get(); }
  int index_fd() const { return index_.get(); }
  int blocks_fd() const { return blocks_.get(); }
  // What index/ held when it was opened; once.
  std::vector<std::string> TakeIndexed() { return std::move(indexed_); }
  WhiteoutForm whiteouts() const { return form_; }

  // A name nothing in work/ has.
  std::string TempName();

  // An empty regular file, open for reading and writing, mode 0600.
  Result<StagedFile> StageFile();
  // A further name of a staged file.
  Result<> LinkStaged(const StagedFile& file, int dir, const char* name);
  // The last one. EEXIST if it is taken.
  Result<> PlaceStaged(StagedFile& file, int dir, const char* name);

  // Records `name` as deleted where the upper directory has nothing of that name.
  Result<> AddWhiteout(int dir, const std::string& name);
  // kDevice only: a whiteout in work/ under a temporary name, to be renamed or exchanged into
  // place.
  Result<std::string> StageWhiteout();
  // Removes the whiteout of `name`; kFile only, the device form is replaced by what takes its name.
  Result<> RemoveFileWhiteout(int dir, const std::string& name);

  // Removes whatever work/<name> is, with all below it.
  Result<> Discard(const std::string& name);

 private:
  explicit WorkDir(FileOps& files) : files_(files) {}
  Result<> Prepare(const Layers& layers);
  Result<> ReadIndex();
  Result<> ProbeFileWhiteouts();
  Result<> MakeSharedWhiteout() STRATA_REQUIRES(mu_);
  Result<> LinkWhiteout(int dir, const char* name);

  FileOps& files_;
  UniqueFd staging_;
  UniqueFd index_;
  UniqueFd blocks_;
  std::vector<std::string> indexed_;
  WhiteoutForm form_ = WhiteoutForm::kDevice;
  std::atomic<std::uint64_t> next_temp_ = 0;
  std::atomic<bool> nameless_ = true;  // O_TMPFILE works, as far as is known

  Mutex mu_;                                            // rank 80
  std::string shared_whiteout_ STRATA_GUARDED_BY(mu_);  // all whiteouts are links to this one inode
};

}  // namespace strata::fusefs
