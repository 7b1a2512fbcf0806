// The slots of keys in use: which key lies where, its words, and what a successor has to know.
//
// Words that clients write are taken for hostile: units that nobody put in are taken out again.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/quota/ledger.h"
#include "lease/quota_desk.h"
#include "shm/quota.h"

namespace weir::agent {

// Everything that a table lies in. Of segments that this process may write.
struct QuotaPlace {
  shm::QuotaView view;
  std::byte* rules = nullptr;
  QuotaLedger ledger;
};

class QuotaTable {
 public:
  // What lies in the slots and is of `agent_epoch` goes on; all else is emptied and given up.
  QuotaTable(const QuotaPlace& place, std::uint64_t agent_epoch);

  // Keys that went on: to be given to the desk.
  struct Restored {
    std::uint32_t slot;
    lease::QuotaKept kept;
  };
  std::vector<Restored> take_restored() { return std::move(restored_); }

  std::optional<std::uint32_t> find(const std::string& joined) const;
  // None: no slot is free, or no place in the index.
  std::optional<std::uint32_t> take(const std::string& joined);
  void close(std::uint32_t slot);  // no process finds it any more
  void free(std::uint32_t slot);

  // Cuts what is forged, notes what was consumed.
  std::uint64_t level(std::uint32_t slot);
  void add(std::uint32_t slot, std::uint64_t units);
  std::uint64_t drain(std::uint32_t slot);
  std::uint64_t refunded(std::uint32_t slot) const;  // since the key was added or restored
  // Counts a refund for units of a key that had lost its slot meanwhile. False: the word is written
  // all the time, and nothing was counted.
  bool add_refund(std::uint32_t slot, std::uint64_t units);
  void note_refund_seen(std::uint32_t slot, std::uint64_t refunded);
  std::uint64_t wanted(std::uint32_t slot) const;
  void want(std::uint32_t slot, std::uint64_t units);
  void clear_wanted(std::uint32_t slot);
  std::uint64_t attributed(std::uint32_t slot) const;
  bool touched(std::uint32_t slot);  // a word has changed since the last call

  void keep(std::uint32_t slot, const lease::QuotaKept& kept);
  void publish(std::uint32_t slot, const lease::QuotaDeskView& view, std::int64_t until_mono_ns);
  void wake(std::uint32_t slot);  // whoever waits for this key looks again
  void wake_all();
  void set_serving(bool serving);
  void set_usage(std::uint64_t rows, std::uint64_t rows_max, bool full);

  QuotaLedgerSlot& kept_of(std::uint32_t slot) { return place_.ledger.slot(slot); }
  const QuotaLedgerSlot& kept_of(std::uint32_t slot) const { return place_.ledger.slot(slot); }
  QuotaLedgerHeader& kept_header() { return place_.ledger.header(); }
  bool used(std::uint32_t slot) const { return slots_[slot].used; }
  bool open(std::uint32_t slot) const { return slots_[slot].open; }
  std::uint32_t generation(std::uint32_t slot) const { return slots_[slot].generation; }
  const std::string& joined(std::uint32_t slot) const { return slots_[slot].joined; }
  std::uint32_t keys_max() const { return static_cast<std::uint32_t>(slots_.size()); }
  std::uint32_t keys() const { return keys_; }
  const std::vector<std::uint32_t>& in_use() const { return in_use_; }
  std::uint64_t forged_total() const { return forged_total_; }
  std::uint64_t refused_total() const { return sum(&shm::QuotaCounter::refused_total); }
  std::uint64_t dropped_total() const { return sum(&shm::QuotaCounter::dropped_total); }

 private:
  struct Slot {
    bool used = false, open = false;
    std::uint32_t generation = 0;
    std::uint32_t at = 0;  // in in_use_
    std::uint64_t hash = 0;
    std::uint64_t cell = 0;
    std::uint64_t refund_base = 0;
    std::uint64_t seen_units = 0, seen_wanted = 0, seen_refunded = 0;
    std::string joined;
  };

  bool restore(std::uint32_t slot, std::uint64_t agent_epoch);
  void empty(std::uint32_t slot, std::uint32_t generation);
  bool enter(std::uint32_t slot, std::string_view name, std::string_view key);
  shm::QuotaSlot& rule(std::uint32_t slot) const;
  shm::QuotaBoard& board() const;
  shm::A64& cell(std::uint64_t at) const;
  shm::A32& event(std::uint64_t hash) const;
  std::uint64_t sum(shm::A64 shm::QuotaCounter::*word) const;

  QuotaPlace place_;
  std::vector<Slot> slots_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::vector<std::uint32_t> in_use_;
  std::deque<std::uint32_t> free_;
  std::vector<Restored> restored_;
  std::uint32_t keys_ = 0;
  std::uint64_t forged_total_ = 0;
};

}  // namespace weir::agent
