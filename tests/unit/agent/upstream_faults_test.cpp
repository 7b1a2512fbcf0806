// What an agent does when its server, its host or it itself stops, on a clock of the test's own.
// S1, S5, N2, T3, A3 of the catalogue of faults, without processes.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agent/upstream/whole_file.h"
#include "tests/unit/agent/cluster_bench.h"

namespace weir::agent::test {
namespace {

class UpstreamFaults : public testing::Test {
 protected:
  void begin(std::vector<double> wants, std::vector<LimitRule> limits = {cluster_limit("a")}) {
    cluster = std::make_unique<Cluster>(std::move(limits));
    for (std::size_t i = 0; i < wants.size(); ++i) {
      paces.emplace_back(cluster->add("h" + std::to_string(i)), "a", wants[i]);
      cluster->connect(*cluster->hosts[i]);
    }
    pass(4000);
  }
  void pass(std::int64_t ms) {
    cluster->pass(ms, [&] {
      for (Pace& pace : paces)
        pace.ms();
    });
  }
  std::vector<double> rates(std::int64_t ms) {
    for (Pace& pace : paces)
      pace.reset();
    pass(ms);
    std::vector<double> all;
    for (Pace& pace : paces)
      all.push_back(static_cast<double>(pace.admitted) * 1000 / static_cast<double>(ms));
    return all;
  }
  Host& host(std::size_t i = 0) { return *cluster->hosts[i]; }

  std::unique_ptr<Cluster> cluster;
  std::vector<Pace> paces;
};

TEST_F(UpstreamFaults, ADeadServerLeavesTheLeaseThenTheTailThenAPart) {
  begin({400, 400, 50});
  const lease::LeaseView before = host().lease("a");
  cluster->kill_server();
  EXPECT_FALSE(host().upstream->answering());
  EXPECT_EQ(host().lease("a").rate, before.rate) << "the lease runs on";

  const auto on_lease = rates(3500);
  EXPECT_NEAR(on_lease[0], 125, 4);
  pass(2000);
  EXPECT_EQ(host().lease("a").state, lease::LeaseState::tail);
  EXPECT_TRUE(host().upstream->in_fallback());
  EXPECT_NEAR(rates(2000)[0], 100, 3);
  pass(4000);
  EXPECT_TRUE(host().upstream->view_of("a")->fallback);
  const auto alone = rates(5000);
  EXPECT_NEAR(alone[0], 100, 2);
  EXPECT_NEAR(alone[1], 100, 2);
  EXPECT_NEAR(alone[2], 50, 1);
  EXPECT_GE(host().upstream->fallback_ns(), 10 * kTestSecond);
  EXPECT_EQ(host().upstream->counts().fallback_starts_total, 1U);
}

TEST_F(UpstreamFaults, ComesBackByItselfAndNeverAboveTheLimit) {
  begin({400, 400, 50});
  cluster->kill_server();
  pass(15'000);
  cluster->start_server(true);
  for (auto& each : cluster->hosts)
    cluster->connect(*each);
  std::uint64_t total = 0;
  for (int second = 0; second < 15; ++second) {
    for (const double rate : rates(1000))
      total += static_cast<std::uint64_t>(rate);
  }
  EXPECT_LE(total, 15 * 300U + 300U);
  EXPECT_FALSE(host().upstream->in_fallback());
  const auto after = rates(5000);
  EXPECT_NEAR(after[0], 125, 4);
  EXPECT_NEAR(after[1], 125, 4);
  EXPECT_NEAR(after[2], 50, 2);
}

// N2, S5: it hears, and does not answer. Only the statistics notice before the lease ends.
TEST_F(UpstreamFaults, ASilentServerCountsAsLateAfterTheTimeout) {
  begin({200});
  cluster->silent = true;
  pass(1000);
  EXPECT_TRUE(host().upstream->connected());
  pass(1000);
  EXPECT_FALSE(host().upstream->answering());
  EXPECT_EQ(host().upstream->counts().timeout_total, 1U);
  EXPECT_NEAR(rates(2000)[0], 200, 4) << "no call knows";

  EXPECT_EQ(host().script.elsewhere.size(), 1U) << "it is left before the lease has ended";
  EXPECT_EQ(host().lease("a").state, lease::LeaseState::live);
  host().upstream->on_closed();
  cluster->silent = false;
  cluster->connect(host());
  pass(2000);
  EXPECT_TRUE(host().upstream->answering());
  EXPECT_EQ(host().upstream->counts().timeout_total, 1U);
  EXPECT_FALSE(host().upstream->in_fallback());
}

// T3. The monotonic clock stands still meanwhile, the one by which leases are judged does not.
TEST_F(UpstreamFaults, AfterASuspendNothingIsLeftOfTheLease) {
  begin({0.001});
  Host& only = host();
  for (int i = 0; i < 400; ++i) {
    only.take("a");
    cluster->pass(1);
  }
  cluster->pass(1000, [&] { only.take("a"); });
  ASSERT_GT(only.lease("a").rate, 0);
  cluster->pass(300);
  ASSERT_GT(only.level("a"), 0U);

  cluster->silent = true;
  cluster->times.boot += 3600 * kTestSecond;
  cluster->times.mono += kTestMs;
  only.tick();

  EXPECT_EQ(only.lease("a").state, lease::LeaseState::ended);
  const shm::RuleCopy rule = only.rule("a");
  EXPECT_LE(rule.terms.lease_end_mono_ns, cluster->times.mono);
  // The fallback, since nobody was heard for an hour: a part, and no more tokens than its burst.
  EXPECT_LE(only.level("a"), 300U / 3 + 100U);
}

// What clients see says when it ends on their clock, wherever the two clocks stand.
TEST_F(UpstreamFaults, PublishedEndsFollowTheClockOfClients) {
  begin({200});
  const shm::RuleCopy before = host().rule("a");
  EXPECT_NEAR(static_cast<double>(before.terms.lease_end_mono_ns - cluster->times.mono),
              static_cast<double>(host().lease("a").end_ns - cluster->times.boot), 1e6);
  cluster->times.boot += 2 * kTestSecond;  // a short suspend
  pass(1500);
  const shm::RuleCopy after = host().rule("a");
  EXPECT_NEAR(static_cast<double>(after.terms.lease_end_mono_ns - cluster->times.mono),
              static_cast<double>(host().lease("a").end_ns - cluster->times.boot), 1e6);
}

// A3. The loop stood still for longer than the lease and its tail; others have them by now.
TEST_F(UpstreamFaults, AStoppedAgentWithdrawsBeforeItSpeaks) {
  begin({200, 200});
  Host& stopped = host(0);
  stopped.script.said.clear();
  // Only the other host lives on.
  for (int i = 0; i < 12'000; ++i) {
    cluster->times.pass(kTestMs);
    paces[1].ms();
    host(1).tick();
    cluster->deliver();
  }
  stopped.tick();

  EXPECT_NE(stopped.lease("a").state, lease::LeaseState::live);
  EXPECT_EQ(stopped.rule("a").terms.amount, 0U) << "before anything is said";
  for (const ToServer& message : stopped.script.said) {
    const auto* request = std::get_if<lease::Request>(&message);
    if (request == nullptr) continue;
    for (const lease::Want& want : request->wants)
      EXPECT_EQ(want.keep_rate, 0);
  }
  pass(3000);
  const auto after = rates(4000);
  EXPECT_NEAR(after[0], 150, 5);
  EXPECT_NEAR(after[1], 150, 5);
}

TEST_F(UpstreamFaults, AHostWithoutALeaseWaitsUntilThoseOfOthersHaveEnded) {
  begin({400, 0});
  cluster->kill_server();
  pass(4000);
  EXPECT_FALSE(host(1).take("a"));
  EXPECT_FALSE(host(1).upstream->view_of("a")->fallback);
  pass(2000);
  EXPECT_TRUE(host(1).upstream->view_of("a")->fallback);
  pass(100);
  EXPECT_TRUE(host(1).take("a"));
}

TEST_F(UpstreamFaults, AStartWithoutAServerFallsBackAfterTheRequestTimeout) {
  cluster = std::make_unique<Cluster>(std::vector{cluster_limit("a")});
  Host& only = cluster->add("h");
  cluster->pass(450);
  EXPECT_FALSE(only.take("a"));
  cluster->pass(250);
  EXPECT_TRUE(only.upstream->view_of("a")->fallback);
  EXPECT_TRUE(only.take("a"));
  EXPECT_EQ(only.rule("a").terms.safe_burst, 100U) << "the limit by the hosts known last";
}

TEST_F(UpstreamFaults, AClosedFallbackLetsNothingThroughAndAnOpenOneAll) {
  LimitRule closed = cluster_limit("a"), open = cluster_limit("b");
  closed.fallback = {.mode = shm::Fallback::closed};
  open.fallback = {.mode = shm::Fallback::open};
  begin({100}, {closed, open});
  cluster->kill_server();
  pass(15'000);
  EXPECT_EQ(rates(2000)[0], 0);
  for (int i = 0; i < 100'000; ++i)
    ASSERT_TRUE(host().take("b"));

  cluster->start_server();
  cluster->connect(host());
  pass(3000);
  EXPECT_FALSE(host().upstream->view_of("b")->fallback);
  host().take_all("b");
  pass(2000);
  EXPECT_LE(host().take_all("b"), 300U) << "what is open stays so for no longer";
}

TEST_F(UpstreamFaults, ACopyOfAHostBecomesAnotherAndDropsItsLease) {
  begin({200});
  const std::uint64_t identity = host().upstream->desk().agent_epoch();
  lease::Hello copy;
  copy.host = "h0";
  copy.agent_epoch = identity;
  copy.hello_no = 2;
  copy.prev_session = host().upstream->desk().session();
  const auto greeting = cluster->book->hello(copy, cluster->times.boot);
  ASSERT_TRUE(greeting);
  lease::Request request;
  request.session = greeting->welcome.session;
  request.seq = 1;
  ASSERT_NE(cluster->book->request(request, cluster->times.boot), nullptr);
  host().upstream->on_closed();
  cluster->connect(host());
  pass(1000);
  EXPECT_NE(host().upstream->desk().agent_epoch(), identity);
  EXPECT_EQ(host().upstream->desk().counts().identities_total, 1U);
}

TEST_F(UpstreamFaults, AGoodbyeGivesEverythingBackAtOnce) {
  begin({300, 300});
  host(0).upstream->leave();
  EXPECT_EQ(host(0).take_all("a"), 0U) << "withdrawn before it was said";
  cluster->deliver();
  pass(1500);
  EXPECT_NEAR(rates(2000)[1], 299, 3);
}

class Successor : public UpstreamFaults {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/weir-successor-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    dir = pattern;
    cluster = std::make_unique<Cluster>(std::vector{cluster_limit("a")});
    cluster->hosts.push_back(
        std::make_unique<Host>(cluster->times, "h0", std::vector{cluster_limit("a")}, file()));
    paces.emplace_back(host(), "a", 200);
    cluster->connect(host());
    pass(4000);
  }
  void TearDown() override { std::filesystem::remove_all(dir); }
  std::string file() const { return dir + "/leases"; }
  // The agent dies; its counters are in the descriptor store, or not.
  void die(bool keep_counters) {
    Inherited kept;
    if (keep_counters) {
      kept.counters.reset(::fcntl(host().domain->counters_fd(), F_DUPFD_CLOEXEC, 3));
      kept.ledger.reset(::fcntl(host().domain->ledger_fd(), F_DUPFD_CLOEXEC, 3));
    }
    paces.clear();
    cluster->hosts.clear();
    cluster->hosts.push_back(std::make_unique<Host>(
        cluster->times, "h0", std::vector{cluster_limit("a")}, file(), std::move(kept)));
    paces.emplace_back(host(), "a", 200);
  }
  std::string dir;
};

TEST_F(Successor, WithTheCountersItHasTheLeaseAndTheIdentity) {
  const lease::LeaseView before = host().lease("a");
  const std::uint64_t identity = host().upstream->desk().agent_epoch();
  paces.clear();
  cluster->pass(200);
  const std::uint64_t level = host().level("a");
  ASSERT_GT(level, 0U);

  die(true);

  EXPECT_EQ(host().upstream->desk().agent_epoch(), identity);
  const lease::LeaseView after = host().lease("a");
  EXPECT_EQ(after.state, lease::LeaseState::live);
  EXPECT_EQ(after.rate, before.rate);
  EXPECT_EQ(host().level("a"), level) << "no refill, and nothing lost";
  cluster->connect(host());
  pass(3000);
  EXPECT_NEAR(rates(3000)[0], 200, 5);
  EXPECT_EQ(host().upstream->desk().agent_epoch(), identity) << "the server knows it";
}

TEST_F(Successor, WithoutTheCountersItIsSomebodyElse) {
  const std::uint64_t identity = host().upstream->desk().agent_epoch();
  die(false);
  EXPECT_NE(host().upstream->desk().agent_epoch(), identity);
  EXPECT_EQ(host().lease("a").state, lease::LeaseState::none);
  EXPECT_EQ(host().take_all("a"), 0U);
  // The old one's lease is still out: no fallback beside it.
  pass(3000);
  EXPECT_FALSE(host().upstream->view_of("a")->fallback);
}

// Whatever was written last: it is never more than what is held.
TEST_F(Successor, TheFileNeverSaysMoreThanIsHeld) {
  Host& other = cluster->add("h1");
  cluster->connect(other);
  paces.emplace_back(other, "a", 400);
  for (int i = 0; i < 3000; ++i) {
    pass(1);
    const auto saved = parse_saved_leases([&] {
      std::string text(1 << 16, '\0');
      const int fd = ::open(file().c_str(), O_RDONLY | O_CLOEXEC);
      text.resize(
          static_cast<std::size_t>(std::max<ssize_t>(0, ::read(fd, text.data(), text.size()))));
      ::close(fd);
      return text;
    }());
    ASSERT_TRUE(saved);
    const lease::LeaseView held = host().lease("a");
    for (const auto& each : saved->desk.held) {
      ASSERT_LE(each.terms.rate - lease::mul_div(each.terms.rate, 1000, 1'000'000), held.rate)
          << "at " << i;
      ASSERT_LE(each.terms.burst, held.burst) << "at " << i;
    }
  }
  EXPECT_LT(host().lease("a").rate, 200'000'000) << "the test saw it lowered";
}

TEST(WholeFile, AFailureLeavesTheOldOne) {
  char dir[] = "/tmp/weir-whole-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string path = std::string(dir) + "/f";
  EXPECT_EQ(write_whole_file(path, "one"), "");
  std::filesystem::create_directory(path + ".new");
  EXPECT_NE(write_whole_file(path, "two"), "");
  EXPECT_EQ(std::filesystem::file_size(path), 3U);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace weir::agent::test
