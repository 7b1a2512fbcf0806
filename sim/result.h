// What came out of a run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/measures.h"

namespace weir::sim {

// A rule that did not hold: the first time, and the worst.
struct Violation {
  std::string what;
  std::string limit;
  double at_s = 0;
  double amount = 0;  // tokens, or tokens a second
  std::string note;
};

struct LimitResult {
  std::string name;
  double rate = 0, burst = 0;
  double admitted = 0;           // all, fallback and what is apart included
  double over_admitted = 0;      // the worst window, beyond burst + rate x window; below 0: room
  double over_admitted_all = 0;  // the same with what is kept apart
  double over_held_rate = 0, over_held_burst = 0;
  double stale = 0, copied = 0, fallback = 0;  // tokens that are kept apart
  double lowered_s = 0;  // how long hosts held more than a lowered limit, at most
  LimitFigures figures;
};

struct Result {
  std::string scenario;
  std::uint64_t seed = 0;
  std::uint32_t hosts = 0;
  double seconds = 0;
  double cpu_s = 0;  // that the run took of one core
  std::vector<LimitResult> limits;
  std::vector<Violation> violations;
  std::vector<std::pair<std::string, std::uint32_t>> faults;  // how many of each kind
  std::uint64_t events = 0;
  double messages_per_s = 0, requests_per_host_s = 0, retries_per_s = 0;
  std::uint64_t identities = 0, withdrawn = 0, runaways = 0;
  Spread learning_s;
  Spread first_token_round_trips;
  double round_trip_ms = 0;

  bool ok() const { return violations.empty(); }
  // Over all limits that were contended, by time.
  double use() const;
};

}  // namespace weir::sim
