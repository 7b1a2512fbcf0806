// Mints for one domain. The clock is passed in; the shared words are whatever memory the views
// point at. The agent calls tick(), tests do.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "agent/mint/ledger.h"
#include "agent/mint/waiters.h"
#include "shm/mint.h"
#include "shm/view.h"

namespace weir::agent {

inline constexpr std::uint32_t kWakesPerTickMax = 4;
inline constexpr std::uint32_t kWaitersPerLimitMax = 4096;
// Above this many tokens a second one word becomes the bottleneck of a host with many CPUs.
inline constexpr std::uint64_t kStripeRateMin = 5'000'000;
// Stripes hold at most this share of the burst, so that what strands on idle CPUs stays bounded.
inline constexpr std::uint64_t kStripeShare = 4;
inline constexpr std::uint64_t kStripeTokensMin = 64;

struct LimitStats {
  std::uint64_t minted_total = 0;
  std::uint64_t spent_total = 0;
  std::uint64_t refused_total = 0;
  std::uint64_t level = 0;
  double spent_per_s = 0;
  double refused_per_s = 0;
  std::uint64_t forged_total = 0;
  std::uint64_t lost_total = 0;
  std::uint64_t waiting = 0;
  std::uint64_t owed = 0;
};

// What one limit needs for minting, in the agent's own memory.
struct LimitState {
  bool active = false;
  std::uint32_t generation = 0;
  shm::LimitTerms terms;
  std::uint64_t lease_ns = 0;  // how far ahead the lease is renewed
  std::uint64_t reserve[shm::kClasses] = {};
  std::uint32_t stripe_set = 0;
  WaiterQueue waiters;
  std::uint64_t full_word = 0;  // the bucket's word when it was last found full; 0: it was not
  std::int64_t full_since_ns = 0;
  std::uint64_t last_word = 0;
  std::uint64_t last_closed = 0;
  LimitStats stats;
  std::int64_t rates_at_ns = 0;
};

using MonoClock = std::function<std::int64_t()>;

class Minter {
 public:
  Minter(shm::RulesWriter rules, shm::CountersView counters, Ledger ledger, MonoClock clock,
         std::uint64_t stale_after_ns);

  // One tick: takes or renews the office, mints for every limit, serves waiters, and last of all
  // shows the heartbeat. Returns whether anything was spent since the tick before.
  bool tick();
  // Totals and rates, for people; refreshed at a lower rate than the tick.
  void refresh_stats();

  LimitState& limit(std::uint32_t index) { return limits_[index]; }
  const LimitState& limit(std::uint32_t index) const { return limits_[index]; }
  std::uint32_t limits_max() const { return static_cast<std::uint32_t>(limits_.size()); }
  bool office_lost() const { return office_lost_; }
  std::uint32_t waiting() const { return waiting_; }

  // A frame from a client says that this cell of its waits. Whatever is wrong with the cell, the
  // client alone bears it.
  void enqueue(std::uint32_t client, std::uint32_t cell, std::uint32_t sequence);
  void forget_client(std::uint32_t client, std::uint32_t first_cell, std::uint32_t cells);

  // Makes the limit's slot ready for its first token. `level` is what it starts with.
  void start_limit(std::uint32_t index, std::uint64_t level);
  void stop_limit(std::uint32_t index);
  // Gives or takes a stripe set. A set that another limit used before starts with nothing on it;
  // one that the limit had under an earlier agent keeps what the ledger says was granted.
  void assign_stripes(std::uint32_t index, std::uint32_t set, bool had_it = false);
  void set_heartbeat(std::int64_t now_ns);

 private:
  void mint_limit(std::uint32_t index, LimitState& limit, std::int64_t now_ns);
  void mint_sliding(std::uint32_t index, LimitState& limit);
  void share_out(std::uint32_t index, LimitState& limit, std::uint64_t delivered);
  void deal_stripes(std::uint32_t index, const LimitState& limit, std::uint64_t most);
  void lose_put_by();
  std::uint64_t outside(const LimitState& limit);
  bool stripes_untouched(const LimitState& limit);
  void serve_waiters(std::uint32_t index, LimitState& limit);
  void publish_queue(std::uint32_t index, const LimitState& limit);
  void count_waiting();
  void note(std::uint32_t index, LimitState& limit, const shm::MintResult& result);
  void refresh_limit(std::uint32_t index, LimitState& limit, std::int64_t now_ns);
  std::uint32_t first_stripe_cell(const LimitState& limit) const {
    return (limit.stripe_set - 1) * counters_.geometry().cpus;
  }

  shm::RulesWriter rules_;
  shm::CountersView counters_;
  Ledger ledger_;
  MonoClock clock_;
  std::int64_t term_ns_;
  std::vector<LimitState> limits_;
  std::vector<std::uint64_t> taken_seen_;  // for each stripe cell
  shm::Term term_;
  std::uint64_t office_word_ = 0;
  bool office_lost_ = false;
  bool spent_ = false;
  std::uint32_t wakes_left_ = 0;
  std::uint32_t waiting_ = 0;
  std::uint32_t serve_from_ = 0;  // round robin over limits, for fairness of the wake budget
};

}  // namespace weir::agent
