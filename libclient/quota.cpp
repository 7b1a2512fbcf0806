// Taking units of quotas: a hash look-up and one atomic step while they are on this host, and a
// question to the agent when they are not.
#include "libclient/quota.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "libclient/quota_look.h"
#include "shm/futex.h"

using namespace weir::client;
using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Names and keys of up to so many bytes, which most are, are looked up without a loop.
constexpr std::size_t kShort = 16;

bool may_change(weir_status why) noexcept {
  return why == WEIR_DENY_SPENT || why == WEIR_DENY_RATE || why == WEIR_PENDING;
}

void fill(weir_quota_permit& to, weir_quota& quota, const Attachment& at, QuotaFound found,
          const char* key, std::size_t key_bytes, std::uint64_t n) noexcept {
  QuotaPermit& permit = permit_of(to);
  permit.magic = kQuotaPermitMagic;
  permit.quota = &quota;
  permit.counters_id = at.counters_id;
  permit.amount = permit.gross = n;
  permit.slot = found.slot;
  permit.generation = found.generation;
  permit.key_bytes = static_cast<std::uint32_t>(key_bytes);
  std::memcpy(permit.key, key, key_bytes);
  // So that the agent writes no row of its own for these.
  (void)quota_add(at.quotas.counter(found.slot).attributed, found.generation, n);
}

// The slot that this thread took from last, and how often in a row: a call with the same key again
// compares the key alone and needs no hash. No more than a guess, for the slot says for itself
// whose it is. initial-exec as in refuse.cpp.
struct LastTaken {
  std::uint32_t slot;
  std::uint32_t again;
};
[[gnu::tls_model("initial-exec")]] constinit thread_local LastTaken last_taken{};
// With keys in any order a guess is mostly wrong, so there is none before so many in a row.
constexpr std::uint32_t kAgainBefore = 2;

void remember(std::uint32_t slot) noexcept {
  last_taken.again = slot == last_taken.slot ? last_taken.again + 1 : 0;
  last_taken.slot = slot;
}

// The whole of a call with the key of this thread's last ones.
[[gnu::always_inline]] inline bool take_again(weir_quota& quota, const char* key,
                                              std::size_t key_bytes, std::uint64_t n,
                                              Look& look) noexcept {
  if (last_taken.again < kAgainBefore || key_bytes > kShort || quota.quota.bytes > kShort)
    return false;
  look.at = quota.client->current.load(std::memory_order_acquire);
  if (look.at == nullptr) return false;
  const QuotaView& view = look.at->quotas;
  look.found.slot = last_taken.slot;
  return view.holds<kShort>(look.found.slot, quota.quota, QuotaText(key, key_bytes),
                            look.found.generation) &&
         quota_take<1>(view.counter(look.found.slot).units, look.found.generation, n, look.level) ==
             QuotaTake::ok;
}

// Asks the agent for units. `always`: also when that was done a moment ago.
void ask(weir_quota& quota, const Look& look, const char* key, std::size_t key_bytes,
         std::uint64_t n, bool always, std::int64_t own_ns) noexcept {
  if (look.here)
    (void)quota_want(look.at->quotas.counter(look.found.slot).wanted, look.found.generation, n);
  weir_quota::Asked& asked = quota.asked[static_cast<std::size_t>(look.hash % quota.asked.size())];
  const bool lately = asked.hash.load(kRelaxed) == look.hash &&
                      own_ns - asked.own_ns.load(kRelaxed) < kQuotaAskAgainNs;
  if (lately && !always) return;
  asked.hash.store(look.hash, kRelaxed);
  asked.own_ns.store(own_ns, kRelaxed);
  QuotaFrameTail tail;
  tail.amount = n;
  tail.name_bytes = static_cast<std::uint16_t>(quota.quota.bytes);
  tail.key_bytes = static_cast<std::uint16_t>(key_bytes);
  (void)send_quota(*quota.client, FrameType::quota_ask, tail, quota, key, nullptr, 0);
}

// What the server said of a key that has too few units here, if that still holds.
weir_status said(const Look& look, std::int64_t own_ns, std::int64_t& until_own_ns) noexcept {
  if (!look.here) return WEIR_PENDING;
  const QuotaSlot& slot = look.at->quotas.slot(look.found.slot);
  const std::uint32_t service = slot.service.load(std::memory_order_acquire);
  until_own_ns = slot.until_mono_ns.load(kRelaxed) + look.at->offset_ns;
  return own_ns < until_own_ns ? status_of(service) : WEIR_PENDING;
}

bool served(const Look& look, std::int64_t own_ns) noexcept {
  return look.at != nullptr && look.at->quotas &&
         look.at->agent_alive(own_ns - look.at->offset_ns) &&
         look.at->quotas.board().serving.load(kRelaxed) != 0;
}

[[gnu::noinline]] weir_status try_slow(weir_quota& quota, const char* key, std::size_t key_bytes,
                                       std::uint64_t n, weir_quota_permit* permit) noexcept {
  if (permit != nullptr) permit_of(*permit).magic = 0;
  const std::int64_t own_ns = read_mono_ns();
  maintain(*quota.client, own_ns);
  Look look;
  if (take(quota, key, key_bytes, n, look) == QuotaTake::ok) {
    if (permit != nullptr) fill(*permit, quota, *look.at, look.found, key, key_bytes, n);
    return WEIR_ALLOW;
  }
  if (look.here) look.at->quotas.counter(look.found.slot).refused_total.fetch_add(1, kRelaxed);
  if (!served(look, own_ns)) return WEIR_E_UNAVAILABLE;
  std::int64_t until_own_ns = 0;
  const weir_status why = said(look, own_ns, until_own_ns);
  if (why == WEIR_PENDING) ask(quota, look, key, key_bytes, n, false, own_ns);
  return why;
}

template <std::size_t most>
[[gnu::noinline]] weir_status try_any(weir_quota& quota, const char* key, std::size_t key_bytes,
                                      std::uint64_t n, weir_quota_permit* permit) noexcept {
  Look look;
  if (take<most>(quota, key, key_bytes, n, look) != QuotaTake::ok) [[unlikely]]
    return try_slow(quota, key, key_bytes, n, permit);
  remember(look.found.slot);
  if (permit != nullptr) fill(*permit, quota, *look.at, look.found, key, key_bytes, n);
  return WEIR_ALLOW;
}

[[gnu::noinline]] weir_status try_permit(weir_quota& quota, const char* key, std::size_t key_bytes,
                                         std::uint64_t n, weir_quota_permit& permit) noexcept {
  Look look;
  if (!take_again(quota, key, key_bytes, n, look)) [[unlikely]]
    return try_any<kQuotaKeyMax>(quota, key, key_bytes, n, &permit);
  fill(permit, quota, *look.at, look.found, key, key_bytes, n);
  return WEIR_ALLOW;
}

// Looks, asks and sleeps until there are units, or a reason why there will be none.
weir_status acquire_slow(weir_quota& quota, const char* key, std::size_t key_bytes, std::uint64_t n,
                         std::uint32_t timeout_ms, weir_quota_permit* permit) noexcept {
  const KeepErrno keep;
  const std::int64_t begin_ns = read_mono_ns();
  const std::int64_t end_ns =
      begin_ns + (timeout_ms == 0 ? kQuotaAnswerNs : std::int64_t{timeout_ms} * 1'000'000);
  weir_status last = WEIR_E_UNAVAILABLE;
  for (std::int64_t now_ns = begin_ns;; now_ns = read_mono_ns()) {
    maintain(*quota.client, now_ns);
    const Attachment* at = quota.client->current.load(std::memory_order_acquire);
    const bool quotas = at != nullptr && at->quotas;
    // Before the look: what comes after it changes the word.
    std::uint64_t hash = 0;
    std::uint32_t seen = 0;
    if (quotas) {
      hash = at->quotas.hash(quota.quota, QuotaText(key, key_bytes));
      seen = at->quotas.event(hash).load(std::memory_order_acquire);
    }
    Look look;
    if (take(quota, key, key_bytes, n, look) == QuotaTake::ok) {
      if (permit != nullptr) fill(*permit, quota, *look.at, look.found, key, key_bytes, n);
      return WEIR_ALLOW;
    }
    std::int64_t until_own_ns = 0;
    const weir_status why = said(look, now_ns, until_own_ns);
    if (why != WEIR_PENDING) last = why;
    const bool wait = timeout_ms != 0 && may_change(why);
    if ((why != WEIR_PENDING && !wait) || now_ns >= end_ns) {
      if (look.here) look.at->quotas.counter(look.found.slot).refused_total.fetch_add(1, kRelaxed);
      return last;
    }
    if (why == WEIR_PENDING && look.at != nullptr && look.at->quotas)
      ask(quota, look, key, key_bytes, n, false, now_ns);
    std::int64_t wake_ns = std::min(end_ns, now_ns + kQuotaSliceNs);
    if (why != WEIR_PENDING) wake_ns = std::min(wake_ns, std::max(until_own_ns, now_ns));
    if (quotas && look.at == at)
      futex_wait_until(at->quotas.event(hash), seen, wake_ns);
    else
      ::usleep(2'000);
  }
}

}  // namespace

namespace weir::client {

void close_quotas(weir_client& client) noexcept {
  for (weir_quota* q = client.quotas.load(kRelaxed); q != nullptr;) {
    weir_quota* next = q->next.load(kRelaxed);
    delete q;
    q = next;
  }
}

}  // namespace weir::client

extern "C" {

weir_status weir_quota_get(weir_client* client, const char* name, weir_quota** quota) {
  if (client == nullptr || name == nullptr || quota == nullptr) return WEIR_E_INVALID;
  const std::size_t length = ::strnlen(name, kNameBytesMax + 1);
  if (length == 0 || length > kNameBytesMax) return WEIR_E_INVALID;
  const KeepErrno keep;
  std::uint32_t count = 0;
  const auto find = [&] {
    count = 0;
    weir_quota* q = client->quotas.load(std::memory_order_acquire);
    for (; q != nullptr && std::strcmp(q->name.data(), name) != 0; ++count)
      q = q->next.load(std::memory_order_acquire);
    return q;
  };
  *quota = find();
  if (*quota != nullptr) return WEIR_OK;
  while (client->busy.exchange(true, std::memory_order_acquire))
    ::usleep(100);
  weir_status status = WEIR_OK;
  *quota = find();
  if (*quota == nullptr) {
    weir_quota* made = count >= kQuotasMax ? nullptr : new (std::nothrow) weir_quota;
    if (made == nullptr) {
      status = count >= kQuotasMax ? WEIR_E_LIMIT : WEIR_E_NO_MEMORY;
    } else {
      made->client = client;
      std::memcpy(made->name.data(), name, length);
      made->quota = QuotaName({name, length});
      made->next.store(client->quotas.load(kRelaxed), kRelaxed);
      client->quotas.store(made, std::memory_order_release);
      *quota = made;
    }
  }
  client->busy.store(false, std::memory_order_release);
  return status;
}

weir_status weir_quota_try(weir_quota* quota, const char* key, size_t key_bytes, uint64_t n,
                           weir_quota_permit* permit) {
  if (!arguments_ok(quota, key, key_bytes, n)) [[unlikely]]
    return WEIR_E_INVALID;
  if (permit != nullptr) return try_permit(*quota, key, key_bytes, n, *permit);
  Look look;
  if (take_again(*quota, key, key_bytes, n, look)) [[likely]]
    return WEIR_ALLOW;
  if (key_bytes > kShort || quota->quota.bytes > kShort)
    return try_any<kQuotaKeyMax>(*quota, key, key_bytes, n, nullptr);
  return try_any<kShort>(*quota, key, key_bytes, n, nullptr);
}

weir_status weir_quota_acquire(weir_quota* quota, const char* key, size_t key_bytes, uint64_t n,
                               uint32_t timeout_ms, weir_quota_permit* permit) {
  if (!arguments_ok(quota, key, key_bytes, n)) [[unlikely]]
    return WEIR_E_INVALID;
  Look look;
  if (take_again(*quota, key, key_bytes, n, look) ||
      take(*quota, key, key_bytes, n, look) == QuotaTake::ok) [[likely]] {
    remember(look.found.slot);
    if (permit != nullptr) fill(*permit, *quota, *look.at, look.found, key, key_bytes, n);
    return WEIR_ALLOW;
  }
  if (permit != nullptr) permit_of(*permit).magic = 0;
  return acquire_slow(*quota, key, key_bytes, n, timeout_ms, permit);
}

}  // extern "C"
