#include "base/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "base/utf8.h"

namespace strata::log {
namespace {

constexpr std::array<std::pair<std::string_view, Level>, 6> kLevels{{
    {"trace", Level::kTrace},
    {"debug", Level::kDebug},
    {"info", Level::kInfo},
    {"warn", Level::kWarn},
    {"error", Level::kError},
    {"off", Level::kOff},
}};

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kTrace:
      return spdlog::level::trace;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

struct Sink {
  std::shared_ptr<spdlog::logger> logger;
  Format format = Format::kText;
};

std::shared_ptr<spdlog::logger> MakeLogger(std::string_view program, Level level, Format format) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(ToSpdlog(level));
  logger->flush_on(spdlog::level::trace);
  logger->set_pattern(
      format == Format::kJson
          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l","program":"%n","pid":%P,%v})"
          : "%Y-%m-%d %H:%M:%S.%e %n[%P] %l: %v");
  return logger;
}

// The process-wide log destination: the one place where a global is what the caller wants.
Sink& GlobalSink() {
  static Sink sink = [] {
    const Level level = LevelFromEnvironment().value_or(Level::kWarn);
    const Format format = FormatFromEnvironment().value_or(Format::kText);
    return Sink{MakeLogger("strata", level, format), format};
  }();
  return sink;
}

bool NeedsQuotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c == '\x7f') return true;
  }
  return false;
}

void AppendValue(std::string& out, const Field& field, Format format) {
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::same_as<T, std::string_view>) {
          if (format == Format::kJson || NeedsQuotes(value)) {
            AppendJsonString(out, value);
          } else {
            out.append(value);
          }
        } else if constexpr (std::same_as<T, bool>) {
          out.append(value ? "true" : "false");
        } else {
          out.append(std::to_string(value));
        }
      },
      field.value);
}

}  // namespace

Result<Level> ParseLevel(std::string_view name) {
  for (const auto& [text, level] : kLevels) {
    if (text == name) return level;
  }
  return Fail(EINVAL, "log level",
              "unknown level '" + std::string(name) + "' (trace, debug, info, warn, error or off)");
}

Result<Format> ParseFormat(std::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  return Fail(EINVAL, "log format", "unknown format '" + std::string(name) + "' (text or json)");
}

Result<Level> LevelFromEnvironment() {
  const char* value = std::getenv("STRATA_LOG");
  return value == nullptr ? Level::kWarn : ParseLevel(value);
}

Result<Format> FormatFromEnvironment() {
  const char* value = std::getenv("STRATA_LOG_FORMAT");
  return value == nullptr ? Format::kText : ParseFormat(value);
}

void Configure(std::string_view program, Level level, Format format) {
  GlobalSink() = Sink{MakeLogger(program, level, format), format};
}

bool Enabled(Level level) noexcept { return GlobalSink().logger->should_log(ToSpdlog(level)); }

void Write(Level level, std::string_view message, Fields fields) {
  const Sink& sink = GlobalSink();
  std::string line;
  if (sink.format == Format::kJson) {
    line.append("\"message\":");
    AppendJsonString(line, message);
    for (const Field& field : fields) {
      line.push_back(',');
      AppendJsonString(line, field.key);
      line.push_back(':');
      AppendValue(line, field, sink.format);
    }
  } else {
    line.append(message);
    for (const Field& field : fields) {
      line.append(" ").append(field.key).push_back('=');
      AppendValue(line, field, sink.format);
    }
  }
  sink.logger->log(ToSpdlog(level), "{}", line);
}

}  // namespace strata::log
