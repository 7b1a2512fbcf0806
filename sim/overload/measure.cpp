#include "sim/overload/measure.h"

#include <algorithm>
#include <cmath>

namespace weir::overload {

namespace {

constexpr double kChance = 3.0;  // standard deviations

}  // namespace

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

void Measures::asked(TimeNs now_ns, std::uint8_t criticality, double work_ns) {
  ++slot(now_ns).asked;
  if (!overloaded(now_ns)) return;
  ++class_asked_[criticality];
  if (criticality == 0) work_of_most_ns_ += work_ns;
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

Measures::Slot Measures::sum_of(std::size_t first, std::size_t end) const {
  Slot sum{};
  for (std::size_t i = first; i < std::min(end, slots_.size()); ++i) {
    sum.asked += slots_[i].asked;
    sum.refused += slots_[i].refused;
    sum.good += slots_[i].good;
    sum.ended += slots_[i].ended;
  }
  return sum;
}

// A sum: with everything else refused at the price of a refusal, and a share f of the class
// answered, the cores do f of its work and refuse the rest of all that came. A queue that is left
// over at the end is not in it, nor is what is lost while one runs dry by chance.
double Measures::possible_of_most() const {
  const auto span_ns = static_cast<double>(scenario_.during_ns - scenario_.patience_ns);
  const double alone_ns = std::min(span_ns, static_cast<double>(kNeighbourAfterNs));
  const double shared_ns = span_ns - alone_ns;
  const double cores_ns = scenario_.cores * (alone_ns + shared_ns * (1.0 - scenario_.neighbour));
  const auto refuse_ns = static_cast<double>(scenario_.refuse_ns);
  double asked = 0.0;
  for (const std::uint64_t each : class_asked_)
    asked += static_cast<double>(each);
  const double saved_ns = work_of_most_ns_ - static_cast<double>(class_asked_[0]) * refuse_ns;
  if (saved_ns <= 0.0) return 1.0;
  return std::clamp((cores_ns - asked * refuse_ns) / saved_ns, 0.0, 1.0);
}

// The first moment after the step from which three seconds in a row bring four fifths of what the
// host could do.
double Measures::control_seconds() const {
  const auto first = static_cast<std::size_t>(scenario_.before_ns / kSlotNs);
  const auto count = static_cast<std::size_t>(scenario_.during_ns / kSlotNs);
  // A core that answers a hundred a second answers a tenth less or more in many a second.
  const double possible = scenario_.possible_per_second(scenario_.load);
  const double wanted =
      std::min(0.8 * possible, possible - kChance * std::sqrt(possible * scenario_.variation()));
  for (std::size_t i = 0; i + 30 <= count; ++i) {
    bool held = true;
    for (std::size_t second = 0; second < 3 && held; ++second)
      held = second_from(first + i + 10 * second).good >= wanted;
    if (held) return static_cast<double>(i) / 10.0;
  }
  return -1.0;
}

// The first moment after the load fell from which three seconds in a row refuse less than a
// hundredth and answer 99 of 100 in time; or as many as without any overload, where the work is
// long for the deadline and a few miss it by chance.
double Measures::recover_seconds() const {
  const auto first =
      static_cast<std::size_t>((scenario_.before_ns + scenario_.during_ns) / kSlotNs);
  const auto count = static_cast<std::size_t>(scenario_.after_ns / kSlotNs);
  double usual = 0.01;
  for (std::size_t i = std::min<std::size_t>(100, step() / 3); i + 10 <= step(); ++i) {
    const Slot sum = second_from(i);
    usual = std::max(usual, sum.late() / std::max(1U, sum.ended));
  }
  for (std::size_t i = 0; i + 30 <= count; ++i) {
    bool held = true;
    for (std::size_t second = 0; second < 3 && held; ++second) {
      const Slot sum = second_from(first + i + 10 * second);
      held = sum.refused * 100 < std::max(1U, sum.asked) && sum.late() <= usual * sum.ended;
    }
    if (held) return static_cast<double>(i) / 10.0;
  }
  return -1.0;
}

Figures Measures::figures() const {
  Figures figures;
  const std::size_t settled = step() + static_cast<std::size_t>(scenario_.settled_ns / kSlotNs);
  const std::size_t end = step() + static_cast<std::size_t>(scenario_.during_ns / kSlotNs);
  const Slot sum = sum_of(settled, end);
  const double whole = scenario_.capacity_per_second() * static_cast<double>(end - settled) / 10.0;
  figures.goodput = static_cast<double>(sum.good) / std::max(1.0, whole);
  figures.shed = static_cast<double>(sum.refused) / std::max(1U, sum.asked);
  const Slot early = sum_of(std::min<std::size_t>(100, step() / 3), step());
  figures.falsely_shed = static_cast<double>(early.refused) / std::max(1U, early.asked);
  std::vector<TimeNs> sorted = responses_ns_;
  if (!sorted.empty()) {
    const auto at = static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    figures.p99_ms = static_cast<double>(sorted[static_cast<std::size_t>(at)]) * 1e-6;
  }
  figures.possible_of_most = possible_of_most();
  figures.control_seconds = control_seconds();
  figures.recover_seconds = recover_seconds();
  for (std::size_t i = 0; i < kClasses; ++i) {
    const double asked = static_cast<double>(class_asked_[i]);
    figures.answered[i] = asked > 0.0 ? static_cast<double>(class_answered_[i]) / asked : 1.0;
  }
  return figures;
}

}  // namespace weir::overload
