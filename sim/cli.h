// The command line of weir-sim.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace weir::sim {

// 0: all rules held; 1: one was broken, or a figure missed; 2: the command line is wrong.
int run_program(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace weir::sim
