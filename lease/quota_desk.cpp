// Keys in use: what is in their words, what is spent, what goes back.
#include "lease/quota_desk.h"

#include <algorithm>
#include <array>

namespace weir::lease {
namespace {

constexpr TimeNs kRateWindow = 500 * kMs;
constexpr std::size_t kRefundsMax = 100'000;

Units sum_in_word(const std::vector<QuotaKept::Mine>& chunks) noexcept {
  Units sum = 0;
  for (const QuotaKept::Mine& mine : chunks)
    if (mine.added && !mine.returned) sum += mine.granted;
  return sum;
}

}  // namespace

std::string_view to_text(QuotaService service) noexcept {
  static constexpr std::array<std::string_view, 8> kNames{"none",         "ok",         "exhausted",
                                                          "rate_limited", "suspended",  "expired",
                                                          "unknown_key",  "unreachable"};
  const auto index = static_cast<std::size_t>(service);
  return index < kNames.size() ? kNames[index] : kNames[0];
}

QuotaDesk::QuotaDesk(QuotaDeskOptions options)
    : options_(std::move(options)), random_(options_.seed) {
  if (options_.agent_epoch == 0) options_.agent_epoch = random_.next() | 1;
}

QuotaDesk::Row* QuotaDesk::row_of(const std::string& key) {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &rows_[found->second];
}

QuotaOrder& QuotaDesk::order(std::uint32_t slot) {
  for (QuotaOrder& one : orders_)
    if (one.slot == slot) return one;
  return orders_.emplace_back(QuotaOrder{slot});
}
void QuotaDesk::keep(std::uint32_t slot) { order(slot).keep = true; }

const std::vector<QuotaOrder>& QuotaDesk::take_orders() {
  told_orders_.clear();
  std::swap(told_orders_, orders_);
  return told_orders_;
}

void QuotaDesk::add_key(std::uint32_t slot, const std::string& key, TimeNs now_ns) {
  if (slot >= rows_.size()) rows_.resize(slot + 1);
  if (rows_[slot].used || index_.contains(key)) return;
  Row& row = rows_[slot];
  row = Row{};
  row.key = key;
  row.used = true;
  row.used_at_ns = row.rate_at_ns = now_ns;
  index_[key] = slot;
  if (const auto known = refunds_.find(key); known != refunds_.end()) {
    row.gen = known->second.first;
    row.refunded = known->second.second;
    refunds_.erase(known);
  }
  schedule(slot, now_ns);
}

void QuotaDesk::restore_key(std::uint32_t slot, const QuotaKept& kept, Units level, TimeNs now_ns) {
  add_key(slot, kept.key, now_ns);
  Row& row = rows_[slot];
  seq_ = std::max(seq_, kept.seq);
  row.chunks = kept.chunks;
  row.gen = kept.refund_gen;
  row.refunded = kept.refunded;
  row.ever = true;
  // An agent may have died between keeping a chunk and adding it, or between draining and keeping:
  // what is not in the word then counts as spent.
  row.level = std::max<Units>(0, level);
  row.told = false;
  spread(row, sum_in_word(row.chunks) - row.level);
  // How long they are valid is not known any more.
  row.valid_end_ns = earliest_end_ns_ = now_ns;
  add_waiting(slot, now_ns);
  schedule(slot, now_ns);
}

void QuotaDesk::drop_key(std::uint32_t slot, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].used) return;
  rows_[slot].leaving = true;
  drain(slot);
  finish(slot);
  schedule(slot, now_ns);
}

void QuotaDesk::leave(TimeNs now_ns) {
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot)
    drop_key(slot, now_ns);
}

void QuotaDesk::new_identity(TimeNs now_ns, std::uint64_t agent_epoch) {
  options_.agent_epoch = agent_epoch != 0 ? agent_epoch : random_.next() | 1;
  refunds_.clear();
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    Row& row = rows_[slot];
    if (!row.used) continue;
    row.chunks.clear();
    row.pending_seq = 0;
    row.refunded = 0;
    row.draining = true;  // what is in the word belongs to the other one
    order(slot).drain = true;
    keep(slot);
    schedule(slot, now_ns);
  }
}

QuotaKept QuotaDesk::kept(std::uint32_t slot) const {
  const Row& row = rows_[slot];
  return {row.key, options_.agent_epoch, seq_, row.gen, row.refunded, row.chunks};
}

QuotaDeskView QuotaDesk::view(std::uint32_t slot) const {
  QuotaDeskView view;
  if (slot >= rows_.size() || !rows_[slot].used) return view;
  const Row& row = rows_[slot];
  view.service = row.service;
  view.unspent = row.level;
  view.per_s = row.per_s;
  view.remaining_at_server = row.remaining;
  view.valid_end_ns = row.valid_end_ns;
  view.ask_after_ns = row.ask_after_ns;
  view.chunks = row.chunks.size();
  view.waiting = row.pending_seq != 0;
  return view;
}

// ------------------------------------------------------------------ spending

// Of all units that were added and are not there any more, the oldest chunk's went first. A word
// that somebody filled up by himself does not undo what was counted.
void QuotaDesk::spread(Row& row, Units spent) {
  for (Mine& mine : row.chunks) {
    if (!mine.added || mine.returned) continue;
    const Units of_this = std::clamp<Units>(spent, 0, mine.granted);
    spent -= of_this;
    mine.spent = std::max(mine.spent, of_this);
    if (mine.spent == mine.granted) mine.returned = true;
  }
}

void QuotaDesk::count(std::uint32_t slot, Units spent, TimeNs now_ns) {
  Row& row = rows_[slot];
  Units before = 0, after = 0;
  for (const Mine& mine : row.chunks)
    before += mine.spent;
  spread(row, spent);
  for (const Mine& mine : row.chunks)
    after += mine.spent;
  if (after == before) return;
  row.spent_since += after - before;
  row.used_at_ns = now_ns;
  row.told = false;
}

void QuotaDesk::observe(std::uint32_t slot, const QuotaUse& use, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].used || rows_[slot].draining) return;
  Row& row = rows_[slot];
  row.level = std::max<Units>(0, use.level);
  count(slot, sum_in_word(row.chunks) - row.level, now_ns);
  row.need = use.need;
  if (row.need > 0) row.used_at_ns = now_ns;
  if (use.refunded_total > row.refunded_seen) {
    row.refunded += use.refunded_total - row.refunded_seen;
    row.refunded_seen = use.refunded_total;
    row.told = false;
    keep(slot);
  }
  const TimeNs elapsed_ns = now_ns - row.rate_at_ns;
  if (elapsed_ns >= kRateWindow) {
    const Units wanted = row.spent_since + std::max<Units>(0, row.need - row.level);
    const Units per_s = mul_div(wanted, kSecond, elapsed_ns);
    // Up at once, down by halves.
    row.per_s = std::max(per_s, row.per_s / 2);
    row.spent_since = 0;
    row.rate_at_ns = now_ns;
  }
  if (row.level > 0 && now_ns - row.used_at_ns >= options_.idle_ns && !mutants.hoard) drain(slot);
  schedule(slot, now_ns);
}

// ------------------------------------------------------------------ what goes back

// Nothing may be spent once a return is said: first the word is emptied.
void QuotaDesk::drain(std::uint32_t slot) {
  Row& row = rows_[slot];
  if (row.draining || sum_in_word(row.chunks) == 0) return;
  if (mutants.return_unfrozen) {
    for (Mine& mine : row.chunks)
      mine.returned = true;
    row.told = false;
    return;
  }
  row.draining = true;
  order(slot).drain = true;
}

void QuotaDesk::drained(std::uint32_t slot, Units taken, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].draining) return;
  Row& row = rows_[slot];
  row.draining = false;
  count(slot, sum_in_word(row.chunks) - std::max<Units>(0, taken), now_ns);
  for (Mine& mine : row.chunks)
    if (mine.added) mine.returned = true;
  if (mutants.forget_early)
    std::erase_if(row.chunks, [](const Mine& mine) { return mine.returned; });
  row.level = 0;
  row.told = false;
  row.retry_at_ns = now_ns;
  row.retry_ns = options_.retry_first_ns;
  keep(slot);
  add_waiting(slot, now_ns);
  finish(slot);
  schedule(slot, now_ns);
}

// Chunks that came since: they go into the word, or back at once where they are of no use.
void QuotaDesk::add_waiting(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  for (Mine& mine : row.chunks) {
    if (mine.added || mine.returned) continue;
    const bool stale = mine.gen != row.gen || row.valid_end_ns <= now_ns;
    if (row.leaving || (stale && !mutants.mix_generations && !mutants.never_invalid)) {
      mine.returned = true;
      row.told = false;
    } else {
      mine.added = true;
      earliest_end_ns_ = std::min(earliest_end_ns_, row.valid_end_ns);
      row.level += mine.granted;
      order(slot).add += mine.granted;
    }
    keep(slot);
  }
}

void QuotaDesk::consider_giving_back(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (mutants.hoard || row.given_back_ns + options_.give_back_gap_ns > now_ns) return;
  if (row.level <= row.per_s / 4 || row.level <= row.need) return;
  row.given_back_ns = now_ns;
  drain(slot);
}

void QuotaDesk::withdraw(TimeNs now_ns) {
  if (mutants.never_invalid || now_ns < earliest_end_ns_) return;
  earliest_end_ns_ = kNever;
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    Row& row = rows_[slot];
    if (!row.used || row.draining || sum_in_word(row.chunks) == 0) continue;
    if (row.valid_end_ns > now_ns) {
      earliest_end_ns_ = std::min(earliest_end_ns_, row.valid_end_ns);
      continue;
    }
    row.service = QuotaService::unreachable;
    drain(slot);
    schedule(slot, now_ns);
  }
}

void QuotaDesk::finish(std::uint32_t slot) {
  Row& row = rows_[slot];
  if (!row.leaving || row.pending_seq != 0 || row.draining || !row.chunks.empty()) return;
  // A chunk that came when nobody waited any more is denied by one last word.
  if (!row.told) orphans_.push_back(row.key);
  if (row.due_ns != kNever) due_.erase({row.due_ns, slot});
  index_.erase(row.key);
  if (row.refunded > 0 && refunds_.size() < kRefundsMax)
    refunds_[row.key] = {row.gen, row.refunded};
  row = Row{};
  order(slot).gone = true;
}

}  // namespace weir::lease
