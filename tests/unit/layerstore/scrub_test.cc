// The scrub in the background: what it finds, how it is held back, ended and gone on with.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "layerstore/scrub/scrubber.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;
using State = ScrubReport::State;

constexpr std::uint64_t kUnlimited = 0;
constexpr ScrubSettings kOnlyWhenAsked = {.every = std::chrono::seconds(0),
                                          .bytes_per_second = kUnlimited};

class ScrubTest : public StoreTest {
 protected:
  ScrubTest() {
    for (const char* name : {"one", "two", "three"}) {
      layers_.push_back(Must(PutLayer(TarBuilder().AddFile(name, name).Finish())));
    }
    std::ranges::sort(layers_, {}, &LayerInfo::diff_id);  // as the scrub goes
  }

  // Other bytes, the same attributes.
  void Rot(const LayerInfo& layer) {
    const std::string path = layer.path + "/" + *Names(layer.path).begin();
    const struct stat before = Lstat(path);
    WriteFile(path, std::string(static_cast<std::size_t>(before.st_size), '!'));
    Must(store_->ops().UtimesAt(AT_FDCWD, path.c_str(),
                                std::array{before.st_atim, before.st_mtim}.data(), 0));
  }

  std::unique_ptr<Scrubber> Open(const ScrubSettings& settings = kOnlyWhenAsked) {
    return Must(Scrubber::Open(*store_, settings));
  }

  // Waits for it; what the test's own time limit is for.
  static ScrubReport Await(const Scrubber& scrubber,
                           const std::function<bool(const ScrubReport&)>& holds) {
    for (;;) {
      ScrubReport report = scrubber.Report();
      if (holds(report)) return report;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  static ScrubReport AwaitEnd(const Scrubber& scrubber) {
    return Await(scrubber, [](const ScrubReport& r) {
      return r.state != State::kRunning && r.state != State::kNone;
    });
  }

  ScrubReport Saved() { return ScrubReport::Parse(ReadFile(root_ + "/scrub")).value(); }
  void Save(const ScrubReport& report) { WriteFile(root_ + "/scrub", report.ToText()); }

  std::vector<LayerInfo> layers_;
};

TEST(ScrubReportTest, IsReadBack) {
  ScrubReport report{.state = State::kStopped, .started = 1, .ended = 2, .layers = 3};
  report.layers_total = 4;
  report.bytes = 5;
  report.checked = Digest::Of("x");
  report.damaged = 6;
  report.rate = 7;
  report.findings = {{.text = "layer a 'b c': content: "}, {.text = "two"}};
  report.findings[1].kind = "content";
  report.findings[1].layer = Digest::Of("layer");
  report.findings[1].blob = Digest::Of("blob");
  report.findings[1].path = "a 100%\nb\xff/";
  report.findings[1].detail = "x, expected y";
  report.error = "some: thing";
  const auto again = ScrubReport::Parse(report.ToText());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->ToText(), report.ToText());
  EXPECT_EQ(again->findings, report.findings);
  EXPECT_EQ(again->checked, report.checked);
  EXPECT_EQ(again->rate, report.rate);
  for (const char* text :
       {"", "strata scrub 2\n", "strata scrub 1\nstate lost\n", "strata scrub 1\nlayers -1\n",
        "strata scrub 1\nword\n", "strata scrub 1\nchecked sha256:0\n",
        "strata scrub 1\nfinding-kind a\n", "strata scrub 1\nfinding a\nfinding-path %4\n",
        "strata scrub 1\nwhat 1\n"}) {
    EXPECT_FALSE(ScrubReport::Parse(text).has_value()) << text;
  }
}

TEST_F(ScrubTest, ReadsEverythingAndFindsNothing) {
  const auto scrubber = Open();
  EXPECT_EQ(scrubber->Report().state, State::kNone);
  EXPECT_FALSE(scrubber->Due().has_value());
  Must(scrubber->Start(std::nullopt));
  const ScrubReport report = AwaitEnd(*scrubber);
  EXPECT_EQ(report.state, State::kFinished) << report.error;
  EXPECT_EQ(report.layers, layers_.size());
  EXPECT_EQ(report.layers_total, layers_.size());
  EXPECT_GE(report.bytes, std::string("onetwothree").size());
  EXPECT_EQ(report.damaged, 0U);
  EXPECT_GE(report.ended, report.started);
}

TEST_F(ScrubTest, FindsBitRotAndKeepsTheReport) {
  Rot(layers_[1]);
  {
    const auto scrubber = Open();
    Must(scrubber->Start(std::nullopt));
    const ScrubReport report = AwaitEnd(*scrubber);
    EXPECT_EQ(report.state, State::kFinished);
    ASSERT_EQ(report.damaged, 1U);
    EXPECT_NE(report.findings[0].text.find(layers_[1].diff_id.Hex()), std::string::npos);
    EXPECT_EQ(report.findings[0].kind, "content");
    EXPECT_EQ(report.findings[0].layer, layers_[1].diff_id);
    EXPECT_EQ(report.findings[0].path, *Names(layers_[1].path).begin());
  }
  EXPECT_EQ(Open()->Report().findings.size(), 1U);
}

TEST_F(ScrubTest, ReadsNoMoreThanItMay) {
  constexpr std::size_t kBytes = std::size_t{512} * 1024;
  Must(PutLayer(TarBuilder().AddFile("large", std::string(kBytes, 'x')).Finish()));
  const auto scrubber = Open();
  const auto begin = std::chrono::steady_clock::now();
  Must(scrubber->Start(kBytes));
  AwaitEnd(*scrubber);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(900));
}

TEST_F(ScrubTest, EndsWhenToldTo) {
  const auto scrubber = Open();
  scrubber->Stop();  // nothing
  Must(scrubber->Start(1));
  Await(*scrubber, [](const ScrubReport& report) { return report.bytes > 0; });
  EXPECT_TRUE(FailsWith(scrubber->Start(std::nullopt), EBUSY, "running"));
  scrubber->Stop();
  EXPECT_EQ(AwaitEnd(*scrubber).state, State::kStopped);
  Must(scrubber->Start(kUnlimited));
  EXPECT_EQ(AwaitEnd(*scrubber).layers, layers_.size());
}

TEST_F(ScrubTest, GoesOnWhereItWasCutOff) {
  {
    const auto scrubber = Open();
    Must(scrubber->Start(1));
    Await(*scrubber, [](const ScrubReport& report) { return report.bytes > 0; });
  }
  // What it was to keep to, and what it had read, too.
  EXPECT_EQ(Saved().state, State::kRunning);
  EXPECT_EQ(Saved().rate, 1U);
  EXPECT_GT(Saved().bytes, 0U);
  {
    const auto scrubber = Open();  // whose own rate has no limit
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(scrubber->Report().state, State::kRunning);
    EXPECT_EQ(scrubber->Report().layers_total, layers_.size());
  }
  Rot(layers_[0]);
  Rot(layers_[2]);
  ScrubReport cut_off{.state = State::kRunning, .started = 5, .layers = 1};
  cut_off.checked = layers_[0].diff_id;
  cut_off.damaged = 1;
  cut_off.findings = {{.text = "found before"}};
  Save(cut_off);
  const auto scrubber = Open();
  const ScrubReport report = AwaitEnd(*scrubber);
  EXPECT_EQ(report.started, 5);
  EXPECT_EQ(report.layers, layers_.size());
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_EQ(report.findings[0].text, "found before");
  EXPECT_EQ(report.findings[1].layer, layers_[2].diff_id);
}

TEST_F(ScrubTest, BeginsWhenItIsDue) {
  const std::int64_t now = ::time(nullptr);
  constexpr ScrubSettings kHourly = {.every = std::chrono::hours(1),
                                     .bytes_per_second = kUnlimited};
  {
    const auto fresh = Open(kHourly);  // the first an hour from now, not at each start
    EXPECT_GE(fresh->Due().value(), now + 3600);
    EXPECT_EQ(fresh->Report().state, State::kNone);
  }
  Save({.state = State::kFinished, .started = now - 7300, .ended = now - 7200});
  const auto due = Open(kHourly);
  const ScrubReport report = Await(
      *due, [&](const ScrubReport& r) { return r.state == State::kFinished && r.ended >= now; });
  EXPECT_EQ(report.layers, layers_.size());
  EXPECT_GE(due->Due().value(), now + 3600);
}

TEST_F(ScrubTest, AReportThatCannotBeReadIsNoReasonNotToStart) {
  WriteFile(root_ + "/scrub", "nonsense");
  EXPECT_EQ(Open()->Report().state, State::kNone);
}

}  // namespace
}  // namespace strata::layerstore
