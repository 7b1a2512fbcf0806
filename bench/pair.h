// Two processes that hammer at the same time: this one on CPU 0 and a forked one on CPU 1. Both
// are started by a spin barrier on a shared page, and each keeps hammering until the other has
// finished its slice. The partner sleeps whenever a slice is this process's alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "bench/host.h"
#include "bench/slice.h"

namespace weir::bench {

inline constexpr std::size_t kSides = 2;

// Words that the floors work on, each on a line of its own in a page that both processes map.
struct FloorWords {
  alignas(128) Word alone{0};  // fetch_sub by one process
  alignas(128) Word read{0};   // load + compare by both
  struct alignas(4096) Page {
    Word word{0};
  };
  Page shared[kVariants];  // fetch_sub by both
};

struct PairSlice {
  Slice side[kSides];
  bool together = false;  // two callers; false: side[0] alone

  double ns_per_call() const;
  std::uint64_t passed_all() const { return side[0].passed_all + side[1].passed_all; }
  std::uint64_t passed() const { return side[0].passed + side[1].passed; }
  std::uint64_t calls() const { return side[0].calls + side[1].calls; }
  // Nobody was disturbed, and each ran its whole slice while the other was hammering too.
  bool counts() const;
};

class Pair {
 public:
  // Makes what is called: in each process for itself, after the fork. Empty means failure.
  using MakeOps = std::function<std::vector<Op>(FloorWords& words)>;

  Pair() = default;
  ~Pair();
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  // Forks the partner. False where there are not two CPUs, or an op could not be made.
  bool start(const MakeOps& make_ops);
  // Whether there is a second CPU for the partner; without it only slices alone are possible.
  bool has_partner() const { return partner_ > 0; }

  PairSlice alone(std::size_t op, const SliceSpec& spec);
  PairSlice together(std::size_t op, const SliceSpec& spec);
  bool partner_died() const { return partner_died_; }

 private:
  struct Control;
  [[noreturn]] void serve(const MakeOps& make_ops);
  bool run_side(std::size_t side, std::uint32_t sequence);

  Control* control_ = nullptr;
  std::vector<Op> ops_;
  pid_t partner_ = -1;
  std::uint32_t sequence_ = 0;
  bool partner_died_ = false;
};

}  // namespace weir::bench
