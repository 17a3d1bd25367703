#include "manager/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/client.h"
#include "manager/cli/session.h"
#include "manager/cli/terminal.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kDefaultColumns = 80;
constexpr std::size_t kMaxMessage = 4UL * 1024 * 1024;

std::string ToColumns(std::string text, std::size_t columns) {
  if (text.size() > columns) text.resize(columns);
  return text;
}

}  // namespace

ProgressStyle ChooseProgressStyle(bool quiet) {
  if (quiet) return ProgressStyle::kQuiet;
  return IsTerminal(STDERR_FILENO) ? ProgressStyle::kBars : ProgressStyle::kLines;
}

std::string ProgressBar(std::int64_t current, std::int64_t total, std::size_t columns) {
  std::string amount = HumanSize(current);
  if (total <= 0) return ToColumns(amount, columns);
  amount += "/" + HumanSize(total);
  constexpr std::size_t kWidest = 50;
  constexpr std::size_t kFrame = 4;  // brackets and two spaces
  if (columns < amount.size() + kFrame + 8) return ToColumns(amount, columns);
  const std::size_t width = std::min(kWidest, columns - amount.size() - kFrame);
  const double part =
      std::clamp(static_cast<double>(current) / static_cast<double>(total), 0.0, 1.0);
  const auto filled = static_cast<std::size_t>(part * static_cast<double>(width));
  std::string bar(filled, '=');
  if (filled < width) bar += '>';
  bar.resize(width, ' ');
  return "[" + bar + "]  " + amount;
}

std::string ProgressView::ShowLine(const std::string& id, const std::string& status, bool moving) {
  std::string& last = last_[id];
  // A step's first message is worth a line, its growing byte counts are not.
  const bool repeated = last == status;
  if (repeated && (moving || !id.empty())) return "";
  last = status;
  return (id.empty() ? "" : id + ": ") + status + "\n";
}

std::string ProgressView::ShowBar(const std::string& id, const std::string& status,
                                  const Json& detail) {
  std::string text = id.empty() ? status : id + ": " + status;
  const std::int64_t total = NumberAt(detail, "total");
  const std::int64_t current = NumberAt(detail, "current");
  if (current > 0 || total > 0) {
    text += " ";
    const std::size_t left = columns_ > text.size() ? columns_ - text.size() - 1 : 0;
    text += ProgressBar(current, total, left);
  }
  text = ToColumns(text, columns_ - 1);
  const auto known =
      std::ranges::find_if(lines_, [&](const Line& line) { return !id.empty() && line.id == id; });
  if (known == lines_.end()) {
    lines_.push_back({id, text});
    return text + "\n";
  }
  if (known->text == text) return "";
  known->text = text;
  const std::string up = std::to_string(lines_.end() - known);
  return "\x1b[" + up + "A\r\x1b[2K" + text + "\r\x1b[" + up + "B";
}

std::string ProgressView::Show(const Json& message) {
  if (style_ == ProgressStyle::kQuiet) return "";
  if (const std::string stream = TextAt(message, "stream"); !stream.empty()) {
    lines_.clear();
    return stream;
  }
  const std::string status = TextAt(message, "status");
  if (status.empty()) return "";
  const std::string id = TextAt(message, "id");
  const Json& detail = At(message, "progressDetail");
  const bool moving = NumberAt(detail, "current") > 0;
  return style_ == ProgressStyle::kBars ? ShowBar(id, status, detail)
                                        : ShowLine(id, status, moving);
}

Result<ProgressOutcome> FollowProgress(HttpExchange& exchange, ProgressStyle style) {
  const auto size = SizeOfTerminal(STDERR_FILENO);
  ProgressView view(style, size ? size->columns : kDefaultColumns);
  ProgressOutcome outcome;
  std::string buffered;
  std::vector<char> piece(32UL * 1024);

  const auto take = [&](std::string_view line) -> Result<> {
    if (line.find_first_not_of(" \r") == std::string_view::npos) return {};
    STRATA_TRY_ASSIGN(const Json message, ParseJson(line));
    if (const std::string error = TextAt(message, "error"); !error.empty()) {
      return Fail(EIO, kDaemonError, error);
    }
    if (const std::string error = TextAt(message, "errorDetail.message"); !error.empty()) {
      return Fail(EIO, kDaemonError, error);
    }
    for (const char* key : {"aux.ID", "Id", "ID"}) {
      if (std::string id = TextAt(message, key); !id.empty()) outcome.id = std::move(id);
    }
    if (const Json& names = AtPath(message, "aux.Names"); names.is_array()) {
      outcome.images.push_back({TextAt(message, "aux.ID"), !names.empty()});
    }
    if (std::string status = TextAt(message, "status"); !status.empty()) {
      outcome.last_status = std::move(status);
    }
    if (std::string text = TextAt(message, "stream"); !text.empty()) {
      outcome.messages.push_back(std::move(text));
    }
    return WriteFd(STDERR_FILENO, view.Show(message));
  };

  while (true) {
    STRATA_TRY_ASSIGN(const std::size_t got, exchange.Read(piece));
    buffered.append(piece.data(), got);
    std::size_t from = 0;
    for (auto end = buffered.find('\n'); end != std::string::npos;
         end = buffered.find('\n', from)) {
      STRATA_TRY(take(std::string_view(buffered).substr(from, end - from)));
      from = end + 1;
    }
    buffered.erase(0, from);
    if (buffered.size() > kMaxMessage) return Fail(EPROTO, "progress", "a message without an end");
    if (got == 0) break;
  }
  STRATA_TRY(take(buffered));
  return outcome;
}

}  // namespace strata::manager::cli
