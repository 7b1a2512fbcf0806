// What a host wants, and when it says so.
#include <algorithm>
#include <cmath>

#include "lease/desk.h"

namespace weir::lease {
namespace {

// Wants that changed by less than these parts wait for the refresh.
constexpr Micro kNewsUpPart = 5;
constexpr Micro kNewsDownPercent = 80;
constexpr TimeNs kDownGapNs = 100 * kMs;
constexpr Micro kSamePart = 64;
// How long a need is upheld after the last call that was refused for it.
constexpr TimeNs kNeedKeepNs = 4 * kSecond;

}  // namespace

TimeNs Desk::jittered(TimeNs interval_ns) {
  return random_.between(interval_ns - interval_ns / 5, interval_ns + interval_ns / 5);
}

void Desk::observe(std::uint32_t slot, const Usage& usage, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].active) return;
  Row& row = rows_[slot];
  const bool first = !row.observed;
  row.observed = true;
  if (first || usage.spent_total < row.usage.spent_total) {
    row.spent_base = usage.spent_total;
    row.refused_base = usage.refused_total;
    row.minted_base = usage.minted_total;
  }
  const bool refused = !first && usage.refused_total > row.usage.refused_total;
  row.usage = usage;
  row.demand.sample(usage.spent_total + usage.refused_total, now_ns);
  row.want = row.demand.rate();
  if (usage.need > 0) {
    row.need = usage.need;
    row.need_ns = now_ns;
  } else if (now_ns - row.need_ns > kNeedKeepNs) {
    row.need = 0;
  }
  // One token in a while is still wanted.
  if (row.need > 0) row.want = std::max<Micro>(row.want, 1);

  if (row.state == LeaseState::live && !mutants.no_spend_bound) {
    const auto fresh = usage.minted_total - std::min(row.minted_base, usage.minted_total);
    const Micro most = row.credit + row.terms.burst + 2 * kToken;
    const auto beyond = [&](Micro bound) {
      return fresh > static_cast<std::uint64_t>(bound / kToken);
    };
    if (!row.runaway && beyond(most) &&
        beyond(most + minted(row.terms.rate, lengthened(ttl_ns_)))) {
      row.runaway = true;
      ++counts_.clock_runaway_total;
      change(slot);
    }
  }
  watch_fill(slot, now_ns);
  if (refused && (row.state != LeaseState::live || row.terms.rate == 0)) {
    // Nothing is held that could serve it: ask for a token at once.
    if (row.told.need == 0)
      early_at_ns_ = std::min(early_at_ns_, early_sent_ns_ + options_.early_gap_ns);
  }
  check_early(row, now_ns);
}

void Desk::check_early(Row& row, TimeNs now_ns) {
  (void)now_ns;
  const Micro told = row.told.rate;
  const Micro want = row.want;
  // Few events count for less: a mean of them moves by itself.
  const auto chance = [&] {
    return static_cast<Micro>(
        std::sqrt(static_cast<double>(std::max(want, told)) * static_cast<double>(kToken)));
  };
  const bool more = want > row.terms.rate && want > told + told / kNewsUpPart &&
                    want > told + told / kNewsUpPart + chance() / 2;
  const bool needed =
      row.need > 0 && row.told.need == 0 && row.terms.burst < static_cast<Micro>(row.need) * kToken;
  if (more || needed)
    early_at_ns_ = std::min(early_at_ns_, early_sent_ns_ + options_.early_gap_ns);
  else if (row.terms.rate > want && want < told / 100 * kNewsDownPercent &&
           want < told / 100 * kNewsDownPercent - chance())
    early_at_ns_ = std::min(early_at_ns_, early_sent_ns_ + kDownGapNs);
}

// Tokens that were filled in are spent soon, or go back.
void Desk::watch_fill(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (row.state != LeaseState::live || row.terms.rate > 0 || row.terms.burst == 0 || row.draining)
    return;
  const bool settled = now_ns - row.filled_ns >= 2 * kMs;  // the fill has reached the bucket
  if (settled && row.usage.level == 0) {
    // Spent: the burst is given back at once, so that the next host may have it.
    row.terms = Terms{};  // the tail as well: it has no rate
    row.fill_left = 0;
    row.must_tell = true;
    change(slot);
    early_at_ns_ = std::min(early_at_ns_, last_sent_ns_ + options_.give_back_gap_ns);
  } else if (now_ns - row.filled_ns >= options_.fill_keep_ns && !mutants.keep_fills) {
    row.draining = true;
    changes_.push_back({slot, 0, true});
  }
}

void Desk::drained(std::uint32_t slot, std::uint64_t tokens, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].active || !rows_[slot].draining) return;
  Row& row = rows_[slot];
  (void)now_ns;
  row.draining = false;
  row.returned = std::min<Micro>(row.fill_left, static_cast<Micro>(tokens) * kToken);
  row.fill_left = 0;
  row.terms = Terms{};  // the tail as well: it has no rate
  row.usage.level = 0;
  row.must_tell = true;
  change(slot);
  early_at_ns_ = std::min(early_at_ns_, early_sent_ns_ + options_.early_gap_ns);
}

bool Desk::worth_telling(const Row& row) const {
  if (row.must_tell) return true;
  const Micro told = row.told.rate;
  const Micro off = row.want > told ? row.want - told : told - row.want;
  return off > told / kSamePart || row.told.need != static_cast<Micro>(row.need) * kToken ||
         row.told.spent != row.usage.spent_total || row.told.refused != row.usage.refused_total;
}

void Desk::fill_want(Row& row, Want& want) {
  want.limit = row.id;
  want.rate = row.want;
  want.need = static_cast<Micro>(std::min<std::uint64_t>(
                  row.need, static_cast<std::uint64_t>(kMicroMax / kToken))) *
              kToken;
  want.returned = row.returned;
  const bool tail = row.state == LeaseState::tail;
  const bool live = row.state == LeaseState::live;
  // In the tail that is what it holds; a lease that ended by itself is not claimed any more.
  want.keep_rate = live ? row.terms.rate : tail ? row.terms.tail_rate : 0;
  want.keep_burst = live ? row.terms.burst : tail ? row.terms.tail_burst : 0;
  want.spent_total = row.usage.spent_total - std::min(row.spent_base, row.usage.spent_total);
  want.refused_total =
      row.usage.refused_total - std::min(row.refused_base, row.usage.refused_total);
  row.told = {want.rate,
              want.need,
              want.keep_rate,
              want.keep_burst,
              row.usage.spent_total,
              row.usage.refused_total};
  row.must_tell = false;
  row.returned = 0;
}

void Desk::compose(TimeNs now_ns) {
  request_.session = session_;
  request_.seq = ++seq_;
  request_.accepted_seq = accepted_seq_;
  request_.wants.clear();
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    if (worth_telling(row)) fill_want(row, request_.wants.emplace_back());
  }
  if (now_ns < next_refresh_ns_) early_sent_ns_ = now_ns;
  first_sent_ns_ = last_sent_ns_ = now_ns;
  retry_ns_ = options_.retry_first_ns;
  in_flight_ = true;
  early_at_ns_ = kNever;
  ++counts_.requests_total;
}

const Request* Desk::next_request(TimeNs now_ns) {
  if (!mutants.talk_first) withdraw(now_ns);
  if (session_ == 0) return nullptr;
  if (in_flight_) {
    if (now_ns - last_sent_ns_ < retry_ns_) return nullptr;
    // The same bytes again: the server answers with the same decision.
    last_sent_ns_ = now_ns;
    retry_ns_ = jittered(std::min(2 * retry_ns_, options_.retry_most_ns));
    ++counts_.retries_total;
    return &request_;
  }
  if (now_ns < next_refresh_ns_ && (now_ns < early_at_ns_ || mutants.no_early)) return nullptr;
  compose(now_ns);
  return &request_;
}

TimeNs Desk::next_deadline(TimeNs now_ns) const {
  TimeNs at = earliest_end_ns_;
  if (greeting_) at = std::min(at, hello_sent_ns_ + hello_gap_ns_);
  if (session_ != 0)
    at = std::min(
        at, in_flight_ ? last_sent_ns_ + retry_ns_ : std::min(next_refresh_ns_, early_at_ns_));
  return std::max(at, now_ns);
}

}  // namespace weir::lease
