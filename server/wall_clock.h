// The time of day, for the edges and ends of quotas, and for rows that people read. Nothing else
// follows it: a clock may be set.
#pragma once

#include <chrono>
#include <cstdint>

namespace weir::server {

inline std::int64_t wall_now_ms() {
  using namespace std::chrono;
  const auto now = system_clock::now();  // periods of quotas
  return duration_cast<milliseconds>(now.time_since_epoch()).count();
}

}  // namespace weir::server
