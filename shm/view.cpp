#include "shm/view.h"

#include <algorithm>
#include <cstring>

namespace weir::shm {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

template <class T>
T read(const std::atomic<T>& word) noexcept {
  return word.load(kRelaxed);
}

// Word by word: each is one load, and the caller checks that the table stood still.
void copy_slot(const RuleSlot& slot, const LiveSlot& live, RuleCopy& copy) noexcept {
  copy.state = static_cast<SlotState>(read(slot.state));
  copy.generation = read(slot.generation);
  LimitTerms& terms = copy.terms;
  terms.algorithm = static_cast<Algorithm>(read(slot.algorithm));
  terms.fallback = static_cast<Fallback>(read(slot.fallback));
  terms.amount = read(slot.amount);
  terms.period_ns = read(slot.period_ns);
  terms.burst = read(slot.burst);
  terms.tail_amount = read(slot.tail_amount);
  terms.tail_period_ns = read(slot.tail_period_ns);
  terms.tail_burst = read(slot.tail_burst_plus_1) - 1;  // 0 becomes kTailBurstAsRule
  terms.safe_amount = read(slot.safe_amount);
  terms.safe_period_ns = read(slot.safe_period_ns);
  terms.safe_burst = read(slot.safe_burst);
  terms.lease_end_mono_ns = read(live.lease_end_mono_ns);
  terms.tail_end_mono_ns = read(live.tail_end_mono_ns);
  terms.edge_mono_ns = read(live.edge_mono_ns);
  for (std::uint32_t i = 0; i < kClasses; ++i)
    copy.reserve[i] = read(slot.reserve[i]);
  copy.cluster_burst = read(slot.cluster_burst);
  copy.stripe_set = read(slot.stripe_set);
  copy.stripes = read(slot.stripes);
  std::memcpy(copy.name, slot.name, sizeof(copy.name));
  copy.name[kNameBytesMax] = '\0';
}

Error wrong(Errc code, const char* what) noexcept { return Error{code, what, 0}; }

}  // namespace

void format_rules(std::byte* base, const RulesGeometry& geometry, std::uint64_t agent_epoch,
                  std::uint64_t counters_id, std::uint64_t stale_after_ns,
                  std::uint64_t client_term_ns) noexcept {
  auto& h = *reinterpret_cast<RulesHeader*>(base);
  h.magic.store(kRulesMagic, kRelaxed);
  h.segment_bytes.store(geometry.bytes(), kRelaxed);
  h.agent_epoch.store(agent_epoch, kRelaxed);
  h.counters_id.store(counters_id, kRelaxed);
  h.stale_after_ns.store(stale_after_ns, kRelaxed);
  h.client_term_ns.store(client_term_ns, kRelaxed);
  h.header_bytes.store(sizeof(RulesHeader), kRelaxed);
  h.limits_max.store(geometry.limits_max, kRelaxed);
  h.rule_slot_bytes.store(sizeof(RuleSlot), kRelaxed);
  h.live_slot_bytes.store(sizeof(LiveSlot), kRelaxed);
  // release: who sees a version sees everything above.
  h.version.store(version_word(kMajor, kMinor), std::memory_order_release);
}

void format_counters(std::byte* base, const CountersGeometry& geometry,
                     std::uint64_t counters_id) noexcept {
  auto& h = *reinterpret_cast<CountersHeader*>(base);
  h.magic.store(kCountersMagic, kRelaxed);
  h.segment_bytes.store(geometry.bytes(), kRelaxed);
  h.counters_id.store(counters_id, kRelaxed);
  h.header_bytes.store(sizeof(CountersHeader), kRelaxed);
  h.limits_max.store(geometry.limits_max, kRelaxed);
  h.counter_slot_bytes.store(sizeof(CounterSlot), kRelaxed);
  h.cpus.store(geometry.cpus, kRelaxed);
  h.stripe_sets.store(geometry.stripe_sets, kRelaxed);
  h.waiters.store(geometry.waiters, kRelaxed);
  h.lane_sets.store(geometry.lane_sets, kRelaxed);
  h.version.store(version_word(kMajor, kMinor), std::memory_order_release);
}

Result<RulesGeometry> validate_rules(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < sizeof(RulesHeader))
    return wrong(Errc::too_small, "rules segment: shorter than its header");
  const auto& h = *reinterpret_cast<const RulesHeader*>(bytes.data());
  // acquire: pairs with the release of the version word by the maker.
  const std::uint64_t version = h.version.load(std::memory_order_acquire);
  if (version == 0) return wrong(Errc::not_ready, "rules segment: still being made");
  if (read(h.magic) != kRulesMagic) return wrong(Errc::bad_magic, "rules segment: wrong magic");
  if (version >> 32 != kMajor)
    return wrong(Errc::wrong_major, "rules segment: made by another major version of weir");
  const RulesGeometry g{read(h.limits_max)};
  if (g.limits_max == 0 || g.limits_max > kLimitsMax)
    return wrong(Errc::bad_geometry, "rules segment: number of limits out of range");
  if (read(h.header_bytes) != sizeof(RulesHeader) || read(h.rule_slot_bytes) != sizeof(RuleSlot) ||
      read(h.live_slot_bytes) != sizeof(LiveSlot))
    return wrong(Errc::bad_geometry, "rules segment: slot sizes differ from this major version's");
  if (g.bytes() > bytes.size() || read(h.segment_bytes) != g.bytes())
    return wrong(Errc::bad_geometry, "rules segment: size does not fit its counts");
  return g;
}

Result<CountersGeometry> validate_counters(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < sizeof(CountersHeader))
    return wrong(Errc::too_small, "counters segment: shorter than its header");
  const auto& h = *reinterpret_cast<const CountersHeader*>(bytes.data());
  const std::uint64_t version = h.version.load(std::memory_order_acquire);
  if (version == 0) return wrong(Errc::not_ready, "counters segment: still being made");
  if (read(h.magic) != kCountersMagic)
    return wrong(Errc::bad_magic, "counters segment: wrong magic");
  if (version >> 32 != kMajor)
    return wrong(Errc::wrong_major, "counters segment: made by another major version of weir");
  CountersGeometry g{read(h.limits_max), read(h.cpus), read(h.stripe_sets), read(h.waiters)};
  if (g.limits_max == 0 || g.limits_max > kLimitsMax || g.cpus > kCpusMax ||
      g.stripe_sets > kStripeSetsMax || g.waiters > kWaitersMax)
    return wrong(Errc::bad_geometry, "counters segment: counts out of range");
  if (read(h.header_bytes) != sizeof(CountersHeader) ||
      read(h.counter_slot_bytes) != sizeof(CounterSlot))
    return wrong(Errc::bad_geometry,
                 "counters segment: slot sizes differ from this major version's");
  if (g.bytes() > bytes.size() || read(h.segment_bytes) != g.bytes())
    return wrong(Errc::bad_geometry, "counters segment: size does not fit its counts");
  g.lane_sets = std::max(read(h.lane_sets), 1U);
  if (g.lane_sets > kLaneSetsMax || g.bytes_with_sets() > bytes.size())
    return wrong(Errc::bad_geometry, "counters segment: too small for its lanes");
  return g;
}

bool copy_rule(const RulesView& rules, std::uint32_t index, RuleCopy& copy) noexcept {
  constexpr int kAttemptsMax = 4;
  for (int i = 0; i < kAttemptsMax; ++i) {
    // acquire: the table's words are at least as new as the flip that made it valid.
    const std::uint64_t flip = rules.header().table_flip.load(std::memory_order_acquire);
    copy_slot(rules.rule(static_cast<std::uint32_t>(flip & 1), index), rules.live(index), copy);
    // The copied words are read before the flip word is read again: a table is only written after
    // two flips, so an unchanged word means that it was whole throughout.
    std::atomic_thread_fence(std::memory_order_acquire);
    if (rules.header().table_flip.load(kRelaxed) == flip) return true;
  }
  return false;
}

std::int32_t find_limit(const RulesView& rules, const char* name) noexcept {
  const std::uint64_t flip = rules.header().table_flip.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < rules.geometry().limits_max; ++i) {
    const RuleSlot& slot = rules.rule(static_cast<std::uint32_t>(flip & 1), i);
    if (static_cast<SlotState>(read(slot.state)) != SlotState::active) continue;
    if (std::strncmp(slot.name, name, kNameBytesMax) == 0) return static_cast<std::int32_t>(i);
  }
  return -1;
}

}  // namespace weir::shm
