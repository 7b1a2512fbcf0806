#include "sim/scenario.h"

#include <algorithm>
#include <cmath>

#include "lease/random.h"

namespace weir::sim {
namespace {

using lease::kMs;
using lease::kSecond;
using lease::kToken;

Micro micro(double tokens) { return static_cast<Micro>(std::llround(tokens * 1e6)); }

LimitPlan& add_limit(Setup& setup, double rate, double burst, Pattern pattern,
                     double overload = 1.5) {
  LimitPlan plan;
  plan.config.name = "limit-" + std::to_string(setup.limits.size() + 1);
  plan.config.rate = micro(rate);
  plan.config.burst = micro(burst);
  plan.pattern = pattern;
  plan.overload = overload;
  setup.limits.push_back(plan);
  return setup.limits.back();
}

void plain(Setup& setup, std::uint32_t limits, Pattern pattern, bool by_chance = false) {
  for (std::uint32_t i = 0; i < limits; ++i)
    add_limit(setup, 1000, 200, pattern).callers.by_chance = by_chance;
}

// Everything at once, small and large: slow limits, bursts of fewer tokens than there are hosts,
// callers by chance, waiting ones, and such as want several tokens at once.
void any_limits(Setup& setup, std::uint32_t limits, lease::Random& random) {
  constexpr std::array<Pattern, 5> kPatterns = {Pattern::steady, Pattern::moving, Pattern::skewed,
                                                Pattern::flash_crowd, Pattern::on_off};
  for (std::uint32_t i = 0; i < limits; ++i) {
    const double rate = std::exp2(4 + 6.5 * random.unit());
    const double burst = random.next() % 3 == 0
                             ? 1 + random.unit() * setup.hosts
                             : std::max(1.0, rate * (0.02 + 1.5 * random.unit() * random.unit()));
    const Pattern pattern = kPatterns[random.next() % kPatterns.size()];
    LimitPlan& plan = add_limit(setup, rate, std::floor(burst), pattern, 0.6 + 2 * random.unit());
    plan.callers.by_chance = random.next() % 2 == 0;
    plan.callers.wait = random.next() % 4 == 0;
    plan.callers.wait_most_ns = 2 * kSecond;
    if (random.next() % 4 == 0)
      plan.callers.tokens = static_cast<std::uint32_t>(
          random.between(1, std::max<std::int64_t>(1, static_cast<std::int64_t>(burst / 2))));
  }
}

void rough_network(Setup& setup) {
  setup.network.delay_most_ns = 5 * kMs;
  setup.network.lost = 20;
  setup.network.slow = 30;
  setup.network.doubled = 10;
  setup.network.overtaking = 20;
  setup.network.late = 3;
  setup.host_drift_ppm = 900;
  setup.server_drift_ppm = 900;
}

// Things that break and leave no token behind that nobody can withdraw.
void usual_faults(FaultPlan& faults) {
  for (const Fault fault :
       {Fault::link_cut, Fault::partition, Fault::one_way, Fault::slow_network,
        Fault::lossy_network, Fault::agent_crash, Fault::host_crash, Fault::host_leave,
        Fault::clock_drift, Fault::demand_spike, Fault::server_crash, Fault::server_freeze,
        Fault::store_cut, Fault::limit_change})
    faults[fault] = 2;
  faults[Fault::partition] = 4;
  faults[Fault::limit_change] = 3;
}

void chaos(Setup& setup, std::uint32_t limits, lease::Random& random) {
  any_limits(setup, limits, random);
  rough_network(setup);
  usual_faults(setup.faults);
  setup.servers = 1 + static_cast<std::uint32_t>(random.next() % 3);
  setup.busy = random.next() % 4 == 0 ? 100 : 0;
  setup.faults.every_ns = 8 * kSecond;
  setup.faults.last_most_ns = 20 * kSecond;
  setup.faults.quiet_ns = 0;
}

void mishaps(Setup& setup, Pattern pattern, std::uint32_t limits) {
  plain(setup, limits, pattern);
  setup.network.lost = 20;
  setup.network.slow = 30;
  setup.network.slow_most_ns = 300 * kMs;
  setup.host_drift_ppm = setup.server_drift_ppm = 200;
  setup.faults.every_ns = 60 * kSecond;
  setup.faults.regular = true;
  setup.faults.last_most_ns = 10 * kSecond;
  setup.faults.cut_least = 0;
  setup.faults.cut_most = 0.2;
  for (const Fault fault :
       {Fault::link_cut, Fault::partition, Fault::one_way, Fault::agent_crash, Fault::host_crash,
        Fault::host_leave, Fault::slow_network, Fault::lossy_network, Fault::server_crash,
        Fault::server_freeze, Fault::store_cut})
    setup.faults[fault] = 1;
  setup.servers = 2;
}

void small_limits(Setup& setup, std::uint32_t, lease::Random&) {
  const auto named = [&](const char* name, double rate, double burst,
                         double overload) -> LimitPlan& {
    LimitPlan& plan = add_limit(setup, rate, burst, Pattern::equal, overload);
    plan.config.name = name;
    plan.callers.by_chance = true;
    plan.callers.wait = true;
    plan.callers.wait_most_ns = 30 * kSecond;
    return plan;
  };
  named("ten-a-second", 10, 10, 1.3);
  named("one-a-minute", 1.0 / 60, 1, 1.3).callers.wait_most_ns = 600 * kSecond;
  named("thin-burst", 300, 5, 1.3);
  named("bulk", 300, 200, 1.3).callers.tokens = 50;
}

void hierarchy(Setup& setup, std::uint32_t, lease::Random&) {
  add_limit(setup, 1000, 200, Pattern::steady).config.name = "all";
  const std::array<double, 3> rates = {700, 500, 300};
  const std::array<double, 3> wants = {1.2, 0.8, 1.5};
  for (std::size_t i = 0; i < rates.size(); ++i) {
    LimitPlan& plan = add_limit(setup, rates[i], rates[i] / 5, Pattern::steady, wants[i]);
    plan.config.name = "all/part-" + std::to_string(i + 1);
    plan.config.parent = "all";
  }
}

void per_host(Setup& setup, std::uint32_t, lease::Random&) {
  LimitPlan& plan = add_limit(setup, 100, 20, Pattern::steady, 1.5);
  plan.config.threshold = lease::Threshold::per_host;
  setup.faults.every_ns = 10 * kSecond;
  setup.faults[Fault::host_leave] = 1;
  setup.faults[Fault::host_crash] = 1;
}

void ranks(Setup& setup, std::uint32_t limits, lease::Random&) {
  plain(setup, limits, Pattern::steady);
  for (LimitPlan& plan : setup.limits)
    plan.config.hosts = {
        {"host-1", 1, 2, 0}, {"host-2", 4, 1, 0}, {"host-3", 1, 0, micro(50)}, {"host-*", 2, 1, 0}};
}

void big(Setup& setup, std::uint32_t limits, lease::Random&) {
  // Ten tokens a second for each host, a fifth of them with very little.
  for (std::uint32_t i = 0; i < limits; ++i) {
    LimitPlan& plan = add_limit(setup, 10.0 * setup.hosts, 5.0 * setup.hosts, Pattern::steady, 1.3);
    plan.callers.by_chance = true;
  }
  setup.look_gap_ns = 250 * kMs;
  setup.step_ns = 250 * kMs;
}

// Doorman's capacity is a rate alone. What comes nearest is a burst of one second of it, as rules
// have that name none: with little more than a token for each of 45 hosts, callers that only try
// would measure how often they miss the token instead of how the limit is divided.
void doorman(Setup& setup, double overload) {
  LimitPlan& plan = add_limit(setup, 500, 500, Pattern::wobble, overload);
  plan.config.name = "resource";
  setup.fallback = Fallback::local;
  setup.strict_oracle = false;
}

void server_lost(Setup& setup, double at_s, double for_s) {
  setup.cues.push_back({at_s, Fault::server_crash, for_s, {}, 0});
}

const std::vector<Scenario> kScenarios = {
    {"calm-even", "steady overload, even arrivals", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::steady); }},
    {"calm-poisson", "steady overload, Poisson arrivals", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::steady, true); }},
    {"moving", "demand dealt anew each 5 to 15 s", 10, 1, 120,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::moving); }},
    {"skewed", "one host wants half of all, the next half of the rest", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::skewed); }},
    {"flash-crowd", "a tenth of the hosts suddenly wants very much", 20, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::flash_crowd); }},
    {"on-off", "every host has spells of its own", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) { plain(s, n, Pattern::on_off); }},
    {"ranks", "weights, bands and floors", 10, 1, 60, ranks},
    {"first-token", "idle hosts want a token now and then, of a limit that others want all of", 30,
     1, 120,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::idle_few);
       for (LimitPlan& plan : s.limits) {
         plan.callers.by_chance = plan.callers.wait = true;
         plan.callers.wait_most_ns = 2 * kSecond;
       }
       s.network.delay_least_ns = s.network.delay_most_ns = 10 * kMs;
       s.look_gap_ns = kMs;
     }},
    {"mishap-a-minute", "a fault each minute, 2 % loss, steady demand", 20, 1, 300,
     [](Setup& s, std::uint32_t n, lease::Random&) { mishaps(s, Pattern::steady, n); }},
    {"mishap-moving", "a fault each minute, 2 % loss, moving demand", 20, 1, 300,
     [](Setup& s, std::uint32_t n, lease::Random&) { mishaps(s, Pattern::moving, n); }},
    {"heavy-chaos", "a fault each 8 s on a bad network; limits change, too", 8, 3, 60, chaos},
    {"chaos", "heavy-chaos with stopped, suspended and copied hosts and leaping clocks", 8, 3, 60,
     [](Setup& s, std::uint32_t n, lease::Random& random) {
       chaos(s, n, random);
       s.faults.every_ns = 6 * kSecond;
       for (const Fault fault :
            {Fault::agent_stop, Fault::host_sleep, Fault::clone, Fault::clock_leap})
         s.faults[fault] = 2;
     }},
    {"heal", "chaos for half of the time; then everything must be whole again", 8, 2, 80,
     [](Setup& s, std::uint32_t n, lease::Random& random) {
       chaos(s, n, random);
       s.limits.clear();
       plain(s, n, Pattern::steady);
       for (const Fault fault : {Fault::agent_stop, Fault::host_sleep, Fault::clone})
         s.faults[fault] = 2;
       s.faults.quiet_ns = static_cast<TimeNs>(s.seconds * 0.5e9);
       s.must_recover = true;
     }},
    {"failover", "owners crash, freeze and lose the store", 8, 2, 120,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::moving);
       rough_network(s);
       s.servers = 3;
       s.faults.every_ns = 10 * kSecond;
       s.faults.last_most_ns = 20 * kSecond;
       for (const Fault fault : {Fault::server_crash, Fault::server_freeze, Fault::store_cut})
         s.faults[fault] = 1;
     }},
    {"owners-in-a-row", "no owner lasts longer than a lease", 8, 2, 90,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::moving);
       rough_network(s);
       s.servers = 3;
       s.faults.every_ns = 3 * kSecond;
       s.faults.last_most_ns = 12 * kSecond;
       for (const Fault fault : {Fault::server_crash, Fault::store_cut})
         s.faults[fault] = 1;
     }},
    {"frozen-owner", "the owner is stopped, a second one takes over, the first goes on", 8, 2, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::moving);
       s.servers = 2;
       s.cues = {{12, Fault::server_freeze, 3.5, {}, 0}, {30, Fault::server_freeze, 14, {}, 0}};
     }},
    {"drift-one-sided", "every host's clock is fast by 0.1 %", 5, 1, 1800,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::equal);
       s.one_sided = true;
       s.host_drift_ppm = lease::kDriftPpm;
     }},
    {"drift-server", "the server's clock is fast by 0.1 %, and it hands out whole tokens alone", 20,
     1, 1800,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       for (std::uint32_t i = 0; i < n; ++i) {
         LimitPlan& plan = add_limit(s, 10, 5, Pattern::equal);
         plan.callers.wait = true;
         plan.callers.wait_most_ns = 30 * kSecond;
       }
       s.one_sided = true;
       s.server_drift_ppm = lease::kDriftPpm;
     }},
    // Beyond what is allowed: what is promised then is that it stays within a lease.
    {"runaway", "every host's clock runs half as fast again as it should", 5, 1, 120,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::equal);
       s.one_sided = true;
       s.host_drift_ppm = 500'000;
       s.strict_oracle = false;
     }},
    {"liar-links", "a host claims all whenever its connection was cut", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::steady);
       s.liars = 1;
       for (double at = 8; at < s.seconds; at += 5)
         s.cues.push_back({at, Fault::link_cut, 0, {0}, 0});
     }},
    {"try-only", "whole tokens for callers that only try, and seldom", 40, 1, 120,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       for (std::uint32_t i = 0; i < n; ++i)
         add_limit(s, 10, 10, Pattern::equal, 2).callers.by_chance = true;
     }},
    // It may say of each token that it did not spend it, so that it has its own part twice.
    {"liar-tokens", "a host gives back tokens that it spent, and others that it never had", 10, 1,
     120,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       for (std::uint32_t i = 0; i < n; ++i) {
         LimitPlan& plan = add_limit(s, 10, 5, Pattern::equal);
         plan.callers.wait = true;
         plan.callers.wait_most_ns = 30 * kSecond;
       }
       s.liars = 1;
       s.strict_oracle = false;
     }},
    {"small-limits", "10/s over 100 hosts, 1 a minute, a burst below the hosts, large requests",
     100, 4, 600, small_limits},
    {"retry-storm", "half of the hosts retry ten times what was refused", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::steady);
       s.storm = 10;
       s.storm_hosts = s.hosts / 2;
     }},
    {"hostile-claims", "a host claims all to each new server", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::steady);
       s.liars = 1;
       s.cues = {{10, Fault::server_crash, 0.5, {}, 0}, {35, Fault::server_crash, 0.5, {}, 0}};
     }},
    {"busy", "a third of the requests finds no time", 10, 1, 60,
     [](Setup& s, std::uint32_t n, lease::Random&) {
       plain(s, n, Pattern::steady);
       s.busy = 333;
     }},
    {"hierarchy", "three limits below one", 10, 4, 60, hierarchy},
    {"per-host", "a limit that is multiplied by the hosts, which come and go", 10, 1, 60, per_host},
    {"big", "10,000 hosts, 10 limits", 10'000, 10, 60, big},
    {"doorman-1", "500 for 5 clients that want 110, a tenth more or less", 5, 1, 300,
     [](Setup& s, std::uint32_t, lease::Random&) { doorman(s, 1.1); }},
    {"doorman-2", "the same; no server from 120 s to 140 s", 5, 1, 300,
     [](Setup& s, std::uint32_t, lease::Random&) {
       doorman(s, 1.1);
       server_lost(s, 120, 20);
     }},
    {"doorman-3", "the same; leases of 60 s, no server from 120 s to 190 s", 5, 1, 300,
     [](Setup& s, std::uint32_t, lease::Random&) {
       doorman(s, 1.1);
       server_lost(s, 120, 70);
       s.ttl_ns = 60 * kSecond;
     }},
    {"doorman-4", "a region below the root", 5, 2, 300,
     [](Setup& s, std::uint32_t, lease::Random&) {
       doorman(s, 1.1);
       LimitPlan region = s.limits[0];
       region.config.name = "resource/region";
       region.config.parent = "resource";
       s.limits.push_back(region);
     }},
    {"doorman-5", "45 clients that want 15", 45, 1, 300,
     [](Setup& s, std::uint32_t, lease::Random&) { doorman(s, 1.35); }},
    {"doorman-6", "the same; at 150 s two clients want 1000", 45, 1, 300,
     [](Setup& s, std::uint32_t, lease::Random&) {
       doorman(s, 1.35);
       s.cues = {{150, Fault::demand_spike, 1000, {3, 4}, 10}};
     }},
    {"doorman-7", "the same as 5, for an hour, with a mishap each minute", 45, 1, 3600,
     [](Setup& s, std::uint32_t, lease::Random& random) {
       doorman(s, 1.35);
       s.servers = 2;
       for (double at = 60; at < s.seconds; at += 60) {
         const std::uint64_t draw = random.next() % 30;
         const auto host = static_cast<std::uint32_t>(random.next() % s.hosts);
         if (draw < 5)
           s.cues.push_back({at, Fault::demand_spike, 60, {host}, 1});
         else if (draw < 15)
           s.cues.push_back({at, Fault::store_cut, 5, {}, 0});
         else
           s.cues.push_back({at, Fault::lose_servers, 60 * random.unit(), {}, 0});
       }
     }},
};

}  // namespace

const std::vector<Scenario>& scenarios() { return kScenarios; }

const Scenario* find_scenario(const std::string& name) {
  const auto found = std::find_if(kScenarios.begin(), kScenarios.end(),
                                  [&](const Scenario& one) { return one.name == name; });
  return found == kScenarios.end() ? nullptr : &*found;
}

Setup make_setup(const Scenario& scenario, const Wishes& wishes) {
  Setup setup;
  setup.scenario = scenario.name;
  setup.seed = wishes.seed;
  setup.hosts = wishes.hosts.value_or(scenario.hosts);
  setup.seconds = wishes.seconds.value_or(scenario.seconds);
  lease::Random random(lease::mix(wishes.seed, 4));
  scenario.fill(setup, wishes.limits.value_or(scenario.limits), random);
  const auto time = [](double seconds) { return static_cast<TimeNs>(seconds * 1e9); };
  if (wishes.ttl_s) setup.ttl_ns = time(*wishes.ttl_s);
  if (wishes.tail_s) setup.tail_ns = time(*wishes.tail_s);
  if (wishes.refresh_s) setup.refresh_ns = time(*wishes.refresh_s);
  if (wishes.fallback) setup.fallback = *wishes.fallback;
  if (setup.fallback != Fallback::strict) setup.strict_oracle = false;
  for (LimitPlan& plan : setup.limits) {
    if (wishes.rate) plan.config.rate = micro(*wishes.rate);
    if (wishes.burst) plan.config.burst = micro(*wishes.burst);
    if (wishes.overload) plan.overload = *wishes.overload;
  }
  for (const std::string& mutant : wishes.mutants)
    set_mutant(setup, mutant);
  return setup;
}

namespace {

struct Mutant {
  std::string name;
  bool lease::BookMutants::*book = nullptr;
  bool lease::DeskMutants::*desk = nullptr;
};

const std::vector<Mutant> kMutants = {
    {"book.forget_offers", &lease::BookMutants::forget_offers, nullptr},
    {"book.no_tails", &lease::BookMutants::no_tails, nullptr},
    {"book.no_learning", &lease::BookMutants::no_learning, nullptr},
    {"book.newcomers_lease", &lease::BookMutants::newcomers_lease, nullptr},
    {"book.cap_claims", &lease::BookMutants::cap_claims, nullptr},
    {"book.any_session", &lease::BookMutants::any_session, nullptr},
    {"book.full_bursts", &lease::BookMutants::full_bursts, nullptr},
    {"book.no_server_lengthening", &lease::BookMutants::no_server_lengthening, nullptr},
    {"book.repeat_decides", &lease::BookMutants::repeat_decides, nullptr},
    {"book.return_counts_always", &lease::BookMutants::return_counts_always, nullptr},
    {"book.no_fence", &lease::BookMutants::no_fence, nullptr},
    {"book.believe_claims", &lease::BookMutants::believe_claims, nullptr},
    {"book.late_claims", &lease::BookMutants::late_claims, nullptr},
    {"book.resume_whole", &lease::BookMutants::resume_whole, nullptr},
    {"book.any_order", &lease::BookMutants::any_order, nullptr},
    {"book.any_ack", &lease::BookMutants::any_ack, nullptr},
    {"book.grant_target", &lease::BookMutants::grant_target, nullptr},
    {"book.no_ancestors", &lease::BookMutants::no_ancestors, nullptr},
    {"book.lease_reserve", &lease::BookMutants::lease_reserve, nullptr},
    {"book.short_learning", &lease::BookMutants::short_learning, nullptr},
    {"book.hasty_learning", &lease::BookMutants::hasty_learning, nullptr},
    {"book.free_fills", &lease::BookMutants::free_fills, nullptr},
    {"book.full_mint", &lease::BookMutants::full_mint, nullptr},
    {"book.offers_end_early", &lease::BookMutants::offers_end_early, nullptr},
    {"book.fills_come_back", &lease::BookMutants::fills_come_back, nullptr},
    {"book.early_tokens", &lease::BookMutants::early_tokens, nullptr},
    {"book.unproved_spoke", &lease::BookMutants::unproved_spoke, nullptr},
    {"book.twins_spoke", &lease::BookMutants::twins_spoke, nullptr},
    {"book.no_marks", &lease::BookMutants::no_marks, nullptr},
    {"book.hasty_hello", &lease::BookMutants::hasty_hello, nullptr},
    {"book.light_fills", &lease::BookMutants::light_fills, nullptr},
    {"book.no_pokes", &lease::BookMutants::no_pokes, nullptr},
    {"desk.end_from_answer", nullptr, &lease::DeskMutants::end_from_answer},
    {"desk.no_shortening", nullptr, &lease::DeskMutants::no_shortening},
    {"desk.full_rate", nullptr, &lease::DeskMutants::full_rate},
    {"desk.any_answer", nullptr, &lease::DeskMutants::any_answer},
    {"desk.talk_first", nullptr, &lease::DeskMutants::talk_first},
    {"desk.tail_for_ever", nullptr, &lease::DeskMutants::tail_for_ever},
    {"desk.count_retries", nullptr, &lease::DeskMutants::count_retries},
    {"desk.no_spend_bound", nullptr, &lease::DeskMutants::no_spend_bound},
    {"desk.accept_lower_epoch", nullptr, &lease::DeskMutants::accept_lower_epoch},
    {"desk.late_answers", nullptr, &lease::DeskMutants::late_answers},
    {"desk.keep_leases", nullptr, &lease::DeskMutants::keep_leases},
    {"desk.ignore_withdrawn", nullptr, &lease::DeskMutants::ignore_withdrawn},
    {"desk.keep_fills", nullptr, &lease::DeskMutants::keep_fills},
    {"desk.no_early", nullptr, &lease::DeskMutants::no_early},
};

}  // namespace

const std::vector<std::string>& mutant_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Mutant& mutant : kMutants)
      all.push_back(mutant.name);
    return all;
  }();
  return names;
}

bool set_mutant(Setup& setup, const std::string& name) {
  for (const Mutant& mutant : kMutants) {
    if (mutant.name != name) continue;
    if (mutant.book != nullptr) setup.book_mutants.*mutant.book = true;
    if (mutant.desk != nullptr) setup.desk_mutants.*mutant.desk = true;
    return true;
  }
  return false;
}

}  // namespace weir::sim
