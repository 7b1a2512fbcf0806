#include "lease/demand.h"

#include <algorithm>
#include <cmath>

namespace weir::lease {
namespace {

// How far a window may lie from the mean by chance alone: this many standard deviations of a
// count, and a few events more, because small counts are skewed.
constexpr double kUnlikely = 4.0;
constexpr double kFewEvents = 3.0;
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
  if (now_ns - window_start_ns_ >= kWindowNs) close_window(now_ns);
}

void Demand::close_window(TimeNs now_ns) noexcept {
  const Window window{total_ - window_total_, now_ns - window_start_ns_};
  window_total_ = total_;
  window_start_ns_ = now_ns;

  // Long silence makes all windows old.
  if (window.length_ns >= kSilenceNs) filled_ = 0;
  const double seconds = static_cast<double>(window.length_ns) / 1e9;
  const double expected = static_cast<double>(rate_) / 1e6 * seconds;
  const double off = static_cast<double>(window.count) - expected;
  const bool unlikely = std::abs(off) > kUnlikely * std::sqrt(expected) + kFewEvents;
  if (filled_ > 0 && unlikely) {
    filled_ = 0;  // what was before says nothing about now
    jumped_ = true;
  }
  newest_ = (newest_ + 1) % kWindowsMost;
  windows_[newest_] = window;
  filled_ = std::min(filled_ + 1, kWindowsMost);

  std::uint64_t count = 0;
  TimeNs length_ns = 0;
  for (std::size_t i = 0; i < filled_; ++i) {
    if (i >= kWindows && count >= kEventsEnough) break;
    const Window& w = windows_[(newest_ + kWindowsMost - i) % kWindowsMost];
    count += w.count;
    length_ns += w.length_ns;
  }
  rate_ = length_ns <= 0 ? 0
                         : mul_div(static_cast<Micro>(std::min<std::uint64_t>(
                                       count, static_cast<std::uint64_t>(kMicroMax / kToken))) *
                                       kToken,
                                   kSecond, length_ns);
}

}  // namespace weir::lease
