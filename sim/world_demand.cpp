// What callers want, and when that changes.
#include <algorithm>
#include <cmath>

#include "sim/world.h"

namespace weir::sim {
namespace {

constexpr TimeNs kSpellNs = 4 * lease::kSecond;
constexpr double kIdleRate = 0.1;  // tokens a second of a host that is nearly idle

double unit(std::uint64_t a, std::uint64_t b) {
  return static_cast<double>(lease::mix(a, b) >> 11) * 0x1.0p-53;
}

}  // namespace

// How much of a limit this host wants, against the others, in the given phase.
double World::weight_of(std::uint32_t limit, std::uint32_t host, std::uint64_t phase) const {
  const std::uint64_t seed = lease::mix(lease::mix(setup_.seed, 77 + limit), host);
  switch (setup_.limits[limit].pattern) {
    case Pattern::equal:
    case Pattern::on_off:
      return 1;
    case Pattern::steady:
      return 0.2 + 1.6 * unit(seed, 1);
    case Pattern::moving: {
      const double u = unit(seed, phase);
      return u < 0.25 ? 0.02 : 0.1 + 3 * unit(seed, phase + 1'000'000);
    }
    case Pattern::skewed:
      return std::exp2(-static_cast<double>(std::min(host, 40U)));
    case Pattern::flash_crowd:
      return phase % 2 == 0 && unit(seed, phase) < 0.1 ? 40.0 : 0.5 + unit(seed, 1);
    case Pattern::wobble:
      return 0.9 + 0.2 * unit(seed, phase);
    case Pattern::idle_few:
      return host % 3 == 2 ? 0 : 0.5 + unit(seed, 1);
  }
  return 1;
}

void World::deal_demand(std::uint32_t limit, std::uint64_t phase) {
  const LimitPlan& plan = setup_.limits[limit];
  std::vector<double>& wants = demand_[limit];
  double sum = 0;
  for (std::uint32_t host = 0; host < setup_.hosts; ++host)
    sum += wants[host] = weight_of(limit, host, phase);
  double total = tokens(plan.config.rate) * plan.overload;
  if (plan.config.threshold == lease::Threshold::per_host) total *= setup_.hosts;
  // A crowd comes on top of what is there; quiet is seven tenths of the limit.
  const bool crowd = plan.pattern == Pattern::flash_crowd;
  if (crowd && phase % 2 == 1) total *= 0.7 / plan.overload;
  if (plan.pattern == Pattern::on_off) total *= 2;  // each host is on half of the time
  // Each is off a little by chance around its mean, so that the sum does too; nothing else does.
  for (std::uint32_t host = 0; host < setup_.hosts; ++host)
    wants[host] *= sum > 0 ? total / sum : 0;
  if (plan.pattern == Pattern::idle_few)
    for (std::uint32_t host = 2; host < setup_.hosts; host += 3)
      wants[host] = kIdleRate;
}

void World::set_demand(std::uint32_t limit, std::uint32_t host) {
  const std::uint32_t of = original_[host];
  hosts_[host]->rows()[limit].set_rate(demand_[limit][of] + extra_[limit][of], now_ns_);
}

void World::shift() {
  for (const auto& host : hosts_)
    host->advance(now_ns_);
  ++phase_;
  if (traced()) say("SHIFT");
  TimeNs next_ns = lease::kNever;
  const TimeNs moving_ns = fault_random_.between(5 * lease::kSecond, 15 * lease::kSecond);
  for (std::uint32_t limit = 0; limit < setup_.limits.size(); ++limit) {
    const Pattern pattern = setup_.limits[limit].pattern;
    const bool moves =
        pattern == Pattern::moving || pattern == Pattern::flash_crowd || pattern == Pattern::wobble;
    if (pattern == Pattern::moving) next_ns = std::min(next_ns, moving_ns);
    if (pattern == Pattern::flash_crowd || pattern == Pattern::wobble)
      next_ns = std::min(next_ns, 10 * lease::kSecond);
    if (!watches_[limit].leaf || (phase_ > 1 && !moves)) continue;
    deal_demand(limit, phase_);
    for (std::uint32_t host = 0; host < hosts_.size(); ++host) {
      set_demand(limit, host);
      if (pattern == Pattern::on_off)
        hosts_[host]->rows()[limit].arrivals().set_spells(kSpellNs, kSpellNs, now_ns_);
      if (pattern == Pattern::idle_few && host % 3 == 2)
        hosts_[host]->rows()[limit].measure_waits();
    }
    if (pattern != Pattern::on_off && pattern != Pattern::idle_few)
      measures_.shift(limit, demand_[limit], now_ns_);
  }
  for (std::uint32_t host = 0; host < hosts_.size(); ++host)
    hosts_[host]->demand_changed(now_ns_);
  for (std::uint32_t host = 0; host < hosts_.size(); ++host)
    plan_wake(host);
  if (next_ns < lease::kNever) events_.push(now_ns_ + next_ns, EventKind::shift);
}

}  // namespace weir::sim
