// What lies behind the opaque handles of weir/toolkit.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "adaptive/in_flight.h"
#include "libclient/client.h"
#include "shm/toolkit.h"

namespace weir::client {

// Threads of a process that have a stripe of their own; further ones share the crowd's.
inline constexpr std::uint32_t kThreadLanes = 64;
inline constexpr std::uint32_t kCrowd = kThreadLanes;
inline constexpr std::uint32_t kNoCell = 0xffffffff;
// How often a handle that no agent knows asks whether one does by now.
inline constexpr std::int64_t kLookAgainNs = 10'000'000;
inline constexpr std::int64_t kReapAgainNs = 100'000'000;

// One thread's stripe of one resource. Only that thread touches it, but for `cell`.
struct alignas(64) Held {
  std::atomic<std::uint64_t> binding{0};  // for which binding of the handle the cell was taken
  std::atomic<std::uint64_t> word{0};     // as last written: damage in the cell does not spread
  std::atomic<std::uint32_t> cell{kNoCell};
  std::atomic<bool> busy{false};  // a move is under way: a signal handler goes to the crowd
};

}  // namespace weir::client

struct weir_resource {
  // Read on every call; expected is written last, as in weir_limit.
  alignas(64) std::atomic<std::uint64_t> expected{weir::client::kNoHot};
  std::atomic<const weir::shm::ResourceRule*> rule;
  std::atomic<weir::shm::ResourceCounter*> counter{nullptr};
  std::atomic<weir::shm::HolderCell*> holders{nullptr};
  std::atomic<weir::shm::OutcomeLane*> lanes{nullptr};
  std::atomic<const weir::shm::S64*> heartbeat{nullptr};
  std::atomic<std::uint64_t> binding{1};
  std::atomic<std::uint32_t> lane_stride{0};
  std::atomic<std::uint32_t> cpus{0};

  alignas(64) weir_client* client = nullptr;
  std::int32_t rseq_area = 0;
  std::atomic<const weir::client::Attachment*> attachment{nullptr};
  std::atomic<std::uint32_t> index{0};
  std::uint32_t generation = 0;             // of the resource, under busy
  std::atomic<std::int64_t> look_at_ns{0};  // own clock
  std::atomic<std::int64_t> maintain_at_ns{0};
  // Permits that were entered under earlier bindings, from this one on, and that the crowd's stripe
  // holds now; see carry_permits in toolkit_bind.cpp.
  std::atomic<std::uint64_t> carried_from{1};
  std::atomic<std::uint32_t> carried{0};
  std::atomic<std::uint32_t> returned{0};     // permits that could not be given back yet
  std::atomic<bool> moving{false};            // between two bindings: nothing can be given back
  std::atomic<std::uint32_t> crowd_moves{0};  // under way: a signal handler of a mover is one more
  // Without a rule: retries of this process, in thousandths.
  std::atomic<std::uint64_t> own_retry_milli{0};
  std::atomic<std::int64_t> own_retry_ns{0};
  std::array<char, weir::shm::kNameBytesMax + 1> name{};
  std::atomic<weir_resource*> next{nullptr};
  std::array<weir::client::Held, weir::client::kThreadLanes + 1> held;

  weir_resource() noexcept;
};

struct weir_feature {
  std::atomic<std::uint64_t> expected{weir::client::kNoHot};
  std::atomic<const weir::shm::FeatureRule*> rule;
  std::atomic<const weir::client::Attachment*> attachment{nullptr};
  weir_client* client = nullptr;
  std::atomic<std::int64_t> look_at_ns{0};
  std::array<char, weir::shm::kNameBytesMax + 1> name{};
  std::atomic<weir_feature*> next{nullptr};

  weir_feature() noexcept;
};

namespace weir::client {

// toolkit_bind.cpp. Under `busy`, but for close.
void resolve_toolkit(weir_client& client) noexcept;
void toolkit_after_fork(weir_client& client) noexcept;
void close_toolkit(weir_client& client) noexcept;

// The hot word as the handle should see it, after the handle was moved to where the resource lives
// now; 0 when no agent knows it.
std::uint64_t hot_again(weir_resource& resource) noexcept;
std::uint64_t hot_again(weir_feature& feature) noexcept;

// The flags of the tools that apply: one comparison where nothing has changed.
template <class Handle>
[[gnu::always_inline]] inline std::uint32_t tools_of(Handle& handle) noexcept {
  // acquire: the pointers that are read next are at least as new as the expected word.
  const std::uint64_t expected = handle.expected.load(std::memory_order_acquire);
  if (handle.rule.load(std::memory_order_relaxed)->hot.load(std::memory_order_relaxed) == expected)
      [[likely]]
    return static_cast<std::uint32_t>(expected);
  return static_cast<std::uint32_t>(hot_again(handle));
}

// Takes the cells of the calling thread (or of the crowd) for this binding; false: none is left.
bool take_cell(weir_resource& resource, std::uint32_t lane) noexcept;

// Gives back what could not be while the resource moved. toolkit_enter.cpp.
void settle_returns(weir_resource& resource) noexcept;

// Is the agent gone, so that what it published last is void? Reads the clock now and then only: at
// the 1st, 2nd, 4th … call under one heartbeat, and then at each 64th.
bool agent_gone(weir_client& client, const Attachment* at, const void* who) noexcept;

// A number that differs from call to call of a thread.
std::uint32_t draw() noexcept;

// Adds to one word of this CPU's lane; `word` is that of lane 0.
[[gnu::always_inline]] inline void count(const weir_resource& resource, shm::A64& word,
                                         std::uint64_t n) noexcept {
  shm::count_on_lane(resource.rseq_area, &word,
                     resource.lane_stride.load(std::memory_order_relaxed),
                     resource.cpus.load(std::memory_order_relaxed), n);
}

constexpr bool class_ok(std::int32_t priority_class) noexcept {
  return priority_class >= 0 && priority_class < static_cast<std::int32_t>(shm::kClasses);
}

// The clock of the resource's agent.
inline std::int64_t now_of(const weir_resource& resource) noexcept {
  const Attachment* at = resource.attachment.load(std::memory_order_acquire);
  return at == nullptr ? shm::read_mono_ns() : at->now_ns();
}

// toolkit_call.cpp. Would the breaker refuse, without taking a probe?
bool breaker_refuses(weir_resource& resource) noexcept;
// Gives up a call that did not happen: a probe goes to the next one.
void drop_call(weir_call& call) noexcept;

}  // namespace weir::client
