#include "bench/pair.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include "shm/clock.h"
#include "shm/futex.h"

namespace weir::bench {

namespace {

using Flag = std::atomic<std::uint32_t>;
constexpr std::uint32_t kQuit = ~0U;
constexpr std::int64_t kPartnerWaitNs = 2'000'000'000;

bool pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  return ::sched_setaffinity(0, sizeof(set), &set) == 0;
}

// The first two CPUs that this process may use; fewer give -1.
void allowed_cpus(int (&cpus)[kSides]) {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof(set), &set);
  std::size_t found = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && found < kSides; ++cpu)
    if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) cpus[found++] = cpu;
  for (; found < kSides; ++found)
    cpus[found] = -1;
}

// False: the other side did not come.
template <class Idle>
bool wait_for(const Flag& flag, std::uint32_t value, const Idle& idle) {
  const std::int64_t until = shm::read_mono_ns() + kPartnerWaitNs;
  for (std::uint32_t i = 1; flag.load(std::memory_order_acquire) != value; ++i) {
    idle();
    if (i % 1024 == 0 && shm::read_mono_ns() > until) return false;
  }
  return true;
}

// The last look at the other's flag comes a moment after the last chunk's end.
constexpr std::int64_t kToleranceNs = 2'000;

bool within(const Slice& inner, const Slice& outer) {
  return inner.began_mono_ns >= outer.running_from_mono_ns &&
         inner.ended_mono_ns <= outer.running_to_mono_ns + kToleranceNs;
}

}  // namespace

struct Pair::Control {
  // Written by the parent: what to do next.
  alignas(128) Flag command{0};  // a futex; the number of the slice, or kQuit
  std::uint32_t op = 0;
  SliceSpec spec;

  // Written by one side each.
  struct alignas(128) Side {
    Flag ready{0};
    Flag done{0};
    Flag left{0};
    Slice slice;
  };
  Side side[kSides];
  alignas(128) Flag partner_state{0};  // 1: its ops are made; 2: they could not be
  FloorWords words;
};

double PairSlice::ns_per_call() const {
  if (!together) return side[0].ns_per_call();
  return calls() == 0 ? 0
                      : static_cast<double>(side[0].time_ns + side[1].time_ns) /
                            static_cast<double>(calls());
}

bool PairSlice::counts() const {
  if (!together) return side[0].undisturbed;
  return side[0].undisturbed && side[1].undisturbed && within(side[0], side[1]) &&
         within(side[1], side[0]);
}

Pair::~Pair() {
  if (partner_ > 0) {
    control_->command.store(kQuit);
    shm::futex_wake_one(control_->command);
    ::waitpid(partner_, nullptr, 0);
  }
  if (control_ != nullptr) ::munmap(control_, sizeof(Control));
}

bool Pair::start(const MakeOps& make_ops) {
  void* page =
      ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  control_ = ::new (page) Control;
  int cpus[kSides];
  allowed_cpus(cpus);
  const pid_t parent = ::getpid();
  if (cpus[1] >= 0) partner_ = ::fork();
  if (partner_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent || !pin_to(cpus[1])) ::_exit(1);
    serve(make_ops);
  }
  pin_to(cpus[0]);
  ops_ = make_ops(control_->words);
  if (ops_.empty()) return false;
  if (!has_partner()) return true;
  return wait_for(control_->partner_state, 1, [] { ::usleep(1); });
}

void Pair::serve(const MakeOps& make_ops) {
  ops_ = make_ops(control_->words);
  control_->partner_state.store(ops_.empty() ? 2 : 1);
  for (std::uint32_t seen = 0;;) {
    const std::uint32_t command = control_->command.load(std::memory_order_acquire);
    if (command == kQuit) ::_exit(0);
    if (command == seen) {
      shm::futex_wait_until(control_->command, seen, shm::read_mono_ns() + kPartnerWaitNs);
      continue;
    }
    seen = command;
    run_side(1, command);
  }
}

bool Pair::run_side(std::size_t side, std::uint32_t sequence) {
  Control::Side& mine = control_->side[side];
  const Control::Side& other = control_->side[1 - side];
  const SliceSpec spec = control_->spec;
  Hammer hammer(ops_[control_->op], spec);
  mine.ready.store(sequence, std::memory_order_release);
  if (!wait_for(other.ready, sequence, [] {})) return false;
  hammer.warm();
  hammer.measure();
  mine.done.store(sequence, std::memory_order_release);
  const bool finished = wait_for(other.done, sequence, [&] { hammer.chunk(); });
  mine.slice = hammer.finish();
  mine.left.store(sequence, std::memory_order_release);
  return finished;
}

PairSlice Pair::alone(std::size_t op, const SliceSpec& spec) {
  Hammer hammer(ops_[op], spec);
  hammer.warm();
  hammer.measure();
  PairSlice result;
  result.side[0] = hammer.finish();
  return result;
}

PairSlice Pair::together(std::size_t op, const SliceSpec& spec) {
  PairSlice result;
  result.together = true;
  if (!has_partner() || partner_died_) return result;
  control_->op = static_cast<std::uint32_t>(op);
  control_->spec = spec;
  // release: the partner that sees the number sees what to do.
  control_->command.store(++sequence_, std::memory_order_release);
  shm::futex_wake_one(control_->command);
  if (!run_side(0, sequence_) || !wait_for(control_->side[1].left, sequence_, [] {})) {
    partner_died_ = true;
    return result;
  }
  for (std::size_t side = 0; side < kSides; ++side)
    result.side[side] = control_->side[side].slice;
  return result;
}

}  // namespace weir::bench
