// The program itself: how it starts, ends, and who may use it. What the union does is tested
// elsewhere.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "tests/support/chain_index.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"

namespace strata {
namespace {

using namespace std::chrono_literals;
using support::ChildProcess;
using support::Must;
using support::RunProcess;
using support::TempRoot;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void Write(const std::string& path, const std::string& content) { std::ofstream(path) << content; }

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return condition();
}

class StratafsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (support::DefaultTransport() == "uring") {
      if (!support::KernelHasUring()) GTEST_SKIP() << support::kNoUring;
      setting_.emplace(Must(support::UringSetting::Hold()));
    }
    for (const char* name : {"low", "up", "work", "mnt"}) Must(root_.MakeDir(name));
    Write(root_.At("low/file"), "lower\n");
  }
  std::string Directories() const {
    return "lowerdir=" + root_.At("low") + ",upperdir=" + root_.At("up") +
           ",workdir=" + root_.At("work");
  }
  std::string Layers() const { return Directories() + Transport(); }
  static std::string Transport() {
    const std::string name = support::DefaultTransport();
    return name.empty() ? "" : ",transport=" + name;
  }
  std::string Mounted(const std::string& name) const { return root_.At("mnt/" + name); }
  bool IsMounted() const { return !Must(support::MountsBelow(root_.At("mnt"))).empty(); }
  ChildProcess StartForeground(const std::string& options) {
    auto child = Must(ChildProcess::Start(
        {support::StratafsPath(), "-f", "-o", options, root_.At("mnt")}, root_.At("log")));
    EXPECT_TRUE(Eventually([&] { return IsMounted() || !child.Running(); })) << Log();
    return child;
  }
  std::string Log() const { return Read(root_.At("log")); }
  // Runs `commands` (sh) in a user namespace with the union mounted at "$2" there; they end the
  // daemon, whose process is $pid. /dev/fuse is open to everybody where udev runs; here root's
  // capabilities of the outer namespace are gone inside, but the file's owner is still the same.
  auto InUserNamespace(const std::string& commands) const {
    const std::string script =
        "\"$0\" -f -o \"$1\" \"$2\" & pid=$!; "
        "for i in $(seq 100); do mountpoint -q \"$2\" && break; sleep 0.05; done; " +
        commands;
    return Must(RunProcess({"unshare", "-Urm", "sh", "-c", script, support::StratafsPath(),
                            Layers(), root_.At("mnt")}));
  }

  std::optional<support::UringSetting> setting_;
  TempRoot root_ = Must(TempRoot::Create());
};

TEST_F(StratafsTest, ServesAndEndsOnSigterm) {
  ChildProcess daemon = StartForeground(Layers());
  ASSERT_TRUE(IsMounted()) << Log();
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
  Write(Mounted("new"), "new\n");
  EXPECT_EQ(Read(root_.At("up/new")), "new\n");
  EXPECT_EQ(::rename(Mounted("new").c_str(), Mounted("renamed").c_str()), 0);
  EXPECT_EQ(Read(Mounted("renamed")), "new\n");
  EXPECT_EQ(::unlink(Mounted("file").c_str()), 0);
  EXPECT_EQ(Read(root_.At("low/file")), "lower\n");
  Must(daemon.Signal(SIGTERM));
  EXPECT_EQ(Must(daemon.Wait(10s)), 0);
  EXPECT_FALSE(IsMounted());
}

TEST_F(StratafsTest, EndsWhenUnmountedFromOutside) {
  ChildProcess daemon = StartForeground(Layers());
  ASSERT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
  EXPECT_EQ(Must(daemon.Wait(10s)), 0);
}

TEST_F(StratafsTest, LeavesABusyMountOnSigint) {
  ChildProcess daemon = StartForeground(Layers());
  const UniqueFd user(::open(Mounted("file").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(user);
  Must(daemon.Signal(SIGINT));
  EXPECT_EQ(Must(daemon.Wait(10s)), 0);
  EXPECT_FALSE(IsMounted());
}

TEST_F(StratafsTest, GoesIntoTheBackgroundOnceItWorks) {
  const auto started = Must(RunProcess({support::StratafsPath(), "-o", Layers(), root_.At("mnt")}));
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(started.err, IsEmpty());
  ASSERT_TRUE(IsMounted());
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
  EXPECT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
}

TEST_F(StratafsTest, TakesTheFormOfMountFuse) {
  const auto started = Must(RunProcess({support::StratafsPath(), "image", root_.At("mnt"), "-o",
                                        "ro,noatime,dev,suid," + Layers()}));
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(Read("/proc/self/mounts"),
              HasSubstr("image " + root_.At("mnt") + " fuse.stratafs ro"));
  EXPECT_EQ(::open(Mounted("new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
}

TEST_F(StratafsTest, WithoutAnUpperLayerItIsReadOnly) {
  ChildProcess daemon = StartForeground("lowerdir=" + root_.At("low") + Transport());
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
  EXPECT_EQ(::unlink(Mounted("file").c_str()), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST_F(StratafsTest, WritebackKeepsWhatIsWritten) {
  ChildProcess daemon = StartForeground(Layers() + ",writeback");
  const std::string text(100000, 'x');
  Write(Mounted("new"), text);
  {
    std::ofstream append(Mounted("file"), std::ios::app);
    append << "more\n";
  }
  EXPECT_EQ(Read(Mounted("file")), "lower\nmore\n");
  ASSERT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
  EXPECT_EQ(Must(daemon.Wait(10s)), 0);
  EXPECT_EQ(Read(root_.At("up/new")), text);
  EXPECT_EQ(Read(root_.At("up/file")), "lower\nmore\n");
}

TEST_F(StratafsTest, FailsWithOneLineAndMountsNothing) {
  const std::string low = "lowerdir=" + root_.At("low") + Transport();
  const struct {
    std::vector<std::string> arguments;
    std::string says;
  } cases[] = {
      {{"-o", "lowerdir=" + root_.At("none"), root_.At("mnt")}, "none"},
      {{"-o", low + ",nonsense", root_.At("mnt")}, "nonsense"},
      {{"-o", low, root_.At("no-mountpoint")}, "no-mountpoint"},
      {{"-o", low, root_.At("low")}, "the same as lowerdir"},
      {{"-o", low, root_.At("low/file")}, "Not a directory"},
  };
  for (const auto& bad : cases) {
    std::vector<std::string> command{support::StratafsPath()};
    command.insert(command.end(), bad.arguments.begin(), bad.arguments.end());
    const auto result = Must(RunProcess(command));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr(bad.says));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_FALSE(IsMounted());
  }
}

TEST_F(StratafsTest, ErrorsOfStartingReachTheUserBesideTheLogFile) {
  for (const bool foreground : {false, true}) {
    std::vector<std::string> command{
        support::StratafsPath(),        "--log-file",   root_.At("log"), "-o",
        "lowerdir=" + root_.At("none"), root_.At("mnt")};
    if (foreground) command.emplace_back("-f");
    const auto result = Must(RunProcess(command));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr(root_.At("none")));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_THAT(Log(), HasSubstr(root_.At("none")));
    ASSERT_EQ(::unlink(root_.At("log").c_str()), 0);
  }
  const auto no_file = Must(RunProcess({support::StratafsPath(), "--log-file", root_.At("none/log"),
                                        "-f", "-o", Layers(), root_.At("mnt")}));
  EXPECT_EQ(no_file.exit_code, 1);
  EXPECT_THAT(no_file.err, HasSubstr("none/log"));
  EXPECT_EQ(std::ranges::count(no_file.err, '\n'), 1) << no_file.err;
}

TEST_F(StratafsTest, ADamagedChainIndexIsOneLine) {
  Must(root_.MakeDir("chain"));
  Must(support::WriteChainIndex({root_.At("low")}, root_.At("chain")));
  const std::string index = root_.At("chain/index");
  std::string bytes = Read(index);
  bytes.back() = static_cast<char>(~bytes.back());
  Write(index, bytes);
  const auto result =
      Must(RunProcess({support::StratafsPath(), "-o", "chain=" + root_.At("chain") + Transport(),
                       root_.At("mnt")}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("chain " + root_.At("chain")));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

TEST_F(StratafsTest, RefusesToCoverTheRootDirectory) {
  const auto result = Must(RunProcess(
      {"unshare", "-m", support::StratafsPath(), "-o", "lowerdir=" + root_.At("low"), "/"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("root directory"));
}

// Calls of mount(8), where the program is its helper: in a mount namespace of their own, in which
// /usr/sbin has it besides all else.
class StratafsHelperTest : public StratafsTest {
 protected:
  // Runs `commands` (sh) with the mount point as "$1" and the options as "$2".
  support::ProcessResult Run(const std::string& commands, const std::string& options) const {
    Must(root_.MakeDir("sbin"));
    const std::string helper = root_.At("sbin/mount.fuse.stratafs");
    support::MustCall(::symlink(support::StratafsPath().c_str(), helper.c_str()), "symlink");
    const std::string script =
        "mount -t overlay -o \"lowerdir=$0:/usr/sbin\" overlay /usr/sbin && " + commands;
    return Must(RunProcess(
        {"unshare", "-m", "sh", "-c", script, root_.At("sbin"), root_.At("mnt"), options}));
  }
};

TEST_F(StratafsHelperTest, MountsAndUnmounts) {
  const auto result =
      Run("mount -v -t fuse.stratafs image \"$1\" -o \"$2\" && cat \"$1/file\" && "
          "findmnt -n -o SOURCE,FSTYPE \"$1\" && umount \"$1\" && ! mountpoint -q \"$1\"",
          "noauto,user,_netdev,x-test,nofail,defaults,nosuid," + Layers());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("lower\n"));
  EXPECT_THAT(result.out, ::testing::ContainsRegex("image +fuse.stratafs"));
  EXPECT_THAT(result.err, HasSubstr("mounted")) << "-v";
}

TEST_F(StratafsHelperTest, ThroughFstab) {
  Write(root_.At("fstab"), "image " + root_.At("mnt") + " fuse.stratafs noauto,nofail," + Layers() +
                               ",fsname=name 0 0\n");
  const auto result = Run(
      "mount -T \"$2\" \"$1\" && cat \"$1/file\" && findmnt -n -o SOURCE \"$1\" && umount \"$1\"",
      root_.At("fstab"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "lower\nname\n");
}

TEST_F(StratafsHelperTest, FakeMountsNothingAndTouchesNothing) {
  const auto result =
      Run("mount -f -t fuse.stratafs image \"$1\" -o \"$2\" && ! mountpoint -q \"$1\" && "
          "! mount -f -t fuse.stratafs image \"$1\" -o \"$2,lowerdir+=/none/such\"",
          Layers());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("/none/such"));
  EXPECT_TRUE(std::filesystem::is_empty(root_.At("work")));
}

TEST_F(StratafsHelperTest, SloppyIgnoresUnknownOptions) {
  const auto result =
      Run("mount -t fuse.stratafs image \"$1\" -o \"$2\"; echo $?; "
          "mount -s -t fuse.stratafs image \"$1\" -o \"$2\" && cat \"$1/file\" && umount \"$1\"",
          "bogus," + Layers());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "1\nlower\n");
  EXPECT_THAT(result.err, HasSubstr("'bogus'"));
}

TEST_F(StratafsHelperTest, RemountSaysWhatElseToDo) {
  const auto result =
      Run("mount -t fuse.stratafs image \"$1\" -o \"$2\" && "
          "! mount -o remount,ro \"$1\" && touch \"$1/new\" && "
          "mount -i -o remount,ro \"$1\" && ! touch \"$1/newer\" && "
          "mount -i -o remount,rw \"$1\" && touch \"$1/newest\" && umount \"$1\"",
          Layers());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("mount -i -o remount"));
  EXPECT_TRUE(std::filesystem::exists(root_.At("up/newest")));
  EXPECT_FALSE(std::filesystem::exists(root_.At("up/newer")));
}

TEST_F(StratafsHelperTest, FailuresHaveTheNumberOfMount) {
  const auto result =
      Run("mount -t fuse.stratafs image \"$1\" -o \"$2\"; echo $?", "lowerdir=/none/such");
  EXPECT_EQ(result.out, "32\n") << result.err;
}

// -N: into the mount namespace of another process.
TEST_F(StratafsHelperTest, MountsInANamespaceThatIsNamed) {
  ChildProcess other = Must(ChildProcess::Start(
      {"unshare", "-m", "sh", "-c", "echo inside; exec sleep 60"}, root_.At("log")));
  ASSERT_TRUE(Eventually([&] { return Log() == "inside\n"; }));
  const std::string process = std::to_string(other.pid());
  const auto result = Run("/usr/sbin/mount.fuse.stratafs image \"$1\" -N " + process +
                              " -o \"$2\" && ! mountpoint -q \"$1\" && nsenter -m -t " + process +
                              " sh -c 'cat \"$0/file\" && umount \"$0\"' \"$1\"",
                          Layers());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "lower\n");
}

TEST_F(StratafsHelperTest, RelativePathsAreThoseOfTheCallerInANamespace) {
  ChildProcess other = Must(ChildProcess::Start(
      {"unshare", "-m", "sh", "-c", "echo inside; exec sleep 60"}, root_.At("log")));
  ASSERT_TRUE(Eventually([&] { return Log() == "inside\n"; }));
  const std::string process = std::to_string(other.pid());
  const auto result = Run("cd \"$1/..\" && /usr/sbin/mount.fuse.stratafs image mnt -N " + process +
                              " -o \"$2\" && nsenter -m -t " + process +
                              " sh -c 'cat \"$0/file\" && umount \"$0\"' \"$1\"",
                          "lowerdir=low,upperdir=up,workdir=work" + Transport());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "lower\n");
}

TEST_F(StratafsTest, ControlCharactersInMessagesAreEscaped) {
  const auto result =
      Must(RunProcess({support::StratafsPath(), "-o", "lowerdir=x,a\nb\x1b[1m", root_.At("mnt")}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("a\\x0ab\\x1b[1m"));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

TEST_F(StratafsTest, RefusesWhatAKernelOverlayWrites) {
  const std::string other = Must(root_.MakeDir("other"));
  const auto mounted =
      Must(RunProcess({"mount", "-t", "overlay", "overlay", "-o", Directories(), other}));
  ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
  const auto result = Must(RunProcess({support::StratafsPath(), "-o", Layers(), root_.At("mnt")}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("in use by a kernel overlay"));
  EXPECT_FALSE(IsMounted());
  EXPECT_EQ(::umount2(other.c_str(), 0), 0);
}

TEST_F(StratafsTest, DataThatAKernelOverlayLeftBelowIsFound) {
  const std::string other = Must(root_.MakeDir("other"));
  const auto mounted =
      Must(RunProcess({"mount", "-t", "overlay", "overlay", "-o",
                       Directories() + ",metacopy=on,redirect_dir=on,index=off", other}));
  ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
  ASSERT_EQ(::chmod((other + "/file").c_str(), 0600), 0);
  ASSERT_EQ(::umount2(other.c_str(), 0), 0);
  ChildProcess daemon = StartForeground(Layers());
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
}

TEST_F(StratafsTest, FinalizeMakesAnUpperThatKernelOverlayReads) {
  const std::string options = Layers() + ",copyup_threshold=1,metacopy_threshold=1";
  {
    ChildProcess daemon = StartForeground(options);
    ASSERT_EQ(::chmod(Mounted("file").c_str(), 0600), 0);
    std::ofstream(Mounted("file"), std::ios::app) << "more\n";
    EXPECT_EQ(Read(Mounted("file")), "lower\nmore\n");
    ASSERT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
  }
  const std::string other = Must(root_.MakeDir("other"));
  const auto mount_kernel = [&] {
    return Must(RunProcess({"mount", "-t", "overlay", "overlay", "-o", Directories(), other}));
  };
  ASSERT_EQ(mount_kernel().exit_code, 0);
  EXPECT_EQ(::open((other + "/file").c_str(), O_RDONLY | O_CLOEXEC), -1) << "refused, not zeros";
  ASSERT_EQ(::umount2(other.c_str(), 0), 0);

  const auto finalized = Must(RunProcess({support::StratafsPath(), "--finalize", "-o", options}));
  ASSERT_EQ(finalized.exit_code, 0) << finalized.err;
  ASSERT_EQ(mount_kernel().exit_code, 0);
  EXPECT_EQ(Read(other + "/file"), "lower\nmore\n");
  ASSERT_EQ(::umount2(other.c_str(), 0), 0);
}

TEST_F(StratafsTest, FinalizeSaysWhatItNeeds) {
  const auto no_upper = Must(
      RunProcess({support::StratafsPath(), "--finalize", "-o", "lowerdir=" + root_.At("low")}));
  EXPECT_EQ(no_upper.exit_code, 1);
  EXPECT_THAT(no_upper.err, HasSubstr("upperdir"));
  const auto mountpoint =
      Must(RunProcess({support::StratafsPath(), "--finalize", "-o", Layers(), root_.At("mnt")}));
  EXPECT_EQ(mountpoint.exit_code, 1);
  EXPECT_THAT(mountpoint.err, HasSubstr("mounts nothing"));
}

TEST_F(StratafsTest, FinalizeLeavesAnUpperAloneThatIsToBeReadOnly) {
  const auto result =
      Must(RunProcess({support::StratafsPath(), "--finalize", "-o", Layers() + ",ro"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("exclude each other"));
  EXPECT_TRUE(std::filesystem::is_empty(root_.At("work")));
}

TEST_F(StratafsTest, CleaningTheWorkDirectoryStaysOnItsMount) {
  const std::string precious = Must(root_.MakeDir("precious"));
  Write(precious + "/kept", "kept\n");
  for (const char* name : {"work/work", "work/work/#1", "work/work/#1/point"}) {
    Must(root_.MakeDir(name));
  }
  const std::string point = root_.At("work/work/#1/point");
  ASSERT_EQ(::mount(precious.c_str(), point.c_str(), nullptr, MS_BIND, nullptr), 0);
  const auto result = Must(RunProcess({support::StratafsPath(), "-o", Layers(), root_.At("mnt")}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("point"));
  EXPECT_EQ(Read(precious + "/kept"), "kept\n");
  EXPECT_EQ(::umount2(point.c_str(), 0), 0);
}

TEST_F(StratafsTest, AUnionThatCannotRecordDeletionsIsRefused) {
  ChildProcess daemon = StartForeground(Layers());
  for (const char* name : {"mnt/up", "mnt/work", "mnt2"}) Must(root_.MakeDir(name));
  const auto result = Must(RunProcess(
      {support::StratafsPath(), "-o",
       "lowerdir=" + root_.At("low") + ",upperdir=" + Mounted("up") + ",workdir=" + Mounted("work"),
       root_.At("mnt2")}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("neither device nodes nor .wh. files"));
}

TEST_F(StratafsTest, StartsWithoutStandardDescriptors) {
  const auto result = Must(
      RunProcess({"bash", "-c", "exec 0<&- 1>&- 2>&-; \"$0\" -o \"$1\" \"$2\"; echo $? > \"$3\"",
                  support::StratafsPath(), Layers(), root_.At("mnt"), root_.At("code")}));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Read(root_.At("code")), "0\n");
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
  ASSERT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
}

TEST_F(StratafsTest, WorksInAUserNamespace) {
  const auto result = InUserNamespace(
      "cat \"$2/file\" && echo inside > \"$2/new\" && rm \"$2/file\" && mkdir \"$2/file\" && "
      "mv \"$2/file\" \"$2/dir\" && kill $pid && wait $pid");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "lower\n");
  EXPECT_EQ(Read(root_.At("up/new")), "inside\n");
}

// In a namespace of its own it starts with every capability, the one to go beyond quotas among
// them.
TEST_F(StratafsTest, GivesUpTheRightToGoBeyondQuotas) {
  const auto result =
      InUserNamespace("grep -h CapEff /proc/$$/status /proc/$pid/status; kill $pid && wait $pid");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(result.out);
  std::string label;
  std::uint64_t shell = 0;
  std::uint64_t daemon = 0;
  lines >> label >> std::hex >> shell >> label >> daemon;
  constexpr std::uint64_t kResource = std::uint64_t{1} << CAP_SYS_RESOURCE;
  ASSERT_NE(shell & kResource, 0U) << result.out;
  EXPECT_EQ(daemon, shell & ~kResource) << result.out;
}

TEST_F(StratafsTest, AKilledDaemonLeavesNothingHung) {
  ChildProcess daemon = StartForeground(Layers());
  ASSERT_TRUE(IsMounted()) << Log();
  // Users with requests in the air all the time.
  std::vector<ChildProcess> users;
  for (int i = 0; i < 4; ++i) {
    users.push_back(Must(ChildProcess::Fork([path = Mounted("none")] {
      struct stat info;
      for (int number = 0;; ++number) {
        if (::stat((path + std::to_string(number)).c_str(), &info) != 0 && errno != ENOENT)
          return 7;
      }
    })));
  }
  std::this_thread::sleep_for(100ms);
  Must(daemon.Signal(SIGKILL));
  for (ChildProcess& user : users) EXPECT_EQ(Must(user.Wait(10s)), 7);
  EXPECT_EQ(Must(daemon.Wait(10s)), 128 + SIGKILL);
  EXPECT_EQ(::umount2(root_.At("mnt").c_str(), 0), 0);
}

TEST_F(StratafsTest, EndsWhenTheConnectionIsAborted) {
  ChildProcess daemon = StartForeground(Layers());
  ASSERT_TRUE(IsMounted()) << Log();
  const std::string control = Must(root_.MakeDir("control"));
  ASSERT_EQ(::mount("none", control.c_str(), "fusectl", 0, nullptr), 0);
  struct stat info;
  ASSERT_EQ(::stat(root_.At("mnt").c_str(), &info), 0);
  Write(control + "/" + std::to_string(minor(info.st_dev)) + "/abort", "1");
  EXPECT_EQ(Must(daemon.Wait(10s)), 0);
  EXPECT_EQ(::umount2(control.c_str(), 0), 0);
}

// Runs stratafs where the system's setting for io_uring is the file `setting`, which mount(8) has
// bound there with `options`.
support::ProcessResult RunWithSetting(const std::string& setting, const std::string& options,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> command{
      "unshare",
      "-m",
      "sh",
      "-c",
      "mount --bind \"$0\" \"$1\" && mount -o remount,bind,$2 \"$1\" && shift 2 && \"$@\"",
      setting,
      "/sys/module/fuse/parameters/enable_uring",
      options,
      support::StratafsPath()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Must(RunProcess(command));
}

TEST_F(StratafsTest, NamesTheSettingThatForbidsIoUring) {
  if (!support::KernelHasUring()) GTEST_SKIP() << support::kNoUring;
  Write(root_.At("setting"), "N\n");
  const std::string low = "lowerdir=" + root_.At("low");
  const auto result =
      RunWithSetting(root_.At("setting"), "ro", {"-o", low + ",transport=uring", root_.At("mnt")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("/sys/module/fuse/parameters/enable_uring is N"));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_FALSE(IsMounted());
}

TEST_F(StratafsTest, AutoLeavesTheSettingAlone) {
  if (!support::KernelHasUring()) GTEST_SKIP() << support::kNoUring;
  Write(root_.At("setting"), "N\n");
  const std::string low = "lowerdir=" + root_.At("low");
  const auto result = RunWithSetting(root_.At("setting"), "rw",
                                     {"--log-level", "info", "--log-file", root_.At("log"), "-o",
                                      low + ",transport=auto", root_.At("mnt")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(Log(), HasSubstr("serving over /dev/fuse"));
  EXPECT_EQ(Read(root_.At("setting")), "N\n");
}

TEST_F(StratafsTest, UringSetsTheSetting) {
  if (!support::KernelHasUring()) GTEST_SKIP() << support::kNoUring;
  const auto held = Must(support::UringSetting::Hold());  // what the kernel itself goes by
  Write(root_.At("setting"), "N\n");
  const std::string low = "lowerdir=" + root_.At("low");
  const auto result = RunWithSetting(root_.At("setting"), "rw",
                                     {"--log-level", "info", "--log-file", root_.At("log"), "-o",
                                      low + ",transport=uring", root_.At("mnt")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(Read(root_.At("setting")), ::testing::StartsWith("Y"));
  EXPECT_THAT(Log(), HasSubstr("io_uring=true"));
}

// Gives everybody access to /dev/fuse, as udev does on ordinary machines, for its own lifetime.
class OpenFuseDevice {
 public:
  OpenFuseDevice() {
    support::MustCall(::stat("/dev/fuse", &before_), "stat");
    support::MustCall(::chmod("/dev/fuse", 0666), "chmod");
  }
  ~OpenFuseDevice() { EXPECT_EQ(::chmod("/dev/fuse", before_.st_mode & 07777), 0); }
  OpenFuseDevice(const OpenFuseDevice&) = delete;
  OpenFuseDevice& operator=(const OpenFuseDevice&) = delete;

 private:
  struct stat before_ = {};
};

TEST_F(StratafsTest, PlainUserMountsThroughFusermount) {
  const OpenFuseDevice device;
  for (const char* name : {"up", "work", "mnt"}) {
    ASSERT_EQ(::chown(root_.At(name).c_str(), 65534, 65534), 0);
  }
  const std::string script =
      "\"$0\" -o \"$1\" \"$2\" && cat \"$2/file\" && echo mine > \"$2/new\" && "
      "rm \"$2/file\" && mkdir \"$2/file\" && mv \"$2/file\" \"$2/dir\" && "
      "fusermount3 -u \"$2\"";
  const auto result =
      Must(RunProcess({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
                       script, support::StratafsPath(), Layers(), root_.At("mnt")}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "lower\n");
  EXPECT_EQ(Read(root_.At("up/new")), "mine\n");
  EXPECT_FALSE(IsMounted());
}

TEST_F(StratafsTest, IdleMountUsesNoProcessorTime) {
  ChildProcess daemon = StartForeground(Layers());
  EXPECT_EQ(Read(Mounted("file")), "lower\n");
  std::this_thread::sleep_for(100ms);
  const auto ticks = [&] {
    std::istringstream fields(Read("/proc/" + std::to_string(daemon.pid()) + "/stat"));
    std::string skip;
    for (int i = 0; i < 13; ++i) fields >> skip;
    long user = 0;
    long system = 0;
    fields >> user >> system;
    return user + system;
  };
  const long before = ticks();
  std::this_thread::sleep_for(1s);
  EXPECT_LE(ticks() - before, 1);
}

}  // namespace
}  // namespace strata
