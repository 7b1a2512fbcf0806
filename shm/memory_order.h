// The one order that most loads and stores of counters need, by a short name.
#pragma once

#include <atomic>

namespace weir {

inline constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace weir
