#include "lease/demand.h"

#include <algorithm>
#include <cmath>

namespace weir::lease {
namespace {

// How far a count may lie from what is expected by chance alone: this many standard deviations, and
// a few events more, because small counts are skewed.
constexpr double kUnlikely = 3.0;
constexpr double kFewEvents = 2.0;
// Slow limits: how long nothing may come until the want is nothing.
constexpr TimeNs kSilenceNs = 4 * kSecond;

}  // namespace

void Demand::sample(std::uint64_t total, TimeNs now_ns) noexcept {
  if (!started_ || total < total_ || now_ns < window_start_ns_) {
    const Micro before = started_ ? rate_ : 0;
    *this = Demand{};
    started_ = true;
    total_ = window_total_ = total;
    window_start_ns_ = now_ns;
    rate_ = before;
    return;
  }
  total_ = total;
  jumped_ = false;
  const TimeNs length_ns = now_ns - window_start_ns_;
  if (length_ns >= window_ns_) return close_window(now_ns);
  // Of a rise one need not see the end.
  const Window now{total_ - window_total_, length_ns};
  if (length_ns >= kWindowLeastNs && filled_ > 0 && now.count > 0 && unlikely(now, before_now()))
    close_window(now_ns);
}

Demand::Window Demand::sum(std::size_t from, std::size_t to) const noexcept {
  Window sum;
  for (std::size_t i = from; i < to; ++i) {
    const Window& one = windows_[(newest_ + kWindowsMost - i) % kWindowsMost];
    sum.count += one.count;
    sum.length_ns += one.length_ns;
  }
  return sum;
}

// What came before is not known exactly either.
bool Demand::unlikely(const Window& now, const Window& before) noexcept {
  const double part = static_cast<double>(now.length_ns) /
                      static_cast<double>(std::max<TimeNs>(1, before.length_ns));
  const double expected = static_cast<double>(before.count) * part;
  const double off = std::abs(static_cast<double>(now.count) - expected) - kFewEvents;
  return off > 0 && off * off > kUnlikely * kUnlikely * expected * (1 + part);
}

void Demand::close_window(TimeNs now_ns) noexcept {
  const Window window{total_ - window_total_, now_ns - window_start_ns_};
  window_total_ = total_;
  window_start_ns_ = now_ns;

  // Long silence makes all windows old.
  if (window.length_ns >= kSilenceNs) filled_ = 0;
  if (mixed_) filled_ = 0;
  mixed_ = false;
  newest_ = (newest_ + 1) % kWindowsMost;
  windows_[newest_] = window;
  filled_ = std::min(filled_ + 1, kWindowsMost);
  window_ns_ = std::min(kWindowNs, 2 * window_ns_);
  const Window all = sum(0, filled_);
  Window now;
  for (std::size_t last = 1; last < filled_; last *= 2) {
    const Window more = sum(last / 2, last);
    now = {now.count + more.count, now.length_ns + more.length_ns};
    if (!unlikely(now, {all.count - now.count, all.length_ns - now.length_ns})) continue;
    filled_ = last;  // what was before says nothing about now
    jumped_ = true;
    mixed_ = last == 1;
    window_ns_ = kWindowLeastNs;
    break;
  }

  std::uint64_t count = 0;
  TimeNs length_ns = 0;
  for (std::size_t i = 0; i < filled_; ++i) {
    if (i >= kWindows && count >= kEventsEnough) break;
    const Window& w = windows_[(newest_ + kWindowsMost - i) % kWindowsMost];
    count += w.count;
    length_ns += w.length_ns;
  }
  // After a change there is little to go by. Who is given too little has to ask again, so that of
  // what fits the few events seen the upper end is taken.
  if (filled_ < kWindowsFresh && count > 0 && count < kEventsEnough) ++count;
  rate_ = length_ns <= 0 ? 0
                         : mul_div(static_cast<Micro>(std::min<std::uint64_t>(
                                       count, static_cast<std::uint64_t>(kMicroMax / kToken))) *
                                       kToken,
                                   kSecond, length_ns);
}

}  // namespace weir::lease
