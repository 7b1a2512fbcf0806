// What lies behind the opaque handles of weir/quota.h.
#pragma once

#include <array>
#include <atomic>

#include "libclient/client.h"
#include "shm/quota.h"
#include "shm/quota_frame.h"
#include "weir/quota.h"

struct weir_quota {
  weir_client* client = nullptr;
  weir::shm::QuotaName quota;
  std::array<char, weir::shm::kNameBytesMax + 1> name{};
  std::atomic<weir_quota*> next{nullptr};
  // Which keys were asked for lately, by hash: calls that never wait do not ask at every turn.
  struct Asked {
    std::atomic<std::uint64_t> hash{0};
    std::atomic<std::int64_t> own_ns{0};
  };
  std::array<Asked, 64> asked{};
};

namespace weir::client {

inline constexpr std::uint32_t kQuotasMax = 256;
inline constexpr std::uint64_t kQuotaUnitsMax = 1ULL << 40;
inline constexpr std::int64_t kQuotaAnswerNs = 250'000'000;
inline constexpr std::int64_t kQuotaAskAgainNs = 20'000'000;
inline constexpr std::int64_t kQuotaSliceNs = 50'000'000;
inline constexpr std::int64_t kQuotaReportNs = 100'000'000;

// As the opaque words of weir_quota_permit.
struct QuotaPermit {
  std::uint64_t magic;
  weir_quota* quota;
  std::uint64_t counters_id;  // where the units were taken
  std::uint64_t amount;       // that the permit stands for
  std::uint64_t gross;        // that was taken for it, what went back since included
  std::uint32_t slot;
  std::uint32_t generation;
  std::uint32_t key_bytes;
  std::uint32_t reserved;
  char key[WEIR_QUOTA_KEY_MAX + 1];
};
static_assert(sizeof(QuotaPermit) <= sizeof(weir_quota_permit));
inline constexpr std::uint64_t kQuotaPermitMagic = 0x54494d5245505157ULL;

// quota_send.cpp
bool send_quota(weir_client& client, shm::FrameType type, const shm::QuotaFrameTail& tail,
                const weir_quota& quota, const char* key, const char* reason,
                std::int64_t until_own_ns) noexcept;

// quota.cpp
void close_quotas(weir_client& client) noexcept;

}  // namespace weir::client
