// Everything that a run depends on, besides the code. Two runs of the same setup are the same run.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lease/book.h"
#include "lease/desk.h"
#include "sim/network.h"
#include "sim/row.h"

namespace weir::sim {

// How what is wanted of a limit lies over hosts and time.
enum class Pattern : std::uint8_t {
  steady,       // some want several times what others want, and go on wanting it
  equal,        // all want the same
  moving,       // dealt anew every few seconds
  skewed,       // the first host wants half of all, the next half of the rest, and so on
  flash_crowd,  // quiet; then a tenth of the hosts want very much for a while
  on_off,       // every host has spells of its own
  wobble,       // every host wants the same, and a tenth more or less, dealt anew each 10 s
  idle_few,     // some hosts want all; the others want a single token now and then
};

struct LimitPlan {
  lease::LimitConfig config;
  Callers callers;
  Pattern pattern = Pattern::steady;
  double overload = 1.5;  // what all hosts want, in parts of the limit
};

enum class Fault : std::uint8_t {
  link_cut,   // one host's connection ends
  partition,  // some hosts and a server do not reach each other
  one_way,    // only one direction is lost
  slow_network,
  lossy_network,
  agent_stop,   // SIGSTOP
  agent_crash,  // restarts and adopts its counters
  host_sleep,   // the machine is suspended
  host_crash,   // and comes back knowing nothing
  host_leave,   // in order, and comes back
  clone,        // a copy of a machine, taken while it runs
  clock_leap,   // a host's clock jumps forward
  clock_drift,  // a host's clock begins to run at another speed, within what is allowed
  server_crash,
  server_freeze,
  store_cut,     // the owner cannot reach the store: another server is elected
  lose_servers,  // all of them at once
  limit_change,
  demand_spike,
};
inline constexpr std::size_t kFaults = 19;
const char* name_of(Fault fault) noexcept;

struct FaultPlan {
  TimeNs every_ns = 0;   // on average; 0: never
  bool regular = false;  // one in each such period, instead of by chance
  TimeNs last_most_ns = 8 * lease::kSecond;
  double cut_least = 0.2;  // of the hosts, by a partition
  double cut_most = 1.0;
  // How often each kind comes, against the others.
  std::array<std::uint32_t, kFaults> weights{};
  std::uint32_t& operator[](Fault fault) { return weights[static_cast<std::size_t>(fault)]; }
  std::uint32_t operator[](Fault fault) const { return weights[static_cast<std::size_t>(fault)]; }
  // Nothing new breaks in the last part of the run; then everything must be whole again.
  TimeNs quiet_ns = 0;
};

struct Setup {
  std::string scenario;
  std::uint64_t seed = 1;
  std::uint32_t hosts = 10;
  double seconds = 60;
  double warm_up_s = 5;
  std::vector<LimitPlan> limits;

  TimeNs ttl_ns = 5 * lease::kSecond;
  TimeNs tail_ns = 5 * lease::kSecond;
  TimeNs refresh_ns = 1 * lease::kSecond;
  std::uint32_t servers = 1;
  std::uint32_t busy = 0;
  Fallback fallback = Fallback::strict;
  std::uint32_t liars = 0;  // hosts that claim what they were never granted
  std::uint32_t storm = 0;  // hosts whose callers retry, so many times each
  std::uint32_t storm_hosts = 0;

  NetworkOptions network;
  std::int64_t host_drift_ppm = 0;  // each host's is anywhere between minus and plus this
  std::int64_t server_drift_ppm = 0;
  bool one_sided = false;  // exactly that much for all instead
  FaultPlan faults;

  TimeNs step_ns = 100 * lease::kMs;
  TimeNs look_gap_ns = 20 * lease::kMs;
  bool strict_oracle = true;  // more than the bound is a failure, not just a figure
  bool must_recover = false;
  lease::BookMutants book_mutants;
  lease::DeskMutants desk_mutants;
  // A hand-written course of events beside the faults: (instant in seconds, what).
  struct Cue {
    double at_s = 0;
    Fault fault = Fault::link_cut;
    double last_s = 1;
    std::vector<std::uint32_t> hosts;
    double amount = 0;
  };
  std::vector<Cue> cues;
};

// For so long after a limit was lowered may the old one still be used: by hosts that are not
// reached, as the lease and its tail run out, and by a server that learns of them.
inline TimeNs memory_of(const Setup& setup) {
  return lease::lengthened(lease::lengthened(setup.ttl_ns)) + lease::lengthened(setup.tail_ns) +
         lease::kSecond;
}

}  // namespace weir::sim
