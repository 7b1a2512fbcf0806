// What the agent says of itself: the same answers for the CLI, the metrics and the health check.
#include <unistd.h>

#include "agent/app.h"
#include "rules/duration.h"
#include "shm/clock.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

const char* name_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::token_bucket:
      return "token_bucket";
    case Algorithm::leaky_bucket:
      return "leaky_bucket";
    case Algorithm::fixed_window:
      return "fixed_window";
    case Algorithm::sliding_window:
      return "sliding_window";
    case Algorithm::none:
      break;
  }
  return "none";
}

const char* name_of(Fallback fallback) {
  switch (fallback) {
    case Fallback::local:
      return "local";
    case Fallback::open:
      return "open";
    case Fallback::closed:
      break;
  }
  return "closed";
}

const char* name_of(CalendarUnit unit) {
  switch (unit) {
    case CalendarUnit::none:
      return "";
    case CalendarUnit::minute:
      return "minute";
    case CalendarUnit::hour:
      return "hour";
    case CalendarUnit::day:
      return "day";
    case CalendarUnit::week:
      return "week";
    case CalendarUnit::month:
      return "month";
  }
  return "";
}

std::uint64_t ms_since(std::int64_t then_ns, std::int64_t now_ns) {
  return now_ns > then_ns ? static_cast<std::uint64_t>(now_ns - then_ns) / kNsPerMs : 0;
}

std::string fallback_text(const LimitRule& rule) {
  if (rule.fallback.mode == Fallback::open) return "everything passes";
  if (rule.fallback.mode == Fallback::closed) return "nothing passes once the bucket is empty";
  return format_rate({rule.fallback.amount, rule.fallback.period_ns}) + ", at most " +
         std::to_string(rule.fallback.burst) + " at once";
}

void fill_limit(const Domain& domain, const LimitRule& rule, std::int64_t now_ns,
                v1::LimitStatus& out) {
  const auto index = static_cast<std::uint32_t>(domain.slot_of(rule.name));
  const LimitState& state = domain.minter().limit(index);
  const LimitStats& stats = state.stats;
  out.set_domain(domain.name());
  out.set_name(rule.name);
  out.set_description(rule.description);
  out.set_algorithm(name_of(rule.algorithm));
  out.set_amount(rule.amount);
  out.set_period_ns(rule.period_ns);
  out.set_burst(state.terms.burst);
  out.set_rate_text(rule.calendar == CalendarUnit::none
                        ? format_rate({rule.amount, rule.period_ns})
                        : std::to_string(rule.amount) + " a " + name_of(rule.calendar));
  out.set_calendar(name_of(rule.calendar));
  out.set_timezone(rule.timezone);
  out.set_striped(state.stripe_set != 0);
  out.set_fallback(name_of(rule.fallback.mode));
  out.set_fallback_text(fallback_text(rule));
  out.set_level(stats.level);
  out.set_minted_total(stats.minted_total);
  out.set_spent_total(stats.spent_total);
  out.set_refused_total(stats.refused_total);
  out.set_spent_per_s(stats.spent_per_s);
  out.set_refused_per_s(stats.refused_per_s);
  out.set_waiting(state.waiters.size());
  out.set_owed(state.waiters.owed());
  out.set_forged_total(stats.forged_total);
  out.set_lost_total(stats.lost_total);
  for (const std::uint64_t tokens : state.reserve)
    out.add_reserve(tokens);
  if (const std::int64_t edge = domain.next_edge_ns(index, now_ns); edge > now_ns)
    out.set_next_edge_ms(static_cast<std::uint64_t>(edge - now_ns) / kNsPerMs);
  out.set_line(rule.line);
  out.set_index(index);
  out.set_generation(state.generation);
}

void fill_domain(const ServedDomain& served, v1::DomainStatus& out) {
  const Domain& domain = *served.domain;
  const AttachStats& stats = served.server->stats();
  out.set_name(domain.name());
  out.set_socket(served.server->path());
  out.set_limits(static_cast<std::uint32_t>(domain.rule().limits.size()));
  out.set_clients(served.server->client_count());
  out.set_attached_total(stats.attached_total);
  out.set_refused_total(stats.refused_total);
  out.set_reaped_total(stats.reaped_total);
  out.set_rules_bytes(domain.rules_bytes());
  out.set_counters_bytes(domain.counters_bytes());
  out.set_waiting(domain.minter().waiting());
  out.set_office_lost(domain.minter().office_lost());
}

void fill_cpu(const CpuSample& sample, std::int64_t now_ns, v1::CpuStatus& out) {
  out.set_source(std::string(cpu_source_text(sample.source)));
  out.set_usage_permille(sample.usage_permille.value_or(0));
  out.set_smoothed_permille(sample.smoothed_permille.value_or(0));
  out.set_capacity_millicpus(sample.capacity_millicpus.value_or(0));
  out.set_throttled_permille(sample.throttled_permille.value_or(0));
  const auto psi = sample.cgroup_pressure.some_avg10_centipercent;
  out.set_psi_some_avg10_centipercent(
      psi ? *psi : sample.host_pressure.some_avg10_centipercent.value_or(0));
  out.set_host_usage_permille(sample.host_usage_permille.value_or(0));
  out.set_age_ms(static_cast<std::uint64_t>(sample.age_ns(now_ns).value_or(0)) / kNsPerMs);
  out.set_blind_reason(std::string(cpu_blind_text(sample.blind)));
}

}  // namespace

void App::fill_status(v1::StatusResponse& status) const {
  const std::int64_t now_ns = read_mono_ns();
  status.set_version(WEIR_VERSION_TEXT);
  status.set_pid(::getpid());
  status.set_agent_epoch(agent_epoch_);
  status.set_uptime_ms(ms_since(started_ns_, now_ns));
  status.set_runtime_dir(options_.runtime_dir);
  status.set_rules_file(options_.rules_file);
  status.set_rules_loaded_ms_ago(ms_since(rules_loaded_ns_, now_ns));
  status.set_rules_generation(rules_generation_);
  status.set_rules_error(rules_error_);
  status.set_tick_us(static_cast<std::uint64_t>(sleeping_ ? kTickIdleNs : kTickActiveNs) / 1000);
  status.set_ticks_total(ticks_total_);
  status.set_ticks_late_total(ticks_late_total_);
  status.set_tick_p50_ns(tick_times_.quantile_ns(0.5));
  status.set_tick_p99_ns(tick_times_.quantile_ns(0.99));
  bool adopted = !domains_.empty();
  for (const ServedDomain& served : domains_) {
    fill_domain(served, *status.add_domains());
    adopted = adopted && served.domain->adopted();
  }
  status.set_counters_adopted(adopted);
  status.set_http_address(http_ ? http_->bound_address() : "off");
  if (cpu_) fill_cpu(cpu_->last(), now_ns, *status.mutable_cpu());
}

void App::fill_limits(const v1::LimitsRequest& request, v1::LimitsResponse& limits) const {
  const std::int64_t now_ns = read_mono_ns();
  for (const ServedDomain& served : domains_) {
    if (!request.domain().empty() && request.domain() != served.domain->name()) continue;
    served.domain->minter().refresh_stats();
    for (const LimitRule& rule : served.domain->rule().limits)
      if (request.name().empty() || request.name() == rule.name)
        fill_limit(*served.domain, rule, now_ns, *limits.add_limits());
  }
}

void App::fill_clients(v1::ClientsResponse& clients) const {
  const std::int64_t now_ns = read_mono_ns();
  for (const ServedDomain& served : domains_)
    for (const ClientInfo* info : served.server->clients()) {
      v1::ClientStatus& out = *clients.add_clients();
      out.set_domain(served.domain->name());
      out.set_pid(info->peer.pid);
      out.set_uid(info->peer.uid);
      out.set_gid(info->peer.gid);
      out.set_label(info->label);
      out.set_command(command_of(info->peer.pid));
      out.set_attached_ms(ms_since(info->since_ns, now_ns));
      std::uint32_t waiting = 0;
      for (std::uint32_t i = 0; i < kWaitersPerClient; ++i) {
        const std::uint32_t word = served.domain->counters()
                                       .waiter(info->id * kWaitersPerClient + i)
                                       .state.load(std::memory_order_relaxed);
        if ((word & 3) == static_cast<std::uint32_t>(WaiterState::waiting)) ++waiting;
      }
      out.set_waiting(waiting);
      out.set_major(info->major);
      out.set_minor(info->minor);
      out.set_doorbells_total(info->doorbells_total);
    }
}

}  // namespace weir::agent
