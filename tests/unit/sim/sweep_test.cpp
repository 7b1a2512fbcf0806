// Many seeds of everything that breaks, and no rule broken in any of them. WEIR_SIM_SEEDS says how
// many of each scenario.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "sim/report.h"
#include "sim/runner.h"

namespace weir::sim {
namespace {

struct Course {
  const char* scenario;
  std::uint64_t part;  // one seed in so many
  double seconds;      // 0: as long as the scenario says
};

constexpr Course kCourses[] = {
    {"chaos", 1, 0},       {"heavy-chaos", 1, 0}, {"owners-in-a-row", 2, 0},
    {"failover", 4, 0},    {"heal", 4, 0},        {"hostile-claims", 10, 0},
    {"liar-links", 10, 0}, {"per-host", 10, 0},   {"doorman-7", 100, 900},
};

std::uint64_t seeds_wanted() {
  const char* text = std::getenv("WEIR_SIM_SEEDS");
  return text == nullptr ? 200 : std::strtoull(text, nullptr, 10);
}

TEST(Sweep, NoSeedBreaksARule) {
  const std::uint64_t seeds = seeds_wanted();
  ASSERT_GT(seeds, 0U);
  std::map<std::string, std::uint64_t> faults;
  std::uint64_t runs = 0;
  double admitted = 0;
  for (const Course& course : kCourses) {
    double worst = 0;
    for (std::uint64_t seed = 1; seed <= (seeds + course.part - 1) / course.part; ++seed, ++runs) {
      Wishes wishes;
      wishes.seed = 1'000'000 + seed;  // none that anything was ever tuned on
      if (course.seconds > 0) wishes.seconds = course.seconds;
      const Result result = run_scenario(course.scenario, wishes);
      for (const auto& [name, count] : result.faults)
        faults[name] += count;
      for (const LimitResult& limit : result.limits) {
        admitted += limit.admitted;
        if (limit.fallback == 0) worst = std::max(worst, limit.over_admitted);
      }
      ASSERT_TRUE(result.ok()) << replay_command(course.scenario, wishes) << "\n"
                               << to_json(result, true);
    }
    EXPECT_LE(worst, 0) << course.scenario;
  }
  for (std::size_t i = 0; i < kFaults; ++i)
    EXPECT_GT(faults[name_of(static_cast<Fault>(i))], 0U) << name_of(static_cast<Fault>(i));
  std::printf("[ sweep    ] %llu runs, %.4g tokens admitted, none too many\n",
              static_cast<unsigned long long>(runs), admitted);
}

}  // namespace
}  // namespace weir::sim
