// From what the lease desk says of a limit to what is minted here and, should this process die,
// what clients mint without it. Pure.
#pragma once

#include <cstdint>

#include "lease/desk.h"
#include "rules/rules.h"
#include "shm/mint.h"

namespace weir::agent {

// A lease's rate is a number of micro-tokens a second: so many tokens in so many seconds.
inline constexpr std::uint64_t kLeasePeriodNs = 1'000'000'000'000'000;
// A bucket that lets everything through while the agent lives.
inline constexpr std::uint64_t kOpenPeriodNs = 1'000'000;

struct TermsContext {
  std::int64_t mono_minus_boot_ns = 0;  // as read a moment ago: the clocks part in a suspend
  std::uint32_t hosts = 1;              // that were known last
  bool fallback = false;                // the rule's fallback is in force now
  // A limit without a lease: when its fallback may begin if no server is heard any more.
  std::int64_t fallback_from_boot_ns = 0;
};

shm::LimitTerms lease_terms(const LimitRule& rule, const lease::LeaseView& view,
                            const TermsContext& context) noexcept;

// What the rule gives this host when nobody divides the limit.
struct LocalRate {
  std::uint64_t amount = 0;
  std::uint64_t period_ns = 1;
  std::uint64_t burst = 0;
};
LocalRate local_rate(const LimitRule& rule, std::uint32_t hosts) noexcept;

}  // namespace weir::agent
