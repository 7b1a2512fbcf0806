// What a namespace's server takes a second: a bucket of requests.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lease/units.h"

namespace weir::server {

class Guard {
 public:
  // A tenth of a second's worth may come at once.
  static constexpr std::uint32_t kBurstParts = 10;

  explicit Guard(std::uint32_t requests_per_s) noexcept { set(requests_per_s); }

  void set(std::uint32_t requests_per_s) noexcept {
    rate_ = static_cast<lease::Micro>(std::max(1U, requests_per_s)) * lease::kToken;
    burst_ = std::max<lease::Micro>(lease::kToken, rate_ / kBurstParts);
    level_ = fresh_ ? burst_ : std::min(level_, burst_);
    fresh_ = false;
  }
  bool admit(lease::TimeNs now_ns) noexcept {
    if (now_ns > seen_ns_) {
      level_ = std::min(burst_,
                        level_ + lease::minted(rate_, std::min(now_ns - seen_ns_, lease::kSecond)));
      seen_ns_ = now_ns;
    }
    if (level_ < lease::kToken) return false;
    level_ -= lease::kToken;
    return true;
  }

 private:
  lease::Micro rate_ = 0;
  lease::Micro burst_ = 0;
  lease::Micro level_ = 0;
  lease::TimeNs seen_ns_ = 0;
  bool fresh_ = true;
};

}  // namespace weir::server
