// What happens off the hot path: counting a refusal, finding out now and then whether the agent is
// still there, and keeping a limit going without it.
#include "libclient/client.h"

#include <bit>

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

// A thread's first refusals under a heartbeat all come here, so that a caller who slows down is
// never served by the program alone.
constexpr std::uint32_t kLooksBeforeLicense = 8;
// Of those that the program counts by itself, one in so many comes here: weir.h's low byte.
constexpr std::uint32_t kRefusalsPerCall = 256;

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
    const std::uint32_t index = limit.index.load(std::memory_order_relaxed);
    const bool unseen = index < at->rules.geometry().limits_max &&
                        at->rules.live(index).rings.load(std::memory_order_relaxed) != 0;
    if (unseen || at->rules.header().sleeping.load(std::memory_order_relaxed) != 0)
      send_frame(*limit.client, FrameType::doorbell, index, 1);
    // A child after fork() has no connection of its own yet.
    if (limit.client->link.load(std::memory_order_relaxed) != Link::attached)
      maintain(*limit.client, own_ns);
    return WEIR_DENY;
  }
  streak.stale = true;
  limit.dry_beat.store(0, std::memory_order_relaxed);
  maintain(*limit.client, own_ns);
  if (limit.attachment.load(std::memory_order_acquire) != at &&
      spend(*limit.slot.load(std::memory_order_relaxed), n, reserve) == Spend::ok)
    return WEIR_ALLOW;
  return serve_alone(limit, n, reserve);
}

// From the cache while the rules are those that it was filled from: copying a rule is some forty
// words. Whatever is read while the handle moves is filed under the binding before, and not found.
std::uint64_t reserve_of(weir_limit& limit, std::int32_t priority_class) noexcept {
  // acquire: the attachment is at least as new as the number of the binding.
  const std::uint64_t bindings = limit.bindings.load(std::memory_order_acquire);
  const Attachment& at = *limit.attachment.load(std::memory_order_acquire);
  // acquire: the rule is at least as new as the flip that it is filed under.
  const ReserveCache::Key key{at.rules.header().table_flip.load(std::memory_order_acquire),
                              bindings};
  std::uint64_t reserve = 0;
  if (limit.reserves.read(key, priority_class, reserve)) return reserve;
  RuleCopy rule;
  if (!copy_rule(at.rules, limit.index.load(std::memory_order_relaxed), rule) ||
      rule.state != SlotState::active)
    return 0;
  // Newer than its key does no harm; older cannot be. A flip meanwhile makes the entry useless.
  limit.reserves.write(key, rule.reserve);
  return rule.reserve[priority_class];
}

// The refusal that was just given says that the bucket is dry. Under the agent's present heartbeat
// it stays so: a heartbeat is published after the mints of its tick, and what is minted between
// two ticks shows with the next. So calls in the program may refuse by themselves until then. Not
// for striped buckets, of which another CPU may hold a share.
void license_refusals(weir_limit& limit, std::int64_t heartbeat) noexcept {
  const std::uint64_t expected = limit.expected.load(std::memory_order_acquire);
  if (limit.rseq_area == 0 || expected == kNoHot || (expected & kHotStriped) != 0) return;
  if (limit.hot.load(std::memory_order_relaxed)->load(std::memory_order_relaxed) != expected)
    return;
  // The gate is looked at again, after the heartbeat: a mint between the refusal and the
  // heartbeat's reading would otherwise go unseen for a whole tick.
  std::uint64_t epoch;
  if (!gate_refuses(*limit.slot.load(std::memory_order_relaxed), 1, 0, epoch)) return;
  limit.dry_beat.store(static_cast<std::uint64_t>(heartbeat), std::memory_order_release);
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

bool ReserveCache::read(const Key& key, std::int32_t priority_class,
                        std::uint64_t& reserve) const noexcept {
  // acquire: the words below are those of this sequence number or newer.
  const std::uint64_t sequence = sequence_.load(std::memory_order_acquire);
  if (sequence == 0 || (sequence & 1) != 0) return false;
  reserve = reserves_[static_cast<std::size_t>(priority_class)].load(std::memory_order_relaxed);
  const bool same = table_flip_.load(std::memory_order_relaxed) == key.table_flip &&
                    bindings_.load(std::memory_order_relaxed) == key.bindings;
  // The words are read before the number is read again.
  std::atomic_thread_fence(std::memory_order_acquire);
  return same && sequence_.load(std::memory_order_relaxed) == sequence;
}

void ReserveCache::write(const Key& key, const std::uint64_t (&reserves)[kClasses]) noexcept {
  std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
  if ((sequence & 1) != 0 ||
      !sequence_.compare_exchange_strong(sequence, sequence + 1, std::memory_order_acquire,
                                         std::memory_order_relaxed))
    return;
  // No reader may see a new word under the old number.
  std::atomic_thread_fence(std::memory_order_release);
  table_flip_.store(key.table_flip, std::memory_order_relaxed);
  bindings_.store(key.bindings, std::memory_order_relaxed);
  for (std::size_t i = 0; i < kClasses; ++i)
    reserves_[i].store(reserves[i], std::memory_order_relaxed);
  sequence_.store(sequence + 2, std::memory_order_release);
}

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

namespace {

// Counts refusals of the thread under the present heartbeat, and looks where their number passes
// 1, 2, 4, 8 ...: a slow caller finds a dead agent at once, a fast one reads the clock a few times
// a tick.
weir_status after_refusal(weir_limit& limit, std::uint64_t n, std::uint64_t reserve,
                          Attempt attempt, std::uint32_t refusals) noexcept {
  // acquire: the gate that license_refusals() reads is at least as new as the heartbeat.
  const std::int64_t heartbeat =
      limit.heartbeat.load(std::memory_order_relaxed)->load(std::memory_order_acquire);
  if (streak.limit != &limit || streak.heartbeat_mono_ns != heartbeat) {
    streak.limit = &limit;
    streak.heartbeat_mono_ns = heartbeat;
    streak.count = 0;
  }
  const std::uint32_t before = streak.count;
  streak.count += refusals;
  if (std::bit_width(before) != std::bit_width(streak.count) || streak.stale) [[unlikely]]
    return look(limit, n, reserve);
  if (n == 1 && reserve == 0 && attempt == Attempt::first && streak.count > kLooksBeforeLicense)
    license_refusals(limit, heartbeat);
  return WEIR_DENY;
}

}  // namespace

weir_status refused(weir_limit& limit, std::uint64_t n, std::uint64_t reserve,
                    Attempt attempt) noexcept {
  count_refusal(limit, n, attempt);
  return after_refusal(limit, n, reserve, attempt, 1);
}

weir_status refused_counted(weir_limit& limit) noexcept {
  return after_refusal(limit, 1, 0, Attempt::first, kRefusalsPerCall);
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
