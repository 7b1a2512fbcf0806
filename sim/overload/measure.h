// What a run of the overload simulation counts, and the figures that follow from it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "adaptive/histogram.h"
#include "sim/overload/scenario.h"

namespace weir::overload {

struct Figures {
  double goodput = 0.0;         // answers in time, of the capacity, once settled
  double p99_ms = 0.0;          // of what was admitted, once settled; cancelled ones included
  double control_seconds = -1;  // negative: never
  double recover_seconds = -1;
  // Share refused before the step, its first ten seconds, or its first third, left out.
  double falsely_shed = 0.0;
  double shed = 0.0;  // share refused once settled
  // Answered before the client gave up, of what was asked, from the step on.
  std::array<double, kClasses> answered{};
  // The share of the most important class that the cores have time for, all others refused.
  double possible_of_most = 1.0;
};

class Measures {
 public:
  explicit Measures(const Scenario& scenario);

  void asked(TimeNs now_ns, std::uint8_t criticality, double work_ns);
  void refused(TimeNs now_ns, TimeNs asked_ns, std::uint8_t criticality);
  // `answered` is false for what the client cancelled.
  void ended(TimeNs now_ns, TimeNs asked_ns, std::uint8_t criticality, bool answered);

  Figures figures() const;

 private:
  static constexpr TimeNs kSlotNs = 100 * kMs;
  struct Slot {
    std::uint32_t asked = 0;
    std::uint32_t refused = 0;
    std::uint32_t good = 0;
    std::uint32_t ended = 0;
    double late() const noexcept { return static_cast<double>(ended) - good; }
  };
  Slot& slot(TimeNs now_ns);
  Slot sum_of(std::size_t first, std::size_t end) const;
  Slot second_from(std::size_t index) const { return sum_of(index, index + 10); }
  std::size_t step() const { return static_cast<std::size_t>(scenario_.before_ns / kSlotNs); }
  bool overloaded(TimeNs asked_ns) const noexcept;
  double possible_of_most() const;
  double control_seconds() const;
  double recover_seconds() const;

  Scenario scenario_;
  std::vector<Slot> slots_;
  std::vector<TimeNs> responses_ns_;  // of what was admitted and asked for once settled
  std::array<std::uint64_t, kClasses> class_asked_{};
  std::array<std::uint64_t, kClasses> class_answered_{};
  double work_of_most_ns_ = 0.0;
};

}  // namespace weir::overload
