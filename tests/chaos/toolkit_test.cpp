// A thousand holders die by kill -9 at any instruction of enter and leave, and not one permit stays
// behind. Probers die, and the next one probes.
//
// Tried with these protections taken out, each of which fails here: reap_process without its
// recount; stripe_entering that marks nothing (a recount then takes a living move for a leak, and
// the total falls below what is held); breaker_abandon that changes nothing together with a probe
// time of a day.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <random>

#include "adaptive/breaker.h"
#include "tests/unit/client/toolkit_host.h"

namespace weir::test {
namespace {

constexpr std::uint32_t kApi = 0;
constexpr std::uint32_t kWorkers = 8;
constexpr std::uint32_t kLimit = 20;

int kills_wanted() {
  const char* text = std::getenv("WEIR_CHAOS_SECONDS");
  const int seconds = text == nullptr ? 0 : std::atoi(text);
  return std::max(1000, seconds * 150);
}

struct Board {
  std::atomic<bool> drain{false};
  struct alignas(64) Lane {
    std::atomic<std::uint64_t> moves{0};
    std::atomic<std::int32_t> held{0};  // at least that many, from the enter's return on
    std::atomic<bool> idle{false};
  } lanes[kWorkers];
};

[[noreturn]] void work(const ToolkitHost& host, Board& board, std::uint32_t lane,
                       std::uint32_t seed) {
  weir_client* client = host.client();
  weir_resource* api = nullptr;
  if (client == nullptr || weir_resource_get(client, "api", &api) != WEIR_OK) ::_exit(3);
  std::minstd_rand random(seed);
  std::array<weir_entry, 3> entries{};
  std::array<bool, 3> in{};
  Board::Lane& mine = board.lanes[lane];
  for (;;) {
    const bool drain = board.drain.load();
    mine.idle.store(drain && !in[0] && !in[1] && !in[2]);
    if (drain && mine.idle.load()) ::usleep(200);
    // Room for the others: a machine with fewer CPUs than workers would starve the newest.
    if (random() % 4096 == 0) ::usleep(100);
    const std::size_t i = random() % entries.size();
    if (in[i]) {
      --mine.held;
      weir_leave(&entries[i]);
      in[i] = false;
    } else if (!drain && weir_enter(api, WEIR_CRITICAL, &entries[i]) == WEIR_ALLOW) {
      ++mine.held;
      in[i] = true;
    }
    ++mine.moves;
  }
}

TEST(ToolkitChaos, AThousandDeadHoldersLeaveNothingBehind) {
  ToolkitHost host;
  host.rule(kApi).concurrency.store(kLimit);
  host.publish(kApi, "api", shm::kToolConcurrency);
  SharedPage<Board> board;
  std::array<pid_t, kWorkers> pids{};
  std::uint32_t seed = 1;
  const auto begin = [&](std::uint32_t lane) {
    Board::Lane& l = board->lanes[lane];
    l.held = 0;
    l.idle = false;
    const std::uint64_t before = l.moves.load();
    ++seed;
    pids[lane] = fork_child();
    if (pids[lane] == 0) work(host, *board.get(), lane, seed);
    return eventually_true([&] { return l.moves.load() > before; });
  };
  for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
    ASSERT_TRUE(begin(lane));

  std::mt19937 random(7);
  const int wanted = kills_wanted();
  std::uint64_t reaped = 0;
  for (int kills = 1; kills <= wanted; ++kills) {
    const std::uint32_t victim = random() % kWorkers;
    const struct timespec pause { 0, static_cast<long>(random() % 1'000'000) };
    ::nanosleep(&pause, nullptr);
    kill_and_wait(pids[victim]);
    reaped += host.reap(pids[victim]).permits;
    ASSERT_LE(host.total(kApi), static_cast<std::int64_t>(kLimit));
    ASSERT_TRUE(begin(victim)) << "after " << kills << " kills";
    if (kills % 100 != 0) continue;
    // Everybody stands still, wherever it is: no more is held than the total says.
    for (const pid_t pid : pids)
      ::kill(pid, SIGSTOP);
    for (const pid_t pid : pids)
      ::waitpid(pid, nullptr, WUNTRACED);
    host.recount_now(kApi);
    std::int64_t held = 0;
    for (const Board::Lane& lane : board->lanes)
      held += lane.held.load();
    EXPECT_GE(host.total(kApi), held) << "after " << kills << " kills";
    for (const pid_t pid : pids)
      ::kill(pid, SIGCONT);
    // And once everybody has left, nothing is.
    board->drain = true;
    ASSERT_TRUE(eventually_true([&] {
      return std::all_of(std::begin(board->lanes), std::end(board->lanes),
                         [](const Board::Lane& lane) { return lane.idle.load(); });
    }));
    // Less than nothing: a recount took the move of a living process for a leak.
    EXPECT_GE(host.total(kApi), 0) << "after " << kills << " kills";
    host.recount_now(kApi);
    ASSERT_EQ(host.total(kApi), 0) << "leaked after " << kills << " kills";
    board->drain = false;
  }
  for (const pid_t pid : pids) {
    kill_and_wait(pid);
    reaped += host.reap(pid).permits;
  }
  host.recount_now(kApi);
  std::printf("[ chaos    ] %d kills, %llu permits reaped, %lld left\n", wanted,
              static_cast<unsigned long long>(reaped), static_cast<long long>(host.total(kApi)));
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_GT(reaped, static_cast<std::uint64_t>(wanted) / 4) << "the kills met nobody who held";
  EXPECT_EQ(host.view().counter(kApi).uncounted_total.load(), 0U);
  for (std::uint32_t i = 0; i < host.view().geometry().holders_max; ++i)
    ASSERT_EQ(host.view().holder(i).claim.load(), 0U) << "a cell of the dead";
}

TEST(ToolkitChaos, ADeadProberIsFollowedByTheNext) {
  ToolkitHost host;
  host.rule(kApi).breaker_open_ns.store(1'000'000);
  host.rule(kApi).breaker_jitter_permille.store(1);
  host.rule(kApi).breaker_probe_ns.store(24LL * 3600 * 1'000'000'000);  // no deadline helps here
  host.rule(kApi).breaker_consecutive.store(1);
  host.publish(kApi, "api", shm::kToolBreaker | shm::kToolConcurrency);
  SharedPage<std::atomic<int>> probing;
  for (int round = 0; round < 30; ++round) {
    *probing.get() = 0;
    // The agent's view: it is open, and its time is up.
    host.view().counter(kApi).breaker.store(adaptive::breaker_word(
        {.state = adaptive::BreakerState::open, .generation = static_cast<std::uint32_t>(round)}));
    std::array<pid_t, 4> pids{};
    for (pid_t& pid : pids)
      pid = host.spawn([&](weir_client* own) {
        weir_resource* r = nullptr;
        weir_resource_get(own, "api", &r);
        weir_call call{};
        for (;;) {
          if (weir_call_begin(r, &call, nullptr) == WEIR_ALLOW) {
            probing->fetch_add(1);
            *(probing.get()) |= static_cast<int>(::getpid()) << 8;
            ::pause();
          }
          ::usleep(100);
        }
      });
    for (int dead = 0; dead < 3; ++dead) {
      ASSERT_TRUE(eventually_true([&] { return *probing.get() >> 8 != 0; })) << round;
      ::usleep(2000);
      const int seen = probing->load();
      ASSERT_EQ(seen & 0xff, 1) << "one probe for the whole host, round " << round;
      const pid_t prober = seen >> 8;
      *probing.get() = 0;
      kill_and_wait(prober);
      EXPECT_EQ(host.reap(prober).probes, 1U);
      for (pid_t& pid : pids)
        if (pid == prober) pid = -1;
    }
    for (const pid_t pid : pids)
      if (pid > 0) {
        kill_and_wait(pid);
        (void)host.reap(pid);
      }
  }
}

}  // namespace
}  // namespace weir::test
