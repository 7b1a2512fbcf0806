// Measures one cgroup and its ancestors: use, quota and throttling, as growth
// since the measurement before.
//
// A quota binds at every level, and the siblings below an ancestor spend from
// the ancestor's quota. So every level that has a quota is measured against it,
// and the worst one is reported beside the use of self.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/cpu/file_reader.h"
#include "agent/cpu/parse.h"
#include "agent/cpu/place.h"
#include "agent/cpu/sample.h"

namespace weir::agent {

struct Throttling {
  std::uint32_t permille = 0;   // share of the quota periods
  std::uint32_t millicpus = 0;  // time lost, summed over CPUs, per wall time
  std::uint64_t periods = 0;    // growth since the last measurement
  std::uint64_t throttled_periods = 0;
  std::uint64_t throttled_usec = 0;
};

struct GroupFigures {
  CpuBlind blind = CpuBlind::none;                // why used_millicpus is absent
  std::optional<std::uint32_t> quota_millicpus;   // the smallest of all levels
  std::optional<std::uint32_t> used_millicpus;    // self
  std::optional<std::uint32_t> busiest_permille;  // of the ancestors with a quota, against it
  std::optional<Throttling> throttling;           // of the worst level, self included
};

class GroupMeter {
 public:
  // Keeps what it has counted when nothing moved; starts afresh when it did.
  void move_to(const CgroupPlace& place) noexcept;

  const CgroupPlace& place() const noexcept { return place_; }

  // `cpu_count_max` bounds what can have been used since the last time: growth
  // far beyond it is a counter that jumped, not work.
  GroupFigures measure(FileReader& files, std::int64_t now_mono_ns,
                       std::uint32_t cpu_count_max) noexcept;

 private:
  // The counters of one level at one time; absent is what could not be read.
  struct Counters {
    std::int64_t at_mono_ns = 0;
    CpuStat stat;
  };
  struct Level {
    bool is_self = false;
    std::string quota_path;
    std::string period_path;  // v1 alone
    std::string stat_path;
    std::string usage_path;  // v1 alone; v2 has it in cpu.stat
    std::optional<std::uint32_t> quota_millicpus;
    std::int64_t quota_read_mono_ns = 0;
    std::optional<Counters> last;
  };

  static Level to_level(const CgroupLevel& level, bool v2) noexcept;
  static void update_quota(FileReader& files, std::int64_t now_mono_ns, Level& level) noexcept;
  static std::optional<CpuQuota> read_quota(FileReader& files, const Level& level) noexcept;
  static std::optional<CpuStat> read_stat(FileReader& files, const Level& level) noexcept;
  static void count_growth(const Level& level, const Counters& before, const Counters& now,
                           std::uint32_t cpu_count_max, GroupFigures& figures) noexcept;

  CgroupPlace place_;
  std::vector<Level> levels_;  // self first
};

}  // namespace weir::agent
