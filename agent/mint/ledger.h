// The agent's own memory of a domain: which limit lives in which slot, and the few facts that a
// restarted agent cannot find again in the counters. It lies in a memfd that is never handed to a
// client and is kept in the service manager's descriptor store, beside the counters.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "agent/mint/sliding.h"
#include "shm/layout.h"

namespace weir::agent {

inline constexpr std::uint64_t kLedgerMagic = 0x3152474445495257ULL;
inline constexpr std::uint32_t kLedgerVersion = 1;
// How long a removed limit's slot rests: no call that still uses it is under way after that.
inline constexpr std::int64_t kSlotRestNs = 60'000'000'000;

struct LedgerSlot {
  char name[shm::kNameBytesMax + 1];
  std::uint32_t state;  // shm::SlotState
  std::uint32_t generation;
  std::int64_t removed_mono_ns;
  std::uint32_t algorithm;
  std::uint32_t stripe_set;
  std::uint64_t period_ns;
  std::uint64_t burst;
  std::int64_t edge_mono_ns;
  std::int64_t edge_wall_s;     // calendar windows: the wall time of edge_mono_ns
  std::int64_t crossed_wall_s;  // calendar windows: the newest edge whose window was granted
  std::uint64_t book_word;      // sliding windows: as this agent wrote it last
  std::uint64_t level;          // and the level that it stands for, not rounded
  SlidingRecord sliding;

  std::string_view name_view() const noexcept { return {name, ::strnlen(name, sizeof(name))}; }
};

struct LedgerHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t limits_max;
  std::uint32_t stripe_cells;  // sets times CPUs
  std::uint32_t slot_bytes;
  std::uint64_t counters_id;
};

class Ledger {
 public:
  Ledger() noexcept = default;
  Ledger(std::byte* base, std::uint32_t limits_max, std::uint32_t stripe_cells) noexcept
      : base_(base), limits_max_(limits_max), stripe_cells_(stripe_cells) {}

  static std::size_t bytes(std::uint32_t limits_max, std::uint32_t stripe_cells) noexcept {
    return sizeof(LedgerHeader) + sizeof(LedgerSlot) * limits_max +
           sizeof(std::uint64_t) * stripe_cells;
  }
  LedgerHeader& header() const noexcept { return *reinterpret_cast<LedgerHeader*>(base_); }
  LedgerSlot& slot(std::uint32_t index) const noexcept {
    return reinterpret_cast<LedgerSlot*>(base_ + sizeof(LedgerHeader))[index];
  }
  // What was granted to each stripe cell: the clients' copy is theirs to spoil.
  std::uint64_t& granted(std::uint32_t cell) const noexcept {
    return reinterpret_cast<std::uint64_t*>(base_ + sizeof(LedgerHeader) +
                                            sizeof(LedgerSlot) * limits_max_)[cell];
  }
  void format(std::uint64_t counters_id) const noexcept {
    header() = {kLedgerMagic,  kLedgerVersion,     limits_max_,
                stripe_cells_, sizeof(LedgerSlot), counters_id};
  }
  // Whether this memory is a ledger for just those counters.
  bool fits(std::uint64_t counters_id) const noexcept {
    const LedgerHeader& h = header();
    return h.magic == kLedgerMagic && h.version == kLedgerVersion && h.limits_max == limits_max_ &&
           h.stripe_cells == stripe_cells_ && h.slot_bytes == sizeof(LedgerSlot) &&
           h.counters_id == counters_id;
  }

 private:
  std::byte* base_ = nullptr;
  std::uint32_t limits_max_ = 0;
  std::uint32_t stripe_cells_ = 0;
};

}  // namespace weir::agent
