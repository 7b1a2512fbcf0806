#include "agent/cpu/parse.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

namespace weir::agent {
namespace {

constexpr std::uint64_t kNsPerUsec = 1000;
constexpr std::string_view kBlank = " \t\r";

std::string_view trim(std::string_view text) noexcept {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Takes what stands before `separator` off the front of `rest`.
std::string_view take_until(std::string_view& rest, char separator) noexcept {
  const auto end = rest.find(separator);
  const std::string_view piece = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return piece;
}

std::string_view take_line(std::string_view& rest) noexcept {
  std::string_view line = take_until(rest, '\n');
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

// Empty when no word is left.
std::string_view take_word(std::string_view& rest) noexcept {
  rest.remove_prefix(std::min(rest.find_first_not_of(kBlank), rest.size()));
  const std::string_view word = rest.substr(0, rest.find_first_of(kBlank));
  rest.remove_prefix(word.size());
  return word;
}

// The whole of `text` in decimal digits: no sign, no blank, no overflow.
template <class Integer>
std::optional<Integer> parse_digits(std::string_view text) noexcept {
  Integer value = 0;
  const char* const end = text.data() + text.size();
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc{} || result.ptr != end) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_u64(std::string_view text) noexcept {
  return parse_digits<std::uint64_t>(text);
}

std::optional<std::uint64_t> usec_to_ns(std::optional<std::uint64_t> usec) noexcept {
  if (!usec || *usec > std::numeric_limits<std::uint64_t>::max() / kNsPerUsec) return std::nullopt;
  return *usec * kNsPerUsec;
}

// The words after "cpu". The first four have always been there; the later ones
// came with later kernels, but one that is there must be a number.
std::optional<HostTicks> parse_ticks(std::string_view rest) noexcept {
  constexpr int kFieldsMin = 4;
  HostTicks ticks;
  std::uint64_t* const fields[] = {&ticks.user,   &ticks.nice,      &ticks.system,  &ticks.idle,
                                   &ticks.iowait, &ticks.irq,       &ticks.softirq, &ticks.steal,
                                   &ticks.guest,  &ticks.guest_nice};
  int field_count = 0;
  for (std::uint64_t* const field : fields) {
    const std::string_view word = take_word(rest);
    if (word.empty()) break;
    const auto value = parse_u64(word);
    if (!value) return std::nullopt;
    *field = *value;
    ++field_count;
  }
  if (field_count < kFieldsMin) return std::nullopt;
  return ticks;
}

bool add_range(std::string_view range, CpuSet& cpus) noexcept {
  const auto dash = range.find('-');
  const auto first = parse_digits<std::size_t>(range.substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? first : parse_digits<std::size_t>(range.substr(dash + 1));
  if (!first || !last || *first > *last || *last >= kCpusMax) return false;
  for (std::size_t cpu = *first; cpu <= *last; ++cpu)
    cpus.set(cpu);
  return true;
}

// "0.87" is 87. One or two decimals, as the kernel prints them, and at most 100 %.
std::optional<std::uint32_t> parse_centipercent(std::string_view text) noexcept {
  constexpr std::uint32_t kCentipercentMax = 10'000;
  const auto dot = text.find('.');
  const auto whole = parse_digits<std::uint32_t>(text.substr(0, dot));
  if (!whole || *whole > 100) return std::nullopt;
  std::uint32_t hundredths = 0;
  if (dot != std::string_view::npos) {
    const std::string_view decimals = text.substr(dot + 1);
    const auto value = parse_digits<std::uint32_t>(decimals);
    if (!value || decimals.size() > 2) return std::nullopt;
    hundredths = decimals.size() == 1 ? *value * 10 : *value;
  }
  const std::uint32_t centipercent = *whole * 100 + hundredths;
  if (centipercent > kCentipercentMax) return std::nullopt;
  return centipercent;
}

// The words after "some" or "full"; all four must be there.
std::optional<PressureLine> parse_pressure_line(std::string_view rest) noexcept {
  std::optional<std::uint32_t> avg10, avg60, avg300;
  std::optional<std::uint64_t> total_usec;
  for (std::string_view word = take_word(rest); !word.empty(); word = take_word(rest)) {
    const std::string_view key = take_until(word, '=');
    if (key == "avg10") avg10 = parse_centipercent(word);
    if (key == "avg60") avg60 = parse_centipercent(word);
    if (key == "avg300") avg300 = parse_centipercent(word);
    if (key == "total") total_usec = parse_u64(word);
  }
  if (!avg10 || !avg60 || !avg300 || !total_usec) return std::nullopt;
  return PressureLine{*avg10, *avg60, *avg300, *total_usec};
}

// Is `name` one of the comma-separated words? "cpu" is not in "rw,cpuset".
bool has_name(std::string_view list, std::string_view name) noexcept {
  while (!list.empty()) {
    if (take_until(list, ',') == name) return true;
  }
  return false;
}

bool is_path(std::string_view path) noexcept {
  return !path.empty() && path.front() == '/' && path.size() < kPathBytesMax &&
         path.find('\0') == std::string_view::npos;
}

bool is_octal(char c) noexcept { return c >= '0' && c <= '7'; }

// mountinfo writes blank, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) noexcept {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) &&
                         is_octal(text[i + 2]) && is_octal(text[i + 3]);
    if (!escaped) {
      out.push_back(text[i]);
      continue;
    }
    const int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
    out.push_back(static_cast<char>(code & 0xff));
    i += 3;
  }
  return out;
}

struct MountLine {
  std::string_view id, parent_id, root, mount_point, fs_type, super_options;
};

// "id parent dev root mount-point options [optional ...] - type source super".
// The optional fields are any number of words, so only the lone dash ends them.
std::optional<MountLine> parse_mount_line(std::string_view rest) noexcept {
  MountLine line;
  line.id = take_word(rest);
  line.parent_id = take_word(rest);
  take_word(rest);  // device
  line.root = take_word(rest);
  line.mount_point = take_word(rest);
  take_word(rest);  // per-mount options
  std::string_view word = take_word(rest);
  while (!word.empty() && word != "-")
    word = take_word(rest);
  if (word.empty()) return std::nullopt;
  line.fs_type = take_word(rest);
  // The source may be the empty string, and then one word alone is left.
  const std::string_view source = take_word(rest);
  const std::string_view options = take_word(rest);
  line.super_options = options.empty() ? source : options;
  if (line.super_options.empty()) return std::nullopt;
  return line;
}

// A later mount on the very same directory is what a path look-up finds.
bool is_hidden(std::string_view text, const MountLine& mount) noexcept {
  while (!text.empty()) {
    const auto other = parse_mount_line(take_line(text));
    if (other && other->parent_id == mount.id && other->mount_point == mount.mount_point)
      return true;
  }
  return false;
}

std::optional<CgroupMount> to_cgroup_mount(const MountLine& line) noexcept {
  CgroupMount mount;
  mount.v2 = line.fs_type == "cgroup2";
  if (!mount.v2 && line.fs_type != "cgroup") return std::nullopt;
  mount.cpu = !mount.v2 && has_name(line.super_options, "cpu");
  mount.cpuacct = !mount.v2 && has_name(line.super_options, "cpuacct");
  mount.cpuset = !mount.v2 && has_name(line.super_options, "cpuset");
  if (!mount.v2 && !mount.cpu && !mount.cpuacct && !mount.cpuset) return std::nullopt;
  mount.root = unescape(line.root);
  mount.mount_point = unescape(line.mount_point);
  if (!is_path(mount.root) || !is_path(mount.mount_point)) return std::nullopt;
  return mount;
}

}  // namespace

std::optional<ProcStat> parse_proc_stat(std::string_view text) noexcept {
  std::optional<ProcStat> stat;
  std::uint32_t cpu_line_count = 0;
  while (!text.empty()) {
    std::string_view rest = take_line(text);
    const std::string_view name = take_word(rest);
    if (!name.starts_with("cpu")) break;  // the cpu lines come first, always together
    if (name == "cpu") {
      const auto ticks = parse_ticks(rest);
      if (!ticks) return std::nullopt;
      stat = ProcStat{*ticks, 0};
    } else if (parse_digits<std::uint32_t>(name.substr(3))) {
      ++cpu_line_count;
    }
  }
  if (stat) stat->cpu_line_count = cpu_line_count;
  return stat;
}

std::optional<CpuSet> parse_cpu_list(std::string_view text) noexcept {
  std::string_view rest = trim(text);
  if (rest.empty() || rest.back() == ',') return std::nullopt;
  CpuSet cpus;
  while (!rest.empty()) {
    if (!add_range(take_until(rest, ','), cpus)) return std::nullopt;
  }
  return cpus;
}

std::optional<std::uint32_t> CpuQuota::millicpus() const noexcept {
  if (!quota_usec || period_usec == 0) return std::nullopt;
  const double exact =
      std::round(static_cast<double>(*quota_usec) * 1000.0 / static_cast<double>(period_usec));
  return static_cast<std::uint32_t>(std::clamp(exact, 1.0, static_cast<double>(kCpusMax) * 1000.0));
}

std::optional<CpuQuota> parse_cpu_max(std::string_view text) noexcept {
  std::string_view rest = trim(text);
  const std::string_view quota_word = take_word(rest);
  const auto period_usec = parse_u64(take_word(rest));
  if (!period_usec || *period_usec == 0 || !trim(rest).empty()) return std::nullopt;
  if (quota_word == "max") return CpuQuota{std::nullopt, *period_usec};
  const auto quota_usec = parse_u64(quota_word);
  if (!quota_usec || *quota_usec == 0) return std::nullopt;
  return CpuQuota{*quota_usec, *period_usec};
}

std::optional<CpuQuota> parse_cfs_quota(std::string_view quota_text,
                                        std::string_view period_text) noexcept {
  const auto period_usec = parse_u64(trim(period_text));
  if (!period_usec || *period_usec == 0) return std::nullopt;
  const std::string_view quota_word = trim(quota_text);
  if (quota_word == "-1") return CpuQuota{std::nullopt, *period_usec};
  const auto quota_usec = parse_u64(quota_word);
  if (!quota_usec || *quota_usec == 0) return std::nullopt;
  return CpuQuota{*quota_usec, *period_usec};
}

std::optional<CpuStat> parse_cpu_stat(std::string_view text) noexcept {
  CpuStat stat;
  while (!text.empty()) {
    std::string_view rest = take_line(text);
    const std::string_view key = take_word(rest);
    const auto value = parse_u64(take_word(rest));
    if (key == "usage_usec") stat.usage_ns = usec_to_ns(value);
    if (key == "nr_periods") stat.periods_total = value;
    if (key == "nr_throttled") stat.throttled_periods_total = value;
    if (key == "throttled_usec") stat.throttled_ns = usec_to_ns(value);
    if (key == "throttled_time") stat.throttled_ns = value;  // v1, in nanoseconds already
  }
  if (!stat.usage_ns && !stat.periods_total && !stat.throttled_periods_total && !stat.throttled_ns)
    return std::nullopt;
  return stat;
}

std::optional<std::uint64_t> parse_cpuacct_usage_ns(std::string_view text) noexcept {
  return parse_u64(trim(text));
}

std::optional<Pressure> parse_pressure(std::string_view text) noexcept {
  std::optional<PressureLine> some, full;
  while (!text.empty()) {
    std::string_view rest = take_line(text);
    const std::string_view kind = take_word(rest);
    if (kind == "some") some = parse_pressure_line(rest);
    if (kind == "full") full = parse_pressure_line(rest);
  }
  if (!some) return std::nullopt;
  return Pressure{*some, full};
}

std::optional<OwnCgroups> parse_proc_cgroup(std::string_view text) noexcept {
  OwnCgroups own;
  bool any = false;
  while (!text.empty()) {
    std::string_view path = take_line(text);  // may hold colons of its own
    const std::string_view hierarchy = take_until(path, ':');
    const std::string_view controllers = take_until(path, ':');
    if (!parse_u64(hierarchy) || !is_path(path)) continue;
    any = true;
    if (hierarchy == "0" && controllers.empty()) own.v2_path = std::string(path);
    if (has_name(controllers, "cpu")) own.v1_cpu_path = std::string(path);
    if (has_name(controllers, "cpuacct")) own.v1_cpuacct_path = std::string(path);
    if (has_name(controllers, "cpuset")) own.v1_cpuset_path = std::string(path);
  }
  if (!any) return std::nullopt;
  return own;
}

std::vector<CgroupMount> parse_cgroup_mounts(std::string_view text) noexcept {
  std::vector<CgroupMount> mounts;
  std::string_view rest = text;
  while (!rest.empty() && mounts.size() < kCgroupMountsMax) {
    const auto line = parse_mount_line(take_line(rest));
    if (!line) continue;
    auto mount = to_cgroup_mount(*line);
    if (mount && !is_hidden(text, *line)) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

}  // namespace weir::agent
