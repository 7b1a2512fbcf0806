// Mints for one domain. The clock is passed in; the shared words are whatever memory the views
// point at. The agent calls tick(), tests do.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "agent/mint/ledger.h"
#include "agent/mint/waiters.h"
#include "lease/desk.h"
#include "shm/mint.h"
#include "shm/view.h"

namespace weir::agent {

// How often a bucket that nobody waits for is looked at. A look at a bucket in use fetches lines
// that its clients write: a thousand of them each tick would be most of what the agent costs. So a
// bucket is looked at a few times in what it takes to fill it, or when its next token is due while
// somebody is refused. From a bucket that nobody was refused by for a while the first refused call
// rings, and then it is looked at at once.
inline constexpr std::int64_t kLookNs = 16'000'000;
inline constexpr std::int64_t kLookCalmNs = 48'000'000;
inline constexpr std::int64_t kPressedNs = 50'000'000;
// Less than this is not worth a doorbell.
inline constexpr std::int64_t kRingsFromNs = 2'000'000;
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

// What a leased limit's lease desk has to know, and whether there is news.
struct Demanded {
  lease::Usage usage;
  std::uint64_t refused_seen = 0;  // the lanes at the last look, hostile
  std::uint64_t calls_seen = 0;
  std::uint64_t refused_total = 0;  // tokens of first refusals, clamped
  std::uint64_t folded_total = 0;   // refunds that mints took in
  std::uint64_t filled_total = 0;   // of them tokens that came from the server
  std::int64_t refused_at_ns = 0;
  std::int64_t looked_ns = 0;
  bool listed = false;  // in touched_
};

// What one limit needs for minting, in the agent's own memory.
struct LimitState {
  bool active = false;
  std::uint32_t generation = 0;
  shm::LimitTerms terms;
  // The lease of a limit of this host is the agent's own: it renews it so far ahead. A leased
  // limit's is what the terms say, and nobody here renews it.
  std::uint64_t lease_ns = 0;
  bool leased = false;
  std::uint64_t cluster_burst = 0;
  std::array<std::uint32_t, shm::kClasses> reserve_permille{};
  std::uint64_t reserve[shm::kClasses] = {};
  std::uint32_t stripe_set = 0;
  WaiterQueue waiters;
  std::uint64_t full_word = 0;  // the bucket's word when it was last found full; 0: it was not
  std::int64_t full_since_ns = 0;
  std::int64_t full_until_ns = 0;  // when the rule under which it is full ends
  std::uint64_t last_word = 0;
  std::uint64_t last_closed = 0;
  std::int64_t pressed_until_ns = 0;  // somebody was refused not long before
  LimitStats stats;
  std::int64_t rates_at_ns = 0;
  Demanded demanded;
};

using MonoClock = std::function<std::int64_t()>;

class Minter {
 public:
  Minter(shm::RulesWriter rules, shm::CountersView counters, Ledger ledger, MonoClock clock,
         std::uint64_t stale_after_ns);

  // One tick: takes or renews the office, mints for every limit, serves waiters, and last of all
  // shows the heartbeat. Returns whether anything was spent since the tick before.
  bool tick();
  // When a tick is due, if nothing comes in between: a time in the past means the next one.
  std::int64_t next_due_ns() const;
  // A client says that it was refused by this limit, or by one that it does not name. Every number
  // may be a lie, which costs a look.
  void attend(std::uint32_t index);
  void attend_all();
  // Totals and rates, for people; refreshed at a lower rate than the tick.
  void refresh_stats();

  // Puts terms in force from this instant on: up to now the old ones have minted, and what is not
  // yet a whole token goes over at its worth. With the next mint tokens above the new burst go.
  void change_terms(std::uint32_t index, const shm::LimitTerms& terms);
  void mint_now(std::uint32_t index);
  // Something about it is new: the next tick is to look, whatever the last look found.
  void look_again(std::uint32_t index) {
    limits_[index].full_word = 0;
    due_ns_[index] = 0;
  }

  // Leased limits alone.
  // Tokens out of the server's bucket. What finds no room is void.
  void fill(std::uint32_t index, std::uint64_t tokens);
  // Takes out all that is there, as a caller would; returns how much that was.
  std::uint64_t drain(std::uint32_t index);
  // Leased limits that somebody spent from or was refused by: `each` says whether it has looked at
  // usage() and the limit leaves the list.
  template <class Each>
  void take_touched(const Each& each) {
    std::erase_if(touched_, [&](std::uint32_t index) {
      limits_[index].demanded.listed = !each(index);
      return !limits_[index].demanded.listed;
    });
    newly_refused_ = false;
  }
  // Whether it was refused since the last call of usage().
  bool refused_since(std::uint32_t index) const {
    return limits_[index].demanded.refused_at_ns > limits_[index].demanded.looked_ns;
  }
  bool any_touched() const { return !touched_.empty(); }
  // A leased limit refused for the first time in a while.
  bool newly_refused() const { return newly_refused_; }
  // The gate of a dry limit is opened with it, or its next refusal would not show.
  const lease::Usage& usage(std::uint32_t index);

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
  void look_at(std::uint32_t index, std::int64_t now_ns);
  void mint_limit(std::uint32_t index, LimitState& limit, std::int64_t now_ns);
  void note_demand(std::uint32_t index, LimitState& limit, bool refused, std::int64_t now_ns);
  void plan_look(std::uint32_t index, LimitState& limit, std::int64_t now_ns);
  std::int64_t look_wait_ns(std::uint32_t index, const LimitState& limit, const shm::MintRule& rule,
                            std::int64_t now_ns) const;
  void list_touched(std::uint32_t index, LimitState& limit);
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
  std::vector<std::int64_t> due_ns_;       // for each limit: when to look at it
  std::int64_t ticked_ns_ = 0;
  shm::Term term_;
  std::uint64_t office_word_ = 0;
  bool office_lost_ = false;
  bool spent_ = false;
  std::uint32_t wakes_left_ = 0;
  std::uint32_t waiting_ = 0;
  std::vector<std::uint32_t> touched_;
  bool newly_refused_ = false;
  std::uint32_t serve_from_ = 0;  // round robin over limits, for fairness of the wake budget
};

}  // namespace weir::agent
