// What a host is offered: its share of the limit, as far as that is free, as a rate; or, when the
// share is too small to be a rate, whole tokens in turn.
#include <algorithm>
#include <bit>

#include "lease/book.h"
#include "lease/book_parts.h"

namespace weir::lease {
namespace {

// Fewer tokens than this in a refresh are handed out one by one. A row that has a rate keeps it
// down to a lower bound, so that it does not change to and fro.
constexpr std::int64_t kRateTokensMin = 4;
constexpr std::int64_t kRateTokensKeep = 3;
// What is left when everybody is content goes to the hosts but for this part.
constexpr std::int64_t kHeadroomParts = 8;
// A change of a want by more than this part changes the division at once.
constexpr Micro kWantNewsPart = 8;
constexpr TimeNs kNewsGapNs = 5 * kMs;
constexpr std::size_t kTurnsAhead = 16;
constexpr Micro kScarceRateMin = 4 * kToken;  // with less, whole tokens in turn do it
constexpr TimeNs kScarceTenureNs = 2 * kSecond;

// Fewer tokens of burst than hosts that want some: who has one uses the rate for a while, then
// another does.
bool burst_is_scarce(const LimitState& limit) {
  return limit.fair.want_total() > limit.fair.capacity() &&
         (limit.burst - limit.server_burst_min()) / kToken <
             static_cast<Micro>(limit.fair.size()) &&
         limit.rate > kScarceRateMin * static_cast<Micro>(limit.fair.size());
}

// Up to the next of some two thousand steps an octave. Wants are measured, and never as exactly as
// that; hosts that want nearly the same then share an event of the division, which keeps it small
// enough for the caches, and a want that hardly changed costs nothing.
Micro coarse(Micro want) noexcept {
  constexpr int kBits = 11;
  const int bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(want))) - kBits;
  if (bits <= 0) return want;
  const Micro step = Micro{1} << bits;
  return (want + step - 1) & ~(step - 1);
}

}  // namespace

void Book::recount(Row& row, TimeNs now_ns) {
  const Terms& held = row.held;
  Micro rate = std::max(held.rate, held.tail_rate);
  Micro burst = std::max(held.burst, held.tail_burst);
  if (row.offered && mutants.forget_offers) {
    rate = row.next.rate;
    burst = row.next.burst;
  } else if (row.offered) {
    rate = std::max({rate, row.next.rate, row.next.tail_rate});
    // Tokens on their way may come upon a bucket that is still full.
    const Micro fill = mutants.light_fills ? 0 : row.fill_next;
    burst = std::max({burst + fill, row.next.burst, row.next.tail_burst});
  }
  const Micro more_rate = rate - row.counted_rate;
  const Micro more_burst = burst - row.counted_burst;
  if (more_rate == 0 && more_burst == 0) return;
  row.counted_rate = rate;
  row.counted_burst = burst;
  LimitState& limit = limits_[row.limit];
  limit.host_rate += more_rate;
  limit.host_burst += more_burst;
  const auto beyond = [&](Micro counted) {
    return std::max<Micro>(0, counted - row.claimed_burst);
  };
  limit.beyond_burst += beyond(burst) - beyond(burst - more_burst);
  for (std::uint32_t at = row.limit; at != kNone; at = limits_[at].parent) {
    limits_[at].total_rate += more_rate;
    limits_[at].total_burst += more_burst;
  }
  resize(limit, now_ns);
}

// The server's own part of a limit takes what hosts leave, and makes room for them at once.
void Book::resize(LimitState& limit, TimeNs now_ns) {
  if (!limit.leaf()) return;
  limit.settle(now_ns);
  Micro rate = limit.rate - limit.host_rate;
  Micro burst = limit.burst - limit.host_burst;
  for (std::uint32_t at = limit.parent; at != kNone; at = limits_[at].parent) {
    const LimitState& above = limits_[at];
    // Siblings share what is free above them; each takes a part, and its minimum when it can.
    const auto parts = static_cast<std::int64_t>(above.children.size()) + 1;
    const Micro free_rate = above.rate - (above.total_rate - limit.server_rate);
    const Micro free_burst = above.burst - (above.total_burst - limit.server_burst);
    rate =
        std::min(rate, std::min(free_rate, std::max(limit.server_rate_min(), free_rate / parts)));
    burst = std::min(burst,
                     std::min(free_burst, std::max(limit.server_burst_min(), free_burst / parts)));
  }
  if (learning_ && !mutants.no_learning) {
    // Whatever else hosts may hold that have not spoken yet, this was never leased.
    rate = std::min(rate, limit.reserve_rate());
    burst = std::min(burst, limit.burst_unleased() - limit.beyond_burst);
    // The server before may have been learning as well, and have handed tokens out of just this.
    if (now_ns < quiet_end_ns_ && !mutants.early_tokens) burst = 0;
  }
  rate = std::max<Micro>(0, rate);
  burst = std::max<Micro>(0, burst);
  for (std::uint32_t at = static_cast<std::uint32_t>(&limit - limits_.data()); at != kNone;
       at = limits_[at].parent) {
    limits_[at].total_rate += rate - limit.server_rate;
    limits_[at].total_burst += burst - limit.server_burst;
  }
  limit.server_rate = rate;
  limit.server_burst = burst;
  limit.level = std::min(limit.level, burst);
}

// What this row may count at most: what others do not, here and above.
Micro Book::available_rate(const Row& row) const {
  const LimitState& limit = limits_[row.limit];
  const Micro giving = limit.server_rate - std::min(limit.server_rate, limit.server_rate_min());
  const Micro kept = mutants.lease_reserve ? 0 : limit.server_rate_min();
  Micro free = limit.rate - kept - (limit.host_rate - row.counted_rate);
  for (std::uint32_t at = limit.parent; at != kNone && !mutants.no_ancestors;
       at = limits_[at].parent)
    free = std::min(free, limits_[at].rate - limits_[at].total_rate + row.counted_rate + giving);
  return free;
}
Micro Book::available_burst(const Row& row) const {
  const LimitState& limit = limits_[row.limit];
  const Micro giving = limit.server_burst - std::min(limit.server_burst, limit.server_burst_min());
  const Micro kept = mutants.lease_reserve ? 0 : limit.server_burst_min();
  Micro free = limit.burst - kept - (limit.host_burst - row.counted_burst);
  for (std::uint32_t at = limit.parent; at != kNone && !mutants.no_ancestors;
       at = limits_[at].parent)
    free = std::min(free, limits_[at].burst - limits_[at].total_burst + row.counted_burst + giving);
  return free;
}

void Book::update_share(Row& row, TimeNs now_ns) {
  LimitState& limit = limits_[row.limit];
  // Whoever waits wants something, however little was spent.
  const Micro want = coarse(std::max(row.want, row.need));
  if (want == 0 || !limit.active || !limit.leaf()) {
    leave_fair(row);
    return;
  }
  const Micro before = row.slot == kNone ? -1 : row.fair.want;
  if (want == before) return;
  row.fair.want = want;
  const bool news = std::abs(want - before) > before / kWantNewsPart;
  limit.uneven = limit.uneven || news;
  if (row.slot == kNone) {
    row.slot = limit.fair.add(row.fair);
    row.set_ns = now_ns;
    limit.fair.refresh();
  } else if (news && now_ns - row.set_ns >= kNewsGapNs) {
    limit.fair.set(row.slot, row.fair);
    row.set_ns = now_ns;
    limit.fair.refresh();
  } else if (!row.in_dirty) {
    row.in_dirty = true;
    limit.dirty.emplace_back(row.holder, row.index);
  }
  want_attention(row.limit);
}

void Book::leave_fair(Row& row) {
  set_token_share(row, 0);
  if (row.slot == kNone) return;
  limits_[row.limit].fair.remove(row.slot);
  row.slot = kNone;
  row.fair.want = 0;
  limits_[row.limit].uneven = true;
  want_attention(row.limit);
}

void Book::set_token_share(Row& row, Micro share) {
  if (share == row.token_share) return;
  limits_[row.limit].token_share += share - row.token_share;
  row.token_share = share;
}

void Book::decide(Holder& holder, Row& row, TimeNs now_ns) {
  LimitState& limit = limits_[row.limit];
  if (limit.active && limit.leaf()) {
    const bool idle = row.slot == kNone && row.held == Terms{} && row.need == 0;
    if (idle && !row.offered) return;
  }
  Terms terms;
  Micro fill = 0;
  bool token_mode = false;
  if (limit.active && limit.leaf() && row.slot != kNone) {
    const Micro share = limit.fair.share_of(row.fair);
    const std::int64_t enough =
        row.token_mode || row.held.rate == 0 ? kRateTokensMin : kRateTokensKeep;
    const bool newcomer =
        learning_ && !mutants.no_learning && !mutants.newcomers_lease && row.held.rate == 0;
    token_mode = newcomer || minted(share, refresh_ns()) < enough * kToken;
    if (!token_mode) {
      rate_terms(row, share, now_ns, terms);
      // No whole token of burst is free.
      token_mode = terms.burst < kToken && terms.rate >= 0;
    }
    if (token_mode) {
      // A server that has no burst to hand the tokens out of leaves the rate to who has one.
      set_token_share(row, burst_is_scarce(limit) ? 0 : share);
      terms = token_terms(holder, row, now_ns, fill);
    } else {
      set_token_share(row, 0);
      row.in_turns = false;  // its place is passed over
      // What the server's bucket cannot hold any more goes to who wants more than it gets.
      const bool wants_more = row.fair.want > share && limit.turns.empty();
      if (wants_more) limit.settle(now_ns);
      if (wants_more && limit.level >= limit.server_burst) {
        fill = std::min(whole_tokens(limit.level / 2), terms.burst);
        if (limit.level - fill < kToken) fill = 0;
        if (!mutants.free_fills) limit.level -= fill;
      }
    }
  } else if (row.token_mode && limit.active && row.held.rate == 0) {
    terms = row.held;  // an unspent fill; the host gives it back by itself
    token_mode = true;
  }
  if (fill == 0 && token_mode == row.token_mode && !worth_telling(row, terms)) return;
  row.token_mode = token_mode;
  if (row.held == terms && fill == 0) return;
  row.next = terms;
  row.fill_next = fill;
  row.offered = true;
  holder.offered_rows.push_back(row.index);
  recount(row, now_ns);
  if (mutants.full_bursts) fill = std::max<Micro>(0, terms.burst - row.held.burst);
  Grant grant;
  grant.limit = row.id;
  grant.terms = terms;
  grant.fill = fill;
  grant.hosts = static_cast<std::uint32_t>(std::max<std::size_t>(1, live_));
  grant.proof = options_.prove ? options_.prove(holder.id, row.id, terms) : 0;
  holder.answer.grants.push_back(grant);
}

// The terms are filled in place: it is called for every limit of every heartbeat, and a copy that
// is read at once waits for its halves to be written.
void Book::rate_terms(Row& row, Micro share, TimeNs now_ns, Terms& terms) {
  LimitState& limit = limits_[row.limit];
  const Micro capacity = std::max<Micro>(1, limit.fair.capacity());
  Micro target = share;
  const Micro spare = capacity - limit.fair.want_total();
  if (spare > 0)
    target +=
        mul_div(spare - spare / kHeadroomParts, row.fair.weight,
                static_cast<std::int64_t>(std::max<std::uint64_t>(1, limit.fair.weight_total())));
  const Micro lease_burst = limit.burst - limit.server_burst_min();
  if (burst_is_scarce(limit)) {
    if (row.held.rate > 0 && now_ns - row.since_ns > kScarceTenureNs) return;
    target = std::max(
        target, std::min(row.fair.want, mul_div(capacity, kToken, std::max(kToken, lease_burst))));
  }
  const bool bound = learning_ && !mutants.no_learning;
  if (bound && !mutants.newcomers_lease) target = std::min(target, row.held.rate);
  terms.rate = mutants.grant_target ? target : std::clamp<Micro>(available_rate(row), 0, target);

  Micro burst = whole_tokens(mul_div(lease_burst, target, std::max(capacity, target)));
  burst = std::max({burst, kToken, row.need});
  burst = std::min(burst, whole_tokens(lease_burst));
  if (bound && !mutants.newcomers_lease) burst = std::min(burst, row.held.burst);
  terms.burst = whole_tokens(std::clamp<Micro>(available_burst(row), 0, burst));

  const auto hosts = static_cast<Micro>(std::max<std::size_t>(1, live_));
  const auto& [rate_part, burst_part] = limit.part_of_each(hosts);
  terms.tail_rate = std::min(terms.rate, rate_part);
  if (terms.tail_rate > 0)
    terms.tail_burst = std::min(terms.burst, std::max(kToken, whole_tokens(burst_part)));
  const bool short_rate = terms.rate < target - target / 100;
  const bool short_burst = terms.burst < burst && (terms.burst < row.need || terms.burst < kToken);
  if (!bound && (short_rate || short_burst) && !row.in_short) {
    row.in_short = true;
    limit.short_.emplace_back(row.holder, row.index);
    want_attention(row.limit);
  }
}

Terms Book::token_terms(const Holder& holder, Row& row, TimeNs now_ns, Micro& fill) {
  (void)holder;
  LimitState& limit = limits_[row.limit];
  Terms terms;
  if (row.token_mode) terms.burst = row.held.burst;
  const Micro need = std::min(whole_tokens(row.need + kToken - 1), limit.need_most());
  if (need == 0) {
    row.in_turns = false;  // its place is passed over
    return terms;
  }
  limit.settle(now_ns);
  if (!row.in_turns) {
    row.in_turns = true;
    limit.turns.emplace_back(row.holder, row.index);
    want_attention(row.limit);
  }
  Micro ahead = 0;
  std::size_t place = 0;
  for (const auto& [at, index] : limit.turns) {
    if (at == row.holder && index == row.index) break;
    if (++place > kTurnsAhead) return terms;
    // An entry may name a host that is forgotten; serve_turns() clears those away.
    if (!holders_[at].used || index >= holders_[at].rows.size()) continue;
    const Row& other = row_at({at, index});
    if (other.in_turns && other.limit == row.limit) ahead += std::max(kToken, other.need);
  }
  if (limit.level < ahead + need) return terms;
  const bool learning = learning_ && !mutants.no_learning;
  if (!learning && !mutants.lease_reserve &&
      limit.host_burst - row.counted_burst + need > limit.burst - limit.burst_unleased())
    return terms;
  row.in_turns = false;
  if (place == 0) {
    limit.turns.pop_front();
    limit.turn_since_ns = 0;
  }
  if (!mutants.free_fills) limit.level -= need;
  fill = need;
  terms.burst = need;
  return terms;
}

// Small changes are not worth a row, as long as they are small against what is divided.
bool Book::worth_telling(const Row& row, const Terms& terms) const {
  const LimitState& limit = limits_[row.limit];
  const Terms& held = row.held;
  if (terms == held) return false;
  if ((terms.rate == 0) != (held.rate == 0) || (terms.burst == 0) != (held.burst == 0)) return true;
  // A tail without a lease is left from before; while it stands its rate is nobody's.
  if (terms.rate == 0 && held.tail_rate > 0) return true;
  if (limit.total_rate > limit.rate || limit.total_burst > limit.burst) return true;
  if (terms.burst != held.burst && (terms.burst < row.need || held.burst < row.need)) return true;
  const bool contended = limit.fair.want_total() > limit.fair.capacity();
  if (limit.lacking > 0 && held.rate - terms.rate > limit.lacking / kGiversMost) return true;
  const Micro step = contended ? held.rate / 512 : held.rate / 16;
  if (terms.rate > held.rate + step || terms.rate < held.rate - (contended ? step : 2 * step))
    return true;
  return std::abs(terms.burst - held.burst) > std::max(kToken, held.burst / 8);
}

}  // namespace weir::lease
