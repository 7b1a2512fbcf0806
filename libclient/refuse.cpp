// What happens off the hot path: counting a refusal, finding out now and then whether the agent is
// still there, and keeping a limit going without it.
#include "libclient/client.h"

namespace weir::client {

using namespace weir::shm;

namespace {

// How often this thread was refused by one limit under one heartbeat of the agent. initial-exec:
// reading it is two instructions, and never an allocation in a signal handler.
struct Streak {
  const weir_limit* limit;
  std::int64_t heartbeat_mono_ns;
  std::uint32_t count;
  bool stale;
};
__attribute__((tls_model("initial-exec"))) thread_local Streak streak{};

Spend spend(CounterSlot& slot, std::uint64_t n, std::uint64_t reserve) noexcept {
  return n == 1 && reserve == 0 ? spend_one(slot) : spend_many(slot, n, reserve);
}

std::uint64_t outside_level(const Attachment& at, const RuleCopy& rule) noexcept {
  if (rule.stripe_set == 0 || rule.stripe_set > at.counters.geometry().stripe_sets) return 0;
  return striped_level(at.counters.stripes(rule.stripe_set), at.counters.geometry().cpus);
}

// Mints for one limit as the agent would, if nobody else is about to. True when tokens came.
bool mint_here(const weir_limit& limit, const Attachment& at, std::uint32_t index,
               const RuleCopy& rule, std::int64_t now_ns) noexcept {
  // The slot of this very attachment: the handle may be moving to another one.
  CounterSlot& slot = at.counters.slot(index);
  const std::uint64_t outside = outside_level(at, rule);
  const Book book = decode_book(slot.book.load(std::memory_order_acquire), now_ns);
  if (now_ns - book.time_ns < kSelfMintNs) return false;
  const MintPlan plan =
      plan_mint(rule.terms.rule_for(book, now_ns), book, bucket_level(slot) + outside,
                slot.returned.load(std::memory_order_relaxed), now_ns);
  if (!plan.write) return false;

  A64& office = at.counters.header().office;
  const auto term_ns =
      static_cast<std::int64_t>(at.rules.header().client_term_ns.load(std::memory_order_relaxed));
  const Term term = take_office(office, limit.client->holder, now_ns, term_ns);
  if (!term) return false;
  const MintResult result = mint(
      slot, rule.terms, [&] { return outside_level(at, rule); }, 0, [&] { return at.now_ns(); });
  finish_mint(slot, result);
  lay_down_office(office, term);
  return result.delivered > 0;
}

// The agent is gone: the lease's rate, then the tail's, then the fallback, minted by whoever asks.
weir_status serve_alone(weir_limit& limit, std::uint64_t n, std::uint64_t reserve) noexcept {
  const Attachment& at = *limit.attachment.load(std::memory_order_acquire);
  RuleCopy rule;
  const std::uint32_t index = limit.index.load(std::memory_order_relaxed);
  if (index >= at.rules.geometry().limits_max || index >= at.counters.geometry().limits_max)
    return WEIR_DENY;
  if (!copy_rule(at.rules, index, rule) || rule.state != SlotState::active) return WEIR_DENY;
  const std::int64_t now_ns = at.now_ns();
  if (rule.terms.opened(now_ns)) return WEIR_ALLOW;
  if (!mint_here(limit, at, index, rule, now_ns)) return WEIR_DENY;
  CounterSlot& slot = *limit.slot.load(std::memory_order_relaxed);
  return spend(slot, n, reserve) == Spend::ok ? WEIR_ALLOW : WEIR_DENY;
}

// A refused call looks whether the agent is alive. While it is, that is all.
weir_status look(weir_limit& limit, std::uint64_t n, std::uint64_t reserve) noexcept {
  const Attachment* at = limit.attachment.load(std::memory_order_acquire);
  const std::int64_t own_ns = read_mono_ns();
  if (at->agent_alive(own_ns - at->offset_ns)) {
    streak.stale = false;
    const RulesHeader& h = at->rules.header();
    if (h.sleeping.load(std::memory_order_relaxed) != 0)
      send_frame(*limit.client, FrameType::doorbell, 0, 0);
    // A child after fork() has no connection of its own yet.
    if (limit.client->link.load(std::memory_order_relaxed) != Link::attached)
      maintain(*limit.client, own_ns);
    return WEIR_DENY;
  }
  streak.stale = true;
  maintain(*limit.client, own_ns);
  if (limit.attachment.load(std::memory_order_acquire) != at &&
      spend(*limit.slot.load(std::memory_order_relaxed), n, reserve) == Spend::ok)
    return WEIR_ALLOW;
  return serve_alone(limit, n, reserve);
}

std::uint64_t reserve_of(const weir_limit& limit, std::int32_t priority_class) noexcept {
  RuleCopy rule;
  return rule_now(limit, rule) ? rule.reserve[priority_class] : 0;
}

// A limit that no agent knows: what the code asked for.
weir_status acquire_private(weir_limit& limit, std::uint64_t n, Attempt attempt) noexcept {
  if (limit.mode == WEIR_MODE_OPEN) return WEIR_ALLOW;
  CounterSlot& slot = *limit.slot.load(std::memory_order_relaxed);
  if (limit.mode == WEIR_MODE_LOCAL) {
    if (spend(slot, n, 0) == Spend::ok) return WEIR_ALLOW;
    if (serve_alone(limit, n, 0) == WEIR_ALLOW) return WEIR_ALLOW;
  }
  if (attempt != Attempt::silent)
    limit.lane.load(std::memory_order_relaxed)->fetch_add(1, std::memory_order_relaxed);
  return WEIR_DENY;
}

// Whether the limit's name should be looked up again: it is private and the agent has published
// something new, or its slot is no longer what it was.
bool outdated(const weir_limit& limit) noexcept {
  const Attachment* current = limit.client->current.load(std::memory_order_acquire);
  const Attachment* at = limit.attachment.load(std::memory_order_acquire);
  if (!at->is_private) return true;
  return current != nullptr && current->rules.header().table_flip.load(std::memory_order_relaxed) !=
                                   limit.seen_flip.load(std::memory_order_relaxed);
}

}  // namespace

void count_refusal(weir_limit& limit, std::uint64_t n, Attempt attempt) noexcept {
  if (attempt == Attempt::silent) return;
  const std::uint32_t stride = limit.lane_stride.load(std::memory_order_relaxed);
  const std::uint32_t cpus = limit.lane_cpus.load(std::memory_order_relaxed);
  count_on_lane(limit.rseq_area, limit.lane.load(std::memory_order_relaxed), stride, cpus);
  const bool retry = attempt == Attempt::retry;
  if (!retry && n == 1) [[likely]]
    return;
  A64* lane = (retry ? limit.retried_lane : limit.extra_lane).load(std::memory_order_relaxed);
  if (lane != nullptr) count_on_lane(limit.rseq_area, lane, stride, cpus, retry ? 1 : n - 1);
}

weir_status refused(weir_limit& limit, std::uint64_t n, std::uint64_t reserve,
                    Attempt attempt) noexcept {
  count_refusal(limit, n, attempt);
  const std::int64_t heartbeat =
      limit.heartbeat.load(std::memory_order_relaxed)->load(std::memory_order_relaxed);
  if (streak.limit != &limit || streak.heartbeat_mono_ns != heartbeat) {
    streak.limit = &limit;
    streak.heartbeat_mono_ns = heartbeat;
    streak.count = 0;
  }
  // The first refusal under a heartbeat looks, then the 2nd, 4th, 8th: a slow caller finds a dead
  // agent at once, a fast one reads the clock a few times a tick.
  const std::uint32_t count = ++streak.count;
  if ((count & (count - 1)) != 0 && !streak.stale) [[likely]]
    return WEIR_DENY;
  return look(limit, n, reserve);
}

weir_status acquire_slow(weir_limit& limit, std::uint64_t n, std::int32_t priority_class,
                         Attempt attempt) noexcept {
  const Attachment* at = limit.attachment.load(std::memory_order_acquire);
  if (at->is_private) maintain(*limit.client, read_mono_ns());
  const A64* hot = limit.hot.load(std::memory_order_relaxed);
  if (hot->load(std::memory_order_relaxed) != limit.expected.load(std::memory_order_acquire) &&
      outdated(limit)) {
    if (const Busy busy(*limit.client); busy) resolve(limit);
  }
  at = limit.attachment.load(std::memory_order_acquire);
  if (at->is_private) return acquire_private(limit, n, attempt);

  const std::uint64_t expected = limit.expected.load(std::memory_order_acquire);
  if (limit.hot.load(std::memory_order_relaxed)->load(std::memory_order_relaxed) != expected)
    return WEIR_DENY;  // the slot changes right now and somebody else is moving the handle
  const std::uint64_t reserve = reserve_of(limit, priority_class);
  if (reserve == 0 && (expected & kHotStriped) != 0 &&
      take_from_stripe(limit.rseq_area, limit.stripes.load(std::memory_order_relaxed),
                       limit.stripe_count.load(std::memory_order_relaxed), n))
    return WEIR_ALLOW;
  CounterSlot& slot = *limit.slot.load(std::memory_order_relaxed);
  if (spend(slot, n, reserve) == Spend::ok) return WEIR_ALLOW;
  return refused(limit, n, reserve, attempt);
}

}  // namespace weir::client
