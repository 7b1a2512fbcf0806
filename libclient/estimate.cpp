// Reading a limit: its rule, its level, and how long n tokens are likely to take.
#include <algorithm>

#include "libclient/client.h"

namespace weir::client {

using namespace weir::shm;

bool rule_now(const weir_limit& limit, RuleCopy& copy) noexcept {
  const Attachment& at = *limit.attachment.load(std::memory_order_acquire);
  return copy_rule(at.rules, limit.index.load(std::memory_order_relaxed), copy) &&
         copy.state == SlotState::active;
}

std::uint64_t level_of(const weir_limit& limit) noexcept {
  const CounterSlot& slot = *limit.slot.load(std::memory_order_relaxed);
  const StripeCell* stripes = limit.stripes.load(std::memory_order_relaxed);
  const std::uint64_t striped =
      stripes == nullptr
          ? 0
          : striped_level(stripes, limit.stripe_count.load(std::memory_order_relaxed));
  return bucket_level(slot) + striped;
}

namespace {

// When `missing` tokens will have been minted, counted from now.
std::uint64_t minting_time(const MintRule& rule, const Book& book, std::uint64_t missing,
                           std::int64_t now_ns) noexcept {
  if (rule.amount == 0 || rule.period_ns == 0) return UINT64_MAX;
  const auto since_book = static_cast<std::uint64_t>(now_ns - book.time_ns);
  if (rule.algorithm == Algorithm::fixed_window) {
    const std::int64_t last = newest_edge(rule, now_ns);
    const std::int64_t next =
        last == INT64_MIN ? rule.edge_mono_ns : last + static_cast<std::int64_t>(rule.period_ns);
    const std::uint64_t windows = (missing - 1) / rule.amount;
    return static_cast<std::uint64_t>(next - now_ns) + mul_div_up(windows, rule.period_ns, 1);
  }
  if (rule.algorithm == Algorithm::sliding_window)
    return mul_div_up(missing, rule.period_ns, rule.amount);
  const std::uint64_t whole = mul_div_up(missing, rule.period_ns, rule.amount);
  return whole > since_book ? whole - since_book : 1;
}

}  // namespace

weir_status estimate_wait(const weir_limit& limit, std::uint64_t n, std::int32_t priority_class,
                          std::uint64_t& wait_ns) noexcept {
  wait_ns = 0;
  const Attachment& at = *limit.attachment.load(std::memory_order_acquire);
  if (at.is_private && limit.mode == WEIR_MODE_OPEN) return WEIR_OK;
  wait_ns = UINT64_MAX;
  if (at.is_private && limit.mode == WEIR_MODE_CLOSED) return WEIR_OK;
  RuleCopy rule;
  if (!rule_now(limit, rule)) return WEIR_OK;
  const std::int64_t now_ns = at.now_ns();
  const bool alive = at.agent_alive(now_ns);
  if (!alive && rule.terms.opened(now_ns)) {
    wait_ns = 0;
    return WEIR_OK;
  }
  // A living agent renews the lease that it gives itself, so the limit's own rule is in force. One
  // that a server gives ends when it says.
  const bool leased = rule.cluster_burst != 0;
  const MintRule in_force = rule.terms.at(alive && !leased ? INT64_MIN : now_ns);
  const std::uint64_t need = n + rule.reserve[priority_class];
  if (need > std::max({rule.terms.burst, in_force.burst, rule.cluster_burst}))
    return WEIR_E_TOO_LARGE;
  const LiveSlot& live = at.rules.live(limit.index.load(std::memory_order_relaxed));
  const std::uint64_t owed =
      alive ? std::min(live.owed.load(std::memory_order_relaxed), kBurstMax) : 0;
  const std::uint64_t level = level_of(limit);
  if (level >= need + owed) {
    wait_ns = 0;
    return WEIR_OK;
  }
  const CounterSlot& slot = *limit.slot.load(std::memory_order_relaxed);
  const Book book = decode_book(slot.book.load(std::memory_order_acquire), now_ns);
  wait_ns = minting_time(in_force, book, need + owed - level, now_ns);
  if (leased && alive && (owed == 0 || in_force.amount == 0 || need > in_force.burst))
    wait_ns = std::min(wait_ns, kLeaseGuessNs);
  return WEIR_OK;
}

}  // namespace weir::client
