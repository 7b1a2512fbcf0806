#include "daemon/log/sink.h"

#include <spdlog/fmt/fmt.h>

#include <cstdlib>
#include <ctime>
#include <iterator>
#include <string_view>

#include "daemon/log/escape.h"

namespace weir {
namespace {

constexpr std::size_t kFrameBytesMax = 128;  // time, level and quotes around the message

struct LevelWords {
  std::string_view name;
  std::string_view padded;
  std::string_view colour;
  std::string_view syslog_prefix;
};

LevelWords words(spdlog::level::level_enum level) noexcept {
  switch (level) {
    case spdlog::level::trace:
      return {"trace", "trace  ", "\x1b[2m", "<7>"};
    case spdlog::level::debug:
      return {"debug", "debug  ", "\x1b[36m", "<7>"};
    case spdlog::level::warn:
      return {"warning", "warning", "\x1b[33m", "<4>"};
    case spdlog::level::err:
      return {"error", "error  ", "\x1b[31m", "<3>"};
    case spdlog::level::critical:
      return {"critical", "critical", "\x1b[1;31m", "<2>"};
    default:
      return {"info", "info   ", "\x1b[32m", "<6>"};
  }
}

void append_time(std::string& out, spdlog::log_clock::time_point time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since - seconds);
  const auto wall_s = static_cast<std::time_t>(seconds.count());
  std::tm parts{};
  ::gmtime_r(&wall_s, &parts);
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                 parts.tm_sec, ms.count());
}

bool wants_colour() noexcept {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  if (no_colour != nullptr && *no_colour != '\0') return false;
  return terminal != nullptr && std::string_view(terminal) != "dumb";
}

}  // namespace

LogSink::LogSink(const LogOptions& options, LogFormat format)
    : format_(format),
      outlet_(options.fd, options.buffer_bytes, kLogLineBytesMax, append_gap, this) {
  colour_ = format == LogFormat::text && outlet_.is_terminal() && wants_colour();
  line_.reserve(kLogLineBytesMax + kFrameBytesMax);
}

void LogSink::pump() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  outlet_.pump();
}

bool LogSink::flush_within(int timeout_ms) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  return outlet_.flush(timeout_ms);
}

LogStats LogSink::stats() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {.lines_total = lines_total_,
          .dropped_total = outlet_.dropped_total(),
          .waiting_bytes = outlet_.waiting_bytes()};
}

void LogSink::sink_it_(const spdlog::details::log_msg& message) {
  line_.clear();
  append_line(line_, {.time = message.time,
                      .level = message.level,
                      .text = {message.payload.data(), message.payload.size()}});
  outlet_.write_line(line_);
  ++lines_total_;
}

void LogSink::append_line(std::string& out, const Event& event) const {
  const LevelWords word = words(event.level);
  constexpr std::size_t kTextBytesMax = kLogLineBytesMax - kFrameBytesMax;
  switch (format_) {
    case LogFormat::json:
      out += "{\"time\":\"";
      append_time(out, event.time);
      out.append("\",\"level\":\"").append(word.name).append("\",\"message\":\"");
      append_json(out, event.text, kTextBytesMax);
      out += "\"}";
      break;
    case LogFormat::journald:
      out += word.syslog_prefix;
      append_printable(out, event.text, kTextBytesMax);
      break;
    default:
      append_time(out, event.time);
      out += ' ';
      if (colour_) out += word.colour;
      out += word.padded;
      if (colour_) out += "\x1b[0m";
      out += ' ';
      append_printable(out, event.text, kTextBytesMax);
      break;
  }
  out += '\n';
}

void LogSink::append_gap(std::string& out, std::uint64_t dropped, void* self) {
  const std::string text = std::to_string(dropped) +
                           (dropped == 1 ? " message dropped" : " messages dropped") +
                           " here: the log's reader did not keep up";
  static_cast<LogSink*>(self)->append_line(
      out, {.time = spdlog::log_clock::now(), .level = spdlog::level::warn, .text = text});
}

}  // namespace weir
