// One cell of the experiment: one arm, one number of processes, one step of the load. What all its
// processes share lies in one anonymous mapping that was made before they were forked.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "bench/overload/place.h"
#include "sim/overload/measure.h"

namespace weir::bench {

using adaptive::kMs;
using adaptive::kSecond;
using adaptive::TimeNs;

inline constexpr int kServersMax = 8;              // a byte of one word each
inline constexpr std::size_t kTimelineMax = 2400;  // slots of 100 ms

enum class BenchArm : std::uint8_t { none, fixed, ours, bbr, gradient };
const char* arm_name(BenchArm arm);

struct CellSpec {
  BenchArm arm = BenchArm::none;
  int processes = 8;
  double load = 2.0;
  double base_load = 0.5;
  double capacity_per_second = 0.0;  // 0: closed loop, to measure it
  double capacity_share = 1.0;       // of a core, that work gets when the server is full
  std::uint32_t fixed_limit = 8;
  std::uint32_t bulkhead = 200;  // around ours, as the documentation recommends
  TimeNs work_ns = 2 * kMs;
  TimeNs deadline_ns = 100 * kMs;
  TimeNs patience_ns = kSecond;
  TimeNs before_ns = 3 * kSecond;
  TimeNs during_ns = 8 * kSecond;
  TimeNs after_ns = 4 * kSecond;
  TimeNs settled_ns = 2 * kSecond;
  std::array<double, adaptive::kClasses> mix{0.05, 0.35, 0.30, 0.30};
  double neighbour = 0.0;  // of the core, from the middle of the step on
  TimeNs kill_every_ns = 0;
  std::uint64_t seed = 1;
};

// Written by one server process; its supervisor clears it when the process has ended.
struct alignas(64) ServerSlot {
  std::atomic<pid_t> pid{0};
  std::atomic<bool> ready{false};
};

struct TimelineSlot {
  std::uint32_t asked = 0;
  std::uint32_t refused = 0;
  std::uint32_t good = 0;
  std::uint32_t ended = 0;
};

// Written by the generator alone.
struct GeneratorResult {
  bool whole = false;
  overload::Figures figures{};
  double good_work = 0.0;  // of what the CPU could do while settled, answered in time
  double capacity_per_second = 0.0;
  double capacity_share = 0.0;
  double lag_p99_ms = 0.0;  // sent later than intended
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;  // their process was killed, or none was there
  std::size_t timeline_count = 0;
  std::array<TimelineSlot, kTimelineMax> timeline{};
};

struct CellShared {
  std::array<ServerSlot, kServersMax> servers{};
  // What each process has admitted under a limit and not yet given back, a byte each, so that one
  // addition shows all of them at one instant.
  std::atomic<std::uint64_t> held{0};
  std::atomic<std::int64_t> in_flight_most{0};
  std::atomic<std::uint64_t> over_limit{0};  // entries that saw more in flight than the limit
  GeneratorResult result{};
};

struct CellResult {
  CellSpec spec{};
  GeneratorResult run{};
  std::uint64_t over_limit = 0;
  std::int64_t in_flight_most = 0;
  std::int64_t leaked = 0;  // permits still taken after everybody had gone
  int kills = 0;
  double agent_cpu = 0.0;  // of a core, mean over the cell; 0: there was no agent
};

// Where a server process listens.
std::string server_path(const std::string& dir, int index);

// False, and why in `error`: the machine did not let it run. A cell that ran badly is a result.
bool run_cell(const CellSpec& spec, const Place& place, const std::string& dir, CellResult& result,
              std::string& error);

}  // namespace weir::bench
