// Quotas over real processes: a server with a store, agents that hold chunks, processes that take
// units through libweir. Nothing is handed out twice, whatever is killed, and in the end the books
// balance: total = remaining + consumed + held + lost.
#include "tests/system/quota_support.h"

namespace weir::test {
namespace {

TEST(QuotaSpend, AColdKeyAsksAndAWarmOneDoesNot) {
  QuotaServer server("{name: calls, total: 1000, keys: any}");
  server.start();
  Agent agent({.rules = rules_at(server.address(), "h1")});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_quota* calls = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "calls", &calls), WEIR_OK);

  EXPECT_EQ(acquire(calls, "key-1", 1, 5000), WEIR_ALLOW);
  EXPECT_EQ(take_all(calls, "key-1"), 999U) << "what is left can be had to the last unit";
  EXPECT_EQ(weir_quota_acquire(calls, "key-1", 5, 1, 0, nullptr), WEIR_DENY_SPENT);
  EXPECT_EQ(acquire(calls, "key-2", 7, 5000), WEIR_ALLOW) << "another key has its own count";

  weir_quota* other = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "no-such", &other), WEIR_OK);
  EXPECT_EQ(acquire(other, "key-1", 1, 5000), WEIR_DENY_NO_KEY);
  const Books books = server.books_at_rest(agent, "calls", "key-1");
  EXPECT_EQ(books.consumed, 1000);
  EXPECT_EQ(books.remaining, 0);
  EXPECT_EQ(books.lost, 0);
}

TEST(QuotaSpend, RefundsSettlementsAndOutcomesAreBookedOnce) {
  QuotaServer server("{name: tokens, total: 10000, keys: any}");
  server.start();
  Agent agent({.rules = rules_at(server.address(), "h1")});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_quota* tokens = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "tokens", &tokens), WEIR_OK);
  weir_quota_permit permit;
  std::uint64_t taken = 0;

  // An estimate of 1000 that cost 400, one of 100 that cost 150, and one that was not done.
  ASSERT_EQ(weir_quota_acquire(tokens, "k", 1, 1000, 5000, &permit), WEIR_ALLOW);
  EXPECT_EQ(weir_quota_settle(&permit, 400, 0, &taken), WEIR_ALLOW);
  EXPECT_EQ(taken, 400U);
  EXPECT_EQ(weir_quota_end(&permit, WEIR_DONE_OK, nullptr), WEIR_OK);
  ASSERT_EQ(weir_quota_acquire(tokens, "k", 1, 100, 5000, &permit), WEIR_ALLOW);
  EXPECT_EQ(weir_quota_settle(&permit, 150, 5000, &taken), WEIR_ALLOW);
  EXPECT_EQ(taken, 150U);
  EXPECT_EQ(weir_quota_end(&permit, WEIR_DONE_FAILED, "upstream said 500"), WEIR_OK);
  EXPECT_EQ(weir_quota_end(&permit, WEIR_DONE_FAILED, "twice"), WEIR_OK);
  ASSERT_EQ(weir_quota_acquire(tokens, "k", 1, 70, 5000, &permit), WEIR_ALLOW);
  EXPECT_EQ(weir_quota_end(&permit, WEIR_DONE_IGNORED, nullptr), WEIR_OK);

  // A chunk that was asked for ahead of need may be under way at the stop.
  const Books books = server.books_at_rest(agent, "tokens", "k");
  EXPECT_EQ(books.consumed, 550);
  EXPECT_EQ(books.remaining, 9450);
  EXPECT_TRUE(eventually([&] {
    return sum_of(server.audit("tokens", "k"), lease::QuotaAction::consume, "") == 1220;
  }));
  const auto rows = server.audit("tokens", "k");
  EXPECT_EQ(sum_of(rows, lease::QuotaAction::consume, "upstream said 500"), 150);
  EXPECT_EQ(sum_of(rows, lease::QuotaAction::consume, "ok"), 1000) << "with what came back";
  EXPECT_EQ(sum_of(rows, lease::QuotaAction::refund, ""), 670);
  EXPECT_EQ(sum_of(rows, lease::QuotaAction::consume, ""), 1220) << "and none is written twice";
}

TEST(QuotaSpend, AnAgentThatFollowsAKilledOneGoesOnWithItsUnits) {
  QuotaServer server("{name: calls, total: 5000, keys: any}");
  server.start();
  Agent agent({.rules = rules_at(server.address(), "h1")});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_quota* calls = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "calls", &calls), WEIR_OK);
  std::uint64_t taken = 0;
  for (int i = 0; i < 300; ++i)
    taken += acquire(calls, "k", 1, 5000) == WEIR_ALLOW ? 1 : 0;

  agent.kill9();
  while (weir_quota_try(calls, "k", 1, 1, nullptr) == WEIR_ALLOW)
    ++taken;  // what is in memory is there without the agent, too
  agent.manager().drain();
  ASSERT_TRUE(agent.start());
  taken += take_all(calls, "k");

  EXPECT_EQ(taken, 5000U);
  const Books books = server.books_at_rest(agent, "calls", "k");
  EXPECT_EQ(books.consumed, 5000);
  EXPECT_EQ(books.lost, 0);
}

TEST(QuotaSpend, HostsSpendToTheLastUnitWhatIsKilledMeanwhile) {
  constexpr Units kTotal = 6000;
  QuotaServer server("{name: calls, total: " + std::to_string(kTotal) + ", keys: any}");
  server.start();
  std::vector<std::unique_ptr<Agent>> agents;
  std::vector<std::unique_ptr<Spender>> spenders;
  for (int i = 0; i < 3; ++i) {
    agents.push_back(std::make_unique<Agent>(
        AgentOptions{.rules = rules_at(server.address(), "h" + std::to_string(i))}));
    ASSERT_TRUE(agents.back()->start());
    spenders.push_back(std::make_unique<Spender>(*agents.back(), "calls", "k"));
  }
  ASSERT_TRUE(eventually([&] { return sum_taken(spenders) > 500; }));
  server.kill9();
  server.start();
  ASSERT_TRUE(eventually([&] { return sum_taken(spenders) > 1500; }));
  agents[0]->kill9();
  agents[0]->manager().drain();
  ASSERT_TRUE(agents[0]->start());

  EXPECT_TRUE(eventually([&] { return sum_taken(spenders) >= kTotal; }, 60'000));
  for (auto& spender : spenders)
    spender->stop();
  EXPECT_EQ(sum_taken(spenders), kTotal);
  for (auto& agent : agents)
    EXPECT_TRUE(agent->stop());
  EXPECT_TRUE(eventually([&] { return server.books("calls", "k").consumed == kTotal; }));
  const Books books = server.books("calls", "k");
  EXPECT_EQ(books.consumed, kTotal);
  EXPECT_EQ(books.remaining + books.lost + books.held, 0);
}

TEST(QuotaSpend, AStoppedAgentGivesBackWhatIsLeft) {
  QuotaServer server("{name: calls, total: 1000, chunk: {min: 200}, keys: any}");
  server.start();
  Agent agent({.rules = rules_at(server.address(), "h1")});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_quota* calls = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "calls", &calls), WEIR_OK);
  ASSERT_EQ(acquire(calls, "k", 3, 5000), WEIR_ALLOW);

  ASSERT_TRUE(agent.stop());

  EXPECT_TRUE(eventually([&] { return server.books("calls", "k").remaining == 997; }));
  EXPECT_EQ(server.books("calls", "k").consumed, 3);
  EXPECT_EQ(weir_quota_try(calls, "k", 1, 1, nullptr), WEIR_E_UNAVAILABLE);
}

TEST(QuotaSpend, AServerThatComesByReloadHasQuotas) {
  QuotaServer server("{name: calls, total: 100, keys: any}");
  server.start();
  Agent agent({.rules = rules_of({"name: a, rate: 10/s"})});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_quota* calls = nullptr;
  ASSERT_EQ(weir_quota_get(client.get(), "calls", &calls), WEIR_OK);
  EXPECT_EQ(weir_quota_try(calls, "k", 1, 1, nullptr), WEIR_E_UNAVAILABLE);

  const v1::ApplyResponse applied = agent.apply(rules_at(server.address(), "h1"));
  ASSERT_EQ(applied.problems_size(), 0) << applied.DebugString();

  EXPECT_TRUE(eventually([&] { return acquire(calls, "k", 1, 1000) == WEIR_ALLOW; }));
  EXPECT_EQ(take_all(calls, "k"), 99U);
  EXPECT_EQ(server.books_at_rest(agent, "calls", "k").consumed, 100);
}

}  // namespace
}  // namespace weir::test
