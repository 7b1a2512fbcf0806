// What a domain gives to the quotas, in plain memory.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>

#include "agent/quota/table.h"

namespace weir::agent {

class QuotaMemory {
 public:
  explicit QuotaMemory(std::uint32_t keys)
      : geometry_{keys, 0, 0},
        rules_(make(geometry_.rules_bytes())),
        counters_(make(geometry_.counters_bytes())),
        ledger_(
            make(QuotaLedger::bytes(keys) / shm::kPageBytes * shm::kPageBytes + shm::kPageBytes)) {
    place().ledger.format(1);
  }
  QuotaPlace place() const {
    return {shm::QuotaView(rules_.get(), counters_.get(), geometry_, 99), rules_.get(),
            QuotaLedger(ledger_.get(), geometry_.keys_max)};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  using Bytes = std::unique_ptr<std::byte, Free>;
  static Bytes make(std::size_t bytes) {
    Bytes made(static_cast<std::byte*>(std::aligned_alloc(shm::kPageBytes, bytes)));
    std::memset(made.get(), 0, bytes);
    return made;
  }
  shm::QuotaGeometry geometry_;
  Bytes rules_, counters_, ledger_;
};

}  // namespace weir::agent
