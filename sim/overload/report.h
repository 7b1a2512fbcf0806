// The results of many runs, as a table for people and as JSON for plots.
#pragma once

#include <string>
#include <vector>

#include "sim/overload/measure.h"

namespace weir::overload {

// One arm at one load with one number of processes: the mean over seeds for shares and times of
// responses, the worst seed for times to control and to recover and for what was falsely shed.
struct Row {
  std::string arm;
  int processes = 1;
  double load = 0.0;
  Figures figures;
};

struct Bar {
  std::string name;
  double measured = 0.0;
  double wanted = 0.0;
  bool at_least = true;
  // What was asked for and what is possible, where the latter is less and `wanted` goes by it.
  double stated = -1.0;
  double possible = -1.0;

  bool reached() const noexcept { return at_least ? measured >= wanted : measured <= wanted; }
};

Figures combined(const std::vector<Figures>& seeds);
std::string table_text(const std::vector<Row>& rows, const std::vector<Bar>& bars);
std::string json_text(const std::vector<Row>& rows, const std::vector<Bar>& bars,
                      const Scenario& scenario, int seeds);

}  // namespace weir::overload
