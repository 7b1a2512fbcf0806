// Quotas that last: counts that must never be handed out twice, however hosts, servers and disks
// fail. The values that the book (server), the desk (host) and the store pass to each other.
//
// A quota belongs to a key. Hosts spend it in chunks: the server debits a chunk on stable storage
// before it leaves, the host spends it without asking, reports how much of it is spent, and gives
// back the rest. At each step, for each generation of each key:
//
//   total = remaining + consumed + held by hosts + lost with hosts
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lease/units.h"

namespace weir::lease {

using Units = std::int64_t;  // of a quota: whole ones, unlike the tokens of a limit
// Also what a quota without a count begins with. Sums of a few of them fit, and so does JSON.
inline constexpr Units kUnitsMax = 1'000'000'000'000'000;
inline constexpr std::size_t kQuotaNameBytesMax = 128;
inline constexpr std::size_t kQuotaKeyBytesMax = 512;  // name and key, with what stands between
inline constexpr std::size_t kChunksMax = 4;           // that one host has of one key
inline constexpr std::size_t kRecentChangesMax = 8;

// Name and key in one, for everything that need not tell them apart.
inline constexpr char kQuotaKeySeparator = '\n';
std::string quota_key(std::string_view name, std::string_view key);
std::pair<std::string_view, std::string_view> split_quota_key(std::string_view joined) noexcept;
// What is wrong with it, for people; empty: nothing. Control characters and broken UTF-8 are.
std::string check_quota_key(std::string_view name, std::string_view key);

enum class QuotaType : std::uint8_t { count, time, hybrid };
enum class QuotaPeriod : std::uint8_t { none, day, week, month };
enum class QuotaState : std::uint8_t { active, suspended, deleted };

// What an operator decides. Times of day are numbers here, passed in and out and compared with
// each other alone.
struct QuotaConfig {
  QuotaType type = QuotaType::count;
  QuotaPeriod period = QuotaPeriod::none;
  Units total = 0;                       // of each generation; of no meaning for `time`
  std::int64_t valid_until_wall_ms = 0;  // 0: for ever
  std::uint32_t rate_per_min = 0;        // 0: no rate limit of its own
  std::uint32_t rate_burst = 0;          // 0: a tenth of a minute's worth, and at least one
  std::string zone;                      // of the period's edges, for whoever computes them

  bool operator==(const QuotaConfig&) const = default;
};

struct QuotaRecord {
  QuotaConfig config;
  std::uint64_t version = 0;  // of what is stored: a change names the one that it replaces
  std::uint64_t gen = 0;      // the generation: reset, the period's edge and a restore begin one
  Units total = 0, remaining = 0, consumed = 0, lost = 0;  // of this generation
  QuotaState state = QuotaState::active;
  std::int64_t period_end_wall_ms = 0;  // 0: none
  std::int64_t synced_wall_ms = 0;      // when a host was heard about this key, or it was changed
  std::vector<std::uint64_t> changes;   // ids of the last ones, the newest last: done only once

  Units held() const noexcept { return total - remaining - consumed - lost; }
  bool operator==(const QuotaRecord&) const = default;
};

enum class ChunkState : std::uint8_t {
  open,
  lost,          // its host was silent for too long
  written_back,  // and an operator has put as much into the quota as was lost with it
};

struct Chunk {
  std::uint64_t seq = 0;  // with the agent's epoch its name; never given twice
  std::uint64_t gen = 0;
  Units granted = 0;
  Units spent = 0;  // as far as the host has said
  ChunkState state = ChunkState::open;

  Units unspent() const noexcept { return granted - spent; }
  bool operator==(const Chunk&) const = default;
};

// What one start of one agent has to do with one key. It is kept while a message of that agent may
// still be under way: by last_seq a repeated request is known.
struct QuotaHolding {
  std::uint64_t agent_epoch = 0;
  std::string host;
  std::uint64_t last_seq = 0;
  std::uint64_t gen = 0;             // of the two figures that follow
  Units consumed = 0, refunded = 0;  // refunds are never more than was consumed
  std::vector<Chunk> chunks;

  bool operator==(const QuotaHolding&) const = default;
};

// What of that generation it holds.
Units held_in(const QuotaHolding& holding, std::uint64_t gen) noexcept;

enum class QuotaAction : std::uint8_t {
  consume,
  refund,
  grant,
  give_back,
  lost,
  late_return,
  write_back,
  top_up,
  reset,
  rollover,
  create,
  configure,
  suspend,
  resume,
  remove,
  forgotten,
  restore,
};
std::string_view to_text(QuotaAction action) noexcept;
std::string_view to_text(QuotaType type) noexcept;
std::string_view to_text(QuotaPeriod period) noexcept;
std::string_view to_text(QuotaState state) noexcept;

// One line of the audit log; the key is that of what it comes with.
struct QuotaEvent {
  QuotaAction action = QuotaAction::consume;
  std::string host;     // or who asked for the change
  std::string process;  // by name; empty where it is not known
  std::uint32_t uid = 0xffffffff;
  Units amount = 0;
  Units left = 0;       // that is remaining after it
  std::string outcome;  // ok, failure, partial, and why
  std::int64_t at_wall_ms = 0;

  bool operator==(const QuotaEvent&) const = default;
};

// All or nothing, on stable storage, and only over the version that it names.
struct QuotaTransaction {
  std::uint64_t id = 0;
  std::string key;
  std::uint64_t expected_version = 0;        // 0: there is no such record yet
  QuotaRecord record;                        // but for the version, which the store gives
  std::vector<QuotaHolding> holdings;        // as they shall be, in place of those stored
  std::vector<std::uint64_t> holdings_gone;  // by agent epoch
  std::vector<QuotaEvent> events;
};

struct QuotaLoaded {
  QuotaRecord record;
  std::vector<QuotaHolding> holdings;
};

// ------------------------------------------------------------------ between desk and book

struct ChunkReport {
  std::uint64_t seq = 0;
  std::uint64_t gen = 0;
  Units granted = 0;
  Units spent = 0;        // of this chunk, since it came: never a difference
  bool returned = false;  // not a unit of it will be spent any more; said until it is closed
};

// What a host says about one key: everything that it holds, and perhaps that it wants more.
struct QuotaAsk {
  std::string key;
  std::uint64_t agent_epoch = 0;
  std::string host;
  std::uint64_t ask_no = 0;    // echoed: by it the host knows when it sent what is answered
  std::uint64_t seq = 0;       // of a request for a chunk, the same until it is answered; 0: none
  std::uint64_t done_seq = 0;  // chunks up to this that are not named here are not, and will
                               // never be, in use
  Units need = 0;              // wanted at once
  Units per_s = 0;             // spent and wanted a second, of late
  std::uint64_t refund_gen = 0;
  Units refunded_total = 0;  // by this agent, in that generation
  std::vector<ChunkReport> chunks;
};

enum class QuotaOutcome : std::uint8_t {
  heard,  // there was no request
  granted,
  partial,  // less than was needed
  exhausted,
  rate_limited,
  suspended,
  expired,
  unknown_key,
  busy,     // nothing was decided: ask again
  settled,  // this request was dealt with before, its chunk is closed
  bad,      // out of range
};
std::string_view to_text(QuotaOutcome outcome) noexcept;

using Ticket = std::uint64_t;  // of the caller, so that it knows what is answered

struct QuotaReply {
  Ticket ticket = 0;
  std::string key;
  std::uint64_t agent_epoch = 0;
  std::uint64_t ask_no = 0;
  std::uint64_t seq = 0;
  QuotaOutcome outcome = QuotaOutcome::busy;
  std::uint64_t gen = 0;  // in force; chunks of others are void
  Units granted = 0;
  Units remaining = 0;        // at the server
  std::int64_t valid_ms = 0;  // that chunks of this generation may be spent, from the sending on
  std::int64_t retry_ms = 0;  // when it may be worth asking again; 0: as you like
  bool give_back = false;     // others wait for what is not needed here
  std::vector<std::uint64_t> closed;  // chunks to forget
  std::vector<std::uint64_t> stop;    // chunks to freeze and return
};

// 'Give back what you do not need'.
struct QuotaPoke {
  std::uint64_t agent_epoch = 0;
  std::string key;
};

}  // namespace weir::lease
