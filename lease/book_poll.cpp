// What time brings: leases and tails that end, tokens for those who wait, a fresh division of
// what is wanted, and the pokes that make hosts come for it or give it up.
#include <algorithm>

#include "lease/book.h"
#include "lease/book_parts.h"

namespace weir::lease {
namespace {

constexpr TimeNs kPokeGapNs = 50 * kMs;
constexpr TimeNs kTurnPatienceNs = 300 * kMs;
constexpr TimeNs kFlushMostNs = 50 * kMs;
constexpr TimeNs kFlushPerMemberNs = 20'000;
constexpr TimeNs kScanGapNs = 100 * kMs;
constexpr std::int64_t kUnevenPart = 32;
constexpr TimeNs kScanPerMemberNs = 50'000;
constexpr std::size_t kPokesAtOnce = 256;

}  // namespace

void Book::poll(TimeNs now_ns, Due& due) {
  due.poke.clear();
  due.forgotten.clear();
  const bool short_learning =
      mutants.short_learning && now_ns >= learning_start_ns_ + lengthened(options_.ttl_ns);
  if (learning_ && (now_ns >= learning_end_ns_ || short_learning)) end_learning(now_ns);
  if (learning_ && now_ns >= quiet_end_ns_ && !quiet_over_) {
    quiet_over_ = true;
    for (LimitState& limit : limits_)
      if (limit.active) resize(limit, now_ns);
  }
  for (const std::uint32_t index : std::exchange(gone_, {}))
    forget(index, &due);
  for (Identity& identity : std::exchange(missing_, {}))
    due.forgotten.push_back(std::move(identity));
  while (!ends_.empty() && ends_.begin()->first <= now_ns) {
    const std::uint32_t index = ends_.begin()->second;
    ends_.erase(ends_.begin());
    Holder& holder = holders_[index];
    if (holder.used && holder.end_ns <= now_ns) expire(holder, now_ns, due);
    if (holder.used)
      ends_.emplace(std::max(holder.end_ns, now_ns + 1), index);
    else
      free_holders_.push_back(index);
  }
  if (families_ > 0) divide_families(now_ns);
  std::vector<std::uint32_t> again;
  for (const std::uint32_t index : std::exchange(attention_, {})) {
    LimitState& limit = limits_[index];
    limit.in_attention = false;
    if (now_ns - limit.flushed_ns >=
        std::min(kFlushMostNs, static_cast<TimeNs>(limit.members.size()) * kFlushPerMemberNs))
      flush(limit, now_ns);
    serve_turns(limit, now_ns, due);
    poke_short(limit, now_ns, due);
    if (limit.uneven) poke_uneven(limit, now_ns, due);
    if (limit.uneven || !limit.dirty.empty() || !limit.turns.empty() || !limit.short_.empty())
      again.push_back(index);
  }
  for (const std::uint32_t index : again)
    want_attention(index);
}

void Book::expire(Holder& holder, TimeNs now_ns, Due& due) {
  const auto index = identities_.at(holder.id);
  if (!holder.live || mutants.no_tails) {
    forget(index, &due);
    return;
  }
  // What was offered may have been accepted; of both only the tail goes on.
  holder.live = false;
  Micro tails = 0;
  for (Row& row : holder.rows) {
    const Terms& held = row.held;
    Terms tail{0, 0, held.tail_rate, held.tail_burst};
    if (row.offered && !mutants.offers_end_early) {
      tail.tail_rate = std::max(tail.tail_rate, row.next.tail_rate);
      tail.tail_burst = std::max(tail.tail_burst, row.next.tail_burst);
    }
    // Tokens that were offered may lie in the host's bucket or be spent: nobody gets them back.
    if (mutants.fills_come_back) limits_[row.limit].level += row.fill_next;
    row.offered = false;
    row.fill_next = row.fill_held = 0;
    row.token_mode = false;
    row.want = row.need = 0;
    row.in_turns = row.in_short = false;
    leave_fair(row);
    set_held(row, tail, now_ns);
    tails += tail.tail_rate;
  }
  holder.offered_rows.clear();
  // An answer that was offered and not confirmed can still be accepted: its seq must not match.
  holder.offered_seq = holder.confirmed_offer = 0;
  (void)tails;
  holder.end_ns =
      now_ns + (mutants.no_server_lengthening ? options_.tail_ns : lengthened(options_.tail_ns));
}

void Book::drop_rows(Holder& holder, TimeNs now_ns) {
  for (Row& row : holder.rows) {
    row.offered = false;
    leave_fair(row);
    set_held(row, Terms{}, now_ns);
    leave_members(row);
  }
}

void Book::leave_members(Row& row) {
  LimitState& limit = limits_[row.limit];
  const auto last = limit.members.back();
  limit.members[row.member] = last;
  row_at({last.first, last.second}).member = row.member;
  limit.members.pop_back();
}

// Its slot is used again only when its entry in ends_ has come up.
void Book::forget(std::uint32_t index, Due* due) {
  Holder& holder = holders_[index];
  if (!holder.used) return;
  const TimeNs now_ns = std::max(holder.heard_ns, holder.end_ns);
  drop_rows(holder, now_ns);
  identities_.erase(holder.id);
  if (due != nullptr) due->forgotten.push_back(holder.id);
  if (due != nullptr && holder.marked != 0)
    due->forgotten.push_back(mark_of(holder.id, holder.marked));
  holder = Holder{};
  --live_;
  rescale(now_ns);
}

void Book::fetch_row(std::pair<std::uint32_t, std::uint32_t> at) const noexcept {
  const std::vector<Row>& rows = holders_[at.first].rows;
  if (at.second >= rows.size()) return;
  const auto* bytes = reinterpret_cast<const char*>(&rows[at.second]);
  for (std::size_t offset = 0; offset < sizeof(Row); offset += kFetchBytes)
    __builtin_prefetch(bytes + offset);
}

void Book::flush(LimitState& limit, TimeNs now_ns) {
  limit.flushed_ns = now_ns;
  for (std::size_t i = 0; i < limit.dirty.size(); ++i) {
    const auto [at, index] = limit.dirty[i];
    // Each row is another host's, somewhere in memory; most of the time would go by in waiting.
    if (i + 2 * kRowsAhead < limit.dirty.size()) fetch_row(limit.dirty[i + 2 * kRowsAhead]);
    Holder& holder = holders_[at];
    if (!holder.used || index >= holder.rows.size()) continue;
    Row& row = holder.rows[index];
    if (!row.in_dirty || &limits_[row.limit] != &limit) continue;
    row.in_dirty = false;
    if (row.slot == kNone) continue;
    limit.fair.set(row.slot, row.fair);
    row.set_ns = now_ns;
  }
  limit.dirty.clear();
  if (limit.parent == kNone) limit.fair.set_capacity(limit.rate - limit.reserve_rate());
  limit.fair.refresh();
  resize(limit, now_ns);
}

// Each parent's rate is divided among its children by what is wanted below them.
void Book::divide_families(TimeNs now_ns) {
  (void)now_ns;
  const auto leased_of = [](const LimitState& limit) { return limit.rate - limit.reserve_rate(); };
  // Bottom up: children stand behind their parents, see set_limits().
  for (auto at = family_order_.rbegin(); at != family_order_.rend(); ++at) {
    LimitState& child = limits_[*at];
    LimitState& parent = limits_[child.parent];
    FairShare::Holder want;
    want.want = std::min(child.fair.want_total(), leased_of(child));
    want.weight = child.config.weight;
    want.band = child.config.band;
    want.floor = child.config.floor;
    if (child.fair_in_parent == kNone)
      child.fair_in_parent = parent.fair.add(want);
    else
      parent.fair.set(child.fair_in_parent, want);
  }
  for (const std::uint32_t at : family_order_) {
    LimitState& child = limits_[at];
    LimitState& parent = limits_[child.parent];
    if (parent.parent == kNone) parent.fair.set_capacity(leased_of(parent));
    const bool contended = parent.fair.want_total() > parent.fair.capacity();
    const Micro spare = parent.fair.capacity() - parent.fair.want_total();
    const Micro most = contended ? parent.fair.share(child.fair_in_parent)
                                 : parent.fair.share(child.fair_in_parent) +
                                       spare / static_cast<Micro>(parent.children.size());
    const Micro capacity = std::min(leased_of(child), most);
    if (capacity != child.fair.capacity()) {
      child.fair.set_capacity(capacity);
      child.fair.refresh();
      want_attention(at);
    }
  }
}

bool Book::poke(Holder& holder, TimeNs now_ns, Due& due) {
  if (!holder.used || !holder.live || now_ns - holder.poked_ns < kPokeGapNs) return false;
  if (mutants.no_pokes) return false;
  holder.poked_ns = now_ns;
  due.poke.push_back(holder.session);
  return true;
}

// The first in the queue is asked to come when its tokens are there. One that does not come is
// put behind the others.
void Book::serve_turns(LimitState& limit, TimeNs now_ns, Due& due) {
  while (!limit.turns.empty()) {
    const auto [at, index] = limit.turns.front();
    Holder& holder = holders_[at];
    const bool waits = holder.used && index < holder.rows.size() && holder.rows[index].in_turns &&
                       &limits_[holder.rows[index].limit] == &limit;
    if (!waits) {
      limit.turns.pop_front();
      limit.turn_since_ns = 0;
      continue;
    }
    const Micro need =
        std::min(std::max(kToken, whole_tokens(holder.rows[index].need)), limit.need_most());
    if (limit.head_need != need) {
      limit.head_need = need;
      resize(limit, now_ns);
    }
    limit.settle(now_ns);
    if (limit.level < need) {
      limit.turn_since_ns = 0;
      if (limit.server_burst < need) poke_over(limit, now_ns, due);
      return;
    }
    if (limit.turn_since_ns == 0) limit.turn_since_ns = now_ns;
    poke(holder, now_ns, due);
    if (now_ns - limit.turn_since_ns < kTurnPatienceNs) return;
    limit.turns.pop_front();
    limit.turns.emplace_back(at, index);
    limit.turn_since_ns = 0;
    if (limit.turns.size() == 1) return;
  }
  if (limit.head_need != 0) {
    limit.head_need = 0;
    resize(limit, now_ns);
  }
}

void Book::poke_short(LimitState& limit, TimeNs now_ns, Due& due) {
  limit.lacking = 0;
  if (limit.short_.empty() || !limit.leaf()) return;
  std::size_t left = std::min(limit.short_.size(), kPokesAtOnce);
  bool starving = false;
  Micro promised = 0;
  while (left-- > 0 && !limit.short_.empty()) {
    const auto [at, index] = limit.short_.front();
    limit.short_.pop_front();
    Holder& holder = holders_[at];
    if (!holder.used || index >= holder.rows.size()) continue;
    Row& row = holder.rows[index];
    if (!row.in_short || &limits_[row.limit] != &limit) continue;
    const Micro share = row.slot == kNone ? 0 : limit.fair.share(row.slot);
    const Micro lacking = share - row.counted_rate;
    const bool lacks_burst = row.counted_burst < std::max(kToken, row.need);
    if (lacking <= share / 200 && !lacks_burst) {
      row.in_short = false;
      continue;
    }
    const Micro free = available_rate(row) - row.counted_rate - promised;
    const bool worth = free > 0 && free >= std::min(lacking, limit.rate / 200);
    const bool burst_free = lacks_burst && available_burst(row) >= std::max(kToken, row.need);
    if ((worth || burst_free) && poke(holder, now_ns, due)) {
      promised += std::min(free, lacking);
      row.in_short = false;  // it says so again if that did not help
      continue;
    }
    starving = starving || (!worth && lacking > 0) || (lacks_burst && !burst_free);
    if (!worth && lacking > share / kUnevenPart) limit.lacking += lacking;
    limit.short_.emplace_back(at, index);
  }
  if (starving) poke_over(limit, now_ns, due);
}

// The division has moved: who holds less than its share comes for what is free of it, and while
// that does not suffice who holds more comes to give it up.
void Book::poke_uneven(LimitState& limit, TimeNs now_ns, Due& due) {
  if (!limit.leaf() || !limit.active) {
    limit.uneven = false;
    return;
  }
  if (now_ns - limit.looked_ns < scan_gap_ns(limit)) return;
  limit.looked_ns = now_ns;
  Micro free = limit.rate - limit.server_rate_min() - limit.host_rate;
  std::size_t pokes = 0;
  bool lacking = false;
  limit.uneven = false;
  for (const auto& [at, index] : limit.members) {
    Row& row = row_at({at, index});
    if (row.slot == kNone || row.token_mode) continue;
    const Micro small = limit.rate / 1000;
    if (row.fair.want - row.counted_rate <= small) continue;  // nor is its share larger
    const Micro share = limit.fair.share(row.slot);
    const Micro under = share - row.counted_rate;
    if (under <= share / kUnevenPart || under <= small) continue;
    limit.uneven = true;
    if (free < under / 2 || pokes >= kPokesAtOnce) {
      lacking = true;
    } else if (poke(holders_[at], now_ns, due)) {
      free -= under;
      ++pokes;
    }
  }
  if (lacking) poke_over(limit, now_ns, due);
}

TimeNs Book::scan_gap_ns(const LimitState& limit) noexcept {
  return std::max(kScanGapNs, static_cast<TimeNs>(limit.members.size()) * kScanPerMemberNs);
}

// Somebody lacks what others hold beyond their share: they are asked to come and give it up.
void Book::poke_over(LimitState& limit, TimeNs now_ns, Due& due) {
  if (now_ns - limit.scanned_ns < scan_gap_ns(limit)) return;
  limit.scanned_ns = now_ns;
  std::size_t pokes = 0;
  // For a small host's sake many large ones each have a little to give.
  const Micro fine = limit.lacking > 0 ? limit.lacking / kGiversMost + 1 : kMicroMax;
  const auto scan = [&](const LimitState& of) {
    for (const auto& [at, index] : of.members) {
      if (pokes >= kPokesAtOnce) return;
      Row& row = row_at({at, index});
      // Who holds too little to be over needs no closer look.
      const Micro least = std::min(of.rate / 1000, fine);
      const Micro share =
          row.slot == kNone || row.counted_rate <= least ? 0 : of.fair.share(row.slot);
      const Micro over = row.counted_rate - share;
      const bool rate_over = over > least && (over > fine || over > share / 64);
      const bool burst_over =
          (of.head_need > 0 || !of.short_.empty()) && row.counted_burst > kToken && row.need == 0;
      if ((rate_over || burst_over) && poke(holders_[at], now_ns, due)) ++pokes;
    }
  };
  scan(limit);
  // What is lacking may be held under a sibling.
  if (limit.parent != kNone)
    for (const std::uint32_t sibling : limits_[limit.parent].children)
      if (&limits_[sibling] != &limit) scan(limits_[sibling]);
}

void Book::end_learning(TimeNs now_ns) {
  learning_ = false;
  learning_end_ns_ = std::min(learning_end_ns_, now_ns);
  // Whoever has not come by now holds nothing any more.
  for (const auto& [identity, known] : awaited_)
    if (!identities_.contains(identity)) missing_.push_back(identity);
  for (const auto& [identity, session] : marks_)
    missing_.push_back(mark_of(identity, session));
  marks_.clear();
  awaited_.clear();
  for (std::uint32_t index = 0; index < limits_.size(); ++index) {
    if (!limits_[index].active) continue;
    resize(limits_[index], now_ns);
    want_attention(index);
  }
}

}  // namespace weir::lease
