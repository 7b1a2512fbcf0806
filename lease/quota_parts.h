// What the quota book keeps for a key. Included by the book's own files.
#pragma once

#include <algorithm>
#include <variant>

#include "lease/quota_book.h"

namespace weir::lease {

// A transaction has to fit what etcd takes in one: 128 operations, compares included.
inline constexpr std::size_t kHoldingsPerTransaction = 48;
// A quota without a count hands out chunks too, so that what is consumed is known.
inline constexpr Units kTimeChunk = 10'000;
inline constexpr std::int64_t kPokesPerTurn = 64;

// As QuotaHolding, but small: a million of them fit.
struct QuotaBook::Holding {
  std::uint64_t agent_epoch = 0;
  std::uint64_t last_seq = 0;
  std::uint64_t gen = 0;
  Units consumed = 0, refunded = 0;
  std::shared_ptr<const std::string> host;
  std::vector<Chunk> chunks;
  bool changed = false;  // and not yet stored

  // Chunks that count as held in the record's generation.
  bool holds(std::uint64_t of_gen) const noexcept {
    return std::any_of(chunks.begin(), chunks.end(), [=](const Chunk& chunk) {
      return chunk.gen == of_gen && chunk.state == ChunkState::open;
    });
  }
  Chunk* find(std::uint64_t seq) noexcept {
    const auto at = std::find_if(chunks.begin(), chunks.end(),
                                 [=](const Chunk& chunk) { return chunk.seq == seq; });
    return at == chunks.end() ? nullptr : &*at;
  }
  void use_gen(std::uint64_t now_gen) noexcept {
    if (gen == now_gen) return;
    gen = now_gen;
    consumed = refunded = 0;
  }
};

struct QuotaBook::Op {
  struct Read {};
  struct Lost {
    std::uint64_t agent_epoch = 0;
    TimeNs since_ns = 0;  // nothing was heard after this
  };
  Ticket ticket = 0;
  std::variant<QuotaAsk, QuotaChange, Read, Lost> what;
};

// What the operations applied since the last transaction have brought about.
struct QuotaBook::Applied {
  bool durable = false;  // answers wait for a transaction
  std::vector<QuotaReply> replies;
  std::vector<QuotaResult> results;
  std::vector<QuotaEvent> events;
  std::vector<std::uint64_t> gone;  // holdings
};

// Only of keys for which something waits or is under way.
struct QuotaBook::Work {
  std::deque<Op> queue;
  std::vector<Op> flying;  // in the transaction, to be applied anew if it is not stored
  Applied applied;
  std::shared_ptr<const QuotaTransaction> transaction;
};

struct QuotaBook::Key {
  enum class Phase : std::uint8_t { loading, ready, writing };

  QuotaRecord record;             // version 0: there is none
  std::vector<Holding> holdings;  // by agent epoch
  std::unique_ptr<Work> work;
  std::string name;
  Key* older = nullptr;
  Key* newer = nullptr;
  TimeNs used_ns = 0;
  TimeNs dirty_ns = 0;
  TimeNs poked_ns = -kNever;
  TimeNs rate_ns = 0;    // up to when the rate's bucket is filled
  Micro rate_level = 0;  // what of the rate is neither granted nor held
  std::uint32_t holders = 0;
  std::uint32_t changed = 0;    // holdings
  std::uint32_t poke_next = 0;  // so that of many holders all are asked in turn
  Phase phase = Phase::loading;
  bool there = false;  // there is a record, perhaps not stored yet
  bool in_dirty = false;
  bool short_of = false;  // somebody was refused for want of units

  bool exists() const noexcept { return there && record.state != QuotaState::deleted; }
  Work& need_work() {
    if (!work) work = std::make_unique<Work>();
    return *work;
  }
  Holding* find(std::uint64_t agent_epoch) noexcept {
    const auto at = lower(agent_epoch);
    return at == holdings.end() || at->agent_epoch != agent_epoch ? nullptr : &*at;
  }
  std::vector<Holding>::iterator lower(std::uint64_t agent_epoch) noexcept {
    return std::lower_bound(
        holdings.begin(), holdings.end(), agent_epoch,
        [](const Holding& holding, std::uint64_t epoch) { return holding.agent_epoch < epoch; });
  }
  void change(Holding& holding) noexcept {
    if (!holding.changed) ++changed;
    holding.changed = true;
  }
  void drop(std::uint64_t agent_epoch) {
    const auto at = lower(agent_epoch);
    if (at == holdings.end() || at->agent_epoch != agent_epoch) return;
    if (at->changed) --changed;
    holdings.erase(at);
  }
  void count_holders() noexcept {
    holders = static_cast<std::uint32_t>(
        std::count_if(holdings.begin(), holdings.end(),
                      [&](const Holding& holding) { return holding.holds(record.gen); }));
  }
};

inline QuotaEvent quota_event(QuotaAction action, std::string host, Units amount, Units left,
                              std::int64_t at_wall_ms, std::string outcome = "ok") {
  QuotaEvent event;
  event.action = action;
  event.host = std::move(host);
  event.amount = amount;
  event.left = left;
  event.outcome = std::move(outcome);
  event.at_wall_ms = at_wall_ms;
  return event;
}

// A tenth of a minute's worth, and at least one.
inline Micro rate_burst(const QuotaConfig& config) noexcept {
  const std::uint32_t burst =
      config.rate_burst != 0 ? config.rate_burst : std::max(1U, config.rate_per_min / 10);
  return static_cast<Micro>(burst) * kToken;
}
inline Micro rate_per_s(const QuotaConfig& config) noexcept {
  return static_cast<Micro>(config.rate_per_min) * kToken / 60;
}

}  // namespace weir::lease
