// The shared bytes of a domain: two segments, declared here and nowhere else.
//
// Rules of this file: fixed-width lock-free atomics of 8 bytes or less; no pointers, no bool, no
// enum without a width, no lock; all-zero memory is a valid "empty" segment; a change of any
// offset below is a new major version. shm/LAYOUT.md states the same numbers for readers of other
// languages, and tests/unit/shm/layout_doc_test.cpp compares the two.
//
//   rules segment     written by the agent alone, read-only for clients (sealed FUTURE_WRITE)
//   counters segment  written by every client of the domain: hostile until it is clamped
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir::shm {

using A32 = std::atomic<std::uint32_t>;
using A64 = std::atomic<std::uint64_t>;
using S64 = std::atomic<std::int64_t>;
static_assert(A32::is_always_lock_free && sizeof(A32) == 4);
static_assert(A64::is_always_lock_free && sizeof(A64) == 8 && alignof(A64) == 8);
static_assert(S64::is_always_lock_free && sizeof(S64) == 8 && alignof(S64) == 8);

inline constexpr std::uint64_t kRulesMagic = 0x31534c5552524557ULL;     // "WERRULS1"
inline constexpr std::uint64_t kCountersMagic = 0x3153524e55434557ULL;  // "WECUNRS1"
inline constexpr std::uint32_t kMajor = 1;
inline constexpr std::uint32_t kMinor = 3;
// Adjacent-line prefetch makes two neighbouring 64-byte lines travel together.
inline constexpr std::size_t kLineBytes = 128;
inline constexpr std::size_t kPageBytes = 4096;

// Bounds on what a header may claim. They bound every size computed from it.
inline constexpr std::uint32_t kLimitsMax = 4096;
inline constexpr std::uint32_t kCpusMax = 1024;
inline constexpr std::uint32_t kStripeSetsMax = 1024;
inline constexpr std::uint32_t kWaitersMax = 65536;
inline constexpr std::uint32_t kLaneSetsMax = 16;
inline constexpr std::size_t kNameBytesMax = 127;  // of a limit's name, without the final zero
inline constexpr std::uint32_t kClasses = 4;  // critical_plus, critical, sheddable_plus, sheddable
inline constexpr std::uint64_t kBurstMax = 1ULL << 40;

constexpr std::uint64_t version_word(std::uint32_t major, std::uint32_t minor) noexcept {
  return (std::uint64_t{major} << 32) | minor;
}

enum class Algorithm : std::uint32_t {
  none = 0,
  token_bucket = 1,
  leaky_bucket = 2,
  fixed_window = 3,
  sliding_window = 4,
};

// What a limit does once its lease and tail have run out with no agent to renew them.
enum class Fallback : std::uint32_t { local = 0, open = 1, closed = 2 };

// ---------------------------------------------------------------- rules segment

// The first page. Line 0 is constant for the segment's life; line 1 is written every tick.
struct alignas(kLineBytes) RulesHeader {
  A64 magic;
  A64 version;  // stored last when the segment is made: a zero means "not ready"
  A64 segment_bytes;
  A64 agent_epoch;     // differs in every run of the agent
  A64 counters_id;     // the counters segment that this one goes with
  A64 stale_after_ns;  // a heartbeat older than this means that the agent is gone
  A64 client_term_ns;  // how long a client may hold the office of minting
  A32 header_bytes;
  A32 limits_max;
  A32 rule_slot_bytes;
  A32 live_slot_bytes;
  A32 resources_max;  // since 1.2: of the toolkit, see shm/toolkit.h; 0: there is none
  A32 features_max;   // since 1.2
  A32 quota_keys;     // since 1.3: slots of keys of quotas, see shm/quota.h; 0: there are none
  A32 quota_reserved;
  A64 quota_seed;  // of the hash by which keys are found, so that nobody can choose its collisions
  std::uint8_t reserved0[kLineBytes - 96];

  S64 heartbeat_mono_ns;  // also the coarse clock
  A64 table_flip;         // bit 0: which table is valid; the rest counts publications
  A32 sleeping;           // 1: the agent ticks slowly; a refused client rings its doorbell
  A32 tick_us;
  std::uint8_t reserved1[kLineBytes - 24];

  // The CPU of the host and of the agent's cgroup, each with the time of its sample.
  S64 cpu_sampled_mono_ns;  // 0: never sampled
  A32 cpu_source;           // 0 none, 1 host, 2 cgroup v1, 3 cgroup v2, 4 hybrid
  A32 cpu_usage_permille;   // of the effective capacity, over the last interval
  A32 cpu_smoothed_permille;
  A32 cpu_capacity_millicpus;
  A32 cpu_throttled_permille;
  A32 cpu_psi_some_avg10_centipercent;
  A32 cpu_host_usage_permille;
  A32 cpu_reserved;
  std::uint8_t reserved2[kLineBytes - 40];

  char domain[64];
  std::uint8_t reserved3[kPageBytes - 3 * kLineBytes - 64];
};
static_assert(sizeof(RulesHeader) == kPageBytes);
static_assert(offsetof(RulesHeader, version) == 8);
static_assert(offsetof(RulesHeader, header_bytes) == 56);
static_assert(offsetof(RulesHeader, resources_max) == 72);
static_assert(offsetof(RulesHeader, quota_keys) == 80);
static_assert(offsetof(RulesHeader, quota_seed) == 88);
static_assert(offsetof(RulesHeader, heartbeat_mono_ns) == 128);
static_assert(offsetof(RulesHeader, table_flip) == 136);
static_assert(offsetof(RulesHeader, sleeping) == 144);
static_assert(offsetof(RulesHeader, cpu_sampled_mono_ns) == 256);
static_assert(offsetof(RulesHeader, domain) == 384);

// A CPU figure that could not be measured. A zero is always a measured zero.
inline constexpr std::uint32_t kCpuAbsent = 0xffffffff;

enum class SlotState : std::uint32_t { empty = 0, active = 1, tombstone = 2 };

// One limit's configuration. There are two tables of these and a flip word: the agent fills the
// table that nobody reads and flips, so that a dead writer leaves the old table whole.
struct alignas(kLineBytes) RuleSlot {
  A32 state;        // SlotState
  A32 generation;   // raised whenever the slot changes its owner
  A32 algorithm;    // Algorithm
  A32 fallback;     // Fallback
  A64 amount;       // tokens minted in each period (windows: the whole window's tokens)
  A64 period_ns;    // windows: the window's length
  A64 burst;        // the most that the bucket may hold (windows: equal to amount)
  A64 tail_amount;  // the rate between the lease's end and the tail's end
  A64 tail_period_ns;
  A64 safe_amount;  // the rate after the tail, when fallback is local
  A64 safe_period_ns;
  A64 safe_burst;
  A64 reserve[kClasses];  // tokens that a class leaves to the classes above it
  A32 stripe_set;         // 1-based; 0 means not striped
  A32 stripes;            // how many CPUs have a stripe in the set
  // Since 1.1, and zero before.
  A64 tail_burst_plus_1;  // the most that the bucket may hold in the tail, and 1; 0: as burst
  A64 cluster_burst;      // of a leased limit: the whole cluster's burst; 0: not leased
  char name[128];         // zero-terminated
  std::uint8_t reserved1[512 - 264];
};
static_assert(sizeof(RuleSlot) == 512);
static_assert(offsetof(RuleSlot, amount) == 16);
static_assert(offsetof(RuleSlot, safe_burst) == 72);
static_assert(offsetof(RuleSlot, reserve) == 80);
static_assert(offsetof(RuleSlot, stripe_set) == 112);
static_assert(offsetof(RuleSlot, tail_burst_plus_1) == 120);
static_assert(offsetof(RuleSlot, cluster_burst) == 128);
static_assert(offsetof(RuleSlot, name) == 136);

// What changes while a limit lives, each word alone.
struct alignas(kLineBytes) LiveSlot {
  S64 lease_end_mono_ns;
  S64 tail_end_mono_ns;
  S64 edge_mono_ns;  // fixed windows: an edge; further ones follow each period after it
  A64 owed;          // tokens that queued waiters are owed
  // Statistics as the agent last saw them; totals since the counters segment was made.
  S64 stats_mono_ns;
  A64 minted_total;
  A64 spent_total;
  A64 refused_total;
  A64 level;              // tokens that can be spent now
  A64 spent_per_s_milli;  // smoothed over about a second
  A64 refused_per_s_milli;
  A64 waiting;       // waiters in the queue
  A64 forged_total;  // words that had to be healed or cut
  A64 lost_total;    // minted tokens that a dead or late minter never delivered
  // Since 1.3: 1: the agent looks at this limit rarely; a refused client's doorbell names it.
  A64 rings;
  A64 reserved[1];
};
static_assert(sizeof(LiveSlot) == 128);
static_assert(offsetof(LiveSlot, owed) == 24);
static_assert(offsetof(LiveSlot, waiting) == 88);
static_assert(offsetof(LiveSlot, rings) == 112);

// The word that a client compares on every call. It lies in a dense array of its own, because it
// changes only when a limit is made, removed or striped.
constexpr std::uint64_t hot_word(std::uint32_t generation, std::uint32_t flags) noexcept {
  return (std::uint64_t{generation} << 32) | flags;
}
inline constexpr std::uint32_t kHotActive = 1;   // a limit lives here
inline constexpr std::uint32_t kHotStriped = 2;  // ask this CPU's stripe first
inline constexpr std::uint32_t kHotReserve = 4;  // even calls of class critical leave a share

// ---------------------------------------------------------------- counters segment

struct alignas(kLineBytes) CountersHeader {
  A64 magic;
  A64 version;  // stored last
  A64 segment_bytes;
  A64 counters_id;  // random; rules segments name the counters that they go with
  A32 header_bytes;
  A32 limits_max;
  A32 counter_slot_bytes;
  A32 cpus;  // refusal lanes are cpus + 1, a stripe set has cpus cells
  A32 stripe_sets;
  A32 waiters;
  A32 lane_sets;      // since 1.1; 0 means 1: refusal lanes alone
  A32 resources_max;  // since 1.2: of the toolkit, see shm/toolkit.h; 0: there is none
  A32 processes_max;  // since 1.2
  A32 holders_max;    // since 1.2
  A32 quota_keys;     // since 1.3: see shm/quota.h; 0: there are none
  A32 quota_reserved;
  std::uint8_t reserved0[kLineBytes - 80];
  A64 office;  // who may mint in this domain: holder and expiry, see shm/office.h
  std::uint8_t reserved1[kPageBytes - kLineBytes - 8];
};
static_assert(sizeof(CountersHeader) == kPageBytes);
static_assert(offsetof(CountersHeader, header_bytes) == 32);
static_assert(offsetof(CountersHeader, lane_sets) == 56);
static_assert(offsetof(CountersHeader, resources_max) == 60);
static_assert(offsetof(CountersHeader, quota_keys) == 72);
static_assert(offsetof(CountersHeader, office) == 128);

// The bucket's word: the number of the mint that may deliver, above a count of tokens with a
// bias, so that losers below zero do not borrow from the number. Clients subtract from it; a
// minter first puts a new number on it and delivers only while that number is still there.
inline constexpr int kTokenBits = 44;
inline constexpr std::uint64_t kTokenMask = (1ULL << kTokenBits) - 1;
inline constexpr std::uint64_t kTokenBias = 1ULL << (kTokenBits - 2);
inline constexpr std::uint64_t kMintUnit = 1ULL << kTokenBits;
static_assert(kBurstMax <= kTokenBias);

constexpr std::int64_t tokens_of(std::uint64_t word) noexcept {
  return static_cast<std::int64_t>(word & kTokenMask) - static_cast<std::int64_t>(kTokenBias);
}
constexpr std::uint64_t mint_of(std::uint64_t word) noexcept { return word >> kTokenBits; }
constexpr std::uint64_t token_word(std::uint64_t mint, std::int64_t tokens) noexcept {
  return mint << kTokenBits |
         (static_cast<std::uint64_t>(tokens + static_cast<std::int64_t>(kTokenBias)) & kTokenMask);
}

// One bucket: three pairs of lines, by who touches them when.
struct alignas(kLineBytes) CounterSlot {
  A64 tokens;  // mint number and tokens; what lies below zero is losers, not debt
  std::uint8_t reserved0[kLineBytes - 8];

  A64 epoch;   // minters raise it after they added tokens
  A64 closed;  // epoch << 24 | level seen by a loser
  std::uint8_t reserved1[kLineBytes - 16];

  A64 book;          // time up to which tokens were minted, and the level then: shm/book.h
  A64 returned;      // refunds that a minter has not folded in yet
  A64 minted_total;  // delivered tokens
  A64 cut_total;     // tokens taken out again: a burst that was lowered, or forged ones
  std::uint8_t reserved2[kLineBytes - 32];
};
static_assert(sizeof(CounterSlot) == 384);
static_assert(offsetof(CounterSlot, epoch) == 128);
static_assert(offsetof(CounterSlot, book) == 256);

// A CPU's share of a striped bucket.
struct alignas(kLineBytes) StripeCell {
  A64 taken;    // written by this CPU's restartable sequence alone
  A64 granted;  // raised by the agent alone, never lowered
  std::uint8_t reserved[kLineBytes - 16];
};
static_assert(sizeof(StripeCell) == 128);
static_assert(offsetof(StripeCell, granted) == 8);

enum class WaiterState : std::uint32_t { free = 0, waiting = 1, granted = 2, cancelled = 3 };

// One waiting call. The state word is a shared futex: a sequence number above two bits of
// WaiterState, so that an answer to a wait that was cancelled never meets the cell's next one.
struct alignas(64) WaiterCell {
  A32 state;
  A32 limit_index;
  A32 limit_generation;
  A32 priority_class;
  A64 tokens;
  A64 reserved[5];
};
constexpr std::uint32_t waiter_word(std::uint32_t sequence, WaiterState state) noexcept {
  return sequence << 2 | static_cast<std::uint32_t>(state);
}
static_assert(sizeof(WaiterCell) == 64);
static_assert(offsetof(WaiterCell, tokens) == 16);

// Where everything lies, computed from a few counts. Both sides compute it from counts that they
// have checked; nobody reads an offset out of shared memory.
struct RulesGeometry {
  std::uint32_t limits_max = 0;

  constexpr std::size_t hot_offset() const noexcept { return sizeof(RulesHeader); }
  constexpr std::size_t live_offset() const noexcept {
    return round_up(hot_offset() + sizeof(A64) * limits_max);
  }
  constexpr std::size_t table_offset(std::uint32_t which) const noexcept {
    return live_offset() + (sizeof(LiveSlot) + sizeof(RuleSlot) * which) * limits_max;
  }
  constexpr std::size_t bytes() const noexcept {
    return (table_offset(2) + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
  static constexpr std::size_t round_up(std::size_t n) noexcept {
    return (n + kLineBytes - 1) / kLineBytes * kLineBytes;
  }
};

// What the lanes of each set count. Only the first set is in segments of version 1.0.
inline constexpr std::uint32_t kLaneRefused = 0;  // refused calls, retries among them
inline constexpr std::uint32_t kLaneRetried = 1;  // those that their caller said were retries
inline constexpr std::uint32_t kLaneExtra = 2;  // tokens that the others asked for beyond one each
inline constexpr std::uint32_t kLaneSets = 3;

struct CountersGeometry {
  std::uint32_t limits_max = 0;
  std::uint32_t cpus = 0;
  std::uint32_t stripe_sets = 0;
  std::uint32_t waiters = 0;
  std::uint32_t lane_sets = 1;

  constexpr std::size_t slot_offset() const noexcept { return sizeof(CountersHeader); }
  // Lane `cpus` is shared by threads that cannot learn their CPU.
  constexpr std::size_t lane_stride() const noexcept {
    return RulesGeometry::round_up(sizeof(A64) * limits_max);
  }
  constexpr std::size_t lane_offset() const noexcept {
    return slot_offset() + sizeof(CounterSlot) * limits_max;
  }
  // All lanes of one set.
  constexpr std::size_t lane_set_bytes() const noexcept {
    return lane_stride() * (std::size_t{cpus} + 1);
  }
  constexpr std::size_t stripe_offset() const noexcept { return lane_offset() + lane_set_bytes(); }
  constexpr std::size_t waiter_offset() const noexcept {
    return stripe_offset() + sizeof(StripeCell) * stripe_sets * cpus;
  }
  constexpr std::size_t bytes() const noexcept {
    const std::size_t end = waiter_offset() + sizeof(WaiterCell) * waiters;
    return (end + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
  // The further sets lie behind all that a reader of version 1.0 knows, and are not in the size
  // that the header states, so that it takes the segment for one of its own.
  constexpr std::size_t set_offset(std::uint32_t set) const noexcept {
    return set == 0 ? lane_offset() : bytes() + lane_set_bytes() * (set - 1);
  }
  constexpr std::size_t bytes_with_sets() const noexcept {
    const std::size_t end = set_offset(lane_sets);
    return lane_sets <= 1 ? bytes() : (end + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
};

}  // namespace weir::shm
