#include "agent/toolkit/toolkit.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "shm/memory_order.h"

namespace weir::agent {

using namespace weir::shm;
using adaptive::BreakerState;

namespace {

constexpr std::int64_t kLeaseStepMinNs = 50'000'000;
constexpr std::int64_t kLeaseStepMaxNs = 1'000'000'000;

// Of the name, so that a resource that an earlier agent served is the same one to its holders.
std::uint32_t generation_of(const std::string& name) noexcept {
  std::uint32_t hash = 2166136261U;
  for (const char c : name)
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return ((hash ^ hash >> 16) & 0xffffU) | 1U;
}

// The same in 64 bits, never 0: whose words these are, for an agent that comes back.
std::uint64_t tag_of(const std::string& name) noexcept {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : name)
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash | 1U;
}

std::vector<ResourceConfig> with_tenants(const std::vector<ResourceConfig>& configs) {
  std::vector<ResourceConfig> all;
  for (const ResourceConfig& config : configs) {
    all.push_back(config);
    for (const TenantConfig& tenant : config.concurrency.tenants) {
      ResourceConfig part;
      part.name = config.name + "/" + tenant.name;
      part.concurrency.present = true;
      part.concurrency.max = tenant.max;
      part.concurrency.lease_ns = config.concurrency.lease_ns;
      part.line = config.line;
      all.push_back(std::move(part));
    }
  }
  return all;
}

adaptive::DegradeOptions degrade_options(const DegradeConfig& config) {
  adaptive::DegradeOptions options;
  options.level_count = std::min(config.levels.size(), adaptive::kDegradeLevelsMax);
  for (std::size_t i = 0; i < options.level_count; ++i)
    options.levels[i] = {static_cast<double>(config.levels[i].enter),
                         static_cast<double>(config.levels[i].leave)};
  options.enter_hold_ns = static_cast<adaptive::TimeNs>(config.hold_ns);
  options.leave_hold_ns = static_cast<adaptive::TimeNs>(config.leave_hold_ns);
  return options;
}

std::int32_t figure(const std::optional<std::uint32_t>& value) noexcept {
  return value ? static_cast<std::int32_t>(std::min<std::uint32_t>(*value, INT32_MAX)) : -1;
}

bool has_ended(const Fd& pidfd) noexcept {
  struct pollfd one {
    pidfd.get(), POLLIN, 0
  };
  return ::poll(&one, 1, 0) == 1;
}

}  // namespace

Toolkit::Toolkit(const ToolkitView& view)
    : view_(view),
      own_namespace_(own_pid_namespace()),
      names_(view.geometry().resources_max),
      reaped_(view.geometry().resources_max),
      feature_names_(view.geometry().features_max) {}

FeatureRule& Toolkit::feature(std::uint32_t index) const {
  return const_cast<FeatureRule&>(view_.feature(index));
}

std::size_t Toolkit::places_of(const DomainRule& rule) {
  std::size_t places = 0;
  for (const ResourceConfig& config : rule.resources)
    places += config.places();
  return places;
}

// What stays comes first, so that nothing new takes its place.
void Toolkit::retire_all_but(const std::vector<ResourceConfig>& configs, std::int64_t now_ns) {
  std::unordered_map<std::string_view, const ResourceConfig*> wanted;
  for (const ResourceConfig& config : configs)
    wanted.emplace(config.name, &config);
  std::vector<std::unique_ptr<Resource>> before = std::move(resources_);
  resources_.clear();
  for (auto& each : before) {
    const auto config = wanted.find(each->name());
    if (config == wanted.end()) {
      each->retire();
      continue;
    }
    each->configure(*config->second, now_ns);
    resources_.push_back(std::move(each));
  }
}

// A place of its own, whoever serves it: the one that it had under this agent, or, by the tag in
// the counters, under an earlier one; else one that nobody ever had; else one that is free again.
bool Toolkit::make_new(const std::vector<ResourceConfig>& configs, std::int64_t now_ns) {
  std::vector<bool> taken(names_.size());
  std::unordered_set<std::string_view> served;
  for (const auto& each : resources_) {
    taken[each->place()] = true;
    served.insert(each->name());
  }
  std::unordered_map<std::string_view, std::uint32_t> by_name;
  std::unordered_map<std::uint64_t, std::uint32_t> by_tag;
  for (std::uint32_t i = 0; i < names_.size(); ++i)
    if (!names_[i].empty())
      by_name.emplace(names_[i], i);
    else if (const std::uint64_t tag = view_.counter(i).name_tag.load(kRelaxed); tag != 0)
      by_tag.emplace(tag, i);
  std::vector<const ResourceConfig*> homeless;
  std::vector<std::pair<const ResourceConfig*, std::uint32_t>> placed;
  for (const ResourceConfig& config : configs) {
    if (served.contains(config.name)) continue;
    const auto own = by_name.find(config.name);
    const auto tagged = by_tag.find(tag_of(config.name));
    const auto at = own != by_name.end()     ? own->second
                    : tagged != by_tag.end() ? tagged->second
                                             : static_cast<std::uint32_t>(names_.size());
    if (at == names_.size() || taken[at]) {
      homeless.push_back(&config);
      continue;
    }
    taken[at] = true;
    placed.emplace_back(&config, at);
  }
  std::vector<std::uint32_t> unused, free;
  for (std::uint32_t i = 0; i < names_.size(); ++i)
    if (!taken[i])
      (names_[i].empty() && view_.counter(i).name_tag.load(kRelaxed) == 0 ? unused : free)
          .push_back(i);
  unused.insert(unused.end(), free.begin(), free.end());
  if (homeless.size() > unused.size()) return false;
  for (std::size_t i = 0; i < homeless.size(); ++i)
    placed.emplace_back(homeless[i], unused[i]);
  for (const auto& [config, place] : placed)
    make(*config, place, now_ns);
  return true;
}

void Toolkit::make(const ResourceConfig& config, std::uint32_t place, std::int64_t now_ns) {
  std::string& owner = names_[place];
  ResourceCounter& counter = view_.counter(place);
  std::uint32_t generation = generation_of(config.name);
  if (counter.name_tag.load(kRelaxed) != tag_of(config.name)) {
    // The word of another resource means nothing here.
    if (!owner.empty() && generation == generation_of(owner))
      generation = (generation + 2) & 0xffffU;
    counter.breaker.store(0, kRelaxed);
    counter.consecutive.store(0, kRelaxed);
    counter.uncounted_total.store(0, kRelaxed);
    reaped_[place] = 0;
    counter.name_tag.store(tag_of(config.name), kRelaxed);
  }
  owner = config.name;
  auto made = std::make_unique<Resource>(view_, place, generation);
  made->configure(config, now_ns);
  resources_.push_back(std::move(made));
}

bool Toolkit::publish(const DomainRule& rule, std::int64_t now_ns) {
  const std::vector<ResourceConfig> configs = with_tenants(rule.resources);
  if (configs.size() > names_.size()) return false;
  retire_all_but(configs, now_ns);
  if (!make_new(configs, now_ns)) return false;
  leased_ = false;
  for (const auto& each : resources_)
    leased_ = leased_ || each->config().concurrency.lease_ns != 0;
  if (leased_ && watches_.empty()) watches_.resize(view_.geometry().holders_max);
  publish_degrades(rule, now_ns);
  next_ns_ = now_ns;
  return true;
}

void Toolkit::publish_degrades(const DomainRule& rule, std::int64_t now_ns) {
  std::vector<DegradeState> before = std::move(degrades_);
  degrades_.clear();
  for (const DegradeConfig& config : rule.degrades) {
    const auto same = [&config](const DegradeState& s) { return s.config == config; };
    const auto kept = std::find_if(before.begin(), before.end(), same);
    if (kept != before.end()) {
      degrades_.push_back(std::move(*kept));
      continue;
    }
    DegradeState state;
    state.config = config;
    state.degrader = adaptive::Degrader(degrade_options(config));
    // An operator's order outlives a change of the rules, as far as it still makes sense.
    const auto named = [&config](const DegradeState& s) { return s.config.name == config.name; };
    const auto old = std::find_if(before.begin(), before.end(), named);
    if (old != before.end() && (!old->forced || *old->forced <= config.levels.size()) &&
        (!old->drill || old->drill->level <= config.levels.size())) {
      state.forced = old->forced;
      state.drill = old->drill;
      state.until_ns = old->until_ns;
    }
    degrades_.push_back(std::move(state));
  }
  std::vector<bool> used(feature_names_.size());
  std::vector<std::pair<std::uint32_t, std::size_t>> features;
  const auto put = [&](const std::string& name, std::size_t level, std::size_t entry) {
    std::size_t at = 0;
    while (at < feature_names_.size() && feature_names_[at] != name)
      ++at;
    for (std::size_t i = 0; at == feature_names_.size() && i < feature_names_.size(); ++i)
      if (feature_names_[i].empty()) at = i;
    if (at == feature_names_.size()) return;
    feature_names_[at] = name;
    used[at] = true;
    FeatureRule& rule_of = feature(static_cast<std::uint32_t>(at));
    if (std::strncmp(rule_of.name, name.c_str(), kNameBytesMax) != 0) {
      std::memset(rule_of.name, 0, sizeof(rule_of.name));
      std::strncpy(rule_of.name, name.c_str(), kNameBytesMax);
    }
    rule_of.hot.store(hot_word(generation_of(name), static_cast<std::uint32_t>(level)),
                      std::memory_order_release);
    features.emplace_back(static_cast<std::uint32_t>(at), entry);
  };
  // Places of features that went are free for those that come.
  for (std::size_t i = 0; i < feature_names_.size(); ++i) {
    bool stays = false;
    for (const DegradeState& state : degrades_)
      for (const DegradeLevelConfig& level : state.config.levels)
        stays = stays || std::find(level.features.begin(), level.features.end(),
                                   feature_names_[i]) != level.features.end();
    if (stays || feature_names_[i].empty()) continue;
    feature(static_cast<std::uint32_t>(i)).hot.store(0, std::memory_order_release);
    feature_names_[i].clear();
  }
  for (std::size_t entry = 0; entry < degrades_.size(); ++entry)
    for (std::size_t level = 0; level < degrades_[entry].config.levels.size(); ++level)
      for (const std::string& name : degrades_[entry].config.levels[level].features)
        put(name, level + 1, entry);
  features_ = std::move(features);
  tick_degrades(now_ns);
}

void Toolkit::on_sample(std::int64_t now_ns, const CpuSample& sample) {
  signal_.cpu_permille = figure(sample.usage_permille);
  const auto own = sample.cgroup_pressure.some_permille;
  signal_.pressure_permille = figure(own ? own : sample.host_pressure.some_permille);
  signal_.throttled_permille = figure(sample.throttled_permille);
  signal_.capacity_millicpus = figure(sample.capacity_millicpus);
  for (const auto& each : resources_)
    each->on_signal(now_ns, signal_);
}

double Toolkit::signal_of(const DegradeState& state) const {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const auto share = [none](std::int32_t permille) {
    return permille < 0 ? none : static_cast<double>(permille);
  };
  switch (state.config.signal) {
    case DegradeSignal::cpu:
      return share(signal_.cpu_permille);
    case DegradeSignal::psi:
      return share(signal_.pressure_permille);
    case DegradeSignal::throttled:
      return share(signal_.throttled_permille);
    default:
      break;
  }
  for (const auto& each : resources_) {
    if (each->name() != state.config.resource) continue;
    const ResourceFigures& f = each->figures();
    const double done = f.succeeded_per_s + f.failed_per_s;
    if (state.config.signal == DegradeSignal::errors)
      return done > 0.0 ? 1000.0 * f.failed_per_s / done : none;
    if (f.response_ns <= 0.0) return none;
    if (state.config.signal == DegradeSignal::latency) return f.response_ns;
    return f.baseline_ns > 0.0 ? std::max(0.0, f.response_ns - f.baseline_ns) : none;
  }
  return none;
}

void Toolkit::tick_degrades(std::int64_t now_ns) {
  for (DegradeState& state : degrades_) {
    state.level = state.degrader.on_signal(now_ns, signal_of(state));
    if (state.until_ns != 0 && now_ns >= state.until_ns) {
      state.forced.reset();
      state.drill.reset();
      state.until_ns = 0;
    }
    if (state.forced) state.level = *state.forced;
  }
  for (const auto& [place, entry] : features_) {
    const DegradeState& state = degrades_[entry];
    const std::uint32_t share = state.drill_permille() * adaptive::kShareWhole / 1000;
    FeatureRule& rule_of = feature(place);
    rule_of.degrade.store(adaptive::degrade_word(state.level, state.drill_level(), share),
                          kRelaxed);
    rule_of.level_mono_ns.store(now_ns, std::memory_order_release);
  }
}

bool Toolkit::tick(std::int64_t now_ns) {
  if (!dying_.empty()) reap_dying(now_ns);
  if (!active() || now_ns < next_ns_) return active() && busy_;
  next_ns_ = now_ns + kToolkitStepNs;
  tick_resources(now_ns);
  tick_degrades(now_ns);
  if (!resources_.empty() && now_ns >= next_recount_ns_) {
    next_recount_ns_ = now_ns + kRecountStepNs;
    recount_one(now_ns);
  }
  if (now_ns >= next_reap_ns_) {
    next_reap_ns_ = now_ns + kReapStepNs;
    note(reap_dead(view_, own_namespace_, now_ns, reaped_.data()));
  }
  if (leased_ && now_ns >= next_lease_ns_) expire_leases(now_ns);
  return busy_;
}

void Toolkit::tick_resources(std::int64_t now_ns) {
  const std::size_t lanes = std::size_t{view_.geometry().cpus} + 1;
  const std::size_t all = resources_.size();
  const std::size_t step = std::max({std::size_t{1}, kToolkitLanesPerStep / lanes,
                                     (all + kToolkitStepsMax - 1) / kToolkitStepsMax});
  if (step_at_ >= all) step_at_ = 0;
  const std::size_t end = std::min(all, step_at_ + step);
  for (; step_at_ < end; ++step_at_)
    round_busy_ = resources_[step_at_]->tick(now_ns) || round_busy_;
  busy_ = busy_ || round_busy_;
  if (step_at_ < all) return;
  busy_ = round_busy_;
  round_busy_ = false;
}

// In turn; every other time the next one of which something is said to be in flight, so that those
// in use do not wait for thousands that are not.
void Toolkit::recount_one(std::int64_t now_ns) {
  const bool in_use = ++recounts_ % 2 != 0;
  for (std::size_t tried = 0; tried < resources_.size(); ++tried) {
    recount_at_ = (recount_at_ + 1) % resources_.size();
    const Resource& one = *resources_[recount_at_];
    if (!one.config().concurrency.present) continue;
    if (in_use && view_.counter(one.place()).in_flight.load(kRelaxed) == 0) continue;
    (void)recount(view_, one.place(), now_ns);
    return;
  }
}

void Toolkit::note(const Reaped& reaped) {
  reaped_total_ += reaped.permits;
  if (reaped.permits == 0) return;
  for (const auto& each : resources_)
    each->note_reaped(reaped_[each->place()]);
}

bool Toolkit::owns(std::uint32_t slot, std::uint32_t generation, std::int64_t pid) const {
  if (!view_ || slot >= view_.geometry().processes_max) return false;
  const std::uint64_t owner = view_.process(slot).owner.load(std::memory_order_acquire);
  if (process_generation(owner) != (generation & 0xffffU)) return false;
  // In another pid namespace the number is another one, and cannot be compared.
  const std::uint64_t theirs = view_.process(slot).pid_namespace.load(kRelaxed);
  return theirs != own_namespace_ || process_pid(owner) == static_cast<std::uint64_t>(pid);
}

void Toolkit::announced(std::uint32_t slot) {
  announced_.resize(view_.geometry().processes_max);
  announced_[slot] = view_.process(slot).owner.load(std::memory_order_acquire);
}

bool Toolkit::all_announced() const {
  for (std::uint32_t slot = 0; slot < view_.geometry().processes_max; ++slot) {
    const std::uint64_t owner = view_.process(slot).owner.load(std::memory_order_acquire);
    const ProcessState state = process_state(owner);
    if (state != ProcessState::live && state != ProcessState::claiming) continue;
    if (slot >= announced_.size() || announced_[slot] != owner) return false;
  }
  return true;
}

void Toolkit::connection_ended(std::uint32_t slot, std::uint64_t owner, Fd pidfd,
                               std::int64_t now_ns) {
  dying_.push_back({slot, owner, std::move(pidfd), now_ns + kDyingNs});
  reap_dying(now_ns);
}

// A killed process closes its sockets a moment before it counts as ended.
void Toolkit::reap_dying(std::int64_t now_ns) {
  std::erase_if(dying_, [&](const Dying& each) {
    const bool gone = each.pidfd ? has_ended(each.pidfd)
                                 : life_of(view_.process(each.slot), own_namespace_) == Life::dead;
    if (gone) note(reap_process(view_, each.slot, each.owner, now_ns, reaped_.data()));
    return gone || now_ns >= each.until_ns;
  });
}

void Toolkit::expire_leases(std::int64_t now_ns) {
  std::map<std::uint32_t, Resource*> leased;
  std::int64_t step_ns = kLeaseStepMaxNs;
  for (const auto& each : resources_) {
    const std::uint64_t lease_ns = each->config().concurrency.lease_ns;
    if (lease_ns == 0) continue;
    leased.emplace(each->place(), each.get());
    step_ns = std::min(step_ns, static_cast<std::int64_t>(lease_ns / 4));
  }
  next_lease_ns_ = now_ns + std::max(step_ns, kLeaseStepMinNs);
  for (std::uint32_t i = 0; i < watches_.size(); ++i) {
    const HolderCell& cell = view_.holder(i);
    const std::uint64_t claim = cell.claim.load(std::memory_order_acquire);
    const std::uint64_t stripe = claim == 0 ? 0 : cell.stripe.load(std::memory_order_acquire);
    const auto found = leased.find(holder_of(claim).resource);
    if (claim == 0 || found == leased.end()) {
      (void)watches_[i].expired(0, now_ns, 0);
      continue;
    }
    Resource& resource = *found->second;
    if (!watches_[i].expired(stripe, now_ns, resource.config().concurrency.lease_ns)) continue;
    const std::uint64_t permits = expire_holder(view_, i, stripe);
    if (permits == 0) continue;
    expired_total_ += permits;
    resource.note_expired(permits);
    (void)recount(view_, resource.place(), now_ns);
  }
}

bool Toolkit::force_breaker(const std::string& name, BreakerState state, std::int64_t now_ns,
                            std::int64_t until_ns) {
  for (const auto& each : resources_) {
    if (each->name() != name || each->config().breaker.kind != BreakerKind::states) continue;
    each->force(state, now_ns, until_ns);
    return true;
  }
  return false;
}

DegradeState* Toolkit::degrade_named(const std::string& name) {
  const auto found = std::find_if(degrades_.begin(), degrades_.end(),
                                  [&name](const DegradeState& s) { return s.config.name == name; });
  return found == degrades_.end() ? nullptr : &*found;
}

bool Toolkit::force_level(const std::string& name, std::optional<std::uint32_t> level,
                          std::int64_t now_ns, std::int64_t until_ns) {
  DegradeState* state = degrade_named(name);
  if (state == nullptr || (level && *level > state->config.levels.size())) return false;
  state->forced = level;
  state->drill.reset();
  state->until_ns = level ? until_ns : 0;
  tick_degrades(now_ns);
  return true;
}

bool Toolkit::force_drill(const std::string& name, Drill drill, std::int64_t now_ns,
                          std::int64_t until_ns) {
  DegradeState* state = degrade_named(name);
  if (state == nullptr || drill.level > state->config.levels.size()) return false;
  state->forced.reset();
  state->drill = drill;
  state->until_ns = until_ns;
  tick_degrades(now_ns);
  return true;
}

}  // namespace weir::agent
