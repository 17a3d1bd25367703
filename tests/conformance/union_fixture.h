// A union on a real mount for one test: layers to fill, a mount to act on, and at the end of every
// test the promises that always hold: the lower layers are untouched, and the daemon ends cleanly.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/digest.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"
#include "tests/support/xattrs.h"

namespace strata::conformance {

using support::AppendFile;
using support::AsUser;
using support::ErrnoOf;
using support::Exists;
using support::List;
using support::ListAll;
using support::Lstat;
using support::MakeDir;
using support::MakeWhiteout;
using support::Must;
using support::MustCall;
using support::OpenFile;
using support::ReadFile;
using support::WriteFile;

// What was staged in a work directory and is there still; whiteouts are kept for the next one.
std::vector<std::string> LeftInWork(const std::string& work);

class UnionTest : public ::testing::Test {
 protected:
  UnionTest();
  ~UnionTest() override;
  void SetUp() override;
  void TearDown() override;

  // Layers are made on first use; 0 is the bottom one. All must be filled before Mount().
  std::string Lower(std::size_t layer, std::string_view path = "");
  std::string Upper(std::string_view path = "") const;
  const std::string& Work() const { return work_; }
  // Has the upper layer and its work directory in `directory`, as new ones, from now on.
  void PutUpperIn(const std::string& directory);
  // A path in the union.
  std::string At(std::string_view path = "") const;

  // Mounts, or mounts again after Unmount(). `spec` brings further options; layers, upper, work and
  // mount point are filled in.
  void Mount(support::UnionSpec spec = {});
  void MountReadOnly();
  void Unmount();
  // What Mount() would use.
  support::UnionSpec Spec(support::UnionSpec spec = {}) const;

  // Everything in the upper layer.
  std::vector<std::string> UpperTree() const { return ListAll(Upper()); }

  static bool IsStratafs() { return support::DefaultMounter() == support::Mounter::kStratafs; }
  static bool IsKernel() { return support::DefaultMounter() == support::Mounter::kOverlay; }

  support::TempRoot root_;
  support::UnionMount mount_;
  std::vector<std::string> layers_;  // bottom first

 private:
  void Index();

  std::string upper_;
  std::string work_;
  std::vector<Digest> digests_;
  std::string chain_;  // has the index of the lower layers, if they are to be mounted through it
};

}  // namespace strata::conformance
