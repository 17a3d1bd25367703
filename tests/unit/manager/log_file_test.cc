#include "manager/container/log_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace strata::manager {
namespace {

constexpr const char* kTime = "2026-11-24T05:44:55.538316277+00:00";

class LogFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "strata-log.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/container.log"; }
  void Append(const std::string& stream, char tag, const std::string& text) {
    std::ofstream file(path(), std::ios::app);
    file << kTime << ' ' << stream << ' ' << tag << ' ' << text << '\n';
  }
  std::string ReadAll(LogFile& log) {
    std::string text;
    for (;;) {
      auto entry = log.Next();
      if (!entry || !*entry) return text;
      text += (*entry)->text;
    }
  }

  std::string directory_;
};

TEST_F(LogFileTest, ReadsTimesAndStreams) {
  const auto entry = ParseLogLine(std::string(kTime) + " stderr F text");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->time_ns, 1795499095538316277);
  EXPECT_TRUE(entry->is_stderr);
  EXPECT_EQ(entry->text, "text\n");
  EXPECT_FALSE(ParseLogLine("garbage"));
  EXPECT_FALSE(ParseLogLine(""));
}

TEST_F(LogFileTest, TailCountsTheContainersLines) {
  Append("stdout", 'F', "one");
  Append("stdout", 'P', "two ");
  Append("stdout", 'P', "is ");
  Append("stdout", 'F', "long");
  LogQuery query;
  query.tail = 1;
  const auto log = LogFile::Open(path(), query);
  ASSERT_TRUE(log);
  EXPECT_EQ(ReadAll(**log), "two is long\n");
  query.tail = 5;
  EXPECT_EQ(ReadAll(**LogFile::Open(path(), query)), "one\ntwo is long\n");
  query.tail = 0;
  EXPECT_EQ(ReadAll(**LogFile::Open(path(), query)), "");
}

TEST_F(LogFileTest, GoesOnWithWhatIsAppendedAndReplaced) {
  const auto log = LogFile::Open(path(), {});
  ASSERT_TRUE(log);
  EXPECT_EQ(ReadAll(**log), "");
  Append("stdout", 'F', "first");
  EXPECT_EQ(ReadAll(**log), "first\n");
  std::filesystem::rename(path(), path() + ".old");
  Append("stdout", 'F', "second");
  EXPECT_EQ(ReadAll(**log), "second\n");
}

}  // namespace
}  // namespace strata::manager
