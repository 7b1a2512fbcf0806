// What one run of the simulation is made of. Everything follows from these figures and the seed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "adaptive/shed_word.h"
#include "adaptive/shedder.h"

namespace weir::overload {

using adaptive::kClasses;
using adaptive::kMs;
using adaptive::kSecond;
using adaptive::TimeNs;

enum class ArmKind : std::uint8_t {
  none,          // everything is admitted
  fixed,         // so many in flight on the host, whatever happens
  strict,        // the same, but the most important class may exceed it four times: a bound
  ours,          // the shedder of adaptive/, one for the host
  kratos,        // BBR as published, one in each process
  gradient,      // Gradient2 as published, one in each process
  gradient_host  // ours of the gradient kind, one for the host
};

// `bimodal`: nine of ten take half of the mean, one takes five and a half times as long.
enum class Service : std::uint8_t { exponential, lognormal, constant, bimodal, mixed };

// After the step; others take their share of the cores from here on.
inline constexpr TimeNs kNeighbourAfterNs = 30 * kSecond;

struct Scenario {
  std::uint64_t seed = 1;
  int cores = 8;
  int processes = 8;
  bool fifo = false;  // work runs to its end on a core; processor sharing otherwise
  Service service = Service::exponential;
  TimeNs work_ns = 10 * kMs;               // of the CPU, on average
  TimeNs pause_ns = 0;                     // waits for others in the middle of the work
  TimeNs refuse_ns = 100 * adaptive::kUs;  // of the CPU, for each refusal
  TimeNs deadline_ns = 100 * kMs;          // a later answer is worth nothing
  TimeNs patience_ns = kSecond;            // after it the client cancels
  double base_load = 0.5;                  // of the capacity
  double load = 2.0;
  TimeNs before_ns = 40 * kSecond;
  TimeNs during_ns = 60 * kSecond;
  TimeNs after_ns = 30 * kSecond;
  TimeNs settled_ns = 20 * kSecond;  // after the step; from here on goodput counts
  std::array<double, kClasses> mix{0.0, 1.0, 0.0, 0.0};
  // Of the capacity: what the most important class asks for whatever the load; the others share the
  // rest by the mix. Negative: the mix says it for all of them.
  double steady_most = -1.0;
  double failing = 0.0;    // share of requests that fail at once
  double neighbour = 0.0;  // share of the cores that others take, from 30 s after the step

  ArmKind arm = ArmKind::ours;
  std::uint32_t fixed_limit = 12;
  adaptive::ShedderOptions shedder{};

  // The square of the works' coefficient of variation, or 1 where arrivals vary more.
  double variation() const noexcept {
    return service == Service::lognormal ? 1.72 : service == Service::bimodal ? 2.25 : 1.0;
  }
  double capacity_per_second() const noexcept {
    return static_cast<double>(cores) * 1e9 / static_cast<double>(work_ns);
  }
  // What the cores can answer while they refuse the rest of what comes. Where the work is small a
  // refusal is no small part of it.
  double possible_per_second(double at_load) const noexcept {
    const double asked = at_load * capacity_per_second();
    const auto refuse = static_cast<double>(refuse_ns);
    const auto saved = static_cast<double>(work_ns) - refuse;
    if (saved <= 0.0) return 0.0;
    const double left_ns = static_cast<double>(cores) * 1e9 - asked * refuse;
    return std::clamp(left_ns / saved, 0.0, std::min(asked, capacity_per_second()));
  }
};

}  // namespace weir::overload
