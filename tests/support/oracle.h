// The oracle: over every window, admitted <= burst + rate x window.
//
// An admission counts at some instant inside its call, and the system may choose which. So a call
// counts in a window only if it must lie inside it: begin and end both do. Every window that could
// be broken starts at some call's begin and ends at some call's end; all such pairs are looked at,
// in O(n log n), in whole numbers, so that one token too much is one token too much.
#pragma once

#include <cstdint>
#include <vector>

namespace weir::test {

struct Admission {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::uint64_t tokens = 1;
};

struct OracleRule {
  std::uint64_t amount = 0;  // tokens in each period
  std::uint64_t period_ns = 1'000'000'000;
  std::uint64_t burst = 0;  // and whatever slack is documented
};

struct OracleVerdict {
  bool holds = true;
  double over_tokens = 0;  // of the worst window, over the bound; negative: room left
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;
  std::uint64_t admitted = 0;  // in all
};

OracleVerdict check_bound(std::vector<Admission> admissions, const OracleRule& rule);

}  // namespace weir::test
