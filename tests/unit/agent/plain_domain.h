// The two segments and a ledger in plain memory, and a clock that the test owns.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/mint/minter.h"
#include "shm/view.h"

namespace weir::agent::test {

inline constexpr std::int64_t kMs = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000 * kMs;

class PlainDomain {
 public:
  explicit PlainDomain(std::uint32_t limits = 4, std::uint32_t cpus = 2, std::uint32_t sets = 2,
                       std::uint32_t waiters = 64)
      : rules_memory_(shm::RulesGeometry{limits}.bytes() + shm::kLineBytes),
        counters_memory_(
            shm::CountersGeometry{limits, cpus, sets, waiters, shm::kLaneSets}.bytes_with_sets() +
            shm::kLineBytes),
        ledger_memory_(Ledger::bytes(limits, cpus * sets)),
        rules(aligned(rules_memory_), shm::RulesGeometry{limits}),
        counters(aligned(counters_memory_),
                 shm::CountersGeometry{limits, cpus, sets, waiters, shm::kLaneSets}),
        ledger(ledger_memory_.data(), limits, cpus * sets) {
    shm::format_rules(aligned(rules_memory_), rules.geometry(), 1, 2, 250 * kMs, 5 * kMs);
    shm::format_counters(aligned(counters_memory_), counters.geometry(), 2);
    ledger.format(2);
    restart();
  }

  // A new agent over the same counters and ledger.
  void restart() {
    minter = std::make_unique<Minter>(
        rules, counters, ledger, [this] { return now; }, 250 * kMs);
  }
  // What publishing does for minting.
  void add(std::uint32_t index, const shm::LimitTerms& terms, std::uint64_t level) {
    activate(index, terms);
    minter->start_limit(index, level);
  }
  void activate(std::uint32_t index, const shm::LimitTerms& terms) {
    LimitState& limit = minter->limit(index);
    limit.active = true;
    limit.generation = 1;
    limit.terms = terms;
    limit.lease_ns = 10 * kSecond;
    rules.live(index).lease_end_mono_ns = now + 10 * kSecond;
    rules.live(index).edge_mono_ns = terms.edge_mono_ns;
  }
  bool take(std::uint32_t index, std::uint64_t n = 1, std::uint64_t reserve = 0) {
    shm::CounterSlot& slot = counters.slot(index);
    const shm::Spend spent =
        n == 1 && reserve == 0 ? spend_one(slot) : spend_many(slot, n, reserve);
    if (spent == shm::Spend::ok) return true;
    // As libweir does. The agent ticks when it is rung; here the test does.
    if (rules.live(index).rings != 0) {
      ++rung;
      minter->attend(index);
    }
    return false;
  }
  std::uint64_t take_all(std::uint32_t index) {
    std::uint64_t n = 0;
    while (take(index))
      ++n;
    return n;
  }

 private:
  static std::byte* aligned(std::vector<std::byte>& memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    return memory.data() + (shm::kLineBytes - address % shm::kLineBytes) % shm::kLineBytes;
  }
  std::vector<std::byte> rules_memory_, counters_memory_, ledger_memory_;

 public:
  shm::RulesWriter rules;
  shm::CountersView counters;
  Ledger ledger;
  std::int64_t now = 1'000 * kSecond;
  std::uint64_t rung = 0;
  std::unique_ptr<Minter> minter;
};

inline shm::LimitTerms terms(shm::Algorithm algorithm, std::uint64_t amount, std::int64_t period_ns,
                             std::uint64_t burst) {
  shm::LimitTerms t;
  t.algorithm = algorithm;
  t.fallback = shm::Fallback::local;
  t.amount = t.safe_amount = amount;
  t.period_ns = t.safe_period_ns = static_cast<std::uint64_t>(period_ns);
  t.burst = t.safe_burst = burst;
  return t;
}

}  // namespace weir::agent::test
