// Minting, in this process and under a clock of our own: what a tick of the agent costs.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "agent/domain.h"
#include "bench/micro.h"
#include "shm/clock.h"

namespace weir::bench {

namespace {

constexpr std::int64_t kTickNs = 1'000'000;
constexpr std::uint64_t kRate = 1'000'000;  // a second

// A domain with `limits` equal limits whose clock stands still until it is moved.
class Ticker {
 public:
  explicit Ticker(std::uint32_t limits, shm::Algorithm algorithm) : now_ns_(shm::read_mono_ns()) {
    DomainRule rule;
    rule.name = "bench";
    for (std::uint32_t i = 0; i < limits; ++i) {
      LimitRule limit;
      limit.name = "limit/" + std::to_string(i);
      limit.algorithm = algorithm;
      limit.amount = kRate;
      limit.period_ns = 1'000'000'000;
      limit.burst = kRate;
      limit.stripes = StripeMode::off;
      limit.fallback.after_ms = 10'000;
      rule.limits.push_back(std::move(limit));
    }
    auto made = agent::Domain::make(
        rule, agent::DomainOptions{},
        agent::Clocks{[this] { return now_ns_; }, [] { return std::int64_t{1'000'000'000}; }}, 1,
        {});
    if (!made || !(*made)->publish(rule)) return;
    domain_ = std::move(*made);
    for (std::uint32_t i = 0; i < limits; ++i)
      slots_.push_back(slot_of(i));
    domain_->tick();
  }

  explicit operator bool() const { return domain_ != nullptr; }
  void spend() {
    for (shm::CounterSlot* slot : slots_)
      slot->tokens.fetch_sub(100, std::memory_order_relaxed);
  }
  bool tick() {
    now_ns_ += kTickNs;
    return domain_->tick();
  }

 private:
  shm::CounterSlot* slot_of(std::uint32_t i) {
    const int index = domain_->slot_of("limit/" + std::to_string(i));
    return &domain_->counters().slot(static_cast<std::uint32_t>(index));
  }

  std::int64_t now_ns_;
  std::unique_ptr<agent::Domain> domain_;
  std::vector<shm::CounterSlot*> slots_;
};

void tick(benchmark::State& state, std::uint32_t limits, bool active, shm::Algorithm algorithm) {
  Ticker ticker(limits, algorithm);
  if (!ticker) return state.SkipWithError("no memory for a domain");
  for ([[maybe_unused]] auto _ : state) {
    // The spending is measured with it: a few nanoseconds a limit, as cheap as the pause would be.
    if (active) ticker.spend();
    benchmark::DoNotOptimize(ticker.tick());
  }
}

// mint() of shm/mint.h alone, as a client runs it that finds no agent.
void mint_one(benchmark::State& state) {
  shm::CounterSlot slot{};
  std::int64_t now_ns = shm::read_mono_ns();
  shm::LimitTerms terms;
  terms.algorithm = shm::Algorithm::token_bucket;
  terms.amount = kRate;
  terms.period_ns = 1'000'000'000;
  terms.burst = kRate;
  terms.lease_end_mono_ns = shm::kForever;
  slot.tokens.store(shm::token_word(0, 0));
  slot.book.store(shm::encode_book(now_ns, 0));
  for ([[maybe_unused]] auto _ : state) {
    now_ns += kTickNs;
    (void)shm::spend_up_to(slot, kRate);
    const shm::MintResult result = shm::mint(
        slot, terms, [] { return std::uint64_t{0}; }, 0, [&] { return now_ns; });
    shm::finish_mint(slot, result);
    benchmark::DoNotOptimize(result.delivered);
  }
}

}  // namespace

void register_mint_benchmarks() {
  using shm::Algorithm;
  benchmark::RegisterBenchmark("mint/one_limit", mint_one);
  const auto add = [](const char* name, std::uint32_t limits, bool active, Algorithm algorithm) {
    benchmark::RegisterBenchmark(
        name, [=](benchmark::State& state) { tick(state, limits, active, algorithm); });
  };
  add("tick/1_limit/active", 1, true, Algorithm::token_bucket);
  add("tick/1000_limits/idle", 1000, false, Algorithm::token_bucket);
  add("tick/1000_limits/active", 1000, true, Algorithm::token_bucket);
  add("tick/1000_limits/active_sliding", 1000, true, Algorithm::sliding_window);
}

}  // namespace weir::bench
