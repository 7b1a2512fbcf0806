// Lines on their way to a descriptor that may not take them: a bounded queue and a write that
// never waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "shm/fd.h"

namespace weir {

class LogOutlet {
 public:
  static constexpr std::size_t kPumpBytesMax = 64U << 10;  // one call must not eat a tick

  // The line (with its newline) that stands where `dropped` lines are missing.
  using GapLine = void (*)(std::string& out, std::uint64_t dropped, void* context);

  // `fd` stays the caller's. A line is at most `line_bytes_max` long, newline included.
  LogOutlet(int fd, std::size_t buffer_bytes, std::size_t line_bytes_max, GapLine gap_line,
            void* context);

  // `line` ends in its only newline. Tries to write at once, unless the other end was full.
  void write_line(std::string_view line) noexcept;
  // Writes what goes out now. True when nothing is left.
  bool pump() noexcept;
  bool flush(int timeout_ms) noexcept;

  bool is_terminal() const noexcept;
  std::uint64_t dropped_total() const noexcept { return dropped_total_; }
  std::size_t waiting_bytes() const noexcept { return used_ + staged_.size() - staged_offset_; }

 private:
  enum class Kind : std::uint8_t {
    file,      // writes complete
    reopened,  // a description of our own, which is non-blocking
    socket,    // MSG_DONTWAIT
    polled,    // shared description: asked before each write
  };

  void classify() noexcept;
  std::size_t write_some(std::string_view bytes) noexcept;
  void write_out(std::size_t bytes_max) noexcept;
  void stage();
  void append(std::string_view line) noexcept;
  std::size_t first_line_bytes() const noexcept;
  void take_first(std::size_t bytes, std::string* into);

  int fd_;
  shm::Fd own_;
  Kind kind_ = Kind::file;
  bool blocked_ = false;

  GapLine gap_line_;
  void* context_;

  // A ring of whole lines.
  std::size_t capacity_;
  std::unique_ptr<char[]> ring_;
  std::size_t head_ = 0;
  std::size_t used_ = 0;
  std::uint64_t dropped_total_ = 0;
  std::uint64_t dropped_unreported_ = 0;

  // What is being written. Never dropped, so that no line is torn.
  std::string staged_;
  std::size_t staged_offset_ = 0;
};

}  // namespace weir
