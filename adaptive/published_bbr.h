// Limiters as others publish them, with their defects: the measure for ours, in tests and in the
// simulation. Written from their formulas; see go-kratos/aegis ratelimit/bbr and go-zero
// core/load/adaptiveshedder.
#pragma once

#include <array>
#include <cstdint>

#include "adaptive/units.h"
#include "adaptive/window.h"

namespace weir::adaptive::published {

// aegis' average of the CPU: whole permille, cut off at each step.
class BbrCpu {
 public:
  explicit constexpr BbrCpu(double decay = 0.95) noexcept : decay_(decay) {}
  void sample(std::int64_t permille) noexcept;
  std::int64_t value() const noexcept { return value_; }
  void set(std::int64_t permille) noexcept { value_ = permille; }

 private:
  double decay_;
  std::int64_t value_ = 0;
};

// One process' BBR limiter: 100 cells of 100 ms, CPU above 800 permille, one second of hold that
// counts from the first drop. Every completion counts as a pass, errors too; response times are
// whole milliseconds, rounded up.
template <std::size_t kCells>
class Bbr {
 public:
  explicit Bbr(TimeNs cell_ns = 100 * kMs, std::int64_t cpu_hot_permille = 800) noexcept
      : pass_(cell_ns),
        rt_(cell_ns),
        cpu_hot_permille_(cpu_hot_permille),
        cells_a_second_(kSecond / cell_ns) {}

  void add_pass(TimeNs now_ns, std::int64_t count) noexcept { pass_.at(now_ns).sum += count; }
  void add_response_ms(TimeNs now_ns, std::int64_t ms) noexcept {
    Cell& cell = rt_.at(now_ns);
    cell.sum += ms;
    ++cell.count;
  }
  void done(TimeNs now_ns, TimeNs response_ns) noexcept {
    const std::int64_t ms = (response_ns + kMs - 1) / kMs;
    if (ms > 0) add_response_ms(now_ns, ms);
    add_pass(now_ns, 1);
  }

  // Both are looked at once a cell.
  std::int64_t max_pass(TimeNs now_ns) noexcept;
  std::int64_t min_response_ms(TimeNs now_ns) noexcept;
  std::int64_t max_in_flight(TimeNs now_ns) noexcept {
    const auto product =
        static_cast<double>(max_pass(now_ns) * min_response_ms(now_ns) * cells_a_second_);
    return static_cast<std::int64_t>(product / 1000.0);
  }
  bool should_drop(TimeNs now_ns, std::int64_t cpu_permille, std::int64_t in_flight) noexcept;

 private:
  struct Cell {
    std::int64_t sum = 0;
    std::int64_t count = 0;
  };

  Window<Cell, kCells> pass_;
  Window<Cell, kCells> rt_;
  std::int64_t cpu_hot_permille_;
  std::int64_t cells_a_second_;
  std::uint64_t pass_seen_ = UINT64_MAX;
  std::uint64_t rt_seen_ = UINT64_MAX;
  std::int64_t max_pass_ = 1;
  std::int64_t min_rt_ms_ = 1;
  bool dropping_ = false;
  TimeNs first_drop_ns_ = 0;
};

extern template class Bbr<3>;
extern template class Bbr<10>;
extern template class Bbr<100>;

// go-zero: the limit is squeezed linearly as the CPU fills up, to a tenth at least.
double squeeze(std::int64_t cpu_permille, std::int64_t cpu_hot_permille) noexcept;
// Windows of `cells_a_second`; at least 1.
double squeezed_max_flight(double max_pass, double min_response_ms, double cells_a_second) noexcept;
bool squeezed_drop(bool hot_or_held, double average_in_flight, double in_flight,
                   double limit) noexcept;

}  // namespace weir::adaptive::published
