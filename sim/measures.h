// What a run is measured by: use, fairness, how fast it follows, what it costs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/host.h"
#include "sim/setup.h"
#include "sim/watch.h"

namespace weir::sim {

// A few figures of a set of numbers.
struct Spread {
  std::size_t count = 0;
  double mean = 0, least = 0, p1 = 0, p50 = 0, p95 = 0, p99 = 0, most = 0;
};
Spread spread_of(std::vector<double> values);

// From a shift of demand until every host's share is where it belongs.
class Convergence {
 public:
  // `fair` by host; shares below kLeast tokens a second are too small to judge.
  void start(const std::vector<double>& wants, double capacity, TimeNs now_ns);
  void held(std::uint32_t host, double rate, TimeNs now_ns);
  bool running() const noexcept { return running_; }
  // In refreshes; kNotYet for a shift that was overtaken by the next.
  std::vector<double>& found() noexcept { return found_; }
  void stop();
  std::string who_is_off() const;

  static constexpr double kLeast = 5;
  static constexpr double kPart = 0.05;
  static constexpr double kNotYet = 99;
  double refresh_ns = 1e9;

 private:
  struct Goal {
    double fair = 0;
    bool full = false;  // it has all that it wants: more than that does no harm
    bool off = false;
  };
  bool is_off(const Goal& goal, double rate) const;

  std::vector<Goal> goals_;
  std::vector<double> rates_;
  std::size_t off_ = 0;
  TimeNs since_ns_ = 0;
  bool running_ = false;
  std::vector<double> found_;
};

struct LimitFigures {
  double use = 0;  // of the limit while more was wanted, after the warm-up
  double contended_s = 0;
  double peak = 0;          // the most of any second, in parts of burst + rate x 1 s
  double peak_of_rate = 0;  // ... of the rate alone
  double held_peak = 0;     // the most that hosts held at once, in parts of the limit
  Spread jain;
  Spread unfair;       // sum |got - fair| / sum fair
  Spread convergence;  // in refreshes, of moves
  Spread first;        // the same, of the first shift
  Spread waits_s;
  double starved_most_s = 0;
  // The numbers behind the spreads, for those who put several runs together.
  std::vector<double> jains, unfairs, moves, waits;
};

class Measures {
 public:
  explicit Measures(const Setup& setup);

  void shift(std::uint32_t limit, const std::vector<double>& wants, TimeNs now_ns);
  // What is measured until now and after it does not belong together.
  void disturb(std::uint32_t limit) { limits_[limit].interval_whole = false; }
  void held(std::uint32_t host, std::uint32_t limit, Micro rate, TimeNs now_ns);
  // Everybody has been brought up to now.
  void step(const std::vector<std::unique_ptr<Host>>& hosts, const Watches& watches, TimeNs now_ns);
  std::string who_is_off(std::uint32_t limit) const {
    return limits_[limit].convergence.who_is_off();
  }
  LimitFigures figures(std::uint32_t limit, const Watch& watch) const;
  // Of the contended seconds at the very end: how much was used.
  double last_use(std::uint32_t limit) const { return limits_[limit].last_use; }

 private:
  struct Snapshot {
    std::uint64_t offered = 0;
    std::uint64_t spent = 0;
  };
  struct Bin {
    TimeNs from_ns = 0;
    std::uint64_t offered = 0;
    std::uint64_t spent = 0;
    Micro rate = 0;
  };
  struct Limit {
    std::vector<Snapshot> hosts;
    TimeNs interval_from_ns = 0;
    bool interval_whole = true;  // no shift and no change of the limit in it
    Bin bin;
    TimeNs bin_ns = lease::kSecond;
    double used = 0, capacity = 0, contended_s = 0;
    double last_use = -1;
    std::vector<double> jain, unfair;
    Convergence convergence;
  };
  void close_bin(Limit& limit, const Watch& watch, const Bin& now);
  void close_interval(std::uint32_t index, const std::vector<std::unique_ptr<Host>>& hosts,
                      const Watch& watch, TimeNs now_ns);

  static constexpr TimeNs kIntervalNs = 5 * lease::kSecond;
  static constexpr double kSmallShare = 1;  // tokens a second; less is not judged for fairness
  const Setup& setup_;
  TimeNs warm_up_ns_;
  std::vector<Limit> limits_;
};

}  // namespace weir::sim
