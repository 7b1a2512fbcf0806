// A host in virtual time: cores that its processes share, open-loop arrivals, clients that lose
// their patience, and somebody who admits or refuses.
//
// Processor sharing is kept in the machine's own time: with n jobs on c cores every job progresses
// at min(1, c / n), so that a job's end is fixed in that time when it starts, and an arrival costs
// one step of a heap however many jobs there are.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "lease/random.h"
#include "sim/overload/arms.h"
#include "sim/overload/measure.h"
#include "sim/overload/scenario.h"

namespace weir::overload {

class Host {
 public:
  explicit Host(const Scenario& scenario);
  Measures run();

 private:
  enum class Stage : std::uint8_t { free, queued, running, pausing };

  struct Job {
    TimeNs asked_ns = 0;
    double left_ns = 0.0;   // of the CPU, in this part of the work
    double later_ns = 0.0;  // of the CPU, after the pause
    TimeNs pause_ns = 0;
    std::uint32_t generation = 0;
    std::uint8_t criticality = 0;
    Stage stage = Stage::free;
    bool refusal = false;  // the little work of saying no
    bool fails = false;
    int process = 0;
  };
  struct Entry {
    double at = 0.0;
    std::uint64_t order = 0;
    std::uint32_t job = 0;
    std::uint32_t generation = 0;
    bool operator>(const Entry& other) const noexcept {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  using Heap = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  struct Patience {
    TimeNs until_ns = 0;
    std::uint32_t job = 0;
    std::uint32_t generation = 0;
  };

  void arrive();
  void plan_arrival();
  void start(std::uint32_t index);
  void finish(std::uint32_t index);
  void leave(std::uint32_t index, bool failed);
  void lose_patience();
  void end_pauses();
  void sample();
  void advance(TimeNs to_ns);
  TimeNs next_end_ns();
  std::uint32_t new_job();
  void free_job(std::uint32_t index);
  bool current(const Entry& entry) const noexcept;
  double draw_work_ns();
  double load() const noexcept;
  double cores() const noexcept;
  std::uint8_t draw_class();

  Scenario scenario_;
  lease::Random random_;
  std::unique_ptr<Arm> arm_;
  Measures measures_;

  TimeNs now_ns_ = 0;
  double machine_ns_ = 0.0;  // how far each running job has come since the start
  TimeNs arrival_ns_ = 0;
  TimeNs sample_ns_ = 0;
  TimeNs tick_ns_ = 0;
  double busy_ns_ = 0.0;     // core time since the last sample
  double waiting_ns_ = 0.0;  // time with more jobs than cores since the last sample
  std::uint64_t order_ = 0;
  std::size_t runnable_ = 0;

  std::vector<Job> jobs_;
  std::vector<std::uint32_t> free_;
  Heap running_;                   // by the machine's time
  Heap pausing_;                   // by true time
  std::deque<Entry> queue_;        // FIFO only: they wait for a core
  std::deque<Patience> patience_;  // in order, since every client waits as long
};

}  // namespace weir::overload
