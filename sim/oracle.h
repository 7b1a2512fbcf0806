// The judges. They see true time and what hosts really did and held, and nothing of the core.
#pragma once

#include <cstdint>
#include <deque>

#include "lease/units.h"

namespace weir::sim {

// As people count them.
constexpr double tokens(lease::Micro amount) noexcept {
  return static_cast<double>(amount) / static_cast<double>(lease::kToken);
}

using lease::Micro;
using lease::TimeNs;

struct Bound {
  Micro rate = 0;
  Micro burst = 0;

  bool operator==(const Bound&) const = default;
};

// What a limit was, and the largest that it was lately: whoever got a lease before a limit was
// lowered may use it until it ends.
class InForce {
 public:
  explicit InForce(TimeNs memory_ns = 0) : memory_ns_(memory_ns) {}

  void set(const Bound& bound, TimeNs at_ns);
  Bound now() const { return spans_.empty() ? Bound{} : spans_.back().bound; }
  // The larger of each part over [at - memory, at]. `at` never runs backwards.
  Bound largest(TimeNs at_ns);
  // When largest() falls by itself; kNever: not at all.
  TimeNs next_fall_ns() const;

 private:
  struct Span {
    Bound bound;
    TimeNs from_ns = 0;
  };
  TimeNs memory_ns_;
  std::deque<Span> spans_;
};

// An exact leaky bucket: by how much the admissions of any window whatever were more than
// burst + rate x window. In whole numbers, so that one micro-token too many is one too many.
class Meter {
 public:
  // From now on. What flows in later is judged by it; a smaller burst forgives what was spent
  // when it was larger.
  void set(const Bound& bound, TimeNs at_ns);
  void admit(Micro amount, TimeNs at_ns);

  // Above 0: so many micro-tokens too many in the worst window. Below: room that was never used.
  Micro worst() const noexcept { return admitted_ == 0 ? 0 : worst_; }
  TimeNs worst_at_ns() const noexcept { return worst_at_ns_; }
  Micro admitted() const noexcept { return admitted_; }

 private:
  __extension__ typedef __int128 Wide;
  void drain(TimeNs at_ns);

  Bound bound_;
  Wide water_ = 0;  // micro-tokens times nanoseconds a second
  TimeNs at_ns_ = 0;
  Micro admitted_ = 0;
  Micro worst_ = -lease::kMicroMax;
  TimeNs worst_at_ns_ = 0;
};

// The sum of what hosts hold of one limit, kept up to date as each of them changes.
class HeldSum {
 public:
  void change(Micro more_rate, Micro more_burst) noexcept {
    held_.rate += more_rate;
    held_.burst += more_burst;
  }
  void set_server(const Bound& part) noexcept { server_ = part; }
  Bound total() const noexcept { return {held_.rate + server_.rate, held_.burst + server_.burst}; }
  Bound hosts() const noexcept { return held_; }

  // By how much the total is above the bound now; remembers the worst.
  bool fits(const Bound& bound, TimeNs at_ns) noexcept;
  Micro worst_rate() const noexcept { return worst_rate_; }
  Micro worst_burst() const noexcept { return worst_burst_; }
  TimeNs worst_at_ns() const noexcept { return worst_at_ns_; }

 private:
  Bound held_;
  Bound server_;
  Micro worst_rate_ = 0;
  Micro worst_burst_ = 0;
  TimeNs worst_at_ns_ = 0;
};

// The most that was admitted in any second.
class Peak {
 public:
  void admit(Micro amount, TimeNs at_ns);
  Micro worst() const noexcept { return worst_; }

 private:
  struct Slice {
    TimeNs at_ns = 0;
    Micro amount = 0;
  };
  // Admissions within a millisecond count together, which bounds the memory.
  static constexpr TimeNs kSliceNs = lease::kMs;
  std::deque<Slice> slices_;
  Micro sum_ = 0;
  Micro worst_ = 0;
};

}  // namespace weir::sim
