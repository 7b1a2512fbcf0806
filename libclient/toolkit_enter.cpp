// Concurrency limits. Each thread writes a stripe of its own, which is the truth, around a bounded
// addition to the host's total, which is a cache; adaptive/in_flight.h has the protocol.
#include <sched.h>

#include <atomic>
#include <cstring>

#include "libclient/room.h"
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

// Where the resource is counted. A binder raises the number, then writes the pointers, and then
// takes cells for that number. Read the other way round, all three belong together where a cell's
// number is the handle's: older pointers cannot be seen after its cell, newer ones not before the
// next number.
struct Place {
  HolderCell* cells;
  ResourceCounter* counter;
  std::uint64_t binding;
  bool has_cell;

  A64& stripe(const Held& held) const noexcept { return cells[held.cell.load(kRelaxed)].stripe; }
  S64& total() const noexcept { return counter->in_flight; }
};
[[gnu::always_inline]] inline Place place_of(const weir_resource& resource,
                                             const Held& held) noexcept {
  // acquire, each: in this order.
  const std::uint64_t taken = held.binding.load(std::memory_order_acquire);
  HolderCell* cells = resource.holders.load(std::memory_order_acquire);
  ResourceCounter* counter = resource.counter.load(std::memory_order_acquire);
  const std::uint64_t binding = resource.binding.load(std::memory_order_acquire);
  return {cells, counter, binding, taken == binding};
}

// Somebody is changing the crowd's stripe; whoever moves the resource waits for the end of it.
class CrowdMove {
 public:
  // seq_cst: this addition comes before the look at the binding, whose writer looks here after it.
  explicit CrowdMove(weir_resource& resource) noexcept : moves_(resource.crowd_moves) {
    moves_.fetch_add(1, std::memory_order_seq_cst);
  }
  ~CrowdMove() { moves_.fetch_sub(1, std::memory_order_release); }
  CrowdMove(const CrowdMove&) = delete;
  CrowdMove& operator=(const CrowdMove&) = delete;

 private:
  std::atomic<std::uint32_t>& moves_;
};

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

// Whether the resource moved since `place` was read. Whoever moves it raises the number, makes all
// CPUs pass a barrier, and then waits for those who are in the middle of a move: so it needs no
// barrier here between the mark `busy` and this look.
[[gnu::always_inline]] inline bool moved(const weir_resource& resource,
                                         const Place& place) noexcept {
  return resource.binding.load(kRelaxed) != place.binding;
}

[[gnu::always_inline]] inline bool enter_lane(const weir_resource& resource, const Place& place,
                                              Held& held, const Room& room) noexcept {
  held.busy.store(true, kRelaxed);
  // A signal handler of this thread that comes from here on goes to the crowd; one that came before
  // is over. The word is read after that.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (moved(resource, place)) [[unlikely]] {
    held.busy.store(false, kRelaxed);
    return false;
  }
  const std::uint64_t word = held.word.load(kRelaxed);
  A64& stripe = place.stripe(held);
  stripe.store(adaptive::stripe_entering(word), std::memory_order_release);
  const bool entered = raise_total(place.total(), room);
  const std::uint64_t next = entered ? adaptive::stripe_entered(word, 1) : word;
  stripe.store(next, std::memory_order_release);
  held.word.store(next, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // release: whoever waits for the end of the move sees the word.
  held.busy.store(false, std::memory_order_release);
  return entered;
}

[[gnu::always_inline]] inline bool leave_lane(const weir_resource& resource, const Place& place,
                                              Held& held) noexcept {
  held.busy.store(true, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (moved(resource, place)) [[unlikely]] {
    held.busy.store(false, kRelaxed);
    return false;
  }
  const std::uint64_t leaving = adaptive::stripe_leaving(held.word.load(kRelaxed), 1);
  A64& stripe = place.stripe(held);
  stripe.store(leaving, std::memory_order_release);
  place.total().fetch_sub(1, std::memory_order_acq_rel);
  const std::uint64_t settled = adaptive::stripe_settled(leaving);
  stripe.store(settled, std::memory_order_release);
  held.word.store(settled, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  held.busy.store(false, std::memory_order_release);
  return true;
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
weir_status enter_slow(weir_resource& resource, std::uint32_t lane, const Room& room,
                       Entry& entry) noexcept {
  Held& held = resource.held[lane];
  Held& crowd = resource.held[kCrowd];
  const bool own = lane != kCrowd && !held.busy.load(kRelaxed);
  if (!place_of(resource, crowd).has_cell || (own && !place_of(resource, held).has_cell))
    (void)take_cell(resource, own ? lane : kCrowd);
  if (const Place place = place_of(resource, held); own && place.has_cell) {
    if (enter_lane(resource, place, held, room)) {
      entry = {&resource, place.binding, 0};
      return WEIR_ALLOW;
    }
    // That the handle has moved meanwhile says nothing of the room at its new place.
    if (!moved(resource, place)) return WEIR_DENY_FULL;
  }
  const CrowdMove move(resource);
  const Place place = place_of(resource, crowd);
  if (!place.has_cell || resource.moving.load(std::memory_order_acquire)) {
    // No cell is left in the whole domain, or the handle moves right now. What cannot be counted
    // safely is let in uncounted, and that is counted.
    place.counter->uncounted_total.fetch_add(1, kRelaxed);
    return WEIR_ALLOW;
  }
  if (!raise_total(place.total(), room)) return WEIR_DENY_FULL;
  move_crowd(place, crowd, true);
  entry = {&resource, place.binding, 0};
  return WEIR_ALLOW;
}

// Nothing in old segments says that there are new ones: whoever only enters and leaves, and never
// finds it full, must look at the agent's heartbeat now and then. At two of 32 moves of a thread,
// so that it happens whether the thread holds an even number of permits meanwhile or an odd one.
constexpr std::uint64_t kLookMoves = std::uint64_t{0x1e} << 20;
bool looks_now(const Held& held) noexcept { return (held.word.load(kRelaxed) & kLookMoves) == 0; }
[[gnu::noinline]] weir_status look_after_agent(weir_resource& resource) noexcept {
  (void)agent_gone(*resource.client, resource.attachment.load(std::memory_order_acquire),
                   &resource);
  return WEIR_ALLOW;
}

// All that weir_enter's first lines do not do: another agent, a new thread, a full resource.
[[gnu::noinline]] weir_status enter_otherwise(weir_resource& resource, std::int32_t priority_class,
                                              Entry& entry) noexcept {
  if ((tools_of(resource) & kToolConcurrency) == 0) return WEIR_ALLOW;
  const std::uint32_t lane = my_lane();
  const auto room = [&] { return Room{resource.rule.load(kRelaxed), priority_class}; };
  if (enter_slow(resource, lane, room(), entry) == WEIR_ALLOW) return WEIR_ALLOW;
  if (reaped_without_agent(resource) && enter_slow(resource, lane, room(), entry) == WEIR_ALLOW)
    return WEIR_ALLOW;
  return full(resource);
}

constexpr std::uint64_t kSomeEarlier = 0;  // no binding has this number

// Gives back a permit that was entered under an earlier binding, if it came along to this one.
// Entered in a parent of this process, or under counters from which nothing was carried: nothing.
bool take_carried(weir_resource& resource, std::uint64_t binding) noexcept {
  if (binding != kSomeEarlier && binding < resource.carried_from.load(kRelaxed)) return false;
  std::uint32_t left = resource.carried.load(kRelaxed);
  while (left != 0)
    if (resource.carried.compare_exchange_weak(left, left - 1, kRelaxed)) return true;
  return false;
}

// False while the resource moves to other counters, when nothing can be given back.
bool given_back(weir_resource& resource, std::uint64_t binding) noexcept {
  const CrowdMove move(resource);
  Held& crowd = resource.held[kCrowd];
  const Place place = place_of(resource, crowd);
  if (!place.has_cell || resource.moving.load(std::memory_order_seq_cst))
    return binding != kSomeEarlier && binding < resource.carried_from.load(kRelaxed);
  if (binding != place.binding && !take_carried(resource, binding)) return true;
  move_crowd(place, crowd, false);
  place.total().fetch_sub(1, std::memory_order_acq_rel);
  return true;
}

// By a thread that has no stripe of this resource, or in the middle of its move, or for a permit of
// an earlier binding: by the crowd's, which is there since before the first permit was given.
[[gnu::noinline]] weir_status leave_otherwise(weir_resource& resource,
                                              std::uint64_t binding) noexcept {
  // A move takes microseconds, unless the mover is stopped, or is what this handler interrupted.
  constexpr int kYieldsMax = 100;
  for (int i = 0; i < kYieldsMax; ++i) {
    if (given_back(resource, binding)) return WEIR_OK;
    const KeepErrno keep;
    ::sched_yield();
  }
  // seq_cst: either the mover, who looks here after its end, sees this, or the look below its end.
  resource.returned.fetch_add(1, std::memory_order_seq_cst);
  settle_returns(resource);
  return WEIR_OK;
}

}  // namespace

namespace weir::client {

void settle_returns(weir_resource& resource) noexcept {
  // Bounded: where no cell is left for the crowd, nothing can be given back at all.
  constexpr int kTriesMax = 1000;
  std::uint32_t left = resource.returned.load(std::memory_order_seq_cst);
  for (int i = 0; left != 0 && i < kTriesMax; ++i) {
    if (!resource.returned.compare_exchange_weak(left, left - 1)) continue;
    if (!given_back(resource, kSomeEarlier)) {
      resource.returned.fetch_add(1, std::memory_order_seq_cst);
      // It moves again, and that mover settles; unless its end was in between.
      if (resource.moving.load(std::memory_order_seq_cst)) return;
    }
    left = resource.returned.load(std::memory_order_seq_cst);
  }
}

}  // namespace weir::client

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
  const Place place = place_of(*resource, held);
  if (!place.has_cell || held.busy.load(kRelaxed) ||
      !enter_lane(*resource, place, held, {&rule, priority_class})) [[unlikely]]
    return enter_otherwise(*resource, priority_class, *entry);
  entry->binding = place.binding;
  entry->resource = resource;
  if (looks_now(held)) [[unlikely]]
    return look_after_agent(*resource);
  return WEIR_ALLOW;
}

weir_status weir_leave(weir_entry* opaque) {
  auto* entry = reinterpret_cast<Entry*>(opaque);
  if (entry == nullptr) [[unlikely]]
    return WEIR_E_INVALID;
  weir_resource* resource = entry->resource;
  if (resource == nullptr) return WEIR_OK;
  entry->resource = nullptr;
  const std::uint32_t lane = thread_lane;
  if (lane >= kCrowd) [[unlikely]]
    return leave_otherwise(*resource, entry->binding);
  Held& held = resource->held[lane];
  const Place place = place_of(*resource, held);
  if (entry->binding != place.binding || !place.has_cell || held.busy.load(kRelaxed) ||
      !leave_lane(*resource, place, held)) [[unlikely]]
    return leave_otherwise(*resource, entry->binding);
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
