// A domain's limits as the operator wrote them, checked and with every default filled in.
// Pure data: the parser makes it, the publisher turns it into shared memory, the CLI prints it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "shm/layout.h"

namespace weir {

enum class CalendarUnit : std::uint32_t { none = 0, minute, hour, day, week, month };
enum class StripeMode : std::uint32_t { automatic = 0, on, off };

struct FallbackRule {
  shm::Fallback mode = shm::Fallback::local;
  std::uint64_t amount = 0;  // local: tokens a period; by default the limit's own rate
  std::uint64_t period_ns = 0;
  std::uint64_t burst = 0;
  std::uint64_t after_ms = 0;  // how long the limit's own rate goes on without the agent

  bool operator==(const FallbackRule&) const = default;
};

struct LimitRule {
  std::string name;
  std::string description;
  shm::Algorithm algorithm = shm::Algorithm::token_bucket;
  std::uint64_t amount = 0;     // tokens in each period; windows: tokens in each window
  std::uint64_t period_ns = 0;  // calendar windows: the unit's longest possible length
  std::uint64_t burst = 0;      // token bucket: burst; leaky bucket: slack; windows: amount
  CalendarUnit calendar = CalendarUnit::none;
  std::string timezone;  // IANA name; set when calendar is not none
  // Share of the bucket, in permille, that each class leaves to the classes above it, in the order
  // critical_plus, critical, sheddable_plus, sheddable.
  std::array<std::uint32_t, shm::kClasses> reserve_permille{};
  StripeMode stripes = StripeMode::automatic;
  FallbackRule fallback;
  int line = 0;  // where the limit stands in the file

  bool operator==(const LimitRule&) const = default;
};

}  // namespace weir
