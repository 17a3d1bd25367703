#include "layerstore/scrub/scrubber.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/affinity.h"
#include "base/file_ops.h"
#include "base/io_priority.h"
#include "base/logging.h"
#include "base/replace_file.h"
#include "base/try.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/meta/database.h"
#include "layerstore/staging/store_root.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

using State = ScrubReport::State;

constexpr const char* kFileName = "scrub";
constexpr mode_t kPrivate = 0600;
constexpr std::size_t kReportBytesMax = std::size_t{1} << 20U;
constexpr auto kSaveEvery = std::chrono::seconds(10);
constexpr auto kAheadMax = std::chrono::milliseconds(200);  // of time that was not used

std::int64_t Now() { return static_cast<std::int64_t>(::time(nullptr)); }

Result<UniqueFd> OpenRoot(Store& store) {
  return store.ops().Open(AT_FDCWD, store.store_root().path().c_str(), O_RDONLY | O_DIRECTORY);
}

// A report that cannot be read says nothing about the store: there will be another.
Result<ScrubReport> ReadReport(Store& store) {
  STRATA_TRY_ASSIGN(const UniqueFd root, OpenRoot(store));
  auto file = store.ops().Open(root.get(), kFileName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file && file.error().code() != ENOENT) return std::unexpected(std::move(file).error());
  if (file) {
    STRATA_TRY_ASSIGN(const std::string text, ReadAll(store.ops(), file->get(), kReportBytesMax));
    if (auto report = ScrubReport::Parse(text)) return std::move(*report);
    log::Warn("the report of the last scrub cannot be read", {{"file", kFileName}});
  }
  ScrubReport none;
  none.ended = Now();
  return none;
}

Result<std::uint64_t> CountLayers(Store& store) {
  std::uint64_t count = 0;
  STRATA_TRY(store.database()->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement rows, connection.Prepare("SELECT COUNT(*) FROM layers"));
    STRATA_TRY_ASSIGN(const bool row, rows.Step());
    if (row) count = static_cast<std::uint64_t>(rows.Integer(0));
    return {};
  }));
  return count;
}

// Of the calling thread. Whoever may not is not slower for it.
void YieldToOthers() {
  constexpr int kLowest = 19;
  Ignore(SetIoPriority(IoPriority::kIdle), "the scrub keeps its priority");
  if (::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowest) == -1) {
    log::Debug("the scrub keeps its priority", {{"errno", errno}});
  }
}

}  // namespace

Result<std::unique_ptr<Scrubber>> Scrubber::Open(Store& store, const ScrubSettings& settings) {
  STRATA_TRY_ASSIGN(ScrubReport report, ReadReport(store));
  const bool fresh = report.state == State::kNone;
  std::unique_ptr<Scrubber> scrubber(new Scrubber(store, settings, std::move(report)));
  if (fresh) scrubber->Save();
  scrubber->thread_ = std::thread([self = scrubber.get()] { self->Run(); });
  return scrubber;
}

Scrubber::Scrubber(Store& store, const ScrubSettings& settings, ScrubReport report)
    : store_(store),
      settings_(settings),
      report_(std::move(report)),
      rate_(report_.rate.value_or(settings.bytes_per_second)) {}

Scrubber::~Scrubber() {
  {
    const MutexLock lock(mu_);
    closing_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

Result<> Scrubber::Start(std::optional<std::uint64_t> bytes_per_second) {
  auto layers = CountLayers(store_);
  const MutexLock lock(mu_);
  if (report_.state == State::kRunning) {
    return Fail(EBUSY, "scrub", "a scrub is running already; see 'strata store scrub --status'");
  }
  if (!layers) return std::unexpected(std::move(layers).error());
  report_ = ScrubReport{.state = State::kRunning, .started = Now()};
  report_.layers_total = *layers;
  report_.rate = bytes_per_second;
  rate_ = bytes_per_second.value_or(settings_.bytes_per_second);
  stopping_ = false;
  changed_.NotifyAll();
  return {};
}

void Scrubber::Stop() {
  const MutexLock lock(mu_);
  stopping_ = report_.state == State::kRunning;
  changed_.NotifyAll();
}

ScrubReport Scrubber::Report() const {
  const MutexLock lock(mu_);
  return report_;
}

std::optional<std::int64_t> Scrubber::Due() const {
  const MutexLock lock(mu_);
  return DueLocked();
}

std::optional<std::int64_t> Scrubber::DueLocked() const {
  if (settings_.every.count() == 0 || report_.state == State::kRunning) return std::nullopt;
  return report_.ended + settings_.every.count();
}

void Scrubber::Run() {
  UnpinThread();
  YieldToOthers();
  for (;;) {
    {
      const MutexLock lock(mu_);
      const auto wanted = [&]() STRATA_REQUIRES(mu_) {
        return closing_ || report_.state == State::kRunning;
      };
      const auto due = DueLocked();
      // Waited for in steps: the machine may have slept, or its clock been set.
      constexpr auto kStep = std::chrono::minutes(1);
      if (!due) changed_.Wait(mu_, wanted);
      while (!wanted() && Now() < *due) changed_.WaitFor(mu_, kStep, wanted);
      if (closing_) return;
    }
    // Somebody else may have started it just now.
    if (auto started = Start(std::nullopt); !started && started.error().code() != EBUSY) {
      log::Error("a scrub that is due did not start", {{"error", started.error().ToString()}});
      const MutexLock lock(mu_);
      report_.ended = Now();  // the next is due as after one
      continue;
    }
    Scrub();
  }
}

void Scrubber::Scrub() {
  Save();
  allowed_ = Clock::now();
  auto checked = Check();
  Conclude(checked);
  Save();
}

void Scrubber::Conclude(const Result<>& checked) {
  const MutexLock lock(mu_);
  if (!checked && checked.error().code() == ECANCELED && !stopping_) return;  // to be gone on with
  report_.ended = Now();
  report_.state = checked ? State::kFinished : State::kFailed;
  if (!checked && stopping_) report_.state = State::kStopped;
  if (report_.state == State::kFailed) report_.error = checked.error().ToString();
  report_.checked.reset();
  const log::Fields fields = {{"state", ScrubStateName(report_.state)},
                              {"layers", report_.layers},
                              {"bytes", report_.bytes},
                              {"damaged", report_.damaged}};
  const bool bad = report_.damaged > 0 || report_.state == State::kFailed;
  bad ? log::Error("scrub ended", fields) : log::Info("scrub ended", fields);
}

Result<> Scrubber::Check() {
  CheckOptions options;
  options.depth = CheckOptions::Depth::kDeep;
  STRATA_TRY_ASSIGN(const std::uint64_t layers, CountLayers(store_));
  {
    const MutexLock lock(mu_);
    report_.layers_total = layers;
    options.after = report_.checked;
  }
  options.pace = [&](std::uint64_t bytes) { return Pace(bytes); };
  options.layer_done = [&](const Digest& layer, std::uint64_t total) { Checked(layer, total); };
  auto summary = CheckStore(store_, options, [&](const Finding& finding) {
    if (!Harmless(finding.kind)) Note(finding);
  });
  if (!summary) return std::unexpected(std::move(summary).error());
  return {};
}

Result<> Scrubber::Pace(std::uint64_t bytes) {
  SaveNowAndThen();
  const MutexLock lock(mu_);
  report_.bytes += bytes;
  const auto now = Clock::now();
  allowed_ = std::max(allowed_, now - kAheadMax);
  if (rate_ > 0) {
    allowed_ += std::chrono::nanoseconds(bytes * std::uint64_t{1'000'000'000} / rate_);
  }
  const auto ended = [&]() STRATA_REQUIRES(mu_) { return closing_ || stopping_; };
  if (changed_.WaitFor(mu_, allowed_ - now, ended)) return Fail(ECANCELED, "scrub", "ended");
  return {};
}

void Scrubber::Checked(const Digest& layer, std::uint64_t total) {
  {
    const MutexLock lock(mu_);
    ++report_.layers;
    report_.layers_total = total;
    report_.checked = layer;
  }
  SaveNowAndThen();
}

void Scrubber::Note(const Finding& finding) {
  ScrubFinding found{.text = finding.ToString()};
  log::Error("scrub found damage", {{"finding", found.text}});
  found.kind = FindingName(finding.kind);
  found.layer = finding.layer;
  found.blob = finding.blob;
  found.path = finding.path;
  found.detail = finding.detail;
  const MutexLock lock(mu_);
  ++report_.damaged;
  if (report_.findings.size() < ScrubReport::kFindingsMax) {
    report_.findings.push_back(std::move(found));
  }
}

void Scrubber::SaveNowAndThen() {
  if (Clock::now() - saved_ >= kSaveEvery) Save();
}

// What is not saved is read once more.
void Scrubber::Save() {
  saved_ = Clock::now();
  const std::string text = Report().ToText();
  auto saved = [&]() -> Result<> {
    STRATA_TRY_ASSIGN(const UniqueFd root, OpenRoot(store_));
    return ReplaceFile(store_.ops(), root.get(), kFileName, text, kPrivate);
  }();
  if (!saved) log::Warn("the scrub's report was not saved", {{"error", saved.error().ToString()}});
}

}  // namespace strata::layerstore
