// Looking a key up and taking units of it: what the calls of weir/quota.h have in common.
#pragma once

#include "libclient/quota.h"

namespace weir::client {

// One look at one key.
struct Look {
  const Attachment* at = nullptr;
  std::uint64_t hash = 0;
  shm::QuotaFound found;
  bool here = false;  // the key has a slot
  std::uint64_t level = 0;
};

inline weir_status status_of(std::uint32_t service) noexcept {
  switch (static_cast<shm::QuotaService>(service)) {
    case shm::QuotaService::exhausted:
      return WEIR_DENY_SPENT;
    case shm::QuotaService::rate_limited:
      return WEIR_DENY_RATE;
    case shm::QuotaService::suspended:
      return WEIR_DENY_SUSPENDED;
    case shm::QuotaService::expired:
      return WEIR_DENY_EXPIRED;
    case shm::QuotaService::unknown_key:
      return WEIR_DENY_NO_KEY;
    default:
      return WEIR_PENDING;
  }
}

inline bool arguments_ok(const weir_quota* quota, const char* key, std::size_t key_bytes,
                         std::uint64_t n) noexcept {
  return quota != nullptr && key != nullptr && key_bytes != 0 && key_bytes <= WEIR_QUOTA_KEY_MAX &&
         n != 0 && n <= kQuotaUnitsMax;
}

inline QuotaPermit& permit_of(weir_quota_permit& permit) noexcept {
  return *reinterpret_cast<QuotaPermit*>(&permit);
}

// The whole of a call on a warm key.
template <std::size_t most = shm::kQuotaKeyMax>
[[gnu::always_inline]] inline shm::QuotaTake take(weir_quota& quota, const char* key,
                                                  std::size_t key_bytes, std::uint64_t n,
                                                  Look& look) noexcept {
  look.at = quota.client->current.load(std::memory_order_acquire);
  if (look.at == nullptr || !look.at->quotas) return shm::QuotaTake::moved;
  const shm::QuotaView& view = look.at->quotas;
  const shm::QuotaText text(key, key_bytes);
  look.hash = view.hash<most>(quota.quota, text);
  look.here = view.find<most>(quota.quota, text, look.hash, look.found);
  if (!look.here) return shm::QuotaTake::moved;
  return shm::quota_take(view.counter(look.found.slot).units, look.found.generation, n, look.level);
}

}  // namespace weir::client
