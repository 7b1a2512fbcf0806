#include "daemon/log/log.h"

#include <spdlog/logger.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>

#include "daemon/log/sink.h"

namespace weir {
namespace {

std::shared_ptr<LogSink>& the_sink() noexcept {
  static std::shared_ptr<LogSink> sink;
  return sink;
}

spdlog::level::level_enum to_spdlog(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

template <class Value, std::size_t N>
std::optional<Value> find_word(const std::array<std::pair<std::string_view, Value>, N>& words,
                               std::string_view text) noexcept {
  for (const auto& [word, value] : words) {
    if (word == text) return value;
  }
  return std::nullopt;
}

// The variable is inherited by children whose stderr has been sent elsewhere, so it counts only
// when it names this very stream.
bool is_journal_stream(const struct stat& status) noexcept {
  const char* variable = std::getenv("JOURNAL_STREAM");
  if (variable == nullptr) return false;
  const std::string_view text = variable;
  unsigned long long device = 0;
  unsigned long long inode = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, device);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ':') return false;
  const auto second = std::from_chars(first.ptr + 1, end, inode);
  return second.ec == std::errc{} && second.ptr == end && device == status.st_dev &&
         inode == status.st_ino;
}

void ignore_sigpipe() noexcept {
  struct sigaction now {};
  if (::sigaction(SIGPIPE, nullptr, &now) != 0) return;
  if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view text) noexcept {
  using Word = std::pair<std::string_view, LogLevel>;
  static constexpr std::array kWords{
      Word{"trace", LogLevel::trace},  Word{"debug", LogLevel::debug},
      Word{"info", LogLevel::info},    Word{"warning", LogLevel::warning},
      Word{"warn", LogLevel::warning}, Word{"error", LogLevel::error},
  };
  return find_word(kWords, text);
}

std::optional<LogFormat> parse_log_format(std::string_view text) noexcept {
  using Word = std::pair<std::string_view, LogFormat>;
  static constexpr std::array kWords{
      Word{"auto", LogFormat::automatic},
      Word{"text", LogFormat::text},
      Word{"json", LogFormat::json},
      Word{"journald", LogFormat::journald},
  };
  return find_word(kWords, text);
}

std::string init_log(const LogOptions& options) noexcept {
  try {
    struct stat status {};
    if (::fstat(options.fd, &status) != 0) {
      return std::string("the log's descriptor is not open: ") + std::strerror(errno);
    }
    LogFormat format = options.format;
    if (format == LogFormat::automatic) {
      format = is_journal_stream(status) ? LogFormat::journald : LogFormat::text;
    }
    ignore_sigpipe();
    auto sink = std::make_shared<LogSink>(options, format);
    auto logger = std::make_shared<spdlog::logger>("weir", sink);
    logger->set_level(to_spdlog(options.level));
    // spdlog's own handler prints to stderr and waits for it. A message that cannot be formatted
    // is a bug that the tests of its caller must find, not a reason to stop.
    logger->set_error_handler([](const std::string&) {});
    spdlog::set_default_logger(std::move(logger));
    the_sink() = std::move(sink);
    return {};
  } catch (const std::exception& error) {
    return std::string("the log cannot be set up: ") + error.what();
  }
}

void set_log_level(LogLevel level) noexcept {
  spdlog::default_logger_raw()->set_level(to_spdlog(level));
}

void pump_log() noexcept {
  if (the_sink()) the_sink()->pump();
}

bool flush_log(int timeout_ms) noexcept {
  return !the_sink() || the_sink()->flush_within(timeout_ms);
}

LogStats log_stats() noexcept { return the_sink() ? the_sink()->stats() : LogStats{}; }

}  // namespace weir
