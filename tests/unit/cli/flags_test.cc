#include "manager/cli/flags.h"

#include <gmock/gmock.h>

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

const std::vector<FlagSpec> kSpecs{
    {"detach", 'd', Kind::kSwitch},
    {"interactive", 'i', Kind::kSwitch},
    {"tty", 't', Kind::kSwitch},
    {"name", 0, Kind::kValue, "NAME"},
    {"env", 'e', Kind::kList, "NAME=VALUE"},
    {"pull", 0, Kind::kValue, "WHEN", "", "missing|always|never"},
};

Flags Good(const Words& words, bool interspersed = true) {
  auto flags = Flags::Parse(kSpecs, words, interspersed);
  EXPECT_TRUE(flags) << flags.error().ToString();
  return flags ? *std::move(flags) : Flags();
}

std::string Complaint(const Words& words) {
  auto flags = Flags::Parse(kSpecs, words, true);
  return flags ? "" : std::string(flags.error().detail());
}

TEST(Flags, LettersMayBeJoined) {
  const Flags flags = Good({"-it", "-e", "A=1", "-eB=2", "-e=C=3", "image"});
  EXPECT_TRUE(flags.On("interactive"));
  EXPECT_TRUE(flags.On("tty"));
  EXPECT_FALSE(flags.On("detach"));
  EXPECT_THAT(flags.List("env"), ElementsAre("A=1", "B=2", "C=3"));
  EXPECT_THAT(flags.operands(), ElementsAre("image"));
}

TEST(Flags, LongNamesTakeTheirValueEitherWay) {
  EXPECT_EQ(Good({"--name", "x"}).Value("name"), "x");
  EXPECT_EQ(Good({"--name=x=y"}).Value("name"), "x=y");
  EXPECT_EQ(Good({"--name="}).Value("name", "other"), "");
  EXPECT_EQ(Good({}).Value("name", "other"), "other");
  EXPECT_EQ(Good({"--name", "a", "--name", "b"}).Value("name"), "b");
}

TEST(Flags, ASwitchMayBeTurnedOff) {
  EXPECT_FALSE(Good({"--tty=false"}).On("tty"));
  EXPECT_TRUE(Good({"--tty=true"}).On("tty"));
  EXPECT_THAT(Complaint({"--tty=maybe"}), HasSubstr("true or false"));
}

TEST(Flags, OperandsEndOptionsOfRun) {
  const Flags run = Good({"-d", "image", "ls", "-t", "--", "--name"}, false);
  EXPECT_TRUE(run.On("detach"));
  EXPECT_FALSE(run.On("tty"));
  EXPECT_THAT(run.operands(), ElementsAre("image", "ls", "-t", "--", "--name"));

  EXPECT_THAT(Good({"a", "-t", "--", "-x"}).operands(), ElementsAre("a", "-x"));
  EXPECT_THAT(Good({"-"}).operands(), ElementsAre("-"));
}

TEST(Flags, MistakesAreNamed) {
  EXPECT_THAT(Complaint({"--nope"}), HasSubstr("--nope"));
  EXPECT_THAT(Complaint({"-ix"}), HasSubstr("-x"));
  EXPECT_THAT(Complaint({"--name"}), HasSubstr("needs a value"));
  EXPECT_THAT(Complaint({"-e"}), HasSubstr("needs a value"));
  EXPECT_THAT(Complaint({"--pull", "sometimes"}), HasSubstr("missing|always|never"));
}

TEST(Flags, Numbers) {
  EXPECT_EQ(ParseNumber("time", "10").value_or(0), 10);
  EXPECT_EQ(ParseNumber("time", "-1").value_or(0), -1);
  for (const char* bad : {"", "x", "1x", "99999999999999999999"}) {
    EXPECT_FALSE(ParseNumber("time", bad)) << bad;
  }
}

}  // namespace
}  // namespace strata::manager::cli
