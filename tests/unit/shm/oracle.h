// The oracle of every test of limits: admitted(window) <= burst + rate x window, for every window.
// An exact leaky meter in the test's own time, in units of tokens x period, so nothing is rounded.
#pragma once

#include <cstdint>

namespace weir::test {

class RateOracle {
 public:
  RateOracle(std::uint64_t burst, std::uint64_t amount, std::uint64_t period_ns)
      : capacity_(static_cast<Wide>(burst) * period_ns), amount_(amount), period_ns_(period_ns) {}

  // Admissions at one instant. Times never go back.
  void admit(std::int64_t now_ns, std::uint64_t tokens) {
    drain(now_ns);
    level_ += static_cast<Wide>(tokens) * period_ns_;
    if (level_ > worst_) worst_ = level_;
  }
  bool broken() const { return worst_ > capacity_; }
  // Tokens beyond the bound, rounded up.
  std::uint64_t excess() const {
    return broken() ? static_cast<std::uint64_t>((worst_ - capacity_ + period_ns_ - 1) / period_ns_)
                    : 0;
  }

 private:
  __extension__ using Wide = unsigned __int128;
  void drain(std::int64_t now_ns) {
    const Wide drained = static_cast<Wide>(now_ns - last_ns_) * amount_;
    level_ = drained >= level_ ? 0 : level_ - drained;
    last_ns_ = now_ns;
  }
  Wide capacity_, level_ = 0, worst_ = 0;
  std::uint64_t amount_, period_ns_;
  std::int64_t last_ns_ = 0;
};

}  // namespace weir::test
