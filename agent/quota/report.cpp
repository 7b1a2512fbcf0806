#include "agent/quota/report.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <map>
#include <utility>

#include "daemon/http/text_page.h"
#include "daemon/log/printable.h"

namespace weir::agent {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

std::uint64_t count_of(lease::Units units) {
  return static_cast<std::uint64_t>(std::max<lease::Units>(0, units));
}

void fill_key(const QuotaKeyView& view, std::int64_t boot_ns, v1::QuotaKeyStatus& out) {
  out.set_quota(view.name);
  out.set_key(view.key);
  out.set_state(std::string(lease::to_text(view.desk.service)));
  out.set_here(count_of(view.desk.unspent));
  out.set_per_s(count_of(view.desk.per_s));
  out.set_consumed_total(view.consumed);
  out.set_remaining(count_of(view.desk.remaining_at_server));
  out.set_chunks(static_cast<std::uint32_t>(view.desk.chunks));
  out.set_waiting(view.desk.waiting);
  if (view.desk.valid_end_ns > boot_ns && view.desk.valid_end_ns < INT64_MAX / 2)
    out.set_valid_ms(static_cast<std::uint64_t>(view.desk.valid_end_ns - boot_ns) / 1'000'000);
}

// Keys have no labels of their own: there may be thousands, and their names come from clients.
struct OfName {
  std::uint64_t keys = 0, here = 0, consumed = 0;
};

}  // namespace

void fill_quotas(const Quotas& quotas, const v1::QuotasRequest& request, v1::QuotasResponse& out) {
  const QuotaCounts& counts = quotas.counts();
  out.set_connected(quotas.connected());
  out.set_keys(quotas.table().keys());
  out.set_keys_max(quotas.table().keys_max());
  out.set_asks_total(counts.asks_total);
  out.set_chunks_total(counts.grants_total);
  out.set_granted_total(counts.granted_units);
  out.set_returned_total(counts.returned_units);
  out.set_refused_total(counts.refused_total);
  out.set_crowded_total(counts.crowded_total);
  out.set_forged_total(quotas.table().forged_total());
  out.set_audit_rows(quotas.usage().rows());
  out.set_audit_rows_max(kUsageRowsMax);
  out.set_audit_taken_total(quotas.usage().taken_total());
  out.set_audit_dropped_total(quotas.usage().lost_total() + quotas.table().dropped_total());
  out.set_refunds_lost_total(counts.refunds_lost_total);
  std::vector<QuotaKeyView> keys = quotas.keys();
  std::erase_if(keys, [&](const QuotaKeyView& each) {
    return (!request.quota().empty() && each.name != request.quota()) ||
           (!request.key().empty() && each.key != request.key());
  });
  std::sort(keys.begin(), keys.end(), [](const QuotaKeyView& a, const QuotaKeyView& b) {
    return std::tie(a.name, a.key) < std::tie(b.name, b.key);
  });
  const std::size_t most = request.keys_max() == 0 ? kQuotaKeysShown : request.keys_max();
  for (std::size_t i = 0; i < std::min(most, keys.size()); ++i)
    fill_key(keys[i], quotas.boot_ns(), *out.add_list());
  out.set_left_out(
      static_cast<std::uint32_t>(keys.size() - static_cast<std::size_t>(out.list_size())));
}

std::string render_quota_metrics(const Quotas& quotas) {
  std::vector<MetricFamily> page;
  const auto add = [&](MetricType type, const char* name, const char* help, std::uint64_t value) {
    ClientMetric metric;
    metric.counter.value = metric.gauge.value = static_cast<double>(value);
    page.push_back({name, help, type, {std::move(metric)}});
  };
  v1::QuotasRequest nothing;
  nothing.set_quota("\x01");  // no name: the totals alone
  v1::QuotasResponse now;
  fill_quotas(quotas, nothing, now);
  add(MetricType::Gauge, "weir_quota_connected", "Whether a token server with quotas answers.",
      now.connected() ? 1 : 0);
  add(MetricType::Gauge, "weir_quota_slots", "Keys that this host can have in use.",
      now.keys_max());
  add(MetricType::Counter, "weir_quota_asks_total",
      "Asks of processes for units that were not on this host.", now.asks_total());
  add(MetricType::Counter, "weir_quota_chunks_total", "Chunks that the server granted.",
      now.chunks_total());
  add(MetricType::Counter, "weir_quota_granted_units_total", "Units in them.", now.granted_total());
  add(MetricType::Counter, "weir_quota_returned_units_total", "Units that went back unspent.",
      now.returned_total());
  add(MetricType::Counter, "weir_quota_refused_total", "Answers of the server without a unit.",
      now.refused_total());
  add(MetricType::Counter, "weir_quota_crowded_total",
      "Asks for which no slot was free: --quota-keys.", now.crowded_total());
  add(MetricType::Counter, "weir_quota_forged_units_total",
      "Units in the shared memory that nobody had put in; they were taken out.",
      now.forged_total());
  add(MetricType::Gauge, "weir_quota_audit_rows", "Rows that wait for the server.",
      now.audit_rows());
  add(MetricType::Gauge, "weir_quota_audit_rows_max", "As many as can wait.", now.audit_rows_max());
  add(MetricType::Counter, "weir_quota_audit_taken_total", "Rows that the server has.",
      now.audit_taken_total());
  add(MetricType::Counter, "weir_quota_audit_dropped_total", "Rows that found no room.",
      now.audit_dropped_total());

  add(MetricType::Counter, "weir_quota_refunds_lost_total",
      "Refunds that could not be counted: their keys had no slot.", now.refunds_lost_total());

  std::map<std::string, OfName> names;
  for (const QuotaKeyView& each : quotas.keys()) {
    OfName& sum = names[each.name];
    ++sum.keys;
    sum.here += count_of(each.desk.unspent);
    sum.consumed += each.consumed;
  }
  const auto family = [&](const char* name, const char* help, std::uint64_t OfName::*member) {
    MetricFamily all{name, help, MetricType::Gauge, {}};
    for (const auto& [quota, sum] : names) {
      ClientMetric& metric = all.metric.emplace_back();
      metric.label = {{"quota", printable(quota)}};
      metric.gauge.value = static_cast<double>(sum.*member);
    }
    if (!all.metric.empty()) page.push_back(std::move(all));
  };
  family("weir_quota_keys", "Keys in use on this host.", &OfName::keys);
  family("weir_quota_units", "Units of them on this host.", &OfName::here);
  family("weir_quota_consumed_units",
         "Units that processes of this host took of the keys in use, since each came into use.",
         &OfName::consumed);
  return weir::to_text(page);
}

}  // namespace weir::agent
