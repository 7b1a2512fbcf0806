#include "daemon/log/limiter.h"

#include <functional>

namespace weir {

std::string LogLimiter::Verdict::suffix() const {
  if (suppressed == 0) return {};
  return " (suppressed " + std::to_string(suppressed) + " similar)";
}

LogLimiter::Verdict LogLimiter::admit(std::string_view key, std::uint64_t now_mono_ns) noexcept {
  Place& place = find(std::hash<std::string_view>{}(key), now_mono_ns);
  const std::uint64_t from = place.full_mono_ns > now_mono_ns ? place.full_mono_ns : now_mono_ns;
  // A clock that was set back must not silence a key for longer than its burst is worth.
  const bool clock_went_back = from - now_mono_ns > kBurst * kPeriodNs;
  const std::uint64_t next = (clock_went_back ? now_mono_ns : from) + kPeriodNs;
  if (next - now_mono_ns > kBurst * kPeriodNs) {
    ++place.suppressed;
    ++suppressed_total_;
    return {};
  }
  place.full_mono_ns = next;
  const Verdict verdict{.write = true, .suppressed = place.suppressed};
  place.suppressed = 0;
  return verdict;
}

LogLimiter::Place& LogLimiter::find(std::uint64_t key_hash, std::uint64_t now_mono_ns) noexcept {
  Place* free = nullptr;
  for (Place& place : places_) {
    if (place.key_hash == key_hash && place.full_mono_ns != 0) return place;
    if (free == nullptr && place.full_mono_ns <= now_mono_ns) free = &place;
  }
  if (free == nullptr) return shared_;
  *free = Place{.key_hash = key_hash};
  return *free;
}

}  // namespace weir
