// Results for people and for programs.
#pragma once

#include <iosfwd>
#include <string>

#include "sim/result.h"
#include "sim/scenario.h"

namespace weir::sim {

void print_table(std::ostream& out, const Result& result);
// With `timeless`, nothing in it depends on how fast the run was.
std::string to_json(const Result& result, bool timeless = false);
// The command line that runs this again.
std::string replay_command(const std::string& scenario, const Wishes& wishes);

}  // namespace weir::sim
