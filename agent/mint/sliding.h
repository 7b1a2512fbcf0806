// What was spent from a sliding window, and when. Pure: levels and times in, tokens out.
//
// The window is cut into cells; each remembers what was spent in it. A cell's tokens come back when
// the whole cell has left the window, so a token is out for at least the window and at most one
// cell more. What is spent is noted at the time read after the level, never before it: an older
// time would bring a token back early.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace weir::agent {

inline constexpr std::uint32_t kSlidingCells = 256;

// Lives in the ledger, so that a restarted agent still knows what was spent when.
struct SlidingRecord {
  std::int64_t window_ns = 0;
  std::int64_t cell_index = 0;  // time / cell length of the newest cell
  std::uint64_t total = 0;      // spent and not yet back: the sum of the cells
  std::array<std::uint64_t, kSlidingCells> cells{};
};

inline std::int64_t sliding_cell_ns(const SlidingRecord& record) noexcept {
  // One cell fewer than there are: the newest one is still being filled.
  return std::max<std::int64_t>(1, (record.window_ns + kSlidingCells - 3) / (kSlidingCells - 2));
}

// Lets cells that have left the window go; returns what came back.
inline std::uint64_t sliding_expire(SlidingRecord& record, std::int64_t now_ns) noexcept {
  const std::int64_t index = now_ns / sliding_cell_ns(record);
  if (index <= record.cell_index) return 0;
  const std::int64_t steps =
      std::min<std::int64_t>(index - record.cell_index, std::int64_t{kSlidingCells});
  std::uint64_t back = 0;
  for (std::int64_t i = 1; i <= steps; ++i) {
    const std::int64_t cell = index - steps + i;
    std::uint64_t& spent = record.cells[static_cast<std::size_t>(cell % kSlidingCells)];
    back += spent;
    spent = 0;
  }
  record.cell_index = index;
  record.total -= std::min(record.total, back);
  return back;
}

// Whether a cell may have left the window.
inline bool sliding_due(const SlidingRecord& record, std::int64_t now_ns) noexcept {
  return record.total > 0 && now_ns / sliding_cell_ns(record) > record.cell_index;
}

// Notes that `tokens` were spent up to now. Expire first.
inline void sliding_spend(SlidingRecord& record, std::uint64_t tokens) noexcept {
  record.cells[static_cast<std::size_t>(record.cell_index % kSlidingCells)] += tokens;
  record.total += tokens;
}

// Takes refunded tokens out of the record, the latest spent first; returns how many there were.
inline std::uint64_t sliding_refund(SlidingRecord& record, std::uint64_t tokens) noexcept {
  std::uint64_t found = 0;
  for (std::uint32_t i = 0; i < kSlidingCells && found < tokens; ++i) {
    const std::int64_t index = record.cell_index - static_cast<std::int64_t>(i);
    if (index < 0) break;
    std::uint64_t& spent = record.cells[static_cast<std::size_t>(index % kSlidingCells)];
    const std::uint64_t take = std::min(spent, tokens - found);
    spent -= take;
    found += take;
  }
  record.total -= std::min(record.total, found);
  return found;
}

// Starts anew with `outstanding` tokens taken as spent this instant: nothing is known of when.
inline void sliding_reset(SlidingRecord& record, std::int64_t window_ns, std::uint64_t outstanding,
                          std::int64_t now_ns) noexcept {
  record = SlidingRecord{};
  record.window_ns = window_ns;
  record.cell_index = now_ns / sliding_cell_ns(record);
  sliding_spend(record, outstanding);
}

}  // namespace weir::agent
