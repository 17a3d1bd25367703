// The command line of stratafs.
#include "fusefs/daemon/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <stdexcept>

#include "fusefs/daemon/mount_check.h"
#include "fusefs/daemon/option_string.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"

namespace strata::fusefs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<Options> Parse(std::vector<const char*> arguments) { return ParseOptions(arguments); }

Result<Options> ParseAsHelper(std::vector<const char*> arguments) {
  return ParseOptions(arguments, Invocation::kMountHelper);
}

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
  EXPECT_FALSE(options->engine.acl);
  EXPECT_EQ(options->locks, false);
  EXPECT_FALSE(options->engine.opens);
  EXPECT_TRUE(options->writeback);
  EXPECT_EQ(options->allow_other, false);
  EXPECT_EQ(options->mount.source, "some,name");
  EXPECT_THAT(options->mount.extra, ElementsAre("context=\"a:b\""));
}

TEST(OptionsTest, LettersInOneGroup) {
  const auto options = Parse({"-fso", "lowerdir=A", "/mnt"});
  ASSERT_TRUE(options.has_value()) << options.error().ToString();
  EXPECT_TRUE(options->foreground);
  EXPECT_EQ(options->transport.threads, 1U);
  EXPECT_THAT(options->engine.lower, ElementsAre("A"));
  const auto attached = Parse({"/mnt", "-dolowerdir=B"});
  ASSERT_TRUE(attached.has_value()) << attached.error().ToString();
  EXPECT_EQ(attached->log_level, log::Level::kTrace);
  EXPECT_THAT(attached->engine.lower, ElementsAre("B"));
  EXPECT_THAT(ErrorOf({"-fzo", "lowerdir=A", "/mnt"}), HasSubstr("'-z'"));
  EXPECT_THAT(ErrorOf({"/mnt", "-fo"}), HasSubstr("'-o' needs a value"));
}

TEST(OptionsTest, MountHelpersAreKnownByName) {
  EXPECT_EQ(InvocationOf("/sbin/mount.fuse.stratafs"), Invocation::kMountHelper);
  EXPECT_EQ(InvocationOf("mount.stratafs"), Invocation::kMountHelper);
  EXPECT_EQ(InvocationOf("/mount.d/stratafs"), Invocation::kDirect);
  EXPECT_EQ(InvocationOf(""), Invocation::kDirect);
}

TEST(OptionsTest, FormOfMountItself) {
  const auto options = ParseAsHelper({"image", "/mnt", "-sfnv", "-N", "/proc/7/ns/mnt", "-o",
                                      "rw,nonsense,lowerdir=A,other=1", "-t", "fuse.stratafs"});
  ASSERT_TRUE(options.has_value()) << options.error().ToString();
  EXPECT_TRUE(options->fake);
  EXPECT_FALSE(options->foreground);
  EXPECT_EQ(options->log_level, log::Level::kInfo);
  EXPECT_EQ(options->mount_namespace, "/proc/7/ns/mnt");
  EXPECT_THAT(options->unknown, ElementsAre("nonsense", "other"));
  EXPECT_EQ(options->transport.threads, TransportOptions().threads) << "-s taken for ours";
  EXPECT_EQ(options->mount.source, "image");

  const auto strict = ParseAsHelper({"image", "/mnt", "-o", "lowerdir=A,nonsense"});
  ASSERT_FALSE(strict.has_value());
  EXPECT_THAT(strict.error().detail(), HasSubstr("'nonsense'"));
  EXPECT_FALSE(ParseAsHelper({"image", "/mnt", "-s", "-o", "lowerdir=A,threads=x"}).has_value())
      << "sloppy is about names";
  EXPECT_THAT(ErrorOf({"-n", "-o", "lowerdir=A", "/mnt"}), HasSubstr("'-n'"));
}

TEST(OptionsTest, OptionsOfFstabHaveNoEffect) {
  const auto options = Parse(
      {"-o",
       "lowerdir=A,defaults,auto,noauto,nofail,user,user=joe,nouser,users,nousers,owner,noowner,"
       "group,nogroup,_netdev,comment=x,uhelper=y,helper=z,x-systemd.requires=/a,X-mount.mkdir,"
       "mand,nomand,iversion,noiversion",
       "/mnt"});
  ASSERT_TRUE(options.has_value()) << options.error().ToString();
  EXPECT_EQ(options->mount.flags, 0U);
  EXPECT_TRUE(options->mount.extra.empty());
  EXPECT_TRUE(options->unknown.empty());
}

TEST(OptionsTest, TheLastOfContradictoryOptionsCounts) {
  const auto last = [](const char* list) {
    auto options = Parse({"-o", "lowerdir=A", "-o", list, "/mnt"});
    if (!options) throw std::runtime_error(options.error().ToString());
    return std::move(*options);
  };
  EXPECT_TRUE(last("rw,ro").mount.read_only);
  EXPECT_FALSE(last("ro,rw").mount.read_only);
  EXPECT_TRUE(last("noacl,acl").engine.acl);
  EXPECT_FALSE(last("acl,noacl").engine.acl);
  EXPECT_EQ(last("allow_other,noallow_other").allow_other, false);
  EXPECT_EQ(last("noallow_other,allow_other").allow_other, true);
  EXPECT_EQ(last("copyup=read,copyup=open").engine.copy_up, CopyUpPolicy::kOpen);
  EXPECT_TRUE(last("metacopy=off,metacopy=on").engine.metacopy);
  EXPECT_EQ(last("threads=3,threads=5").transport.threads, 5U);
  EXPECT_EQ(last("nosuid,suid,dev,nodev").mount.flags, static_cast<unsigned long>(MS_NODEV));
  EXPECT_EQ(last("noatime,relatime").mount.flags, static_cast<unsigned long>(MS_RELATIME));
  EXPECT_EQ(last("relatime,noatime").mount.flags, static_cast<unsigned long>(MS_NOATIME));
  EXPECT_EQ(last("noatime,strictatime").mount.flags, static_cast<unsigned long>(MS_STRICTATIME));
  EXPECT_EQ(last("fsname=a,fsname=b").mount.source, "b");
}

TEST(OptionsTest, FsNameWinsOverSource) {
  EXPECT_EQ(Parse({"image", "/mnt", "-o", "lowerdir=A,fsname=name"})->mount.source, "name");
  EXPECT_EQ(Parse({"-o", "lowerdir=A,fsname=name", "image", "/mnt"})->mount.source, "name");
  EXPECT_EQ(Parse({"-o", "lowerdir=A", "image", "/mnt"})->mount.source, "image");
}

TEST(OptionsTest, AReadOnlyMountIsNotVolatile) {
  const char* const layers = "lowerdir=A,upperdir=U,workdir=W,volatile";
  EXPECT_FALSE(Parse({"-o", layers, "-o", "ro", "/mnt"})->engine.volatile_upper);
  EXPECT_TRUE(Parse({"-o", layers, "-o", "ro,rw", "/mnt"})->engine.volatile_upper);
}

TEST(OptionsTest, FinalizeIsNoReadOnlyMount) {
  const char* const layers = "lowerdir=A,upperdir=U,workdir=W";
  EXPECT_THAT(ErrorOf({"--finalize", "-o", layers, "-o", "ro"}),
              HasSubstr("'ro' and '--finalize', which writes to upperdir, exclude each other"));
  EXPECT_TRUE(Parse({"--finalize", "-o", layers, "-o", "ro,rw"}).has_value());
}

TEST(OptionsTest, FlagsTakeNoValueOfMountEither) {
  for (const char* flag : {"ro=5", "rw=0", "noexec=1", "volatile=no", "defaults="}) {
    const std::string name(flag, std::string_view(flag).find('='));
    const auto options = ParseAsHelper({"image", "/mnt", "-o", "lowerdir=A", "-o", flag});
    ASSERT_FALSE(options.has_value()) << flag;
    EXPECT_EQ(options.error().detail(), "option '" + name + "' takes no value");
  }
}

TEST(OptionsTest, PathsAreCompletedWithTheWorkingDirectory) {
  auto options = support::Must(
      Parse({"--log-file", "log", "-o", "lowerdir=A:/B,chain=C,upperdir=U,workdir=/W", "mnt"}));
  support::Must(MakePathsAbsolute(options));
  const std::string here = std::filesystem::current_path().string() + "/";
  EXPECT_THAT(options.engine.lower, ElementsAre(here + "A", "/B"));
  EXPECT_EQ(options.engine.chain, here + "C");
  EXPECT_EQ(options.engine.upper, here + "U");
  EXPECT_EQ(options.engine.work, "/W");
  EXPECT_EQ(options.mount.mountpoint, here + "mnt");
  EXPECT_EQ(options.log_file, here + "log");

  auto none = support::Must(Parse({"-o", "lowerdir=A", "/mnt"}));
  support::Must(MakePathsAbsolute(none));
  EXPECT_EQ(none.engine.upper, "");
  EXPECT_EQ(none.log_file, "");
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
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A", "-o", "lowerdir=B", "/mnt"}), HasSubstr("twice"));
  EXPECT_THAT(ErrorOf({"-o", "lowerdir=A,remount,ro", "/mnt"}), HasSubstr("mount -i -o remount"));
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
  EXPECT_EQ(CodeFor("../../../../../../../.."), EINVAL);
  layers_.upper = root_.At("mnt");
  EXPECT_EQ(CodeFor("mnt"), EINVAL);
}

}  // namespace
}  // namespace strata::fusefs
