// The experiment: which cells it is made of, and what is asked of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/overload/cell.h"

namespace weir::bench {

struct PlanOptions {
  bool smoke = false;                   // a few short cells that only show that all parts work
  bool all = false;                     // every arm at every load with every number of processes
  CellSpec base{};                      // phases, work, deadline, mix and seed of every cell
  std::vector<int> processes{8, 1, 4};  // the first one meets every arm at every load
  std::vector<double> loads{1.0, 2.0, 5.0, 10.0};
  int server_cpu = 0;
  int generator_cpu = 1;
};

struct FixedTry {
  std::uint32_t limit = 0;
  double good_work = 0.0;
  double p99_ms = 0.0;
};

struct Experiment {
  PlanOptions options;
  bool grouped = false;
  double capacity_per_second = 0.0;  // before the cells
  double capacity_share = 0.0;
  double capacity_share_after = 0.0;
  std::uint32_t fixed_limit = 0;
  std::vector<FixedTry> tried;
  std::vector<CellResult> cells;
};

// A promise that this experiment judges.
struct Bar {
  std::string name;
  double measured = 0.0;
  double wanted = 0.0;
  bool at_least = true;
  bool reached() const { return at_least ? measured >= wanted : measured <= wanted; }
};

std::optional<PlanOptions> parse_plan(int argc, char** argv, std::string& json_path,
                                      std::string& error);
std::vector<CellSpec> plan_cells(const PlanOptions& options, double capacity_per_second,
                                 double capacity_share, std::uint32_t fixed_limit);

std::vector<Bar> judge(const Experiment& experiment);
// What must hold on any machine, however busy: limits kept, nothing leaked, every cell whole.
std::string broken_rule(const Experiment& experiment);
std::string cell_line(const CellResult& cell);
std::string json_text(const Experiment& experiment);

}  // namespace weir::bench
