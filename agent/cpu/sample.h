// What is known about this host's CPU at one instant. Every figure that was not
// measured is absent: a zero here always means "measured, and it was zero",
// because a reader that takes "unknown" for "idle" never sheds.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::agent {

// Which hierarchy the figures come from. `hybrid` is quota and use from v1 with
// pressure from the v2 tree that is mounted beside it.
enum class CpuSource : std::uint8_t {
  none = 0,
  host = 1,
  cgroup_v1 = 2,
  cgroup_v2 = 3,
  hybrid = 4
};

// Why a figure is absent.
enum class CpuBlind : std::uint8_t {
  none = 0,
  never_sampled = 1,
  first_sample = 2,
  counters_jumped = 3,
  cpus_changed = 4,
  host_unreadable = 5,
  no_cgroup_file = 6,
  no_cgroup_mount = 7,
  outside_mount = 8,
  cgroup_unreadable = 9,
  capacity_unknown = 10,
  counters_frozen = 11,
};

std::string_view cpu_source_text(CpuSource source) noexcept;
std::string_view cpu_blind_text(CpuBlind blind) noexcept;  // empty for CpuBlind::none

// Pressure stall information. A centipercent is 1/100 of a percent: 0.87 % is 87.
struct CpuPressure {
  std::optional<std::uint32_t> some_permille;  // over the last interval, faster than avg10
  std::optional<std::uint32_t> some_avg10_centipercent;
  std::optional<std::uint32_t> some_avg60_centipercent;
  std::optional<std::uint32_t> some_avg300_centipercent;
  std::optional<std::uint32_t> full_avg10_centipercent;
  std::optional<std::uint64_t> some_total_usec;
};

struct CpuSample {
  // When usage_permille was last measured, which is what smoothed_permille
  // stands on. It stays behind while the sampler is blind, so that age tells.
  std::optional<std::int64_t> sampled_at_mono_ns;
  std::int64_t attempted_at_mono_ns = 0;

  CpuSource source = CpuSource::none;
  CpuBlind blind = CpuBlind::never_sampled;         // why usage_permille is absent
  CpuBlind cgroup_blind = CpuBlind::never_sampled;  // why cgroup_usage_permille is absent

  // The figure to act on, 0..1000: the busier of what CpuOptions::follow names.
  std::optional<std::uint32_t> usage_permille;
  std::optional<std::uint32_t> smoothed_permille;

  std::optional<std::uint32_t> host_usage_permille;  // steal counts as busy, iowait as idle
  std::optional<std::uint32_t> host_steal_permille;
  std::optional<std::uint32_t> cgroup_usage_permille;  // of capacity_millicpus
  std::optional<std::uint32_t> cgroup_used_millicpus;
  // The fullest ancestor that has a quota, measured against that quota. Siblings
  // spend from it too, which cgroup_usage_permille cannot show.
  std::optional<std::uint32_t> ancestor_usage_permille;

  // min(quota of self and every ancestor, cpuset, affinity, online CPUs).
  std::optional<std::uint32_t> capacity_millicpus;
  std::optional<std::uint32_t> quota_millicpus;  // absent means no quota is set
  std::optional<std::uint32_t> online_cpu_count;
  std::optional<std::uint32_t> cpuset_cpu_count;  // of the CPUs that are online
  std::optional<std::uint32_t> affinity_cpu_count;

  // The worst of self and every ancestor with a quota. Throttling shows quota
  // exhaustion that average use hides, so it is a signal of its own.
  std::optional<std::uint32_t> throttled_permille;  // share of the quota periods
  std::optional<std::uint32_t> smoothed_throttled_permille;
  std::optional<std::uint32_t> throttled_millicpus;  // time lost, summed over CPUs, per wall time
  // Counted by the sampler since it began, so they never run backwards.
  std::uint64_t throttled_total_usec = 0;
  std::uint64_t throttled_periods_total = 0;
  std::uint64_t quota_periods_total = 0;

  CpuPressure host_pressure;
  CpuPressure cgroup_pressure;

  // Absent until the first value; never negative.
  std::optional<std::int64_t> age_ns(std::int64_t now_mono_ns) const noexcept {
    if (!sampled_at_mono_ns) return std::nullopt;
    return now_mono_ns > *sampled_at_mono_ns ? now_mono_ns - *sampled_at_mono_ns : 0;
  }
};

}  // namespace weir::agent
