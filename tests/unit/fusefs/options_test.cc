// The command line of stratafs.
#include "fusefs/daemon/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "fusefs/daemon/mount_check.h"
#include "fusefs/daemon/option_string.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::fusefs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<Options> Parse(std::vector<const char*> arguments) { return ParseOptions(arguments); }

std::string ErrorOf(std::vector<const char*> arguments) {
  const auto options = ParseOptions(arguments);
  if (options) return "no error";
  EXPECT_EQ(options.error().code(), EINVAL);
  return std::string(options.error().detail());
}

TEST(OptionStringTest, SplitsAtUnescapedSeparatorsOnly) {
  EXPECT_THAT(SplitUnescaped("a:b", ':'), ElementsAre("a", "b"));
  EXPECT_THAT(SplitUnescaped("a\\:b:c", ':'), ElementsAre("a\\:b", "c"));
  EXPECT_THAT(SplitUnescaped("a\\\\:b", ':'), ElementsAre("a\\\\", "b"));
  EXPECT_THAT(SplitUnescaped("", ':'), ElementsAre(""));
  EXPECT_THAT(SplitUnescaped(":", ':'), ElementsAre("", ""));
  EXPECT_THAT(SplitUnescaped("a\\", ':'), ElementsAre("a\\"));
}

TEST(OptionStringTest, UnescapesOnce) {
  EXPECT_EQ(Unescape("a\\:b\\,c\\\\d"), "a:b,c\\d");
  EXPECT_EQ(Unescape("a\\\\:b"), "a\\:b");
  EXPECT_EQ(Unescape("end\\"), "end\\");
}

TEST(OptionsTest, OwnForm) {
  const auto options =
      Parse({"-o", "lowerdir=A:B:C,upperdir=U,workdir=W", "-o", "copyup=read,volatile", "/mnt"});
  ASSERT_TRUE(options.has_value());
  EXPECT_THAT(options->engine.lower, ElementsAre("A", "B", "C"));
  EXPECT_EQ(options->engine.upper, "U");
  EXPECT_EQ(options->engine.work, "W");
  EXPECT_EQ(options->engine.copy_up, CopyUpPolicy::kRead);
  EXPECT_TRUE(options->engine.volatile_upper);
  EXPECT_EQ(options->mount.mountpoint, "/mnt");
  EXPECT_EQ(options->mount.source, "stratafs");
  EXPECT_FALSE(options->foreground);
}

TEST(OptionsTest, AChainIsEnoughToMount) {
  const auto options = Parse({"-o", "chain=C", "/mnt"});
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->engine.chain, "C");
  EXPECT_TRUE(options->engine.lower.empty());
  const auto above = Parse({"-o", "lowerdir=A,chain=C\\,D,upperdir=U,workdir=W", "/mnt"});
  ASSERT_TRUE(above.has_value());
  EXPECT_EQ(above->engine.chain, "C,D");
  EXPECT_THAT(above->engine.lower, ElementsAre("A"));
  EXPECT_THAT(ErrorOf({"-o", "chain=C,chain=D", "/mnt"}), HasSubstr("twice"));
}

TEST(OptionsTest, FormOfMountFuse) {
  const auto options = Parse(
      {"image", "/mnt", "-o", "rw,nosuid,dev,noatime,_netdev,x-systemd.automount,lowerdir=A"});
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->mount.source, "image");
  EXPECT_EQ(options->mount.mountpoint, "/mnt");
  EXPECT_EQ(options->mount.flags, static_cast<unsigned long>(MS_NOSUID) | MS_NOATIME);
  EXPECT_FALSE(options->mount.read_only);
}

TEST(OptionsTest, EscapesInLayerNames) {
  const auto options =
      Parse({"-olowerdir=/a\\:b:/c\\,d:/e\\\\f,upperdir=/u\\,v,workdir=/w", "/mnt"});
  ASSERT_TRUE(options.has_value());
  EXPECT_THAT(options->engine.lower, ElementsAre("/a:b", "/c,d", "/e\\f"));
  EXPECT_EQ(options->engine.upper, "/u,v");
}

TEST(OptionsTest, LayersOneByOne) {
  const auto options =
      Parse({"-o", "lowerdir=A", "-o", "lowerdir+=b:c", "--lower", "d\\,e", "--lower=f", "/mnt"});
  ASSERT_TRUE(options.has_value());
  EXPECT_THAT(options->engine.lower, ElementsAre("A", "b:c", "d\\,e", "f"));
}

TEST(OptionsTest, ThousandLayers) {
  std::string list = "lowerdir=/l";
  for (int i = 0; i < 1000; ++i) list += ":/a/rather/long/path/to/layer/" + std::to_string(i);
  const auto options = Parse({"-o", list.c_str(), "/mnt"});
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->engine.lower.size(), 1001U);
}

TEST(OptionsTest, EveryWord) {
  const auto options =
      Parse({"-f", "--log-level", "debug", "--log-format=json", "--log-file", "/l", "-o",
             "lowerdir=A,ro,passthrough=all,coherent,userxattr,transport=auto,threads=7,spin=0,"
             "walkahead=0,noacl,locks=off,opens=off,writeback,"
             "noallow_other,default_permissions,fsname=some\\,name,context=\"a:b\"",
             "/mnt"});
  ASSERT_TRUE(options.has_value()) << options.error().ToString();
  EXPECT_TRUE(options->foreground);
  EXPECT_EQ(options->log_level, log::Level::kDebug);
  EXPECT_EQ(options->log_format, log::Format::kJson);
  EXPECT_EQ(options->log_file, "/l");
  EXPECT_TRUE(options->mount.read_only);
  EXPECT_EQ(options->engine.passthrough, PassthroughPolicy::kAll);
  EXPECT_TRUE(options->engine.coherent);
  EXPECT_TRUE(options->engine.user_xattr);
  EXPECT_EQ(options->transport.threads, 7U);
  EXPECT_EQ(options->transport.spin, std::chrono::microseconds(0));
  EXPECT_EQ(options->transport.choice, TransportChoice::kAuto);
  EXPECT_EQ(options->engine.walk_ahead_threads, 0U);
  EXPECT_FALSE(options->acl);
  EXPECT_EQ(options->locks, false);
  EXPECT_FALSE(options->engine.opens);
  EXPECT_TRUE(options->writeback);
  EXPECT_EQ(options->allow_other, false);
  EXPECT_EQ(options->mount.source, "some,name");
  EXPECT_THAT(options->mount.extra, ElementsAre("context=\"a:b\""));
}

TEST(OptionsTest, HelpAndVersionNeedNothingElse) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"-V"})->version);
}

TEST(OptionsTest, ErrorsNameTheOption) {
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,nonsense", "/mnt"}), HasSubstr("'nonsense'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,nonsense=3", "/mnt"}), HasSubstr("'nonsense'"));
  EXPECT_THAT(ErrorOf({"--nonsense", "/mnt"}), HasSubstr("'--nonsense'"));
  EXPECT_THAT(ErrorOf({"-z", "/mnt"}), HasSubstr("'-z'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,copyup=never", "/mnt"}), HasSubstr("'never'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,passthrough=some", "/mnt"}), HasSubstr("'some'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,locks=maybe", "/mnt"}), HasSubstr("'maybe'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,opens=off,locks=on", "/mnt"}), HasSubstr("'locks'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,opens=off,copyup=open", "/mnt"}), HasSubstr("'copyup'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,threads=0", "/mnt"}), HasSubstr("'threads'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,threads=4x", "/mnt"}), HasSubstr("'4x'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,spin=-1", "/mnt"}), HasSubstr("'spin'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,transport=tcp", "/mnt"}), HasSubstr("dev, uring, auto"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,ro=1", "/mnt"}), HasSubstr("'ro' takes no value"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir", "/mnt"}), HasSubstr("'lowerdir' needs a value"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=", "/mnt"}), HasSubstr("'lowerdir' needs a value"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A::B", "/mnt"}), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,upperdir=U", "/mnt"}), HasSubstr("'workdir'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,workdir=W", "/mnt"}), HasSubstr("'upperdir'"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,upperdir=U,upperdir=V,workdir=W", "/mnt"}),
              HasSubstr("twice"));
  EXPECT_THAT(ErrorOf({"/mnt"}), HasSubstr("no layer"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A"}), HasSubstr("no mountpoint"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A", "a", "b", "c"}), HasSubstr("'c'"));
  EXPECT_THAT(ErrorOf({"/mnt", "-o"}), HasSubstr("'-o' needs a value"));
}

class MountCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* directory : {"lower", "lower/in", "mnt", "lowercase"}) {
      ASSERT_TRUE(root_.MakeDir(directory).has_value());
    }
    ASSERT_EQ(::symlink(root_.At("lower/in").c_str(), root_.At("link").c_str()), 0);
    layers_.lower = {root_.At("lower")};
  }
  int CodeFor(const std::string& mountpoint) {
    const auto checked = CheckMountpoint(root_.At(mountpoint), layers_);
    return checked ? 0 : checked.error().code();
  }

  support::TempRoot root_ = support::Must(support::TempRoot::Create());
  EngineOptions layers_;
};

TEST_F(MountCheckTest, TellsGoodFromBad) {
  EXPECT_EQ(CodeFor("mnt"), 0);
  EXPECT_EQ(CodeFor("lowercase"), 0);
  EXPECT_EQ(CodeFor("lower"), EINVAL);
  EXPECT_EQ(CodeFor("lower/in"), EINVAL);
  EXPECT_EQ(CodeFor("link"), EINVAL);
  EXPECT_EQ(CodeFor("missing"), ENOENT);
  layers_.upper = root_.At("mnt");
  EXPECT_EQ(CodeFor("mnt"), EINVAL);
}

}  // namespace
}  // namespace strata::fusefs
