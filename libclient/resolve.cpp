// Points limits at buckets: the host's where the agent knows the name, else one of this process.
#include <cstring>
#include <new>

#include "libclient/client.h"

namespace weir::client {

using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

A64* lane_of(const Attachment& at, std::uint32_t index, std::uint32_t cpu) noexcept {
  auto* first = reinterpret_cast<std::byte*>(&at.counters.lane(index));
  return reinterpret_cast<A64*>(first + at.counters.geometry().lane_stride() * cpu);
}

// The order matters: a call that sees the new expected word sees the new pointers. One that read
// the old ones spends from the old bucket, as if it had come an instant earlier.
void bind(weir_limit& limit, const Attachment& at, std::uint32_t index, std::uint64_t expected,
          std::uint32_t stripe_set) noexcept {
  limit.dry_beat.store(0, kRelaxed);
  limit.expected.store(kNoHot, std::memory_order_release);
  const CountersGeometry& g = at.counters.geometry();
  limit.attachment.store(&at, std::memory_order_release);
  limit.index.store(index, kRelaxed);
  limit.hot.store(&at.rules.hot(index), kRelaxed);
  limit.slot.store(&at.counters.slot(index), kRelaxed);
  limit.lane.store(&at.counters.lane(index), kRelaxed);
  limit.retried_lane.store(
      g.lane_sets > kLaneRetried ? &at.counters.lane(index, kLaneRetried) : nullptr, kRelaxed);
  limit.extra_lane.store(g.lane_sets > kLaneExtra ? &at.counters.lane(index, kLaneExtra) : nullptr,
                         kRelaxed);
  limit.heartbeat.store(&at.rules.header().heartbeat_mono_ns, kRelaxed);
  limit.lane_stride.store(static_cast<std::uint32_t>(g.lane_stride()), kRelaxed);
  limit.lane_cpus.store(g.cpus, kRelaxed);
  const bool striped = stripe_set != 0 && stripe_set <= g.stripe_sets;
  limit.stripes.store(striped ? at.counters.stripes(stripe_set) : nullptr, kRelaxed);
  limit.stripe_count.store(striped ? g.cpus : 0, kRelaxed);
  const bool sequences = limit.rseq_area != 0;
  limit.stripe_cpus.store(striped && sequences ? g.cpus : 0, kRelaxed);
  for (std::uint32_t cpu = 0; cpu < kHeadCpus; ++cpu)
    limit.lanes[cpu].store(sequences && cpu < g.cpus ? lane_of(at, index, cpu) : nullptr, kRelaxed);
  // What a call read of the rules before the move does not count for the new bucket.
  limit.bindings.fetch_add(1, std::memory_order_release);
  limit.expected.store(expected, std::memory_order_release);
}

// Moves the limit to the host's bucket of its name; false when the agent has none.
bool bind_shared(weir_limit& limit, const Attachment& at) noexcept {
  const std::int32_t found = find_limit(at.rules, limit.name.data());
  if (found < 0) return false;
  const auto index = static_cast<std::uint32_t>(found);
  if (index >= at.counters.geometry().limits_max) return false;
  RuleCopy rule;
  // The hot word is read before the rule: if the agent changes it in between, the next call sees
  // a word that differs and comes here again.
  const std::uint64_t hot = at.rules.hot(index).load(std::memory_order_acquire);
  if ((hot & kHotActive) == 0 || !copy_rule(at.rules, index, rule)) return false;
  if (rule.state != SlotState::active || rule.generation != hot >> 32) return false;
  bind(limit, at, index, hot, rule.stripe_set);
  return true;
}

}  // namespace

void resolve(weir_limit& limit) noexcept {
  const Attachment* current = limit.client->current.load(std::memory_order_acquire);
  if (current != nullptr) {
    limit.seen_flip.store(current->rules.header().table_flip.load(std::memory_order_acquire),
                          kRelaxed);
    if (bind_shared(limit, *current)) return;
  }
  if (limit.attachment.load(kRelaxed) != &limit.own.attachment)
    bind(limit, limit.own.attachment, 0, kNoHot, 0);
}

void resolve_all(weir_client& client) noexcept {
  for (weir_limit* limit = client.limits.load(std::memory_order_acquire); limit != nullptr;
       limit = limit->next.load(std::memory_order_acquire))
    resolve(*limit);
}

bool make_private(weir_limit& limit, const weir_limit_options* options) noexcept {
  const RulesGeometry rules_geometry{1};
  const CountersGeometry counters_geometry{1, 0, 0, 0};
  PrivateBucket& own = limit.own;
  // new[] aligns to 16; lines want 128. Both segments are over-allocated by a line.
  own.rules_memory.reset(new (std::nothrow) std::byte[rules_geometry.bytes() + kLineBytes]());
  own.counters_memory.reset(new (std::nothrow) std::byte[counters_geometry.bytes() + kLineBytes]());
  if (!own.rules_memory || !own.counters_memory) return false;
  const auto aligned = [](std::byte* base) {
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    return base + ((kLineBytes - address % kLineBytes) % kLineBytes);
  };
  std::byte* rules = aligned(own.rules_memory.get());
  std::byte* counters = aligned(own.counters_memory.get());
  format_rules(rules, rules_geometry, 0, 0, 0, 5'000'000);
  format_counters(counters, counters_geometry, 0);

  limit.mode = WEIR_MODE_OPEN;
  weir_limit_options given{};
  if (options != nullptr) given = *options;
  if (given.mode != WEIR_MODE_DEFAULT)
    limit.mode = given.mode;
  else if (given.amount != 0)
    limit.mode = WEIR_MODE_LOCAL;
  if (given.period_ns == 0) given.period_ns = 1'000'000'000;
  if (given.burst == 0) given.burst = given.amount;
  // A closed limit holds nothing, however it is asked.
  if (limit.mode != WEIR_MODE_LOCAL) given.amount = given.burst = 0;

  const RulesWriter writer(rules, rules_geometry);
  RuleSlot& slot = writer.rule(0, 0);
  slot.algorithm.store(static_cast<std::uint32_t>(Algorithm::token_bucket), kRelaxed);
  slot.fallback.store(static_cast<std::uint32_t>(Fallback::local), kRelaxed);
  slot.amount.store(given.amount, kRelaxed);
  slot.period_ns.store(given.period_ns, kRelaxed);
  slot.burst.store(given.burst, kRelaxed);
  slot.safe_amount.store(given.amount, kRelaxed);
  slot.safe_period_ns.store(given.period_ns, kRelaxed);
  slot.safe_burst.store(given.burst, kRelaxed);
  slot.state.store(static_cast<std::uint32_t>(SlotState::active), kRelaxed);

  Attachment& at = own.attachment;
  at.rules = writer.view();
  at.counters = CountersView(counters, counters_geometry);
  at.is_private = true;
  // No agent: the lease has ended before time began, and the heartbeat is older than anything.
  writer.header().heartbeat_mono_ns.store(INT64_MIN / 2, kRelaxed);
  CounterSlot& counter = at.counters.slot(0);
  counter.epoch.store(1, kRelaxed);
  counter.tokens.store(token_word(0, static_cast<std::int64_t>(given.burst)), kRelaxed);
  counter.book.store(encode_book(read_mono_ns(), given.burst), kRelaxed);
  bind(limit, at, 0, kNoHot, 0);
  return true;
}

}  // namespace weir::client
