// The one clock of decisions: CLOCK_MONOTONIC, in the host's frame.
#pragma once

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace weir::shm {

inline std::int64_t read_mono_ns() noexcept {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// How far a time namespace has put this process's CLOCK_MONOTONIC ahead of the host's. The kernel
// states it exactly; where there are no time namespaces the file is missing and the answer is 0.
inline std::int64_t read_timens_offset_ns() noexcept {
  const int fd = ::open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[256];
  const ssize_t got = ::read(fd, text, sizeof(text) - 1);
  ::close(fd);
  if (got <= 0) return 0;
  text[got] = '\0';
  const char* line = std::strstr(text, "monotonic");
  if (line == nullptr) return 0;
  char* end = nullptr;
  const long long seconds = std::strtoll(line + std::strlen("monotonic"), &end, 10);
  const long long nanos = std::strtoll(end, nullptr, 10);
  return seconds * 1'000'000'000 + nanos;
}

}  // namespace weir::shm
