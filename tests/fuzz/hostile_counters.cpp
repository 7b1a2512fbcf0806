// Every word of the counters segment, written by a hostile neighbour between ticks: the minter
// neither crashes nor lets the bucket hold more than its burst after a mint.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/unit/agent/plain_domain.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  agent::test::PlainDomain d(4, 2, 2, 32);
  using shm::Algorithm;
  constexpr std::int64_t kSecond = agent::test::kSecond;
  d.add(0, agent::test::terms(Algorithm::token_bucket, 1000, kSecond, 100), 100);
  d.add(1, agent::test::terms(Algorithm::sliding_window, 1000, kSecond, 1000), 1000);
  d.add(2, agent::test::terms(Algorithm::fixed_window, 1000, kSecond, 1000), 1000);
  d.minter->assign_stripes(0, 1);
  const std::size_t bytes = d.counters.geometry().bytes();
  auto* base = reinterpret_cast<std::byte*>(&d.counters.header());
  for (; size >= 11; data += 11, size -= 11) {
    std::uint16_t where = 0;
    std::uint64_t value = 0;
    std::memcpy(&where, data, sizeof(where));
    std::memcpy(&value, data + 2, sizeof(value));
    // Any aligned word from the office on: the geometry before it is checked once, at attach.
    const std::size_t offset = (128 + std::size_t{where} * 8) % (bytes - 8) / 8 * 8;
    if (offset >= 128) std::memcpy(base + offset, &value, sizeof(value));
    if ((data[10] & 1) != 0) d.minter->enqueue(data[10] >> 4, where % 64, where);
    if ((data[10] & 2) != 0) d.minter->forget_client(data[10] >> 4, where % 64, 16);
    if ((data[10] & 4) != 0) d.minter->refresh_stats();
    d.now += (data[10] >> 3) * agent::test::kMs;
    d.minter->tick();
    if (!d.minter->office_lost() && (shm::bucket_level(d.counters.slot(0)) > 100 ||
                                     shm::bucket_level(d.counters.slot(1)) > 1000 ||
                                     shm::bucket_level(d.counters.slot(2)) > 1000))
      std::abort();
  }
  return 0;
}
