// Resources and degradation in the words of the file, and what differs between two of them.
#include "rules/duration.h"
#include "rules/text.h"
#include "rules/toolkit_parts.h"

namespace weir {
namespace {

std::string describe_shares(const std::array<std::uint32_t, shm::kClasses>& permille) {
  std::string text;
  for (std::size_t i = kClassNames.size(); i-- > 0;) {
    text += text.empty() ? "{" : ", ";
    text += kClassNames[i];
    text += ": " + format_permille(permille[i]);
  }
  return text + "}";
}

// A rate in thousandths a second.
std::string describe_rate(std::uint32_t per_s_milli) {
  if (per_s_milli % 1000 == 0) return std::to_string(per_s_milli / 1000) + "/s";
  return format_rate({per_s_milli, 1000 * kSecondNs});
}

void describe(const ConcurrencyConfig& config, Fields& fields) {
  if (!config.present) return;
  fields.emplace_back("concurrency.max", std::to_string(config.max));
  if (config.cluster) {
    fields.emplace_back("concurrency.scope", "cluster");
    fields.emplace_back("concurrency.fallback", to_text(config.fallback));
  }
  fields.emplace_back("concurrency.priority", describe_shares(config.reserve_permille));
  fields.emplace_back("concurrency.lease",
                      config.lease_ns == 0 ? "none" : format_duration_ns(config.lease_ns));
  std::string tenants;
  for (const TenantConfig& tenant : config.tenants) {
    tenants += tenants.empty() ? "" : ", ";
    tenants += "{name: " + tenant.name + ", max: " + std::to_string(tenant.max) + "}";
  }
  if (!tenants.empty()) fields.emplace_back("concurrency.tenants", "[" + tenants + "]");
}

void describe(const ShedConfig& config, Fields& fields) {
  fields.emplace_back("shed.kind", to_text(config.kind));
  if (config.kind == ShedKind::off) return;
  fields.emplace_back("shed.min", std::to_string(config.min));
  if (config.kind == ShedKind::gradient) {
    fields.emplace_back("shed.max", std::to_string(config.max));
    fields.emplace_back("shed.tolerance", format_factor(config.tolerance_permille));
    return;
  }
  const auto gate = [&](std::string_view name, std::uint32_t permille) {
    fields.emplace_back("shed." + std::string{name},
                        permille == 0 ? "off" : format_permille(permille));
  };
  gate("cpu", config.cpu_permille);
  gate("psi", config.psi_permille);
  gate("throttled", config.throttled_permille);
  fields.emplace_back("shed.hold", format_duration_ns(config.hold_ns));
  fields.emplace_back("shed.blind_limit",
                      config.blind_limit == 0 ? "none" : std::to_string(config.blind_limit));
}

void describe(const BreakerConfig& config, Fields& fields) {
  fields.emplace_back("breaker.kind", to_text(config.kind));
  if (config.kind == BreakerKind::off) return;
  fields.emplace_back("breaker.window", format_duration_ns(config.window_ns));
  fields.emplace_back("breaker.volume", std::to_string(config.volume));
  if (config.kind == BreakerKind::adaptive) {
    fields.emplace_back("breaker.k", format_factor(config.k_permille));
    fields.emplace_back("breaker.probe_rate", describe_rate(config.probes_per_s_milli));
    return;
  }
  fields.emplace_back("breaker.error_rate", format_permille(config.error_permille));
  fields.emplace_back("breaker.slow_rate", format_permille(config.slow_permille));
  if (config.slow_call_ns != 0)
    fields.emplace_back("breaker.slow_call", format_duration_ns(config.slow_call_ns));
  fields.emplace_back("breaker.consecutive", std::to_string(config.consecutive));
  fields.emplace_back("breaker.open", format_duration_ns(config.open_ns));
  fields.emplace_back("breaker.open_max", format_duration_ns(config.open_max_ns));
  fields.emplace_back("breaker.growth", format_factor(config.growth_permille));
  fields.emplace_back("breaker.probe_timeout", format_duration_ns(config.probe_timeout_ns));
  fields.emplace_back("breaker.probes", std::to_string(config.probes));
  fields.emplace_back("breaker.calm", format_duration_ns(config.calm_ns));
}

void describe(const RetryConfig& config, Fields& fields) {
  if (!config.present) return;
  fields.emplace_back("retry_budget.percent", format_permille(config.share_permille));
  fields.emplace_back("retry_budget.floor", describe_rate(config.floor_per_s_milli));
  fields.emplace_back("retry_budget.ttl", format_duration_ns(config.ttl_ns));
  fields.emplace_back("retry_budget.attempts", std::to_string(config.attempts));
  fields.emplace_back("retry_budget.backoff", format_duration_ns(config.backoff_ns));
  fields.emplace_back("retry_budget.backoff_max", format_duration_ns(config.backoff_max_ns));
}

template <class Config>
const Config* named(const std::vector<Config>& configs, std::string_view name) {
  for (const Config& each : configs)
    if (each.name == name) return &each;
  return nullptr;
}

template <class Config>
void add_changes(const std::string& domain, const std::vector<Config>* before,
                 const std::vector<Config>* after, ChangePlace place, ChangeList& changes) {
  static const std::vector<Config> kNone;
  if (before == nullptr) before = &kNone;
  if (after == nullptr) after = &kNone;
  changes.set_place(place);
  for (const Config& each : *after) {
    const Config* old = named(*before, each.name);
    changes.add(domain, each.name, old == nullptr ? Fields{} : describe(*old), describe(each));
  }
  for (const Config& each : *before)
    if (named(*after, each.name) == nullptr) changes.add(domain, each.name, describe(each), {});
  changes.set_place(ChangePlace::domain);
}

}  // namespace

std::string_view to_text(ShedKind kind) noexcept {
  return kShedKindNames[static_cast<std::size_t>(kind) % kShedKindNames.size()];
}
std::string_view to_text(BreakerKind kind) noexcept {
  return kBreakerKindNames[static_cast<std::size_t>(kind) % kBreakerKindNames.size()];
}
std::string_view to_text(DegradeSignal signal) noexcept {
  return kDegradeSignalNames[static_cast<std::size_t>(signal) % kDegradeSignalNames.size()];
}

std::string format_factor(std::uint32_t permille) {
  std::string text = std::to_string(permille / 1000);
  if (permille % 1000 == 0) return text;
  std::string fraction = std::to_string(1000 + permille % 1000).substr(1);
  while (fraction.back() == '0')
    fraction.pop_back();
  return text + "." + fraction;
}

std::string format_signal(DegradeSignal signal, std::uint64_t value) {
  return is_a_time(signal) ? format_duration_ns(value)
                           : format_permille(static_cast<std::uint32_t>(value));
}

Fields describe(const ResourceConfig& resource) {
  Fields fields;
  describe(resource.concurrency, fields);
  describe(resource.shed, fields);
  describe(resource.breaker, fields);
  describe(resource.retry, fields);
  if (resource.deadline.present) {
    fields.emplace_back("deadline.default", format_duration_ns(resource.deadline.default_ns));
    fields.emplace_back("deadline.max", format_duration_ns(resource.deadline.max_ns));
  }
  if (!resource.description.empty()) fields.emplace_back("description", resource.description);
  return fields;
}

Fields describe(const DegradeConfig& degrade) {
  Fields fields{{"signal", std::string{to_text(degrade.signal)}}};
  if (!degrade.resource.empty()) fields.emplace_back("resource", degrade.resource);
  std::string levels;
  for (const DegradeLevelConfig& level : degrade.levels) {
    levels += levels.empty() ? "" : ", ";
    levels += "{enter: " + format_signal(degrade.signal, level.enter) +
              ", leave: " + format_signal(degrade.signal, level.leave) +
              ", features: " + bracketed(level.features) + "}";
  }
  fields.emplace_back("levels", "[" + levels + "]");
  fields.emplace_back("hold", format_duration_ns(degrade.hold_ns));
  fields.emplace_back("leave_hold", format_duration_ns(degrade.leave_hold_ns));
  if (degrade.drill_level != 0) {
    fields.emplace_back("drill.level", std::to_string(degrade.drill_level));
    fields.emplace_back("drill.share", format_permille(degrade.drill_permille));
  }
  return fields;
}

void add_toolkit_changes(const DomainRule* before, const DomainRule* after, ChangeList& changes) {
  const std::string& domain = (after != nullptr ? after : before)->name;
  add_changes(domain, before ? &before->resources : nullptr, after ? &after->resources : nullptr,
              ChangePlace::resource, changes);
  add_changes(domain, before ? &before->degrades : nullptr, after ? &after->degrades : nullptr,
              ChangePlace::degrade, changes);
}

}  // namespace weir
