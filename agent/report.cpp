// What the agent says of itself: the same answers for the CLI, the metrics and the health check.
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "agent/app.h"
#include "rules/duration.h"
#include "server/metrics.h"
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

std::string fallback_text(const LimitRule& rule, std::uint32_t hosts) {
  if (rule.fallback.mode == Fallback::open) return "everything passes";
  if (rule.fallback.mode == Fallback::closed) return "nothing passes once the bucket is empty";
  if (rule.scope == LimitScope::host)
    return format_rate({rule.fallback.amount, rule.fallback.period_ns}) + ", at most " +
           std::to_string(rule.fallback.burst) + " at once";
  const LocalRate local = local_rate(rule, hosts);
  std::string text = format_rate({local.amount, local.period_ns}) + " on this host, at most " +
                     std::to_string(local.burst) + " at once";
  if (rule.fallback.divided && rule.cluster.threshold == LimitThreshold::global)
    text += " (the limit divided by " + std::to_string(std::max(hosts, 1U)) + " host(s))";
  return text;
}

double per_s(lease::Micro rate) { return static_cast<double>(rate) / 1e6; }

// What a server granted: the margin for a fast clock is taken off where it is minted.
double granted_per_s(lease::Micro minted) {
  return per_s(lease::mul_div(minted, 1'000'000, 1'000'000 - lease::kDriftPpm));
}

const char* name_of(lease::LeaseState state) {
  switch (state) {
    case lease::LeaseState::none:
      return "none";
    case lease::LeaseState::live:
      return "live";
    case lease::LeaseState::tail:
      return "tail";
    case lease::LeaseState::ended:
      break;
  }
  return "ended";
}

void fill_lease(const Upstream::LimitView& view, const LimitRule& rule, const LimitState& state,
                std::int64_t boot_ns, std::int64_t now_ns, v1::LeaseStatus& out) {
  const lease::LeaseView& lease = view.lease;
  out.set_state(name_of(lease.state));
  out.set_fallback(view.fallback);
  out.set_rate_per_s(granted_per_s(lease.rate));
  out.set_burst(per_s(lease.burst));
  out.set_tail_rate_per_s(granted_per_s(lease.tail_rate));
  out.set_tail_burst(per_s(lease.tail_burst));
  if (lease.state == lease::LeaseState::live) out.set_left_ms(ms_since(boot_ns, lease.end_ns));
  if (lease.state == lease::LeaseState::live || lease.state == lease::LeaseState::tail)
    out.set_tail_left_ms(ms_since(boot_ns, lease.tail_end_ns));
  out.set_since_ms(ms_since(view.since_ns, boot_ns));
  out.set_hosts(lease.hosts);
  out.set_want_per_s(per_s(lease.want));
  out.set_granted_ever(lease.granted_ever);
  out.set_per_host(rule.cluster.threshold == LimitThreshold::per_host);
  const MintRule in_force = state.terms.at(now_ns);
  out.set_in_force_burst(static_cast<double>(in_force.burst));
  if (in_force.period_ns != 0)
    out.set_in_force_per_s(static_cast<double>(in_force.amount) /
                           static_cast<double>(in_force.period_ns) * 1e9);
}

void fill_limit(const Domain& domain, const LimitRule& rule, const Cluster* cluster,
                std::int64_t now_ns, v1::LimitStatus& out) {
  const auto index = static_cast<std::uint32_t>(domain.slot_of(rule.name));
  const LimitState& state = domain.minter().limit(index);
  const LimitStats& stats = state.stats;
  out.set_domain(domain.name());
  out.set_name(rule.name);
  out.set_description(rule.description);
  out.set_algorithm(name_of(rule.algorithm));
  out.set_amount(rule.amount);
  out.set_period_ns(rule.period_ns);
  out.set_burst(state.leased ? rule.burst : state.terms.burst);
  out.set_rate_text(rule.calendar == CalendarUnit::none
                        ? format_rate({rule.amount, rule.period_ns})
                        : std::to_string(rule.amount) + " a " + name_of(rule.calendar));
  out.set_calendar(name_of(rule.calendar));
  out.set_timezone(rule.timezone);
  out.set_striped(state.stripe_set != 0);
  out.set_fallback(name_of(rule.fallback.mode));
  std::uint32_t hosts = cluster != nullptr ? cluster->upstream().hosts() : 1;
  if (rule.scope == LimitScope::cluster && cluster != nullptr)
    if (const auto view = cluster->upstream().view_of(rule.name)) {
      if (view->lease.hosts != 0) hosts = view->lease.hosts;
      fill_lease(*view, rule, state, cluster->upstream().now_ns(), now_ns, *out.mutable_lease());
    }
  out.set_fallback_text(fallback_text(rule, hosts));
  out.set_fallback_after_ms(rule.fallback.after_ms);
  out.set_retried_total(domain.counters().count(kLaneRetried, index));
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
  if (const auto v = sample.usage_permille) out.set_usage_permille(*v);
  if (const auto v = sample.smoothed_permille) out.set_smoothed_permille(*v);
  if (const auto v = sample.capacity_millicpus) out.set_capacity_millicpus(*v);
  if (const auto v = sample.throttled_permille) out.set_throttled_permille(*v);
  const auto psi = sample.cgroup_pressure.some_avg10_centipercent;
  if (const auto v = psi ? psi : sample.host_pressure.some_avg10_centipercent)
    out.set_psi_some_avg10_centipercent(*v);
  if (const auto v = sample.host_usage_permille) out.set_host_usage_permille(*v);
  if (const auto v = sample.age_ns(now_ns))
    out.set_age_ms(static_cast<std::uint64_t>(*v) / kNsPerMs);
  out.set_blind_reason(std::string(cpu_blind_text(sample.blind)));
}

void fill_talk(const Upstream& up, v1::UpstreamStatus& out) {
  const UpstreamCounts& counts = up.counts();
  const lease::Desk::Counts& desk = up.desk().counts();
  const RoundTrips& trips = up.round_trips();
  out.set_ok_total(counts.ok_total);
  out.set_busy_total(counts.busy_total);
  out.set_timeout_total(counts.timeout_total);
  out.set_refused_total(counts.refused_total);
  out.set_retries_total(desk.retries_total);
  const std::uint64_t all =
      counts.ok_total + counts.busy_total + counts.timeout_total + counts.refused_total;
  out.set_success_ratio(all == 0 ? 1.0
                                 : static_cast<double>(counts.ok_total) / static_cast<double>(all));
  out.set_round_trip_last_us(trips.last_us());
  out.set_round_trip_p50_us(trips.quantile_us(0.5));
  out.set_round_trip_p99_us(trips.quantile_us(0.99));
  out.set_round_trip_sum_us(trips.sum_us());
  out.set_round_trip_count(trips.count());
  for (std::size_t i = 0; i < RoundTrips::kBuckets; ++i) {
    out.add_round_trip_bounds_us(RoundTrips::bound_us(i));
    out.add_round_trip_at_most(trips.at_most(i));
  }
  out.set_fallback(up.in_fallback());
  if (up.in_fallback()) out.set_fallback_ms(ms_since(up.fallback_since_ns(), up.now_ns()));
  out.set_fallback_total_ms(static_cast<std::uint64_t>(up.fallback_ns()) / kNsPerMs);
  out.set_fallback_starts_total(counts.fallback_starts_total);
  out.set_withdrawn_total(desk.withdrawn_total);
  out.set_identities_total(desk.identities_total);
  out.set_clock_runaway_total(desk.clock_runaway_total);
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
  if (cluster_) fill_upstream(*status.mutable_upstream());
  if (cpu_) fill_cpu_status(*status.mutable_cpu());
}

void App::fill_cpu_status(v1::CpuStatus& cpu) const {
  if (cpu_) fill_cpu(cpu_->last(), read_mono_ns(), cpu);
}

void App::fill_upstream(v1::UpstreamStatus& out) const {
  const Upstream& up = cluster_->upstream();
  const net::LinkStats& link = cluster_->link().stats();
  const std::int64_t boot_ns = up.now_ns();
  out.set_embedded(cluster_->rule().embedded());
  out.set_address(link.address);
  out.set_server_name(cluster_->link().server_name());
  out.set_server_version(cluster_->link().server_version());
  out.set_namespace_name(cluster_->rule().name_space);
  out.set_host(up.host());
  out.set_domain(cluster_->rule().domain);
  out.set_link_state(net::to_string(link.state));
  out.set_link_state_ms(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::steady_clock::now() - link.since)
                                     .count()));
  out.set_connected(up.connected());
  out.set_answering(up.answering());
  out.set_learning(up.connected() && up.learning());
  out.set_heard_ever(up.heard_ns() != 0);
  if (up.heard_ns() != 0) out.set_heard_ms_ago(ms_since(up.heard_ns(), boot_ns));
  out.set_session(up.desk().session());
  out.set_epoch(up.desk().server_epoch());
  out.set_identity(up.desk().agent_epoch());
  out.set_last_error(link.last_error);
  out.set_hosts(up.hosts());
  out.set_limits(up.limit_count());
  out.set_rules_version(cluster_->rules_version());
  for (const std::string& name : cluster_->conflicts())
    out.add_conflicts(name);
  out.set_request_timeout_ms(cluster_->rule().request_timeout_ms);
  fill_talk(up, out);
  out.set_opens_total(link.opens_total);
  out.set_open_failures_total(link.failures_total);
  out.set_closes_total(link.closes_total);
  out.set_bytes_in_total(link.bytes_in_total);
  out.set_bytes_out_total(link.bytes_out_total);
}

// Of the server in this process, after the agent's own figures.
std::string App::server_metrics() const {
  const auto status = cluster_ ? cluster_->server_status() : nullptr;
  return status ? server::render_metrics(*status) : std::string();
}

void App::fill_limits(const v1::LimitsRequest& request, v1::LimitsResponse& limits) const {
  const std::int64_t now_ns = read_mono_ns();
  for (const ServedDomain& served : domains_) {
    if (!request.domain().empty() && request.domain() != served.domain->name()) continue;
    served.domain->minter().refresh_stats();
    for (const LimitRule& rule : served.domain->rule().limits)
      if (request.name().empty() || request.name() == rule.name)
        fill_limit(*served.domain, rule, cluster_.get(), now_ns, *limits.add_limits());
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
