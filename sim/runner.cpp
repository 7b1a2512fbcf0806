#include "sim/runner.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <mutex>
#include <ostream>
#include <thread>

#include "sim/report.h"
#include "sim/world.h"

namespace weir::sim {
namespace {

using WallClock = std::chrono::steady_clock;

double since(WallClock::time_point start) {
  return std::chrono::duration<double>(WallClock::now() - start).count();
}

constexpr double kSayEveryS = 2;

// Of this thread, whoever else uses the machine.
double cpu_s() {
  std::timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

}  // namespace

Result run_setup(const Setup& setup, const RunOptions& options) {
  const auto start = WallClock::now();
  const double start_cpu_s = cpu_s();
  World world(setup);
  if (options.trace != nullptr)
    world.trace(*options.trace, options.trace_from_s, options.trace_to_s);
  double said_s = 0;
  if (options.progress != nullptr)
    world.progress = [&](double reached_s) {
      if (since(start) - said_s < kSayEveryS) return;
      said_s = since(start);
      *options.progress << setup.scenario << ": " << reached_s << " of " << setup.seconds
                        << " s after " << static_cast<int>(said_s) << " s\n";
    };
  Result result = world.run();
  result.cpu_s = cpu_s() - start_cpu_s;
  return result;
}

Result run_scenario(const std::string& name, const Wishes& wishes) {
  return run_setup(make_setup(*find_scenario(name), wishes));
}

SearchResult search_seeds(const Scenario& scenario, const Wishes& wishes, std::uint64_t first,
                          std::uint64_t last, unsigned jobs, std::ostream* progress) {
  SearchResult found;
  std::vector<double> uses;
  std::atomic<std::uint64_t> next{first};
  std::mutex mutex;
  const auto start = WallClock::now();
  double said_s = 0;
  const auto work = [&] {
    for (;;) {
      const std::uint64_t seed = next.fetch_add(1);
      if (seed > last) return;
      Wishes mine = wishes;
      mine.seed = seed;
      const Result result = run_setup(make_setup(scenario, mine));
      const std::lock_guard lock(mutex);
      ++found.seeds;
      uses.push_back(result.use());
      for (const LimitResult& limit : result.limits) {
        found.worst_over = std::max(found.worst_over, limit.over_admitted);
        found.worst_peak = std::max(found.worst_peak, limit.figures.peak);
      }
      if (!result.ok()) {
        const Violation& broken = result.violations.front();
        found.failures.push_back({seed,
                                  broken.what + ": " + broken.limit + " at " +
                                      std::to_string(broken.at_s) + " s by " +
                                      std::to_string(broken.amount),
                                  replay_command(scenario.name, mine)});
      }
      if (progress != nullptr && since(start) - said_s > kSayEveryS) {
        said_s = since(start);
        *progress << found.seeds << " of " << last - first + 1 << " seeds, "
                  << found.failures.size() << " failing\n";
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::max(1U, jobs); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads)
    thread.join();
  std::sort(found.failures.begin(), found.failures.end(),
            [](const auto& a, const auto& b) { return a.seed < b.seed; });
  std::sort(uses.begin(), uses.end());
  found.use = spread_of(std::move(uses));
  return found;
}

}  // namespace weir::sim
