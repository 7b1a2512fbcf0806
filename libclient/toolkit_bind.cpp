// Points the handles of the toolkit at the agent's resources, and takes the process's place among
// those that may hold permits.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "adaptive/in_flight.h"
#include "libclient/toolkit.h"
#include "shm/toolkit_reap.h"

using namespace weir::client;
using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// What handles that no agent knows look at. Its hot word is no handle's expected one.
constinit const ResourceRule kNoResource{};
constinit const FeatureRule kNoFeature{};

void tell_agent(weir_client& client) noexcept {
  if (client.process_slot >= 0)
    send_frame(client, FrameType::hold, static_cast<std::uint32_t>(client.process_slot),
               process_generation(client.process_owner));
}

// Under `busy`. The calling process's slot in these counters, or -1.
std::int32_t process_slot(weir_client& client, const Attachment& at) noexcept {
  if (client.process_slot >= 0 && client.process_counters_id == at.counters_id &&
      at.toolkit.process(static_cast<std::uint32_t>(client.process_slot))
              .owner.load(std::memory_order_acquire) == client.process_owner)
    return client.process_slot;
  const auto pid = static_cast<std::uint32_t>(::getpid());
  client.process_slot = claim_process(at.toolkit, pid, start_ticks_of(pid), own_pid_namespace(),
                                      at.now_ns(), &client.process_owner);
  client.process_counters_id = at.counters_id;
  tell_agent(client);
  return client.process_slot;
}

// Makes every CPU that runs a thread of this process pass a full barrier; false where the kernel
// has no such call or a filter forbids it.
bool barrier_everywhere() noexcept {
  constexpr int kPrivateExpedited = 1 << 3;
  constexpr int kRegisterPrivateExpedited = 1 << 4;
  if (::syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0) return true;
  return ::syscall(SYS_membarrier, kRegisterPrivateExpedited, 0, 0) == 0 &&
         ::syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0;
}

// Waits until no thread is in the middle of a move under the binding before this one. Bounded: this
// may be a signal handler that interrupted such a move. -1: somebody is.
bool moves_ended(const weir_resource& resource) noexcept {
  constexpr int kYieldsMax = 5000;
  for (int i = 0; i < kYieldsMax; ++i) {
    bool busy = resource.crowd_moves.load(std::memory_order_seq_cst) != 0;
    for (const Held& held : resource.held)
      // acquire: the word as its last move left it.
      busy = busy || held.busy.load(std::memory_order_acquire);
    if (!busy) return true;
    ::sched_yield();
  }
  return false;
}

// What this process holds under the binding that has just ended, as a number. A stripe is negative
// where its thread gave back what another took; only the sum means anything.
std::uint32_t permits_of(const weir_resource& resource, std::uint64_t binding) noexcept {
  const HolderCell* cells = resource.holders.load(kRelaxed);
  std::uint32_t sum = 0;
  for (std::uint32_t lane = 0; lane <= kCrowd && cells != nullptr; ++lane) {
    const Held& held = resource.held[lane];
    const std::uint32_t index = held.cell.load(kRelaxed);
    if (index == kNoCell || held.binding.load(kRelaxed) != binding) continue;
    // The crowd's word is in its cell alone.
    const std::uint64_t word = lane == kCrowd ? cells[index].stripe.load(std::memory_order_acquire)
                                              : held.word.load(kRelaxed);
    sum += weir::adaptive::stripe_of(word).count;
  }
  const std::int32_t count = weir::adaptive::signed_count(sum);
  return count > 0 ? static_cast<std::uint32_t>(count) : 0;
}

// Gives up the cells of this handle, whoever of the process used them: the resource moved, or the
// client closes. A thread that is in the middle of a move still writes its old cell: that counts
// for nothing, since the cell's claim is not this process's any more, and a next owner's first move
// writes over it.
void free_cells(weir_resource& resource, std::uint64_t binding) noexcept {
  HolderCell* cells = resource.holders.load(kRelaxed);
  for (Held& held : resource.held) {
    const std::uint32_t index = held.cell.load(kRelaxed);
    if (index == kNoCell || held.binding.load(kRelaxed) != binding || cells == nullptr) continue;
    cells[index].stripe.store(0, kRelaxed);
    cells[index].claim.store(0, std::memory_order_release);
  }
}

// Under `busy`.
bool take_cell_locked(weir_resource& resource, std::uint32_t lane) noexcept {
  const Attachment* at = resource.attachment.load(std::memory_order_acquire);
  if (at == nullptr || !at->toolkit) return false;
  const std::int32_t slot = process_slot(*resource.client, *at);
  if (slot < 0) return false;
  const HolderClaim claim{.process = static_cast<std::uint32_t>(slot),
                          .process_generation = process_generation(resource.client->process_owner),
                          .resource = resource.index.load(kRelaxed),
                          .resource_generation = resource.generation & 0xffffU};
  const std::uint64_t binding = resource.binding.load(kRelaxed);
  // The crowd's cell comes first: a permit can then always be given back, by whatever thread.
  for (const std::uint32_t each : {kCrowd, lane}) {
    Held& held = resource.held[each];
    if (held.binding.load(kRelaxed) == binding && held.cell.load(kRelaxed) != kNoCell) continue;
    const std::int32_t cell = claim_holder(at->toolkit, claim);
    if (cell < 0) return each != kCrowd;
    held.word.store(at->toolkit.holder(static_cast<std::uint32_t>(cell)).stripe.load(kRelaxed),
                    kRelaxed);
    held.cell.store(static_cast<std::uint32_t>(cell), kRelaxed);
    // release: who sees the binding sees the cell.
    held.binding.store(binding, std::memory_order_release);
  }
  return true;
}

// The slots of the processes are the truth, also for counters that are new: an agent that comes
// back without the old ones learns from each process what it holds. All of it goes into the crowd's
// stripe, from which permits of earlier bindings are given back.
void carry_permits(weir_resource& resource, std::uint32_t permits) noexcept {
  Held& crowd = resource.held[kCrowd];
  if (permits == 0 || !take_cell_locked(resource, kCrowd)) {
    resource.carried.store(0, kRelaxed);
    return;
  }
  A64& stripe = resource.holders.load(kRelaxed)[crowd.cell.load(kRelaxed)].stripe;
  // One after the other, as if they entered, so that no recount takes them for a leak. Nobody else
  // writes the cell while the resource moves.
  for (std::uint32_t i = 0; i < permits; ++i) {
    const std::uint64_t word = stripe.load(kRelaxed);
    stripe.store(weir::adaptive::stripe_entering(word), std::memory_order_release);
    resource.counter.load(kRelaxed)->in_flight.fetch_add(1, std::memory_order_acq_rel);
    stripe.store(weir::adaptive::stripe_entered(word, 1), std::memory_order_release);
  }
  resource.carried.store(permits, kRelaxed);
}

void unbind(weir_resource& resource) noexcept {
  resource.expected.store(kNoHot, std::memory_order_release);
  resource.rule.store(&kNoResource, kRelaxed);
}

void bind(weir_resource& resource, const Attachment& at, std::uint32_t index,
          std::uint64_t hot) noexcept {
  const ToolkitView& view = at.toolkit;
  const Attachment* before = resource.attachment.load(kRelaxed);
  // The same counters and the same place in them: permits stay what they are. The low halves of
  // hot words are flags, which may change as they like.
  const bool same = before != nullptr && before->counters_id == at.counters_id &&
                    resource.index.load(kRelaxed) == index &&
                    resource.generation == static_cast<std::uint32_t>(hot >> 32);
  resource.expected.store(kNoHot, std::memory_order_release);
  std::uint32_t permits = 0;
  if (!same) {
    // From here on whoever looks sees that the old cells are not to be used.
    resource.moving.store(true, std::memory_order_seq_cst);
    const std::uint64_t ended = resource.binding.fetch_add(1, std::memory_order_seq_cst);
    if (before != nullptr && barrier_everywhere() && moves_ended(resource))
      permits = permits_of(resource, ended);
    else
      resource.carried_from.store(ended + 1, kRelaxed);
    free_cells(resource, ended);
    if (before != nullptr) {
      const std::uint32_t left = resource.index.load(kRelaxed);
      before->toolkit.counter(left).recount_mono_ns.store(0, kRelaxed);
      (void)recount(before->toolkit, left, before->now_ns());
    }
  }
  resource.generation = static_cast<std::uint32_t>(hot >> 32);
  resource.index.store(index, kRelaxed);
  resource.attachment.store(&at, std::memory_order_release);
  resource.rule.store(&view.rule(index), kRelaxed);
  // release: who sees these sees the new binding too.
  resource.counter.store(&view.counter(index), std::memory_order_release);
  resource.holders.store(view.geometry().holders_max != 0 ? &view.holder(0) : nullptr,
                         std::memory_order_release);
  resource.lanes.store(&view.lane(0, index), kRelaxed);
  resource.lane_stride.store(static_cast<std::uint32_t>(view.geometry().lane_stride()), kRelaxed);
  resource.cpus.store(view.geometry().cpus, kRelaxed);
  resource.heartbeat.store(&at.rules.header().heartbeat_mono_ns, kRelaxed);
  if (!same) carry_permits(resource, permits);
  // Here, where there is time for it, so that the first call of each thread finds a place.
  if ((hot & (kToolConcurrency | kToolBreaker)) != 0) (void)take_cell_locked(resource, kCrowd);
  if (!same) {
    // seq_cst: who sees the end of it sees the crowd's cell and what was carried; and who does not
    // has left a note of what to give back.
    resource.moving.store(false, std::memory_order_seq_cst);
    settle_returns(resource);
  }
  resource.expected.store(hot, std::memory_order_release);
}

// Under `busy`.
void point_at_rule(weir_resource& resource) noexcept {
  const Attachment* at = resource.client->current.load(std::memory_order_acquire);
  if (at == nullptr) return;
  const std::int32_t found = at->toolkit ? find_resource(at->toolkit, resource.name.data()) : -1;
  if (found < 0) return unbind(resource);
  const auto index = static_cast<std::uint32_t>(found);
  const std::uint64_t hot = at->toolkit.rule(index).hot.load(std::memory_order_acquire);
  if ((hot & kToolActive) == 0) return unbind(resource);
  bind(resource, *at, index, hot);
}

void point_at_rule(weir_feature& feature) noexcept {
  const Attachment* at = feature.client->current.load(std::memory_order_acquire);
  if (at == nullptr) return;
  const std::int32_t found = at->toolkit ? find_feature(at->toolkit, feature.name.data()) : -1;
  feature.expected.store(kNoHot, std::memory_order_release);
  feature.rule.store(&kNoFeature, kRelaxed);
  if (found < 0) return;
  const FeatureRule& rule = at->toolkit.feature(static_cast<std::uint32_t>(found));
  const std::uint64_t hot = rule.hot.load(std::memory_order_acquire);
  feature.attachment.store(at, std::memory_order_release);
  feature.rule.store(&rule, kRelaxed);
  feature.expected.store(hot, std::memory_order_release);
}

template <class Handle>
std::uint64_t again(Handle& handle) noexcept {
  const std::int64_t now = read_mono_ns();
  // An unknown name is looked up now and then only: that is a search.
  // One that has changed is followed at once, or a new rule would mean no rule for that long.
  if (handle.expected.load(std::memory_order_acquire) == kNoHot &&
      now < handle.look_at_ns.load(kRelaxed))
    return 0;
  handle.look_at_ns.store(now + kLookAgainNs, kRelaxed);
  maintain(*handle.client, now);
  if (const Busy busy(*handle.client); busy) point_at_rule(handle);
  const std::uint64_t expected = handle.expected.load(std::memory_order_acquire);
  return expected == kNoHot ? 0 : expected;
}

// A handle of this name in a client's list, or a new one at its head.
template <class Handle>
weir_status get(weir_client* client, const char* name, std::atomic<Handle*>& list,
                std::uint32_t most, Handle** handle) noexcept {
  const std::size_t length = ::strnlen(name, kNameBytesMax + 1);
  if (length == 0 || length > kNameBytesMax) return WEIR_E_INVALID;
  const KeepErrno keep;
  while (client->busy.exchange(true, std::memory_order_acquire))
    ::usleep(100);
  weir_status status = WEIR_OK;
  std::uint32_t count = 0;
  Handle* found = list.load(kRelaxed);
  for (; found != nullptr && std::strcmp(found->name.data(), name) != 0; ++count)
    found = found->next.load(kRelaxed);
  if (found == nullptr && count >= most) {
    status = WEIR_E_LIMIT;
  } else if (found == nullptr) {
    found = new (std::nothrow) Handle;
    if (found == nullptr) {
      status = WEIR_E_NO_MEMORY;
    } else {
      found->client = client;
      std::memcpy(found->name.data(), name, length);
      point_at_rule(*found);
      found->next.store(list.load(kRelaxed), kRelaxed);
      list.store(found, std::memory_order_release);
    }
  }
  client->busy.store(false, std::memory_order_release);
  if (status == WEIR_OK) *handle = found;
  return status;
}

}  // namespace

weir_resource::weir_resource() noexcept
    : rule(&kNoResource), rseq_area(static_cast<std::int32_t>(rseq_area_offset())) {}
weir_feature::weir_feature() noexcept : rule(&kNoFeature) {}

namespace weir::client {

std::uint64_t hot_again(weir_resource& resource) noexcept { return again(resource); }
std::uint64_t hot_again(weir_feature& feature) noexcept { return again(feature); }

void resolve_toolkit(weir_client& client) noexcept {
  for (weir_resource* r = client.resources.load(std::memory_order_acquire); r != nullptr;
       r = r->next.load(std::memory_order_acquire))
    ::point_at_rule(*r);
  for (weir_feature* f = client.features.load(std::memory_order_acquire); f != nullptr;
       f = f->next.load(std::memory_order_acquire))
    ::point_at_rule(*f);
  const Attachment* at = client.current.load(std::memory_order_acquire);
  if (client.process_slot >= 0 && at != nullptr && client.process_counters_id == at->counters_id)
    tell_agent(client);
}

bool take_cell(weir_resource& resource, std::uint32_t lane) noexcept {
  const KeepErrno keep;
  // Another thread may be taking the process's place right now, which is a matter of microseconds;
  // or this is a signal handler that interrupted it. Hence a bounded wait.
  constexpr int kYieldsMax = 200;
  for (int i = 0; i < kYieldsMax; ++i) {
    if (const Busy busy(*resource.client); busy) return take_cell_locked(resource, lane);
    ::sched_yield();
  }
  return false;
}

// The child has none of its parent's permits, cells or place.
void toolkit_after_fork(weir_client& client) noexcept {
  client.process_slot = -1;
  for (weir_resource* r = client.resources.load(kRelaxed); r != nullptr;
       r = r->next.load(kRelaxed)) {
    for (Held& held : r->held) {
      held.cell.store(kNoCell, kRelaxed);
      held.busy.store(false, kRelaxed);
    }
    r->crowd_moves.store(0, kRelaxed);
    r->moving.store(false, kRelaxed);
    r->carried.store(0, kRelaxed);
    r->returned.store(0, kRelaxed);
    r->carried_from.store(r->binding.load(kRelaxed) + 1, kRelaxed);
    r->binding.fetch_add(1, std::memory_order_release);
  }
}

void close_toolkit(weir_client& client) noexcept {
  for (weir_resource* r = client.resources.load(kRelaxed); r != nullptr;) {
    weir_resource* next = r->next.load(kRelaxed);
    delete r;
    r = next;
  }
  for (weir_feature* f = client.features.load(kRelaxed); f != nullptr;) {
    weir_feature* next = f->next.load(kRelaxed);
    delete f;
    f = next;
  }
  const Attachment* at = client.current.load(std::memory_order_acquire);
  if (client.process_slot < 0 || at == nullptr || at->counters_id != client.process_counters_id)
    return;
  // Whatever is still held goes with the client, as if the process had died.
  (void)reap_process(at->toolkit, static_cast<std::uint32_t>(client.process_slot),
                     client.process_owner, at->now_ns());
}

bool agent_gone(weir_client& client, const Attachment* at, const void* who) noexcept {
  struct Streak {
    const void* who = nullptr;
    std::int64_t heartbeat_mono_ns = 0;
    std::uint32_t count = 0;
    bool gone = false;
  };
  [[gnu::tls_model("initial-exec")]] static constinit thread_local Streak streak{};
  if (at == nullptr) return true;
  const std::int64_t heartbeat = at->rules.header().heartbeat_mono_ns.load(kRelaxed);
  if (streak.who != who || streak.heartbeat_mono_ns != heartbeat)
    streak = {.who = who, .heartbeat_mono_ns = heartbeat, .count = 0, .gone = false};
  constexpr std::uint32_t kLookEach = 64;
  const std::uint32_t count = ++streak.count;
  if (streak.gone || (count & (count - 1)) == 0 || count % kLookEach == 0) {
    const std::int64_t own_ns = read_mono_ns();
    streak.gone = !at->agent_alive(own_ns - at->offset_ns);
    if (streak.gone) maintain(client, own_ns);
  }
  return streak.gone;
}

std::uint32_t draw() noexcept {
  // From a place of its own in each thread, so that short-lived ones do not all draw the same.
  [[gnu::tls_model("initial-exec")]] static constinit thread_local std::uint64_t drawn = 0;
  if (drawn == 0) [[unlikely]]
    drawn = reinterpret_cast<std::uintptr_t>(&drawn) ^ static_cast<std::uint64_t>(read_mono_ns());
  return static_cast<std::uint32_t>((++drawn * 0x9e3779b97f4a7c15ULL) >> 48);
}

}  // namespace weir::client

extern "C" {

weir_status weir_resource_get(weir_client* client, const char* name, weir_resource** resource) {
  if (client == nullptr || name == nullptr || resource == nullptr) return WEIR_E_INVALID;
  return get(client, name, client->resources, kResourcesMax, resource);
}

weir_status weir_feature_get(weir_client* client, const char* name, weir_feature** feature) {
  if (client == nullptr || name == nullptr || feature == nullptr) return WEIR_E_INVALID;
  return get(client, name, client->features, kFeaturesMax, feature);
}

}  // extern "C"
