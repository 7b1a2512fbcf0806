#include "agent/cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace weir::agent {
namespace {

const std::string kHostPressurePath = "/proc/pressure/cpu";
constexpr double kNsPerUsec = 1000.0;

std::uint32_t to_permille(double part, double whole) noexcept {
  return static_cast<std::uint32_t>(std::lround(std::clamp(part / whole, 0.0, 1.0) * 1000.0));
}

// Growth of one tick counter. iowait and idle do run backwards on healthy
// kernels, and then they grew by nothing.
double grown(std::uint64_t before, std::uint64_t now) noexcept {
  return now > before ? static_cast<double>(now - before) : 0.0;
}

struct HostGrowth {
  double busy = 0;
  double steal = 0;
  double total = 0;
};

// Steal is time in which there was work and no CPU to do it, so it counts as
// busy. Guest time is part of user and nice already.
HostGrowth host_growth(const HostTicks& before, const HostTicks& now) noexcept {
  HostGrowth result;
  result.steal = grown(before.steal, now.steal);
  result.busy = grown(before.user, now.user) + grown(before.nice, now.nice) +
                grown(before.system, now.system) + grown(before.irq, now.irq) +
                grown(before.softirq, now.softirq) + result.steal;
  result.total = result.busy + grown(before.idle, now.idle) + grown(before.iowait, now.iowait);
  return result;
}

// Work once done is never undone: these three fall only when somebody else
// answers now (a restored machine, a restarted lxcfs).
bool ran_backwards(const HostTicks& before, const HostTicks& now) noexcept {
  return now.user < before.user || now.nice < before.nice || now.system < before.system;
}

void keep_smaller(std::optional<std::uint32_t>& smallest,
                  std::optional<std::uint32_t> value) noexcept {
  if (value && (!smallest || *value < *smallest)) smallest = value;
}

void keep_larger(std::optional<std::uint32_t>& largest,
                 std::optional<std::uint32_t> value) noexcept {
  if (value && (!largest || *value > *largest)) largest = value;
}

std::optional<std::uint32_t> as_millicpus(std::optional<std::uint32_t> cpu_count) noexcept {
  if (!cpu_count || *cpu_count == 0 || *cpu_count > kCpusMax) return std::nullopt;
  return *cpu_count * 1000;
}

std::optional<std::uint32_t> count_of(const CpuSet& cpus) noexcept {
  if (cpus.none()) return std::nullopt;
  return static_cast<std::uint32_t>(cpus.count());
}

}  // namespace

std::string_view cpu_source_text(CpuSource source) noexcept {
  switch (source) {
    case CpuSource::none:
      return "none";
    case CpuSource::host:
      return "host";
    case CpuSource::cgroup_v1:
      return "cgroup_v1";
    case CpuSource::cgroup_v2:
      return "cgroup_v2";
    case CpuSource::hybrid:
      return "hybrid";
  }
  return "unknown";
}

std::string_view cpu_blind_text(CpuBlind blind) noexcept {
  switch (blind) {
    case CpuBlind::none:
      return "";
    case CpuBlind::never_sampled:
      return "never sampled";
    case CpuBlind::first_sample:
      return "first sample, growth is not known yet";
    case CpuBlind::counters_jumped:
      return "counters ran backwards or jumped";
    case CpuBlind::cpus_changed:
      return "CPUs went on or off line";
    case CpuBlind::host_unreadable:
      return "/proc/stat cannot be read";
    case CpuBlind::no_cgroup_file:
      return "the cgroup file of the process cannot be read";
    case CpuBlind::no_cgroup_mount:
      return "no cgroup hierarchy with CPU figures is mounted";
    case CpuBlind::outside_mount:
      return "the own cgroup lies outside what is mounted";
    case CpuBlind::cgroup_unreadable:
      return "the files of the own cgroup cannot be read";
    case CpuBlind::capacity_unknown:
      return "neither quota nor CPU count is known";
    case CpuBlind::counters_frozen:
      return "the counters of /proc/stat stand still";
  }
  return "unknown";
}

CpuSampler::CpuSampler(FileReader& files, CpuOptions options) noexcept
    : files_(files), options_(std::move(options)) {}

const CpuSample& CpuSampler::sample(std::int64_t now_mono_ns,
                                    std::optional<std::uint32_t> affinity_cpu_count) noexcept {
  if (started_ && now_mono_ns < sample_.attempted_at_mono_ns) restart();
  if (started_ && now_mono_ns - sample_.attempted_at_mono_ns < kIntervalMinNs) return sample_;
  started_ = true;

  CpuSample next;
  next.attempted_at_mono_ns = now_mono_ns;
  next.sampled_at_mono_ns = sample_.sampled_at_mono_ns;
  next.throttled_total_usec = sample_.throttled_total_usec;
  next.throttled_periods_total = sample_.throttled_periods_total;
  next.quota_periods_total = sample_.quota_periods_total;
  if (affinity_cpu_count && *affinity_cpu_count > 0) next.affinity_cpu_count = affinity_cpu_count;

  discover_when_due(now_mono_ns);
  const auto text = files_.read("/proc/stat");
  const auto stat = text ? parse_proc_stat(*text) : std::nullopt;
  const auto online = measure_online(stat, next);
  measure_host(stat, next);
  measure_cpuset(online, next);
  measure_group(next);
  next.host_pressure = measure_pressure(kHostPressurePath, now_mono_ns, host_pressure_base_);
  next.cgroup_pressure =
      measure_pressure(group_.place().pressure_path, now_mono_ns, cgroup_pressure_base_);
  combine(next);
  sample_ = next;
  return sample_;
}

// Monotonic time that falls is another machine's: a checkpoint was restored.
// Nothing counted before can be compared with what is read now.
void CpuSampler::restart() noexcept {
  group_.move_to(CgroupPlace{});
  started_ = false;
  discovered_mono_ns_.reset();
  host_base_.reset();
  host_seen_mono_ns_.reset();
  cgroup_seen_mono_ns_.reset();
  host_pressure_base_.reset();
  cgroup_pressure_base_.reset();
  usage_ = Smoothed{};
  throttled_ = Smoothed{};
  sample_.sampled_at_mono_ns.reset();
}

void CpuSampler::discover_when_due(std::int64_t now_mono_ns) noexcept {
  if (discovered_mono_ns_) {
    const bool lost = sample_.cgroup_blind == CpuBlind::cgroup_unreadable ||
                      group_.place().kind == CpuSource::none;
    const std::int64_t wait_ns =
        lost ? std::min(options_.retry_ns, options_.rediscover_ns) : options_.rediscover_ns;
    if (now_mono_ns - *discovered_mono_ns_ < wait_ns) return;
  }
  discovered_mono_ns_ = now_mono_ns;
  CgroupPlace place;
  if (const auto own = files_.read(options_.cgroup_file.c_str())) {
    const std::string proc_cgroup(*own);  // the next read overwrites it
    place = find_place(proc_cgroup, files_.read("/proc/self/mountinfo").value_or(""));
  }
  if (place != group_.place()) cgroup_pressure_base_.reset();
  group_.move_to(place);
}

std::optional<CpuSet> CpuSampler::measure_online(const std::optional<ProcStat>& stat,
                                                 CpuSample& next) noexcept {
  const auto text = files_.read("/sys/devices/system/cpu/online");
  const auto online = text ? parse_cpu_list(*text) : std::nullopt;
  if (online) {
    next.online_cpu_count = count_of(*online);
  } else if (stat && stat->cpu_line_count > 0) {
    next.online_cpu_count = stat->cpu_line_count;
  }
  return online;
}

void CpuSampler::measure_host(const std::optional<ProcStat>& stat, CpuSample& next) noexcept {
  const auto before = std::exchange(host_base_, std::nullopt);
  host_blind_ = CpuBlind::host_unreadable;
  if (!stat) return;
  host_base_ = HostBase{stat->ticks, next.online_cpu_count};
  host_blind_ = CpuBlind::first_sample;
  if (!before) return;
  // A CPU that comes back brings the idle time of its absence with it.
  host_blind_ = CpuBlind::cpus_changed;
  if (before->online_cpu_count != next.online_cpu_count) return;
  host_blind_ = CpuBlind::counters_jumped;
  if (ran_backwards(before->ticks, stat->ticks)) return;

  const HostGrowth growth = host_growth(before->ticks, stat->ticks);
  if (growth.total <= 0) {
    // Less than a tick has passed: keep the figure and go on from the old base.
    host_base_ = before;
    host_blind_ = CpuBlind::counters_frozen;
    if (!is_held(host_seen_mono_ns_, next.attempted_at_mono_ns)) return;
    next.host_usage_permille = sample_.host_usage_permille;
    next.host_steal_permille = sample_.host_steal_permille;
    return;
  }
  host_blind_ = CpuBlind::none;
  host_seen_mono_ns_ = next.attempted_at_mono_ns;
  next.host_usage_permille = to_permille(growth.busy, growth.total);
  next.host_steal_permille = to_permille(growth.steal, growth.total);
}

void CpuSampler::measure_cpuset(const std::optional<CpuSet>& online, CpuSample& next) noexcept {
  for (const std::string& path : group_.place().cpuset_files) {
    const auto text = files_.read(path.c_str());
    const auto cpus = text ? parse_cpu_list(*text) : std::nullopt;
    if (!cpus) continue;
    next.cpuset_cpu_count = count_of(online ? *cpus & *online : *cpus);
    return;
  }
}

void CpuSampler::measure_group(CpuSample& next) noexcept {
  const auto cpu_count_max = next.online_cpu_count.value_or(static_cast<std::uint32_t>(kCpusMax));
  const GroupFigures figures = group_.measure(files_, next.attempted_at_mono_ns, cpu_count_max);
  next.quota_millicpus = figures.quota_millicpus;
  next.capacity_millicpus = figures.quota_millicpus;
  keep_smaller(next.capacity_millicpus, as_millicpus(next.online_cpu_count));
  keep_smaller(next.capacity_millicpus, as_millicpus(next.cpuset_cpu_count));
  keep_smaller(next.capacity_millicpus, as_millicpus(next.affinity_cpu_count));

  next.cgroup_blind = figures.blind;
  next.cgroup_used_millicpus = figures.used_millicpus;
  next.ancestor_usage_permille = figures.busiest_permille;
  if (figures.used_millicpus && !next.capacity_millicpus)
    next.cgroup_blind = CpuBlind::capacity_unknown;
  if (figures.used_millicpus && next.capacity_millicpus) {
    next.cgroup_usage_permille = to_permille(*figures.used_millicpus, *next.capacity_millicpus);
    cgroup_seen_mono_ns_ = next.attempted_at_mono_ns;
  }

  if (const auto& throttling = figures.throttling) {
    next.throttled_permille = throttling->permille;
    next.throttled_millicpus = throttling->millicpus;
    next.throttled_total_usec += throttling->throttled_usec;
    next.throttled_periods_total += throttling->throttled_periods;
    next.quota_periods_total += throttling->periods;
    throttled_.add(throttling->permille, next.attempted_at_mono_ns, options_.smoothing_ns);
  }
  next.smoothed_throttled_permille = throttled_.read(next.attempted_at_mono_ns, options_.hold_ns);
}

CpuPressure CpuSampler::measure_pressure(const std::string& path, std::int64_t now_mono_ns,
                                         std::optional<PressureBase>& base) noexcept {
  CpuPressure result;
  const auto before = std::exchange(base, std::nullopt);
  const auto text = path.empty() ? std::nullopt : files_.read(path.c_str());
  const auto pressure = text ? parse_pressure(*text) : std::nullopt;
  if (!pressure) return result;
  const PressureLine& some = pressure->some;
  base = PressureBase{some.total_usec, now_mono_ns};
  result.some_avg10_centipercent = some.avg10_centipercent;
  result.some_avg60_centipercent = some.avg60_centipercent;
  result.some_avg300_centipercent = some.avg300_centipercent;
  result.some_total_usec = some.total_usec;
  if (pressure->full) result.full_avg10_centipercent = pressure->full->avg10_centipercent;
  if (before && before->total_usec <= some.total_usec) {
    const double stalled_ns =
        static_cast<double>(some.total_usec - before->total_usec) * kNsPerUsec;
    result.some_permille =
        to_permille(stalled_ns, static_cast<double>(now_mono_ns - before->at_mono_ns));
  }
  return result;
}

// A maximum over fewer figures than a moment ago is lower without anything being
// idler. So while one of them is missing that was there, there is no new value
// and the smoothed one stands; only after the hold do the others count alone.
void CpuSampler::combine(CpuSample& next) noexcept {
  const std::int64_t now_mono_ns = next.attempted_at_mono_ns;
  const bool want_host = options_.follow != CpuFollow::cgroup;
  const bool want_cgroup = options_.follow != CpuFollow::host;
  const auto host = want_host ? next.host_usage_permille : std::nullopt;
  const auto cgroup = want_cgroup ? next.cgroup_usage_permille : std::nullopt;

  if (want_host && !host && is_held(host_seen_mono_ns_, now_mono_ns)) {
    next.blind = host_blind_;
  } else if (want_cgroup && !cgroup && is_held(cgroup_seen_mono_ns_, now_mono_ns)) {
    next.blind = next.cgroup_blind;
  } else if (host || cgroup) {
    next.blind = CpuBlind::none;
    next.source = cgroup ? group_.place().kind : CpuSource::host;
    next.sampled_at_mono_ns = now_mono_ns;
    next.usage_permille = host;
    keep_larger(next.usage_permille, cgroup);
    if (want_cgroup) keep_larger(next.usage_permille, next.ancestor_usage_permille);
    usage_.add(*next.usage_permille, now_mono_ns, options_.smoothing_ns);
  } else {
    next.blind = want_host ? host_blind_ : next.cgroup_blind;
  }
  next.smoothed_permille = usage_.read(now_mono_ns, options_.hold_ns);
}

bool CpuSampler::is_held(std::optional<std::int64_t> seen_mono_ns,
                         std::int64_t now_mono_ns) const noexcept {
  return seen_mono_ns && now_mono_ns - *seen_mono_ns < options_.hold_ns;
}

void CpuSampler::Smoothed::add(double next, std::int64_t now_mono_ns,
                               std::int64_t time_constant_ns) noexcept {
  double weight = 1.0;
  if (at_mono_ns && time_constant_ns > 0) {
    const double elapsed_ns = static_cast<double>(now_mono_ns - *at_mono_ns);
    weight = 1.0 - std::exp(-elapsed_ns / static_cast<double>(time_constant_ns));
  }
  value += weight * (next - value);
  at_mono_ns = now_mono_ns;
}

std::optional<std::uint32_t> CpuSampler::Smoothed::read(std::int64_t now_mono_ns,
                                                        std::int64_t hold_ns) noexcept {
  if (at_mono_ns && now_mono_ns - *at_mono_ns >= hold_ns) at_mono_ns.reset();
  if (!at_mono_ns) return std::nullopt;
  return static_cast<std::uint32_t>(std::lround(value));
}

}  // namespace weir::agent
