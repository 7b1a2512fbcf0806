#include "sim/overload/measure.h"

#include <algorithm>

namespace weir::overload {

Measures::Measures(const Scenario& scenario) : scenario_(scenario) {
  const TimeNs whole = scenario.before_ns + scenario.during_ns + scenario.after_ns;
  slots_.resize(static_cast<std::size_t>(whole / kSlotNs) + 1);
}

Measures::Slot& Measures::slot(TimeNs now_ns) {
  return slots_[std::min(slots_.size() - 1, static_cast<std::size_t>(now_ns / kSlotNs))];
}

bool Measures::overloaded(TimeNs asked_ns) const noexcept {
  return asked_ns >= scenario_.before_ns &&
         asked_ns < scenario_.before_ns + scenario_.during_ns - scenario_.patience_ns;
}

void Measures::asked(TimeNs now_ns, std::uint8_t criticality) {
  ++slot(now_ns).asked;
  if (overloaded(now_ns)) ++class_asked_[criticality];
}

void Measures::refused(TimeNs now_ns, TimeNs /*asked_ns*/, std::uint8_t /*criticality*/) {
  ++slot(now_ns).refused;
}

void Measures::ended(TimeNs now_ns, TimeNs asked_ns, std::uint8_t criticality, bool answered) {
  const TimeNs response_ns = now_ns - asked_ns;
  Slot& in = slot(now_ns);
  ++in.ended;
  if (answered && response_ns <= scenario_.deadline_ns) ++in.good;
  if (!overloaded(asked_ns)) return;
  if (answered) ++class_answered_[criticality];
  if (asked_ns >= scenario_.before_ns + scenario_.settled_ns) responses_ns_.push_back(response_ns);
}

Measures::Slot Measures::second_from(std::size_t index) const {
  Slot sum{};
  for (std::size_t i = index; i < std::min(index + 10, slots_.size()); ++i) {
    sum.asked += slots_[i].asked;
    sum.refused += slots_[i].refused;
    sum.good += slots_[i].good;
    sum.ended += slots_[i].ended;
  }
  return sum;
}

// The first moment after the step from which three seconds in a row bring four fifths of what the
// host could do.
double Measures::control_seconds() const {
  const auto first = static_cast<std::size_t>(scenario_.before_ns / kSlotNs);
  const auto count = static_cast<std::size_t>(scenario_.during_ns / kSlotNs);
  const double wanted = 0.8 * scenario_.capacity_per_second() * std::min(1.0, scenario_.load);
  for (std::size_t i = 0; i + 30 <= count; ++i) {
    bool held = true;
    for (std::size_t second = 0; second < 3 && held; ++second)
      held = second_from(first + i + 10 * second).good >= wanted;
    if (held) return static_cast<double>(i) / 10.0;
  }
  return -1.0;
}

// The first moment after the load fell from which three seconds in a row refuse less than a
// hundredth and answer 99 of 100 in time.
double Measures::recover_seconds() const {
  const auto first =
      static_cast<std::size_t>((scenario_.before_ns + scenario_.during_ns) / kSlotNs);
  const auto count = static_cast<std::size_t>(scenario_.after_ns / kSlotNs);
  for (std::size_t i = 0; i + 30 <= count; ++i) {
    bool held = true;
    for (std::size_t second = 0; second < 3 && held; ++second) {
      const Slot sum = second_from(first + i + 10 * second);
      held = sum.refused * 100 < std::max(1U, sum.asked) && sum.good * 100 >= sum.ended * 99;
    }
    if (held) return static_cast<double>(i) / 10.0;
  }
  return -1.0;
}

Figures Measures::figures() const {
  Figures figures;
  const auto step = static_cast<std::size_t>(scenario_.before_ns / kSlotNs);
  const auto settled = step + static_cast<std::size_t>(scenario_.settled_ns / kSlotNs);
  const auto end = step + static_cast<std::size_t>(scenario_.during_ns / kSlotNs);
  Slot sum{};
  for (std::size_t i = settled; i < end; ++i) {
    sum.asked += slots_[i].asked;
    sum.refused += slots_[i].refused;
    sum.good += slots_[i].good;
  }
  const double whole = scenario_.capacity_per_second() * static_cast<double>(end - settled) / 10.0;
  figures.goodput = static_cast<double>(sum.good) / std::max(1.0, whole);
  figures.shed = static_cast<double>(sum.refused) / std::max(1U, sum.asked);
  Slot early{};
  for (std::size_t i = std::min<std::size_t>(100, step / 3); i < step; ++i) {
    early.asked += slots_[i].asked;
    early.refused += slots_[i].refused;
  }
  figures.falsely_shed = static_cast<double>(early.refused) / std::max(1U, early.asked);
  std::vector<TimeNs> sorted = responses_ns_;
  if (!sorted.empty()) {
    const auto at = static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    figures.p99_ms = static_cast<double>(sorted[static_cast<std::size_t>(at)]) * 1e-6;
  }
  figures.control_seconds = control_seconds();
  figures.recover_seconds = recover_seconds();
  for (std::size_t i = 0; i < kClasses; ++i) {
    const double asked = static_cast<double>(class_asked_[i]);
    figures.answered[i] = asked > 0.0 ? static_cast<double>(class_answered_[i]) / asked : 1.0;
  }
  return figures;
}

}  // namespace weir::overload
