#include "base/replace_file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "base/fault_file_ops.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata {
namespace {

using support::Must;

class ReplaceFileTest : public testing::TestWithParam<bool> {
 protected:
  std::string Content() {
    return support::Exists(root_.At("f")) ? support::ReadFile(root_.At("f")) : "none";
  }

  FileOps& files_ = FileOps::System();
  support::TempRoot root_ = Must(support::TempRoot::Create());
  UniqueFd dir_ = Must(files_.Open(AT_FDCWD, root_.path().c_str(), O_RDONLY | O_DIRECTORY));
};

TEST_P(ReplaceFileTest, OldOrNewWhateverFails) {
  const bool sticky = GetParam();
  std::string before = "none";
  for (std::uint64_t at = 0;; ++at) {
    SCOPED_TRACE("failing call " + std::to_string(at));
    FaultFileOps faulty(files_, [&](const FaultFileOps::Call& call) {
      return call.number == at || (sticky && call.number > at) ? EIO : 0;
    });
    const std::string after = "content " + std::to_string(at);
    const auto replaced = ReplaceFile(faulty, dir_.get(), "f", after, 0600);
    EXPECT_TRUE(Content() == after || (!replaced && Content() == before)) << Content();
    before = Content();
    if (faulty.calls() <= at) {
      EXPECT_TRUE(replaced.has_value());
      break;
    }
    EXPECT_FALSE(replaced.has_value());
    ASSERT_LT(at, 20U);
  }
  EXPECT_EQ(support::List(root_.path()), std::vector<std::string>{"f"});
  EXPECT_EQ(support::Lstat(root_.At("f")).st_mode & 07777U, 0600U);
}

INSTANTIATE_TEST_SUITE_P(Faults, ReplaceFileTest, testing::Bool());

TEST_F(ReplaceFileTest, IsOnTheDiskBeforeAndAfterTheRename) {
  std::string calls;
  FaultFileOps watched(files_, [&](const FaultFileOps::Call& call) {
    calls += std::string(call.name) + ' ';
    return 0;
  });
  Must(ReplaceFile(watched, dir_.get(), "f", "x", 0600));
  EXPECT_EQ(calls, "Open Write Sync Rename Sync ");
}

}  // namespace
}  // namespace strata
