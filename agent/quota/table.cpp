#include "agent/quota/table.h"

#include <climits>
#include <cstring>

#include "shm/futex.h"
#include "shm/memory_order.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

std::uint64_t value_of(const A64& word, std::uint32_t generation) noexcept {
  const std::uint64_t now = word.load(kRelaxed);
  return quota_is_of(now, generation) ? quota_value(now) : 0;
}

lease::QuotaKept kept_from(const QuotaLedgerSlot& slot) {
  const QuotaLedgerSlot::Copy& copy = slot.copies[slot.whole - 1];
  lease::QuotaKept kept;
  kept.key = lease::quota_key(slot.name(), slot.key());
  kept.agent_epoch = copy.agent_epoch;
  kept.seq = copy.seq;
  kept.refund_gen = copy.refund_gen;
  kept.refunded = copy.refunded;
  for (std::uint32_t i = 0; i < copy.chunks; ++i) {
    const auto& mine = copy.mine[i];
    kept.chunks.push_back(
        {mine.seq, mine.gen, mine.granted, mine.spent, mine.added != 0, mine.returned != 0});
  }
  return kept;
}

bool sane(const QuotaLedgerSlot& slot) noexcept {
  return (slot.whole == 1 || slot.whole == 2) && slot.name_bytes != 0 &&
         slot.name_bytes <= kQuotaNameMax && slot.key_bytes != 0 &&
         slot.key_bytes <= kQuotaKeyMax && slot.copies[slot.whole - 1].chunks <= lease::kChunksMax;
}

}  // namespace

QuotaTable::QuotaTable(const QuotaPlace& place, std::uint64_t agent_epoch)
    : place_(place), slots_(place.view.keys_max()) {
  for (std::uint64_t at = 0; at < place_.view.geometry().cells(); ++at)
    cell(at).store(0, kRelaxed);
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
    if (!restore(slot, agent_epoch)) {
      empty(slot, place_.ledger.slot(slot).generation + 1);
      free_.push_back(slot);
    }
}

bool QuotaTable::restore(std::uint32_t slot, std::uint64_t agent_epoch) {
  QuotaLedgerSlot& kept = place_.ledger.slot(slot);
  if (!sane(kept) || kept.copies[kept.whole - 1].agent_epoch != agent_epoch) return false;
  Slot& s = slots_[slot];
  s.joined = lease::quota_key(kept.name(), kept.key());
  s.generation = kept.generation;
  s.used = true;
  s.refund_base = kept.copies[kept.whole - 1].refund_seen;
  if (index_.contains(s.joined) || !enter(slot, kept.name(), kept.key())) {
    s = Slot{};
    return false;
  }
  restored_.push_back({slot, kept_from(kept)});
  return true;
}

// From here on no caller that looked before can take anything.
void QuotaTable::empty(std::uint32_t slot, std::uint32_t generation) {
  QuotaLedgerSlot& kept = place_.ledger.slot(slot);
  rule(slot).hot.store(hot_word(generation, 0), std::memory_order_release);
  kept.whole = 0;
  settle();
  kept.generation = generation;
  settle();
  kept.given = kept.expected = kept.audited = kept.reported = 0;
  QuotaCounter& counter = place_.view.counter(slot);
  for (A64* word : {&counter.units, &counter.refunded, &counter.wanted, &counter.attributed})
    word->store(quota_word(generation, 0), std::memory_order_seq_cst);
  slots_[slot].generation = generation;
}

std::optional<std::uint32_t> QuotaTable::find(const std::string& joined) const {
  const auto found = index_.find(joined);
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint32_t> QuotaTable::take(const std::string& joined) {
  if (free_.empty()) return std::nullopt;
  const std::uint32_t slot = free_.front();
  const auto [name, key] = lease::split_quota_key(joined);
  Slot& s = slots_[slot];
  s.joined = joined;
  s.used = true;
  s.refund_base = s.seen_units = s.seen_wanted = s.seen_refunded = 0;
  if (!enter(slot, name, key)) {
    const std::uint32_t generation = s.generation;
    s = Slot{};
    s.generation = generation;
    return std::nullopt;
  }
  free_.pop_front();
  QuotaLedgerSlot& kept = place_.ledger.slot(slot);
  kept.name_bytes = static_cast<std::uint32_t>(name.size());
  kept.key_bytes = static_cast<std::uint32_t>(key.size());
  std::memcpy(kept.text, name.data(), name.size());
  std::memcpy(kept.text + name.size(), key.data(), key.size());
  return slot;
}

// Writes the key into the slot, whose words are of its generation already, and then shows it.
bool QuotaTable::enter(std::uint32_t slot, std::string_view name, std::string_view key) {
  Slot& s = slots_[slot];
  const QuotaName quota(name);
  const QuotaText text(key.data(), key.size());
  s.hash = place_.view.hash(quota, text);
  std::uint64_t at = 0;
  for (; at < kQuotaProbes; ++at) {
    const std::uint64_t held = cell(s.hash + at).load(kRelaxed);
    if (held == 0 || held == kQuotaCellGone) break;
  }
  if (at == kQuotaProbes) return false;
  QuotaSlot& r = rule(slot);
  r.hash.store(s.hash, kRelaxed);
  r.name_bytes.store(quota.bytes, kRelaxed);
  r.key_bytes.store(static_cast<std::uint32_t>(key.size()), kRelaxed);
  // Calls compare two words at least.
  for (std::size_t i = 0; i < 2 || i * 8 < name.size(); ++i)
    r.name[i].store(quota.words[i], kRelaxed);
  for (std::size_t i = 0; i < 2 || i * 8 < key.size(); ++i)
    r.key[i].store(text.word(i), kRelaxed);
  r.service.store(0, kRelaxed);
  r.until_mono_ns.store(0, kRelaxed);
  r.remaining.store(0, kRelaxed);
  // release: who sees the generation sees its key.
  r.hot.store(hot_word(s.generation, kQuotaActive), std::memory_order_release);
  s.cell = s.hash + at;
  cell(s.cell).store(quota_cell(s.hash, slot), std::memory_order_release);
  s.open = true;
  s.at = static_cast<std::uint32_t>(in_use_.size());
  in_use_.push_back(slot);
  index_[s.joined] = slot;
  ++keys_;
  board().keys.store(keys_, kRelaxed);
  return true;
}

void QuotaTable::close(std::uint32_t slot) {
  Slot& s = slots_[slot];
  if (!s.open) return;
  s.open = false;
  rule(slot).hot.store(hot_word(s.generation, 0), std::memory_order_release);
}

void QuotaTable::free(std::uint32_t slot) {
  Slot& s = slots_[slot];
  if (!s.used) return;
  close(slot);
  cell(s.cell).store(kQuotaCellGone, std::memory_order_release);
  index_.erase(s.joined);
  in_use_[s.at] = in_use_.back();
  slots_[in_use_[s.at]].at = s.at;
  in_use_.pop_back();
  const std::uint32_t generation = s.generation + 1;
  s = Slot{};
  empty(slot, generation);
  free_.push_back(slot);
  --keys_;
  board().keys.store(keys_, kRelaxed);
}

// ---- the words

std::uint64_t QuotaTable::level(std::uint32_t slot) {
  std::uint64_t& expected = place_.ledger.slot(slot).expected;
  return expected = quota_cut(place_.view.counter(slot).units, slots_[slot].generation, expected,
                              forged_total_);
}

void QuotaTable::add(std::uint32_t slot, std::uint64_t units) {
  // The ledger first: a successor then sees at worst that these units were spent.
  QuotaLedgerSlot& kept = place_.ledger.slot(slot);
  kept.given += units;
  settle();
  kept.expected += units;
  settle();
  (void)quota_add(place_.view.counter(slot).units, slots_[slot].generation, units);
}

std::uint64_t QuotaTable::drain(std::uint32_t slot) {
  const std::uint32_t generation = slots_[slot].generation;
  QuotaLedgerSlot& kept = place_.ledger.slot(slot);
  const std::uint64_t before = place_.view.counter(slot).units.exchange(quota_word(generation, 0),
                                                                        std::memory_order_acq_rel);
  std::uint64_t taken = quota_is_of(before, generation) ? quota_value(before) : 0;
  if (taken > kept.expected) {
    ++forged_total_;
    taken = kept.expected;
  }
  // In between, a successor's first look finds the word empty, and the rest consumed.
  kept.given -= taken;
  settle();
  kept.expected = 0;
  return taken;
}

std::uint64_t QuotaTable::refunded(std::uint32_t slot) const {
  const Slot& s = slots_[slot];
  const std::uint64_t all = value_of(place_.view.counter(slot).refunded, s.generation);
  return all > s.refund_base ? all - s.refund_base : 0;
}

bool QuotaTable::add_refund(std::uint32_t slot, std::uint64_t units) {
  return quota_add(place_.view.counter(slot).refunded, slots_[slot].generation, units);
}

void QuotaTable::note_refund_seen(std::uint32_t slot, std::uint64_t refunded) {
  slots_[slot].seen_refunded = refunded;
}

std::uint64_t QuotaTable::wanted(std::uint32_t slot) const {
  return value_of(place_.view.counter(slot).wanted, slots_[slot].generation);
}
void QuotaTable::want(std::uint32_t slot, std::uint64_t units) {
  (void)quota_want(place_.view.counter(slot).wanted, slots_[slot].generation, units);
}
void QuotaTable::clear_wanted(std::uint32_t slot) {
  place_.view.counter(slot).wanted.store(quota_word(slots_[slot].generation, 0),
                                         std::memory_order_seq_cst);
}
std::uint64_t QuotaTable::attributed(std::uint32_t slot) const {
  return value_of(place_.view.counter(slot).attributed, slots_[slot].generation);
}

bool QuotaTable::touched(std::uint32_t slot) {
  Slot& s = slots_[slot];
  const QuotaCounter& counter = place_.view.counter(slot);
  const std::uint64_t units = counter.units.load(kRelaxed);
  const std::uint64_t wanted = counter.wanted.load(kRelaxed);
  const std::uint64_t refunded = counter.refunded.load(kRelaxed);
  const bool changed =
      units != s.seen_units || wanted != s.seen_wanted || quota_value(refunded) != s.seen_refunded;
  s.seen_units = units;
  s.seen_wanted = wanted;
  return changed;
}

// ---- what a successor and the processes see

void QuotaTable::keep(std::uint32_t slot, const lease::QuotaKept& kept) {
  QuotaLedgerSlot& to = place_.ledger.slot(slot);
  const std::uint32_t other = to.whole == 1 ? 2 : 1;
  QuotaLedgerSlot::Copy& copy = to.copies[other - 1];
  copy.agent_epoch = kept.agent_epoch;
  copy.seq = kept.seq;
  copy.refund_gen = kept.refund_gen;
  copy.refunded = kept.refunded;
  copy.refund_seen = slots_[slot].refund_base + slots_[slot].seen_refunded;
  copy.chunks = 0;
  for (const lease::QuotaKept::Mine& mine : kept.chunks) {
    if (copy.chunks == lease::kChunksMax) break;
    copy.mine[copy.chunks++] = {
        mine.seq, mine.gen, mine.granted, mine.spent, mine.added ? 1U : 0, mine.returned ? 1U : 0};
  }
  settle();
  to.whole = other;
  settle();
}

void QuotaTable::publish(std::uint32_t slot, const lease::QuotaDeskView& view,
                         std::int64_t until_mono_ns) {
  QuotaSlot& r = rule(slot);
  r.remaining.store(static_cast<std::uint64_t>(std::max<lease::Units>(0, view.remaining_at_server)),
                    kRelaxed);
  r.until_mono_ns.store(until_mono_ns, kRelaxed);
  r.answers.fetch_add(1, kRelaxed);
  // release: what it is said with is there.
  r.service.store(static_cast<std::uint32_t>(view.service), std::memory_order_release);
}

void QuotaTable::wake(std::uint32_t slot) {
  A32& word = event(slots_[slot].hash);
  word.fetch_add(1, std::memory_order_seq_cst);
  futex_wake_all(word);
}

void QuotaTable::wake_all() {
  for (std::uint64_t i = 0; i < kQuotaEvents; ++i) {
    event(i).fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(event(i));
  }
}

void QuotaTable::set_serving(bool serving) {
  board().serving.store(serving ? 1 : 0, std::memory_order_release);
}

void QuotaTable::set_usage(std::uint64_t rows, std::uint64_t rows_max, bool full) {
  board().usage_rows.store(rows, kRelaxed);
  board().usage_rows_max.store(rows_max, kRelaxed);
  board().usage_full.store(full ? 1 : 0, kRelaxed);
}

QuotaSlot& QuotaTable::rule(std::uint32_t slot) const {
  return reinterpret_cast<QuotaSlot*>(place_.rules + place_.view.geometry().slot_offset())[slot];
}
QuotaBoard& QuotaTable::board() const {
  return *reinterpret_cast<QuotaBoard*>(place_.rules + place_.view.geometry().rules_begin);
}
A64& QuotaTable::cell(std::uint64_t at) const {
  const QuotaGeometry& g = place_.view.geometry();
  return reinterpret_cast<A64*>(place_.rules + g.cell_offset())[at & (g.cells() - 1)];
}
A32& QuotaTable::event(std::uint64_t hash) const {
  return reinterpret_cast<A32*>(place_.rules +
                                place_.view.geometry().event_offset())[hash & (kQuotaEvents - 1)];
}

std::uint64_t QuotaTable::sum(A64 QuotaCounter::*word) const {
  std::uint64_t total = 0;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
    total += (place_.view.counter(slot).*word).load(kRelaxed);
  return total;
}

}  // namespace weir::agent
