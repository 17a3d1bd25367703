#include "manager/container/log_file.h"

#include <fcntl.h>
#include <sys/inotify.h>

#include <array>
#include <charconv>
#include <ctime>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"

namespace strata::manager {
namespace {

constexpr std::size_t kBlock = std::size_t{64} * 1024;
// "2026-11-24T05:44:55.538316277+00:00 stdout F ": every field has a fixed width.
constexpr std::size_t kTimeLength = 35;
constexpr std::size_t kStreamStart = kTimeLength + 1;
constexpr std::size_t kTagStart = kStreamStart + 7;
constexpr std::size_t kTextStart = kTagStart + 2;

bool Digits(std::string_view text, std::size_t start, std::size_t count, std::int64_t& value) {
  const char* end = text.data() + start + count;
  const auto result = std::from_chars(text.data() + start, end, value);
  return result.ec == std::errc() && result.ptr == end;
}

std::optional<std::int64_t> ParseTime(std::string_view text) {
  std::int64_t year = 0;
  std::int64_t month = 0;
  std::int64_t day = 0;
  std::int64_t hour = 0;
  std::int64_t minute = 0;
  std::int64_t second = 0;
  std::int64_t nanos = 0;
  std::int64_t zone_hour = 0;
  std::int64_t zone_minute = 0;
  if (!Digits(text, 0, 4, year) || !Digits(text, 5, 2, month) || !Digits(text, 8, 2, day) ||
      !Digits(text, 11, 2, hour) || !Digits(text, 14, 2, minute) || !Digits(text, 17, 2, second) ||
      !Digits(text, 20, 9, nanos) || !Digits(text, 30, 2, zone_hour) ||
      !Digits(text, 33, 2, zone_minute)) {
    return std::nullopt;
  }
  std::tm parts{};
  parts.tm_year = static_cast<int>(year - 1900);
  parts.tm_mon = static_cast<int>(month - 1);
  parts.tm_mday = static_cast<int>(day);
  parts.tm_hour = static_cast<int>(hour);
  parts.tm_min = static_cast<int>(minute);
  parts.tm_sec = static_cast<int>(second);
  const std::int64_t zone = (zone_hour * 60 + zone_minute) * 60 * (text[29] == '-' ? -1 : 1);
  return (std::int64_t{::timegm(&parts)} - zone) * 1'000'000'000 + nanos;
}

}  // namespace

Result<LogEntry> ParseLogLine(std::string_view line) {
  if (line.size() < kTextStart || line[kTimeLength] != ' ' || line[kTagStart - 1] != ' ' ||
      line[kTagStart + 1] != ' ') {
    return Fail(EBADMSG, "log line");
  }
  const auto time = ParseTime(line.substr(0, kTimeLength));
  const std::string_view stream = line.substr(kStreamStart, 6);
  const char tag = line[kTagStart];
  if (!time || (stream != "stdout" && stream != "stderr") || (tag != 'F' && tag != 'P')) {
    return Fail(EBADMSG, "log line");
  }
  LogEntry entry;
  entry.time_ns = *time;
  entry.is_stderr = stream == "stderr";
  entry.text = line.substr(kTextStart);
  if (tag == 'F') entry.text.push_back('\n');
  return entry;
}

Result<std::unique_ptr<LogFile>> LogFile::Open(std::string path, const LogQuery& query) {
  std::unique_ptr<LogFile> log(new LogFile(std::move(path), query));
  log->inotify_ = UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!log->inotify_) return FailErrno("inotify_init1");
  // The directory, too: that is where a new file of the same name shows.
  const std::string directory(DirName(log->path_));
  if (::inotify_add_watch(log->inotify_.get(), directory.c_str(),
                          IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) == -1) {
    return FailErrno("inotify_add_watch", directory);
  }
  STRATA_TRY(log->OpenFile());
  if (query.tail >= 0 && log->file_) {
    STRATA_TRY(log->SeekToTail(query.tail));
  }
  return log;
}

Result<> LogFile::OpenFile() {
  auto file = FileOps::System().Open(AT_FDCWD, path_.c_str(), O_RDONLY | O_NOFOLLOW);
  if (!file) {
    if (file.error().code() == ENOENT) return {};
    return std::unexpected(std::move(file).error().WithContext(path_));
  }
  file_ = std::move(*file);
  offset_ = 0;
  return {};
}

// Walks back over whole lines until `lines` of the container's own lines follow.
Result<> LogFile::SeekToTail(std::int64_t lines) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const struct stat st, ops.Stat(file_.get()));
  offset_ = st.st_size;
  if (lines == 0) return {};
  std::int64_t line_end = st.st_size;  // where the line being looked at ends
  std::int64_t block_start = st.st_size;
  std::int64_t found = 0;
  // True when the line from `start` to line_end is one too many; else it is counted.
  const auto enough = [&](std::int64_t start) -> Result<bool> {
    if (start >= line_end) return false;
    char tag = 0;
    STRATA_TRY(ops.ReadAt(file_.get(), std::as_writable_bytes(std::span(&tag, 1)),
                          start + static_cast<std::int64_t>(kTagStart)));
    if (tag == 'F' && ++found > lines) return true;
    line_end = start;
    offset_ = start;
    return false;
  };
  std::string block;
  while (block_start > 0) {
    const auto size = std::min<std::int64_t>(block_start, kBlock);
    block_start -= size;
    block.resize(static_cast<std::size_t>(size));
    STRATA_TRY_ASSIGN(
        const std::size_t got,
        ops.ReadAt(file_.get(), std::as_writable_bytes(std::span(block)), block_start));
    for (std::size_t i = got; i-- > 0;) {
      if (block[i] != '\n') continue;
      STRATA_TRY_ASSIGN(const bool stop, enough(block_start + static_cast<std::int64_t>(i) + 1));
      if (stop) return {};
    }
  }
  STRATA_TRY(enough(0));
  return {};
}

Result<bool> LogFile::ReadMore() {
  if (!file_) {
    STRATA_TRY(OpenFile());
    if (!file_) return false;
  }
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + kBlock);
  auto got = FileOps::System().ReadAt(
      file_.get(), std::as_writable_bytes(std::span(buffer_).subspan(before)), offset_);
  buffer_.resize(before + (got ? *got : 0));
  if (!got) return std::unexpected(std::move(got).error().WithContext(path_));
  offset_ += static_cast<std::int64_t>(*got);
  return *got > 0;
}

// True when there is a new file under the name, which is read from its start.
Result<bool> LogFile::FollowReplacedFile() {
  if (!file_) return false;
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const struct stat ours, ops.Stat(file_.get()));
  auto named = ops.StatAt(AT_FDCWD, path_.c_str());
  if (!named) {
    if (named.error().code() == ENOENT) return false;
    return std::unexpected(std::move(named).error().WithContext(path_));
  }
  if (named->st_ino == ours.st_ino && named->st_dev == ours.st_dev && named->st_size >= offset_) {
    return false;
  }
  buffer_.clear();
  consumed_ = 0;
  STRATA_TRY(OpenFile());
  return true;
}

Result<std::optional<LogEntry>> LogFile::Next() {
  while (!finished_) {
    const std::size_t end = buffer_.find('\n', consumed_);
    if (end == std::string::npos) {
      STRATA_TRY_ASSIGN(bool more, ReadMore());
      if (!more) {
        STRATA_TRY_ASSIGN(more, FollowReplacedFile());
      }
      if (!more) return std::optional<LogEntry>();
      continue;
    }
    auto entry = ParseLogLine(std::string_view(buffer_).substr(consumed_, end - consumed_));
    consumed_ = end + 1;
    // A damaged line (the disk was full, say) must not hide the rest of the log.
    if (!entry) continue;
    if (query_.until_ns > 0 && entry->time_ns > query_.until_ns) {
      finished_ = true;
      break;
    }
    if (entry->time_ns < query_.since_ns) continue;
    if (entry->is_stderr ? !query_.want_stderr : !query_.want_stdout) continue;
    return std::optional<LogEntry>(std::move(*entry));
  }
  return std::optional<LogEntry>();
}

void LogFile::ClearChanges() {
  std::array<char, 4096> events;
  while (::read(inotify_.get(), events.data(), events.size()) > 0) {
  }
}

}  // namespace strata::manager
