#include "shm/toolkit.h"

#include <cstring>

namespace weir::shm {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

Error wrong(const char* what) noexcept { return Error{Errc::bad_geometry, what, 0}; }

template <class At>
std::int32_t find(std::uint32_t count, const char* name, At&& at) noexcept {
  for (std::uint32_t i = 0; i < count; ++i) {
    // acquire: the name is stored before the hot word.
    if (at(i).hot.load(std::memory_order_acquire) == 0) continue;
    if (std::strncmp(at(i).name, name, kNameBytesMax) == 0) return static_cast<std::int32_t>(i);
  }
  return -1;
}

}  // namespace

void format_toolkit_rules(std::byte* rules, const ToolkitGeometry& geometry) noexcept {
  auto& h = *reinterpret_cast<RulesHeader*>(rules);
  h.resources_max.store(geometry.resources_max, kRelaxed);
  h.features_max.store(geometry.features_max, kRelaxed);
}

void format_toolkit_counters(std::byte* counters, const ToolkitGeometry& geometry) noexcept {
  auto& h = *reinterpret_cast<CountersHeader*>(counters);
  h.resources_max.store(geometry.resources_max, kRelaxed);
  h.processes_max.store(geometry.processes_max, kRelaxed);
  h.holders_max.store(geometry.holders_max, kRelaxed);
}

Result<ToolkitView> toolkit_of(std::span<const std::byte> rules,
                               const RulesGeometry& rules_geometry, std::span<std::byte> counters,
                               const CountersGeometry& counters_geometry) noexcept {
  const auto& r = *reinterpret_cast<const RulesHeader*>(rules.data());
  const auto& c = *reinterpret_cast<const CountersHeader*>(counters.data());
  const ToolkitGeometry g{.resources_max = r.resources_max.load(kRelaxed),
                          .features_max = r.features_max.load(kRelaxed),
                          .processes_max = c.processes_max.load(kRelaxed),
                          .holders_max = c.holders_max.load(kRelaxed),
                          .cpus = counters_geometry.cpus,
                          .rules_begin = rules_geometry.bytes(),
                          .counters_begin = counters_geometry.bytes_with_sets()};
  const std::uint32_t counted = c.resources_max.load(kRelaxed);
  // One of the two is of an agent that knew no toolkit: a kept counters segment, say.
  if (g.resources_max == 0 || counted == 0) return ToolkitView();
  if (g.resources_max != counted) return wrong("toolkit: the segments differ in their resources");
  if (g.resources_max > kResourcesMax || g.features_max > kFeaturesMax ||
      g.processes_max > kProcessesMax || g.holders_max > kHoldersMax || g.cpus > kCpusMax)
    return wrong("toolkit: counts out of range");
  if (g.rules_bytes() > rules.size()) return wrong("toolkit: rules segment too small");
  if (g.counters_bytes() > counters.size()) return wrong("toolkit: counters segment too small");
  return ToolkitView(rules.data(), counters.data(), g);
}

std::int32_t find_resource(const ToolkitView& view, const char* name) noexcept {
  return find(view.geometry().resources_max, name,
              [&view](std::uint32_t i) -> const ResourceRule& { return view.rule(i); });
}

std::int32_t find_feature(const ToolkitView& view, const char* name) noexcept {
  return find(view.geometry().features_max, name,
              [&view](std::uint32_t i) -> const FeatureRule& { return view.feature(i); });
}

OutcomeTotals outcome_totals(const ToolkitView& view, std::uint32_t index) noexcept {
  OutcomeTotals sum;
  for (std::uint32_t cpu = 0; cpu <= view.geometry().cpus; ++cpu) {
    const OutcomeLane& lane = view.lane(cpu, index);
    sum.succeeded += lane.succeeded.load(kRelaxed);
    sum.succeeded_ns += lane.succeeded_ns.load(kRelaxed);
    sum.failed += lane.failed.load(kRelaxed);
    sum.failed_ns += lane.failed_ns.load(kRelaxed);
    sum.slow += lane.slow.load(kRelaxed);
    sum.full += lane.full.load(kRelaxed);
    sum.broken += lane.broken.load(kRelaxed);
    sum.throttled += lane.throttled.load(kRelaxed);
    for (std::uint32_t i = 0; i < kClasses; ++i) {
      const std::uint64_t refused = lane.refused[i].load(kRelaxed);
      sum.asked[i] += lane.passed[i].load(kRelaxed) + refused;
      sum.refused[i] += refused;
    }
  }
  return sum;
}

}  // namespace weir::shm
