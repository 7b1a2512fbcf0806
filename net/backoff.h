// How long to wait before the next try: anything between the least and a bound that doubles with
// each failure ("full jitter"), so that hosts that lost a server together do not come back
// together.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace weir::net {

struct BackoffOptions {
  std::chrono::milliseconds least{100};
  std::chrono::milliseconds most{10'000};
};

class Backoff {
 public:
  using Ms = std::chrono::milliseconds;

  explicit Backoff(BackoffOptions options = {}) noexcept
      : least_(std::max(options.least, Ms{1})), most_(std::max(options.most, least_)) {}

  // `random` is any 64 random bits. The first bound is twice the least, so that even the first
  // waits differ from host to host.
  Ms next(std::uint64_t random) noexcept {
    bound_ = bound_ == Ms{0} ? std::min(least_ * 2, most_) : std::min(bound_ * 2, most_);
    const auto span = static_cast<std::uint64_t>((bound_ - least_).count()) + 1;
    return least_ + Ms{static_cast<Ms::rep>(random % span)};
  }
  void reset() noexcept { bound_ = Ms{0}; }
  Ms bound() const noexcept { return bound_; }  // of the last wait; 0: none since the reset

 private:
  Ms least_;
  Ms most_;
  Ms bound_{0};
};

}  // namespace weir::net
