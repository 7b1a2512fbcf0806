#include "shm/quota.h"

namespace weir::shm {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

Error wrong(const char* what) noexcept { return Error{Errc::bad_geometry, what, 0}; }

}  // namespace

void format_quota_rules(std::byte* rules, const QuotaGeometry& geometry,
                        std::uint64_t seed) noexcept {
  auto& h = *reinterpret_cast<RulesHeader*>(rules);
  h.quota_keys.store(geometry.keys_max, kRelaxed);
  h.quota_seed.store(seed, kRelaxed);
}

void format_quota_counters(std::byte* counters, const QuotaGeometry& geometry) noexcept {
  reinterpret_cast<CountersHeader*>(counters)->quota_keys.store(geometry.keys_max, kRelaxed);
}

Result<QuotaView> quota_of(std::span<const std::byte> rules, const RulesGeometry& rules_geometry,
                           std::span<std::byte> counters,
                           const CountersGeometry& counters_geometry) noexcept {
  const auto& r = *reinterpret_cast<const RulesHeader*>(rules.data());
  const auto& c = *reinterpret_cast<const CountersHeader*>(counters.data());
  const std::uint32_t keys = r.quota_keys.load(kRelaxed);
  const std::uint32_t counted = c.quota_keys.load(kRelaxed);
  if (keys == 0 || counted == 0) return QuotaView();
  if (keys != counted) return wrong("quotas: the segments differ in their keys");
  // Each side's areas begin where its own header says that the toolkit's end.
  const ToolkitGeometry toolkit{.resources_max = r.resources_max.load(kRelaxed),
                                .features_max = r.features_max.load(kRelaxed),
                                .processes_max = c.processes_max.load(kRelaxed),
                                .holders_max = c.holders_max.load(kRelaxed),
                                .cpus = counters_geometry.cpus,
                                .rules_begin = rules_geometry.bytes(),
                                .counters_begin = counters_geometry.bytes_with_sets()};
  if (keys > kQuotaKeysMax || toolkit.resources_max > kResourcesMax ||
      c.resources_max.load(kRelaxed) != toolkit.resources_max ||
      toolkit.features_max > kFeaturesMax || toolkit.processes_max > kProcessesMax ||
      toolkit.holders_max > kHoldersMax)
    return wrong("quotas: counts out of range");
  const QuotaGeometry g{keys, toolkit.rules_bytes(), toolkit.counters_bytes()};
  if (g.rules_bytes() > rules.size()) return wrong("quotas: rules segment too small");
  if (g.counters_bytes() > counters.size()) return wrong("quotas: counters segment too small");
  return QuotaView(rules.data(), counters.data(), g, r.quota_seed.load(kRelaxed));
}

}  // namespace weir::shm
