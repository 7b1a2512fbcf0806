// The rows that scripts/bench.sh reports, and how each of them is measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/books.h"
#include "bench/host.h"
#include "bench/session.h"

namespace weir::bench {

struct Row {
  std::string name;
  std::string floor;  // in words
  double bar = 0;     // the ratio to reach; 0: the row is there to compare with
  Comparison found;   // idle_agent_cpu: percent of a core in place of nanoseconds
  std::optional<double> admitted_over_minted;
  std::string note;  // why the figure does not mean what it should

  bool reached() const {
    return found.rounds > 0 && note.empty() && (bar == 0 || found.ratio <= bar) &&
           (!admitted_over_minted || *admitted_over_minted == 1.0);
  }
};

// All rows of the hot path, interleaved in one run. Empty, with a message on stderr, when nothing
// could be measured.
std::vector<Row> measure_calls(const AgentProcess& agent, const Effort& effort);
// What an agent with 1,000 unused limits costs, in percent of a core.
std::optional<Row> measure_idle_agent(const std::string& agent_program, const Effort& effort);

}  // namespace weir::bench
