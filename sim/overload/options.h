// The command line of `weir-sim overload`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/overload/scenario.h"

namespace weir::overload {

struct NamedArm {
  std::string name;
  ArmKind kind;
};

struct Options {
  Scenario scenario{};
  int seeds = 3;
  std::vector<int> processes{1, 8, 32};
  std::vector<double> loads{1.0, 2.0, 5.0, 10.0};
  std::vector<NamedArm> arms;
  std::vector<double> shares{0.05, 0.10, 0.15, 0.18, 0.19, 0.20};  // of critical_plus, at 5x
  bool mends = false;  // also ours with each mend taken out
  bool fixed_given = false;
  bool json = false;
};

const std::vector<NamedArm>& all_arms();
// Takes one mend out. False: there is none of that name.
bool take_out(adaptive::Mends& mends, const std::string& name);
const std::vector<std::string>& mend_names();

std::optional<Options> parse_options(int argc, char** argv, std::string& error);
const char* usage_text();

}  // namespace weir::overload
