#include "manager/cli/run_options.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "manager/cli/container_session.h"

namespace strata::manager::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Json Body(const std::vector<std::string>& words) {
  const auto flags = Flags::Parse(CreateFlags(), words, false);
  if (!flags) return Json("flags: " + std::string(flags.error().detail()));
  auto body = ContainerBody(*flags);
  return body ? *std::move(body) : Json("body: " + std::string(body.error().detail()));
}

std::string BodyComplaint(const std::vector<std::string>& words) { return Text(Body(words)); }

TEST(RunOptions, TheImageAndItsCommand) {
  const Json body = Body({"--entrypoint", "/bin/x", "debian", "ls", "-l"});
  EXPECT_EQ(TextAt(body, "Image"), "debian");
  EXPECT_EQ(DumpJson(At(body, "Cmd")), R"(["ls","-l"])");
  EXPECT_EQ(DumpJson(At(body, "Entrypoint")), R"(["/bin/x"])");
  EXPECT_TRUE(At(Body({"debian"}), "Cmd").is_null());
  EXPECT_EQ(DumpJson(At(Body({"--entrypoint", "", "debian"}), "Entrypoint")), R"([""])");
}

TEST(RunOptions, HostConfig) {
  const Json body =
      Body({"-it",          "--rm",      "--network",    "none",      "--copy-up",    "read",
            "--cap-add",    "NET_ADMIN", "--read-only",  "-m",        "64m",          "--cpus",
            "1.5",          "--ulimit",  "nofile=10:20", "--restart", "on-failure:3", "--tmpfs",
            "/run:size=1m", "--device",  "/dev/fuse",    "-l",        "a=b",          "x"});
  EXPECT_TRUE(TruthAt(body, "Tty"));
  EXPECT_TRUE(TruthAt(body, "OpenStdin"));
  EXPECT_EQ(DumpJson(At(body, "Labels")), R"({"a":"b"})");
  const Json& host = At(body, "HostConfig");
  EXPECT_TRUE(TruthAt(host, "AutoRemove"));
  EXPECT_TRUE(TruthAt(host, "ReadonlyRootfs"));
  EXPECT_EQ(TextAt(host, "NetworkMode"), "none");
  EXPECT_EQ(TextAt(host, "StrataCopyUp"), "read");
  EXPECT_EQ(DumpJson(At(host, "CapAdd")), R"(["NET_ADMIN"])");
  EXPECT_EQ(NumberAt(host, "Memory"), 64 << 20);
  EXPECT_EQ(NumberAt(host, "NanoCpus"), 1'500'000'000);
  EXPECT_EQ(DumpJson(At(host, "Ulimits")), R"([{"Name":"nofile","Soft":10,"Hard":20}])");
  EXPECT_EQ(NumberAt(host, "RestartPolicy.MaximumRetryCount"), 3);
  EXPECT_EQ(DumpJson(At(host, "Tmpfs")), R"({"/run":"size=1m"})");
  EXPECT_EQ(TextAt(At(host, "Devices")[0], "PathInContainer"), "/dev/fuse");
}

TEST(RunOptions, Volumes) {
  const Json body =
      Body({"-v", "/data:/d:ro", "-v", "named:/n", "-v", "/anon", "-v", "./rel:/r", "x"});
  const Json& binds = AtPath(body, "HostConfig.Binds");
  ASSERT_EQ(binds.size(), 3U);
  EXPECT_EQ(Text(binds[0]), "/data:/d:ro");
  EXPECT_EQ(Text(binds[1]), "named:/n");
  EXPECT_EQ(Text(binds[2]), (std::filesystem::current_path() / "rel").string() + ":/r");
  EXPECT_EQ(DumpJson(At(body, "Volumes")), R"({"/anon":{}})");
  EXPECT_THAT(BodyComplaint({"-v", "name", "x"}), HasSubstr("neither"));
  EXPECT_THAT(BodyComplaint({"-v", ":/x", "x"}), HasSubstr("empty"));
}

TEST(RunOptions, Mounts) {
  const auto bind = ParseMount("type=bind,source=/a,target=/b,readonly");
  ASSERT_TRUE(bind);
  EXPECT_EQ(DumpJson(*bind), R"({"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true})");
  const auto tmpfs = ParseMount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777");
  ASSERT_TRUE(tmpfs);
  EXPECT_EQ(NumberAt(*tmpfs, "TmpfsOptions.SizeBytes"), 1 << 20);
  EXPECT_EQ(NumberAt(*tmpfs, "TmpfsOptions.Mode"), 01777);
  const auto volume = ParseMount("src=v,dst=/v,volume-nocopy=true,ro=false");
  ASSERT_TRUE(volume);
  EXPECT_EQ(TextAt(*volume, "Type"), "volume");
  EXPECT_TRUE(TruthAt(*volume, "VolumeOptions.NoCopy"));
  for (const char* bad :
       {"type=bind,target=/b", "type=nfs,target=/b", "type=tmpfs", "target=/b,x=y",
        "target=/b,ro=perhaps", "type=tmpfs,target=/t,tmpfs-mode=9"}) {
    EXPECT_FALSE(ParseMount(bad)) << bad;
  }
}

TEST(RunOptions, Environment) {
  const auto path =
      std::filesystem::temp_directory_path() / ("strata-env." + std::to_string(::getpid()));
  std::ofstream(path) << "# comment\n\nFILE=1\r\nBOTH=file\nSTRATA_TEST_SET\nSTRATA_TEST_UNSET\n";
  ::setenv("STRATA_TEST_SET", "from here", 1);
  ::unsetenv("STRATA_TEST_UNSET");
  const auto environment =
      CollectEnvironment({path.string()}, {"OPT=2", "BOTH=option", "EMPTY=", "STRATA_TEST_UNSET"});
  std::filesystem::remove(path);
  ASSERT_TRUE(environment);
  EXPECT_THAT(*environment, ElementsAre("FILE=1", "BOTH=file", "STRATA_TEST_SET=from here", "OPT=2",
                                        "BOTH=option", "EMPTY="));
  EXPECT_FALSE(CollectEnvironment({}, {"=x"}));
  EXPECT_FALSE(CollectEnvironment({"/nonexistent/file"}, {}));
}

TEST(RunOptions, Mistakes) {
  EXPECT_THAT(BodyComplaint({"--cpus", "many", "x"}), HasSubstr("CPUs"));
  EXPECT_THAT(BodyComplaint({"-m", "lots", "x"}), HasSubstr("size"));
  EXPECT_THAT(BodyComplaint({"--ulimit", "nofile=x", "x"}), HasSubstr("number"));
  EXPECT_THAT(BodyComplaint({"--copy-up", "never", "x"}), HasSubstr("write|open|read"));
}

TEST(RunOptions, ExitStatusOfAFailedStart) {
  EXPECT_EQ(StatusOfStartFailure("exec: \"x\": executable file not found in $PATH"), 127);
  EXPECT_EQ(StatusOfStartFailure("stat /x: no such file or directory"), 127);
  EXPECT_EQ(StatusOfStartFailure("exec: \"/etc\": is a directory"), 126);
  EXPECT_EQ(StatusOfStartFailure("exec /x: permission denied"), 126);
  EXPECT_EQ(StatusOfStartFailure("anything else"), 125);
}

}  // namespace
}  // namespace strata::manager::cli
