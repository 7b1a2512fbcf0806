#include "adaptive/published_bbr.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive::published {

void BbrCpu::sample(std::int64_t permille) noexcept {
  const auto now = static_cast<double>(std::min<std::int64_t>(permille, 1000));
  // Cut off, not rounded: a steady 818 never reads above 799.
  value_ = static_cast<std::int64_t>(static_cast<double>(value_) * decay_ + now * (1.0 - decay_));
}

template <std::size_t kCells>
std::int64_t Bbr<kCells>::max_pass(TimeNs now_ns) noexcept {
  pass_.roll(now_ns);
  if (pass_.rolled() == pass_seen_) return max_pass_;
  pass_seen_ = pass_.rolled();
  max_pass_ = 1;
  pass_.each_complete([&](const Cell& cell) { max_pass_ = std::max(max_pass_, cell.sum); });
  return max_pass_;
}

template <std::size_t kCells>
std::int64_t Bbr<kCells>::min_response_ms(TimeNs now_ns) noexcept {
  rt_.roll(now_ns);
  if (rt_.rolled() == rt_seen_) return min_rt_ms_;
  rt_seen_ = rt_.rolled();
  double best = INFINITY;
  rt_.each_complete([&](const Cell& cell) {
    if (cell.count > 0)
      best = std::min(best, static_cast<double>(cell.sum) / static_cast<double>(cell.count));
  });
  min_rt_ms_ = std::isfinite(best) ? std::max<std::int64_t>(1, std::llround(std::ceil(best))) : 1;
  return min_rt_ms_;
}

template <std::size_t kCells>
bool Bbr<kCells>::should_drop(TimeNs now_ns, std::int64_t cpu_permille,
                              std::int64_t in_flight) noexcept {
  const bool over = in_flight > 1 && in_flight > max_in_flight(now_ns);
  if (cpu_permille < cpu_hot_permille_) {
    if (!dropping_) return false;
    if (now_ns - first_drop_ns_ <= kSecond) return over;
    dropping_ = false;
    return false;
  }
  if (over && !dropping_) {
    dropping_ = true;
    first_drop_ns_ = now_ns;
  }
  return over;
}

template class Bbr<3>;
template class Bbr<10>;
template class Bbr<100>;

double squeeze(std::int64_t cpu_permille, std::int64_t cpu_hot_permille) noexcept {
  const auto room = static_cast<double>(1000 - cpu_permille);
  return std::clamp(room / static_cast<double>(std::max<std::int64_t>(1, 1000 - cpu_hot_permille)),
                    0.1, 1.0);
}

double squeezed_max_flight(double max_pass, double min_response_ms,
                           double cells_a_second) noexcept {
  return std::max(1.0, max_pass * min_response_ms * cells_a_second / 1000.0);
}

bool squeezed_drop(bool hot_or_held, double average_in_flight, double in_flight,
                   double limit) noexcept {
  return hot_or_held && average_in_flight > limit && in_flight > limit;
}

}  // namespace weir::adaptive::published
