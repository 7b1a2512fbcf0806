// What a holder costs in memory. This file replaces the allocation functions of the whole test
// program by ones that count.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <random>

#include "lease/fair_share.h"

namespace {

std::atomic<std::size_t> live_bytes{0};

}  // namespace

void* operator new(std::size_t bytes) {
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  live_bytes += ::malloc_usable_size(memory);
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  live_bytes -= ::malloc_usable_size(memory);
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { ::operator delete(memory); }

namespace weir::lease {
namespace {

constexpr std::uint32_t kHolders = 10'000;
constexpr int kChanges = 100'000;

// Bytes a holder, after many changes.
template <class MakeHolder>
std::size_t bytes_a_holder(const MakeHolder& make) {
  const std::size_t before = live_bytes;
  FairShare fair;
  for (std::uint32_t i = 0; i < kHolders; ++i)
    fair.add(make());
  for (int i = 0; i < kChanges; ++i)
    fair.set(static_cast<FairShare::Slot>(i) % kHolders, make());
  return (live_bytes - before) / kHolders;
}

TEST(FairShareMemory, AHolderTakesLessThanAHundredBytes) {
  std::mt19937_64 engine(1);
  EXPECT_LT(bytes_a_holder([&]() -> FairShare::Holder {
              return {.want = static_cast<std::int64_t>(engine() >> 20)};
            }),
            100U);
  EXPECT_LT(bytes_a_holder([&]() -> FairShare::Holder {
              return {.want = static_cast<std::int64_t>(engine() >> 20),
                      .weight = static_cast<std::uint32_t>(1 + engine() % 10),
                      .band = static_cast<std::uint32_t>(engine() % 4),
                      .floor = std::int64_t{1} << 40};
            }),
            100U);
}

// The most that it can take: three events of its own for every holder.
TEST(FairShareMemory, AFloorAndAWeightOfItsOwnTakeLessThanAnotherHundred) {
  std::mt19937_64 engine(1);
  EXPECT_LT(bytes_a_holder([&]() -> FairShare::Holder {
              return {.want = static_cast<std::int64_t>(engine() >> 20),
                      .weight = static_cast<std::uint32_t>(1 + engine() % 1'000'000),
                      .floor = static_cast<std::int64_t>(engine() >> 22)};
            }),
            200U);
}

TEST(FairShareMemory, WhoLeavesGivesItsEventsBack) {
  std::mt19937_64 engine(1);
  const std::size_t before = live_bytes;
  FairShare fair;
  for (std::uint32_t i = 0; i < kHolders; ++i)
    fair.add({.want = static_cast<std::int64_t>(engine() >> 20)});
  for (std::uint32_t i = 0; i < kHolders; ++i)
    fair.remove(i);

  // The array of slots stays, for those who come next.
  EXPECT_LT(live_bytes - before, kHolders * 5 / 4 * sizeof(FairShare::Holder) + 1'000);
}

}  // namespace
}  // namespace weir::lease
