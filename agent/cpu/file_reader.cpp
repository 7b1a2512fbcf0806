#include "agent/cpu/file_reader.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

namespace weir::agent {
namespace {

constexpr int kReadsMax = 64;  // a file that trickles is not a file of the kernel's

// Fills the buffer until its end or the file's; absent on an error.
std::optional<std::size_t> fill(int fd, char* buffer, std::size_t bytes_max) noexcept {
  std::size_t used_bytes = 0;
  for (int i = 0; i < kReadsMax; ++i) {
    if (used_bytes == bytes_max) return used_bytes;
    const ssize_t got = ::read(fd, buffer + used_bytes, bytes_max - used_bytes);
    if (got == 0) return used_bytes;
    if (got > 0) used_bytes += static_cast<std::size_t>(got);
    if (got < 0 && errno != EINTR) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string_view> SystemFileReader::read(const char* path) noexcept {
  // Non-blocking, so that a FIFO left at the path cannot hold up the caller.
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return std::nullopt;
  const auto used_bytes = fill(fd, buffer_.data(), buffer_.size());
  ::close(fd);
  if (!used_bytes) return std::nullopt;
  std::string_view text(buffer_.data(), *used_bytes);
  if (text.size() == buffer_.size()) {
    const auto last_newline = text.rfind('\n');
    if (last_newline == std::string_view::npos) return std::nullopt;
    text = text.substr(0, last_newline + 1);
  }
  return text;
}

std::optional<std::uint32_t> affinity_cpu_count() noexcept {
  // The mask must be at least as long as the kernel's own; EINVAL says it is not.
  std::array<cpu_set_t, 8> mask{};  // 8 x 1024 CPUs
  if (::sched_getaffinity(0, sizeof(mask), mask.data()) != 0) return std::nullopt;
  const int count = CPU_COUNT_S(sizeof(mask), mask.data());
  if (count <= 0) return std::nullopt;
  return static_cast<std::uint32_t>(count);
}

}  // namespace weir::agent
