#include "layerstore/scrub/scrub_report.h"

#include <array>
#include <charconv>
#include <utility>

namespace strata::layerstore {
namespace {

using State = ScrubReport::State;

constexpr std::string_view kFirstLine = "strata scrub 1";
constexpr std::array<std::string_view, 5> kStateNames = {"none", "running", "finished", "stopped",
                                                         "failed"};

// Takes a line off the front.
std::string_view TakeLine(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

template <class Number>
bool Read(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool Read(std::string_view text, State& state) {
  for (std::size_t i = 0; i < kStateNames.size(); ++i) {
    if (text != kStateNames[i]) continue;
    state = static_cast<State>(i);
    return true;
  }
  return false;
}

bool Read(std::string_view text, std::optional<std::uint64_t>& number) {
  return Read(text, number.emplace());
}

bool Read(std::string_view text, std::optional<Digest>& digest) {
  auto parsed = Digest::Parse(text);
  if (!parsed) return false;
  digest = *parsed;
  return true;
}

// Names of files are any bytes, and a value of the file is one line.
std::string Escape(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && c != '%') {
      escaped += c;
    } else {
      escaped += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return escaped;
}

bool ReadEscaped(std::string_view text, std::string& plain) {
  plain.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc() || digits.size() != 2 || end != digits.data() + 2) return false;
    plain += static_cast<char>(byte);
    i += 2;
  }
  return true;
}

// A part of the last finding: what follows "finding-" in its word.
bool ReadPart(std::string_view part, std::string_view value, ScrubReport& report) {
  if (report.findings.empty()) return false;
  ScrubFinding& finding = report.findings.back();
  if (part == "layer") return Read(value, finding.layer);
  if (part == "blob") return Read(value, finding.blob);
  if (part == "path") return ReadEscaped(value, finding.path);
  if (part == "detail") return ReadEscaped(value, finding.detail);
  if (part != "kind") return false;
  finding.kind = value;
  return true;
}

bool ReadField(std::string_view key, std::string_view value, ScrubReport& report) {
  if (key == "state") return Read(value, report.state);
  if (key == "started") return Read(value, report.started);
  if (key == "ended") return Read(value, report.ended);
  if (key == "layers") return Read(value, report.layers);
  if (key == "layers-total") return Read(value, report.layers_total);
  if (key == "bytes") return Read(value, report.bytes);
  if (key == "checked") return Read(value, report.checked);
  if (key == "rate") return Read(value, report.rate);
  if (key == "damaged") return Read(value, report.damaged);
  if (key == "error") {
    report.error = value;
    return true;
  }
  constexpr std::string_view kPart = "finding-";
  if (key.starts_with(kPart)) return ReadPart(key.substr(kPart.size()), value, report);
  if (key != "finding" || report.findings.size() == ScrubReport::kFindingsMax) return false;
  report.findings.push_back({.text = std::string(value)});
  return true;
}

}  // namespace

std::string_view ScrubStateName(State state) {
  return kStateNames[static_cast<std::size_t>(state)];
}

std::string ScrubReport::ToText() const {
  std::string text(kFirstLine);
  const auto add = [&](std::string_view key, std::string_view value) {
    ((text += '\n') += key) += ' ';
    text += value;
  };
  add("state", ScrubStateName(state));
  add("started", std::to_string(started));
  add("ended", std::to_string(ended));
  add("layers", std::to_string(layers));
  add("layers-total", std::to_string(layers_total));
  add("bytes", std::to_string(bytes));
  if (checked) add("checked", checked->ToString());
  if (rate) add("rate", std::to_string(*rate));
  add("damaged", std::to_string(damaged));
  if (!error.empty()) add("error", error);
  for (const ScrubFinding& finding : findings) {
    add("finding", finding.text);
    if (!finding.kind.empty()) add("finding-kind", finding.kind);
    if (finding.layer) add("finding-layer", finding.layer->ToString());
    if (finding.blob) add("finding-blob", finding.blob->ToString());
    if (!finding.path.empty()) add("finding-path", Escape(finding.path));
    if (!finding.detail.empty()) add("finding-detail", Escape(finding.detail));
  }
  return text += '\n';
}

std::optional<ScrubReport> ScrubReport::Parse(std::string_view text) {
  if (TakeLine(text) != kFirstLine) return std::nullopt;
  ScrubReport report;
  while (!text.empty()) {
    const std::string_view line = TakeLine(text);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    if (!ReadField(line.substr(0, space), line.substr(space + 1), report)) return std::nullopt;
  }
  return report;
}

}  // namespace strata::layerstore
