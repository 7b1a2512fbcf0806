#include "bench/slice.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>

#include "shm/clock.h"

namespace weir::bench {

using shm::read_mono_ns;

namespace {

// A stall that the kernel does not report, such as the hypervisor taking the CPU away.
constexpr std::int64_t kChunkStallNs = 40'000;
constexpr double kRunningShareMin = 0.8;
constexpr std::int64_t kDryWaitMaxNs = 20'000'000;

std::int64_t read_thread_cpu_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

std::uint64_t run_try_acquire(const Op& op, std::uint64_t calls) {
  std::uint64_t passed = 0;
  for (weir_limit* limit = op.limit; calls > 0; --calls)
    passed += weir_try_acquire(limit, 1) == WEIR_ALLOW ? 1 : 0;
  return passed;
}

std::uint64_t run_try_acquire_call(const Op& op, std::uint64_t calls) {
  std::uint64_t passed = 0;
  // In parentheses: the function, not what weir.h puts in its place.
  for (weir_limit* limit = op.limit; calls > 0; --calls)
    passed += (weir_try_acquire)(limit, 1) == WEIR_ALLOW ? 1 : 0;
  return passed;
}

std::uint64_t run_call_alone(const Op&, std::uint64_t calls) {
  std::uint64_t passed = 0;
  for (; calls > 0; --calls)
    passed += weir_version() != nullptr ? 1 : 0;
  return passed;
}

std::uint64_t run_fetch_sub(const Op& op, std::uint64_t calls) {
  std::uint64_t passed = 0;
  for (Word& word = *op.word; calls > 0; --calls)
    passed += word.fetch_sub(1, std::memory_order_relaxed) >= 1 ? 1 : 0;
  return passed;
}

std::uint64_t run_load_compare(const Op& op, std::uint64_t calls) {
  std::uint64_t passed = 0;
  for (const Word& word = *op.word; calls > 0; --calls)
    passed += word.load(std::memory_order_relaxed) >= 1 ? 1 : 0;
  return passed;
}

Hammer::Usage Hammer::usage() {
  struct rusage r {};
  ::getrusage(RUSAGE_THREAD, &r);
  return {r.ru_nivcsw + r.ru_nvcsw, read_thread_cpu_ns(), ::sched_getcpu()};
}

std::uint64_t Hammer::timed_chunk() {
  const std::uint64_t passed = op_.run(op_, spec_.chunk_calls);
  const std::int64_t now = read_mono_ns();
  longest_chunk_ns_ = std::max(longest_chunk_ns_, now - last_mono_ns_);
  last_mono_ns_ = now;
  slice_.passed_all += passed;
  return passed;
}

void Hammer::chunk() { timed_chunk(); }

void Hammer::warm() {
  at_start_ = usage();
  last_mono_ns_ = read_mono_ns();
  slice_.running_from_mono_ns = last_mono_ns_;
  while (last_mono_ns_ - slice_.running_from_mono_ns < spec_.warm_ns)
    timed_chunk();
  if (!spec_.warm_until_dry) return;
  while (timed_chunk() != 0 && last_mono_ns_ - slice_.running_from_mono_ns < kDryWaitMaxNs) {
  }
}

void Hammer::measure() {
  const std::int64_t cpu_began = spec_.interruptible ? read_thread_cpu_ns() : 0;
  slice_.began_mono_ns = last_mono_ns_ = read_mono_ns();
  while (last_mono_ns_ - slice_.began_mono_ns < spec_.slice_ns) {
    slice_.passed += timed_chunk();
    slice_.calls += spec_.chunk_calls;
  }
  slice_.ended_mono_ns = last_mono_ns_;
  slice_.time_ns = slice_.ended_mono_ns - slice_.began_mono_ns;
  if (spec_.interruptible) slice_.time_ns = read_thread_cpu_ns() - cpu_began;
}

Slice Hammer::finish() {
  const Usage now = usage();
  slice_.running_to_mono_ns = last_mono_ns_;
  const auto wall = static_cast<double>(slice_.running_to_mono_ns - slice_.running_from_mono_ns);
  const auto ran = static_cast<double>(now.cpu_ns - at_start_.cpu_ns);
  slice_.undisturbed =
      now.cpu == at_start_.cpu && (spec_.interruptible ? ran >= kRunningShareMin * wall
                                                       : now.switches == at_start_.switches &&
                                                             longest_chunk_ns_ < kChunkStallNs);
  return slice_;
}

}  // namespace weir::bench
