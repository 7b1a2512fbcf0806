#include "sim/overload/overload.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>

#include "sim/overload/host.h"
#include "sim/overload/options.h"
#include "sim/overload/report.h"

namespace weir::overload {
namespace {

constexpr std::uint32_t kFixedTriedMin = 6;
constexpr std::uint32_t kFixedTriedMax = 24;
constexpr std::uint32_t kFixedTriedMore = 4;  // places
constexpr double kCriticalLoad = 5.0;
constexpr double kCriticalWanted = 99.9;     // percent
constexpr double kCriticalPossible = 99.95;  // from here on the bar is within reach
constexpr double kSteadyMost = 0.2;          // of the capacity

Figures run_seeds(Scenario scenario, int seeds) {
  std::vector<Figures> all;
  const std::uint64_t first = scenario.seed;
  for (int i = 0; i < seeds; ++i) {
    scenario.seed = first + static_cast<std::uint64_t>(i);
    all.push_back(Host(scenario).run().figures());
  }
  return combined(all);
}

// The fixed limit that brings the most in time at twice the capacity: what somebody would choose
// who knew the load, the machine and the work in advance.
std::uint32_t fixed_optimum(Scenario scenario) {
  scenario.arm = ArmKind::fixed;
  scenario.load = 2.0;
  std::uint32_t best = 0;
  double best_goodput = -1.0;
  const auto cores = static_cast<std::uint32_t>(scenario.cores);
  const double inside = static_cast<double>(scenario.work_ns + scenario.pause_ns) /
                        static_cast<double>(scenario.work_ns);
  // A host of one core needs more places for a core than one of many.
  const std::uint32_t most = kFixedTriedMax + kFixedTriedMore * 8 / cores;
  for (std::uint32_t tried = kFixedTriedMin; tried <= most; ++tried) {
    const double places = static_cast<double>(tried * cores) / 8.0 * inside;
    if (scenario.fixed_limit == std::max(1U, static_cast<std::uint32_t>(places)) && best > 0)
      continue;
    scenario.fixed_limit = std::max(1U, static_cast<std::uint32_t>(places));
    const double goodput = Host(scenario).run().figures().goodput;
    if (goodput <= best_goodput) continue;
    best_goodput = goodput;
    best = scenario.fixed_limit;
  }
  return best;
}

std::vector<Row> sweep(const Options& options) {
  std::vector<Row> rows;
  for (const NamedArm& arm : options.arms) {
    for (const int processes : options.processes) {
      for (const double load : options.loads) {
        Scenario scenario = options.scenario;
        scenario.arm = arm.kind;
        scenario.processes = processes;
        scenario.load = load;
        rows.push_back({arm.name, processes, load, run_seeds(scenario, options.seeds)});
      }
    }
  }
  return rows;
}

// Ours with one mend less each, and with none: what each of them is worth.
std::vector<Row> without_mends(const Options& options) {
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, const adaptive::Mends& mends) {
    for (const double load : options.loads) {
      Scenario scenario = options.scenario;
      scenario.arm = ArmKind::ours;
      scenario.load = load;
      scenario.shedder.mends = mends;
      rows.push_back({name, scenario.processes, load, run_seeds(scenario, options.seeds)});
    }
  };
  for (const std::string& name : mend_names()) {
    adaptive::Mends mends = options.scenario.shedder.mends;
    take_out(mends, name);
    add("-" + name, mends);
  }
  add("-all", adaptive::Mends::none());
  return rows;
}

Row critical_row(const Options& options, const std::string& name, ArmKind kind, Scenario scenario) {
  scenario.arm = kind;
  scenario.load = kCriticalLoad;
  return {name, scenario.processes, kCriticalLoad, run_seeds(scenario, options.seeds)};
}

std::array<double, kClasses> mix_of(double share) {
  return {share, (1.0 - share) * 0.4, (1.0 - share) * 0.3, (1.0 - share) * 0.3};
}

// Ours first, the last of which is the class that does not grow with the load; then `strict`, which
// lets the most important class in whatever is in flight, for comparison.
std::vector<Row> critical_runs(const Options& options) {
  std::vector<Row> rows;
  const std::pair<const char*, ArmKind> arms[] = {{"ours", ArmKind::ours},
                                                  {"strict", ArmKind::strict}};
  for (const auto& [name, kind] : arms) {
    Scenario scenario = options.scenario;
    char label[64];
    for (const double share : options.shares) {
      scenario.mix = mix_of(share);
      std::snprintf(label, sizeof label, "%s, %g%% critical+", name, 100.0 * share);
      rows.push_back(critical_row(options, label, kind, scenario));
    }
    scenario.mix = mix_of(0.0);
    scenario.steady_most = kSteadyMost;
    std::snprintf(label, sizeof label, "%s, %g%% of capacity", name, 100.0 * kSteadyMost);
    rows.push_back(critical_row(options, label, kind, scenario));
  }
  return rows;
}

std::vector<const Row*> rows_of(const std::vector<Row>& rows, const std::string& arm, double load) {
  std::vector<const Row*> found;
  for (const Row& row : rows)
    if (row.arm == arm && row.load == load) found.push_back(&row);
  return found;
}

// Where less than `enough` is all that can be done, a bar is a hundredth below that.
void go_by_possible(Bar& bar, double possible, double enough) {
  if (possible >= enough) return;
  bar.stated = bar.wanted;
  bar.possible = possible;
  bar.wanted = 0.99 * possible;
}

void judge_load(const std::vector<Row>& rows, double load, double wanted, std::vector<Bar>& bars) {
  const auto ours = rows_of(rows, "ours", load);
  if (ours.empty()) return;
  char at[32];
  std::snprintf(at, sizeof at, " at %gx", load);
  const auto bar = [&](const std::string& name, double measured, double limit, bool at_least) {
    bars.push_back({name + at, measured, limit, at_least});
  };
  double least = std::numeric_limits<double>::infinity();
  double most = 0.0;
  double p99_ms = 0.0;
  double control = 0.0;
  double recover = 0.0;
  double falsely = 0.0;
  for (const Row* row : ours) {
    const Figures& f = row->figures;
    least = std::min(least, 100.0 * f.goodput);
    most = std::max(most, 100.0 * f.goodput);
    p99_ms = std::max(p99_ms, f.p99_ms);
    control = std::max(control, f.control_seconds < 0.0 ? 999.0 : f.control_seconds);
    recover = std::max(recover, f.recover_seconds < 0.0 ? 999.0 : f.recover_seconds);
    falsely = std::max(falsely, 100.0 * f.falsely_shed);
  }
  const auto fixed = rows_of(rows, "fixed", load);
  bar("goodput, % of capacity, worst number of processes,", least, wanted, true);
  if (!fixed.empty()) go_by_possible(bars.back(), 100.0 * fixed.front()->figures.goodput, wanted);
  bar("goodput, points between numbers of processes,", most - least, 2.0, false);
  if (!fixed.empty())
    bar("p99 of admitted, times the fixed optimum,", p99_ms / fixed.front()->figures.p99_ms, 1.3,
        false);
  bar("seconds to control, worst seed,", control, 1.0, false);
  bar("seconds to recover, worst seed,", recover, 1.0, false);
  bar("% falsely shed before the step, worst seed,", falsely, 0.1, false);
}

std::vector<Bar> judge(const std::vector<Row>& rows, const std::vector<Row>& critical) {
  std::vector<Bar> bars;
  judge_load(rows, 2.0, 95.0, bars);
  judge_load(rows, 5.0, 93.0, bars);
  judge_load(rows, 10.0, 88.0, bars);
  // Where the class alone asks for about all that the host can do, the price of the refusals or the
  // clients' patience leaves less than the bar; it is a hundredth below what they leave then, since
  // `strict` lets a queue grow that only its clients end, and ours keeps one to a fifth of that.
  const std::size_t count = critical.size() / 2;
  for (std::size_t i = 0; i < count; ++i) {
    const Figures& ours = critical[i].figures;
    const double possible =
        100.0 * std::min(ours.possible_of_most, critical[count + i].figures.answered[0]);
    bars.push_back({"% of critical_plus answered at 5x: " + critical[i].arm,
                    100.0 * ours.answered[0], kCriticalWanted});
    go_by_possible(bars.back(), possible, kCriticalPossible);
  }
  return bars;
}

}  // namespace

int run_overload(int argc, char** argv) {
  std::string error;
  auto options = parse_options(argc, argv, error);
  if (!options) {
    std::fprintf(stderr, "%s\n%s", error.c_str(), usage_text());
    return 2;
  }
  if (!options->fixed_given) options->scenario.fixed_limit = fixed_optimum(options->scenario);
  std::vector<Row> rows = sweep(*options);
  const std::vector<Row> critical = critical_runs(*options);
  const std::vector<Bar> bars = judge(rows, critical);
  rows.insert(rows.end(), critical.begin(), critical.end());
  if (options->mends) {
    const std::vector<Row> mended = without_mends(*options);
    rows.insert(rows.end(), mended.begin(), mended.end());
  }
  const std::string text = options->json ? json_text(rows, bars, options->scenario, options->seeds)
                                         : table_text(rows, bars);
  std::fputs(text.c_str(), stdout);
  const bool reached =
      std::all_of(bars.begin(), bars.end(), [](const Bar& bar) { return bar.reached(); });
  return reached ? 0 : 1;
}

}  // namespace weir::overload
