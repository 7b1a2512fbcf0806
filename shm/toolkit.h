// The shared bytes of the availability toolkit: bulkheads, shedding, breakers, retry budgets and
// degradation, for all processes of a domain. The areas lie behind everything that a reader of
// version 1.1 knows and are not in the sizes that the headers state, as the further lane sets do,
// so that an older client takes the segments for its own and an older agent's have no toolkit.
//
//   rules segment      ResourceRule x resources_max, FeatureRule x features_max
//   counters segment   ResourceCounter x resources_max, OutcomeLane x (cpus + 1) x resources_max,
//                      ProcessSlot x processes_max, HolderCell x holders_max
//
// The rules of shm/layout.h hold here as well. The words whose encodings are pure functions are
// those of adaptive/: breaker.h, in_flight.h, shed_word.h, degrade.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "adaptive/histogram.h"
#include "shm/layout.h"
#include "shm/result.h"

namespace weir::shm {

inline constexpr std::uint32_t kResourcesMax = 16'384;
inline constexpr std::uint32_t kFeaturesMax = 1024;
inline constexpr std::uint32_t kProcessesMax = 4095;  // a breaker's word has 12 bits for a prober
inline constexpr std::uint32_t kHoldersMax = 1U << 20;
inline constexpr std::uint64_t kPermitsMax = (1U << 19) - 1;  // half of what a stripe counts

// What applies to a resource, in the low half of its hot word; the generation is the high half.
inline constexpr std::uint32_t kToolActive = 1;  // a resource lives here
inline constexpr std::uint32_t kToolConcurrency = 2;
inline constexpr std::uint32_t kToolShed = 4;
inline constexpr std::uint32_t kToolBreaker = 8;
inline constexpr std::uint32_t kToolThrottle = 16;
inline constexpr std::uint32_t kToolRetry = 32;

// ---------------------------------------------------------------- rules segment

// What the agent says of one resource. Each line by how often it changes.
struct alignas(kLineBytes) ResourceRule {
  // Compared on every call; stored last when a resource is made and first when it goes.
  A64 hot;                      // hot_word(generation, kTool...); 0: nothing lives here
  A64 concurrency;              // permits of the whole host, up to kPermitsMax; 0: no limit
  A64 class_reserve[kClasses];  // permits that a class leaves to the classes above it
  A64 lease_ns;                 // a holder without a move for so long is hung; 0: never
  std::uint8_t reserved0[kLineBytes - 56];

  // Published each time that the shedder was fed, 10 to 100 ms.
  S64 shed_mono_ns;    // when; 0: never
  A64 shed_limits;     // adaptive::ShedWords
  A64 shed_refusals;   // adaptive::ShedWords
  A32 throttle_share;  // calls refused on this side, of 65,535
  A32 forced_state;    // adaptive::BreakerState that an operator forced; 0: none
  std::uint8_t reserved1[kLineBytes - 32];

  // Figures for people and balancers.
  S64 figures_mono_ns;  // when; 0: never
  A64 in_flight;
  A64 requests_per_s_milli;
  A64 errors_per_s_milli;
  A64 response_ns;    // mean of the successes of the last second
  A32 shed_permille;  // refused of asked
  A32 breaker_state;  // adaptive::BreakerState
  A64 retry_level;    // retries left in the budget
  A64 reaped_total;   // permits that dead holders left behind
  A64 expired_total;  // permits that hung holders lost
  A64 forged_total;   // words that had to be cut
  std::uint8_t reserved2[kLineBytes - 80];

  // Configuration that clients copy whole: config_version is odd while the agent writes. Zero in a
  // field is the default of adaptive/, but for the thresholds, where it turns the rule off.
  A64 config_version;
  A64 breaker_window_ns;
  A64 breaker_volume_min;
  A64 breaker_open_ns;
  A64 breaker_open_max_ns;
  A64 breaker_probe_ns;
  A64 breaker_calm_ns;
  A64 breaker_slow_ns;  // a call that took longer is slow; 0: none is
  A32 breaker_failed_permille;
  A32 breaker_slow_permille;
  A32 breaker_consecutive;
  A32 breaker_probes_needed;
  A32 breaker_growth_permille;
  A32 breaker_jitter_permille;
  A32 throttle_k_permille;
  A32 retry_share_permille;
  A64 retry_ttl_ns;
  A64 retry_base_ns;
  A64 retry_max_ns;
  A32 retry_floor_milli;  // retries a second of the whole host, in thousandths
  A32 retry_attempts_max;

  char name[128];  // zero-terminated; written before `hot`

  // Each may change by itself: whoever reads both bounds the first by the second.
  A64 deadline_default_ns;  // of a caller that says none; 0: adaptive's default
  A64 deadline_max_ns;      // of a caller that says a day; 0: adaptive's default
  std::uint8_t reserved3[kLineBytes - 16];
};
static_assert(sizeof(ResourceRule) == 768);
static_assert(offsetof(ResourceRule, concurrency) == 8);
static_assert(offsetof(ResourceRule, lease_ns) == 48);
static_assert(offsetof(ResourceRule, shed_mono_ns) == 128);
static_assert(offsetof(ResourceRule, throttle_share) == 152);
static_assert(offsetof(ResourceRule, figures_mono_ns) == 256);
static_assert(offsetof(ResourceRule, forged_total) == 328);
static_assert(offsetof(ResourceRule, config_version) == 384);
static_assert(offsetof(ResourceRule, breaker_failed_permille) == 448);
static_assert(offsetof(ResourceRule, retry_ttl_ns) == 480);
static_assert(offsetof(ResourceRule, name) == 512);
static_assert(offsetof(ResourceRule, deadline_default_ns) == 640);

// A feature that may be given up: degraded("recommendations").
struct alignas(kLineBytes) FeatureRule {
  A64 hot;            // hot_word(generation, the level at which it is given up); 0: nothing
  A64 degrade;        // adaptive::DegradeWord of the signal that it follows
  S64 level_mono_ns;  // when `degrade` was last confirmed
  std::uint8_t reserved0[kLineBytes - 24];
  char name[128];
};
static_assert(sizeof(FeatureRule) == 256);
static_assert(offsetof(FeatureRule, level_mono_ns) == 16);
static_assert(offsetof(FeatureRule, name) == 128);

// ---------------------------------------------------------------- counters segment

inline constexpr std::size_t kResponseCells = 368;
static_assert(kResponseCells == adaptive::Histogram::kCells);
inline constexpr std::uint64_t kResponseShortNs = 100'000;
inline constexpr std::uint32_t kResponseSampled = 16;  // one short response in so many is counted

// What the processes of a domain share about one resource.
struct alignas(kLineBytes) ResourceCounter {
  S64 in_flight;  // a cache of the sum of the holders' stripes; the truth is in these
  std::uint8_t reserved0[kLineBytes - 8];

  A64 breaker;      // adaptive::BreakerWord
  A64 consecutive;  // adaptive::next_consecutive
  std::uint8_t reserved1[kLineBytes - 16];

  A64 retry_tokens;        // what is left of the budget; the agent adds, clients take one each
  S64 retry_next_mono_ns;  // without an agent: when the floor allows the next retry
  A64 uncounted_total;     // entries that found no cell to be counted in
  S64 recount_mono_ns;     // when somebody last began a recount; taken by compare-and-swap
  S64 reap_mono_ns;        // when a client last looked for the dead, for want of an agent
  A64 name_tag;            // of whose words these are: an agent that comes back asks for it
  std::uint8_t reserved2[kLineBytes - 48];

  // Successes by response time: adaptive::Histogram::cell_of. A short one counts for itself and for
  // the others of its kind that are not counted. Readers take differences.
  A32 responses[kResponseCells];
  std::uint8_t reserved3[64];
};
static_assert(sizeof(ResourceCounter) == 1920);
static_assert(offsetof(ResourceCounter, responses) == 384);
static_assert(offsetof(ResourceCounter, breaker) == 128);
static_assert(offsetof(ResourceCounter, retry_tokens) == 256);

// Totals of one resource on one CPU, written by restartable sequences; the last lane by atomics.
// Readers take differences.
struct alignas(kLineBytes) OutcomeLane {
  A64 succeeded;
  A64 succeeded_ns;  // the sum of their response times
  A64 failed;
  A64 failed_ns;
  A64 slow;               // among both
  A64 full;               // refused: no permit
  A64 broken;             // refused: the breaker
  A64 throttled;          // refused: the throttle
  A64 passed[kClasses];   // first tries by class that the shedder let pass
  A64 refused[kClasses];  // by the shedder
};
static_assert(sizeof(OutcomeLane) == 128);
static_assert(offsetof(OutcomeLane, passed) == 64);
static_assert(offsetof(OutcomeLane, refused) == 96);

// One process that may hold permits or probe a breaker. It takes a free slot by itself, so that
// this works with a dead agent, and tells a living one by a frame which it took.
struct alignas(64) ProcessSlot {
  A64 owner;          // process_word(pid, generation, state); 0: never used
  A64 start_ticks;    // field 22 of /proc/<pid>/stat; 0: not known
  A64 pid_namespace;  // inode of /proc/self/ns/pid: in which the pid means something; 0: unknown
  S64 claimed_mono_ns;
  A64 reserved[4];
};
static_assert(sizeof(ProcessSlot) == 64);
static_assert(offsetof(ProcessSlot, claimed_mono_ns) == 24);

enum class ProcessState : std::uint32_t { free = 0, claiming = 1, live = 2, reaping = 3 };

// pid 32 bits | generation 16 | state 16.
constexpr std::uint64_t process_word(std::uint32_t pid, std::uint32_t generation,
                                     ProcessState state) noexcept {
  return std::uint64_t{pid} << 32 | std::uint64_t{generation & 0xffffU} << 16 |
         static_cast<std::uint64_t>(state);
}
constexpr std::uint32_t process_pid(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32);
}
constexpr std::uint32_t process_generation(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 16) & 0xffffU;
}
constexpr ProcessState process_state(std::uint64_t word) noexcept {
  const auto state = static_cast<std::uint32_t>(word & 0xffffU);
  return state <= 3 ? static_cast<ProcessState>(state) : ProcessState::free;
}

// What one thread of one process holds of one resource. `claim` is taken by compare-and-swap from 0
// and says everything that a reaper needs; `stripe` is then written by that thread alone.
struct alignas(64) HolderCell {
  A64 claim;   // holder_claim(); 0: free
  A64 stripe;  // adaptive::StripeWord; 0 while the cell is free
  A64 reserved[6];
};
static_assert(sizeof(HolderCell) == 64);

// process slot + 1: 16 bits | its generation 16 | resource + 1: 16 | its generation 16.
struct HolderClaim {
  std::uint32_t process = 0;
  std::uint32_t process_generation = 0;
  std::uint32_t resource = 0;
  std::uint32_t resource_generation = 0;
};
constexpr std::uint64_t holder_claim(const HolderClaim& c) noexcept {
  return std::uint64_t{(c.process + 1) & 0xffffU} << 48 |
         std::uint64_t{c.process_generation & 0xffffU} << 32 |
         std::uint64_t{(c.resource + 1) & 0xffffU} << 16 | (c.resource_generation & 0xffffU);
}
constexpr HolderClaim holder_of(std::uint64_t claim) noexcept {
  return {.process = (static_cast<std::uint32_t>(claim >> 48) & 0xffffU) - 1,
          .process_generation = static_cast<std::uint32_t>(claim >> 32) & 0xffffU,
          .resource = (static_cast<std::uint32_t>(claim >> 16) & 0xffffU) - 1,
          .resource_generation = static_cast<std::uint32_t>(claim) & 0xffffU};
}

// Where the areas lie. The counts are in the headers; both sides compute from their own copies.
struct ToolkitGeometry {
  std::uint32_t resources_max = 0;  // 0: the segments have no toolkit
  std::uint32_t features_max = 0;
  std::uint32_t processes_max = 0;
  std::uint32_t holders_max = 0;
  std::uint32_t cpus = 0;          // as in the counters header
  std::size_t rules_begin = 0;     // RulesGeometry::bytes()
  std::size_t counters_begin = 0;  // CountersGeometry::bytes_with_sets()

  constexpr std::size_t rule_offset() const noexcept { return rules_begin; }
  constexpr std::size_t feature_offset() const noexcept {
    return rule_offset() + sizeof(ResourceRule) * resources_max;
  }
  constexpr std::size_t rules_bytes() const noexcept {
    return round_page(feature_offset() + sizeof(FeatureRule) * features_max);
  }
  constexpr std::size_t counter_offset() const noexcept { return counters_begin; }
  constexpr std::size_t lane_offset() const noexcept {
    return counter_offset() + sizeof(ResourceCounter) * resources_max;
  }
  constexpr std::size_t lane_stride() const noexcept { return sizeof(OutcomeLane) * resources_max; }
  constexpr std::size_t process_offset() const noexcept {
    return lane_offset() + lane_stride() * (std::size_t{cpus} + 1);
  }
  constexpr std::size_t holder_offset() const noexcept {
    return process_offset() + sizeof(ProcessSlot) * processes_max;
  }
  constexpr std::size_t counters_bytes() const noexcept {
    return round_page(holder_offset() + sizeof(HolderCell) * holders_max);
  }
  static constexpr std::size_t round_page(std::size_t n) noexcept {
    return (n + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
};

// The agent's and the client's window on both areas. `base` of the rules is read-only for clients.
class ToolkitView {
 public:
  ToolkitView() noexcept = default;
  ToolkitView(const std::byte* rules, std::byte* counters, const ToolkitGeometry& geometry) noexcept
      : rules_(rules), counters_(counters), geometry_(geometry) {}

  explicit operator bool() const noexcept { return geometry_.resources_max != 0; }
  const ToolkitGeometry& geometry() const noexcept { return geometry_; }
  const ResourceRule& rule(std::uint32_t index) const noexcept {
    return *reinterpret_cast<const ResourceRule*>(rules_ + geometry_.rule_offset() +
                                                  sizeof(ResourceRule) * index);
  }
  const FeatureRule& feature(std::uint32_t index) const noexcept {
    return *reinterpret_cast<const FeatureRule*>(rules_ + geometry_.feature_offset() +
                                                 sizeof(FeatureRule) * index);
  }
  ResourceCounter& counter(std::uint32_t index) const noexcept {
    return at<ResourceCounter>(geometry_.counter_offset() + sizeof(ResourceCounter) * index);
  }
  // `cpu` up to and including geometry().cpus.
  OutcomeLane& lane(std::uint32_t cpu, std::uint32_t index) const noexcept {
    return at<OutcomeLane>(geometry_.lane_offset() + geometry_.lane_stride() * cpu +
                           sizeof(OutcomeLane) * index);
  }
  ProcessSlot& process(std::uint32_t index) const noexcept {
    return at<ProcessSlot>(geometry_.process_offset() + sizeof(ProcessSlot) * index);
  }
  HolderCell& holder(std::uint32_t index) const noexcept {
    return at<HolderCell>(geometry_.holder_offset() + sizeof(HolderCell) * index);
  }

 private:
  template <class T>
  T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<T*>(counters_ + offset);
  }
  const std::byte* rules_ = nullptr;
  std::byte* counters_ = nullptr;
  ToolkitGeometry geometry_;
};

// Before format_rules / format_counters, which store the version last: notes the counts in the
// headers of zeroed bytes. There must be rules_bytes() and counters_bytes() of them.
void format_toolkit_rules(std::byte* rules, const ToolkitGeometry& geometry) noexcept;
void format_toolkit_counters(std::byte* counters, const ToolkitGeometry& geometry) noexcept;

// After validate_rules and validate_counters: the toolkit of two segments that go together. An
// empty view where either has none, or the two do not fit each other; an error where a count is
// beyond its bound or an area beyond the segment's end.
Result<ToolkitView> toolkit_of(std::span<const std::byte> rules,
                               const RulesGeometry& rules_geometry, std::span<std::byte> counters,
                               const CountersGeometry& counters_geometry) noexcept;

// The resource or feature of that name, or -1.
std::int32_t find_resource(const ToolkitView& view, const char* name) noexcept;
std::int32_t find_feature(const ToolkitView& view, const char* name) noexcept;

// The sum of all lanes of one resource: totals, each as forged as its writers like.
struct OutcomeTotals {
  std::uint64_t succeeded = 0;
  std::uint64_t succeeded_ns = 0;
  std::uint64_t failed = 0;
  std::uint64_t failed_ns = 0;
  std::uint64_t slow = 0;
  std::uint64_t full = 0;
  std::uint64_t broken = 0;
  std::uint64_t throttled = 0;
  std::uint64_t asked[kClasses] = {};    // first tries, refused ones included
  std::uint64_t refused[kClasses] = {};  // by the shedder
};
OutcomeTotals outcome_totals(const ToolkitView& view, std::uint32_t index) noexcept;

}  // namespace weir::shm
