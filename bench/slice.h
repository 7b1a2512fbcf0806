// A slice: one caller makes the same call over and over for a fraction of a millisecond. It says
// how long that took, and whether anything else ran on its CPU meanwhile.
#pragma once

#include <atomic>
#include <cstdint>

#include "weir/weir.h"

namespace weir::bench {

using Word = std::atomic<std::int64_t>;
static_assert(Word::is_always_lock_free);

// What is called: a loop of its own for each shape of call, so that no indirect call is measured
// besides those through the dynamic linker's table.
struct Op {
  std::uint64_t (*run)(const Op& op, std::uint64_t calls) = nullptr;  // returns how many passed
  weir_limit* limit = nullptr;
  Word* word = nullptr;
};

// The candidate: what a program in C or C++ that includes weir.h compiles to.
std::uint64_t run_try_acquire(const Op& op, std::uint64_t calls);
// The same by the exported function, as other languages and -DWEIR_NO_INLINE call it.
std::uint64_t run_try_acquire_call(const Op& op, std::uint64_t calls);
// A call into the same library that only returns an address: what the boundary alone costs.
std::uint64_t run_call_alone(const Op& op, std::uint64_t calls);
// The floors: what the same loop costs with the bare operation in the call's place.
std::uint64_t run_fetch_sub(const Op& op, std::uint64_t calls);
std::uint64_t run_load_compare(const Op& op, std::uint64_t calls);

struct SliceSpec {
  std::uint64_t chunk_calls = 1024;  // calls between two looks at the clock
  std::int64_t warm_ns = 0;
  std::int64_t slice_ns = 0;
  // Warm up until a whole chunk was refused: the burst that was saved up is gone.
  bool warm_until_dry = false;
  // The slice is long enough for ticks of the agent, which may interrupt it. Time is CPU time,
  // and four fifths of the slice must have been spent running.
  bool interruptible = false;
};

struct Slice {
  std::uint64_t calls = 0;
  std::uint64_t passed = 0;      // of `calls`
  std::uint64_t passed_all = 0;  // of all calls, those before and after the slice included
  std::int64_t time_ns = 0;      // what `calls` took
  std::int64_t began_mono_ns = 0, ended_mono_ns = 0;              // the slice
  std::int64_t running_from_mono_ns = 0, running_to_mono_ns = 0;  // all calls around it
  bool undisturbed = false;

  double ns_per_call() const {
    return calls == 0 ? 0 : static_cast<double>(time_ns) / static_cast<double>(calls);
  }
};

class Hammer {
 public:
  Hammer(const Op& op, const SliceSpec& spec) : op_(op), spec_(spec) {}

  void warm();
  void measure();
  void chunk();  // one more chunk outside the slice
  Slice finish();

 private:
  std::uint64_t timed_chunk();

  struct Usage {
    std::int64_t switches = 0;
    std::int64_t cpu_ns = 0;
    int cpu = -1;
  };
  static Usage usage();

  const Op& op_;
  const SliceSpec& spec_;
  Slice slice_;
  Usage at_start_;
  std::int64_t last_mono_ns_ = 0;
  std::int64_t longest_chunk_ns_ = 0;
};

}  // namespace weir::bench
