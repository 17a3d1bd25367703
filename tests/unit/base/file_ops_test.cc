#include "base/file_ops.h"

#include <gtest/gtest.h>

#include <set>

#include "base/fault_file_ops.h"
#include "base/mount_tree.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata {
namespace {

using support::Must;
using support::TempRoot;

class FileOpsTest : public testing::Test {
 protected:
  FileOps& files_ = FileOps::System();
  TempRoot root_ = Must(TempRoot::Create());
  UniqueFd dir_ = Must(files_.Open(AT_FDCWD, root_.path().c_str(), O_RDONLY | O_DIRECTORY));
};

TEST_F(FileOpsTest, ListsEveryNameOnce) {
  std::set<std::string> made;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "file-" + std::to_string(i);
    Must(files_.Open(dir_.get(), name.c_str(), O_CREAT | O_WRONLY, 0600));
    made.insert(name);
  }
  std::set<std::string> listed;
  Must(files_.ReadDir(dir_.get(), [&](std::string_view name, ino_t, unsigned char) {
    EXPECT_TRUE(listed.emplace(name).second) << name;
    return true;
  }));
  EXPECT_EQ(listed, made);
}

TEST_F(FileOpsTest, XattrsAndModesOfAPathDescriptor) {
  Must(files_.Open(dir_.get(), "f", O_CREAT | O_WRONLY, 0600));
  const UniqueFd path = Must(files_.Open(dir_.get(), "f", O_PATH | O_NOFOLLOW));
  const std::string value(3000, 'v');
  Must(files_.SetXattr(path.get(), "user.long", value));
  EXPECT_EQ(Must(files_.GetXattr(path.get(), "user.long")), value);
  EXPECT_EQ(Must(files_.GetXattrAt(dir_.get(), "f", "user.long")), value);
  EXPECT_EQ(Must(files_.ListXattr(path.get())), std::vector<std::string>{"user.long"});
  Must(files_.ChmodAt(path.get(), "", 0640));
  EXPECT_EQ(Must(files_.Stat(path.get())).st_mode & 07777, 0640U);
  const auto missing = files_.GetXattr(path.get(), "user.none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ENODATA);
}

TEST_F(FileOpsTest, ConfinedOpensDoNotEscape) {
  Must(files_.SymLink("/etc", dir_.get(), "out"));
  for (const char* path : {"../x", "out/passwd", "/etc/passwd"}) {
    EXPECT_FALSE(
        files_.OpenConfined(dir_.get(), path, O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS))
        << path;
  }
}

TEST_F(FileOpsTest, FaultsHitTheChosenCallOnly) {
  FaultFileOps faulty(files_, [](const FaultFileOps::Call& call) {
    return call.name == "MakeDir" && std::string_view(call.path) == "b" ? ENOSPC : 0;
  });
  Must(faulty.MakeDir(dir_.get(), "a", 0700));
  const auto failed = faulty.MakeDir(dir_.get(), "b", 0700);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ENOSPC);
  EXPECT_FALSE(files_.StatAt(dir_.get(), "b"));
  EXPECT_EQ(faulty.calls(), 2U);
}

TEST_F(FileOpsTest, FaultsCutBytesShortOrSwallowACall) {
  FaultFileOps::Outcome next;
  FaultFileOps faulty(files_, [&](const FaultFileOps::Call&) { return next; });
  const UniqueFd file = Must(faulty.Open(dir_.get(), "f", O_RDWR | O_CREAT, 0600));
  next = FaultFileOps::Outcome::Partial();
  EXPECT_EQ(Must(faulty.WriteAt(file.get(), std::as_bytes(std::span("abcdefgh", 8)), 0)), 4U);
  EXPECT_EQ(Must(files_.Stat(file.get())).st_size, 4);
  std::array<std::byte, 4> bytes = {};
  EXPECT_EQ(Must(faulty.ReadAt(file.get(), bytes, 0)), 2U);
  // One byte has no half, and what is asked to write all of it does.
  Must(WriteAll(faulty, file.get(), "12345678"));
  EXPECT_EQ(Must(files_.Stat(file.get())).st_size, 8);
  Must(faulty.MakeDir(dir_.get(), "made", 0700));
  EXPECT_TRUE(files_.StatAt(dir_.get(), "made"));

  next = FaultFileOps::Outcome::Swallowed();
  Must(faulty.MakeDir(dir_.get(), "not made", 0700));
  EXPECT_FALSE(files_.StatAt(dir_.get(), "not made"));
  EXPECT_EQ(Must(faulty.Stat(file.get())).st_size, 8);
}

TEST_F(FileOpsTest, ReadOnlyTreesCannotBeWritten) {
  const MountTree tree = Must(OpenReadOnlyTree(root_.path()));
  if (!tree.read_only) GTEST_SKIP() << "mount clones are not allowed here";
  const auto made = files_.MakeDir(tree.fd.get(), "x", 0700);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), EROFS);
  const auto missing = OpenReadOnlyTree(root_.At("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ENOENT);
}

}  // namespace
}  // namespace strata
