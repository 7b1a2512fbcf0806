#include "shm/toolkit_reap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "adaptive/breaker.h"
#include "adaptive/in_flight.h"

namespace weir::shm {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Whether this cell's stripe was written by the process that claimed it. The plain store of a
// thread that was taken for dead may land in a cell that another process has by now; until that one
// writes again, it counts for nothing.
bool own_stripe(std::uint64_t claim, std::uint64_t stripe) noexcept {
  return stripe >> 48 == claim >> 48 && (stripe >> 32 & 0xffffU) == (claim >> 32 & 0xffffU);
}

// Frees a cell. The stripe goes first: a cell that is free has none. Both by compare-and-swap,
// since two reapers may be at it, and the slower one must not hit the cell's next owner.
std::uint64_t free_cell(HolderCell& cell, std::uint64_t claim) noexcept {
  std::uint64_t stripe = cell.stripe.load(std::memory_order_acquire);
  const std::int32_t count =
      own_stripe(claim, stripe) ? adaptive::signed_count(adaptive::stripe_of(stripe).count) : 0;
  if (cell.claim.load(kRelaxed) != claim) return 0;
  const bool cleared = cell.stripe.compare_exchange_strong(stripe, 0, std::memory_order_acq_rel);
  cell.claim.compare_exchange_strong(claim, 0, std::memory_order_acq_rel);
  return cleared ? static_cast<std::uint64_t>(static_cast<std::int64_t>(count)) : 0;
}

// One look of a recount: all stripes, the total, all stripes again. The first reading is kept on
// the stack, so it has a bound; a resource that more threads hold is not recounted.
struct Reading {
  static constexpr std::uint32_t kCellsMax = 2048;
  std::uint32_t cells[kCellsMax];
  std::uint64_t stripes[kCellsMax];
  std::uint32_t count = 0;
};

bool holds(const HolderCell& cell, std::uint32_t resource) noexcept {
  const std::uint64_t claim = cell.claim.load(kRelaxed);
  return claim != 0 && holder_of(claim).resource == resource;
}

std::uint64_t stripe_in(const HolderCell& cell, std::uint32_t resource) noexcept {
  const std::uint64_t claim = cell.claim.load(std::memory_order_acquire);
  if (claim == 0 || holder_of(claim).resource != resource) return 0;
  const std::uint64_t stripe = cell.stripe.load(std::memory_order_acquire);
  return own_stripe(claim, stripe) ? stripe : 0;
}

bool look(const ToolkitView& view, std::uint32_t resource, Reading& reading,
          adaptive::Recount& recount) noexcept {
  reading.count = 0;
  const std::uint32_t cells = view.geometry().holders_max;
  for (std::uint32_t i = 0; i < cells; ++i) {
    if (!holds(view.holder(i), resource)) continue;
    if (reading.count == Reading::kCellsMax) return false;
    reading.cells[reading.count] = i;
    reading.stripes[reading.count++] = stripe_in(view.holder(i), resource);
  }
  const std::int64_t total = view.counter(resource).in_flight.load(std::memory_order_seq_cst);
  adaptive::HeadSum sum;
  std::uint32_t next = 0;
  for (std::uint32_t i = 0; i < cells; ++i) {
    const bool seen = next < reading.count && reading.cells[next] == i;
    // A cell that was claimed meanwhile held nothing before, and its permits are in the total.
    if (!seen && !holds(view.holder(i), resource)) continue;
    const std::uint64_t before = seen ? reading.stripes[next++] : 0;
    sum.add(before, stripe_in(view.holder(i), resource), true);
  }
  recount.look(total, sum.sum(kPermitsMax));
  return true;
}

void abandon_probes(const ToolkitView& view, std::uint32_t slot, std::int64_t now_mono_ns,
                    Reaped& reaped) noexcept {
  for (std::uint32_t i = 0; i < view.geometry().resources_max; ++i) {
    A64& breaker = view.counter(i).breaker;
    std::uint64_t word = breaker.load(std::memory_order_acquire);
    const std::uint64_t next = adaptive::breaker_abandon(word, slot + 1, now_mono_ns);
    // Who loses the race saw the probe answered or given up already.
    if (next != word && breaker.compare_exchange_strong(word, next)) ++reaped.probes;
  }
}

}  // namespace

std::int64_t recount(const ToolkitView& view, std::uint32_t resource,
                     std::int64_t now_mono_ns) noexcept {
  if (resource >= view.geometry().resources_max) return 0;
  ResourceCounter& counter = view.counter(resource);
  std::int64_t last = counter.recount_mono_ns.load(std::memory_order_acquire);
  // A time in the future is damage and nobody's turn.
  if (last <= now_mono_ns && now_mono_ns - last < kRecountNs && last > 0) return 0;
  if (!counter.recount_mono_ns.compare_exchange_strong(last, now_mono_ns)) return 0;
  // Further off than any sum of moves: forged. From none on, the recount finds the rest.
  constexpr std::int64_t kAbsurd = 4 * static_cast<std::int64_t>(kPermitsMax);
  std::int64_t total = counter.in_flight.load(kRelaxed);
  if (total < -kAbsurd || total > kAbsurd) counter.in_flight.compare_exchange_strong(total, 0);
  adaptive::Recount recount;
  Reading reading;
  while (!recount.ready())
    if (!look(view, resource, reading, recount)) return 0;
  const std::int64_t correction = recount.correction();
  // Stopped for long in between: the turn is another's, and what was seen is old.
  if (correction == 0 || counter.recount_mono_ns.load(kRelaxed) != now_mono_ns) return 0;
  counter.in_flight.fetch_add(correction, std::memory_order_acq_rel);
  return correction;
}

Reaped reap_process(const ToolkitView& view, std::uint32_t slot, std::uint64_t owner,
                    std::int64_t now_mono_ns, std::uint64_t* by_resource) noexcept {
  Reaped reaped;
  if (!view || slot >= view.geometry().processes_max) return reaped;
  ProcessSlot& process = view.process(slot);
  const std::uint32_t generation = process_generation(owner);
  const std::uint64_t reaping = process_word(process_pid(owner), generation, ProcessState::reaping);
  // One that a reaper left half done is taken up again: every step can be done twice.
  if (std::uint64_t found = owner; owner != reaping)
    if (!process.owner.compare_exchange_strong(found, reaping)) return reaped;

  std::bitset<kResourcesMax> touched;
  std::int64_t permits = 0;
  for (std::uint32_t i = 0; i < view.geometry().holders_max; ++i) {
    HolderCell& cell = view.holder(i);
    const std::uint64_t claim = cell.claim.load(std::memory_order_acquire);
    const HolderClaim holder = holder_of(claim);
    if (claim == 0 || holder.process != slot || holder.process_generation != generation) continue;
    const auto freed = static_cast<std::int64_t>(free_cell(cell, claim));
    permits += freed;
    ++reaped.cells;
    if (holder.resource >= view.geometry().resources_max) continue;
    touched.set(holder.resource);
    if (by_resource != nullptr && freed > 0)
      by_resource[holder.resource] += static_cast<std::uint64_t>(freed);
  }
  abandon_probes(view, slot, now_mono_ns, reaped);
  for (std::uint32_t i = 0; i < view.geometry().resources_max; ++i) {
    if (!touched.test(i)) continue;
    // Not the turn of a recount that began before the cells were freed.
    view.counter(i).recount_mono_ns.store(0, std::memory_order_release);
    recount(view, i, now_mono_ns);
  }
  reaped.permits = static_cast<std::uint64_t>(std::max<std::int64_t>(0, permits));
  std::uint64_t found = reaping;
  process.owner.compare_exchange_strong(found, process_word(0, generation + 1, ProcessState::free));
  return reaped;
}

namespace {

struct ProcStat {
  bool zombie = false;
  std::uint64_t start_ticks = 0;  // 0: not known
};

ProcStat read_stat(std::uint32_t pid) noexcept {
  char path[40];
  char text[1024];
  ProcStat stat;
  std::snprintf(path, sizeof(path), "/proc/%u/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return stat;
  const ssize_t bytes = ::read(fd, text, sizeof(text) - 1);
  ::close(fd);
  if (bytes <= 0) return stat;
  text[bytes] = '\0';
  // The second field is a name in brackets, which may hold spaces and brackets itself.
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || at + 2 >= text + bytes) return stat;
  stat.zombie = at[2] == 'Z' || at[2] == 'X';
  constexpr int kFieldsAfterName = 20;
  for (int i = 0; at != nullptr && i < kFieldsAfterName; ++i)
    at = std::strchr(at + 1, ' ');
  if (at != nullptr) std::from_chars(at + 1, text + bytes, stat.start_ticks);
  return stat;
}

}  // namespace

std::uint64_t start_ticks_of(std::uint32_t pid) noexcept { return read_stat(pid).start_ticks; }

std::uint64_t own_pid_namespace() noexcept {
  struct stat found {};
  return ::stat("/proc/self/ns/pid", &found) == 0 ? found.st_ino : 0;
}

Life life_of(const ProcessSlot& slot, std::uint64_t own_namespace) noexcept {
  const std::uint64_t owner = slot.owner.load(std::memory_order_acquire);
  const std::uint32_t pid = process_pid(owner);
  const std::uint64_t theirs = slot.pid_namespace.load(kRelaxed);
  if (own_namespace == 0 || theirs != own_namespace || pid == 0 || pid > INT32_MAX)
    return Life::unknown;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return Life::dead;
  const std::uint64_t then = slot.start_ticks.load(kRelaxed);
  const ProcStat now = read_stat(pid);
  // Only a zombie is left of it, or the number went to another process.
  if (now.zombie || (then != 0 && now.start_ticks != 0 && then != now.start_ticks))
    return Life::dead;
  return Life::alive;
}

Reaped reap_dead(const ToolkitView& view, std::uint64_t own_namespace, std::int64_t now_mono_ns,
                 std::uint64_t* by_resource) noexcept {
  Reaped sum;
  for (std::uint32_t i = 0; view && i < view.geometry().processes_max; ++i) {
    const ProcessSlot& slot = view.process(i);
    const std::uint64_t owner = slot.owner.load(std::memory_order_acquire);
    const ProcessState state = process_state(owner);
    if (state == ProcessState::free) continue;
    const std::int64_t claimed = slot.claimed_mono_ns.load(kRelaxed);
    const bool unfinished = state == ProcessState::claiming &&
                            (claimed > now_mono_ns || now_mono_ns - claimed > kClaimNs);
    if (!unfinished && state != ProcessState::reaping && life_of(slot, own_namespace) != Life::dead)
      continue;
    const Reaped one = reap_process(view, i, owner, now_mono_ns, by_resource);
    sum.permits += one.permits;
    sum.cells += one.cells;
    sum.probes += one.probes;
  }
  return sum;
}

std::int32_t claim_process(const ToolkitView& view, std::uint32_t pid, std::uint64_t start_ticks,
                           std::uint64_t pid_namespace, std::int64_t now_mono_ns,
                           std::uint64_t* owner) noexcept {
  const std::uint32_t slots = view.geometry().processes_max;
  for (std::uint32_t n = 0; n < slots; ++n) {
    const std::uint32_t i = (pid + n) % slots;
    ProcessSlot& slot = view.process(i);
    std::uint64_t found = slot.owner.load(std::memory_order_acquire);
    if (process_state(found) != ProcessState::free) continue;
    const std::uint32_t generation = process_generation(found);
    const std::uint64_t claiming = process_word(pid, generation, ProcessState::claiming);
    const std::uint64_t live = process_word(pid, generation, ProcessState::live);
    if (!slot.owner.compare_exchange_strong(found, claiming)) continue;
    slot.claimed_mono_ns.store(now_mono_ns, kRelaxed);
    slot.start_ticks.store(start_ticks, kRelaxed);
    slot.pid_namespace.store(pid_namespace, kRelaxed);
    std::uint64_t mine = claiming;
    // Somebody who thought the claim dead took it away meanwhile.
    if (!slot.owner.compare_exchange_strong(mine, live)) continue;
    *owner = live;
    return static_cast<std::int32_t>(i);
  }
  return -1;
}

std::int32_t claim_holder(const ToolkitView& view, const HolderClaim& claim) noexcept {
  const std::uint32_t cells = view.geometry().holders_max;
  const std::uint64_t wanted = holder_claim(claim);
  for (std::uint32_t i = 0; i < cells; ++i) {
    HolderCell& cell = view.holder(i);
    std::uint64_t found = 0;
    if (cell.claim.load(kRelaxed) != 0) continue;
    if (!cell.claim.compare_exchange_strong(found, wanted, std::memory_order_acq_rel)) continue;
    cell.stripe.store(
        adaptive::stripe_word({.generation = static_cast<std::uint16_t>(claim.process_generation),
                               .owner = static_cast<std::uint16_t>(claim.process + 1)}),
        std::memory_order_release);
    return static_cast<std::int32_t>(i);
  }
  return -1;
}

bool LeaseWatch::expired(std::uint64_t stripe, std::int64_t now_mono_ns,
                         std::uint64_t lease_ns) noexcept {
  const adaptive::Stripe fields = adaptive::stripe_of(stripe);
  if (stripe != seen_ || adaptive::signed_count(fields.count) <= 0 ||
      now_mono_ns < since_mono_ns_) {
    seen_ = stripe;
    since_mono_ns_ = now_mono_ns;
    return false;
  }
  return lease_ns != 0 && static_cast<std::uint64_t>(now_mono_ns - since_mono_ns_) > lease_ns;
}

std::uint64_t expire_holder(const ToolkitView& view, std::uint32_t cell_index,
                            std::uint64_t stripe) noexcept {
  if (cell_index >= view.geometry().holders_max) return 0;
  HolderCell& cell = view.holder(cell_index);
  const std::uint64_t claim = cell.claim.load(std::memory_order_acquire);
  const std::uint32_t resource = holder_of(claim).resource;
  if (claim == 0 || resource >= view.geometry().resources_max || !own_stripe(claim, stripe))
    return 0;
  adaptive::Stripe fields = adaptive::stripe_of(stripe);
  const std::int32_t count = adaptive::signed_count(fields.count);
  if (count <= 0) return 0;
  fields.count = 0;
  ++fields.moves;
  if (!cell.stripe.compare_exchange_strong(stripe, adaptive::stripe_word(fields))) return 0;
  view.counter(resource).in_flight.fetch_sub(count, std::memory_order_acq_rel);
  return static_cast<std::uint64_t>(count);
}

}  // namespace weir::shm
