// One resource as the agent sees it: its configuration, what it has learnt, what it publishes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "adaptive/breaker_counts.h"
#include "adaptive/gradient.h"
#include "adaptive/retry.h"
#include "adaptive/shedder.h"
#include "adaptive/throttle.h"
#include "agent/toolkit/response_times.h"
#include "rules/toolkit.h"
#include "shm/toolkit.h"

namespace weir::agent {

// Over the last whole second.
struct ResourceFigures {
  std::uint64_t in_flight = 0;
  double asked_per_s = 0.0;
  double succeeded_per_s = 0.0;
  double failed_per_s = 0.0;
  double refused_per_s = 0.0;  // by any of the tools
  double shed_share = 0.0;
  double response_ns = 0.0;  // mean of the successes; 0: there were none
  ResponseQuantiles response;
  double baseline_ns = 0.0;  // without a queue; 0: not known
  double limit = 0.0;        // of the shedder; 0: none
  bool shedding = false;
  bool blind = false;
  std::array<double, adaptive::kClasses> class_asked_per_s{};
  std::array<double, adaptive::kClasses> class_shed_share{};
};

// How a breaker came to stand as it does.
struct BreakerStory {
  adaptive::BreakerState state = adaptive::BreakerState::closed;
  const char* reason = "";  // empty: as it began
  std::int64_t since_ns = 0;
  std::int64_t due_ns = 0;  // when an open one may be probed, or a probe is lost; 0: neither
  std::uint64_t opened_total = 0;
};

class Resource {
 public:
  Resource(const shm::ToolkitView& view, std::uint32_t place, std::uint32_t generation);

  // Writes the configuration; what did not change keeps what it has learnt.
  void configure(const ResourceConfig& config, std::int64_t now_ns);
  void retire();
  // Whether anything happened since the last one.
  bool tick(std::int64_t now_ns);
  void on_signal(std::int64_t now_ns, const adaptive::Signal& signal);
  // Until that moment, or, with 0, until told otherwise. closed lets go.
  void force(adaptive::BreakerState state, std::int64_t now_ns, std::int64_t until_ns = 0);
  void note_expired(std::uint64_t permits);
  void note_reaped(std::uint64_t total);
  // Of a limit that the cluster shares: this host's part. In force when it returns; 0: nobody
  // enters. Until it is called for the first time nobody does.
  void set_permits(std::uint64_t cap);
  // Read after whatever was put in force before.
  std::uint64_t in_flight() const;

  const ResourceConfig& config() const { return config_; }
  const std::string& name() const { return config_.name; }
  std::uint32_t place() const { return place_; }
  std::uint32_t generation() const { return generation_; }
  const ResourceFigures& figures() const { return figures_; }
  const shm::OutcomeTotals& totals() const { return totals_; }
  adaptive::BreakerState breaker_state() const;
  adaptive::BreakerState forced() const { return forced_; }
  std::int64_t forced_until_ns() const { return forced_until_ns_; }
  const BreakerStory& breaker_story() const { return story_; }
  std::uint32_t throttle_share() const;
  std::uint64_t retry_level() const;
  std::uint64_t trips_total() const { return trips_total_; }
  std::uint64_t forged_total() const { return forged_total_; }
  std::uint64_t expired_total() const { return expired_total_; }
  std::uint64_t reaped_total() const { return reaped_total_; }
  std::uint64_t uncounted_total() const;
  // Of what the agent's host may use, 1 is all; negative: not known.
  double cpu_share() const { return cpu_permille_ < 0 ? -1.0 : cpu_permille_ / 1000.0; }

 private:
  struct Cell {
    double asked = 0.0, succeeded = 0.0, succeeded_ns = 0.0, failed = 0.0;
    double refused = 0.0, shed = 0.0;
    std::array<double, adaptive::kClasses> by_class{};
    std::array<double, adaptive::kClasses> shed_by_class{};
  };

  shm::ResourceRule& rule() const;
  shm::ResourceCounter& counter() const { return view_.counter(place_); }
  void write_config();
  void write_concurrency();
  shm::OutcomeTotals growth();
  void tick_shed(std::int64_t now_ns, const shm::OutcomeTotals& grown, std::uint64_t in_flight);
  void tick_breaker(std::int64_t now_ns, const shm::OutcomeTotals& grown);
  void begin_story(std::int64_t now_ns);
  void note_breaker(std::int64_t now_ns, std::uint64_t word, adaptive::TripReason tripped);
  void tick_retry(std::int64_t now_ns, const shm::OutcomeTotals& grown);
  void tick_figures(std::int64_t now_ns, const shm::OutcomeTotals& grown, std::uint64_t in_flight);

  shm::ToolkitView view_;
  std::uint32_t place_;
  std::uint32_t generation_;
  ResourceConfig config_;
  shm::OutcomeTotals totals_;
  adaptive::Window<Cell, 11> window_{100 * adaptive::kMs};
  ResourceFigures figures_;
  std::unique_ptr<ResponseTimes> responses_;  // since the first success
  std::unique_ptr<adaptive::Shedder> shedder_;
  std::unique_ptr<adaptive::HostGradient> gradient_;
  std::unique_ptr<adaptive::BreakerCounts> counts_;
  std::unique_ptr<adaptive::Throttle> throttle_;
  std::unique_ptr<adaptive::RetryBudget> retry_;
  adaptive::BreakerPolicy policy_;
  adaptive::BreakerState forced_ = adaptive::BreakerState::closed;
  std::int64_t forced_until_ns_ = 0;
  BreakerStory story_;
  std::uint32_t story_generation_ = 0;
  std::uint32_t breaker_generation_ = 0;
  std::uint64_t retry_published_ = 0;
  std::uint64_t trips_total_ = 0;
  std::uint64_t forged_total_ = 0;
  std::uint64_t expired_total_ = 0;
  std::uint64_t reaped_total_ = 0;
  std::uint64_t draws_ = 0;
  std::int32_t cpu_permille_ = -1;
  std::uint64_t permits_ = 0;
  bool begun_ = false;
};

}  // namespace weir::agent
