#include "agent/toolkit/metrics.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <span>

#include "agent/toolkit/toolkit.h"
#include "daemon/http/text_page.h"
#include "daemon/log/printable.h"
#include "rules/text.h"

namespace weir::agent {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Toolkits = std::vector<std::pair<std::string, const Toolkit*>>;
using Labels = std::vector<ClientMetric::Label>;

void add_sample(MetricFamily& family, Labels labels, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.counter.value = value;
  metric.gauge.value = value;
}

// A page for a scraper, made between two ticks: beyond so many resources it has the first ones of
// the rules, and says how many are left out.
constexpr std::size_t kListedMax = 1024;

std::span<const std::unique_ptr<Resource>> listed(const Toolkit& toolkit) {
  const auto& all = toolkit.resources();
  return {all.data(), std::min(all.size(), kListedMax)};
}

// One family with a sample for each resource.
template <class ValueOf>
void add(std::vector<MetricFamily>& page, const Toolkits& toolkits, MetricType type,
         const char* name, const char* help, ValueOf value_of) {
  MetricFamily family{name, help, type, {}};
  for (const auto& [domain, toolkit] : toolkits)
    for (const auto& resource : listed(*toolkit))
      add_sample(family, {{"domain", printable(domain)}, {"resource", printable(resource->name())}},
                 static_cast<double>(value_of(*resource)));
  if (!family.metric.empty()) page.push_back(std::move(family));
}

void add_refusals(std::vector<MetricFamily>& page, const Toolkits& toolkits) {
  MetricFamily family{"weir_resource_refused_total",
                      "Calls that were refused, by which tool.",
                      MetricType::Counter,
                      {}};
  for (const auto& [domain, toolkit] : toolkits)
    for (const auto& resource : listed(*toolkit)) {
      const shm::OutcomeTotals& totals = resource->totals();
      std::uint64_t shed = 0;
      for (const std::uint64_t each : totals.refused)
        shed += each;
      const std::pair<const char*, std::uint64_t> tools[] = {{"concurrency", totals.full},
                                                             {"shed", shed},
                                                             {"breaker", totals.broken},
                                                             {"throttle", totals.throttled}};
      for (const auto& [tool, count] : tools)
        add_sample(family,
                   {{"domain", printable(domain)},
                    {"resource", printable(resource->name())},
                    {"tool", tool}},
                   static_cast<double>(count));
    }
  if (!family.metric.empty()) page.push_back(std::move(family));
}

void add_response_quantiles(std::vector<MetricFamily>& page, const Toolkits& toolkits) {
  MetricFamily family{"weir_resource_response_quantile_seconds",
                      "Response times of what went well in the last half minute.",
                      MetricType::Gauge,
                      {}};
  for (const auto& [domain, toolkit] : toolkits)
    for (const auto& resource : listed(*toolkit)) {
      const ResponseQuantiles& q = resource->figures().response;
      if (q.p99_ns == 0) continue;
      const std::pair<const char*, std::int64_t> all[] = {
          {"0.5", q.p50_ns}, {"0.95", q.p95_ns}, {"0.99", q.p99_ns}};
      for (const auto& [quantile, ns] : all)
        add_sample(family,
                   {{"domain", printable(domain)},
                    {"resource", printable(resource->name())},
                    {"quantile", quantile}},
                   static_cast<double>(ns) / 1e9);
    }
  if (!family.metric.empty()) page.push_back(std::move(family));
}

// The share refused and the rate asked of each class: who pays for the overload.
void add_classes(std::vector<MetricFamily>& page, const Toolkits& toolkits) {
  MetricFamily shed{"weir_resource_class_shed_ratio",
                    "Share of the calls of a class that the shedder refused "
                    "in the last second.",
                    MetricType::Gauge,
                    {}};
  MetricFamily asked{
      "weir_resource_class_asked_total", "First tries by class.", MetricType::Counter, {}};
  for (const auto& [domain, toolkit] : toolkits)
    for (const auto& resource : listed(*toolkit))
      for (std::size_t i = 0; i < shm::kClasses; ++i) {
        const Labels labels{{"domain", printable(domain)},
                            {"resource", printable(resource->name())},
                            {"class", std::string{kClassNames[i]}}};
        add_sample(shed, labels, resource->figures().class_shed_share[i]);
        add_sample(asked, labels, static_cast<double>(resource->totals().asked[i]));
      }
  if (!shed.metric.empty()) page.push_back(std::move(shed));
  if (!asked.metric.empty()) page.push_back(std::move(asked));
}

// Of a domain as a whole.
void add_domains(std::vector<MetricFamily>& page, const Toolkits& toolkits) {
  MetricFamily reaped{"weir_toolkit_reaped_total",
                      "Permits that processes held when they died, of all resources.",
                      MetricType::Counter,
                      {}};
  MetricFamily places{
      "weir_toolkit_places", "Places for resources and tenants, by state.", MetricType::Gauge, {}};
  for (const auto& [domain, toolkit] : toolkits) {
    if (!toolkit->active()) continue;
    const double taken = static_cast<double>(toolkit->resources().size());
    const double all = toolkit->view().geometry().resources_max;
    add_sample(reaped, {{"domain", printable(domain)}},
               static_cast<double>(toolkit->reaped_total()));
    add_sample(places, {{"domain", printable(domain)}, {"state", "taken"}}, taken);
    add_sample(places, {{"domain", printable(domain)}, {"state", "free"}}, all - taken);
  }
  MetricFamily unlisted{"weir_toolkit_unlisted_resources",
                        "Resources beyond the first 1024, which have no metrics of their own.",
                        MetricType::Gauge,
                        {}};
  for (const auto& [domain, toolkit] : toolkits)
    if (toolkit->active())
      add_sample(unlisted, {{"domain", printable(domain)}},
                 static_cast<double>(toolkit->resources().size() - listed(*toolkit).size()));
  if (!unlisted.metric.empty()) page.push_back(std::move(unlisted));
  if (!reaped.metric.empty()) page.push_back(std::move(reaped));
  if (!places.metric.empty()) page.push_back(std::move(places));
}

void add_levels(std::vector<MetricFamily>& page, const Toolkits& toolkits) {
  MetricFamily family{
      "weir_degrade_level", "The level in force; 0: nothing is given up.", MetricType::Gauge, {}};
  for (const auto& [domain, toolkit] : toolkits)
    for (const DegradeState& state : toolkit->degrades())
      add_sample(family, {{"domain", printable(domain)}, {"name", printable(state.config.name)}},
                 static_cast<double>(state.level));
  if (!family.metric.empty()) page.push_back(std::move(family));
}

}  // namespace

std::string render_toolkit_metrics(const Toolkits& toolkits) {
  std::vector<MetricFamily> page;
  const auto gauge = [&](const char* name, const char* help, auto value_of) {
    add(page, toolkits, MetricType::Gauge, name, help, value_of);
  };
  const auto counter = [&](const char* name, const char* help, auto value_of) {
    add(page, toolkits, MetricType::Counter, name, help, value_of);
  };
  gauge("weir_resource_in_flight", "Calls in flight on this host.",
        [](const Resource& r) { return r.figures().in_flight; });
  gauge("weir_resource_concurrency_limit", "Permits of this host; 0: no such limit.",
        [](const Resource& r) { return r.config().concurrency.max; });
  gauge("weir_resource_shedding", "Whether the resource sheds at the moment.",
        [](const Resource& r) { return r.figures().shedding ? 1 : 0; });
  gauge("weir_resource_shed_limit", "In flight from which on the shedder refuses; 0: none.",
        [](const Resource& r) { return r.figures().limit; });
  gauge("weir_resource_blind", "Whether the shedder has no signal to go by.",
        [](const Resource& r) { return r.figures().blind ? 1 : 0; });
  gauge("weir_resource_response_seconds", "Mean response of the last second; 0: there was none.",
        [](const Resource& r) { return r.figures().response_ns / 1e9; });
  add_response_quantiles(page, toolkits);
  gauge("weir_resource_breaker_state",
        "0 closed, 1 open, 2 probing, 3 forced open, 4 forced closed.",
        [](const Resource& r) { return static_cast<int>(r.breaker_state()); });
  gauge("weir_resource_throttle_ratio", "Share of the calls that the throttle refuses.",
        [](const Resource& r) { return r.throttle_share() / 65'535.0; });
  gauge("weir_resource_retries_left", "Retries left in the budget.",
        [](const Resource& r) { return r.retry_level(); });
  counter("weir_resource_succeeded_total", "Calls that ended well.",
          [](const Resource& r) { return r.totals().succeeded; });
  counter("weir_resource_failed_total", "Calls that failed.",
          [](const Resource& r) { return r.totals().failed; });
  add_refusals(page, toolkits);
  counter("weir_resource_breaker_trips_total", "Openings by the share of failed or slow calls.",
          [](const Resource& r) { return r.trips_total(); });
  counter("weir_resource_breaker_opened_total", "Openings, whoever saw the reason.",
          [](const Resource& r) { return r.breaker_story().opened_total; });
  counter("weir_resource_slow_total", "Calls that took longer than the breaker's slow_call.",
          [](const Resource& r) { return r.totals().slow; });
  gauge("weir_resource_requests_per_second", "First tries of the last second.",
        [](const Resource& r) { return r.figures().asked_per_s; });
  gauge("weir_resource_errors_per_second", "Failures of the last second.",
        [](const Resource& r) { return r.figures().failed_per_s; });
  counter("weir_resource_reaped_total", "Permits that dead holders left behind.",
          [](const Resource& r) { return r.reaped_total(); });
  counter("weir_resource_uncounted_total", "Entries that found no cell to be counted in.",
          [](const Resource& r) { return r.uncounted_total(); });
  counter("weir_resource_expired_total", "Permits that hung holders lost.",
          [](const Resource& r) { return r.expired_total(); });
  counter("weir_resource_forged_total", "Shared figures that could not be true and were cut.",
          [](const Resource& r) { return r.forged_total(); });
  add_classes(page, toolkits);
  add_domains(page, toolkits);
  add_levels(page, toolkits);
  return page.empty() ? std::string() : weir::to_text(page);
}

}  // namespace weir::agent
