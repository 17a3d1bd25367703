#include "manager/container/names.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "base/hex.h"

namespace strata::manager {
namespace {

constexpr std::array kAdjectives{
    "agile",   "amber",  "ample",  "apt",    "azure",  "bold",   "brave",  "breezy", "bright",
    "brisk",   "calm",   "candid", "clear",  "clever", "cosmic", "cozy",   "crisp",  "daring",
    "deep",    "deft",   "eager",  "early",  "easy",   "fair",   "fancy",  "fast",   "fine",
    "firm",    "fluent", "fond",   "free",   "fresh",  "gentle", "glad",   "golden", "grand",
    "green",   "handy",  "happy",  "hardy",  "hazel",  "honest", "humble", "jolly",  "keen",
    "kind",    "large",  "lean",   "level",  "light",  "lively", "loyal",  "lucid",  "lucky",
    "mellow",  "merry",  "mighty", "mild",   "modest", "neat",   "nimble", "noble",  "open",
    "patient", "plain",  "polite", "prime",  "proud",  "quick",  "quiet",  "rapid",  "ready",
    "robust",  "round",  "royal",  "rustic", "sandy",  "sharp",  "silent", "silver", "simple",
    "sleek",   "smart",  "smooth", "snug",   "solid",  "spry",   "stable", "steady", "still",
    "sturdy",  "sunny",  "swift",  "tidy",   "tough",  "true",   "vivid",  "warm",   "wise",
    "witty"};
constexpr std::array kNouns{
    "acorn",  "alder",   "anchor", "aspen",   "badger", "basalt", "beacon",  "birch",   "bridge",
    "brook",  "canyon",  "cedar",  "chalk",   "cliff",  "clover", "cobble",  "comet",   "copper",
    "coral",  "crane",   "creek",  "crest",   "delta",  "dune",   "ember",   "falcon",  "fern",
    "field",  "finch",   "fjord",  "flint",   "forest", "garnet", "geyser",  "glacier", "granite",
    "grove",  "gull",    "harbor", "hazel",   "heron",  "hill",   "island",  "jasper",  "juniper",
    "lagoon", "lantern", "larch",  "ledge",   "lichen", "maple",  "marble",  "marsh",   "meadow",
    "mesa",   "mica",    "moor",   "moss",    "oak",    "onyx",   "opal",    "orchard", "otter",
    "pebble", "pine",    "plain",  "plateau", "pond",   "poplar", "prairie", "quarry",  "quartz",
    "rapids", "raven",   "reef",   "ridge",   "river",  "robin",  "sable",   "sage",    "shale",
    "shore",  "slate",   "spruce", "stone",   "stream", "summit", "thicket", "tundra",  "valley",
    "walnut", "willow"};

template <std::size_t N>
void FillRandom(std::array<std::uint8_t, N>& bytes) {
  std::size_t done = 0;
  while (done < N) {
    const ssize_t got = ::getrandom(bytes.data() + done, N - done, 0);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      // Linux has had the call since 3.17 and it cannot fail for sizes like these.
      throw std::runtime_error("getrandom");
    }
  }
}

}  // namespace

bool IsHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string NewId() {
  for (;;) {
    std::array<std::uint8_t, 32> bytes{};
    FillRandom(bytes);
    std::string id = HexEncode(bytes);
    if (id.substr(0, 12).find_first_of("abcdef") != std::string::npos) return id;
  }
}

std::string RandomName(int attempt) {
  std::array<std::uint8_t, 3> bytes{};
  FillRandom(bytes);
  std::string name = kAdjectives.at(bytes[0] % kAdjectives.size());
  name += '_';
  name += kNouns.at(bytes[1] % kNouns.size());
  if (attempt > 0) name += std::to_string(bytes[2] % 10);
  return name;
}

bool ValidName(std::string_view name) {
  const auto alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.size() < 2 || name.size() > 255 || !alnum(name[0])) return false;
  return std::ranges::all_of(name,
                             [&](char c) { return alnum(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace strata::manager
