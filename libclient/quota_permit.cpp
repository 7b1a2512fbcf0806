// What follows a permit of units: settling its cost, telling how the work went, giving units back.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "libclient/quota_look.h"

using namespace weir::client;
using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

QuotaFrameTail tail_of(const QuotaPermit& permit, std::uint64_t amount,
                       QuotaReportKind kind) noexcept {
  QuotaFrameTail tail;
  tail.amount = amount;
  tail.slot = permit.slot;
  tail.generation = permit.generation;
  tail.name_bytes = static_cast<std::uint16_t>(permit.quota->quota.bytes);
  tail.key_bytes = static_cast<std::uint16_t>(permit.key_bytes);
  tail.kind = static_cast<std::uint16_t>(kind);
  return tail;
}

// Gives units back: into the word of refunds where the key still has its slot, else by a word to
// the agent.
bool give_back(QuotaPermit& permit, std::uint64_t units) noexcept {
  const Attachment* at = permit.quota->client->current.load(std::memory_order_acquire);
  bool counted = false;
  if (at != nullptr && at->quotas && at->counters_id == permit.counters_id &&
      permit.slot < at->quotas.keys_max()) {
    QuotaCounter& counter = at->quotas.counter(permit.slot);
    counted = quota_add(counter.refunded, permit.generation, units);
  }
  const QuotaFrameTail tail =
      tail_of(permit, units, counted ? QuotaReportKind::refund : QuotaReportKind::refund_late);
  const bool sent = send_quota(*permit.quota->client, FrameType::quota_report, tail, *permit.quota,
                               permit.key, nullptr, read_mono_ns() + kQuotaReportNs);
  if (!counted && !sent) return false;  // they stay the caller's: it may try again
  permit.amount -= units;
  return true;
}

// The queue of this host's rows is full: wait for room in it, a bounded time.
void wait_for_room(const weir_client& client, std::int64_t until_own_ns) noexcept {
  for (;;) {
    const Attachment* at = client.current.load(std::memory_order_acquire);
    if (at == nullptr || !at->quotas || at->quotas.board().usage_full.load(kRelaxed) == 0) return;
    if (read_mono_ns() >= until_own_ns) return;
    ::usleep(1'000);
  }
}

}  // namespace

extern "C" {

weir_status weir_quota_settle(weir_quota_permit* permit, uint64_t cost, uint32_t timeout_ms,
                              uint64_t* taken) {
  if (permit == nullptr || permit_of(*permit).magic != kQuotaPermitMagic || cost > kQuotaUnitsMax)
    return WEIR_E_INVALID;
  QuotaPermit& p = permit_of(*permit);
  weir_status status = WEIR_ALLOW;
  if (cost < p.amount) {
    if (!give_back(p, p.amount - cost)) status = WEIR_E_UNAVAILABLE;
  } else if (cost > p.amount) {
    const std::uint64_t more = cost - p.amount;
    weir_quota_permit rest;
    status = weir_quota_acquire(p.quota, p.key, p.key_bytes, more, timeout_ms, &rest);
    std::uint64_t got = status == WEIR_ALLOW ? more : 0;
    if (status != WEIR_ALLOW) {
      // The work is done: at least what is here is paid.
      Look look;
      if (take(*p.quota, p.key, p.key_bytes, kQuotaUnitMask, look) == QuotaTake::dry) {
        QuotaCounter& counter = look.at->quotas.counter(look.found.slot);
        got = quota_take_some(counter.units, look.found.generation, more);
        if (got != 0) (void)quota_add(counter.attributed, look.found.generation, got);
      }
    }
    p.amount += got;
    p.gross += got;
    if (got == more) status = WEIR_ALLOW;
  }
  if (taken != nullptr) *taken = p.amount;
  return status;
}

weir_status weir_quota_end(weir_quota_permit* permit, int32_t outcome, const char* reason) {
  if (permit == nullptr || outcome < WEIR_DONE_OK || outcome > WEIR_DONE_IGNORED)
    return WEIR_E_INVALID;
  QuotaPermit& p = permit_of(*permit);
  if (p.magic != kQuotaPermitMagic) return WEIR_OK;
  const KeepErrno keep;
  weir_client& client = *p.quota->client;
  const std::int64_t until_ns = read_mono_ns() + kQuotaReportNs;
  if (outcome == WEIR_DONE_FAILED && (reason == nullptr || *reason == '\0')) reason = "failed";
  if (outcome == WEIR_DONE_OK && reason == nullptr) reason = "";
  if (outcome == WEIR_DONE_IGNORED && reason == nullptr) reason = "not done";
  wait_for_room(client, until_ns);
  QuotaFrameTail tail = tail_of(p, p.gross, QuotaReportKind::consume);
  tail.reason_bytes = static_cast<std::uint16_t>(::strnlen(reason, WEIR_QUOTA_REASON_MAX));
  if (!send_quota(client, FrameType::quota_report, tail, *p.quota, p.key, reason, until_ns)) {
    const Attachment* at = client.current.load(std::memory_order_acquire);
    // Nobody has heard anything, and the call may be made again.
    if (at == nullptr || !at->quotas || client.link.load(kRelaxed) != Link::attached)
      return WEIR_E_UNAVAILABLE;
    if (p.slot < at->quotas.keys_max())
      at->quotas.counter(p.slot).dropped_total.fetch_add(1, kRelaxed);
    p.magic = 0;
    if (outcome == WEIR_DONE_IGNORED && p.amount != 0) (void)give_back(p, p.amount);
    return WEIR_E_BUSY;
  }
  p.magic = 0;
  if (outcome != WEIR_DONE_IGNORED || p.amount == 0 || give_back(p, p.amount)) return WEIR_OK;
  return WEIR_E_UNAVAILABLE;
}

weir_status weir_quota_read(weir_quota* quota, const char* key, size_t key_bytes,
                            weir_quota_info* info) {
  if (!arguments_ok(quota, key, key_bytes, 1) || info == nullptr ||
      info->struct_bytes < sizeof(std::uint32_t))
    return WEIR_E_INVALID;
  const std::int64_t own_ns = read_mono_ns();
  maintain(*quota->client, own_ns);
  weir_quota_info out{};
  out.struct_bytes = std::min<std::uint32_t>(info->struct_bytes, sizeof(out));
  out.status = WEIR_PENDING;
  Look look;
  // More than there can be: looks, and takes nothing.
  const QuotaTake none = take(*quota, key, key_bytes, kQuotaUnitMask + 1, look);
  if (none == QuotaTake::dry) {
    const QuotaSlot& slot = look.at->quotas.slot(look.found.slot);
    const std::uint32_t service = slot.service.load(std::memory_order_acquire);
    out.here = look.level;
    out.remaining = slot.remaining.load(kRelaxed);
    out.status =
        service == static_cast<std::uint32_t>(QuotaService::ok) ? WEIR_ALLOW : status_of(service);
  }
  std::memcpy(info, &out, out.struct_bytes);
  return none == QuotaTake::dry ? WEIR_OK : WEIR_PENDING;
}

}  // extern "C"
