// The kernel's CPU files, text in and values out. Nothing here touches the
// machine, keeps state or trusts its input: whatever is empty, cut short,
// negative or too large for its field comes back as absent.

#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::agent {

inline constexpr std::size_t kCpusMax = 8192;  // the largest NR_CPUS a kernel can be built with
inline constexpr std::size_t kPathBytesMax = 4096;
inline constexpr std::size_t kCgroupMountsMax = 64;

using CpuSet = std::bitset<kCpusMax>;

// The first line of /proc/stat, in ticks. The kernel already counts guest in
// user and guest_nice in nice; adding them again would count guests twice.
struct HostTicks {
  std::uint64_t user = 0;
  std::uint64_t nice = 0;
  std::uint64_t system = 0;
  std::uint64_t idle = 0;
  std::uint64_t iowait = 0;
  std::uint64_t irq = 0;
  std::uint64_t softirq = 0;
  std::uint64_t steal = 0;
  std::uint64_t guest = 0;
  std::uint64_t guest_nice = 0;
};
struct ProcStat {
  HostTicks ticks;
  std::uint32_t cpu_line_count = 0;  // how many "cpuN" lines follow
};
std::optional<ProcStat> parse_proc_stat(std::string_view text) noexcept;

// "0-2,4" as the kernel prints it. An empty list is absent: no task runs on no CPU.
std::optional<CpuSet> parse_cpu_list(std::string_view text) noexcept;

// A quota that is set, or "max"/-1 for none. Absent is for text that says neither.
struct CpuQuota {
  std::optional<std::uint64_t> quota_usec;  // absent means unlimited
  std::uint64_t period_usec = 0;
  // At least 1, so that nothing divides by a capacity of zero; absent means unlimited.
  std::optional<std::uint32_t> millicpus() const noexcept;
};
std::optional<CpuQuota> parse_cpu_max(std::string_view text) noexcept;  // v2
std::optional<CpuQuota> parse_cfs_quota(std::string_view quota_text,
                                        std::string_view period_text) noexcept;  // v1

// cpu.stat of either version; microseconds are turned into nanoseconds. Absent
// as a whole when it holds none of these.
struct CpuStat {
  std::optional<std::uint64_t> usage_ns;  // v2 alone
  std::optional<std::uint64_t> periods_total;
  std::optional<std::uint64_t> throttled_periods_total;
  std::optional<std::uint64_t> throttled_ns;
};
std::optional<CpuStat> parse_cpu_stat(std::string_view text) noexcept;

std::optional<std::uint64_t> parse_cpuacct_usage_ns(std::string_view text) noexcept;  // v1

// cpu.pressure and /proc/pressure/cpu. Kernels before 5.13 have no "full" line.
struct PressureLine {
  std::uint32_t avg10_centipercent = 0;
  std::uint32_t avg60_centipercent = 0;
  std::uint32_t avg300_centipercent = 0;
  std::uint64_t total_usec = 0;
};
struct Pressure {
  PressureLine some;
  std::optional<PressureLine> full;
};
std::optional<Pressure> parse_pressure(std::string_view text) noexcept;

// /proc/<pid>/cgroup: the paths as the kernel names them, not yet directories.
struct OwnCgroups {
  std::optional<std::string> v2_path;
  std::optional<std::string> v1_cpu_path;
  std::optional<std::string> v1_cpuacct_path;
  std::optional<std::string> v1_cpuset_path;
};
std::optional<OwnCgroups> parse_proc_cgroup(std::string_view text) noexcept;

// One cgroup line of /proc/<pid>/mountinfo that carries a hierarchy we read.
struct CgroupMount {
  std::string root;  // which cgroup is mounted; "/" is the whole (visible) tree
  std::string mount_point;
  bool v2 = false;
  bool cpu = false;
  bool cpuacct = false;
  bool cpuset = false;
};
// Mounts that another mount hides are left out; empty when there are none.
std::vector<CgroupMount> parse_cgroup_mounts(std::string_view text) noexcept;

}  // namespace weir::agent
