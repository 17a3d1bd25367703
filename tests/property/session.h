// One sequence at work: runs each operation on the union and on the model and compares. All that
// the two may differ in is said here, in one place; everything else is a failure.
//
// Allowed, and why:
//  T1 directories' st_size, st_nlink, st_blocks; every st_blocks, atime and ctime: not promised.
//  T2 two times that the clock set while the sequence ran count as equal: the calls are made one
//     after the other.
//  T3 a descriptor or mapping opened O_RDONLY before the file's first modification in this sequence
//     may show the file as it was then, or as it is: DESIGN §4, as on kernel overlayfs.
//  T4 st_nlink of a file whose layer has further links that other layers hide may count those.
//  T5 where the holes are in a file that was fallocate()d: ext4's answer for unwritten extents
//     depends on the page cache.
//  T6 removing a POSIX ACL that is not there: ext4 says 0, overlayfs ENODATA; either is right.
//  T7 st_mtime of a fifo: what is written to it never reaches the filesystem.
//  T8 chown(-1, -1): ext4 clears setuid and setgid or refuses; over FUSE the kernel asks nobody.
//  Such
//     operations are left out.
//  T9 setgid of a file that its group may not execute (once mandatory locking): whether a write by
//  a
//     stranger clears it depends on the kernel's version, and FUSE_HANDLE_KILLPRIV_V2 says it
//     stays.
//  T10 a write by root may clear setuid and setgid, which ext4 leaves: the kernel does passthrough
//     writes without CAP_FSETID. Until the mode is set again.
//  T11 a hole of one block in a lower file with extended attributes: st_blocks counts the block
//  that
//     those take, so copy-up may take the file for one without holes.
//  T12 a rename onto a directory that is not empty: XFS says EEXIST, the union ENOTEMPTY; POSIX
//     allows either.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "tests/property/executor.h"
#include "tests/property/identity.h"
#include "tests/support/tree_snapshot.h"

namespace strata::property {

class Session {
 public:
  struct Options {
    std::map<Identity, nlink_t> hidden_links;  // T4's files
    // For kernel overlayfs: see Executor::Open; also, a rename that fails may change the mtime of a
    // directory there, and an open lower file that was deleted keeps its link count and cannot be
    // changed (EEXIST).
    bool lenient = false;
    bool passthrough = false;  // T10 applies
  };
  // The book is shared by all sessions of a mount.
  static Result<Session> Open(const std::string& union_root, const std::string& model_root,
                              Options options, InodeBook& book);

  // Runs one operation on both sides. Empty if they agree, else what differs.
  std::string Step(const Operation& op);
  // Compares the whole trees; errors of reading the union are differences, too.
  std::string CompareTrees();
  enum class Inodes : std::uint8_t { kCheck, kIgnore };
  // Compares the model with a picture of the union taken elsewhere (after a remount). Another
  // program's st_ino are its own.
  std::string CompareWith(const support::TreeSnapshot& union_tree, Inodes inodes);

  // Closes all descriptors, so that the union can be unmounted; only CompareWith() goes on working.
  void Close();

 private:
  struct Slot {
    bool open = false;
    Identity file;
    // T3: the content when it was opened, while the file had not been modified.
    std::optional<std::string> frozen;
  };
  // What an operation is about to act on, found on the model before it runs.
  struct Targets {
    std::optional<Identity> first;
    std::optional<Identity> second;
  };

  Session(Executor union_side, Executor model_side, std::string union_root, std::string model_root,
          Options options, InodeBook& book);

  Result<> FindNearlyDense();
  bool Stale(std::uint32_t slot) const;
  bool MustSkip(const Operation& op) const;
  Targets FindTargets(const Operation& op) const;
  void Track(const Operation& op, const Targets& before);
  void TrackSetIds(OpKind kind, const std::optional<Identity>& file);
  void TrackOpen(const Operation& op, const Targets& before);
  void Touch(const std::optional<Identity>& file);

  std::string Compare(const Operation& op, const Outcome& actual, const Outcome& expected);
  bool SameStaleRead(const Operation& op, const Outcome& actual) const;
  bool SameSeek(const Operation& op, const Outcome& actual, const Outcome& expected) const;
  std::string CompareStat(const Operation& op, const Outcome& actual, const Outcome& expected);
  std::string CheckInodes(const support::TreeSnapshot& union_tree,
                          const support::TreeSnapshot& model_tree);
  support::CompareRules BasicRules() const;
  void AddRulesFor(const Identity& file, const std::string& path,
                   support::CompareRules& rules) const;
  support::CompareRules RulesFor(const support::TreeSnapshot& model_tree) const;

  Executor union_;
  Executor model_;
  std::string union_root_;
  std::string model_root_;
  const Options options_;
  InodeBook& book_;
  struct timespec start_ = {};
  std::array<Slot, kSlots> slots_;
  std::set<Identity> touched_;      // modified in this sequence, so in the upper layer
  std::set<Identity> loose_holes_;  // T5, T11
  std::set<Identity> written_;      // T10
};

}  // namespace strata::property
