// Per-CPU stripes are exact while processes change CPUs, are killed inside the restartable
// sequence, and share the limit with processes that have no restartable sequences at all.
//
// Tried with these protections taken out, each of which fails in IsExactAtFullSpeed (the oracle's
// tests are too slow to meet them): one stripe written by two CPUs without a restartable sequence;
// deal_stripes granting twice what it took; spend_one as a load and a store.
#include <sched.h>

#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr OracleRule kStripesRule{.amount = 100'000, .burst = 4000};
const std::map<std::string, std::string> kNoRseq{{"GLIBC_TUNABLES", "glibc.pthread.rseq=0"}};

enum class Rseq { all, none, mixed };

class Stripes : public ::testing::TestWithParam<Rseq> {};

TEST_P(Stripes, AreExactUnderMigrationAndKills) {
  constexpr std::uint32_t kCount = 6;
  Agent agent({.rules = rules_of({"name: /t, rate: 100k/s, burst: 4000, stripes: on"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), kCount, static_cast<std::uint64_t>(chaos_seconds(2) * 300'000));
  const auto begin = [&](std::uint32_t lane) {
    const bool without = GetParam() == Rseq::none || (GetParam() == Rseq::mixed && lane % 2 == 0);
    crew.start(lane, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=10", "migrate=1"},
               without ? kNoRseq : std::map<std::string, std::string>{});
  };
  for (std::uint32_t i = 0; i < kCount; ++i)
    begin(i);
  ASSERT_TRUE(crew.wait_all_started());
  EXPECT_TRUE(agent.limit("/t")->striped());

  Random random(11);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(2) * 1e9);
  while (now_ns() < until) {
    const std::uint32_t lane = random() % kCount;
    const std::uint64_t incarnation = crew.log().lane(lane).starts.load();
    crew.process(lane).kill9();
    begin(lane);
    ASSERT_TRUE(crew.wait_started(lane, incarnation + 1));
  }
  crew.finish();

  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  EXPECT_GT(crew.log().sum(&Lane::admitted), 10'000U);
  expect_bound(crew.log(), kStripesRule, "stripes");
}

INSTANTIATE_TEST_SUITE_P(Rseq, Stripes, ::testing::Values(Rseq::all, Rseq::none, Rseq::mixed),
                         [](const auto& each) {
                           return each.param == Rseq::all    ? "All"
                                  : each.param == Rseq::none ? "None"
                                                             : "Mixed";
                         });

// Millions of calls a second, and processes that are moved from CPU to CPU from outside: a lost
// update of a word shows in the total, if nowhere else.
class StripesTotal : public ::testing::TestWithParam<const char*> {};

TEST_P(StripesTotal, IsExactAtFullSpeed) {
  constexpr std::uint32_t kCount = 4;
  constexpr std::int64_t kRate = 3'000'000, kBurst = 60'000;
  Agent agent({.rules = rules_of(
                   {std::string("name: /t, rate: 3M/s, burst: 60k, stripes: ") + GetParam()})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), kCount, 1);
  for (std::uint32_t i = 0; i < kCount; ++i)
    crew.start(i, "count", {"sock=" + agent.socket(), "require=1"});
  ASSERT_TRUE(crew.wait_all_started());
  crew.go();
  Random random(12);
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(1.5) * 1e9);
  while (now_ns() < until) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(random() % static_cast<std::uint32_t>(cpus), &set);
    ::sched_setaffinity(crew.process(random() % kCount).pid(), sizeof(set), &set);
    const struct timespec pause { 0, 500'000 };
    ::nanosleep(&pause, nullptr);
  }
  crew.finish();
  std::int64_t admitted = 0, first = INT64_MAX, last = 0;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    admitted += crew.log().lane(i).a.load();
    first = std::min(first, crew.log().lane(i).b.load());
    last = std::max(last, crew.log().lane(i).c.load());
  }
  const std::int64_t bound = kBurst + kRate / 1'000'000 * ((last - first) / 1000 + 1);
  std::printf("[ oracle   ] stripes %s: %lld admitted of at most %lld\n", GetParam(),
              static_cast<long long>(admitted), static_cast<long long>(bound));
  EXPECT_LE(admitted, bound);
}

INSTANTIATE_TEST_SUITE_P(Stripes, StripesTotal, ::testing::Values("on", "off"));

// A restarted agent that kept the counters deals stripes anew. Whoever still spends by the old
// rules segment must not find another limit's tokens on its stripes.
TEST(StripesOverRestart, KeepTheirLimit) {
  const std::string a = "name: /a, rate: 100k/s, burst: 40k, stripes: on";
  const std::string b = "name: /b, rate: 100/s, burst: 400, stripes: on";
  Agent agent({.rules = rules_of({a, b})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), 2, 1'000'000);
  crew.start(0, "spend", {"sock=" + agent.socket(), "require=1", "limit=/b", "hold=1"});
  ASSERT_TRUE(crew.wait_started(0));

  agent.kill9();
  write_text(agent.rules_file(), rules_of({b, a}));  // the other way round
  ASSERT_TRUE(agent.start());
  crew.start(1, "spend",
             {"sock=" + agent.socket(), "require=1", "limit=/a", "hold=1", "idle_us=10"});
  ASSERT_TRUE(crew.wait_started(1));
  crew.go();
  const std::int64_t until = now_ns() + 1'000'000'000;
  eventually([&] { return now_ns() >= until; });
  crew.finish();

  const OracleVerdict verdict =
      check_bound(crew.log().admissions_of(0), {.amount = 100, .burst = 400});
  EXPECT_TRUE(verdict.holds) << "/b was given " << verdict.admitted << " tokens, "
                             << verdict.over_tokens << " over its bound: another limit's";
}

}  // namespace
}  // namespace weir::test
