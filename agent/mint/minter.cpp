#include "agent/mint/minter.h"

#include <algorithm>

#include "shm/futex.h"
#include "shm/memory_order.h"
#include "shm/stripe.h"
#include "shm/untrusted.h"
#include "shm/wide.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

// Totals can be forged, so a rate made of them is bounded before it becomes an integer again.
constexpr double kRateMax = 1e15;
// A limit that is due a little after a tick is looked at in it. The longer the last pause, the more
// of them: who ticks rarely shall not wake for each limit by itself.
constexpr std::int64_t kTickSlackNs = 250'000;
constexpr std::int64_t kTickSlackMaxNs = 4'000'000;
constexpr std::int64_t kStaggerNs = 500'000;
// A burst of so many looks' rate is used fully, see plan_bucket.
constexpr std::int64_t kLooksPerBurst = 4;
// Time since the last look is lost when a full bucket is emptied in it. Looks that are farther
// apart than kLookNs lose so small a part of a burst.
constexpr std::int64_t kCalmLooksPerBurst = 20;

// When the next look is: those that are far off come together, so that a thousand calm limits wake
// the agent as often as one.
std::int64_t together(std::int64_t now_ns, std::int64_t wait_ns) {
  const std::int64_t at_ns = now_ns + wait_ns;
  if (wait_ns < 2 * kLookNs) return at_ns;
  const std::int64_t grid_ns = wait_ns < kLookCalmNs ? kLookNs : kLookCalmNs;
  const std::int64_t early_ns = at_ns - at_ns % grid_ns;
  return early_ns > now_ns + kLookNs ? early_ns : at_ns;
}

}  // namespace

Minter::Minter(RulesWriter rules, CountersView counters, Ledger ledger, MonoClock clock,
               std::uint64_t stale_after_ns)
    : rules_(rules),
      counters_(counters),
      ledger_(ledger),
      clock_(std::move(clock)),
      term_ns_(static_cast<std::int64_t>(stale_after_ns)),
      limits_(rules.geometry().limits_max),
      taken_seen_(std::size_t{counters.geometry().stripe_sets} * counters.geometry().cpus),
      due_ns_(limits_.size()) {}

bool Minter::tick() {
  const std::int64_t began_ns = clock_();
  const bool stranger =
      office_word_ != 0 && counters_.header().office.load(kRelaxed) != office_word_;
  term_ = take_office(counters_.header().office, kAgentHolder, began_ns, term_ns_, office_word_);
  office_lost_ = !term_;
  spent_ = false;
  if (term_) {
    office_word_ = term_.word;
    if (stranger) lose_put_by();
    wakes_left_ = kWakesPerTickMax;
    // A tick that comes a little early is the one that was meant.
    const std::int64_t due_ns =
        began_ns + std::clamp((began_ns - ticked_ns_) / 4, kTickSlackNs, kTickSlackMaxNs);
    for (std::uint32_t i = 0; i < limits_.size(); ++i)
      if (due_ns >= due_ns_[i]) look_at(i, began_ns);
    if (waiting_ > 0) {
      const auto count = static_cast<std::uint32_t>(limits_.size());
      for (std::uint32_t k = 0; k < count; ++k) {
        const std::uint32_t i = (serve_from_ + k) % count;
        if (limits_[i].active && !limits_[i].waiters.empty()) serve_waiters(i, limits_[i]);
      }
      serve_from_ = (serve_from_ + 1) % count;
      count_waiting();
    }
  }
  ticked_ns_ = began_ns;
  // Last: a fresh heartbeat tells clients that what they see was minted.
  set_heartbeat(clock_());
  return spent_;
}

std::int64_t Minter::next_due_ns() const {
  if (office_lost_ || waiting_ > 0) return 0;
  return *std::min_element(due_ns_.begin(), due_ns_.end());
}

void Minter::attend(std::uint32_t index) {
  if (index < limits_.size() && limits_[index].active) due_ns_[index] = 0;
}

void Minter::attend_all() { std::fill(due_ns_.begin(), due_ns_.end(), 0); }

void Minter::look_at(std::uint32_t index, std::int64_t now_ns) {
  LimitState& limit = limits_[index];
  if (limit.active)
    mint_limit(index, limit, now_ns);
  else
    due_ns_[index] = kForever;  // until look_again()
}

void Minter::set_heartbeat(std::int64_t now_ns) {
  rules_.header().heartbeat_mono_ns.store(now_ns, std::memory_order_release);
}

// The part of the level outside the bucket's word. `taken` is hostile: it is clamped to what was
// granted, and never counts as having gone back.
std::uint64_t Minter::outside(const LimitState& limit) {
  std::uint64_t sum = limit.waiters.put_by();
  if (limit.stripe_set == 0) return sum;
  StripeCell* cells = counters_.stripes(limit.stripe_set);
  const std::uint32_t first = first_stripe_cell(limit);
  for (std::uint32_t cpu = 0; cpu < counters_.geometry().cpus; ++cpu) {
    const std::uint64_t granted = ledger_.granted(first + cpu);
    std::uint64_t& seen = taken_seen_[first + cpu];
    seen = std::max(seen, Untrusted::load(cells[cpu].taken).at_most(granted));
    sum += granted - seen;
  }
  return sum;
}

bool Minter::stripes_untouched(const LimitState& limit) {
  if (limit.stripe_set == 0) return true;
  const StripeCell* cells = counters_.stripes(limit.stripe_set);
  const std::uint32_t first = first_stripe_cell(limit);
  for (std::uint32_t cpu = 0; cpu < counters_.geometry().cpus; ++cpu)
    if (cells[cpu].taken.load(kRelaxed) != taken_seen_[first + cpu]) return false;
  return true;
}

void Minter::mint_limit(std::uint32_t index, LimitState& limit, std::int64_t now_ns) {
  CounterSlot& slot = counters_.slot(index);
  LiveSlot& live = rules_.live(index);
  const auto renewal_due = [&] {
    return !limit.leased && live.lease_end_mono_ns.load(kRelaxed) - now_ns <
                                static_cast<std::int64_t>(limit.lease_ns - limit.lease_ns / 8);
  };
  // Up to the old end the book is minted by the old lease; only then is it renewed, so that a
  // long stop of this process is paid as the rules say.
  if (renewal_due()) limit.full_word = 0;
  // Demand shows as tokens gone since the last mint, or as a gate that somebody shut.
  const std::uint64_t word = slot.tokens.load(kRelaxed);
  const std::uint64_t closed = slot.closed.load(kRelaxed);
  const bool refused = closed != limit.last_closed;
  if (word != limit.last_word || refused) {
    spent_ = true;
    if (limit.leased) note_demand(index, limit, refused, now_ns);
  }
  if (refused || gate_shut(slot)) limit.pressed_until_ns = now_ns + kPressedNs;
  limit.last_closed = closed;
  // A full bucket that nobody touched needs nothing: its time is not paid for.
  if (word == limit.full_word && slot.returned.load(kRelaxed) == 0 && limit.waiters.empty() &&
      limit.waiters.put_by() == 0 && now_ns - limit.full_since_ns < kBookRefreshNs &&
      now_ns < limit.full_until_ns && stripes_untouched(limit))
    return plan_look(index, limit, now_ns);

  mint_now(index);
  if (renewal_due())
    live.lease_end_mono_ns.store(now_ns + static_cast<std::int64_t>(limit.lease_ns),
                                 std::memory_order_release);
  plan_look(index, limit, now_ns);
}

// Until then nothing can happen to the limit that a look would change, or nothing that cannot wait
// or would not ring.
void Minter::plan_look(std::uint32_t index, LimitState& limit, std::int64_t now_ns) {
  const MintRule rule = limit.terms.at(now_ns);
  const std::int64_t wait_ns = look_wait_ns(index, limit, rule, now_ns);
  due_ns_[index] = std::min(together(now_ns, wait_ns), rule.until_mono_ns);
  const bool pressed = now_ns < limit.pressed_until_ns;
  A64& rings = rules_.live(index).rings;
  const std::uint64_t wanted = !pressed && wait_ns >= kRingsFromNs ? 1 : 0;
  if (rings.load(kRelaxed) == wanted) return;
  rings.store(wanted);
  // Whoever was refused just before this showed did not ring.
  const CounterSlot& slot = counters_.slot(index);
  if (wanted != 0 && slot.closed.load() != limit.last_closed) due_ns_[index] = now_ns;
}

std::int64_t Minter::look_wait_ns(std::uint32_t index, const LimitState& limit,
                                  const MintRule& rule, std::int64_t now_ns) const {
  const bool bucket =
      rule.algorithm == Algorithm::token_bucket || rule.algorithm == Algorithm::leaky_bucket;
  if (!bucket || !limit.waiters.empty() || limit.waiters.put_by() > 0 || limit.stripe_set != 0)
    return 0;
  const CounterSlot& slot = counters_.slot(index);
  const std::uint64_t level = bucket_level(slot);
  if (level > rule.burst) return 0;  // the rule has just changed: what is above is to be cut
  const bool pressed = now_ns < limit.pressed_until_ns;
  if (rule.amount == 0) return pressed ? kLookNs : kLookCalmNs;
  const auto burst_ns = static_cast<std::int64_t>(
      std::min<std::uint64_t>(mul_div_down(rule.burst, rule.period_ns, rule.amount), kForever));
  // Not all in the same tick.
  std::int64_t wait_ns = kLookNs - (index % 8) * kStaggerNs;
  wait_ns = std::min(wait_ns, burst_ns / kLooksPerBurst);
  if (!pressed && level >= rule.burst / 2)
    return std::clamp(burst_ns / kCalmLooksPerBurst, wait_ns, kLookCalmNs);
  if (!pressed) return wait_ns;
  // Somebody was refused: as soon as there is a token again.
  const Book book = decode_book(slot.book.load(kRelaxed), now_ns);
  const std::int64_t paid_ns = now_ns - book.time_ns;
  const auto token_ns = static_cast<std::int64_t>(mul_div_up(1, rule.period_ns, rule.amount));
  return std::clamp(token_ns - paid_ns, std::int64_t{0}, wait_ns);
}

void Minter::mint_now(std::uint32_t index) {
  LimitState& limit = limits_[index];
  const LiveSlot& live = rules_.live(index);
  limit.terms.lease_end_mono_ns = live.lease_end_mono_ns.load(kRelaxed);
  limit.terms.tail_end_mono_ns = live.tail_end_mono_ns.load(kRelaxed);
  limit.terms.edge_mono_ns = live.edge_mono_ns.load(kRelaxed);
  if (limit.terms.algorithm == Algorithm::sliding_window) return mint_sliding(index, limit);
  due_ns_[index] = 0;  // what came of it may ask for another look
  const MintResult result = mint(
      counters_.slot(index), limit.terms, [&] { return outside(limit); }, limit.waiters.surplus(),
      clock_);
  note(index, limit, result);
}

void Minter::note(std::uint32_t index, LimitState& limit, const MintResult& result) {
  CounterSlot& slot = counters_.slot(index);
  if (result.forged) ++limit.stats.forged_total;
  limit.stats.lost_total += result.lost;
  limit.demanded.folded_total += result.folded;
  if (result.moved_in) limit.waiters.take_surplus();
  if (result.delivered > 0) share_out(index, limit, result.delivered);
  finish_mint(slot, result);
  limit.last_word = slot.tokens.load(kRelaxed);
  const std::int64_t tokens = tokens_of(limit.last_word);
  const std::int64_t now_ns = clock_();
  const MintRule in_force = limit.terms.at(now_ns);
  // More than the burst is not full: it has to be cut.
  const bool full = limit.waiters.empty() && tokens >= 0 &&
                    static_cast<std::uint64_t>(tokens) + outside(limit) == in_force.burst;
  limit.full_word = full ? limit.last_word : 0;
  limit.full_since_ns = now_ns;
  // A host's own lease is renewed before it ends, and until then nothing would change.
  limit.full_until_ns = limit.leased ? in_force.until_mono_ns : kForever;
}

// Sliding windows go by the agent's record of what was spent when. The steps are those of mint().
void Minter::mint_sliding(std::uint32_t index, LimitState& limit) {
  CounterSlot& slot = counters_.slot(index);
  LedgerSlot& ledger = ledger_.slot(index);
  SlidingRecord& record = ledger.sliding;
  const std::uint64_t burst = limit.terms.burst;
  const auto window_ns = static_cast<std::int64_t>(limit.terms.period_ns);
  const std::uint64_t move_in = limit.waiters.surplus();
  std::uint64_t word = slot.book.load(std::memory_order_acquire);
  const std::uint64_t elsewhere = outside(limit);
  // Somebody else minted, or the window changed: all that is out counts as spent this instant.
  const bool unknown = word != ledger.book_word || record.window_ns != window_ns;
  MintResult result;
  result.level = ledger.level;
  if (!unknown && move_in == 0 && ledger.level <= burst &&
      bucket_level(slot) + elsewhere == ledger.level && slot.returned.load(kRelaxed) == 0 &&
      !sliding_due(record, clock_()))
    return note(index, limit, result);

  const std::uint64_t fenced = fence(slot);
  const std::int64_t seen = tokens_of(fenced);
  const std::uint64_t level =
      (seen <= 0 ? 0 : std::min(static_cast<std::uint64_t>(seen), kBurstMax)) + elsewhere;
  const std::uint64_t returned = slot.returned.exchange(0, kRelaxed);
  const std::int64_t now_ns = clock_();  // after the words
  // The book rounds large levels up, so the exact one is kept in the ledger.
  const std::uint64_t before = unknown ? std::min(level, burst) : std::min(ledger.level, burst);
  if (unknown) sliding_reset(record, window_ns, burst - before, now_ns);
  result.forged = level > before;
  const std::uint64_t left = std::min(level, before);
  sliding_expire(record, now_ns);
  sliding_spend(record, before - left);
  sliding_refund(record, returned);
  const std::uint64_t allowed = burst - std::min(burst, record.total);
  const std::uint64_t kept = std::min(left, allowed);
  const std::uint64_t pay = allowed - kept;
  result.level = allowed;
  const std::uint64_t next =
      encode_book(std::max(now_ns, decode_book(word, now_ns).time_ns + kBookUnitNs), allowed);
  if (!slot.book.compare_exchange_strong(word, next, std::memory_order_acq_rel, kRelaxed)) return;
  ledger.book_word = next;
  ledger.level = allowed;
  if (deliver(slot, fenced, kept - std::min(kept, elsewhere), pay + move_in)) {
    slot.minted_total.fetch_add(pay, kRelaxed);
    result.delivered = pay;
    result.moved_in = move_in > 0;
  } else {
    result.lost = pay;
  }
  note(index, limit, result);
}

// What was minted belongs first to those who wait, then to the stripes, then to everybody. The
// agent takes it out of the bucket as any caller would, while the gate is still shut.
void Minter::share_out(std::uint32_t index, LimitState& limit, std::uint64_t delivered) {
  CounterSlot& slot = counters_.slot(index);
  if (!limit.waiters.empty()) {
    const std::uint64_t wanted = std::min(limit.waiters.missing(), kBurstMax);
    limit.waiters.feed(spend_up_to(slot, wanted));
  } else if (limit.stripe_set != 0) {
    deal_stripes(index, limit, delivered);
  }
}

void Minter::deal_stripes(std::uint32_t index, const LimitState& limit, std::uint64_t most) {
  const std::uint32_t cpus = counters_.geometry().cpus;
  const std::uint64_t share = limit.terms.burst / kStripeShare / cpus;
  StripeCell* cells = counters_.stripes(limit.stripe_set);
  const std::uint32_t first = first_stripe_cell(limit);
  (void)outside(limit);  // brings taken_seen_ up to date
  // Evenly first, so that no CPU waits for another to be full; then whoever still has room.
  for (const std::uint64_t each : {most / cpus, most})
    for (std::uint32_t cpu = 0; cpu < cpus && most > 0; ++cpu) {
      std::uint64_t& granted = ledger_.granted(first + cpu);
      const std::uint64_t there = granted - taken_seen_[first + cpu];
      if (there >= share) continue;
      const std::uint64_t give =
          spend_up_to(counters_.slot(index), std::min({most, each, share - there}));
      granted += give;
      most -= give;
      cells[cpu].granted.store(granted, kRelaxed);
    }
}

void Minter::lose_put_by() {
  for (LimitState& limit : limits_)
    if (limit.active) limit.stats.lost_total += limit.waiters.lose();
}

void Minter::serve_waiters(std::uint32_t index, LimitState& limit) {
  CounterSlot& slot = counters_.slot(index);
  // Those who wait come first: what is in the bucket is put by for them.
  const std::uint64_t wanted = std::min(limit.waiters.missing(), kBurstMax);
  if (wanted > 0) limit.waiters.feed(spend_up_to(slot, wanted));
  // An agent that was stopped since it took the office may no longer be alone.
  if (clock_() < term_.expiry_ns)
    limit.waiters.serve(counters_, wakes_left_, [](A32& state) { futex_wake_one(state); });
  publish_queue(index, limit);
  spent_ = true;
  if (limit.leased) list_touched(index, limit);
}

void Minter::publish_queue(std::uint32_t index, const LimitState& limit) {
  rules_.live(index).owed.store(limit.waiters.owed(), kRelaxed);
  rules_.live(index).waiting.store(limit.waiters.size(), kRelaxed);
}

void Minter::count_waiting() {
  waiting_ = 0;
  for (const LimitState& limit : limits_)
    waiting_ += static_cast<std::uint32_t>(limit.waiters.size());
}

void Minter::enqueue(std::uint32_t client, std::uint32_t cell_index, std::uint32_t sequence) {
  if (cell_index >= counters_.geometry().waiters) return;
  const WaiterCell& cell = counters_.waiter(cell_index);
  const std::uint32_t index = cell.limit_index.load(std::memory_order_acquire);
  if (index >= limits_.size() || !limits_[index].active) return;
  LimitState& limit = limits_[index];
  if (cell.limit_generation.load(kRelaxed) != limit.generation) return;
  if (limit.waiters.size() >= kWaitersPerLimitMax) return;
  const std::uint32_t priority = cell.priority_class.load(kRelaxed);
  Waiter waiter;
  waiter.cell = cell_index;
  waiter.sequence = sequence & (~0U >> 2);
  waiter.client = client;
  waiter.tokens = Untrusted::load(cell.tokens).at_most(kBurstMax);
  waiter.reserve = limit.reserve[priority < kClasses ? priority : kClasses - 1];
  // More than the bucket can ever hold would wait for ever and hold up everybody behind it.
  const std::uint64_t most = std::max(limit.terms.burst, limit.cluster_burst);
  if (waiter.tokens == 0 || waiter.tokens + waiter.reserve > most) return;
  limit.waiters.push(waiter);
  ++waiting_;
  publish_queue(index, limit);
  limit.full_word = 0;
  due_ns_[index] = 0;
  if (limit.leased) note_demand(index, limit, true, clock_());
}

void Minter::forget_client(std::uint32_t client, std::uint32_t first_cell, std::uint32_t cells) {
  for (std::uint32_t i = 0; i < limits_.size(); ++i) {
    LimitState& limit = limits_[i];
    if (limit.waiters.empty()) continue;
    limit.waiters.forget_client(client);
    publish_queue(i, limit);
  }
  count_waiting();
  for (std::uint32_t i = first_cell; i < first_cell + cells && i < counters_.geometry().waiters;
       ++i)
    counters_.waiter(i).state.store(0, kRelaxed);
}

void Minter::start_limit(std::uint32_t index, std::uint64_t level) {
  LimitState& limit = limits_[index];
  due_ns_[index] = 0;
  CounterSlot& slot = counters_.slot(index);
  const std::int64_t now_ns = clock_();
  slot.returned.store(0, kRelaxed);
  slot.minted_total.store(level, kRelaxed);
  slot.cut_total.store(0, kRelaxed);
  slot.tokens.store(
      token_word(mint_of(slot.tokens.load(kRelaxed)) + 1, static_cast<std::int64_t>(level)),
      kRelaxed);
  slot.book.store(encode_book(now_ns, level), kRelaxed);
  slot.closed.store(0, kRelaxed);
  slot.epoch.fetch_add(1, std::memory_order_release);
  LedgerSlot& ledger = ledger_.slot(index);
  ledger.book_word = slot.book.load(kRelaxed);
  ledger.level = level;
  sliding_reset(ledger.sliding, static_cast<std::int64_t>(limit.terms.period_ns),
                limit.terms.burst - std::min(limit.terms.burst, level), now_ns);
}

void Minter::stop_limit(std::uint32_t index) {
  LimitState& limit = limits_[index];
  limit.active = false;
  rules_.live(index).rings.store(0, kRelaxed);
  limit.waiters = WaiterQueue{};
  publish_queue(index, limit);
  count_waiting();
}

void Minter::assign_stripes(std::uint32_t index, std::uint32_t set, bool had_it) {
  LimitState& limit = limits_[index];
  limit.stripe_set = set;
  limit.full_word = 0;
  due_ns_[index] = 0;
  if (set == 0) return;
  StripeCell* cells = counters_.stripes(set);
  const std::uint32_t first = first_stripe_cell(limit);
  for (std::uint32_t cpu = 0; cpu < counters_.geometry().cpus; ++cpu) {
    if (had_it) {
      taken_seen_[first + cpu] =
          Untrusted::load(cells[cpu].taken).at_most(ledger_.granted(first + cpu));
      continue;
    }
    const std::uint64_t taken = Untrusted::load(cells[cpu].taken).at_most(UINT64_MAX / 2);
    ledger_.granted(first + cpu) = taken;
    taken_seen_[first + cpu] = taken;
    cells[cpu].granted.store(taken, kRelaxed);
  }
}

void Minter::refresh_stats() {
  const std::int64_t now_ns = clock_();
  for (std::uint32_t i = 0; i < limits_.size(); ++i)
    if (limits_[i].active) refresh_limit(i, limits_[i], now_ns);
}

void Minter::refresh_limit(std::uint32_t index, LimitState& limit, std::int64_t now_ns) {
  const CounterSlot& slot = counters_.slot(index);
  LimitStats& stats = limit.stats;
  const std::uint64_t level = bucket_level(slot) + outside(limit);
  const std::uint64_t minted = Untrusted::load(slot.minted_total).at_most(UINT64_MAX / 2);
  const std::uint64_t gone = Untrusted::load(slot.cut_total).at_most(UINT64_MAX / 2);
  // Totals never run backwards for a reader, whatever a client wrote.
  const std::uint64_t spent = std::max(stats.spent_total, minted - std::min(minted, level + gone));
  const std::uint64_t refused = std::max(stats.refused_total, counters_.refused(index));
  if (limit.rates_at_ns != 0 && now_ns > limit.rates_at_ns) {
    const double elapsed_s = static_cast<double>(now_ns - limit.rates_at_ns) / 1e9;
    const double weight = std::min(1.0, elapsed_s);  // about a second of memory
    const double spent_now =
        std::min(kRateMax, static_cast<double>(spent - stats.spent_total) / elapsed_s);
    const double refused_now =
        std::min(kRateMax, static_cast<double>(refused - stats.refused_total) / elapsed_s);
    stats.spent_per_s += (spent_now - stats.spent_per_s) * weight;
    stats.refused_per_s += (refused_now - stats.refused_per_s) * weight;
  }
  limit.rates_at_ns = now_ns;
  stats.minted_total = minted;
  stats.spent_total = spent;
  stats.refused_total = refused;
  stats.level = level;
  stats.waiting = limit.waiters.size();
  stats.owed = limit.waiters.owed();
  LiveSlot& live = rules_.live(index);
  live.minted_total.store(minted, kRelaxed);
  live.spent_total.store(spent, kRelaxed);
  live.refused_total.store(refused, kRelaxed);
  live.level.store(level, kRelaxed);
  live.spent_per_s_milli.store(static_cast<std::uint64_t>(stats.spent_per_s * 1000), kRelaxed);
  live.refused_per_s_milli.store(static_cast<std::uint64_t>(stats.refused_per_s * 1000), kRelaxed);
  live.forged_total.store(stats.forged_total, kRelaxed);
  live.lost_total.store(stats.lost_total, kRelaxed);
  live.stats_mono_ns.store(now_ns, std::memory_order_release);
}

}  // namespace weir::agent
