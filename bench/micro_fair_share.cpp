// Dividing one limit: what the server pays when a holder wants something else, and is told its
// share.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/micro.h"
#include "lease/fair_share.h"

namespace weir::bench {

namespace {

constexpr std::int64_t kWantMax = 20'000'000;  // 20 tokens a second
constexpr std::size_t kChanges = 1 << 16;      // drawn beforehand, so that drawing is not measured

struct Change {
  lease::FairShare::Slot slot = 0;
  std::int64_t want = 0;
};

// Holders of equal weight that together want twice the limit, so that every want moves the level.
void fair_share(benchmark::State& state, std::uint32_t holders) {
  std::mt19937_64 engine(holders);
  std::uniform_int_distribution<std::int64_t> want(0, kWantMax);
  std::uniform_int_distribution<lease::FairShare::Slot> slot(0, holders - 1);
  lease::FairShare fair;
  fair.set_capacity(holders * kWantMax / 4);
  for (std::uint32_t i = 0; i < holders; ++i)
    fair.add({.want = want(engine)});
  std::vector<Change> changes(kChanges);
  for (Change& change : changes)
    change = {slot(engine), want(engine)};

  std::size_t next = 0;
  for ([[maybe_unused]] auto _ : state) {
    const Change& change = changes[next++ % kChanges];
    fair.set(change.slot, {.want = change.want});
    benchmark::DoNotOptimize(fair.share(change.slot));
  }
}

}  // namespace

void register_fair_share_benchmarks() {
  for (const std::uint32_t holders : {100U, 10'000U})
    benchmark::RegisterBenchmark(("fair_share/" + std::to_string(holders)).c_str(),
                                 [=](benchmark::State& state) { fair_share(state, holders); });
}

}  // namespace weir::bench
