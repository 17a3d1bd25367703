// What the daemon says while it pulls, pushes or imports: a stream of JSON messages, shown as one
// bar per layer on a terminal and as plain lines elsewhere.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "manager/cli/http.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

enum class ProgressStyle : std::uint8_t { kQuiet, kLines, kBars };

// Bars if standard error is a terminal, else lines; nothing if `quiet`.
ProgressStyle ChooseProgressStyle(bool quiet);

// Turns messages into what is written next. Not thread-safe.
class ProgressView {
 public:
  ProgressView(ProgressStyle style, std::size_t columns) : style_(style), columns_(columns) {}

  // The text (with terminal control sequences, for bars) that shows this message.
  std::string Show(const Json& message);

 private:
  struct Line {
    std::string id;
    std::string text;
  };
  std::string ShowLine(const std::string& id, const std::string& status, bool moving);
  std::string ShowBar(const std::string& id, const std::string& status, const Json& detail);

  ProgressStyle style_;
  std::size_t columns_;
  std::vector<Line> lines_;                  // kBars: on the screen, oldest first
  std::map<std::string, std::string> last_;  // kLines: what was last said of an id
};

// "[=====>    ]  1.2MB/3.4MB"; without a total just the amount. At most `columns` wide.
std::string ProgressBar(std::int64_t current, std::int64_t total, std::size_t columns);

// What a stream of messages came to.
struct ProgressOutcome {
  std::string id;  // from {"aux": {"ID": …}} or {"Id": …}, if there was one
  // Every {"aux": {"ID": …, "Names": […]}}.
  struct Image {
    std::string id;
    bool named = false;
  };
  std::vector<Image> images;
  std::string last_status;
  std::vector<std::string> messages;  // every {"stream": …}
};

// Reads the answer to its end, showing it on standard error. The daemon's error message is EIO.
Result<ProgressOutcome> FollowProgress(HttpExchange& exchange, ProgressStyle style);

}  // namespace strata::manager::cli
