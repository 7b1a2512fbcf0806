#include "agent/cpu/group.h"

#include <algorithm>
#include <cmath>

namespace weir::agent {
namespace {

constexpr double kNsPerUsec = 1000.0;
// Above this many times what all CPUs could have run, a counter jumped. Two
// leaves room for the delay between taking the time and reading the file.
constexpr double kPlausibleFactor = 2.0;
// A quota file that vanishes keeps its last word this long. Otherwise one failed
// open would turn a full container of one CPU into a nearly idle large host.
constexpr std::int64_t kQuotaHoldNs = 2'000'000'000;

std::string join(const std::string& directory, const char* name) noexcept {
  return directory.empty() ? std::string() : directory + "/" + name;
}

std::optional<std::string_view> read(FileReader& files, const std::string& path) noexcept {
  if (path.empty()) return std::nullopt;
  return files.read(path.c_str());
}

std::uint32_t to_permille(double part, double whole) noexcept {
  return static_cast<std::uint32_t>(std::lround(std::clamp(part / whole, 0.0, 1.0) * 1000.0));
}

std::uint32_t to_millicpus(double growth_ns, double elapsed_ns) noexcept {
  constexpr double kMillicpusMax = static_cast<double>(kCpusMax) * 1000.0;
  const double millicpus = std::clamp(growth_ns / elapsed_ns * 1000.0, 0.0, kMillicpusMax);
  return static_cast<std::uint32_t>(std::lround(millicpus));
}

// Absent when a side is unknown or the counter ran backwards.
std::optional<std::uint64_t> growth(std::optional<std::uint64_t> before,
                                    std::optional<std::uint64_t> now) noexcept {
  if (!before || !now || *now < *before) return std::nullopt;
  return *now - *before;
}

std::optional<Throttling> throttling_between(const CpuStat& before, const CpuStat& now,
                                             double elapsed_ns) noexcept {
  const auto periods = growth(before.periods_total, now.periods_total);
  const auto throttled = growth(before.throttled_periods_total, now.throttled_periods_total);
  const auto throttled_ns = growth(before.throttled_ns, now.throttled_ns);
  if (!periods || !throttled || !throttled_ns) return std::nullopt;
  Throttling result;
  // Periods are counted only while the group wants to run, so none may have
  // passed. nr_throttled may be seen a moment before its nr_periods.
  const std::uint64_t whole = std::max({*periods, *throttled, std::uint64_t{1}});
  result.permille = to_permille(static_cast<double>(*throttled), static_cast<double>(whole));
  result.millicpus = to_millicpus(static_cast<double>(*throttled_ns), elapsed_ns);
  result.periods = *periods;
  result.throttled_periods = *throttled;
  result.throttled_usec =
      static_cast<std::uint64_t>(static_cast<double>(*throttled_ns) / kNsPerUsec);
  return result;
}

bool is_worse(const Throttling& a, const Throttling& b) noexcept {
  if (a.permille != b.permille) return a.permille > b.permille;
  return a.millicpus > b.millicpus;
}

}  // namespace

void GroupMeter::move_to(const CgroupPlace& place) noexcept {
  if (place == place_) return;
  place_ = place;
  levels_.clear();
  const bool v2 = place.kind == CpuSource::cgroup_v2;
  for (const CgroupLevel& level : place.levels)
    levels_.push_back(to_level(level, v2));
  if (!levels_.empty()) levels_.front().is_self = true;
}

GroupMeter::Level GroupMeter::to_level(const CgroupLevel& level, bool v2) noexcept {
  Level result;
  result.stat_path = join(level.cpu_dir, "cpu.stat");
  if (v2) {
    result.quota_path = join(level.cpu_dir, "cpu.max");
    return result;
  }
  result.quota_path = join(level.cpu_dir, "cpu.cfs_quota_us");
  result.period_path = join(level.cpu_dir, "cpu.cfs_period_us");
  result.usage_path = join(level.usage_dir, "cpuacct.usage");
  return result;
}

std::optional<CpuQuota> GroupMeter::read_quota(FileReader& files, const Level& level) noexcept {
  const auto text = read(files, level.quota_path);
  if (!text) return std::nullopt;
  if (level.period_path.empty()) return parse_cpu_max(*text);
  const std::string quota_text(*text);  // the next read overwrites it
  const auto period_text = read(files, level.period_path);
  if (!period_text) return std::nullopt;
  return parse_cfs_quota(quota_text, *period_text);
}

std::optional<CpuStat> GroupMeter::read_stat(FileReader& files, const Level& level) noexcept {
  std::optional<CpuStat> stat;
  if (const auto text = read(files, level.stat_path)) stat = parse_cpu_stat(*text);
  if (level.usage_path.empty()) return stat;
  const auto text = read(files, level.usage_path);
  const auto usage_ns = text ? parse_cpuacct_usage_ns(*text) : std::nullopt;
  if (!usage_ns) return stat;
  if (!stat) stat.emplace();
  stat->usage_ns = usage_ns;
  return stat;
}

void GroupMeter::update_quota(FileReader& files, std::int64_t now_mono_ns, Level& level) noexcept {
  const auto quota = read_quota(files, level);
  if (quota) {
    level.quota_millicpus = quota->millicpus();
    level.quota_read_mono_ns = now_mono_ns;
  } else if (now_mono_ns - level.quota_read_mono_ns >= kQuotaHoldNs) {
    level.quota_millicpus.reset();
  }
}

void GroupMeter::count_growth(const Level& level, const Counters& before, const Counters& now,
                              std::uint32_t cpu_count_max, GroupFigures& figures) noexcept {
  const double elapsed_ns = static_cast<double>(now.at_mono_ns - before.at_mono_ns);
  const auto throttling = throttling_between(before.stat, now.stat, elapsed_ns);
  if (throttling && (!figures.throttling || is_worse(*throttling, *figures.throttling)))
    figures.throttling = throttling;

  if (!before.stat.usage_ns) return;
  const auto used_ns = growth(before.stat.usage_ns, now.stat.usage_ns);
  const double possible_ns = kPlausibleFactor * elapsed_ns * static_cast<double>(cpu_count_max);
  if (!used_ns || static_cast<double>(*used_ns) > possible_ns) {
    if (level.is_self && now.stat.usage_ns) figures.blind = CpuBlind::counters_jumped;
    return;
  }
  const std::uint32_t used_millicpus = to_millicpus(static_cast<double>(*used_ns), elapsed_ns);
  if (level.is_self) {
    figures.used_millicpus = used_millicpus;
    figures.blind = CpuBlind::none;
  } else if (level.quota_millicpus) {
    const std::uint32_t permille = to_permille(used_millicpus, *level.quota_millicpus);
    figures.busiest_permille = std::max(figures.busiest_permille.value_or(0), permille);
  }
}

GroupFigures GroupMeter::measure(FileReader& files, std::int64_t now_mono_ns,
                                 std::uint32_t cpu_count_max) noexcept {
  GroupFigures figures;
  figures.blind = place_.kind == CpuSource::none ? place_.blind : CpuBlind::cgroup_unreadable;
  for (Level& level : levels_) {
    update_quota(files, now_mono_ns, level);
    if (level.quota_millicpus)
      figures.quota_millicpus = std::min(figures.quota_millicpus.value_or(*level.quota_millicpus),
                                         *level.quota_millicpus);
    // An ancestor without a quota limits nothing, so its counters are not read.
    const bool wanted = level.is_self || level.quota_millicpus.has_value();
    const auto stat = wanted ? read_stat(files, level) : std::nullopt;
    const auto before = level.last;
    level.last.reset();
    if (!stat) continue;
    level.last = Counters{now_mono_ns, *stat};
    if (level.is_self && stat->usage_ns) figures.blind = CpuBlind::first_sample;
    if (before && before->at_mono_ns < now_mono_ns)
      count_growth(level, *before, *level.last, cpu_count_max, figures);
  }
  return figures;
}

}  // namespace weir::agent
