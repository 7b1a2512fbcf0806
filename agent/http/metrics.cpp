#include "agent/http/metrics.h"

#include <prometheus/metric_family.h>

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
}

void add_cpu(Page& page, const v1::CpuStatus& cpu) {
  const bool blind = !cpu.blind_reason().empty();
  page.gauge("weir_cpu_info", "Where the CPU figures come from; always 1.", 1,
             {label("source", cpu.source())});
  page.gauge("weir_cpu_blind", "1 when the CPU cannot be measured; the figures are then absent.",
             number(blind));
  if (blind) return;  // 0 would look like an idle machine
  page.gauge("weir_cpu_usage_ratio", "CPU used by the group, of what it may use.",
             ratio_of_permille(cpu.usage_permille()));
  page.gauge("weir_cpu_smoothed_usage_ratio", "The same, smoothed.",
             ratio_of_permille(cpu.smoothed_permille()));
  page.gauge("weir_cpu_host_usage_ratio", "CPU used on the whole host.",
             ratio_of_permille(cpu.host_usage_permille()));
  page.gauge("weir_cpu_capacity_cores", "CPUs that the group may use.",
             cpu.capacity_millicpus() / 1e3);
  page.gauge("weir_cpu_throttled_ratio", "Quota periods in which the group was throttled.",
             ratio_of_permille(cpu.throttled_permille()));
  page.gauge("weir_cpu_pressure_ratio", "Time in which some task waited for a CPU, over 10 s.",
             cpu.psi_some_avg10_centipercent() / 1e4);
  page.gauge("weir_cpu_sample_age_seconds", "Time since the CPU was measured.",
             seconds_of_ms(cpu.age_ms()));
}

}  // namespace

std::string render_metrics(const v1::StatusResponse& status, const v1::LimitsResponse& limits) {
  Page page;
  add_agent(page, status);
  add_domains(page, status);
  add_limits(page, limits);
  if (status.has_cpu()) add_cpu(page, status.cpu());
  return page.text();
}

}  // namespace weir::agent
