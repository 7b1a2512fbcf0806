// One user opens clients as fast as it can. Others are served, and what the agent holds stays flat.
//
// Tried with the attach quota taken out (take() always ok): more are let in than it allows.
#include "agent/attach/quota.h"
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

TEST(AttachStorm, CostsABoundedAmountAndKeepsNobodyOut) {
  Agent agent({.rules = rules_of({"name: /t, rate: 1000/s, burst: 100"})});
  if (is_root()) open_to_all(agent.dir().path());
  ASSERT_TRUE(agent.start());
  const int fds_before = count_fds(agent.pid());
  (void)agent.status();
  constexpr std::uint32_t kStormers = 4;
  Crew crew(agent.dir().path(), kStormers + 1, 1);
  const std::int64_t began = now_ns();
  for (std::uint32_t i = 0; i < kStormers; ++i)
    crew.start(i, "attach", {"sock=" + agent.socket()});
  ASSERT_TRUE(eventually([&] { return crew.log().sum(&Lane::calls) > 600; }));
  const std::uint64_t bytes_before = resident_bytes(agent.pid());

  const std::int64_t until = began + static_cast<std::int64_t>(chaos_seconds(2.5) * 1e9);
  int answers = 0, attached = 0;
  int fds_most = 0;
  while (now_ns() < until) {
    answers += agent.status().pid() == agent.pid() ? 1 : 0;
    fds_most = std::max(fds_most, count_fds(agent.pid()));
    if (is_root()) {  // somebody else gets in meanwhile
      SpawnOptions other = worker({"attach", "sock=" + agent.socket(), "log=" + crew.log().path(),
                                   "lane=" + std::to_string(kStormers), "count=1"});
      other.uid = kStranger;
      Process process = Process::spawn(other);
      ASSERT_EQ(process.exit_code(), 0);
      attached = static_cast<int>(crew.log().lane(kStormers).a.load());
      EXPECT_EQ(crew.log().lane(kStormers).b.load(), 0)
          << "an innocent user was refused: "
          << weir_strerror(static_cast<weir_status>(crew.log().lane(kStormers).last_error.load()))
          << " after " << attached;
    }
  }
  crew.finish();
  const double seconds = static_cast<double>(now_ns() - began) / 1e9;

  std::int64_t let_in = 0, turned_away = 0;
  for (std::uint32_t i = 0; i < kStormers; ++i) {
    let_in += crew.log().lane(i).a.load();
    turned_away += crew.log().lane(i).b.load();
  }
  std::printf(
      "[ storm    ] %.0f attaches/s tried, %lld let in, %lld turned away, %d answers, "
      "%d by another user, at most %d descriptors\n",
      static_cast<double>(let_in + turned_away) / seconds, static_cast<long long>(let_in),
      static_cast<long long>(turned_away), answers, attached, fds_most);
  EXPECT_GT(turned_away, 0);
  EXPECT_LE(static_cast<double>(let_in),
            agent::kAttachBurst + agent::kAttachesPerSecond * seconds + 1);
  EXPECT_GT(answers, 0);
  if (is_root()) {
    EXPECT_GT(attached, 0);
  }
  EXPECT_TRUE(eventually([&] { return count_fds(agent.pid()) <= fds_before; }))
      << fds_before << " before, now " << count_fds(agent.pid());
  EXPECT_TRUE(eventually([&] { return agent.clients() == 0; }));
  EXPECT_LT(resident_bytes(agent.pid()), bytes_before + (4U << 20)) << "memory grew";
}

}  // namespace
}  // namespace weir::test
