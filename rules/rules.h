// A domain's limits as the operator wrote them, checked and with every default filled in.
// Pure data: the parser makes it, the publisher turns it into shared memory, the CLI prints it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "shm/layout.h"

namespace weir {

// What is wrong with a file, and where. Line 0: the file as a whole. Lines and columns count from
// 1, columns in characters.
struct Problem {
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;

  bool operator==(const Problem&) const = default;
};
std::string to_string(const Problem& problem);  // "file:line:column: message"

enum class CalendarUnit : std::uint32_t { none = 0, minute, hour, day, week, month };
enum class StripeMode : std::uint32_t { automatic = 0, on, off };

enum class LimitScope : std::uint32_t { host = 0, cluster };
enum class LimitThreshold : std::uint32_t { global = 0, per_host };

struct FallbackRule {
  shm::Fallback mode = shm::Fallback::local;
  std::uint64_t amount = 0;  // local: tokens a period; by default the limit's own rate
  std::uint64_t period_ns = 0;
  std::uint64_t burst = 0;
  // How long the limit's own rate goes on without the agent. Of a cluster's limit the lease and its
  // tail say that, and this is 0.
  std::uint64_t after_ms = 0;
  // Of a cluster's limit, local without a rate: amount and burst are the whole limit's, to be
  // divided by the number of hosts that was known last.
  bool divided = false;

  bool operator==(const FallbackRule&) const = default;
};

// How much of a limit the hosts get whose name matches; the first match counts.
struct HostShare {
  std::string match;  // '*' stands for any number of characters
  std::uint32_t weight = 1;
  std::uint32_t band = 0;          // the higher one is served first
  std::uint64_t floor_amount = 0;  // served before any band; 0: none
  std::uint64_t floor_period_ns = 0;

  bool operator==(const HostShare&) const = default;
};

// What a limit needs besides when the whole cluster shares it.
struct ClusterLimit {
  // per_host: rate and burst are multiplied by the live hosts. Leased like any other.
  LimitThreshold threshold = LimitThreshold::global;
  std::string parent;  // the limit that this one is a part of; empty: none
  // Among the limits of one parent.
  std::uint32_t weight = 1;
  std::uint32_t band = 0;
  std::uint64_t floor_amount = 0;
  std::uint64_t floor_period_ns = 0;
  std::vector<HostShare> hosts;

  bool operator==(const ClusterLimit&) const = default;
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
  LimitScope scope = LimitScope::host;
  ClusterLimit cluster;  // of meaning for scope cluster alone
  int line = 0;          // where the limit stands in the file

  bool operator==(const LimitRule&) const = default;
};

}  // namespace weir
