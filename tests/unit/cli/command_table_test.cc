// The table of commands is well-formed, documented, and what completion offers comes from it.
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "manager/cli/command.h"
#include "manager/cli/complete.h"

namespace strata::manager::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;
using testing::SizeIs;

using Words = std::vector<std::string>;

TEST(CommandTable, EveryRowIsComplete) {
  std::set<std::string_view> names;
  for (const Command& command : AllCommands()) {
    EXPECT_TRUE(names.insert(command.name).second) << command.name << " twice";
    EXPECT_TRUE(command.run) << command.name;
    EXPECT_LE(command.min_operands, command.max_operands) << command.name;
    EXPECT_NE(std::string_view(command.summary), "") << command.name;
    std::set<std::string_view> flags;
    std::set<char> letters;
    for (const FlagSpec& flag : command.flags) {
      EXPECT_TRUE(flags.insert(flag.name).second) << command.name << " --" << flag.name;
      EXPECT_NE(std::string_view(flag.name), "help") << command.name;
      if (flag.letter != 0) {
        EXPECT_TRUE(letters.insert(flag.letter).second) << command.name << " -" << flag.letter;
      }
      EXPECT_NE(std::string_view(flag.help), "") << command.name << " --" << flag.name;
      EXPECT_EQ(flag.kind == FlagSpec::Kind::kSwitch, std::string_view(flag.value).empty())
          << command.name << " --" << flag.name;
    }
  }
}

TEST(CommandTable, TheManualNamesEveryCommandAndOption) {
  const char* source = std::getenv("STRATA_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  std::ifstream file(std::string(source) + "/docs/man/strata.1.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string manual = text.str();
  ASSERT_NE(manual, "");
  for (const Command& command : AllCommands()) {
    EXPECT_NE(manual.find("**" + std::string(command.name) + "**"), std::string::npos)
        << command.name;
    for (const FlagSpec& flag : command.flags) {
      EXPECT_NE(manual.find("**--" + std::string(flag.name) + "**"), std::string::npos)
          << command.name << " --" << flag.name;
    }
  }
}

TEST(CommandTable, Finding) {
  const auto name = [](const Words& words) {
    const FoundCommand found = FindCommand(words);
    return found.command == nullptr ? std::string()
                                    : found.command->name + ("/" + std::to_string(found.words));
  };
  EXPECT_EQ(name({"run", "x"}), "run/1");
  EXPECT_EQ(name({"image", "import", "x"}), "image import/2");
  EXPECT_EQ(name({"image"}), "");
  EXPECT_EQ(name({"nope"}), "");
  EXPECT_EQ(name({}), "");
}

TEST(CommandTable, Help) {
  EXPECT_THAT(OverviewHelp(), testing::HasSubstr("  run "));
  EXPECT_THAT(GroupHelp("image"), testing::HasSubstr("image import"));
  EXPECT_EQ(GroupHelp("run"), "");
  EXPECT_THAT(CommandHelp(*FindCommand(Words{"logs"}).command), testing::HasSubstr("-f, --follow"));
}

std::vector<std::string> Completed(const Words& words) {
  const Context context("unix:///nonexistent/strata.sock");
  return Complete(context, words);
}

TEST(Completion, Commands) {
  EXPECT_THAT(Completed({""}), Contains("run"));
  EXPECT_THAT(Completed({"volu"}), ElementsAre("volume"));
  EXPECT_THAT(Completed({"volume", "c"}), ElementsAre("create"));
  EXPECT_THAT(Completed({"nope", ""}), SizeIs(0));
  EXPECT_THAT(Completed({"--ho"}), ElementsAre("--host"));
}

TEST(Completion, OptionsAndTheirValues) {
  EXPECT_THAT(Completed({"run", "--cop"}), ElementsAre("--copy-up"));
  EXPECT_THAT(Completed({"run", "--copy-up", ""}), ElementsAre("open", "read", "write"));
  EXPECT_THAT(Completed({"run", "--env-file", ""}), ElementsAre(":files"));
  EXPECT_THAT(Completed({"run", "image", "--cop"}), Not(Contains("--copy-up")));
  EXPECT_THAT(Completed({"image", "import", ""}), ElementsAre(":files"));
  EXPECT_THAT(Completed({"umount", ""}), ElementsAre(":directories"));
}

}  // namespace
}  // namespace strata::manager::cli
