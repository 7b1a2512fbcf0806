// What must outlive the agent about the quotas of this host. It lies in the domain's ledger, a
// memfd that no client ever sees and that the service manager keeps beside the counters.
//
// Another agent may have been killed between any two of the stores that are made here. What the
// desk wants kept is therefore written twice in turn, and one word says which copy is whole; the
// other fields are words of their own, of which each may be a moment older than the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "lease/quota_desk.h"
#include "shm/quota.h"

namespace weir::agent {

inline constexpr std::uint64_t kQuotaLedgerMagic = 0x315251544f555157ULL;
inline constexpr std::uint32_t kQuotaLedgerVersion = 2;

struct QuotaLedgerSlot {
  struct Copy {
    std::uint64_t agent_epoch;
    std::uint64_t seq;
    std::uint64_t refund_gen;
    std::int64_t refunded;
    std::uint64_t refund_seen;  // in the counter's word, and told to the desk
    std::uint32_t chunks;
    std::uint32_t reserved;
    struct Mine {
      std::uint64_t seq, gen;
      std::int64_t granted, spent;
      std::uint32_t added, returned;
    } mine[lease::kChunksMax];
  };
  std::uint32_t whole;  // which copy, 1 or 2; 0: the slot has no key
  std::uint32_t generation;
  std::uint32_t name_bytes, key_bytes;
  char text[shm::kQuotaNameMax + shm::kQuotaKeyMax];
  Copy copies[2];
  // Units, since the slot has this key.
  std::uint64_t given;     // put into the word, less those that were taken out again
  std::uint64_t expected;  // at most in the word
  std::uint64_t audited;   // consumed, and in rows that no process reported
  std::uint64_t reported;  // consumed, and in rows that processes reported, or should have

  // Of two words, so that one store moves units from the one to the other.
  std::uint64_t consumed() const noexcept { return given > expected ? given - expected : 0; }

  std::string_view name() const noexcept { return {text, name_bytes}; }
  std::string_view key() const noexcept { return {text + name_bytes, key_bytes}; }
};

struct QuotaLedgerHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t keys_max;
  std::uint32_t slot_bytes;
  std::uint32_t reserved;
  std::uint64_t counters_id;
  std::uint64_t usage_epoch;  // of the agent, whose batches the next number counts
  std::uint64_t usage_batch;  // the highest number that was used
  std::uint64_t usage_read;   // reports of outcomes
  std::uint64_t usage_taken;  // by the server
  std::uint64_t usage_lost;   // read, and lost with an agent or for want of room
};

class QuotaLedger {
 public:
  QuotaLedger() noexcept = default;
  QuotaLedger(std::byte* base, std::uint32_t keys_max) noexcept : base_(base), keys_(keys_max) {}

  static std::size_t bytes(std::uint32_t keys_max) noexcept {
    return keys_max == 0 ? 0 : sizeof(QuotaLedgerHeader) + sizeof(QuotaLedgerSlot) * keys_max;
  }
  QuotaLedgerHeader& header() const noexcept {
    return *reinterpret_cast<QuotaLedgerHeader*>(base_);
  }
  QuotaLedgerSlot& slot(std::uint32_t index) const noexcept {
    return reinterpret_cast<QuotaLedgerSlot*>(base_ + sizeof(QuotaLedgerHeader))[index];
  }
  std::uint32_t keys_max() const noexcept { return keys_; }
  void format(std::uint64_t counters_id) const noexcept {
    QuotaLedgerHeader fresh{};
    fresh.magic = kQuotaLedgerMagic;
    fresh.version = kQuotaLedgerVersion;
    fresh.keys_max = keys_;
    fresh.slot_bytes = sizeof(QuotaLedgerSlot);
    fresh.counters_id = counters_id;
    header() = fresh;
  }
  bool fits(std::uint64_t counters_id) const noexcept {
    const QuotaLedgerHeader& h = header();
    return h.magic == kQuotaLedgerMagic && h.version == kQuotaLedgerVersion &&
           h.keys_max == keys_ && h.slot_bytes == sizeof(QuotaLedgerSlot) &&
           h.counters_id == counters_id;
  }

 private:
  std::byte* base_ = nullptr;
  std::uint32_t keys_ = 0;
};

// A store that is made before the ones that follow, for whoever looks after a kill.
inline void settle() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace weir::agent
