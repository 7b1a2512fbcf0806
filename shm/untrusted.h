// A value that some other process may have forged. It converts to nothing: the only way out is to
// say what range the caller can live with.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace weir::shm {

class Untrusted {
 public:
  // Loads exactly once. A second load could return a different lie.
  static Untrusted load(const std::atomic<std::uint64_t>& word) noexcept {
    return Untrusted(word.load(std::memory_order_relaxed));
  }
  static Untrusted of(std::uint64_t value) noexcept { return Untrusted(value); }

  std::uint64_t at_most(std::uint64_t max) const noexcept { return std::min(value_, max); }
  // Growth since `before`; a counter that ran backwards grew by nothing.
  std::uint64_t growth_since(std::uint64_t before, std::uint64_t max) const noexcept {
    return value_ < before ? 0 : std::min(value_ - before, max);
  }
  bool ran_backwards_from(std::uint64_t before) const noexcept { return value_ < before; }
  // For printing and for comparing with an earlier load, never for arithmetic.
  std::uint64_t raw() const noexcept { return value_; }

 private:
  explicit Untrusted(std::uint64_t value) noexcept : value_(value) {}
  std::uint64_t value_;
};

}  // namespace weir::shm
