// One limit as the book sees it: the sums over its holders, and the server's own bucket. The
// server is a holder like any other, except that it changes its own part at once.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lease/fair_share.h"
#include "lease/messages.h"

namespace weir::lease {

enum class Threshold : std::uint8_t {
  global,    // the limit is the cluster's total
  per_host,  // the limit is multiplied by the live hosts
};

// Weight, band and floor of the hosts whose name matches; the first match counts.
struct HostRule {
  std::string pattern;  // '*' stands for any number of characters
  std::uint32_t weight = 1;
  std::uint32_t band = 0;  // the higher one is served first
  Micro floor = 0;

  bool operator==(const HostRule&) const = default;
};
bool matches(const std::string& pattern, const std::string& name) noexcept;

struct LimitConfig {
  std::string name;
  Micro rate = 0;
  Micro burst = 0;
  Threshold threshold = Threshold::global;
  std::string parent;  // the limit that this one is a part of; empty: none
  // Among the limits of one parent.
  std::uint32_t weight = 1;
  std::uint32_t band = 0;
  Micro floor = 0;
  std::vector<HostRule> hosts;

  bool operator==(const LimitConfig&) const = default;
};

inline constexpr std::uint32_t kNone = 0xffffffff;
// What the server never leases, so that a host that wakes finds a token: parts of ten thousand of
// the rate, and of a hundred of the burst.
inline constexpr std::int64_t kReserveRatePer10k = 25;
inline constexpr std::int64_t kReserveBurstPer100 = 1;
inline constexpr Micro kReserveBurstFrom = 20 * kToken;

struct LimitState {
  LimitConfig config;
  LimitId id = 0;
  bool active = false;
  std::uint32_t parent = kNone;
  std::vector<std::uint32_t> children;

  Micro rate = 0;  // in force
  Micro burst = 0;
  // What may be held: by hosts, and with the servers' buckets of this limit and below it.
  Micro host_rate = 0;
  Micro host_burst = 0;
  Micro total_rate = 0;
  Micro total_burst = 0;
  Micro beyond_burst = 0;  // what hosts may hold beyond what they claimed

  // The server's own bucket. It mints at server_rate, up to server_burst.
  Micro server_rate = 0;
  Micro server_burst = 0;
  Micro level = 0;
  TimeNs level_ns = 0;
  Micro token_share = 0;                // of rows in token mode: to be minted here
  Micro head_need = 0;                  // of the first in the queue
  std::int64_t margin_ppm = kDriftPpm;  // that is not minted, lest our clock be fast

  FairShare fair;
  std::uint32_t fair_in_parent = kNone;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> members;  // holder, row
  std::vector<std::pair<std::uint32_t, std::uint32_t>> dirty;    // wants not yet in `fair`
  std::deque<std::pair<std::uint32_t, std::uint32_t>> turns;     // wait for tokens
  std::deque<std::pair<std::uint32_t, std::uint32_t>> short_;    // got less than their target
  Micro lacking = 0;         // what those lack who are far below their shares
  TimeNs turn_since_ns = 0;  // since when the first has been asked to come
  TimeNs flushed_ns = 0;
  TimeNs scanned_ns = 0;
  TimeNs looked_ns = 0;
  bool in_attention = false;
  bool uneven = false;  // some may hold less than their share by now
  std::uint64_t spent_total = 0;
  std::uint64_t refused_total = 0;

  bool leaf() const noexcept { return children.empty(); }
  Micro reserve_rate() const noexcept { return rate / 10'000 * kReserveRatePer10k; }
  // What of rate and burst the server keeps when hosts want all.
  Micro server_rate_min() const noexcept { return std::min(rate, reserve_rate() + token_share); }
  Micro server_burst_min() const noexcept {
    const Micro kept = std::max(kToken, burst / 100 * kReserveBurstPer100);
    return std::min(burst, std::max(kept, head_need));
  }
  // Of the burst, what is never handed out, not even as tokens: the next server may rely on it
  // before it knows what hosts hold. A burst of a few tokens is too small to be cut.
  Micro burst_unleased() const noexcept {
    return burst < kReserveBurstFrom ? 0 : std::max(kToken, burst / 100 * kReserveBurstPer100);
  }
  // What each of so many hosts would have of it.
  const std::pair<Micro, Micro>& part_of_each(Micro hosts) noexcept {
    if (part_for_ != std::tuple(rate, burst, hosts)) {
      part_for_ = {rate, burst, hosts};
      part_ = {rate / hosts, burst / hosts};
    }
    return part_;
  }
  // The most that somebody may ask for at once.
  Micro need_most() const noexcept {
    const Micro most = burst - burst_unleased();
    return most - most % kToken;
  }
  Micro minted_since(TimeNs now_ns) const noexcept {
    return minted(server_rate - mul_div(server_rate, margin_ppm, 1'000'000), now_ns - level_ns);
  }
  Micro level_at(TimeNs now_ns) const noexcept {
    return now_ns <= level_ns ? level : std::min(server_burst, level + minted_since(now_ns));
  }
  // Mints into the server's bucket up to now.
  void settle(TimeNs now_ns) noexcept {
    if (now_ns <= level_ns) return;
    const Micro more = minted_since(now_ns);
    // What is not yet a micro-token stays in the time.
    if (more == 0 && server_rate > 0) return;
    level = std::min(server_burst, level + more);
    level_ns = now_ns;
  }

 private:
  std::tuple<Micro, Micro, Micro> part_for_{0, 0, 0};
  std::pair<Micro, Micro> part_{0, 0};
};

}  // namespace weir::lease
