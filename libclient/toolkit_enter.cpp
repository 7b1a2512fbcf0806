// Concurrency limits. Each thread writes a stripe of its own, which is the truth, around a bounded
// addition to the host's total, which is a cache; adaptive/in_flight.h has the protocol.
#include <atomic>
#include <cstring>

#include "libclient/toolkit.h"
#include "shm/toolkit_reap.h"

using namespace weir::client;
using namespace weir::shm;
namespace adaptive = weir::adaptive;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint32_t kNoLane = 0xffffffff;

struct Entry {
  weir_resource* resource;
  std::uint64_t binding;
  std::uint64_t reserved;
};
static_assert(sizeof(Entry) <= sizeof(weir_entry));

// Lanes are numbers that the threads of a process share out among themselves.
std::atomic<std::uint64_t> lanes_taken{0};
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint32_t thread_lane = kNoLane;

struct LaneOwner {
  std::uint32_t lane = kCrowd;
  ~LaneOwner() {
    // What other destructors of this thread still enter and leave goes to the crowd.
    thread_lane = kCrowd;
    // release: the lane's next owner sees the stripes as this one left them.
    if (lane < kThreadLanes) lanes_taken.fetch_and(~(1ULL << lane), std::memory_order_release);
  }
};

[[gnu::noinline]] std::uint32_t take_lane() noexcept {
  static thread_local LaneOwner owner;
  std::uint64_t taken = lanes_taken.load(kRelaxed);
  while (~taken != 0) {
    const auto lane = static_cast<std::uint32_t>(__builtin_ctzll(~taken));
    // acquire: pairs with the release of the lane's last owner.
    if (lanes_taken.compare_exchange_weak(taken, taken | 1ULL << lane, std::memory_order_acquire,
                                          kRelaxed)) {
      owner.lane = lane;
      return lane;
    }
  }
  return kCrowd;
}

std::uint32_t my_lane() noexcept {
  if (thread_lane == kNoLane) [[unlikely]]
    thread_lane = take_lane();
  return thread_lane;
}

// Where the resource is counted. The pointers are read before the binding, and are written after
// it: who still sees the old number has the old pointers, and no cell is looked for elsewhere.
struct Place {
  HolderCell* cells;
  ResourceCounter* counter;
  std::uint64_t binding;

  bool has(const Held& held) const noexcept {
    return held.binding.load(std::memory_order_acquire) == binding;
  }
  A64& stripe(const Held& held) const noexcept { return cells[held.cell.load(kRelaxed)].stripe; }
  S64& total() const noexcept { return counter->in_flight; }
};
[[gnu::always_inline]] inline Place place_of(const weir_resource& resource) noexcept {
  // acquire: the binding is read after the pointers.
  HolderCell* cells = resource.holders.load(std::memory_order_acquire);
  ResourceCounter* counter = resource.counter.load(std::memory_order_acquire);
  return {cells, counter, resource.binding.load(std::memory_order_acquire)};
}

bool raise_total(S64& total, std::int64_t room) noexcept {
  std::int64_t seen = total.load(kRelaxed);
  while (seen < room)
    // acq_rel: the stripe's mark is seen no later than the total, and cleared no earlier.
    if (total.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, kRelaxed))
      return true;
  return false;
}

// The crowd's stripe belongs to many threads, which change it by compare-and-swap and cannot mark
// it. A recount may thus take one of their moves for a leak, which the next one makes good.
void move_crowd(const Place& place, Held& crowd, bool enters) noexcept {
  A64& stripe = place.stripe(crowd);
  std::uint64_t word = stripe.load(kRelaxed);
  std::uint64_t next = 0;
  do
    next = enters ? adaptive::stripe_entered(word, 1)
                  : adaptive::stripe_settled(adaptive::stripe_leaving(word, 1));
  while (!stripe.compare_exchange_weak(word, next, std::memory_order_acq_rel, kRelaxed));
}

[[gnu::always_inline]] inline bool enter_lane(const Place& place, Held& held,
                                              std::int64_t room) noexcept {
  held.busy.store(true, kRelaxed);
  // A signal handler of this thread that comes from here on goes to the crowd; one that came before
  // is over. The word is read after that.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const std::uint64_t word = held.word.load(kRelaxed);
  A64& stripe = place.stripe(held);
  stripe.store(adaptive::stripe_entering(word), std::memory_order_release);
  const bool entered = raise_total(place.total(), room);
  const std::uint64_t next = entered ? adaptive::stripe_entered(word, 1) : word;
  stripe.store(next, std::memory_order_release);
  held.word.store(next, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  held.busy.store(false, kRelaxed);
  return entered;
}

void leave_lane(const Place& place, Held& held) noexcept {
  held.busy.store(true, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const std::uint64_t leaving = adaptive::stripe_leaving(held.word.load(kRelaxed), 1);
  A64& stripe = place.stripe(held);
  stripe.store(leaving, std::memory_order_release);
  place.total().fetch_sub(1, std::memory_order_acq_rel);
  const std::uint64_t settled = adaptive::stripe_settled(leaving);
  stripe.store(settled, std::memory_order_release);
  held.word.store(settled, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  held.busy.store(false, kRelaxed);
}

// How many may be in flight for a call of this class to be let in.
std::int64_t room_of(const ResourceRule& rule, std::int32_t priority_class) noexcept {
  const std::uint64_t limit = std::min(rule.concurrency.load(kRelaxed), kPermitsMax);
  if (limit == 0) return static_cast<std::int64_t>(kPermitsMax);
  const std::uint64_t reserve = rule.class_reserve[priority_class].load(kRelaxed);
  return static_cast<std::int64_t>(reserve < limit ? limit - reserve : 0);
}

// Nobody may be there who sees the dead. A full resource is then looked through, now and then.
bool reaped_without_agent(weir_resource& resource) noexcept {
  const Attachment* at = resource.attachment.load(std::memory_order_acquire);
  if (!agent_gone(*resource.client, at, &resource)) return false;
  at = resource.attachment.load(std::memory_order_acquire);
  if (at == nullptr || !at->toolkit) return false;
  const KeepErrno keep;
  const std::int64_t now = at->now_ns();
  S64& turn = resource.counter.load(kRelaxed)->reap_mono_ns;
  std::int64_t last = turn.load(kRelaxed);
  // A time in the future is damage and nobody's turn.
  if (last <= now && now - last < kReapAgainNs && last != 0) return false;
  if (!turn.compare_exchange_strong(last, now)) return false;
  const Reaped reaped = reap_dead(at->toolkit, own_pid_namespace(), now);
  const std::int64_t corrected = recount(at->toolkit, resource.index.load(kRelaxed), now);
  return reaped.cells != 0 || corrected < 0;
}

weir_status full(weir_resource& resource) noexcept {
  count(resource, resource.lanes.load(kRelaxed)->full, 1);
  return WEIR_DENY_FULL;
}

// A thread without a stripe, or in the middle of a move.
weir_status enter_slow(weir_resource& resource, std::uint32_t lane, std::int64_t room,
                       Entry& entry) noexcept {
  Held& held = resource.held[lane];
  Held& crowd = resource.held[kCrowd];
  const bool own = lane != kCrowd && !held.busy.load(kRelaxed);
  Place place = place_of(resource);
  if (!place.has(crowd) || (own && !place.has(held))) {
    (void)take_cell(resource, own ? lane : kCrowd);
    place = place_of(resource);
  }
  bool entered = false;
  if (own && place.has(held)) {
    entered = enter_lane(place, held, room);
  } else if (place.has(crowd)) {
    entered = raise_total(place.total(), room);
    if (entered) move_crowd(place, crowd, true);
  } else {
    // No cell is left in the whole domain, or the handle moves right now. What cannot be counted
    // safely is let in uncounted, and that is counted.
    place.counter->uncounted_total.fetch_add(1, kRelaxed);
    return WEIR_ALLOW;
  }
  if (!entered) return WEIR_DENY_FULL;
  entry = {&resource, place.binding, 0};
  return WEIR_ALLOW;
}

// All that weir_enter's first lines do not do: another agent, a new thread, a full resource.
[[gnu::noinline]] weir_status enter_otherwise(weir_resource& resource, std::int32_t priority_class,
                                              Entry& entry) noexcept {
  if ((tools_of(resource) & kToolConcurrency) == 0) return WEIR_ALLOW;
  const std::uint32_t lane = my_lane();
  const auto room = [&] { return room_of(*resource.rule.load(kRelaxed), priority_class); };
  if (enter_slow(resource, lane, room(), entry) == WEIR_ALLOW) return WEIR_ALLOW;
  if (reaped_without_agent(resource) && enter_slow(resource, lane, room(), entry) == WEIR_ALLOW)
    return WEIR_ALLOW;
  return full(resource);
}

// By a thread that has no stripe of this resource, or in the middle of its move: by the crowd's,
// which is there since before the first permit was given.
[[gnu::noinline]] weir_status leave_otherwise(const Place& place, Held& crowd) noexcept {
  if (!place.has(crowd)) return WEIR_OK;
  move_crowd(place, crowd, false);
  place.total().fetch_sub(1, std::memory_order_acq_rel);
  return WEIR_OK;
}

}  // namespace

extern "C" {

weir_status weir_enter(weir_resource* resource, int32_t priority_class, weir_entry* opaque) {
  auto* entry = reinterpret_cast<Entry*>(opaque);
  if (resource == nullptr || entry == nullptr) [[unlikely]]
    return WEIR_E_INVALID;
  entry->resource = nullptr;
  priority_class &= ~WEIR_RETRY;
  if (!class_ok(priority_class)) [[unlikely]]
    return WEIR_E_INVALID;
  // Everything that is not the common case is in a function of its own, which this one ends with.
  const std::uint64_t expected = resource->expected.load(std::memory_order_acquire);
  const ResourceRule& rule = *resource->rule.load(kRelaxed);
  if (rule.hot.load(kRelaxed) != expected) [[unlikely]]
    return enter_otherwise(*resource, priority_class, *entry);
  if ((expected & kToolConcurrency) == 0) return WEIR_ALLOW;
  const std::uint32_t lane = thread_lane;
  if (lane >= kCrowd) [[unlikely]]
    return enter_otherwise(*resource, priority_class, *entry);
  Held& held = resource->held[lane];
  const Place place = place_of(*resource);
  if (!place.has(held) || held.busy.load(kRelaxed) ||
      !enter_lane(place, held, room_of(rule, priority_class))) [[unlikely]]
    return enter_otherwise(*resource, priority_class, *entry);
  entry->binding = place.binding;
  entry->resource = resource;
  return WEIR_ALLOW;
}

weir_status weir_leave(weir_entry* opaque) {
  auto* entry = reinterpret_cast<Entry*>(opaque);
  if (entry == nullptr) [[unlikely]]
    return WEIR_E_INVALID;
  weir_resource* resource = entry->resource;
  if (resource == nullptr) return WEIR_OK;
  entry->resource = nullptr;
  // Entered under another binding: in a parent of this process, or in counters that are gone.
  const Place place = place_of(*resource);
  if (entry->binding != place.binding) return WEIR_OK;
  const std::uint32_t lane = thread_lane;
  if (lane >= kCrowd || resource->held[lane].busy.load(kRelaxed) ||
      !place.has(resource->held[lane])) [[unlikely]]
    return leave_otherwise(place, resource->held[kCrowd]);
  leave_lane(place, resource->held[lane]);
  return WEIR_OK;
}

weir_status weir_in_flight(weir_resource* resource, uint64_t* in_flight) {
  if (resource == nullptr || in_flight == nullptr) return WEIR_E_INVALID;
  *in_flight = 0;
  if ((tools_of(*resource) & kToolActive) == 0) return WEIR_OK;
  const std::int64_t total = resource->counter.load(kRelaxed)->in_flight.load(kRelaxed);
  *in_flight = static_cast<std::uint64_t>(
      std::clamp<std::int64_t>(total, 0, static_cast<std::int64_t>(kPermitsMax)));
  return WEIR_OK;
}

}  // extern "C"
