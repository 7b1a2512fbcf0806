// The course of events, and what is checked at each of them.
#include "sim/world.h"

#include <algorithm>
#include <cstdio>
#include <ostream>
#include <utility>

namespace weir::sim {
namespace {

constexpr TimeNs kPollNs = lease::Book::kPollNs;

double seconds(TimeNs time_ns) { return static_cast<double>(time_ns) / 1e9; }

}  // namespace

World::World(Setup setup)
    : setup_(std::move(setup)),
      end_ns_(static_cast<TimeNs>(setup_.seconds * 1e9)),
      network_(setup_.network, lease::mix(setup_.seed, 1)),
      measures_(setup_),
      random_(lease::mix(setup_.seed, 2)),
      fault_random_(lease::mix(setup_.seed, 3)) {}

void World::trace(std::ostream& out, double from_s, double to_s) {
  trace_ = &out;
  trace_from_ = static_cast<TimeNs>(from_s * 1e9);
  trace_to_ = static_cast<TimeNs>(to_s * 1e9);
}

void World::say(const std::string& line) {
  char at[32];
  std::snprintf(at, sizeof at, "%12.6f ", seconds(now_ns_));
  *trace_ << at << line << '\n';
}

void World::begin() {
  watches_.configure(configs(), memory_of(setup_));
  lowered_since_.assign(watches_.size(), -1);
  lowered_most_.assign(watches_.size(), 0);
  demand_.assign(watches_.size(), std::vector<double>(setup_.hosts, 0));
  extra_ = demand_;
  for (std::uint32_t limit = 0; limit < watches_.size(); ++limit) {
    watch_index_[watches_[limit].id] = limit;
    set_bound(limit, {watches_[limit].config.rate, watches_[limit].config.burst});
  }
  network_.set_size(setup_.hosts, setup_.servers);
  const auto drift = [&](std::int64_t most) {
    return setup_.one_sided ? most : random_.between(-most, most);
  };
  const auto anywhere = [&] { return random_.between(1, 1'000'000) * lease::kSecond; };

  ServerOptions server;
  server.book.ttl_ns = setup_.ttl_ns;
  server.book.tail_ns = setup_.tail_ns;
  server.book.refresh_ns = setup_.refresh_ns;
  server.mutants = setup_.book_mutants;
  server.busy = setup_.busy;
  server.elected = setup_.servers > 1;
  for (std::uint32_t i = 0; i < setup_.servers; ++i) {
    const Clock clock(anywhere(), drift(setup_.server_drift_ppm));
    servers_.push_back(
        std::make_unique<Server>(i, server, clock, lease::mix(setup_.seed, 100 + i)));
    events_.push(i * lease::kMs, EventKind::poll, i);
    if (server.elected) events_.push(Store::kKeepaliveNs, EventKind::keepalive, i);
  }
  start_server(0, false, 0);

  HostOptions host;
  host.mutants = setup_.desk_mutants;
  host.fallback = setup_.fallback;
  host.refresh_ns = setup_.refresh_ns;
  host.look_gap_ns = setup_.look_gap_ns;
  host.hosts = setup_.hosts;
  for (const LimitPlan& plan : setup_.limits)
    host.callers.push_back(plan.callers);
  links_.resize(setup_.hosts);
  for (std::uint32_t i = 0; i < setup_.hosts; ++i) {
    host.name = "host-" + std::to_string(i + 1);
    host.seed = lease::mix(setup_.seed, 1'000'000 + i);
    host.liar = i < setup_.liars;
    for (Callers& callers : host.callers)
      callers.retries = i < setup_.storm_hosts ? setup_.storm : 0;
    const Clock clock(anywhere(), drift(setup_.host_drift_ppm));
    hosts_.push_back(std::make_unique<Host>(host, clock, watches_, 0));
    copies_.push_back({i});
    original_.push_back(i);
    plan_connect(i, random_.between(0, 200 * lease::kMs));
    plan_wake(i);
  }
  shift();
  plan_fault();
  for (const Setup::Cue& cue : setup_.cues)
    later(static_cast<TimeNs>(cue.at_s * 1e9), [this, cue] {
      break_one(cue.fault, cue.hosts, static_cast<TimeNs>(cue.last_s * 1e9), cue.amount);
    });
  events_.push(setup_.step_ns, EventKind::step);
}

Result World::run() {
  begin();
  while (!events_.empty() && events_.top().at_ns <= end_ns_) {
    const Event event = events_.pop();
    now_ns_ = event.at_ns;
    ++handled_;
    dispatch(event);
  }
  now_ns_ = end_ns_;
  return finish();
}

void World::dispatch(const Event& event) {
  switch (event.kind) {
    case EventKind::wake:
      if (hosts_[event.who]->wake_number == event.data) wake(event.who);
      break;
    case EventKind::deliver:
      arrive(event.who);
      break;
    case EventKind::connect:
      if (links_[event.who].number == event.data) connect(event.who);
      break;
    case EventKind::poll:
      poll(event.who);
      events_.push(now_ns_ + kPollNs, EventKind::poll, event.who);
      break;
    case EventKind::keepalive:
      keepalive(event.who);
      events_.push(now_ns_ + Store::kKeepaliveNs, EventKind::keepalive, event.who);
      break;
    case EventKind::election:
      election();
      break;
    case EventKind::fault:
      break_something();
      break;
    case EventKind::heal: {
      const std::function<void()> what = std::move(heals_[event.who]);
      heals_[event.who] = nullptr;
      what();
      break;
    }
    case EventKind::shift:
      shift();
      break;
    case EventKind::step:
      step();
      if (progress) progress(seconds(now_ns_));
      events_.push(now_ns_ + setup_.step_ns, EventKind::step);
      break;
  }
}

void World::step() {
  for (const auto& host : hosts_)
    host->advance(now_ns_);
  watches_.judge();
  measures_.step(hosts_, watches_, now_ns_);
  check();
  for (std::uint32_t limit = 0; traced() && limit < watches_.size(); ++limit)
    if (const std::string off = measures_.who_is_off(limit); !off.empty())
      say("NOT YET FAIR " + watches_[limit].config.name + off);
  if (!setup_.strict_oracle) return;
  for (Watch& watch : watches_.all())
    if (watch.meter.worst() > 0)
      violate("admitted more than burst + rate x window", watch, tokens(watch.meter.worst()));
}

// What is held, at every event after which it may be another.
void World::check() {
  if (parts_stale_) update_server_parts();
  for (const std::uint32_t limit : watches_.touched()) {
    watches_[limit].touched = false;
    check_limit(watches_[limit]);
  }
  watches_.touched().clear();
}

void World::check_limit(Watch& watch) {
  if (!watch.held.fits(watch.bound, now_ns_)) {
    const Bound total = watch.held.total();
    const double over =
        std::max(tokens(total.rate - watch.bound.rate), tokens(total.burst - watch.bound.burst));
    violate("held more than the limit", watch, over,
            total.rate > watch.bound.rate ? "rate" : "burst");
  }
  // For people: how long it takes until a lowered limit is kept.
  const auto index = static_cast<std::size_t>(&watch - watches_.all().data());
  const Bound held = watch.held.hosts();
  const bool over = held.rate > watch.config.rate || held.burst > watch.config.burst;
  const bool each = watch.config.threshold == lease::Threshold::per_host;
  TimeNs& since_ns = lowered_since_[index];
  if (over && !each && since_ns < 0) since_ns = now_ns_;
  if (!over && since_ns >= 0) {
    lowered_most_[index] = std::max(lowered_most_[index], now_ns_ - since_ns);
    since_ns = -1;
  }
}

void World::violate(const std::string& what, const Watch& watch, double amount, std::string note) {
  for (Violation& known : violations_)
    if (known.what == what && known.limit == watch.config.name) {
      known.amount = std::max(known.amount, amount);
      return;
    }
  violations_.push_back({what, watch.config.name, seconds(now_ns_), amount, std::move(note)});
  if (traced()) say_who_holds(watch, what);
}

void World::say_who_holds(const Watch& watch, const std::string& what) {
  say("VIOLATION " + what + " of " + watch.config.name);
  const std::uint32_t limit = watch_of(watch.id);
  char text[200];
  for (std::uint32_t i = 0; i < hosts_.size(); ++i) {
    const Bound held = hosts_[i]->held(limit, now_ns_);
    std::snprintf(text, sizeof text, "  host %u holds %.6f/s burst %.6f", i, tokens(held.rate),
                  tokens(held.burst));
    say(text);
  }
  for (const auto& server : servers_) {
    if (!server->owner()) continue;
    for (const lease::Book::LimitReport& report : server->book->limits(0)) {
      if (report.id != watch.id) continue;
      std::snprintf(text, sizeof text,
                    "  server %u leases %.6f/s burst %.6f, keeps %.6f/s burst %.6f",
                    server->index(), tokens(report.leased_rate), tokens(report.leased_burst),
                    tokens(report.server_rate), tokens(report.server_burst));
      say(text);
    }
    for (const lease::Book::HostReport& report : server->book->hosts_of(watch.id)) {
      std::snprintf(text, sizeof text, "    %s is taken to hold %.6f/s burst %.6f tail %.6f/%.6f",
                    report.host.c_str(), tokens(report.held.rate), tokens(report.held.burst),
                    tokens(report.held.tail_rate), tokens(report.held.tail_burst));
      say(text);
    }
  }
}

Result World::finish() {
  step();
  Result result;
  result.scenario = setup_.scenario;
  result.seed = setup_.seed;
  result.hosts = setup_.hosts;
  result.seconds = setup_.seconds;
  for (std::uint32_t limit = 0; limit < watches_.size(); ++limit) {
    Watch& watch = watches_[limit];
    LimitResult one;
    one.name = watch.config.name;
    one.rate = tokens(watch.config.rate);
    one.burst = tokens(watch.config.burst);
    one.admitted = tokens(watch.meter_all.admitted());
    one.over_admitted = tokens(watch.meter.worst());
    one.over_admitted_all = tokens(watch.meter_all.worst());
    one.over_held_rate = tokens(watch.held.worst_rate());
    one.over_held_burst = tokens(watch.held.worst_burst());
    one.stale = tokens(watch.log.stale);
    one.copied = tokens(watch.log.copied);
    one.fallback = tokens(watch.log.fallback);
    one.lowered_s = seconds(lowered_most_[limit]);
    one.figures = measures_.figures(limit, watch);
    std::vector<double> waits;
    for (const auto& host : hosts_) {
      Row& row = host->rows()[limit];
      one.figures.starved_most_s =
          std::max(one.figures.starved_most_s, seconds(row.starved_most_ns()));
      for (const TimeNs wait_ns : row.waits())
        waits.push_back(seconds(wait_ns));
    }
    one.figures.waits_s = spread_of(waits);
    one.figures.waits = std::move(waits);
    if (setup_.must_recover && watch.leaf && measures_.last_use(limit) >= 0 &&
        measures_.last_use(limit) < 0.9)
      violate("not whole again when nothing was broken any more", watch, measures_.last_use(limit));
    result.limits.push_back(std::move(one));
  }
  finish_counts(result);
  return result;
}

void World::finish_counts(Result& result) {
  std::uint64_t requests = 0;
  std::uint64_t retries = 0;
  for (const auto& host : hosts_) {
    const lease::Desk::Counts& now = host->desk().counts();
    const lease::Desk::Counts& before = host->counts_before;
    requests += now.requests_total + before.requests_total;
    retries += now.retries_total + before.retries_total;
    result.identities += now.identities_total + before.identities_total;
    result.withdrawn += now.withdrawn_total + before.withdrawn_total;
    result.runaways += now.clock_runaway_total + before.clock_runaway_total;
  }
  result.events = handled_;
  result.messages_per_s = static_cast<double>(messages_) / setup_.seconds;
  result.retries_per_s = static_cast<double>(retries) / setup_.seconds;
  result.requests_per_host_s =
      static_cast<double>(requests) / setup_.seconds / static_cast<double>(hosts_.size());
  for (std::size_t i = 0; i < kFaults; ++i)
    if (fault_counts_[i] > 0)
      result.faults.emplace_back(name_of(static_cast<Fault>(i)), fault_counts_[i]);
  result.learning_s = spread_of(learnings_);
  result.round_trip_ms =
      static_cast<double>(setup_.network.delay_least_ns + setup_.network.delay_most_ns) / 1e6;
  result.violations = violations_;
}

double Result::use() const {
  double used = 0;
  double time = 0;
  for (const LimitResult& limit : limits) {
    used += limit.figures.use * limit.figures.contended_s;
    time += limit.figures.contended_s;
  }
  return time > 0 ? used / time : 0;
}

}  // namespace weir::sim
