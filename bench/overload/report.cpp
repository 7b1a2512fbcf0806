// What came out, for people and as JSON, and the judgement over it.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/overload/plan.h"

namespace weir::bench {
namespace {

using nlohmann::json;

json seconds_or_null(double value) { return value < 0.0 ? json(nullptr) : json(value); }

const char* disturbance(const CellSpec& spec) {
  if (spec.neighbour > 0.0) return "neighbour";
  return spec.kill_every_ns > 0 ? "kill" : "";
}

bool plain(const CellResult& cell) { return *disturbance(cell.spec) == '\0'; }

json cell_json(const CellResult& cell) {
  const overload::Figures& f = cell.run.figures;
  json seconds = json::array();
  for (std::size_t i = 0; i + 10 <= cell.run.timeline_count; i += 10) {
    TimelineSlot sum;
    for (std::size_t k = i; k < i + 10; ++k) {
      sum.asked += cell.run.timeline[k].asked;
      sum.refused += cell.run.timeline[k].refused;
      sum.good += cell.run.timeline[k].good;
      sum.ended += cell.run.timeline[k].ended;
    }
    seconds.push_back({sum.asked, sum.refused, sum.good, sum.ended});
  }
  return {{"arm", arm_name(cell.spec.arm)},
          {"processes", cell.spec.processes},
          {"load", cell.spec.load},
          {"disturbance", disturbance(cell.spec)},
          {"seed", cell.spec.seed},
          {"goodput", cell.run.good_work},
          {"goodput_by_count", f.goodput},
          {"p99_ms", f.p99_ms},
          {"control_s", seconds_or_null(f.control_seconds)},
          {"recover_s", seconds_or_null(f.recover_seconds)},
          {"falsely_shed", f.falsely_shed},
          {"refused", f.shed},
          {"answered_by_class", f.answered},
          {"sent", cell.run.sent},
          {"lost", cell.run.lost},
          {"generator_lag_p99_ms", cell.run.lag_p99_ms},
          {"in_flight_most", cell.in_flight_most},
          {"entries_over_limit", cell.over_limit},
          {"leaked", cell.leaked},
          {"kills", cell.kills},
          {"agent_cpu", cell.agent_cpu},
          {"seconds", seconds}};
}

const CellResult* find(const Experiment& experiment, BenchArm arm, int processes, double load) {
  for (const CellResult& cell : experiment.cells)
    if (plain(cell) && cell.spec.arm == arm && cell.spec.processes == processes &&
        cell.spec.load == load)
      return &cell;
  return nullptr;
}

}  // namespace

std::vector<Bar> judge(const Experiment& experiment) {
  std::vector<Bar> bars;
  const auto add = [&](std::string name, double measured, double wanted, bool at_least) {
    bars.push_back({std::move(name), measured, wanted, at_least});
  };
  const std::map<double, double> goodputs{{2.0, 95.0}, {5.0, 93.0}, {10.0, 88.0}};
  for (const CellResult& cell : experiment.cells) {
    if (cell.spec.arm != BenchArm::ours) continue;
    char at[96];
    std::snprintf(at, sizeof at, " at %gx, %d processes%s%s", cell.spec.load, cell.spec.processes,
                  plain(cell) ? "" : ", with ", disturbance(cell.spec));
    const overload::Figures& f = cell.run.figures;
    const auto or_never = [](double seconds) { return seconds < 0.0 ? 999.0 : seconds; };
    if (cell.leaked != 0 || !plain(cell))
      add(std::string("permits leaked") + at, static_cast<double>(cell.leaked), 0.0, false);
    if (!plain(cell)) continue;
    if (const auto wanted = goodputs.find(cell.spec.load); wanted != goodputs.end())
      add(std::string("goodput, % of capacity,") + at, 100.0 * cell.run.good_work, wanted->second,
          true);
    const CellResult* fixed =
        find(experiment, BenchArm::fixed, cell.spec.processes, cell.spec.load);
    if (fixed != nullptr && cell.spec.load > 1.0)
      add(std::string("p99 of admitted, times the fixed optimum,") + at,
          f.p99_ms / fixed->run.figures.p99_ms, 1.3, false);
    if (cell.spec.load > 1.0) {
      add(std::string("seconds to control") + at, or_never(f.control_seconds), 1.0, false);
      add(std::string("seconds to recover") + at, or_never(f.recover_seconds), 1.0, false);
    }
    add(std::string("% falsely shed before the step") + at, 100.0 * f.falsely_shed, 0.1, false);
    if (cell.spec.load > 1.0)
      add(std::string("% of critical_plus answered") + at, 100.0 * f.answered[0], 99.9, true);
  }
  return bars;
}

std::string broken_rule(const Experiment& experiment) {
  for (const CellResult& cell : experiment.cells) {
    const std::string where = cell_line(cell);
    if (!cell.run.whole) return "not whole: " + where;
    if (cell.over_limit != 0) return "more in flight than the limit: " + where;
    if (cell.leaked != 0) return "permits leaked: " + where;
    if (cell.run.sent == 0) return "nothing was sent: " + where;
  }
  return experiment.cells.empty() ? "no cells" : "";
}

std::string cell_line(const CellResult& cell) {
  const overload::Figures& f = cell.run.figures;
  const auto seconds = [](double value) {
    char text[16];
    std::snprintf(text, sizeof text, "%.1f s", value);
    return value < 0.0 ? std::string("never") : std::string(text);
  };
  char text[256];
  std::snprintf(
      text, sizeof text,
      "%-8s P=%d %4.1fx %-9s good %5.1f%% p99 %6.0f ms control %6s recover %6s false "
      "%5.2f%% class %5.1f %5.1f %5.1f %5.1f lag %.1f ms leak %lld over %llu agent %.1f%%",
      arm_name(cell.spec.arm), cell.spec.processes, cell.spec.load, disturbance(cell.spec),
      100.0 * cell.run.good_work, f.p99_ms, seconds(f.control_seconds).c_str(),
      seconds(f.recover_seconds).c_str(), 100.0 * f.falsely_shed, 100.0 * f.answered[0],
      100.0 * f.answered[1], 100.0 * f.answered[2], 100.0 * f.answered[3], cell.run.lag_p99_ms,
      static_cast<long long>(cell.leaked), static_cast<unsigned long long>(cell.over_limit),
      100.0 * cell.agent_cpu);
  return text;
}

std::string json_text(const Experiment& experiment) {
  const CellSpec& base = experiment.options.base;
  json cells = json::array();
  for (const CellResult& cell : experiment.cells)
    cells.push_back(cell_json(cell));
  json tried = json::array();
  for (const FixedTry& one : experiment.tried)
    tried.push_back({{"limit", one.limit}, {"goodput", one.good_work}, {"p99_ms", one.p99_ms}});
  json bars = json::array();
  for (const Bar& bar : judge(experiment))
    bars.push_back({{"name", bar.name},
                    {"measured", bar.measured},
                    {"wanted", bar.wanted},
                    {"at_least", bar.at_least},
                    {"reached", bar.reached()}});
  const json whole = {
      {"own_cgroup", experiment.grouped},
      {"server_cpu", experiment.options.server_cpu},
      {"generator_cpu", experiment.options.generator_cpu},
      {"capacity_per_second", experiment.capacity_per_second},
      {"capacity_share_of_core", experiment.capacity_share},
      {"capacity_share_of_core_after", experiment.capacity_share_after},
      {"work_ms", static_cast<double>(base.work_ns) * 1e-6},
      {"deadline_ms", static_cast<double>(base.deadline_ns) * 1e-6},
      {"before_s", static_cast<double>(base.before_ns) * 1e-9},
      {"during_s", static_cast<double>(base.during_ns) * 1e-9},
      {"after_s", static_cast<double>(base.after_ns) * 1e-9},
      {"settled_s", static_cast<double>(base.settled_ns) * 1e-9},
      {"mix", base.mix},
      {"fixed_limit", experiment.fixed_limit},
      {"fixed_tried", tried},
      {"cells", cells},
      {"bars", bars},
  };
  return whole.dump(1, ' ') + "\n";
}

}  // namespace weir::bench
