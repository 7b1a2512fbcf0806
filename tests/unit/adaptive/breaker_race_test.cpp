// Many processes on one word, in every order that a seed makes up, with deaths at any point: they
// read, compute and compare-and-swap like the real clients, one step at a time.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "adaptive/breaker.h"

namespace weir::adaptive {
namespace {

constexpr std::size_t kProcesses = 8;

struct Process {
  BreakerWord seen = 0;
  BreakerStep step{};
  bool decided = false;  // has a step that it has not stored yet
  bool probing = false;
  std::uint32_t generation = 0;
  TimeNs began_ns = 0;
};

class Race {
 public:
  explicit Race(std::uint64_t seed) : random_(seed), word_(breaker_trip(0, 0, now_ns_, 0.5, {})) {}

  void run() {
    for (int i = 0; i < 4000; ++i) {
      now_ns_ += static_cast<TimeNs>(random_() % 200) * kMs;
      Process& process = processes_[random_() % kProcesses];
      if (random_() % 97 == 0) {
        process = Process{};  // killed, with all that it was about to do
        continue;
      }
      act(process);
    }
  }
  int probes_at_once_max = 0;
  int probes = 0;
  TimeNs longest_without_probe_ns = 0;

 private:
  void act(Process& process) {
    const auto owner = static_cast<std::uint32_t>(&process - processes_.data());
    if (process.probing) {
      if (now_ns_ - process.began_ns < 500 * kMs) return;
      word_ = breaker_probed(word_, process.generation, owner, false, now_ns_, 0.5, {});
      process.probing = false;
    } else if (!process.decided) {
      process.seen = word_;
      process.step = breaker_ask(word_, now_ns_, owner, {});
      process.decided = true;
    } else {
      process.decided = false;
      if (process.step.verdict != BreakerVerdict::probe || word_ != process.seen) return;
      word_ = process.step.word;
      ++probes;
      longest_without_probe_ns = std::max(longest_without_probe_ns, now_ns_ - last_probe_ns_);
      last_probe_ns_ = now_ns_;
      process.probing = true;
      process.generation = breaker_generation(word_);
      process.began_ns = now_ns_;
      int valid = 0;
      for (const Process& other : processes_)
        if (other.probing && other.generation == breaker_generation(word_)) ++valid;
      probes_at_once_max = std::max(probes_at_once_max, valid);
    }
  }

  std::mt19937_64 random_;
  TimeNs now_ns_ = 1000 * kSecond;
  TimeNs last_probe_ns_ = now_ns_;
  BreakerWord word_;
  std::array<Process, kProcesses> processes_{};
};

TEST(BreakerRace, OneProbeAtATimeAndAlwaysAnotherOne) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Race race(seed);
    race.run();
    EXPECT_EQ(race.probes_at_once_max, 1) << seed;
    EXPECT_GE(race.probes, 3) << seed;
    EXPECT_LE(race.longest_without_probe_ns, 400 * kSecond) << seed;
  }
}

}  // namespace
}  // namespace weir::adaptive
