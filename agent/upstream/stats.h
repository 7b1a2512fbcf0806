// How the talk with the server goes, in figures.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace weir::agent {

// Round trips in powers of two of microseconds, 64 us to 8 s.
class RoundTrips {
 public:
  static constexpr std::size_t kBuckets = 18;
  static constexpr std::uint64_t bound_us(std::size_t bucket) noexcept { return 64ULL << bucket; }

  void add(std::int64_t duration_ns) noexcept {
    const auto us = static_cast<std::uint64_t>(duration_ns < 0 ? 0 : duration_ns) / 1000;
    std::size_t bucket = 0;
    while (bucket < kBuckets && us > bound_us(bucket))
      ++bucket;
    ++counts_[bucket];
    ++count_;
    sum_us_ += us;
    last_us_ = us;
  }
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t sum_us() const noexcept { return sum_us_; }
  std::uint64_t last_us() const noexcept { return last_us_; }
  // Those of at most bound_us(bucket).
  std::uint64_t at_most(std::size_t bucket) const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= bucket && i < kBuckets; ++i)
      sum += counts_[i];
    return sum;
  }
  std::uint64_t quantile_us(double share) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(count_));
    for (std::size_t i = 0; i < kBuckets; ++i)
      if (at_most(i) > wanted) return bound_us(i);
    return count_ == 0 ? 0 : bound_us(kBuckets);
  }

 private:
  std::array<std::uint64_t, kBuckets + 1> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_us_ = 0;
  std::uint64_t last_us_ = 0;
};

struct UpstreamCounts {
  std::uint64_t ok_total = 0;
  std::uint64_t busy_total = 0;
  std::uint64_t timeout_total = 0;  // unanswered for the request timeout
  std::uint64_t refused_total = 0;  // connections that the server ended with a reason
  std::uint64_t fallback_starts_total = 0;
  std::int64_t fallback_ns = 0;  // of the periods that have ended
};

}  // namespace weir::agent
