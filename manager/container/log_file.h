// A container's log as conmon writes it ("k8s-file"): one line per piece of output,
//   2026-11-24T05:44:55.538316277+00:00 stdout F text
// with tag P where the output's line goes on. conmon starts a new file under the same name when it
// reaches its size limit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager {

struct LogEntry {
  std::int64_t time_ns = 0;
  bool is_stderr = false;
  std::string text;  // with its newline, unless the output's line goes on
};

struct LogQuery {
  bool want_stdout = true;
  bool want_stderr = true;
  std::int64_t since_ns = 0;  // entries before are skipped
  std::int64_t until_ns = 0;  // entries after end the log; 0: none
  std::int64_t tail = -1;     // only the last lines; negative: all
};

// EBADMSG if the line is not of that form.
Result<LogEntry> ParseLogLine(std::string_view line);

// Reads one log from a position on, again and again as it grows. Not thread-safe.
class LogFile {
 public:
  // A log that does not exist (yet) is empty.
  static Result<std::unique_ptr<LogFile>> Open(std::string path, const LogQuery& query);

  // The next entry that the query wants; nothing when the file has no more whole lines now.
  Result<std::optional<LogEntry>> Next();
  // Past until_ns: there will be nothing more.
  bool finished() const { return finished_; }
  // Readable when the file may have grown.
  int change_fd() const { return inotify_.get(); }
  void ClearChanges();

 private:
  LogFile(std::string path, const LogQuery& query) : path_(std::move(path)), query_(query) {}
  Result<> OpenFile();
  Result<> SeekToTail(std::int64_t lines);
  Result<bool> ReadMore();
  Result<bool> FollowReplacedFile();

  std::string path_;
  LogQuery query_;
  UniqueFd file_;
  UniqueFd inotify_;
  std::int64_t offset_ = 0;
  std::string buffer_;
  std::size_t consumed_ = 0;
  bool finished_ = false;
};

}  // namespace strata::manager
