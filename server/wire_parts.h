// What the translations of all kinds of messages share.
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::server {

// Of an amount or a time that is never negative.
constexpr std::uint64_t to_bits(std::int64_t value) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value));
}

// Whether every column has a value for each row.
template <class... Columns>
bool all_have(int rows, const Columns&... columns) noexcept {
  return ((columns.size() == rows) && ...);
}

}  // namespace weir::server
