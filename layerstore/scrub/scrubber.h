// Reads every byte of a store in the background, slowly, so that bit rot is found while there is
// still a copy somewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

#include "base/annotations.h"
#include "base/error.h"
#include "base/mutex.h"
#include "layerstore/scrub/scrub_report.h"

namespace strata::layerstore {

class Store;
struct Finding;

struct ScrubSettings {
  // From the end of one scrub to the start of the next; 0: only when one is asked for.
  std::chrono::seconds every = std::chrono::hours(24 * 30);
  std::uint64_t bytes_per_second = std::uint64_t{16} << 20U;  // at most; 0: as fast as it goes
};

// What it finds is logged and in its report; it changes nothing. A scrub that the process's end cut
// off goes on after the last layer it was done with. Its thread has idle priority for processor and
// disk. Thread-safe.
class Scrubber {
 public:
  // One process at a time has a scrubber for a store, which outlives it and is not read-only.
  static Result<std::unique_ptr<Scrubber>> Open(Store& store, const ScrubSettings& settings);
  // Does not wait for the end of a scrub.
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  // Begins one, with a limit of its own if `bytes_per_second` is given, which it keeps when it is
  // gone on with. EBUSY: one is running.
  Result<> Start(std::optional<std::uint64_t> bytes_per_second);
  // Ends the one that is running, if any; the next begins from the start.
  void Stop();

  ScrubReport Report() const;
  // Seconds since 1970 when the next one is due; nothing if none is or one is running.
  std::optional<std::int64_t> Due() const;

 private:
  using Clock = std::chrono::steady_clock;

  Scrubber(Store& store, const ScrubSettings& settings, ScrubReport report);

  void Run();
  // One scrub, or the rest of one.
  void Scrub();
  Result<> Check();
  void Conclude(const Result<>& checked);
  // Waits until so much may have been read. ECANCELED: not to go on.
  Result<> Pace(std::uint64_t bytes);
  void Checked(const Digest& layer, std::uint64_t total);
  void Note(const Finding& finding);
  void Save();
  void SaveNowAndThen();
  std::optional<std::int64_t> DueLocked() const STRATA_REQUIRES(mu_);

  Store& store_;
  const ScrubSettings settings_;

  mutable Mutex mu_;  // docs/locking.md
  CondVar changed_;
  ScrubReport report_ STRATA_GUARDED_BY(mu_);
  std::uint64_t rate_ STRATA_GUARDED_BY(mu_);
  bool stopping_ STRATA_GUARDED_BY(mu_) = false;
  bool closing_ STRATA_GUARDED_BY(mu_) = false;

  // The thread's own, as is Save().
  Clock::time_point allowed_;  // when what was read so far may have been read
  Clock::time_point saved_;
  std::thread thread_;
};

}  // namespace strata::layerstore
