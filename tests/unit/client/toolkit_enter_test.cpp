// Concurrency limits through the C ABI, with real processes that die holding permits.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <set>

#include "adaptive/in_flight.h"
#include "tests/unit/client/toolkit_host.h"

namespace weir::test {
namespace {

struct Enter : ::testing::Test {
  ToolkitHost host;
  weir_client* client = nullptr;
  weir_resource* api = nullptr;

  void SetUp() override {
    host.rule(kApi).concurrency.store(4);
    host.publish(kApi, "api", shm::kToolConcurrency);
    client = host.client();
    ASSERT_NE(client, nullptr);
    ASSERT_EQ(weir_resource_get(client, "api", &api), WEIR_OK);
  }
  void TearDown() override { weir_close(client); }
  std::uint64_t full_total() const { return shm::outcome_totals(host.view(), kApi).full; }
};

TEST_F(Enter, AdmitsAsManyAsTheLimitAndNotOneMore) {
  std::array<weir_entry, 5> entries{};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entries[static_cast<std::size_t>(i)]), WEIR_ALLOW);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entries[4]), WEIR_DENY_FULL);
  EXPECT_EQ(full_total(), 1U);
  EXPECT_EQ(host.total(kApi), 4);
  std::uint64_t seen = 0;
  EXPECT_EQ(weir_in_flight(api, &seen), WEIR_OK);
  EXPECT_EQ(seen, 4U);

  EXPECT_EQ(weir_leave(&entries[4]), WEIR_OK) << "of a refused one: nothing";
  EXPECT_EQ(weir_leave(&entries[0]), WEIR_OK);
  EXPECT_EQ(weir_leave(&entries[0]), WEIR_OK) << "twice: nothing";
  EXPECT_EQ(host.total(kApi), 3);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entries[0]), WEIR_ALLOW);
  for (weir_entry& entry : entries)
    weir_leave(&entry);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(Enter, AClassLeavesItsReserveToThoseAbove) {
  host.rule(kApi).class_reserve[WEIR_SHEDDABLE].store(3);
  weir_entry low{}, more{}, high{};
  EXPECT_EQ(weir_enter(api, WEIR_SHEDDABLE, &low), WEIR_ALLOW);
  EXPECT_EQ(weir_enter(api, WEIR_SHEDDABLE, &more), WEIR_DENY_FULL);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &high), WEIR_ALLOW);
  weir_leave(&low);
  weir_leave(&high);
  host.rule(kApi).class_reserve[WEIR_SHEDDABLE].store(UINT64_MAX);
  EXPECT_EQ(weir_enter(api, WEIR_SHEDDABLE, &low), WEIR_DENY_FULL);
}

TEST_F(Enter, FollowsALimitThatChangesLive) {
  weir_entry entry{}, other{};
  host.rule(kApi).concurrency.store(1);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_ALLOW);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &other), WEIR_DENY_FULL);
  host.rule(kApi).concurrency.store(2);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &other), WEIR_ALLOW);
  weir_leave(&other);
  weir_leave(&entry);
}

TEST_F(Enter, ManyThreadsKeepTheSumAndAnyThreadMayLeave) {
  constexpr int kThreads = 100;  // more than there are lanes: some share the crowd's
  constexpr int kRounds = 200;
  host.rule(kApi).concurrency.store(1000);
  std::vector<weir_entry> entries(kThreads * kRounds);
  std::atomic<int> started{0}, refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      // All at once, so that no lane is given back before the last one is asked for.
      for (++started; started < kThreads;)
        std::this_thread::yield();
      for (int i = 0; i < kRounds; ++i) {
        weir_entry& entry = entries[static_cast<std::size_t>(t * kRounds + i)];
        if (weir_enter(api, WEIR_CRITICAL, &entry) != WEIR_ALLOW) ++refused;
        if (i % 2 == 0) weir_leave(&entry);
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_LE(host.total(kApi), 1000);
  EXPECT_GT(refused, 0) << "100 threads hold 10,000 between them where 1,000 may be";
  const std::int64_t held = host.total(kApi);
  host.recount_now(kApi);
  EXPECT_EQ(host.total(kApi), held) << "the stripes say what the total says";
  for (weir_entry& entry : entries)  // all by this thread
    weir_leave(&entry);
  EXPECT_EQ(host.total(kApi), 0);
  host.recount_now(kApi);
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_EQ(host.view().counter(kApi).uncounted_total.load(), 0U);
}

weir_resource* alarm_resource = nullptr;
std::atomic<int> alarms{0};
void on_alarm(int) {
  weir_entry entry{};
  if (weir_enter(alarm_resource, WEIR_CRITICAL, &entry) == WEIR_ALLOW) weir_leave(&entry);
  ++alarms;
}

TEST_F(Enter, ASignalHandlerMayEnterInTheMiddleOfAMove) {
  host.rule(kApi).concurrency.store(100);
  alarm_resource = api;
  weir_entry entry{};
  weir_enter(api, WEIR_CRITICAL, &entry);
  weir_leave(&entry);
  struct sigaction action {
  }, before{};
  action.sa_handler = on_alarm;
  ::sigaction(SIGUSR1, &action, &before);
  const pthread_t self = ::pthread_self();
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    while (!stop) {
      ::pthread_kill(self, SIGUSR1);
      ::usleep(20);
    }
  });
  for (int i = 0; alarms < 500; ++i) {
    ASSERT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_ALLOW) << i;
    weir_leave(&entry);
  }
  stop = true;
  sender.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(host.total(kApi), 0);
  host.recount_now(kApi);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(Enter, WhatADeadProcessHeldComesBack) {
  SharedPage<std::atomic<int>> ready;
  const pid_t holder = host.spawn([&](weir_client* own) {
    weir_resource* r = nullptr;
    weir_resource_get(own, "api", &r);
    std::array<weir_entry, 3> held{};
    for (weir_entry& entry : held)
      if (weir_enter(r, WEIR_CRITICAL, &entry) == WEIR_ALLOW) ++*ready.get();
    ::pause();
  });
  ASSERT_TRUE(eventually_true([&] { return *ready.get() == 3; }));
  EXPECT_TRUE(eventually_true([&] { return host.holds_announced() >= 1; }));
  EXPECT_EQ(host.total(kApi), 3);
  kill_and_wait(holder);
  EXPECT_EQ(host.total(kApi), 3) << "nobody has reaped it yet";

  const shm::Reaped reaped = host.reap(holder);

  EXPECT_EQ(reaped.permits, 3U);
  EXPECT_EQ(reaped.cells, 2U) << "its thread's and its crowd's";
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_EQ(host.reap(holder).permits, 0U);
}

TEST_F(Enter, WithoutAnAgentWhoeverFindsItFullReapsTheDead) {
  SharedPage<std::atomic<int>> ready;
  const pid_t holder = host.spawn([&](weir_client* own) {
    weir_resource* r = nullptr;
    weir_resource_get(own, "api", &r);
    std::array<weir_entry, 4> held{};
    for (weir_entry& entry : held)
      if (weir_enter(r, WEIR_CRITICAL, &entry) == WEIR_ALLOW) ++*ready.get();
    ::pause();
  });
  ASSERT_TRUE(eventually_true([&] { return *ready.get() == 4; }));
  weir_entry entry{};
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_DENY_FULL);
  host.freeze();
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_DENY_FULL) << "its holder lives";
  ::kill(holder, SIGKILL);
  // It stays a zombie: its number is still taken, and it is dead all the same.
  ASSERT_TRUE(
      eventually_true([&] { return weir_enter(api, WEIR_CRITICAL, &entry) == WEIR_ALLOW; }));
  EXPECT_EQ(host.total(kApi), 1);
  ::waitpid(holder, nullptr, 0);
  weir_leave(&entry);
  EXPECT_EQ(host.total(kApi), 0);
  host.thaw();
}

TEST_F(Enter, AStoppedHolderKeepsItsPermits) {
  SharedPage<std::atomic<int>> ready;
  const pid_t holder = host.spawn([&](weir_client* own) {
    weir_resource* r = nullptr;
    weir_resource_get(own, "api", &r);
    weir_entry held{};
    if (weir_enter(r, WEIR_CRITICAL, &held) == WEIR_ALLOW) ++*ready.get();
    ::pause();
  });
  ASSERT_TRUE(eventually_true([&] { return *ready.get() == 1; }));
  ::kill(holder, SIGSTOP);
  (void)shm::reap_dead(host.view(), shm::own_pid_namespace(), shm::read_mono_ns());
  host.recount_now(kApi);
  EXPECT_EQ(host.total(kApi), 1);
  kill_and_wait(holder);
  (void)shm::reap_dead(host.view(), shm::own_pid_namespace(), shm::read_mono_ns());
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(Enter, AForkedChildHasNoPermitsOfItsParent) {
  weir_entry entry{};
  ASSERT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_ALLOW);
  SharedPage<std::atomic<int>> step;
  const pid_t child = fork_child();
  if (child == 0) {
    weir_leave(&entry);  // the parent's: nothing
    weir_entry own{};
    for (int i = 0; i < 2000 && weir_enter(api, WEIR_CRITICAL, &own) != WEIR_ALLOW; ++i)
      ::usleep(1000);
    *step.get() = 1;
    ::pause();
  }
  ASSERT_TRUE(eventually_true([&] { return *step.get() == 1; }));
  EXPECT_EQ(host.total(kApi), 2);
  kill_and_wait(child);
  (void)host.reap(child);
  EXPECT_EQ(host.total(kApi), 1) << "the child's alone came back";
  weir_leave(&entry);
  EXPECT_EQ(host.total(kApi), 0);
}

// Other counters, or another place in them: what is in flight is in flight there.
TEST_F(Enter, AResourceThatMovesTakesItsPermitsAlong) {
  weir_entry entry{};
  ASSERT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_ALLOW);
  host.rule(kApi).hot.store(0);
  host.rule(2).concurrency.store(4);
  host.publish(2, "api", shm::kToolConcurrency, 9);
  weir_entry next{};
  ASSERT_TRUE(eventually_true([&] {
    const bool in = weir_enter(api, WEIR_CRITICAL, &next) == WEIR_ALLOW && host.total(2) == 2;
    if (!in) weir_leave(&next);
    return in;
  }));
  EXPECT_EQ(host.total(kApi), 0) << "and none of the old one any more";
  weir_entry again = entry;
  EXPECT_EQ(weir_leave(&entry), WEIR_OK);
  EXPECT_EQ(host.total(2), 1);
  EXPECT_EQ(weir_leave(&again), WEIR_OK);  // a copy: not a second permit
  EXPECT_EQ(host.total(2), 1);
  weir_leave(&next);
  EXPECT_EQ(host.total(2), 0);
  host.recount_now(2);
  EXPECT_EQ(host.total(2), 0) << "the stripes say the same";
}

// It moves to and fro under threads that enter and leave, each other's permits too. At the end
// nobody is inside, by the totals and by the stripes.
TEST_F(Enter, PermitsAreCountedOnceHoweverOftenItMoves) {
  constexpr int kThreads = 4;
  host.rule(kApi).concurrency.store(100);
  host.rule(2).concurrency.store(100);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> entered{0};
  std::array<std::atomic<weir_entry*>, kThreads> shelf{};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; !stop.load(); ++i) {
        weir_entry entry{};
        if (weir_enter(api, WEIR_CRITICAL, &entry) != WEIR_ALLOW) continue;
        ++entered;
        if (i % 8 != 0) {
          weir_leave(&entry);
          continue;
        }
        // Left on the shelf of the next one, who leaves it later.
        auto* kept = new weir_entry(entry);
        if (weir_entry* old = shelf[static_cast<std::size_t>(t + 1) % kThreads].exchange(kept)) {
          weir_leave(old);
          delete old;
        }
      }
    });
  std::uint32_t at = kApi;
  for (std::uint32_t i = 0; i < 300; ++i) {
    const std::uint32_t next = at == kApi ? 2 : kApi;
    host.rule(at).hot.store(0);
    host.publish(next, "api", shm::kToolConcurrency, i + 10);
    at = next;
    const std::uint64_t before = entered.load();
    ASSERT_TRUE(eventually_true([&] { return entered.load() > before + 20; }));
  }
  stop = true;
  for (std::thread& thread : threads)
    thread.join();
  for (auto& place : shelf)
    if (weir_entry* old = place.load()) {
      weir_leave(old);
      delete old;
    }
  // A thread that was off its CPU in the middle of a move may have hit an old total or stripe. Its
  // lane's next move writes over that, and the stripes are the truth.
  std::atomic<int> there{0};
  threads.clear();
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      weir_entry entry{};
      (void)weir_enter(api, WEIR_CRITICAL, &entry);
      ++there;
      while (there.load() < kThreads)
        std::this_thread::yield();
      (void)weir_leave(&entry);
    });
  for (std::thread& thread : threads)
    thread.join();
  host.recount_now(at);
  EXPECT_EQ(host.total(at), 0);
}

TEST_F(Enter, AClientThatClosesLeavesNothing) {
  weir_client* other = host.client();
  weir_resource* r = nullptr;
  ASSERT_EQ(weir_resource_get(other, "api", &r), WEIR_OK);
  weir_entry one{}, two{};
  EXPECT_EQ(weir_enter(r, WEIR_CRITICAL, &one), WEIR_ALLOW);
  EXPECT_EQ(weir_enter(r, WEIR_CRITICAL, &two), WEIR_ALLOW);
  weir_close(other);
  EXPECT_EQ(host.total(kApi), 0);
  int claimed = 0;
  for (std::uint32_t i = 0; i < host.view().geometry().holders_max; ++i)
    claimed += host.view().holder(i).claim.load() != 0;
  EXPECT_EQ(claimed, 1) << "the crowd's of the client that is still open";
}

TEST_F(Enter, AnUnknownResourceAdmitsAll) {
  weir_resource* other = nullptr;
  ASSERT_EQ(weir_resource_get(client, "nobody knows", &other), WEIR_OK);
  std::array<weir_entry, 100> entries{};
  for (weir_entry& entry : entries)
    EXPECT_EQ(weir_enter(other, WEIR_SHEDDABLE, &entry), WEIR_ALLOW);
  for (weir_entry& entry : entries)
    EXPECT_EQ(weir_leave(&entry), WEIR_OK);
}

TEST_F(Enter, RefusesNonsense) {
  weir_entry entry{};
  weir_resource* other = nullptr;
  EXPECT_EQ(weir_enter(nullptr, WEIR_CRITICAL, &entry), WEIR_E_INVALID);
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, nullptr), WEIR_E_INVALID);
  EXPECT_EQ(weir_enter(api, 4, &entry), WEIR_E_INVALID);
  EXPECT_EQ(weir_enter(api, -1, &entry), WEIR_E_INVALID);
  EXPECT_EQ(weir_leave(nullptr), WEIR_E_INVALID);
  EXPECT_EQ(weir_resource_get(client, "", &other), WEIR_E_INVALID);
  EXPECT_EQ(weir_resource_get(client, std::string(128, 'x').c_str(), &other), WEIR_E_INVALID);
  EXPECT_EQ(weir_resource_get(client, "api", &other), WEIR_OK);
  EXPECT_EQ(other, api);
}

TEST(EnterScarce, WithoutAFreeCellWorkGoesOnUncounted) {
  ToolkitHost host(1);
  host.rule(kApi).concurrency.store(1);
  host.publish(kApi, "api", shm::kToolConcurrency);
  host.publish(1, "other", shm::kToolConcurrency);
  host.rule(1).concurrency.store(1);
  weir_client* client = host.client();
  weir_resource *api = nullptr, *other = nullptr;
  weir_resource_get(client, "api", &api);
  weir_resource_get(client, "other", &other);
  weir_entry one{}, two{};
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &one), WEIR_ALLOW);
  EXPECT_EQ(host.total(kApi), 1) << "the one cell is the crowd's";
  EXPECT_EQ(weir_enter(other, WEIR_CRITICAL, &two), WEIR_ALLOW);
  EXPECT_EQ(host.total(1), 0);
  EXPECT_EQ(host.view().counter(1).uncounted_total.load(), 1U);
  weir_leave(&two);
  weir_leave(&one);
  EXPECT_EQ(host.total(kApi), 0);
  weir_close(client);
}

TEST_F(Enter, HostileWordsDoNoMoreThanShiftTheCount) {
  weir_entry entry{};
  for (const std::int64_t total : {INT64_MIN, INT64_MAX, std::int64_t{-5}}) {
    host.view().counter(kApi).in_flight.store(total);
    (void)weir_enter(api, WEIR_CRITICAL, &entry);
    (void)weir_leave(&entry);
    host.recount_now(kApi);
    EXPECT_EQ(host.total(kApi), 0) << total;
  }
  // Cells full of noise: counted, bounded, and overwritten by their owner's next move.
  for (std::uint32_t i = 0; i < host.view().geometry().holders_max; ++i) {
    shm::HolderCell& cell = host.view().holder(i);
    if (cell.claim.load() != 0) cell.stripe.store(0x5555555555555555ULL * (i + 1));
  }
  EXPECT_EQ(weir_enter(api, WEIR_CRITICAL, &entry), WEIR_ALLOW);
  weir_leave(&entry);
  host.recount_now(kApi);
  EXPECT_GE(host.total(kApi), 0);
  EXPECT_LE(host.total(kApi), static_cast<std::int64_t>(shm::kPermitsMax));
}

}  // namespace
}  // namespace weir::test
