// Typed access to the two segments over bytes that somebody else mapped (or, for a process
// without an agent, over plain memory). Offsets come from geometry that was checked once; nobody
// reads a size back out of shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "shm/layout.h"
#include "shm/mint.h"
#include "shm/result.h"

namespace weir::shm {

// The rules segment, as a reader sees it. It has no read-modify-write: a compare-and-swap on a
// read-only page faults even when it would fail.
class RulesView {
 public:
  RulesView() noexcept = default;
  RulesView(const std::byte* base, RulesGeometry geometry) noexcept
      : base_(base), geometry_(geometry) {}

  explicit operator bool() const noexcept { return base_ != nullptr; }
  const RulesGeometry& geometry() const noexcept { return geometry_; }
  const RulesHeader& header() const noexcept { return at<RulesHeader>(0); }
  const A64& hot(std::uint32_t index) const noexcept {
    return at<A64>(geometry_.hot_offset() + sizeof(A64) * index);
  }
  const LiveSlot& live(std::uint32_t index) const noexcept {
    return at<LiveSlot>(geometry_.live_offset() + sizeof(LiveSlot) * index);
  }
  const RuleSlot& rule(std::uint32_t table, std::uint32_t index) const noexcept {
    return at<RuleSlot>(geometry_.table_offset(table & 1) + sizeof(RuleSlot) * index);
  }

 private:
  template <class T>
  const T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<const T*>(base_ + offset);
  }
  const std::byte* base_ = nullptr;
  RulesGeometry geometry_;
};

// The agent's side of the rules segment.
class RulesWriter {
 public:
  RulesWriter() noexcept = default;
  RulesWriter(std::byte* base, RulesGeometry geometry) noexcept
      : base_(base), geometry_(geometry) {}

  RulesView view() const noexcept { return {base_, geometry_}; }
  const RulesGeometry& geometry() const noexcept { return geometry_; }
  RulesHeader& header() const noexcept { return at<RulesHeader>(0); }
  A64& hot(std::uint32_t index) const noexcept {
    return at<A64>(geometry_.hot_offset() + sizeof(A64) * index);
  }
  LiveSlot& live(std::uint32_t index) const noexcept {
    return at<LiveSlot>(geometry_.live_offset() + sizeof(LiveSlot) * index);
  }
  RuleSlot& rule(std::uint32_t table, std::uint32_t index) const noexcept {
    return at<RuleSlot>(geometry_.table_offset(table & 1) + sizeof(RuleSlot) * index);
  }

 private:
  template <class T>
  T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<T*>(base_ + offset);
  }
  std::byte* base_ = nullptr;
  RulesGeometry geometry_;
};

class CountersView {
 public:
  CountersView() noexcept = default;
  CountersView(std::byte* base, CountersGeometry geometry) noexcept
      : base_(base), geometry_(geometry) {}

  explicit operator bool() const noexcept { return base_ != nullptr; }
  const CountersGeometry& geometry() const noexcept { return geometry_; }
  CountersHeader& header() const noexcept { return at<CountersHeader>(0); }
  CounterSlot& slot(std::uint32_t index) const noexcept {
    return at<CounterSlot>(geometry_.slot_offset() + sizeof(CounterSlot) * index);
  }
  // The limit's counter on lane 0; lane_stride() bytes further lies that of the next lane.
  A64& lane(std::uint32_t index, std::uint32_t set = kLaneRefused) const noexcept {
    return at<A64>(geometry_.set_offset(set) + sizeof(A64) * index);
  }
  // `set` counts from 1, as in RuleSlot.
  StripeCell* stripes(std::uint32_t set) const noexcept {
    return &at<StripeCell>(geometry_.stripe_offset() +
                           sizeof(StripeCell) * geometry_.cpus * (set - 1));
  }
  WaiterCell& waiter(std::uint32_t index) const noexcept {
    return at<WaiterCell>(geometry_.waiter_offset() + sizeof(WaiterCell) * index);
  }
  // What the lanes of a set come to; 0 where the segment has no such set.
  std::uint64_t count(std::uint32_t set, std::uint32_t index) const noexcept {
    if (set >= geometry_.lane_sets) return 0;
    std::uint64_t sum = 0;
    for (std::uint32_t cpu = 0; cpu <= geometry_.cpus; ++cpu)
      sum +=
          at<A64>(geometry_.set_offset(set) + geometry_.lane_stride() * cpu + sizeof(A64) * index)
              .load(std::memory_order_relaxed);
    return sum;
  }
  std::uint64_t refused(std::uint32_t index) const noexcept { return count(kLaneRefused, index); }

 private:
  template <class T>
  T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<T*>(base_ + offset);
  }
  std::byte* base_ = nullptr;
  CountersGeometry geometry_;
};

// A copy of one limit's configuration, whole even while the agent publishes.
struct RuleCopy {
  SlotState state = SlotState::empty;
  std::uint32_t generation = 0;
  LimitTerms terms;
  std::uint64_t reserve[kClasses] = {};
  std::uint64_t cluster_burst = 0;  // of a leased limit
  std::uint32_t stripe_set = 0;
  std::uint32_t stripes = 0;
  char name[kNameBytesMax + 1] = {};
};

// Writes headers over zeroed bytes; the version word goes last. There must be geometry.bytes(), or
// bytes_with_sets(), of them.
void format_rules(std::byte* base, const RulesGeometry& geometry, std::uint64_t agent_epoch,
                  std::uint64_t counters_id, std::uint64_t stale_after_ns,
                  std::uint64_t client_term_ns) noexcept;
void format_counters(std::byte* base, const CountersGeometry& geometry,
                     std::uint64_t counters_id) noexcept;

// Check bytes that somebody else wrote. Every check names the fact, so the message is the
// diagnosis; the geometry that comes back is a private copy.
Result<RulesGeometry> validate_rules(std::span<const std::byte> bytes) noexcept;
Result<CountersGeometry> validate_counters(std::span<const std::byte> bytes) noexcept;

// Copies one limit's configuration. False when the agent published twice meanwhile, four times in
// a row: the caller keeps what it had.
bool copy_rule(const RulesView& rules, std::uint32_t index, RuleCopy& copy) noexcept;

// The slot of the limit with this name, or -1.
std::int32_t find_limit(const RulesView& rules, const char* name) noexcept;

}  // namespace weir::shm
