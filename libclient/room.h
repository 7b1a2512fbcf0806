// The room that a concurrency limit leaves, and taking one permit of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "shm/toolkit.h"

namespace weir::client {

// How many may be in flight for a call of this class to be let in.
struct Room {
  const shm::ResourceRule* rule;
  std::int32_t priority_class;

  std::int64_t look(std::memory_order order) const noexcept {
    const std::uint64_t limit = std::min(rule->concurrency.load(order), shm::kPermitsMax);
    if (limit == 0) return static_cast<std::int64_t>(shm::kPermitsMax);
    const std::uint64_t reserve = rule->class_reserve[priority_class].load(order);
    return static_cast<std::int64_t>(reserve < limit ? limit - reserve : 0);
  }
};

struct NoStop {
  void operator()() const noexcept {}
};

// The limit may have been lowered, and what it gave up be another host's by now, between the look
// at it and the addition: a thread may be stopped there for any time. So it is looked at again. The
// agent stores the lower limit and then reads the total; this adds to the total and then reads the
// limit. All four are seq_cst, so that at least one of the two sees the other: with anything weaker
// both could read what was before.
// `stop` is called where a thread may be stopped for long, so that a test can do what others would
// do meanwhile.
template <class Stop = NoStop>
[[gnu::always_inline]] inline bool raise_total(shm::S64& total, const Room& room,
                                               const Stop& stop = {}) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const std::int64_t most = room.look(kRelaxed);
  stop();
  std::int64_t seen = total.load(kRelaxed);
  while (seen < most) {
    if (!total.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst, kRelaxed)) continue;
    if (seen < room.look(std::memory_order_seq_cst)) [[likely]]
      return true;
    total.fetch_sub(1, std::memory_order_acq_rel);
    return false;
  }
  return false;
}

}  // namespace weir::client
