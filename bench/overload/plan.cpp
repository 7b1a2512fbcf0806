#include "bench/overload/plan.h"

#include <charconv>
#include <string_view>

namespace weir::bench {
namespace {

bool number(std::string_view text, double low, double high, double& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && out >= low && out <= high;
}

template <class T>
bool numbers(std::string_view text, double low, double high, std::vector<T>& out) {
  out.clear();
  for (;;) {
    const std::size_t comma = text.find(',');
    double value = 0.0;
    if (!number(text.substr(0, comma), low, high, value)) return false;
    out.push_back(static_cast<T>(value));
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool take(PlanOptions& options, std::string_view name, std::string_view text) {
  double value = 0.0;
  const auto seconds = [&](TimeNs& out, double low) {
    if (!number(text, low, 200.0, value)) return false;
    out = static_cast<TimeNs>(value * 1e9);
    return true;
  };
  CellSpec& base = options.base;
  if (name == "--before") return seconds(base.before_ns, 0.5);
  if (name == "--during") return seconds(base.during_ns, 1.0);
  if (name == "--after") return seconds(base.after_ns, 0.0);
  if (name == "--settled") return seconds(base.settled_ns, 0.0);
  if (name == "--loads") return numbers(text, 0.1, 50.0, options.loads);
  if (name == "--processes") return numbers(text, 1, kServersMax, options.processes);
  if (name == "--work-ms") {
    if (!number(text, 0.05, 1000.0, value)) return false;
    base.work_ns = static_cast<TimeNs>(value * 1e6);
    return true;
  }
  if (name == "--seed") {
    if (!number(text, 0, 1e15, value)) return false;
    base.seed = static_cast<std::uint64_t>(value);
    return true;
  }
  if (name == "--cpus") {
    std::vector<int> cpus;
    if (!numbers(text, 0, 1023, cpus) || cpus.size() != 2) return false;
    options.server_cpu = cpus[0];
    options.generator_cpu = cpus[1];
    return true;
  }
  return false;
}

constexpr BenchArm kArms[] = {BenchArm::none, BenchArm::fixed, BenchArm::ours, BenchArm::bbr,
                              BenchArm::gradient};

std::vector<CellSpec> smoke_cells(CellSpec spec) {
  spec.processes = 2;
  spec.before_ns = spec.after_ns = kSecond;
  spec.during_ns = 2 * kSecond;
  spec.settled_ns = kSecond / 2;
  spec.load = 3.0;
  std::vector<CellSpec> cells;
  for (const BenchArm arm : {BenchArm::fixed, BenchArm::ours, BenchArm::gradient}) {
    spec.arm = arm;
    spec.kill_every_ns = arm == BenchArm::gradient ? 0 : 400 * kMs;
    cells.push_back(spec);
  }
  return cells;
}

}  // namespace

std::optional<PlanOptions> parse_plan(int argc, char** argv, std::string& json_path,
                                      std::string& error) {
  PlanOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--smoke") {
      options.smoke = true;
    } else if (name == "--all") {
      options.all = true;
    } else if (name == "--json" && i + 1 < argc) {
      json_path = argv[++i];
    } else if (i + 1 < argc && take(options, name, argv[i + 1])) {
      ++i;
    } else {
      error = "not understood: " + std::string(name);
      return std::nullopt;
    }
  }
  if (options.base.settled_ns >= options.base.during_ns) {
    error = "--settled must be less than --during";
    return std::nullopt;
  }
  return options;
}

std::vector<CellSpec> plan_cells(const PlanOptions& options, double capacity_per_second,
                                 double capacity_share, std::uint32_t fixed_limit) {
  CellSpec spec = options.base;
  spec.capacity_per_second = capacity_per_second;
  spec.capacity_share = capacity_share;
  spec.fixed_limit = fixed_limit;
  if (options.smoke) return smoke_cells(spec);
  std::vector<CellSpec> cells;
  for (const int processes : options.processes) {
    for (const double load : options.loads) {
      for (const BenchArm arm : kArms) {
        const bool published = arm == BenchArm::bbr || arm == BenchArm::gradient;
        const bool first = processes == options.processes.front();
        // Only what depends on the number of processes is asked of the other numbers, once.
        if (!first && !options.all && (load != 5.0 || !(published || arm == BenchArm::ours)))
          continue;
        spec.arm = arm;
        spec.processes = processes;
        spec.load = load;
        spec.seed += 1;
        cells.push_back(spec);
      }
    }
  }
  spec.arm = BenchArm::ours;
  spec.processes = options.processes.front();
  spec.load = 2.0;
  CellSpec neighbour = spec;
  neighbour.neighbour = 0.3;
  cells.push_back(neighbour);
  for (const BenchArm arm : {BenchArm::ours, BenchArm::fixed}) {
    CellSpec killed = spec;
    killed.arm = arm;
    killed.kill_every_ns = kSecond;
    cells.push_back(killed);
  }
  return cells;
}

}  // namespace weir::bench
