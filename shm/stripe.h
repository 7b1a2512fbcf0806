// Striped buckets: this CPU's share, taken by a restartable sequence.
//
// Per CPU a word `taken`, written by that CPU's sequence alone, and a word `granted`, raised by
// the agent alone and never lowered: taking back what was granted would race with a sequence
// under way, and there is no barrier for restartable sequences across processes. Admit while
// taken + n <= granted; a dry stripe falls to the central word.
//
// The CPU number is compared with the number of stripes inside the sequence. Masking it instead
// would let two CPUs share a stripe, each believing that it is alone: that admits twice.
//
// Where the kernel, the C library, the architecture or the tool running us has no restartable
// sequences, kRseqAvailable is false or __rseq_size is 0, and the central word serves.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "shm/layout.h"

#if defined(__x86_64__) && defined(__linux__) && __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define WEIR_HAS_RSEQ 1
#else
#define WEIR_HAS_RSEQ 0
#endif

namespace weir::shm {

inline constexpr bool kRseqAvailable = WEIR_HAS_RSEQ;
inline constexpr int kStripeAttemptsMax = 4;

// What is left on the stripes. `taken` is hostile: it never counts as less than nothing.
inline std::uint64_t striped_level(const StripeCell* cells, std::uint32_t cpus) noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < cpus; ++i) {
    const std::uint64_t granted = cells[i].granted.load(std::memory_order_relaxed);
    const std::uint64_t taken = cells[i].taken.load(std::memory_order_relaxed);
    if (granted > taken) sum += std::min(granted - taken, kBurstMax);
  }
  return std::min(sum, kBurstMax);
}

#if WEIR_HAS_RSEQ

// The offset of the thread's rseq area from the thread pointer, or 0 when there is none. The
// offset is set even where registration failed, so the size is what tells.
inline std::ptrdiff_t rseq_area_offset() noexcept {
  return __rseq_size >= 20 ? static_cast<std::ptrdiff_t>(__rseq_offset) : 0;
}

namespace detail {

// Layout of the kernel's struct rseq: cpu_id at 4, rseq_cs at 8. The store of rseq_cs comes
// immediately before the sequence; the last instruction of the sequence is its commit.
#define WEIR_RSEQ_TABLE                \
  ".pushsection __rseq_cs, \"aw\"\n\t" \
  ".balign 32\n\t"                     \
  "77:\n\t"                            \
  ".long 0, 0\n\t"                     \
  ".quad 1f, (2f - 1f), 4f\n\t"        \
  ".popsection\n\t"                    \
  "leaq 77b(%%rip), %%rax\n\t"         \
  "movq %%rax, %%fs:8(%[area])\n\t"    \
  "1:\n\t"
// The four bytes before the abort handler are the signature that glibc registered.
#define WEIR_RSEQ_ABORT                     \
  "2:\n\t"                                  \
  ".pushsection __rseq_failure, \"ax\"\n\t" \
  ".byte 0x0f, 0xb9, 0x3d\n\t"              \
  ".long 0x53053053\n\t"                    \
  "4:\n\t"                                  \
  "jmp %l[aborted]\n\t"                     \
  ".popsection\n\t"

enum class Sequence { done, dry, aborted };

__attribute__((always_inline)) inline Sequence take_sequence(std::ptrdiff_t area, StripeCell* cells,
                                                             std::uint64_t stripes,
                                                             std::uint64_t n) noexcept {
  asm goto(WEIR_RSEQ_TABLE
           "movl %%fs:4(%[area]), %%eax\n\t"
           "cmpq %[stripes], %%rax\n\t"
           "jae %l[dry]\n\t"
           "shlq $7, %%rax\n\t"
           "addq %[cells], %%rax\n\t"
           "movq (%%rax), %%rcx\n\t"
           "addq %[n], %%rcx\n\t"
           "jc %l[dry]\n\t"
           "cmpq 8(%%rax), %%rcx\n\t"
           "ja %l[dry]\n\t"
           "movq %%rcx, (%%rax)\n\t" WEIR_RSEQ_ABORT
           :
           : [area] "r"(area), [cells] "r"(cells), [stripes] "r"(stripes), [n] "r"(n)
           : "memory", "cc", "rax", "rcx"
           : dry, aborted);
  return Sequence::done;
dry:
  return Sequence::dry;
aborted:
  return Sequence::aborted;
}
static_assert(sizeof(StripeCell) == 1 << 7);

// Adds n to lane[cpu], `stride` bytes apart.
__attribute__((always_inline)) inline Sequence add_sequence(std::ptrdiff_t area, A64* lanes,
                                                            std::size_t stride, std::uint64_t cpus,
                                                            std::uint64_t n) noexcept {
  asm goto(
      WEIR_RSEQ_TABLE
      "movl %%fs:4(%[area]), %%eax\n\t"
      "cmpq %[cpus], %%rax\n\t"
      "jae %l[dry]\n\t"
      "imulq %[stride], %%rax\n\t"
      "addq %[n], (%[lanes], %%rax)\n\t" WEIR_RSEQ_ABORT
      :
      : [area] "r"(area), [lanes] "r"(lanes), [stride] "r"(stride), [cpus] "r"(cpus), [n] "r"(n)
      : "memory", "cc", "rax"
      : dry, aborted);
  return Sequence::done;
dry:
  return Sequence::dry;
aborted:
  return Sequence::aborted;
}

}  // namespace detail

// Takes n tokens from this CPU's stripe. False: dry, no such stripe, or interrupted too often.
__attribute__((always_inline)) inline bool take_from_stripe(std::ptrdiff_t area, StripeCell* cells,
                                                            std::uint32_t stripes,
                                                            std::uint64_t n) noexcept {
  if (area == 0) return false;
  for (int i = 0; i < kStripeAttemptsMax; ++i) {
    const auto result = detail::take_sequence(area, cells, stripes, n);
    if (result != detail::Sequence::aborted) [[likely]]
      return result == detail::Sequence::done;
  }
  return false;
}

#else

inline std::ptrdiff_t rseq_area_offset() noexcept { return 0; }
inline bool take_from_stripe(std::ptrdiff_t, StripeCell*, std::uint32_t, std::uint64_t) noexcept {
  return false;
}

#endif

// Counts n events on this CPU's lane; on the last lane, by an atomic, where the CPU is unknown.
inline void count_on_lane(std::ptrdiff_t area, A64* lanes, std::size_t stride, std::uint32_t cpus,
                          std::uint64_t n = 1) noexcept {
#if WEIR_HAS_RSEQ
  if (area != 0) [[likely]]
    for (int i = 0; i < kStripeAttemptsMax; ++i) {
      const auto result = detail::add_sequence(area, lanes, stride, cpus, n);
      if (result == detail::Sequence::done) [[likely]]
        return;
      if (result == detail::Sequence::dry) break;
    }
#else
  (void)area;
#endif
  auto* last = reinterpret_cast<A64*>(reinterpret_cast<std::byte*>(lanes) + stride * cpus);
  last->fetch_add(n, std::memory_order_relaxed);
}

}  // namespace weir::shm
