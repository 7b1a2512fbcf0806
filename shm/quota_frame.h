// What travels over the attach socket about quotas: a frame, and texts behind it in the same
// packet. Only to an agent of version 1.3 and later: others take a longer packet for no frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "shm/frame.h"
#include "shm/quota.h"

namespace weir::shm {

inline constexpr std::size_t kQuotaReasonMax = 128;

enum class QuotaReportKind : std::uint16_t {
  consume = 0,
  refund = 1,       // an outcome row for what the slot's word of refunds counts
  refund_late = 2,  // the slot has another key by now: the agent counts it
};

// Behind a frame of type quota_ask or quota_report; then the name, the key and the reason.
struct QuotaFrameTail {
  std::uint64_t amount = 0;
  std::uint32_t slot = 0;        // of a report: where the units were taken
  std::uint32_t generation = 0;  // 0: nowhere that is still there
  std::uint16_t name_bytes = 0;
  std::uint16_t key_bytes = 0;
  std::uint16_t reason_bytes = 0;
  std::uint16_t kind = 0;  // QuotaReportKind
};
static_assert(sizeof(QuotaFrameTail) == 24);

inline constexpr std::size_t kQuotaPacketMax =
    kFrameBytes + sizeof(QuotaFrameTail) + kQuotaNameMax + kQuotaKeyMax + kQuotaReasonMax;

constexpr bool is_quota_frame(std::uint16_t type) noexcept {
  return type == static_cast<std::uint16_t>(FrameType::quota_ask) ||
         type == static_cast<std::uint16_t>(FrameType::quota_report);
}

// Whether a packet of `bytes` that begins with `frame` holds such a tail and its texts, no more.
inline bool quota_frame_ok(const Frame& frame, const std::byte* packet, std::size_t bytes,
                           QuotaFrameTail& tail) noexcept {
  if (frame.magic != kFrameMagic || frame.bytes != kFrameBytes || !is_quota_frame(frame.type))
    return false;
  if (bytes < kFrameBytes + sizeof(tail) || bytes > kQuotaPacketMax) return false;
  std::memcpy(&tail, packet + kFrameBytes, sizeof(tail));
  return tail.name_bytes != 0 && tail.name_bytes <= kQuotaNameMax && tail.key_bytes != 0 &&
         tail.key_bytes <= kQuotaKeyMax && tail.reason_bytes <= kQuotaReasonMax &&
         bytes == kFrameBytes + sizeof(tail) + tail.name_bytes + tail.key_bytes + tail.reason_bytes;
}

}  // namespace weir::shm
