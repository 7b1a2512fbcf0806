// What one run of the simulation is made of. Everything follows from these figures and the seed.
#pragma once

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

enum class Service : std::uint8_t { exponential, lognormal, constant, mixed };

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
  double failing = 0.0;    // share of requests that fail at once
  double neighbour = 0.0;  // share of the cores that others take, from 30 s after the step

  ArmKind arm = ArmKind::ours;
  std::uint32_t fixed_limit = 12;
  adaptive::ShedderOptions shedder{};

  double capacity_per_second() const noexcept {
    return static_cast<double>(cores) * 1e9 / static_cast<double>(work_ns);
  }
};

}  // namespace weir::overload
