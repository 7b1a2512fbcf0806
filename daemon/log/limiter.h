// Keeps a fault that happens a thousand times a second from filling the log.
//
//     if (const auto verdict = limiter.admit("attach refused", now_mono_ns))
//       spdlog::warn("attach refused: {}{}", reason, verdict.suffix());
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

// A key may log 5 messages at once, and one per 10 seconds in the long run. The memory is fixed:
// when all places are taken by keys that are still busy, further keys share one place, so that a
// client that invents keys gains nothing.
class LogLimiter {
 public:
  static constexpr std::uint64_t kBurst = 5;
  static constexpr std::uint64_t kPeriodNs = 10'000'000'000;
  static constexpr std::size_t kKeysMax = 128;

  struct Verdict {
    bool write = false;
    std::uint64_t suppressed = 0;  // of this key since its last message that was written

    explicit operator bool() const noexcept { return write; }
    std::string suffix() const;  // " (suppressed 12 similar)", or nothing
  };

  Verdict admit(std::string_view key, std::uint64_t now_mono_ns) noexcept;
  std::uint64_t suppressed_total() const noexcept { return suppressed_total_; }

 private:
  struct Place {
    std::uint64_t key_hash = 0;
    std::uint64_t full_mono_ns = 0;  // when the burst is whole again; the place is free from then
    std::uint64_t suppressed = 0;
  };
  Place& find(std::uint64_t key_hash, std::uint64_t now_mono_ns) noexcept;

  std::array<Place, kKeysMax> places_{};
  Place shared_;
  std::uint64_t suppressed_total_ = 0;
};

}  // namespace weir
