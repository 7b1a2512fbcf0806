#include "agent/toolkit/report.h"

#include <algorithm>
#include <cmath>

#include "adaptive/feedback.h"
#include "rules/duration.h"
#include "rules/text.h"

namespace weir::agent {

using adaptive::BreakerState;

namespace {

constexpr std::uint64_t kNsOfMs = 1'000'000;
// Longer than anybody forces anything; and a sum with a clock cannot overflow.
constexpr std::uint64_t kForcedMsMax = 366ULL * 24 * 3600 * 1000;

const char* name_of(BreakerState state) {
  switch (state) {
    case BreakerState::closed:
      return "closed";
    case BreakerState::open:
      return "open";
    case BreakerState::probing:
      return "probing";
    case BreakerState::forced_open:
      return "forced_open";
    case BreakerState::forced_closed:
      break;
  }
  return "forced_closed";
}

// Rounded up: what is not over has a time left.
std::uint64_t ms_until(std::int64_t then_ns, std::int64_t now_ns) {
  return then_ns > now_ns ? (static_cast<std::uint64_t>(then_ns - now_ns) + kNsOfMs - 1) / kNsOfMs
                          : 0;
}

std::uint64_t whole(double value) {
  return static_cast<std::uint64_t>(adaptive::within(value, 0.0, 1e18, 0.0));
}

void fill_classes(const Resource& resource, v1::ResourceStatus& out) {
  const ConcurrencyConfig& concurrency = resource.config().concurrency;
  const ResourceFigures& figures = resource.figures();
  for (std::size_t i = 0; i < shm::kClasses; ++i) {
    v1::ClassStatus& each = *out.add_classes();
    each.set_name(std::string{kClassNames[i]});
    if (concurrency.present)
      each.set_room(concurrency.max -
                    concurrency.max * std::min(concurrency.reserve_permille[i], 1000U) / 1000);
    each.set_asked_per_s(figures.class_asked_per_s[i]);
    each.set_shed_share(figures.class_shed_share[i]);
    each.set_shed_total(resource.totals().refused[i]);
  }
}

void fill_breaker(const Resource& resource, std::int64_t now_ns, v1::ResourceStatus& out) {
  out.set_breaker(std::string{to_text(resource.config().breaker.kind)});
  out.set_throttle_share(resource.throttle_share() / 65'535.0);
  if (resource.config().breaker.kind != BreakerKind::states) return;
  const BreakerStory& story = resource.breaker_story();
  out.set_breaker_state(name_of(story.state));
  out.set_breaker_reason(story.reason);
  out.set_breaker_since_ms(ms_until(now_ns, story.since_ns));
  out.set_breaker_due_ms(ms_until(story.due_ns, now_ns));
  out.set_breaker_forced_ms(ms_until(resource.forced_until_ns(), now_ns));
  out.set_breaker_opened_total(story.opened_total);
}

void fill_totals(const Resource& resource, v1::ResourceStatus& out) {
  const shm::OutcomeTotals& totals = resource.totals();
  std::uint64_t shed = 0;
  for (const std::uint64_t each : totals.refused)
    shed += each;
  out.set_succeeded_total(totals.succeeded);
  out.set_failed_total(totals.failed);
  out.set_slow_total(totals.slow);
  out.set_full_total(totals.full);
  out.set_shed_total(shed);
  out.set_broken_total(totals.broken);
  out.set_throttled_total(totals.throttled);
  out.set_reaped_total(resource.reaped_total());
  out.set_expired_total(resource.expired_total());
  out.set_forged_total(resource.forged_total());
  out.set_uncounted_total(resource.uncounted_total());
}

adaptive::LoadReport load_of(const Resource& resource) {
  const ResourceFigures& figures = resource.figures();
  adaptive::LoadReport load;
  load.cpu_utilization = resource.cpu_share();
  load.in_flight = static_cast<double>(figures.in_flight);
  const ConcurrencyConfig& concurrency = resource.config().concurrency;
  if (concurrency.present) load.limit = static_cast<double>(concurrency.max);
  load.requests_per_second = figures.asked_per_s;
  load.errors_per_second = figures.failed_per_s;
  load.shed_share = figures.shed_share;
  return load;
}

void fill_load(const adaptive::LoadReport& load, v1::LoadStatus& out) {
  if (load.cpu_utilization >= 0.0) out.set_cpu_utilization(load.cpu_utilization);
  out.set_in_flight(load.in_flight);
  if (load.limit >= 0.0) out.set_limit(load.limit);
  out.set_requests_per_s(load.requests_per_second);
  out.set_errors_per_s(load.errors_per_second);
  out.set_shed_share(load.shed_share);
  if (const double worst = adaptive::utilization(load); worst >= 0.0) out.set_utilization(worst);
}

// Text that is worth its making for one, not for thousands.
void fill_orca(const adaptive::LoadReport& load, v1::LoadStatus& out) {
  out.set_orca_text(adaptive::orca_text(load));
  out.set_orca_json(adaptive::orca_json(load));
}

void fill_resource(const Resource& resource, std::int64_t now_ns, v1::ResourceStatus& out) {
  const ResourceConfig& config = resource.config();
  const ResourceFigures& figures = resource.figures();
  out.set_name(config.name);
  out.set_description(config.description);
  out.set_line(config.line);
  out.set_in_flight(figures.in_flight);
  out.set_concurrency(config.concurrency.present ? config.concurrency.max : 0);
  out.set_lease_ms(config.concurrency.lease_ns / kNsOfMs);
  fill_classes(resource, out);
  out.set_shed(std::string{to_text(config.shed.kind)});
  out.set_shedding(figures.shedding);
  out.set_blind(figures.blind);
  out.set_shed_limit(figures.limit);
  out.set_shed_share(figures.shed_share);
  fill_breaker(resource, now_ns, out);
  out.set_retry_budget(config.retry.present);
  out.set_retries_left(resource.retry_level());
  out.set_asked_per_s(figures.asked_per_s);
  out.set_succeeded_per_s(figures.succeeded_per_s);
  out.set_failed_per_s(figures.failed_per_s);
  out.set_refused_per_s(figures.refused_per_s);
  out.set_response_ns(whole(figures.response_ns));
  if (figures.response.p99_ns > 0) {
    out.set_response_p50_ns(static_cast<std::uint64_t>(figures.response.p50_ns));
    out.set_response_p95_ns(static_cast<std::uint64_t>(figures.response.p95_ns));
    out.set_response_p99_ns(static_cast<std::uint64_t>(figures.response.p99_ns));
  }
  out.set_baseline_ns(whole(figures.baseline_ns));
  fill_totals(resource, out);
  if (config.deadline.present) {
    out.set_deadline_default_ms(config.deadline.default_ns / kNsOfMs);
    out.set_deadline_max_ms(config.deadline.max_ns / kNsOfMs);
  }
  fill_load(load_of(resource), *out.mutable_load());
}

// The rates of all resources together, the worst share of any.
adaptive::LoadReport host_load(const v1::ResourcesResponse& resources, const v1::CpuStatus& cpu) {
  adaptive::LoadReport load;
  if (cpu.has_smoothed_permille()) load.cpu_utilization = cpu.smoothed_permille() / 1000.0;
  load.in_flight = load.requests_per_second = load.errors_per_second = load.shed_share = 0.0;
  for (const v1::ResourceStatus& each : resources.resources()) {
    if (!each.tenant_of().empty()) continue;
    const v1::LoadStatus& own = each.load();
    load.in_flight += own.in_flight();
    load.requests_per_second += own.requests_per_s();
    load.errors_per_second += own.errors_per_s();
    load.shed_share = std::max(load.shed_share, own.shed_share());
    if (own.has_limit() && own.limit() > 0.0)
      load.application_utilization =
          std::max(load.application_utilization, own.in_flight() / own.limit());
  }
  return load;
}

void fill_degrade(const Toolkit& toolkit, const DegradeState& state, std::int64_t now_ns,
                  v1::DegradeStatus& out) {
  const DegradeConfig& config = state.config;
  out.set_name(config.name);
  out.set_signal(std::string{to_text(config.signal)});
  out.set_resource(config.resource);
  out.set_level(static_cast<std::uint32_t>(state.level));
  for (const DegradeLevelConfig& level : config.levels) {
    v1::DegradeLevelStatus& each = *out.add_levels();
    each.set_enter_text(format_signal(config.signal, level.enter));
    each.set_leave_text(format_signal(config.signal, level.leave));
    for (const std::string& feature : level.features)
      each.add_features(feature);
  }
  out.set_forced(state.forced.has_value());
  if (state.forced) out.set_forced_ms(ms_until(state.until_ns, now_ns));
  if (const double value = toolkit.signal_of(state); std::isfinite(value))
    out.set_value_text(format_signal(config.signal, whole(value)));
  out.set_drill_level(state.drill_level());
  out.set_drill_permille(state.drill_permille());
  out.set_drill_forced(state.drill.has_value());
  if (state.drill) out.set_drill_ms(ms_until(state.until_ns, now_ns));
  out.set_line(config.line);
}

std::string time_text(std::uint64_t for_ms) {
  return for_ms == 0 ? std::string(", until told otherwise or the agent ends")
                     : ", for " + format_duration_ns(for_ms * kNsOfMs);
}

std::int64_t until(std::uint64_t for_ms, std::int64_t now_ns) {
  return for_ms == 0 ? 0 : now_ns + static_cast<std::int64_t>(for_ms * kNsOfMs);
}

// Why it cannot be: what there is in its place helps more than a no.
std::string no_breaker(const Toolkit& toolkit, const std::string& name) {
  std::vector<std::string_view> names;
  for (const auto& each : toolkit.resources()) {
    names.emplace_back(each->name());
    if (each->name() != name) continue;
    return each->config().breaker.kind == BreakerKind::adaptive
               ? "the breaker of '" + name +
                     "' is of kind: adaptive, which has no states to force; only kind: states has"
               : "'" + name + "' has no breaker; give it one in the rules file";
  }
  const std::string_view near = did_you_mean(name, names);
  return "no resource '" + name + "'" +
         (near.empty() ? std::string("; `weir list` names all")
                       : "; did you mean '" + std::string(near) + "'?");
}

}  // namespace

void fill_resources(const Domain& domain, const std::string& name, std::int64_t now_ns,
                    v1::ResourcesResponse& out) {
  const Toolkit* toolkit = domain.toolkit();
  if (toolkit == nullptr) return;
  std::map<std::string, std::string> owners;
  for (const ResourceConfig& config : domain.rule().resources)
    for (const TenantConfig& tenant : config.concurrency.tenants)
      owners.emplace(config.name + "/" + tenant.name, config.name);
  for (const auto& resource : toolkit->resources()) {
    if (!name.empty() && name != resource->name()) continue;
    v1::ResourceStatus& each = *out.add_resources();
    each.set_domain(domain.name());
    fill_resource(*resource, now_ns, each);
    if (!name.empty()) fill_orca(load_of(*resource), *each.mutable_load());
    if (const auto owner = owners.find(resource->name()); owner != owners.end())
      each.set_tenant_of(owner->second);
  }
  for (const DegradeState& state : toolkit->degrades()) {
    v1::DegradeStatus& each = *out.add_degrades();
    each.set_domain(domain.name());
    fill_degrade(*toolkit, state, now_ns, each);
  }
}

void fill_host_load(v1::ResourcesResponse& out) {
  const adaptive::LoadReport load = host_load(out, out.cpu());
  fill_load(load, *out.mutable_host());
  fill_orca(load, *out.mutable_host());
}

Forced force_breaker(Toolkit& toolkit, const v1::ForceBreakerRequest& request,
                     std::int64_t now_ns) {
  Forced result;
  const std::uint64_t for_ms = std::min<std::uint64_t>(request.for_ms(), kForcedMsMax);
  BreakerState state = BreakerState::closed;
  std::string text = "by its own rules again";
  if (request.state() == v1::ForceBreakerRequest::STATE_OPEN) {
    state = BreakerState::forced_open;
    text = "open: every call is refused" + time_text(for_ms);
  } else if (request.state() == v1::ForceBreakerRequest::STATE_CLOSED) {
    state = BreakerState::forced_closed;
    text = "closed: every call passes" + time_text(for_ms);
  } else if (request.state() != v1::ForceBreakerRequest::STATE_AUTOMATIC) {
    result.problem = "no state of a breaker; allowed: open, closed, automatic";
    return result;
  }
  if (toolkit.force_breaker(request.name(), state, now_ns, until(for_ms, now_ns)))
    result.text = "the breaker of '" + request.name() + "' is " + text;
  else
    result.problem = no_breaker(toolkit, request.name());
  return result;
}

Forced force_level(Toolkit& toolkit, const v1::ForceLevelRequest& request, std::int64_t now_ns) {
  Forced result;
  const std::uint64_t for_ms = std::min<std::uint64_t>(request.for_ms(), kForcedMsMax);
  const std::string who = "'" + request.name() + "'";
  std::vector<std::string_view> names;
  std::size_t levels = 0;
  for (const DegradeState& state : toolkit.degrades()) {
    names.emplace_back(state.config.name);
    if (state.config.name == request.name()) levels = state.config.levels.size();
  }
  if (levels == 0) {
    const std::string_view near = did_you_mean(request.name(), names);
    result.problem = "no entry " + who + " of 'degrade'" +
                     (near.empty() ? std::string("; `weir degrade` names all")
                                   : "; did you mean '" + std::string(near) + "'?");
    return result;
  }
  if (!request.automatic() && request.level() > levels) {
    result.problem = who + " has levels 0 to " + std::to_string(levels) + ", not " +
                     std::to_string(request.level());
    return result;
  }
  if (request.drill_permille() > 1000 || (request.drill_permille() != 0 && request.level() == 0)) {
    result.problem = "a drill needs a level above 0 and a share of at most 100%";
    return result;
  }
  const std::string level = "level " + std::to_string(request.level());
  if (request.automatic()) {
    (void)toolkit.force_level(request.name(), std::nullopt, now_ns);
    result.text = who + " follows its signal again";
  } else if (request.drill_permille() != 0) {
    (void)toolkit.force_drill(request.name(), {request.level(), request.drill_permille()}, now_ns,
                              until(for_ms, now_ns));
    result.text = "drill of " + who + ": " + format_permille(request.drill_permille()) +
                  " of the requests go at " + level + time_text(for_ms);
  } else {
    (void)toolkit.force_level(request.name(), request.level(), now_ns, until(for_ms, now_ns));
    result.text = who + " is at " + level + time_text(for_ms);
  }
  return result;
}

}  // namespace weir::agent
