// What is known of a store's scrub, the one under way or the last: shown to people, and kept in the
// file `scrub` of the store's root.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"

namespace strata::layerstore {

// What was found, as a check of the store tells it (fsck/finding.h).
struct ScrubFinding {
  std::string text;  // all of it in a line for people
  // The parts of it; empty in the report of an earlier program.
  std::string kind = {};
  std::optional<Digest> layer = {};
  std::optional<Digest> blob = {};
  std::string path = {};
  std::string detail = {};

  bool operator==(const ScrubFinding&) const = default;
};

struct ScrubReport {
  enum class State : std::uint8_t {
    kNone,      // there was none
    kRunning,   // or cut off by the process's end, and to be gone on with
    kFinished,  // everything was read
    kStopped,   // somebody ended it
    kFailed,    // for the reason in `error`
  };
  // More findings than these are counted only.
  static constexpr std::size_t kFindingsMax = 100;

  State state = State::kNone;
  std::int64_t started = 0;  // seconds since 1970
  std::int64_t ended = 0;    // with kNone, since when the first is waited for
  std::uint64_t layers = 0;  // that have been checked
  std::uint64_t layers_total = 0;
  std::uint64_t bytes = 0;             // that have been read
  std::optional<Digest> checked = {};  // the layers up to this one have been
  // What was asked for, in bytes a second; nothing: the settings say.
  std::optional<std::uint64_t> rate = {};
  std::uint64_t damaged = 0;                // findings, but for harmless ones
  std::vector<ScrubFinding> findings = {};  // the first of them
  std::string error = {};

  // The file's content, and back; nothing if it is none.
  std::string ToText() const;
  static std::optional<ScrubReport> Parse(std::string_view text);
};

// "none", "running", ...
std::string_view ScrubStateName(ScrubReport::State state);

}  // namespace strata::layerstore
