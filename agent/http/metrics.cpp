#include "agent/http/metrics.h"

#include <prometheus/metric_family.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/http/text_page.h"
#include "daemon/log/printable.h"
#include "weir/v1/admin.pb.h"

namespace weir::agent {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double number(std::uint64_t value) noexcept { return static_cast<double>(value); }
double number(bool value) noexcept { return value ? 1.0 : 0.0; }

double seconds_of_ms(std::uint64_t ms) noexcept { return number(ms) / 1e3; }
double seconds_of_ns(std::uint64_t ns) noexcept { return number(ns) / 1e9; }
double ratio_of_permille(std::uint32_t permille) noexcept { return permille / 1e3; }

// A name that is not UTF-8 would make the whole page unreadable; printable() leaves good ones as
// they are. Quotes, backslashes and newlines are the serializer's to escape.
ClientMetric::Label label(const char* name, const std::string& value) {
  return {name, printable(value)};
}

// The page, one family after another, in the order in which they are added.
class Page {
 public:
  void counter(std::string name, std::string help, double value, Labels labels = {}) {
    begin(std::move(name), std::move(help), MetricType::Counter);
    add(value, std::move(labels));
  }
  void gauge(std::string name, std::string help, double value, Labels labels = {}) {
    begin(std::move(name), std::move(help), MetricType::Gauge);
    add(value, std::move(labels));
  }
  void begin(std::string name, std::string help, MetricType type) {
    families_.push_back({std::move(name), std::move(help), type, {}});
  }
  // One more sample of the family begun last.
  void add(double value, Labels labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    metric.counter.value = value;
    metric.gauge.value = value;
  }
  void expect(int samples) { families_.back().metric.reserve(static_cast<std::size_t>(samples)); }
  void summary(std::string name, std::string help, ClientMetric::Summary summary) {
    begin(std::move(name), std::move(help), MetricType::Summary);
    ClientMetric metric;
    metric.summary = std::move(summary);
    families_.back().metric.push_back(std::move(metric));
  }
  std::string text() const { return to_text(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void add_agent(Page& page, const v1::StatusResponse& status) {
  page.gauge("weir_agent_info", "The running agent; always 1.", 1,
             {label("version", status.version())});
  page.gauge("weir_agent_uptime_seconds", "Time since the agent started.",
             seconds_of_ms(status.uptime_ms()));
  page.gauge("weir_agent_counters_adopted",
             "Whether the buckets were kept from an earlier run of the agent.",
             number(status.counters_adopted()));
  page.counter("weir_agent_ticks_total", "Minting ticks.", number(status.ticks_total()));
  page.counter("weir_agent_ticks_late_total", "Minting ticks that began more than 5 ms late.",
               number(status.ticks_late_total()));
  page.gauge("weir_agent_tick_period_seconds", "Time between two ticks while a limit is in use.",
             number(status.tick_us()) / 1e6);
  // The agent keeps quantiles and no sum; a sum of 0 would be a lie that rate() believes.
  page.summary("weir_agent_tick_duration_seconds", "Time that a recent tick took.",
               {.sample_count = status.ticks_total(),
                .sample_sum = std::numeric_limits<double>::quiet_NaN(),
                .quantile = {{0.5, seconds_of_ns(status.tick_p50_ns())},
                             {0.99, seconds_of_ns(status.tick_p99_ns())}}});
  page.gauge("weir_agent_rules_generation", "How often the rules have been loaded.",
             number(status.rules_generation()));
  page.gauge("weir_agent_rules_age_seconds", "Time since the running rules were loaded.",
             seconds_of_ms(status.rules_loaded_ms_ago()));
  page.gauge("weir_agent_rules_last_reload_successful",
             "0 when the last rules file was refused and older rules run on.",
             number(status.rules_error().empty()));
}

// Adds families that have one sample for each entry of a list. The labels are made once: they
// are most of the work.
template <class Entry, class LabelsOf>
class Columns {
 public:
  using List = google::protobuf::RepeatedPtrField<Entry>;

  Columns(Page& page, const List& list, LabelsOf labels_of) : page_(page), list_(list) {
    labels_.reserve(static_cast<std::size_t>(list.size()));
    for (const Entry& entry : list)
      labels_.push_back(labels_of(entry));
  }
  template <class ValueOf>
  void gauge(const char* name, const char* help, ValueOf value_of) {
    add(MetricType::Gauge, name, help, value_of);
  }
  template <class ValueOf>
  void counter(const char* name, const char* help, ValueOf value_of) {
    add(MetricType::Counter, name, help, value_of);
  }

 private:
  template <class ValueOf>
  void add(MetricType type, const char* name, const char* help, ValueOf value_of) {
    if (list_.empty()) return;
    page_.begin(name, help, type);
    page_.expect(list_.size());
    auto labels = labels_.begin();
    for (const Entry& entry : list_)
      page_.add(value_of(entry), *labels++);
  }

  Page& page_;
  const List& list_;
  std::vector<Labels> labels_;
};

void add_domains(Page& page, const v1::StatusResponse& status) {
  using Domain = v1::DomainStatus;
  Columns columns(page, status.domains(),
                  [](const Domain& d) { return Labels{label("domain", d.name())}; });
  columns.gauge("weir_domain_limits", "Limits of the domain.",
                [](const Domain& d) { return number(std::uint64_t{d.limits()}); });
  columns.gauge("weir_domain_clients", "Attached clients.",
                [](const Domain& d) { return number(std::uint64_t{d.clients()}); });
  columns.gauge("weir_domain_waiting_calls", "Calls that wait for tokens.",
                [](const Domain& d) { return number(std::uint64_t{d.waiting()}); });
  columns.counter("weir_domain_attaches_total", "Clients that attached.",
                  [](const Domain& d) { return number(d.attached_total()); });
  columns.counter("weir_domain_attaches_refused_total", "Attaches that were refused.",
                  [](const Domain& d) { return number(d.refused_total()); });
  columns.counter("weir_domain_clients_reaped_total",
                  "Clients that ended and were cleaned up after.",
                  [](const Domain& d) { return number(d.reaped_total()); });
  columns.gauge("weir_domain_rules_segment_bytes", "Shared memory with the rules.",
                [](const Domain& d) { return number(d.rules_bytes()); });
  columns.gauge("weir_domain_counters_segment_bytes", "Shared memory with the buckets.",
                [](const Domain& d) { return number(d.counters_bytes()); });
  columns.gauge("weir_domain_office_lost", "1 when somebody else minted since the agent last did.",
                [](const Domain& d) { return number(d.office_lost()); });
}

double rate_per_s(const v1::LimitStatus& limit) noexcept {
  if (limit.period_ns() == 0) return 0;
  return number(limit.amount()) / seconds_of_ns(limit.period_ns());
}

void add_limits(Page& page, const v1::LimitsResponse& limits) {
  using Limit = v1::LimitStatus;
  Columns info(page, limits.limits(), [](const Limit& l) {
    return Labels{label("domain", l.domain()), label("limit", l.name()),
                  label("algorithm", l.algorithm()), label("fallback", l.fallback())};
  });
  info.gauge("weir_limit_info", "How the limit works; always 1.", [](const Limit&) { return 1.0; });
  Columns columns(page, limits.limits(), [](const Limit& l) {
    return Labels{label("domain", l.domain()), label("limit", l.name())};
  });
  columns.gauge("weir_limit_rate_tokens_per_second", "The rate that the rule allows.", rate_per_s);
  columns.gauge("weir_limit_burst_tokens", "The most tokens that the bucket holds.",
                [](const Limit& l) { return number(l.burst()); });
  columns.gauge("weir_limit_level_tokens", "Tokens that can be taken now.",
                [](const Limit& l) { return number(l.level()); });
  columns.gauge("weir_limit_owed_tokens", "Tokens that queued calls still wait for.",
                [](const Limit& l) { return number(l.owed()); });
  columns.gauge("weir_limit_waiting_calls", "Calls that wait for tokens.",
                [](const Limit& l) { return number(l.waiting()); });
  columns.counter("weir_limit_minted_tokens_total", "Tokens put into the bucket.",
                  [](const Limit& l) { return number(l.minted_total()); });
  columns.counter("weir_limit_spent_tokens_total", "Tokens that calls took.",
                  [](const Limit& l) { return number(l.spent_total()); });
  columns.counter("weir_limit_refused_calls_total", "Calls that were refused.",
                  [](const Limit& l) { return number(l.refused_total()); });
  columns.counter("weir_limit_forged_words_total",
                  "Words found with a value that no client writes.",
                  [](const Limit& l) { return number(l.forged_total()); });
  columns.counter("weir_limit_lost_tokens_total", "Minted tokens that were never delivered.",
                  [](const Limit& l) { return number(l.lost_total()); });
  columns.counter("weir_limit_retried_calls_total",
                  "Refused calls that their caller marked as retries.",
                  [](const Limit& l) { return number(l.retried_total()); });
}

// Of leased limits alone: a limit of this host has no lease to speak of.
void add_leases(Page& page, const v1::LimitsResponse& limits) {
  using Limit = v1::LimitStatus;
  google::protobuf::RepeatedPtrField<Limit> leased;
  for (const Limit& limit : limits.limits())
    if (limit.has_lease()) *leased.Add() = limit;
  Columns states(page, leased, [](const Limit& l) {
    return Labels{label("domain", l.domain()), label("limit", l.name()),
                  label("state", l.lease().fallback() ? "fallback" : l.lease().state())};
  });
  states.gauge("weir_limit_lease_info", "Where the limit's tokens come from; always 1.",
               [](const Limit&) { return 1.0; });
  Columns columns(page, leased, [](const Limit& l) {
    return Labels{label("domain", l.domain()), label("limit", l.name())};
  });
  columns.gauge("weir_limit_lease_rate_tokens_per_second",
                "What this host may spend of the cluster's limit.",
                [](const Limit& l) { return l.lease().in_force_per_s(); });
  columns.gauge("weir_limit_lease_burst_tokens", "The most tokens that its bucket may hold.",
                [](const Limit& l) { return l.lease().in_force_burst(); });
  columns.gauge("weir_limit_lease_wanted_tokens_per_second", "What this host wants of it.",
                [](const Limit& l) { return l.lease().want_per_s(); });
  columns.gauge("weir_limit_lease_remaining_seconds",
                "Until the lease ends, if nothing renews it; 0 without one.",
                [](const Limit& l) { return seconds_of_ms(l.lease().left_ms()); });
  columns.gauge("weir_limit_lease_hosts", "Hosts that the limit is divided among.",
                [](const Limit& l) { return number(std::uint64_t{l.lease().hosts()}); });
  columns.gauge("weir_limit_fallback", "1 while the rule's fallback is in force.",
                [](const Limit& l) { return number(l.lease().fallback()); });
}

void add_upstream(Page& page, const v1::UpstreamStatus& up) {
  page.gauge("weir_upstream_info", "The token server that the agent speaks to; always 1.", 1,
             {label("server", up.server_name()), label("address", up.address()),
              label("namespace", up.namespace_name())});
  page.gauge("weir_upstream_connected", "1 while there is a session with a token server.",
             number(up.connected()));
  page.gauge("weir_upstream_answering", "1 while it answers in time.", number(up.answering()));
  page.begin("weir_upstream_requests_total", "Requests for leases, by what became of them.",
             MetricType::Counter);
  for (const auto& [result, total] : {std::pair{"ok", up.ok_total()},
                                      {"busy", up.busy_total()},
                                      {"timeout", up.timeout_total()},
                                      {"refused", up.refused_total()}})
    page.add(number(total), {label("result", result)});
  page.counter("weir_upstream_retries_total", "Requests that were sent again.",
               number(up.retries_total()));
  if (up.heard_ever())
    page.gauge("weir_upstream_lag_seconds", "Time since the token server was heard.",
               seconds_of_ms(up.heard_ms_ago()));
  page.gauge("weir_upstream_fallback",
             "1 while some limit is in its tail or in fallback for want of a server.",
             number(up.fallback()));
  page.counter("weir_upstream_fallback_seconds_total", "For how long that was so.",
               seconds_of_ms(up.fallback_total_ms()));
  page.counter("weir_upstream_fallbacks_total", "How often that began.",
               number(up.fallback_starts_total()));
  page.counter("weir_upstream_leases_withdrawn_total", "Leases that ended for want of an answer.",
               number(up.withdrawn_total()));
  page.counter("weir_upstream_identities_total",
               "New identities that a server asked for: a copy of this host was seen.",
               number(up.identities_total()));
  page.counter("weir_upstream_clock_runaways_total",
               "Leases that were stopped because this host's clock ran away.",
               number(up.clock_runaway_total()));
  page.counter("weir_upstream_connections_total", "Connections that were opened.",
               number(up.opens_total()));
  page.counter("weir_upstream_connection_failures_total", "Tries that did not open.",
               number(up.open_failures_total()));
  page.counter("weir_upstream_received_bytes_total", "Bytes from the token server.",
               number(up.bytes_in_total()));
  page.counter("weir_upstream_sent_bytes_total", "Bytes to the token server.",
               number(up.bytes_out_total()));
  page.gauge("weir_upstream_hosts", "Hosts of the namespace, as known last.",
             number(std::uint64_t{up.hosts()}));
}

// The page's own writer knows no histograms.
void append_round_trips(std::string& out, const v1::UpstreamStatus& up) {
  constexpr std::string_view kName = "weir_upstream_round_trip_seconds";
  const auto line = [&](std::string_view suffix, const std::string& text) {
    out.append(kName).append(suffix).append(" ").append(text).append("\n");
  };
  const auto seconds = [](std::uint64_t us) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof(digits), number(us) / 1e6).ptr;
    return std::string(digits, end);
  };
  out.append("# HELP ").append(kName).append(" Time from a request to its answer.\n");
  out.append("# TYPE ").append(kName).append(" histogram\n");
  for (int i = 0; i < up.round_trip_bounds_us_size() && i < up.round_trip_at_most_size(); ++i)
    line("_bucket{le=\"" + seconds(up.round_trip_bounds_us(i)) + "\"}",
         std::to_string(up.round_trip_at_most(i)));
  line("_bucket{le=\"+Inf\"}", std::to_string(up.round_trip_count()));
  line("_sum", seconds(up.round_trip_sum_us()));
  line("_count", std::to_string(up.round_trip_count()));
}

void add_cpu(Page& page, const v1::CpuStatus& cpu) {
  const bool blind = !cpu.blind_reason().empty();
  page.gauge("weir_cpu_info", "Where the CPU figures come from; always 1.", 1,
             {label("source", cpu.source())});
  page.gauge("weir_cpu_blind", "1 when the CPU cannot be measured; the figures are then absent.",
             number(blind));
  if (blind) return;  // 0 would look like an idle machine
  const auto figure = [&](bool measured, const char* name, const char* help, double value) {
    if (measured) page.gauge(name, help, value);
  };
  figure(cpu.has_usage_permille(), "weir_cpu_usage_ratio",
         "CPU used by the group, of what it may use.", ratio_of_permille(cpu.usage_permille()));
  figure(cpu.has_smoothed_permille(), "weir_cpu_smoothed_usage_ratio", "The same, smoothed.",
         ratio_of_permille(cpu.smoothed_permille()));
  figure(cpu.has_host_usage_permille(), "weir_cpu_host_usage_ratio", "CPU used on the whole host.",
         ratio_of_permille(cpu.host_usage_permille()));
  figure(cpu.has_capacity_millicpus(), "weir_cpu_capacity_cores", "CPUs that the group may use.",
         cpu.capacity_millicpus() / 1e3);
  figure(cpu.has_throttled_permille(), "weir_cpu_throttled_ratio",
         "Quota periods in which the group was throttled.",
         ratio_of_permille(cpu.throttled_permille()));
  figure(cpu.has_psi_some_avg10_centipercent(), "weir_cpu_pressure_ratio",
         "Time in which some task waited for a CPU, over 10 s.",
         cpu.psi_some_avg10_centipercent() / 1e4);
  figure(cpu.has_age_ms(), "weir_cpu_sample_age_seconds", "Time since the CPU was measured.",
         seconds_of_ms(cpu.age_ms()));
}

}  // namespace

std::string render_metrics(const v1::StatusResponse& status, const v1::LimitsResponse& limits) {
  Page page;
  add_agent(page, status);
  add_domains(page, status);
  add_limits(page, limits);
  add_leases(page, limits);
  if (status.has_upstream()) add_upstream(page, status.upstream());
  if (status.has_cpu()) add_cpu(page, status.cpu());
  std::string text = page.text();
  if (status.has_upstream()) append_round_trips(text, status.upstream());
  return text;
}

}  // namespace weir::agent
