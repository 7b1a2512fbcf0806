#include "server/metrics.h"

#include <prometheus/metric_family.h>

#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "daemon/http/text_page.h"
#include "daemon/log/printable.h"

namespace weir::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double number(std::uint64_t value) noexcept { return static_cast<double>(value); }
double tokens(lease::Micro amount) noexcept { return static_cast<double>(amount) / 1e6; }
double seconds(std::int64_t ns) noexcept { return static_cast<double>(ns) / 1e9; }

ClientMetric::Label label(const char* name, const std::string& value) {
  return {name, printable(value)};
}

class Page {
 public:
  void begin(std::string name, std::string help, MetricType type) {
    families_.push_back({std::move(name), std::move(help), type, {}});
  }
  void add(double value, Labels labels = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    metric.counter.value = value;
    metric.gauge.value = value;
  }
  void counter(std::string name, std::string help, double value) {
    begin(std::move(name), std::move(help), MetricType::Counter);
    add(value);
  }
  void gauge(std::string name, std::string help, double value) {
    begin(std::move(name), std::move(help), MetricType::Gauge);
    add(value);
  }
  std::string text() const { return to_text(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void add_server(Page& page, const ServerStatus& status) {
  page.begin("weir_server_info", "The running server; always 1.", MetricType::Gauge);
  page.add(1, {label("version", status.version)});
  page.gauge("weir_server_uptime_seconds", "Time since the server started.",
             number(status.uptime_ms) / 1e3);
  page.gauge("weir_server_epoch", "The server's epoch; it rises with every start.",
             number(status.epoch));
  page.gauge("weir_server_connections", "Connections, operators' tools included.",
             number(status.connections));
  page.begin("weir_server_hellos_refused_total", "Hellos that were refused, by reason.",
             MetricType::Counter);
  for (std::size_t i = 0; i < kRefusals; ++i)
    page.add(number(status.refused_total[i]), {label("reason", kRefusalNames[i])});
  page.counter("weir_server_reloads_total", "Files that were put in force.",
               number(status.reloads_total));
  page.counter("weir_server_reload_failures_total", "Files that were refused.",
               number(status.reload_failures_total));
  page.gauge("weir_server_reload_failed", "Whether the last reload was refused.",
             status.reload_error.empty() ? 0 : 1);
  if (status.certificate_seconds_left != INT64_MAX)
    page.gauge("weir_server_certificate_seconds_left",
               "How long the server's own certificate is valid.",
               static_cast<double>(status.certificate_seconds_left));
}

void add_state(Page& page, const StateStats& state) {
  page.gauge("weir_server_state_degraded",
             "Whether what happens now cannot be stored; the next start then learns for its full "
             "time.",
             state.degraded ? 1 : 0);
  page.counter("weir_server_state_commits_total", "Writes to the state directory.",
               number(state.commits_total));
  page.counter("weir_server_state_failures_total", "Writes that failed.",
               number(state.failures_total));
  page.gauge("weir_server_state_commit_seconds", "How long the last write took.",
             static_cast<double>(state.commit_time.count()) / 1e6);
  page.gauge("weir_server_state_bytes", "Size of the list of known hosts.",
             number(state.file_bytes));
}

void add_listeners(Page& page, const net::ListenerStats& stats) {
  page.counter("weir_server_accepted_total", "Connections that were accepted.",
               number(stats.accepted_total));
  page.begin("weir_server_closed_total", "Connections that the server ended, by reason.",
             MetricType::Counter);
  page.add(number(stats.refused_total), {label("reason", "too_many")});
  page.add(number(stats.handshake_failures_total), {label("reason", "tls")});
  page.add(number(stats.malformed_total), {label("reason", "malformed")});
  page.add(number(stats.too_fast_total), {label("reason", "too_fast")});
  page.add(number(stats.deadline_total), {label("reason", "deadline")});
  page.add(number(stats.overflow_total), {label("reason", "overflow")});
  page.counter("weir_server_accept_errors_total",
               "Times that accepting paused for want of descriptors or memory.",
               number(stats.accept_errors_total));
  page.begin("weir_server_frames_total", "Messages.", MetricType::Counter);
  page.add(number(stats.frames_in_total), {label("direction", "in")});
  page.add(number(stats.frames_out_total), {label("direction", "out")});
  page.begin("weir_server_bytes_total", "Bytes of messages.", MetricType::Counter);
  page.add(number(stats.bytes_in_total), {label("direction", "in")});
  page.add(number(stats.bytes_out_total), {label("direction", "out")});
}

// One family with a line for each namespace.
template <class Value>
void per_space(Page& page, const ServerStatus& status, const char* name, const char* help,
               MetricType type, Value value) {
  page.begin(name, help, type);
  for (const SpaceStatus& space : status.spaces)
    page.add(static_cast<double>(value(space)), {label("namespace", space.name)});
}

void add_spaces(Page& page, const ServerStatus& status) {
  constexpr auto kCounter = MetricType::Counter;
  constexpr auto kGauge = MetricType::Gauge;
  per_space(page, status, "weir_server_requests_total", "Heartbeats that were answered.", kCounter,
            [](const SpaceStatus& s) { return s.counts.requests_total; });
  per_space(page, status, "weir_server_busy_total",
            "Heartbeats that were answered 'busy': over the guard.", kCounter,
            [](const SpaceStatus& s) { return s.counts.busy_total; });
  per_space(page, status, "weir_server_ignored_total",
            "Messages of sessions that are no more, or out of order.", kCounter,
            [](const SpaceStatus& s) { return s.counts.ignored_total; });
  per_space(page, status, "weir_server_grants_total", "Changes of what a host may use.", kCounter,
            [](const SpaceStatus& s) { return s.counts.grants_total; });
  per_space(page, status, "weir_server_pokes_total", "Hosts that were asked to come.", kCounter,
            [](const SpaceStatus& s) { return s.counts.pokes_total; });
  per_space(page, status, "weir_server_hellos_total", "Hellos with a good credential.", kCounter,
            [](const SpaceStatus& s) { return s.counts.hellos_total; });
  per_space(page, status, "weir_server_new_identities_total",
            "Hosts that were told to begin anew: a copy of them was seen.", kCounter,
            [](const SpaceStatus& s) { return s.counts.new_identities_total; });
  per_space(page, status, "weir_server_replaced_total",
            "Connections that gave way to a newer one of the same host.", kCounter,
            [](const SpaceStatus& s) { return s.counts.replaced_total; });
  per_space(page, status, "weir_server_rules_sent_total", "Times that a host was sent the rules.",
            kCounter, [](const SpaceStatus& s) { return s.counts.rules_sent_total; });
  per_space(page, status, "weir_server_sessions", "Hosts that are connected.", kGauge,
            [](const SpaceStatus& s) { return s.sessions; });
  per_space(page, status, "weir_server_hosts", "Hosts that hold something, or could.", kGauge,
            [](const SpaceStatus& s) { return s.hosts; });
  per_space(page, status, "weir_server_guard", "Heartbeats a second that are looked at.", kGauge,
            [](const SpaceStatus& s) { return s.guard; });
  per_space(page, status, "weir_server_learning",
            "Whether the server still learns what hosts hold.", kGauge,
            [](const SpaceStatus& s) { return s.learning ? 1 : 0; });
  per_space(page, status, "weir_server_owner", "Whether this server owns the namespace.", kGauge,
            [](const SpaceStatus& s) { return s.owner ? 1 : 0; });
  per_space(page, status, "weir_server_refresh_seconds", "How often a host is to come.", kGauge,
            [](const SpaceStatus& s) { return seconds(s.refresh_ns); });
  per_space(page, status, "weir_server_lease_seconds", "How long a lease lasts.", kGauge,
            [](const SpaceStatus& s) { return seconds(s.ttl_ns); });
}

template <class Value>
void per_limit(Page& page, const ServerStatus& status, const char* name, const char* help,
               MetricType type, Value value) {
  page.begin(name, help, type);
  for (const SpaceStatus& space : status.spaces) {
    for (const LimitStatus& limit : space.limits) {
      page.add(value(limit), {label("namespace", space.name), label("limit", limit.report.name)});
    }
  }
}

void add_limits(Page& page, const ServerStatus& status) {
  constexpr auto kCounter = MetricType::Counter;
  constexpr auto kGauge = MetricType::Gauge;
  per_limit(page, status, "weir_server_limit_rate", "Tokens a second, as in force.", kGauge,
            [](const LimitStatus& l) { return tokens(l.report.rate); });
  per_limit(page, status, "weir_server_limit_burst", "Tokens at once, as in force.", kGauge,
            [](const LimitStatus& l) { return tokens(l.report.burst); });
  per_limit(page, status, "weir_server_limit_leased_rate",
            "Tokens a second that hosts may use now, tails included.", kGauge,
            [](const LimitStatus& l) { return tokens(l.report.leased_rate); });
  per_limit(page, status, "weir_server_limit_wanted_rate", "Tokens a second that hosts want.",
            kGauge, [](const LimitStatus& l) { return tokens(l.report.want_total); });
  per_limit(page, status, "weir_server_limit_level", "Tokens in the server's own bucket.", kGauge,
            [](const LimitStatus& l) { return tokens(l.report.server_level); });
  per_limit(page, status, "weir_server_limit_overcommitted_rate",
            "Tokens a second that hosts may still use beyond a limit that was lowered.", kGauge,
            [](const LimitStatus& l) {
              return tokens(std::max<lease::Micro>(0, l.report.leased_rate - l.report.rate));
            });
  per_limit(page, status, "weir_server_limit_hosts", "Hosts that ask for the limit.", kGauge,
            [](const LimitStatus& l) { return number(l.report.hosts); });
  per_limit(page, status, "weir_server_limit_spent_total", "Tokens that hosts spent.", kCounter,
            [](const LimitStatus& l) { return number(l.report.spent_total); });
  per_limit(page, status, "weir_server_limit_refused_total",
            "Tokens that hosts refused, retries left out.", kCounter,
            [](const LimitStatus& l) { return number(l.report.refused_total); });
  std::size_t unlisted = 0;
  for (const SpaceStatus& space : status.spaces)
    unlisted += space.limit_count - std::min(space.limit_count, space.limits.size());
  page.gauge("weir_server_limits_unlisted", "Limits that have no lines here, being too many.",
             number(unlisted));
}

template <class Value>
void per_concurrency(Page& page, const ServerStatus& status, const char* name, const char* help,
                     Value value) {
  page.begin(name, help, MetricType::Gauge);
  for (const SpaceStatus& space : status.spaces) {
    for (const lease::PermitStatus& each : space.permits)
      page.add(static_cast<double>(value(each)),
               {label("namespace", space.name), label("resource", each.name)});
  }
}

void add_concurrency(Page& page, const ServerStatus& status) {
  using Status = lease::PermitStatus;
  per_concurrency(page, status, "weir_server_concurrency_max",
                  "Permits of a concurrency limit of the whole cluster.",
                  [](const Status& s) { return s.max; });
  per_concurrency(page, status, "weir_server_concurrency_in_flight",
                  "Permits in use, as the hosts reported.",
                  [](const Status& s) { return s.in_flight; });
  per_concurrency(page, status, "weir_server_concurrency_wanted", "Permits that hosts want.",
                  [](const Status& s) { return s.wanted; });
  per_concurrency(page, status, "weir_server_concurrency_bound",
                  "Permits that hosts may use now, lost hosts included.",
                  [](const Status& s) { return s.bound; });
  per_concurrency(page, status, "weir_server_concurrency_hosts",
                  "Connected hosts that have the resource.",
                  [](const Status& s) { return s.hosts; });
  per_concurrency(page, status, "weir_server_concurrency_lost_hosts",
                  "Hosts that are gone and whose permits are kept for them.",
                  [](const Status& s) { return s.lost_hosts; });
  per_concurrency(page, status, "weir_server_concurrency_learning",
                  "Whether hosts have still to say what they hold.",
                  [](const Status& s) { return s.learning ? 1 : 0; });
}

template <class Value>
void per_quotas(Page& page, const ServerStatus& status, const char* name, const char* help,
                MetricType type, Value value) {
  page.begin(name, help, type);
  for (const SpaceStatus& space : status.spaces)
    if (space.quotas) page.add(number(value(*space.quotas)), {label("namespace", space.name)});
}

void add_quotas(Page& page, const ServerStatus& status) {
  constexpr auto kCounter = MetricType::Counter;
  constexpr auto kGauge = MetricType::Gauge;
  using Quotas = QuotaSpaceStatus;
  if (status.quota_store) {
    const StoreStats& store = *status.quota_store;
    page.gauge("weir_server_store_degraded", "Whether the last write of the quotas failed.",
               store.degraded ? 1 : 0);
    page.gauge("weir_server_store_waiting", "Transactions that wait for the disk.",
               number(store.waiting));
    page.gauge("weir_server_store_commit_seconds", "How long the last commit took.",
               static_cast<double>(store.commit_us) / 1e6);
    page.counter("weir_server_store_commits_total", "Commits: each is one sync of the disk.",
                 number(store.commits_total));
    page.counter("weir_server_store_transactions_total", "Transactions in them.",
                 number(store.transactions_total));
    page.counter("weir_server_store_failures_total", "Writes that failed.",
                 number(store.failures_total));
  }
  if (status.audit) {
    const AuditStats& audit = *status.audit;
    page.gauge("weir_server_audit_queued", "Rows that wait to be written.", number(audit.queued));
    page.gauge("weir_server_audit_capacity", "Rows that may wait; then hosts wait.",
               number(audit.capacity));
    page.gauge("weir_server_audit_lag_seconds", "Age of the oldest row that waits.",
               static_cast<double>(audit.lag_ms) / 1e3);
    page.counter("weir_server_audit_written_total", "Rows of usage that were written.",
                 number(audit.written_total));
    page.counter("weir_server_audit_refused_total", "Rows that found no room and came again.",
                 number(audit.refused_total));
    page.counter("weir_server_audit_dropped_total", "Rows that were lost at a stop.",
                 number(audit.dropped_total));
  }
  if (status.clean)
    page.counter("weir_server_audit_removed_total", "Old rows that the cleaner removed.",
                 number(status.clean->removed_total));
  if (!status.quota_store) return;
  per_quotas(page, status, "weir_server_quota_keys", "Keys in memory.", kGauge,
             [](const Quotas& q) { return q.book.keys; });
  per_quotas(page, status, "weir_server_quota_waiting", "Asks that wait for the store.", kGauge,
             [](const Quotas& q) { return q.book.waiting; });
  per_quotas(page, status, "weir_server_quota_asks_total", "Asks of hosts, by key.", kCounter,
             [](const Quotas& q) { return q.book.asks_total; });
  per_quotas(page, status, "weir_server_quota_grants_total", "Chunks that were granted.", kCounter,
             [](const Quotas& q) { return q.book.granted_total; });
  per_quotas(page, status, "weir_server_quota_busy_total", "Asks that were put off.", kCounter,
             [](const Quotas& q) { return q.book.busy_total; });
  per_quotas(page, status, "weir_server_quota_lost_units_total", "Units lost with hosts.", kCounter,
             [](const Quotas& q) { return q.book.lost_units_total; });
  per_quotas(page, status, "weir_server_quota_forgotten_chunks_total",
             "Chunks of hosts that the store did not know: it went back.", kCounter,
             [](const Quotas& q) { return q.book.forgotten_total; });
}

// prometheus-cpp's text has no histograms here; this one has fixed bounds, powers of two from 1 us
// to 1 s, as the times are counted.
void append_histogram(std::string& out, const char* name, const char* help, const Times& times) {
  constexpr std::size_t kFirstBits = 10;
  constexpr std::size_t kLastBits = 30;
  char line[160];
  const auto print = [&](const char* format, auto... values) {
    const int length = std::snprintf(line, sizeof(line), format, values...);
    if (length > 0) out.append(line, std::min(static_cast<std::size_t>(length), sizeof(line) - 1));
  };
  print("# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
  for (std::size_t bits = kFirstBits; bits <= kLastBits; bits += 2)
    print("%s_bucket{le=\"%.9g\"} %llu\n", name, std::ldexp(1e-9, static_cast<int>(bits)),
          static_cast<unsigned long long>(times.at_most(bits)));
  print("%s_bucket{le=\"+Inf\"} %llu\n", name, static_cast<unsigned long long>(times.count()));
  print("%s_sum %.9g\n", name, static_cast<double>(times.sum_ns()) / 1e9);
  print("%s_count %llu\n", name, static_cast<unsigned long long>(times.count()));
}

}  // namespace

std::string render_metrics(const ServerStatus& status) {
  Page page;
  add_server(page, status);
  add_state(page, status.state);
  add_listeners(page, status.listeners);
  add_spaces(page, status);
  add_limits(page, status);
  add_concurrency(page, status);
  add_quotas(page, status);
  std::string text = page.text();
  append_histogram(text, "weir_server_request_seconds",
                   "Time from a heartbeat's message to its answer.", status.request_times);
  return text;
}

}  // namespace weir::server
