// Taking back what the dead held, and setting the totals right. The agent calls this when it learns
// of a death; a client does where no agent lives and a resource is full. Each step may be cut off
// by a death at any instruction and be begun anew by anybody.
#pragma once

#include <cstdint>

#include "shm/toolkit.h"

namespace weir::shm {

// What one call gave back; totals of several resources.
struct Reaped {
  std::uint64_t permits = 0;  // that dead holders had
  std::uint32_t cells = 0;
  std::uint32_t probes = 0;  // of breakers
};

// The process of this slot is gone, whoever says so: frees its cells, its probes and the slot.
// `owner` is the slot's word as it was when the death was known; if it differs now, nothing
// happens. The totals of the resources that it held are recounted. `by_resource`, if there is one,
// has a place for each resource, to which the permits that were given back are added.
Reaped reap_process(const ToolkitView& view, std::uint32_t slot, std::uint64_t owner,
                    std::int64_t now_mono_ns, std::uint64_t* by_resource = nullptr) noexcept;

// Sets the total of one resource to the sum of its holders, and returns what it added. While others
// come and go it only corrects what is certain; what a busy moment hides the next one finds. At
// most one process recounts at a time: 0 if another began less than kRecountNs ago.
inline constexpr std::int64_t kRecountNs = 5'000'000;
std::int64_t recount(const ToolkitView& view, std::uint32_t resource,
                     std::int64_t now_mono_ns) noexcept;

enum class Life : std::uint8_t { dead, alive, unknown };

// Whether the process of a slot lives, as far as the caller's pid namespace tells. `own_namespace`
// is the inode of the caller's; 0 where it cannot know.
Life life_of(const ProcessSlot& slot, std::uint64_t own_namespace) noexcept;

// Looks at all slots and reaps those whose process is certainly gone. Costs a system call a slot
// that is in use. A slot whose claim was never finished is freed after kClaimNs.
inline constexpr std::int64_t kClaimNs = 10'000'000'000;
Reaped reap_dead(const ToolkitView& view, std::uint64_t own_namespace, std::int64_t now_mono_ns,
                 std::uint64_t* by_resource = nullptr) noexcept;

// Field 22 of /proc/<pid>/stat; 0 where it cannot be read. Makes system calls.
std::uint64_t start_ticks_of(std::uint32_t pid) noexcept;
// The inode of /proc/self/ns/pid; 0 where it cannot be read.
std::uint64_t own_pid_namespace() noexcept;

// Takes a free slot for the calling process. -1: all are taken. *owner receives the slot's word.
std::int32_t claim_process(const ToolkitView& view, std::uint32_t pid, std::uint64_t start_ticks,
                           std::uint64_t pid_namespace, std::int64_t now_mono_ns,
                           std::uint64_t* owner) noexcept;

// Takes the first free cell. -1: all are taken.
std::int32_t claim_holder(const ToolkitView& view, const HolderClaim& claim) noexcept;

// Has a cell's holder hung? The agent keeps one for each cell that is claimed, and looks now and
// then. True once the stripe counts somebody and has not moved for lease_ns.
class LeaseWatch {
 public:
  bool expired(std::uint64_t stripe, std::int64_t now_mono_ns, std::uint64_t lease_ns) noexcept;

 private:
  std::uint64_t seen_ = 0;
  std::int64_t since_mono_ns_ = 0;
};

// Takes the permits of a hung holder from it; what it leaves later is not counted twice, since the
// next recount sets the total right. Returns how many.
std::uint64_t expire_holder(const ToolkitView& view, std::uint32_t cell,
                            std::uint64_t stripe) noexcept;

}  // namespace weir::shm
