// A host as the shedder sees it, for tests: so many answers a second, so long, at such a use.
#pragma once

#include "adaptive/shedder.h"

namespace weir::adaptive {

struct Load {
  double per_second = 400.0;
  TimeNs response_ns = 10 * kMs;
  double failed_per_second = 0.0;
  TimeNs failed_ns = 0;
  double asked_per_second = 0.0;  // 0: as many as are answered
  double refused_per_second = 0.0;
  std::uint64_t in_flight = 4;
  Signal signal{.cpu_permille = 500,
                .pressure_permille = 20,
                .throttled_permille = 0,
                .capacity_millicpus = 8000};
};

inline constexpr Signal kFull{.cpu_permille = 1000,
                              .pressure_permille = 1000,
                              .throttled_permille = 0,
                              .capacity_millicpus = 8000};
inline constexpr Signal kNoSignal{};

class ShedHost {
 public:
  explicit ShedHost(const ShedderOptions& options = {}) : shedder(options) {}

  // Ticks of 10 ms; a sample of the CPU each 100 ms.
  void run(TimeNs span_ns, const Load& load) {
    const TimeNs end_ns = now_ns + span_ns;
    while (now_ns < end_ns) {
      now_ns += 10 * kMs;
      if (now_ns / (10 * kMs) % 10 == 0) shedder.on_signal(now_ns, load.signal);
      tick(load);
    }
  }
  void tick(const Load& load) {
    Traffic traffic;
    traffic.succeeded = take(succeeded_, load.per_second);
    traffic.succeeded_ns = traffic.succeeded * static_cast<std::uint64_t>(load.response_ns);
    traffic.failed = take(failed_, load.failed_per_second);
    traffic.failed_ns = traffic.failed * static_cast<std::uint64_t>(load.failed_ns);
    traffic.asked[1] =
        take(asked_, load.asked_per_second > 0.0 ? load.asked_per_second : load.per_second);
    traffic.refused[1] = take(refused_, load.refused_per_second);
    traffic.in_flight = load.in_flight;
    shedder.on_traffic(now_ns, traffic);
  }
  bool sheds_at(std::uint64_t in_flight, Criticality criticality = Criticality::critical) const {
    return sheds(shedder.words(), criticality, in_flight, 0);
  }

  TimeNs now_ns = 1000 * kSecond;
  Shedder shedder;

 private:
  static std::uint64_t take(double& owed, double per_second) {
    owed += per_second / 100.0;
    const auto whole = static_cast<std::uint64_t>(owed);
    owed -= static_cast<double>(whole);
    return whole;
  }
  double succeeded_ = 0.0;
  double failed_ = 0.0;
  double asked_ = 0.0;
  double refused_ = 0.0;
};

}  // namespace weir::adaptive
