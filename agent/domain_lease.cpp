// How leases come in force: the rates by the tables, a few slots at a time, and the ends beside
// them.
#include <tuple>

#include "agent/domain.h"
#include "agent/failpoint.h"
#include "shm/memory_order.h"

namespace weir::agent {

using namespace weir::shm;

namespace {}  // namespace

bool same_rates(const LimitTerms& a, const LimitTerms& b) noexcept {
  const auto rates = [](const LimitTerms& t) {
    return std::tuple(t.algorithm, t.fallback, t.amount, t.period_ns, t.burst, t.tail_amount,
                      t.tail_period_ns, t.tail_burst, t.safe_amount, t.safe_period_ns,
                      t.safe_burst);
  };
  return rates(a) == rates(b);
}

// The order is what clients can see if this process stops in between: the tables first, so that a
// new rate never goes with anything but the old end, which is the earlier one or has passed; then
// the ends; and tokens last, when there is a burst to hold them.
void Domain::put_leases(std::span<LeaseUpdate> updates) noexcept {
  std::vector<std::uint32_t> changed;
  for (LeaseUpdate& update : updates) {
    LimitState& state = minter_->limit(update.slot);
    if (!state.active || !state.leased || same_rates(state.terms, update.terms)) continue;
    minter_->change_terms(update.slot, update.terms);
    set_reserve(state);
    ledger_.slot(update.slot).burst = update.terms.burst;
    changed.push_back(update.slot);
  }
  if (!changed.empty()) flip_with(changed);
  for (LeaseUpdate& update : updates) {
    LimitState& state = minter_->limit(update.slot);
    if (!state.active || !state.leased) continue;
    store_ends(update.slot, update.terms);
    if (update.drain) update.drained += minter_->drain(update.slot);
    if (update.fill > 0) minter_->fill(update.slot, update.fill);
  }
  for (const std::uint32_t slot : changed)
    minter_->mint_now(slot);
  // Callers that were refused under the present heartbeat do not ask again before the next one.
  if (hurry_ && !updates.empty()) hurry_();
}

// A lease that is lengthened shows its tail's end first, one that is shortened its own end: in
// between, the tail goes on for longer and never the lease.
void Domain::store_ends(std::uint32_t index, const LimitTerms& terms) {
  LiveSlot& live = rules_.live(index);
  const std::int64_t before = live.lease_end_mono_ns.load(kRelaxed);
  const bool longer = terms.lease_end_mono_ns >= before;
  if (!longer) live.lease_end_mono_ns.store(terms.lease_end_mono_ns, std::memory_order_release);
  live.tail_end_mono_ns.store(terms.tail_end_mono_ns, std::memory_order_release);
  if (longer) live.lease_end_mono_ns.store(terms.lease_end_mono_ns, std::memory_order_release);
  // Full until the old end: look again.
  if (!longer) minter_->look_again(index);
}

void Domain::write_table(std::uint32_t table) {
  for (std::uint32_t i = 0; i < options_.limits_max; ++i)
    if (minter_->limit(i).active)
      write_rule(table, i);
    else
      write_slot(table, i);
}

void Domain::flip_with(const std::vector<std::uint32_t>& changed) {
  const std::uint64_t flip = rules_.header().table_flip.load(kRelaxed);
  const auto table = static_cast<std::uint32_t>(~flip & 1);
  // release: whoever sees a word of what is written now sees the flip before it, too.
  std::atomic_thread_fence(std::memory_order_release);
  if (stale_all_) {
    write_table(table);
  } else {
    for (const std::uint32_t slot : stale_)
      write_rule(table, slot);
    for (const std::uint32_t slot : changed)
      write_rule(table, slot);
  }
  failpoint("lease.before_flip");
  // release: a reader that sees the flip sees the whole table.
  rules_.header().table_flip.store(((flip >> 1) + 1) << 1 | table, std::memory_order_release);
  failpoint("lease.after_flip");
  stale_ = changed;
  stale_all_ = false;
}

}  // namespace weir::agent
