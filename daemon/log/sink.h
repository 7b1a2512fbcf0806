// Between spdlog and the outlet: one message becomes one line in one of the three formats.
#pragma once

#include <spdlog/sinks/base_sink.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "daemon/log/log.h"
#include "daemon/log/outlet.h"

namespace weir {

class LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  // `format` is not `automatic` any more.
  LogSink(const LogOptions& options, LogFormat format);

  void pump() noexcept;
  bool flush_within(int timeout_ms) noexcept;
  LogStats stats() noexcept;

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}  // flushing must not wait; pump() and flush_within() do the work

 private:
  struct Event {
    spdlog::log_clock::time_point time;
    spdlog::level::level_enum level;
    std::string_view text;
  };
  void append_line(std::string& out, const Event& event) const;
  static void append_gap(std::string& out, std::uint64_t dropped, void* self);

  LogFormat format_;
  LogOutlet outlet_;
  bool colour_ = false;
  std::string line_;
  std::uint64_t lines_total_ = 0;
};

}  // namespace weir
