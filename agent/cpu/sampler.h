// How busy the CPU is that this process may use.
//
// The figure wanted is the share of the *available* CPU: in a container that is
// the quota and the CPU set, not the machine. So three things are measured over
// the real time since the last sample and kept apart: the host from /proc/stat,
// the own cgroup against its effective capacity, and every ancestor with a quota
// against that quota. What to act on is the busiest of them, smoothed with a
// time constant, not with a weight per call: a caller that comes late or twice
// changes nothing. Throttling and pressure are signals of their own, since
// average use never shows them.
//
// Nothing here sleeps, starts a thread, reads a clock or throws. The caller
// passes the monotonic time, best every 100 ms; a figure that cannot be measured
// is absent and says why, and a zero is always a measured zero.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/cpu/file_reader.h"
#include "agent/cpu/group.h"
#include "agent/cpu/parse.h"
#include "agent/cpu/sample.h"

namespace weir::agent {

// Which figures usage_permille is made of.
enum class CpuFollow : std::uint8_t {
  busier = 0,  // the busiest of host, cgroup and ancestors
  host = 1,    // for an agent in a cgroup of its own, away from those it serves
  cgroup = 2,  // for a container whose neighbours are none of its business
};

struct CpuOptions {
  std::int64_t smoothing_ns = 500'000'000;      // time constant; 0 means no smoothing
  std::int64_t rediscover_ns = 10'000'000'000;  // a process can be moved between cgroups
  std::int64_t retry_ns = 1'000'000'000;        // the same while the cgroup is unreadable
  std::int64_t hold_ns = 5'000'000'000;         // how long a smoothed value outlives blindness
  CpuFollow follow = CpuFollow::busier;
  std::string cgroup_file = "/proc/self/cgroup";  // of whom to follow: /proc/<pid>/cgroup
};

class CpuSampler {
 public:
  // `files` outlives the sampler.
  explicit CpuSampler(FileReader& files, CpuOptions options = {}) noexcept;

  // Calls closer together than this return the sample before: below it the
  // kernel's ticks, not the work, would decide the figure.
  static constexpr std::int64_t kIntervalMinNs = 10'000'000;

  // `affinity_cpu_count` is absent when unknown, or when this process is pinned
  // and those it serves are not.
  const CpuSample& sample(std::int64_t now_mono_ns,
                          std::optional<std::uint32_t> affinity_cpu_count = {}) noexcept;

  const CpuSample& last() const noexcept { return sample_; }

 private:
  // An exponential average over real time that starts at its first value.
  struct Smoothed {
    double value = 0;
    std::optional<std::int64_t> at_mono_ns;
    void add(double next, std::int64_t now_mono_ns, std::int64_t time_constant_ns) noexcept;
    std::optional<std::uint32_t> read(std::int64_t now_mono_ns, std::int64_t hold_ns) noexcept;
  };
  struct PressureBase {
    std::uint64_t total_usec = 0;
    std::int64_t at_mono_ns = 0;
  };
  struct HostBase {
    HostTicks ticks;
    std::optional<std::uint32_t> online_cpu_count;
  };

  void restart() noexcept;
  void discover_when_due(std::int64_t now_mono_ns) noexcept;
  std::optional<CpuSet> measure_online(const std::optional<ProcStat>& stat,
                                       CpuSample& next) noexcept;
  void measure_host(const std::optional<ProcStat>& stat, CpuSample& next) noexcept;
  void measure_cpuset(const std::optional<CpuSet>& online, CpuSample& next) noexcept;
  void measure_group(CpuSample& next) noexcept;
  CpuPressure measure_pressure(const std::string& path, std::int64_t now_mono_ns,
                               std::optional<PressureBase>& base) noexcept;
  void combine(CpuSample& next) noexcept;
  bool is_held(std::optional<std::int64_t> seen_mono_ns, std::int64_t now_mono_ns) const noexcept;

  FileReader& files_;
  CpuOptions options_;
  CpuSample sample_;
  GroupMeter group_;

  bool started_ = false;
  std::optional<std::int64_t> discovered_mono_ns_;
  CpuBlind host_blind_ = CpuBlind::never_sampled;
  std::optional<HostBase> host_base_;
  std::optional<std::int64_t> host_seen_mono_ns_;
  std::optional<std::int64_t> cgroup_seen_mono_ns_;
  std::optional<PressureBase> host_pressure_base_;
  std::optional<PressureBase> cgroup_pressure_base_;
  Smoothed usage_;
  Smoothed throttled_;
};

}  // namespace weir::agent
