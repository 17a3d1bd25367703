// Units, references, filters and progress: what becomes text for people or parameters for the API.
#include <gmock/gmock.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "manager/cli/filters.h"
#include "manager/cli/progress.h"
#include "manager/cli/reference.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Units, Sizes) {
  EXPECT_EQ(HumanSize(0), "0B");
  EXPECT_EQ(HumanSize(999), "999B");
  EXPECT_EQ(HumanSize(1000), "1kB");
  EXPECT_EQ(HumanSize(1837), "1.84kB");
  EXPECT_EQ(HumanSize(116'700'000), "117MB");
  EXPECT_EQ(HumanSize(25'300'000'000), "25.3GB");
}

TEST(Units, Durations) {
  EXPECT_EQ(HumanDuration(seconds(0)), "Less than a second");
  EXPECT_EQ(HumanDuration(seconds(1)), "1 second");
  EXPECT_EQ(HumanDuration(seconds(59)), "59 seconds");
  EXPECT_EQ(HumanDuration(seconds(60)), "About a minute");
  EXPECT_EQ(HumanDuration(seconds(600)), "10 minutes");
  EXPECT_EQ(HumanDuration(seconds(3600)), "About an hour");
  EXPECT_EQ(HumanDuration(seconds(47 * 3600)), "47 hours");
  EXPECT_EQ(HumanDuration(seconds(72 * 3600)), "3 days");
  EXPECT_EQ(HumanDuration(seconds(21 * 86400)), "3 weeks");
  EXPECT_EQ(HumanDuration(seconds(90 * 86400)), "3 months");
  EXPECT_EQ(HumanDuration(seconds(800 * 86400)), "2 years");
  EXPECT_EQ(Ago(0), "N/A");
}

TEST(Units, Times) {
  EXPECT_EQ(ParseTime("1970-01-01T00:00:10Z").value_or(0), 10);
  EXPECT_EQ(ParseTime("2026-05-04T10:11:12.123456789Z").value_or(0), 1777889472);
  EXPECT_EQ(ParseTime("2026-05-04T12:11:12+02:00").value_or(0), 1777889472);
  for (const char* bad : {"", "2026", "2026-05-04T10:11:12", "2026-05-04T10:11:12ZZ", "tomorrow"}) {
    EXPECT_FALSE(ParseTime(bad)) << bad;
  }
  EXPECT_EQ(TimeArgument("17.5").value_or(""), "17.5");
  EXPECT_EQ(TimeArgument("1970-01-01T00:00:10Z").value_or(""), "10");
  EXPECT_TRUE(TimeArgument("1h30m"));
  const double days = std::stod(TimeArgument("3d12h").value_or("0"));
  EXPECT_NEAR(static_cast<double>(::time(nullptr)) - days, (3 * 24 + 12) * 3600, 2);
  EXPECT_FALSE(TimeArgument("soon"));
}

TEST(Units, Bytes) {
  EXPECT_EQ(ParseBytes("1024").value_or(0), 1024);
  EXPECT_EQ(ParseBytes("64m").value_or(0), 64 << 20);
  EXPECT_EQ(ParseBytes("1.5G").value_or(0), 3LL << 29);
  EXPECT_EQ(ParseBytes("2KiB").value_or(0), 2048);
  for (const char* bad : {"", "m", "1x", "-1", "1mm"}) EXPECT_FALSE(ParseBytes(bad)) << bad;
}

TEST(Reference, NameAndTag) {
  const auto split = [](const char* text) {
    const ImageName image = SplitReference(text);
    return image.name + " " + image.tag;
  };
  EXPECT_EQ(split("debian"), "debian ");
  EXPECT_EQ(split("debian:12"), "debian 12");
  EXPECT_EQ(split("localhost:5000/team/app"), "localhost:5000/team/app ");
  EXPECT_EQ(split("localhost:5000/app:v1"), "localhost:5000/app v1");
  EXPECT_EQ(split("app:v1@sha256:abc"), "app sha256:abc");
}

TEST(Reference, Registry) {
  EXPECT_EQ(RegistryOf("debian"), "docker.io");
  EXPECT_EQ(RegistryOf("library/debian"), "docker.io");
  EXPECT_EQ(RegistryOf("localhost/app"), "localhost");
  EXPECT_EQ(RegistryOf("127.0.0.1:5000/app"), "127.0.0.1:5000");
  EXPECT_EQ(RegistryOf("registry.example/app"), "registry.example");
}

TEST(Filters, AsTheApiWantsThem) {
  EXPECT_EQ(FiltersParameter({}).value_or("x"), "");
  EXPECT_EQ(FiltersParameter({"label=a=b", "status=exited", "label=c"}).value_or(""),
            R"({"label":["a=b","c"],"status":["exited"]})");
  EXPECT_FALSE(FiltersParameter({"label"}));
}

Json Message(const char* text) { return *ParseJson(text); }

TEST(Progress, LinesAppearOncePerStep) {
  ProgressView view(ProgressStyle::kLines, 80);
  EXPECT_EQ(view.Show(Message(R"({"status":"Pulling from x","id":"latest"})")),
            "latest: Pulling from x\n");
  const auto moving = [](int current) {
    return Message(("{\"status\":\"Downloading\",\"id\":\"a\",\"progressDetail\":{\"current\":" +
                    std::to_string(current) + ",\"total\":10}}")
                       .c_str());
  };
  EXPECT_EQ(view.Show(moving(1)), "a: Downloading\n");
  EXPECT_EQ(view.Show(moving(5)), "");
  EXPECT_EQ(view.Show(Message(R"({"status":"Pull complete","id":"a"})")), "a: Pull complete\n");
  EXPECT_EQ(view.Show(Message(R"({"status":"Digest: sha256:1"})")), "Digest: sha256:1\n");
}

TEST(Progress, BarsAreRedrawnInPlace) {
  ProgressView view(ProgressStyle::kBars, 60);
  EXPECT_EQ(view.Show(Message(R"({"status":"Waiting","id":"a"})")), "a: Waiting\n");
  EXPECT_EQ(view.Show(Message(R"({"status":"Waiting","id":"b"})")), "b: Waiting\n");
  const std::string redrawn = view.Show(
      Message(R"({"status":"Downloading","id":"a","progressDetail":{"current":5,"total":10}})"));
  EXPECT_THAT(redrawn, StartsWith("\x1b[2A\r\x1b[2Ka: Downloading ["));
  EXPECT_THAT(redrawn, HasSubstr("5B/10B"));
}

TEST(Progress, TheBarFits) {
  for (std::size_t columns = 0; columns < 100; ++columns) {
    EXPECT_LE(ProgressBar(5, 10, columns).size(), columns);
  }
  EXPECT_EQ(ProgressBar(5, 10, 80).find('>'), 26U);
  EXPECT_THAT(ProgressBar(20, 10, 80), HasSubstr("=]"));
}

}  // namespace
}  // namespace strata::manager::cli
