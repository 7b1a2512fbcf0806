// The named courses of events.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/setup.h"

namespace weir::sim {

// What the caller wants to be otherwise than the scenario says.
struct Wishes {
  std::uint64_t seed = 1;
  std::optional<std::uint32_t> hosts;
  std::optional<std::uint32_t> limits;
  std::optional<double> seconds;
  std::optional<double> rate;  // tokens a second, of every limit
  std::optional<double> burst;
  std::optional<double> overload;
  std::optional<double> ttl_s, tail_s, refresh_s;
  std::optional<Fallback> fallback;
  std::vector<std::string> mutants;  // "book.no_tails"
};

struct Scenario {
  std::string name;
  std::string about;
  std::uint32_t hosts = 10;
  std::uint32_t limits = 1;
  double seconds = 60;
  // The hosts, limits and seconds of `setup` are those that are wanted.
  void (*fill)(Setup& setup, std::uint32_t limits, lease::Random& random) = nullptr;
};

const std::vector<Scenario>& scenarios();
const Scenario* find_scenario(const std::string& name);
Setup make_setup(const Scenario& scenario, const Wishes& wishes);

// Switches of the core that take a rule out, by name.
const std::vector<std::string>& mutant_names();
bool set_mutant(Setup& setup, const std::string& name);

}  // namespace weir::sim
