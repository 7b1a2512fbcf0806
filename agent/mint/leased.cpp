// Minting for limits that a server leases: terms that change while tokens are out, whole tokens
// that come and go, and what the lease desk has to know of the demand.
#include <algorithm>

#include "agent/mint/minter.h"
#include "shm/memory_order.h"
#include "shm/untrusted.h"
#include "shm/wide.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

constexpr int kRebaseAttemptsMax = 8;
// A refusal after so long without one is news that does not wait.
constexpr std::int64_t kQuietNs = 50'000'000;
// Lanes can be forged. What one look finds counts as so many tokens at most, so that a total never
// leaves the range that the desk and the wire have for it.
constexpr std::uint64_t kGrowthMax = 1'000'000'000;
constexpr std::uint64_t kTotalMax = 1ULL << 50;

bool is_bucket(Algorithm algorithm) noexcept {
  return algorithm == Algorithm::token_bucket || algorithm == Algorithm::leaky_bucket;
}

// The time that the part of a token paid by `elapsed_ns` under one rule is worth under another.
std::int64_t worth_under(const MintRule& next, const MintRule& before, std::int64_t elapsed_ns) {
  if (elapsed_ns <= 0 || next.amount == 0 || before.amount == 0 || before.period_ns == 0) return 0;
  const std::uint64_t scaled =
      mul_div_down(static_cast<std::uint64_t>(elapsed_ns), before.amount, next.amount);
  const std::uint64_t worth = mul_div_down(scaled, next.period_ns, before.period_ns);
  return static_cast<std::int64_t>(std::min(worth, static_cast<std::uint64_t>(kBookRefreshNs)));
}

// Rounded up as the book rounds: never paid more than it was.
bool rebase(CounterSlot& slot, const LimitTerms& before, const LimitTerms& next,
            std::int64_t now_ns) noexcept {
  std::uint64_t word = slot.book.load(std::memory_order_acquire);
  const Book book = decode_book(word, now_ns);
  const MintRule old_rule = before.rule_for(book, now_ns);
  // Time in which the bucket was full is not paid, by these terms or by any.
  const bool full = book.level >= old_rule.burst;
  const std::int64_t end_ns = std::min(now_ns, old_rule.until_mono_ns);
  const std::int64_t worth =
      full ? 0 : worth_under(next.at(now_ns), old_rule, end_ns - book.time_ns);
  return slot.book.compare_exchange_strong(word, encode_book(now_ns - worth, book.level),
                                           std::memory_order_acq_rel, kRelaxed);
}

}  // namespace

void Minter::change_terms(std::uint32_t index, const LimitTerms& terms) {
  LimitState& limit = limits_[index];
  CounterSlot& slot = counters_.slot(index);
  mint_now(index);
  // Whoever mints at this moment, as after a long stop of this process, moves the book; then it is
  // looked at again. Windows keep no fraction in their time.
  for (int i = 0; i < kRebaseAttemptsMax; ++i)
    if (!is_bucket(limit.terms.algorithm) || !is_bucket(terms.algorithm) ||
        rebase(slot, limit.terms, terms, clock_()))
      break;
  limit.terms = terms;
  limit.full_word = 0;
  if (const std::uint64_t cut = limit.waiters.cut_to(terms.at(clock_()).burst); cut > 0)
    slot.cut_total.fetch_add(cut, kRelaxed);
}

void Minter::fill(std::uint32_t index, std::uint64_t tokens) {
  // By the way of refunds: the mint clips it to the burst, feeds those who wait and opens the gate.
  counters_.slot(index).returned.fetch_add(tokens, kRelaxed);
  limits_[index].demanded.filled_total += tokens;
  mint_now(index);
}

std::uint64_t Minter::drain(std::uint32_t index) {
  CounterSlot& slot = counters_.slot(index);
  const std::uint64_t taken = spend_up_to(slot, kBurstMax) + limits_[index].waiters.lose();
  // What is taken out so was not spent by anybody.
  slot.cut_total.fetch_add(taken, kRelaxed);
  return taken;
}

void Minter::list_touched(std::uint32_t index, LimitState& limit) {
  if (limit.demanded.listed) return;
  limit.demanded.listed = true;
  touched_.push_back(index);
}

void Minter::note_demand(std::uint32_t index, LimitState& limit, bool refused,
                         std::int64_t now_ns) {
  list_touched(index, limit);
  if (!refused) return;
  if (now_ns - limit.demanded.refused_at_ns > kQuietNs) newly_refused_ = true;
  limit.demanded.refused_at_ns = now_ns;
}

const lease::Usage& Minter::usage(std::uint32_t index) {
  LimitState& limit = limits_[index];
  Demanded& seen = limit.demanded;
  CounterSlot& slot = counters_.slot(index);
  lease::Usage& usage = seen.usage;
  seen.looked_ns = clock_();
  // The level first: what is spent meanwhile is counted at the next look.
  const std::uint64_t level = bucket_level(slot) + outside(limit);
  const std::uint64_t minted = Untrusted::load(slot.minted_total).at_most(kTotalMax);
  const std::uint64_t gone = Untrusted::load(slot.cut_total).at_most(kTotalMax);
  usage.spent_total = std::max(usage.spent_total, minted - std::min(minted, level + gone));
  // Refunds are minted a second time without being new; what the server sent is.
  const std::uint64_t refunds = seen.folded_total - std::min(seen.folded_total, seen.filled_total);
  usage.minted_total = std::max(usage.minted_total, minted - std::min(minted, refunds));
  usage.level = level;

  // A refused call counts once, however often it was tried, with all the tokens that it asked for.
  const std::uint64_t calls = counters_.refused(index) - counters_.count(kLaneRetried, index);
  const std::uint64_t tokens = calls + counters_.count(kLaneExtra, index);
  const std::uint64_t new_calls = Untrusted::of(calls).growth_since(seen.calls_seen, kGrowthMax);
  const std::uint64_t new_tokens =
      Untrusted::of(tokens).growth_since(seen.refused_seen, kGrowthMax);
  seen.calls_seen = calls;
  seen.refused_seen = tokens;
  seen.refused_total = std::min(seen.refused_total + new_tokens, kTotalMax);
  // Those who wait are counted when they come. When one is served it is spent, and the next one
  // may take its place, so only a queue longer than ever before adds anything.
  usage.refused_total = std::max(usage.refused_total,
                                 seen.refused_total + std::min(limit.waiters.wanted(), kGrowthMax));
  usage.need = limit.waiters.need();
  if (usage.need == 0 && new_calls > 0)
    usage.need = std::clamp<std::uint64_t>((new_tokens + new_calls - 1) / new_calls, 1, kBurstMax);
  // A shut gate shows its first refusal alone. Opened over an empty bucket it is shut by the next.
  if (gate_shut(slot)) {
    open_gate(slot);
    rules_.live(index).rings.store(1, kRelaxed);
  }
  return usage;
}

}  // namespace weir::agent
