// What an operator says of the resources that a host protects: how much may be in flight, when to
// shed, when to break off, how often to try again, what to give up first. Pure data, checked and
// with every default filled in; durations in nanoseconds, shares in thousandths.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shm/layout.h"

namespace weir {

// Parts of tenants included. An agent has room for as many as it was told to make; see its options.
inline constexpr std::size_t kResourcesPerDomainMax = 16'384;
inline constexpr std::size_t kResourcesPerDomainDefault = 512;
inline constexpr std::size_t kTenantsMax = 64;  // of one resource
inline constexpr std::size_t kDegradesPerDomainMax = 16;
inline constexpr std::size_t kDegradeLevelsPerRuleMax = 8;
inline constexpr std::size_t kFeaturesPerDomainMax = 128;
inline constexpr std::uint64_t kConcurrencyMax = 65'534;  // what a shedder's word can say
inline constexpr std::size_t kTenantNameBytesMax = 63;

// A part of a resource that has a bound of its own. Clients know it as "resource/tenant".
struct TenantConfig {
  std::string name;
  std::uint64_t max = 0;

  bool operator==(const TenantConfig&) const = default;
};

struct ConcurrencyConfig {
  bool present = false;
  std::uint64_t max = 0;  // permits of the whole host
  // Share of the permits, in permille, that each class leaves to the classes above it.
  std::array<std::uint32_t, shm::kClasses> reserve_permille{};
  std::uint64_t lease_ns = 0;  // a holder that did not move for so long is hung; 0: never
  // `max` is of all hosts together: the server divides it, and the fallback where there is none.
  bool cluster = false;
  shm::Fallback fallback = shm::Fallback::local;
  std::vector<TenantConfig> tenants;

  bool operator==(const ConcurrencyConfig&) const = default;
};

enum class ShedKind : std::uint32_t { off = 0, bbr, gradient };

struct ShedConfig {
  ShedKind kind = ShedKind::off;
  // bbr: the thresholds of the signals that open the gate; 0: the signal is not looked at.
  std::uint32_t cpu_permille = 800;
  std::uint32_t psi_permille = 600;
  std::uint32_t throttled_permille = 250;
  std::uint64_t hold_ns = 1'000'000'000;
  std::uint32_t min = 2;          // the least limit
  std::uint32_t blind_limit = 0;  // the bulkhead while the sampler is blind; 0: by latency alone
  // gradient
  std::uint32_t max = 60'000;
  std::uint32_t tolerance_permille = 1200;

  bool operator==(const ShedConfig&) const = default;
};

enum class BreakerKind : std::uint32_t { off = 0, states, adaptive };

struct BreakerConfig {
  BreakerKind kind = BreakerKind::off;
  std::uint64_t window_ns = 10'000'000'000;
  std::uint64_t volume = 20;
  // states; a threshold of 0 turns its rule off
  std::uint32_t error_permille = 500;
  std::uint32_t slow_permille = 0;
  std::uint64_t slow_call_ns = 0;
  std::uint32_t consecutive = 5;
  std::uint64_t open_ns = 5'000'000'000;
  std::uint64_t open_max_ns = 300'000'000'000;
  std::uint32_t growth_permille = 2000;
  std::uint64_t probe_timeout_ns = 2'000'000'000;
  std::uint32_t probes = 1;
  std::uint64_t calm_ns = 60'000'000'000;
  // adaptive
  std::uint32_t k_permille = 2000;
  std::uint32_t probes_per_s_milli = 1000;

  bool operator==(const BreakerConfig&) const = default;
};

struct RetryConfig {
  bool present = false;
  std::uint32_t share_permille = 100;
  std::uint32_t floor_per_s_milli = 1000;  // of the whole host
  std::uint64_t ttl_ns = 10'000'000'000;
  std::uint32_t attempts = 3;  // of one request, the first included
  std::uint64_t backoff_ns = 25'000'000;
  std::uint64_t backoff_max_ns = 10'000'000'000;

  bool operator==(const RetryConfig&) const = default;
};

struct DeadlineConfig {
  bool present = false;
  std::uint64_t default_ns = 5'000'000'000;
  std::uint64_t max_ns = 60'000'000'000;

  bool operator==(const DeadlineConfig&) const = default;
};

struct ResourceConfig {
  std::string name;
  std::string description;
  ConcurrencyConfig concurrency;
  ShedConfig shed;
  BreakerConfig breaker;
  RetryConfig retry;
  DeadlineConfig deadline;
  int line = 0;

  // How many places in the table it takes: its own, and one for each tenant.
  std::size_t places() const noexcept { return 1 + concurrency.tenants.size(); }
  bool operator==(const ResourceConfig&) const = default;
};

enum class DegradeSignal : std::uint32_t { cpu = 0, psi, throttled, latency, queue, errors };
// Of a resource rather than of the host.
constexpr bool is_of_a_resource(DegradeSignal signal) noexcept {
  return signal >= DegradeSignal::latency;
}
// Measured in time rather than in shares.
constexpr bool is_a_time(DegradeSignal signal) noexcept {
  return signal == DegradeSignal::latency || signal == DegradeSignal::queue;
}

struct DegradeLevelConfig {
  std::uint64_t enter = 0;  // permille, or nanoseconds, as the signal is
  std::uint64_t leave = 0;  // below `enter`
  std::vector<std::string> features;

  bool operator==(const DegradeLevelConfig&) const = default;
};

// A signal and what is given up as it rises.
struct DegradeConfig {
  std::string name;
  DegradeSignal signal = DegradeSignal::cpu;
  std::string resource;  // of latency, queue and errors
  std::vector<DegradeLevelConfig> levels;
  std::uint64_t hold_ns = 1'000'000'000;
  std::uint64_t leave_hold_ns = 10'000'000'000;
  std::uint32_t drill_level = 0;  // 0: no drill
  std::uint32_t drill_permille = 0;
  int line = 0;

  std::size_t features() const noexcept {
    std::size_t count = 0;
    for (const DegradeLevelConfig& level : levels)
      count += level.features.size();
    return count;
  }
  bool operator==(const DegradeConfig&) const = default;
};

inline constexpr std::array<std::string_view, 3> kShedKindNames{"off", "bbr", "gradient"};
inline constexpr std::array<std::string_view, 3> kShedGateNames{"cpu", "psi", "throttled"};
inline constexpr std::array<std::string_view, 3> kBreakerKindNames{"off", "states", "adaptive"};
inline constexpr std::array<std::string_view, 6> kDegradeSignalNames{
    "cpu", "psi", "throttled", "latency", "queue", "errors"};

std::string_view to_text(ShedKind kind) noexcept;
std::string_view to_text(BreakerKind kind) noexcept;
std::string_view to_text(DegradeSignal signal) noexcept;
// 1.5, 2: what stands in the file for 1500 and 2000.
std::string format_factor(std::uint32_t permille);
// A threshold of a signal, in the words of the file.
std::string format_signal(DegradeSignal signal, std::uint64_t value);

}  // namespace weir
