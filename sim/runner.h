// Runs of the simulator: one, or many seeds on several threads.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "sim/result.h"
#include "sim/scenario.h"

namespace weir::sim {

struct RunOptions {
  std::ostream* progress = nullptr;  // told about long runs
  std::ostream* trace = nullptr;
  double trace_from_s = 0;
  double trace_to_s = 0;
};

Result run_setup(const Setup& setup, const RunOptions& options = {});
Result run_scenario(const std::string& name, const Wishes& wishes = {});

struct SearchResult {
  struct Failure {
    std::uint64_t seed = 0;
    std::string what;
    std::string command;
  };
  std::uint64_t seeds = 0;
  std::vector<Failure> failures;  // in order of the seeds
  Spread use;
  double worst_over = 0;  // tokens
  double worst_peak = 0;
};

SearchResult search_seeds(const Scenario& scenario, const Wishes& wishes, std::uint64_t first,
                          std::uint64_t last, unsigned jobs, std::ostream* progress = nullptr);

}  // namespace weir::sim
