// What breaks, and how it heals.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "sim/world.h"

namespace weir::sim {
namespace {

constexpr std::size_t kHostsMostFactor = 3;  // copies included

}  // namespace

const char* name_of(Fault fault) noexcept {
  constexpr std::array<const char*, kFaults> kNames = {
      "link-cut",   "partition",    "one-way",      "slow-network", "lossy-network",
      "agent-stop", "agent-crash",  "host-sleep",   "host-crash",   "host-leave",
      "clone",      "clock-leap",   "clock-drift",  "server-crash", "server-freeze",
      "store-cut",  "lose-servers", "limit-change", "demand-spike"};
  return kNames[static_cast<std::size_t>(fault)];
}

void World::later(TimeNs in_ns, std::function<void()> what) {
  heals_.push_back(std::move(what));
  events_.push(now_ns_ + std::max<TimeNs>(0, in_ns), EventKind::heal,
               static_cast<std::uint32_t>(heals_.size() - 1));
}

void World::plan_fault() {
  const FaultPlan& plan = setup_.faults;
  if (plan.every_ns == 0) return;
  TimeNs at_ns = 0;
  if (plan.regular) {
    // Somewhere in the next period.
    const TimeNs period_ns = now_ns_ / plan.every_ns + (now_ns_ > 0 ? 1 : 0);
    at_ns = period_ns * plan.every_ns + fault_random_.between(0, plan.every_ns - 1);
  } else {
    const double wait = -std::log1p(-fault_random_.unit());
    at_ns = now_ns_ + static_cast<TimeNs>(wait * static_cast<double>(plan.every_ns));
  }
  at_ns = std::max(at_ns, now_ns_ + lease::kMs);
  if (at_ns < end_ns_ - plan.quiet_ns) events_.push(at_ns, EventKind::fault);
}

void World::break_something() {
  const FaultPlan& plan = setup_.faults;
  std::uint64_t sum = 0;
  for (const std::uint32_t weight : plan.weights)
    sum += weight;
  std::uint64_t draw = sum == 0 ? 0 : fault_random_.next() % sum;
  std::size_t kind = 0;
  while (kind + 1 < kFaults && draw >= plan.weights[kind])
    draw -= plan.weights[kind++];
  const auto fault = static_cast<Fault>(kind);
  // Short ones are more common than long ones.
  const double part = fault_random_.unit();
  const TimeNs rest_ns = end_ns_ - plan.quiet_ns - now_ns_;
  const auto last_ns = std::min(
      rest_ns,
      50 * lease::kMs + static_cast<TimeNs>(part * part * static_cast<double>(plan.last_most_ns)));
  std::size_t count = 1;
  if (fault == Fault::partition || fault == Fault::one_way)
    count = static_cast<std::size_t>(
        1 + (plan.cut_least + (plan.cut_most - plan.cut_least) * fault_random_.unit()) *
                (setup_.hosts - 1));
  const double amount = fault_random_.unit();
  if (sum > 0) break_one(fault, pick_hosts(count), last_ns, amount);
  plan_fault();
}

std::vector<std::uint32_t> World::pick_hosts(std::size_t count) {
  std::vector<std::uint32_t> all(hosts_.size());
  for (std::uint32_t i = 0; i < all.size(); ++i)
    all[i] = i;
  count = std::min(count, all.size());
  for (std::size_t i = 0; i < count; ++i)
    std::swap(all[i],
              all[static_cast<std::size_t>(fault_random_.between(
                  static_cast<std::int64_t>(i), static_cast<std::int64_t>(all.size()) - 1))]);
  all.resize(count);
  return all;
}

void World::break_one(Fault fault, std::vector<std::uint32_t> hosts, TimeNs last_ns,
                      double amount) {
  ++fault_counts_[static_cast<std::size_t>(fault)];
  if (traced()) {
    std::string line = std::string("FAULT ") + name_of(fault) + " for " +
                       std::to_string(static_cast<double>(last_ns) / 1e9) + " s, hosts";
    for (const std::uint32_t host : hosts)
      line += " " + std::to_string(host);
    say(line);
  }
  switch (fault) {
    case Fault::partition:
    case Fault::one_way:
    case Fault::slow_network:
    case Fault::lossy_network:
      break_network(fault, hosts, last_ns);
      break;
    case Fault::server_crash:
    case Fault::server_freeze:
    case Fault::store_cut:
    case Fault::lose_servers:
      break_server(fault, last_ns);
      break;
    case Fault::limit_change:
      change_limits(0.1 + 1.9 * amount, last_ns);
      break;
    default:
      for (const std::uint32_t host : hosts)
        break_host(fault, host, last_ns, amount);
  }
}

void World::break_network(Fault fault, const std::vector<std::uint32_t>& hosts, TimeNs last_ns) {
  if (fault == Fault::slow_network) {
    const TimeNs more_ns = fault_random_.between(20 * lease::kMs, 800 * lease::kMs);
    network_.extra_delay_ns += more_ns;
    later(last_ns, [this, more_ns] { network_.extra_delay_ns -= more_ns; });
    return;
  }
  if (fault == Fault::lossy_network) {
    const auto more = static_cast<std::uint32_t>(fault_random_.between(50, 500));
    network_.extra_lost += more;
    later(last_ns, [this, more] { network_.extra_lost -= more; });
    return;
  }
  const std::uint32_t server = owner_now();
  const bool every_server = fault_random_.next() % 2 == 0;
  const bool to_server = fault == Fault::partition || fault_random_.next() % 2 == 0;
  const bool to_host = fault == Fault::partition || !to_server;
  for (const std::uint32_t host : hosts)
    for (std::uint32_t i = 0; i < setup_.servers; ++i)
      if (i == server || every_server) network_.cut(host, i, to_server, to_host);
  later(last_ns, [=, this] {
    for (const std::uint32_t host : hosts)
      for (std::uint32_t i = 0; i < setup_.servers; ++i)
        if (i == server || every_server) network_.mend(host, i, to_server, to_host);
  });
}

void World::break_server(Fault fault, TimeNs last_ns) {
  const std::uint32_t index = owner_now();
  if (fault == Fault::lose_servers) {
    for (std::uint32_t i = 0; i < setup_.servers; ++i)
      crash_server(i, last_ns);
  } else if (fault == Fault::server_freeze) {
    freeze_server(index, last_ns);
  } else if (fault == Fault::server_crash || setup_.servers == 1) {
    crash_server(index, last_ns);
  } else {
    servers_[index]->store_cut = true;
    later(last_ns, [this, index] { servers_[index]->store_cut = false; });
  }
}

void World::break_host(Fault fault, std::uint32_t index, TimeNs last_ns, double amount) {
  Host& host = *hosts_[index];
  if (host.life() != Life::running) return;
  Life life = Life::stopped;
  switch (fault) {
    case Fault::link_cut:
      if (!links_[index].up) return;
      drop_link(index, fault_random_.next() % 2 == 0);
      plan_connect(index, random_.between(0, 100 * lease::kMs));
      after_host(index);
      return;
    case Fault::clock_leap: {
      const auto leap_ns = static_cast<TimeNs>(amount * amount * 10e9);
      host.leap(leap_ns, now_ns_);
      host.planned_wake_ns = lease::kNever;
      plan_wake(index);
      return;
    }
    case Fault::clock_drift:
      host.advance(now_ns_);
      host.clock.set_drift(static_cast<std::int64_t>((2 * amount - 1) * lease::kDriftPpm), now_ns_);
      return;
    case Fault::demand_spike:
      for (std::uint32_t limit = 0; limit < watches_.size(); ++limit)
        if (watches_[limit].leaf) spike(limit, index, 100 * amount, last_ns);
      return;
    case Fault::clone:
      copy_host(index);
      return;
    case Fault::agent_crash:
      life = Life::dead;
      break;
    case Fault::host_sleep:
      life = Life::asleep;
      break;
    case Fault::host_crash:
      life = Life::off;
      break;
    case Fault::host_leave:
      host.leave(now_ns_);
      after_host(index);
      life = Life::off;
      break;
    default:
      break;
  }
  // A process that ends closes its connection; a machine that vanishes does not.
  const bool vanishes = fault == Fault::host_crash && fault_random_.next() % 2 == 0;
  if (life == Life::dead || life == Life::off) drop_link(index, !vanishes);
  host.stop(life, now_ns_);
  after_host(index);
  later(last_ns, [this, index] { host_goes_on(index); });
}

void World::host_goes_on(std::uint32_t index) {
  Host& host = *hosts_[index];
  const Life before = host.life();
  if (before == Life::running) return;
  host.go_on(now_ns_);
  if (traced()) say("host " + std::to_string(index) + " goes on");
  host.planned_wake_ns = lease::kNever;
  if (!links_[index].up) plan_connect(index, random_.between(0, 50 * lease::kMs));
  if (before == Life::off || before == Life::dead) {
    after_host(index);
    return;
  }
  // On waking an agent withdraws first; only then does it read what has come.
  later(lease::kMs, [this, index] {
    Host& awake = *hosts_[index];
    if (awake.life() != Life::running) return;
    wake(index);
    for (Message& message : std::exchange(links_[index].inbox, {})) {
      if (!links_[index].up) break;
      if (std::holds_alternative<Closed>(message)) {
        drop_link(index, false);
        plan_connect(index, random_.between(0, 50 * lease::kMs));
      } else {
        awake.deliver(message, now_ns_);
      }
      after_host(index);
    }
  });
}

void World::copy_host(std::uint32_t index) {
  if (hosts_.size() >= kHostsMostFactor * setup_.hosts) return;
  hosts_[index]->advance(now_ns_);
  const auto copy = static_cast<std::uint32_t>(hosts_.size());
  hosts_.push_back(std::make_unique<Host>(*hosts_[index]));
  links_.emplace_back();
  links_.back().server = links_[index].server;
  network_.set_size(hosts_.size(), setup_.servers);
  original_.push_back(original_[index]);
  copies_.emplace_back();
  copies_[original_[index]].push_back(copy);
  ++copies_made_[original_[index]];
  hosts_[copy]->become_copy(lease::mix(setup_.seed, 5'000'000 + copy), now_ns_);
  hosts_[copy]->planned_wake_ns = lease::kNever;
  plan_connect(copy, random_.between(0, 3 * lease::kSecond));
  after_host(copy);
}

// A limit, or all of them, becomes another part of what it was at first, for a while.
void World::change_limits(double factor, TimeNs last_ns) {
  if (base_.empty())
    for (const LimitPlan& plan : setup_.limits)
      base_.push_back({plan.config.rate, plan.config.burst});
  const auto set = [this](double part) {
    for (std::size_t i = 0; i < setup_.limits.size(); ++i) {
      lease::LimitConfig& config = setup_.limits[i].config;
      config.rate = static_cast<Micro>(static_cast<double>(base_[i].rate) * part);
      config.burst =
          std::max(lease::kToken, static_cast<Micro>(static_cast<double>(base_[i].burst) * part));
    }
    configure();
  };
  set(factor);
  const std::uint64_t number = ++limit_changes_;
  later(last_ns, [this, set, number] {
    if (number == limit_changes_) set(1);
  });
}

void World::spike(std::uint32_t limit, std::uint32_t index, double more, TimeNs last_ns) {
  const auto add = [this, limit, index](double tokens) {
    extra_[limit][original_[index]] += tokens;
    hosts_[index]->advance(now_ns_);
    set_demand(limit, index);
    hosts_[index]->demand_changed(now_ns_);
    plan_wake(index);
  };
  add(more);
  later(last_ns, [add, more] { add(-more); });
}

}  // namespace weir::sim
