// The agent's log: spdlog's default logger (spdlog::info("...") anywhere) in front of a sink that
// never waits. What stderr does not take at once is kept in a bounded buffer; when that is full
// the oldest lines are dropped, counted, and reported where they are missing.
//
//     if (std::string error = init_log(options); !error.empty()) die(error);
//     ... in the loop, a few times a second:  pump_log();
//     ... at the end:                         flush_log(kFlushMs);
//
// One message is one line: control characters and broken UTF-8 in it are escaped here, so that no
// name can forge a line or drive a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

enum class LogLevel : std::uint8_t { trace, debug, info, warning, error };

enum class LogFormat : std::uint8_t {
  automatic,  // journald when stderr is the journal's stream, else text
  text,       // 2026-01-31T12:00:00.123Z warning what happened
  json,       // {"time":"...","level":"warning","message":"..."}
  journald,   // <4>what happened: the journal adds the time and reads the level
};

std::optional<LogLevel> parse_log_level(std::string_view text) noexcept;    // "info"
std::optional<LogFormat> parse_log_format(std::string_view text) noexcept;  // "auto", "json"

inline constexpr std::size_t kLogBufferBytes = 1U << 20;
inline constexpr std::size_t kLogLineBytesMax = 8U << 10;  // longer lines are cut

struct LogOptions {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::automatic;
  std::size_t buffer_bytes = kLogBufferBytes;  // allocated once; at least two lines
  int fd = 2;                                  // stays the caller's
};

// Makes the default logger; a second call replaces it. Returns what is wrong, or an empty text.
// SIGPIPE is set to be ignored when nobody has chosen otherwise: a reader that leaves must not
// end the agent.
[[nodiscard]] std::string init_log(const LogOptions& options) noexcept;

void set_log_level(LogLevel level) noexcept;

// Writes what the other end takes now. Never waits. After a refused write nothing is tried again
// until the next call, so a stuck reader costs one system call a pump, not one a message.
void pump_log() noexcept;

// For the end of the process: waits up to `timeout_ms` for the other end. True when all is out.
bool flush_log(int timeout_ms) noexcept;

struct LogStats {
  std::uint64_t lines_total = 0;
  std::uint64_t dropped_total = 0;
  std::size_t waiting_bytes = 0;
};
LogStats log_stats() noexcept;

}  // namespace weir
