// Decides, for a whole host, when work must be shed and how much may be in flight meanwhile. The
// agent owns one for each service, feeds it with counts and with its sampler's signals, and
// publishes its words.
//
// The idea is that of BBR (Cardwell and others, ACM Queue 14(5), 2016) as it is used for servers by
// bilibili's and go-kratos' limiters: what a machine can usefully hold is its capacity times the
// response time without queueing; more than that only waits. What they get wrong is mended, and
// each mend has a switch, so that tests and the simulation can show what it is worth:
//
//   freeze_baseline  the response time is learnt while the host is not overloaded, and with a
//   delay,
//                    so that the onset of an overload does not get in before it is noticed
//   fractional_rt    response times are not rounded up to whole milliseconds
//   second_rates     rates are taken over a second, not extrapolated from the fullest 100 ms; what
//                    a half idle host could do is its rate divided by its use of the CPU
//   refresh_hold     the hold time counts from the last hot moment, not from the first
//   sane_cold_start  a host without history starts from its CPUs, not from 'one in flight'; the
//                    last known capacity outlives an idle time
//   errors_apart     a fast failure is no proof of speed
//   fast_signal      CPU is averaged over half a second instead of ten, in fractions; pressure and
//                    throttling count at once
//   surge_gate       more in flight than the host can possibly work off opens the gate before the
//                    next sample of the CPU arrives
//   headroom         the limit lies above capacity times response time by its square root, or the
//                    machine would idle through every gap between arrivals
//   use_servo        a limit that leaves the CPU idle while work is refused is raised
#pragma once

#include <array>
#include <cstdint>

#include "adaptive/estimate.h"
#include "adaptive/shed_classes.h"
#include "adaptive/shed_word.h"
#include "adaptive/units.h"
#include "adaptive/window.h"

namespace weir::adaptive {

// How often who owns one feeds it: the agent and the simulation alike.
inline constexpr TimeNs kShedTickNs = 20 * kMs;     // on_traffic
inline constexpr TimeNs kShedSampleNs = 100 * kMs;  // on_signal

struct Mends {
  bool freeze_baseline = true;
  bool fractional_rt = true;
  bool second_rates = true;
  bool refresh_hold = true;
  bool sane_cold_start = true;
  bool errors_apart = true;
  bool fast_signal = true;
  bool surge_gate = true;
  bool headroom = true;
  bool use_servo = true;

  static constexpr Mends none() noexcept {
    return {false, false, false, false, false, false, false, false, false, false};
  }
};

struct ShedderOptions {
  std::int32_t cpu_hot_permille = 800;
  std::int32_t pressure_hot_permille = 600;   // share of time in which some task waits for a CPU
  std::int32_t throttled_hot_permille = 250;  // share of the quota periods that ran dry
  TimeNs signal_tau_ns = 500 * kMs;
  TimeNs hold_ns = kSecond;
  TimeNs signal_stale_ns = 2 * kSecond;
  std::uint32_t limit_min = 2;
  std::uint32_t blind_limit = 0;  // the bulkhead while the sampler is blind; 0: by latency alone
  ClassOptions classes{};
  Mends mends{};
};

// What the sampler saw. Negative is unknown.
struct Signal {
  std::int32_t cpu_permille = -1;  // since the sample before, of what this host may use
  std::int32_t pressure_permille = -1;
  std::int32_t throttled_permille = -1;
  std::int32_t capacity_millicpus = -1;
};

// What happened on the whole host since the last call. The sums come out of memory that clients
// write, so each is cut to what can be meant.
struct Traffic {
  std::uint64_t succeeded = 0;
  std::uint64_t succeeded_ns = 0;  // the sum of their response times
  std::uint64_t failed = 0;
  std::uint64_t failed_ns = 0;
  std::array<std::uint64_t, kClasses> asked{};    // first tries by class, refused ones included
  std::array<std::uint64_t, kClasses> refused{};  // by this shedder
  std::uint64_t in_flight = 0;
};

class Shedder {
 public:
  explicit Shedder(const ShedderOptions& options = {}) noexcept;

  void on_signal(TimeNs now_ns, const Signal& signal) noexcept;
  // At least each 100 ms; the more often, the sooner a surge is answered.
  void on_traffic(TimeNs now_ns, const Traffic& traffic) noexcept;

  const ShedWords& words() const noexcept { return words_; }

  // For inspection. A limit of 0 is 'none'.
  struct View {
    bool shedding = false;  // the gate is open: the limit applies
    bool blind = false;
    bool baseline_known = false;
    double limit = 0.0;
    double surge_limit = 0.0;
    double capacity_per_second = 0.0;
    double baseline_ns = 0.0;
    double trim = 1.0;
    double cpu_permille = 0.0;  // averaged
  };
  View view() const noexcept;

 private:
  static constexpr std::size_t kCells = 50;  // of 100 ms
  static constexpr std::size_t kSecondCells = 10;

  struct Cell {
    double succeeded = 0.0;
    double succeeded_ns = 0.0;
    double refused = 0.0;
    double cpu_sum = 0.0;  // of the samples that fell into the cell
    double cpu_count = 0.0;
    std::array<double, kClasses> asked{};
  };
  // Responses of one cell that are not yet believed, or all that are.
  struct Waiting {
    double count = 0.0;
    double sum_ns = 0.0;
  };
  struct CapacityCell {
    double per_second = 0.0;
  };

  void on_cell(TimeNs at_ns) noexcept;
  void learn_capacity(TimeNs at_ns) noexcept;
  void learn_baseline(TimeNs at_ns) noexcept;
  void believe(TimeNs at_ns, const Waiting& seen) noexcept;
  double calmness() const noexcept;
  void turn_servo(TimeNs at_ns) noexcept;
  void gate(TimeNs at_ns, const Traffic& traffic) noexcept;
  bool signal_hot(TimeNs at_ns) const noexcept;
  bool latency_hot() const noexcept;
  void find_limits() noexcept;
  void publish(TimeNs at_ns) noexcept;
  double asked_per_second(TimeNs at_ns, std::size_t index) const noexcept;
  double cpu_second(double unknown) const noexcept;
  double response_second_ns(double count_min) const noexcept;
  bool quiet(TimeNs at_ns) const noexcept;
  bool blind(TimeNs at_ns) const noexcept;
  double cpus() const noexcept;
  const Cell& cells_now() const noexcept { return cells_.place(cells_.head()); }

  ShedderOptions options_;
  ForwardTime time_;
  Window<Cell, kCells> cells_{100 * kMs};
  Window<CapacityCell, kCells> capacities_{100 * kMs};
  std::uint64_t cells_seen_ = 0;
  TimeNs last_traffic_ns_ = 0;
  TimeNs cell_from_ns_ = 0;  // since when the counts of the cell that is being filled are
  TimeNs gap_at_ns_ = -kNever;

  Signal signal_{};
  TimeNs signal_at_ns_ = -kNever;
  Ewma cpu_;
  int full_samples_ = 0;  // neighbouring samples of a full CPU or of high pressure

  double capacity_per_second_ = 0.0;
  double baseline_ns_ = 0.0;
  TimeNs baseline_at_ns_ = 0;
  Waiting believed_{};
  double calm_before_ = 0.0;
  std::array<Waiting, kSecondCells> waiting_{};
  std::size_t waiting_count_ = 0;
  double trim_ = 1.0;

  bool open_ = false;
  bool blind_ = true;
  TimeNs hot_at_ns_ = -kNever;
  TimeNs opened_at_ns_ = -kNever;
  TimeNs surge_until_ns_ = -kNever;  // a surge that no signal has confirmed yet
  TimeNs surge_doubted_ns_ = -kNever;
  double surge_doubt_ = 1.0;
  double limit_ = 0.0;
  double surge_limit_ = 0.0;
  ShedWords words_{};
};

}  // namespace weir::adaptive
