// Several servers on etcd, with real processes: who owns a namespace when its owner dies, freezes,
// or cannot hear etcd; and that agents find whoever it is, while the total holds.
#include "tests/system/ha_support.h"

namespace weir::test {
namespace {

TEST_F(HaTest, OneServerOwnsTheNamespaceAndAnotherOneWhenItIsKilled) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  ASSERT_TRUE(eventually([&] { return terms(first.server) == 1; })) << log(first.server);

  server(first.server).kill9();
  const Owner second = await_owner(first.revision);

  ASSERT_GE(second.server, 0);
  EXPECT_NE(second.server, first.server);
  EXPECT_TRUE(eventually([&] { return terms(second.server) == 1; })) << log(second.server);
}

TEST_F(HaTest, AServerThatStopsGivesUpWhatItOwnsAtOnce) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);

  server(first.server).signal(SIGTERM);

  EXPECT_EQ(server(first.server).exit_code(), 0);
  EXPECT_GT(await_owner(first.revision).revision, first.revision);
}

class HaKill : public HaTest {
 protected:
  HaKill() { direct_ = true; }
};

// WEIR_HA_KILLS of them; bench/take_over.sh asks for 50.
TEST_F(HaKill, AgentsGoToTheNextOwnerWhenTheirsIsKilled) {
  const char* kills = std::getenv("WEIR_HA_KILLS");
  begin({200, 200, 50});
  for (int left = kills != nullptr ? std::atoi(kills) : 2; left > 0; --left) {
    const Owner before = owner();
    const std::uint64_t epoch_before = epoch();

    server(before.server).kill9();
    const double took_ms = await_take_over(epoch_before);

    std::printf("[ takeover ] %.0f ms\n", took_ms);
    std::fflush(stdout);
    ASSERT_GE(took_ms, 0) << agents_[0]->log() << log((before.server + 1) % kServers);
    const Owner after = owner();
    EXPECT_NE(after.server, before.server);
    EXPECT_GT(after.revision, before.revision);
    for (const auto& agent : agents_)
      EXPECT_EQ(agent->status().upstream().server_name(), name(after.server));
    servers_[static_cast<std::size_t>(before.server)] = start(before.server);
    ASSERT_TRUE(eventually(
        [&] { return etcd_->ctl("get /weir/cluster/server/" + name(before.server)).size() > 1; }));
  }
  expect_bound_kept("owner killed again and again");
}

// It wakes up, and finds that its time was over before it says anything.
TEST_F(HaTest, AFrozenOwnerIsReplacedAndIgnoredWhenItWakesUp) {
  begin({200, 200});
  const Owner first = owner();
  const std::uint64_t epoch_before = epoch();

  server(first.server).signal(SIGSTOP);
  const double took_ms = await_take_over(epoch_before);
  const Owner second = owner();
  server(first.server).signal(SIGCONT);

  ASSERT_GE(took_ms, 0) << agents_[0]->log();
  EXPECT_NE(second.server, first.server);
  EXPECT_TRUE(eventually([&] { return said(first.server, "not ours any more") != 0; }))
      << log(first.server);
  EXPECT_EQ(terms(first.server), 1);
  EXPECT_EQ(owner().revision, second.revision);
  EXPECT_TRUE(eventually([&] { return served_since(epoch_before); }));
  for (const auto& agent : agents_)
    EXPECT_EQ(agent->status().upstream().server_name(), name(second.server));
  expect_bound_kept("owner frozen");
}

// Agents can reach it all the time; it must not answer them beyond what etcd lets it be sure of.
TEST_F(HaTest, AnOwnerThatIsCutOffFromEtcdSendsItsAgentsAway) {
  begin({200, 200});
  const Owner first = owner();
  const std::uint64_t epoch_before = epoch();

  cut_from_etcd(first.server, true);
  const double took_ms = await_take_over(epoch_before);
  const Owner second = owner();
  cut_from_etcd(first.server, false);

  ASSERT_GE(took_ms, 0) << agents_[0]->log() << log(first.server);
  EXPECT_NE(second.server, first.server);
  EXPECT_GT(said(first.server, "nothing is granted"), 0) << log(first.server);
  EXPECT_TRUE(eventually([&] { return said(first.server, "joined the cluster") == 2; }))
      << log(first.server);
  EXPECT_EQ(owner().revision, second.revision);
  expect_bound_kept("owner cut off from etcd");
}

// A hello to a server that is not the owner.
TEST_F(HaTest, AnyServerKnowsTheOwner) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  for (int i = 0; i < kServers; ++i) {
    Agent agent(AgentOptions{.rules = rules_at(front(i), "h" + std::to_string(i))});
    ASSERT_TRUE(agent.start());
    ASSERT_TRUE(eventually([&] { return agent.status().upstream().answering(); })) << agent.log();
    EXPECT_EQ(agent.status().upstream().server_name(), name(first.server));
  }
}

TEST_F(HaTest, AMemberOfEtcdMayDieAndSoMayItsLeader) {
  begin({200, 200});
  const Owner first = owner();

  const int leader = etcd_->leader();
  ASSERT_GE(leader, 0);
  etcd_->member(leader).kill9();
  // A server whose member is gone asks the next; what it owns may pass to another or not.
  ASSERT_TRUE(eventually([&] { return etcd_->leader() >= 0 && etcd_->leader() != leader; }));
  const std::uint64_t seen = epoch();
  ASSERT_TRUE(eventually([&] { return served_since(seen - 1); })) << agents_[0]->log();
  etcd_->start(leader);
  ASSERT_TRUE(etcd_->wait_healthy());

  ASSERT_TRUE(eventually([&] { return served_since(seen - 1); }));
  EXPECT_GE(owner().revision, first.revision);
  expect_bound_kept("etcd's leader killed");
}

// Nobody can own anything without a quorum, and nobody need: leases run to their end, and then
// hosts go by their fallback, whose sum is the limit.
TEST_F(HaTest, WithoutAQuorumLeasesRunOnAndThenTheFallbackIsInForce) {
  begin({400, 400});
  const Owner first = owner();
  for (const int member : {0, 1, 2})
    etcd_->member(member).signal(SIGSTOP);

  EXPECT_TRUE(eventually([&] { return said(first.server, "nothing is granted") != 0; }))
      << log(first.server);
  for (const auto& agent : agents_)
    EXPECT_EQ(agent->limit("/t")->lease().state(), "live");
  for (const auto& agent : agents_)
    EXPECT_TRUE(eventually([&] { return agent->limit("/t")->lease().fallback(); })) << agent->log();

  for (const int member : {0, 1, 2})
    etcd_->member(member).signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    return said(first.server, "heard again") + said(first.server, "not ours any more") != 0;
  })) << log(first.server);
  EXPECT_TRUE(eventually([&] { return served_since(0); })) << agents_[0]->log();
  EXPECT_GE(owner().revision, first.revision);
  expect_bound_kept("no quorum for a while");
}

TEST_F(HaTest, ASecondServerOfTheSameNameServesNothing) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  const int other = (first.server + 1) % kServers;
  server(other).kill9();
  ASSERT_TRUE(eventually([&] {
    return etcd_->ctl("get /weir/cluster/server/" + name(other) + " --keys-only").empty();
  }));

  servers_[static_cast<std::size_t>(other)] = start(other, name(first.server));

  EXPECT_TRUE(eventually([&] { return said(other, "another server goes by the name") != 0; }))
      << log(other);
  EXPECT_EQ(owner().revision, first.revision);
  EXPECT_EQ(terms(other), 0);
}

// The servers' files have no namespaces.
class HaRules : public HaTest {
 protected:
  HaRules() { rules_in_files_ = false; }

  int run(const std::string& what, const std::string& document) {
    SpawnOptions options;
    options.argv = {WEIR_BINARY_DIR "/bin/weir-server",
                    "rules",
                    what,
                    document,
                    "--config",
                    place_ / "s0.yaml"};
    options.output = place_ / "command.log";
    return Process::spawn(options).exit_code();
  }
  static std::string document(int rate) {
    return "version: 1\nnamespaces: {default: {limits: [{name: /t, rate: " + std::to_string(rate) +
           "/s, burst: 300}]}}\n";
  }
};

TEST_F(HaRules, AreKeptInEtcdCheckedAndFollowed) {
  write_text(place_ / "good.yaml", document(300));
  write_text(place_ / "bad.yaml", "version: 1\nnamespaces: {default: {limits: [{name: /t}]}}\n");
  write_text(place_ / "other.yaml", "version: 1\nlisten: 127.0.0.1:1\nnamespaces: {}\n");
  EXPECT_EQ(run("get", place_ / "got.yaml"), 1) << "there is nothing yet";
  EXPECT_NE(run("put", place_ / "bad.yaml"), 0);
  EXPECT_NE(read_text(place_ / "command.log").find("bad.yaml:2:"), std::string::npos)
      << read_text(place_ / "command.log");
  EXPECT_NE(run("put", place_ / "other.yaml"), 0);
  EXPECT_TRUE(etcd_->ctl("get /weir/rules").empty());

  ASSERT_EQ(run("put", place_ / "good.yaml"), 0) << read_text(place_ / "command.log");
  EXPECT_EQ(run("get", place_ / "got.yaml"), 0);
  EXPECT_EQ(read_text(place_ / "got.yaml"), document(300));
  begin({50});
  const Owner first = owner();

  // By hand, past the check: what is in force stays, and the log says what is wrong, and where.
  write_text(place_ / "by_hand.yaml", "version: 1\nnamespaces: [1]\n");
  etcd_->ctl("put /weir/rules < " + (place_ / "by_hand.yaml"));
  EXPECT_TRUE(eventually([&] { return said(first.server, "/weir/rules is refused") != 0; }))
      << log(first.server);
  EXPECT_NE(said(first.server, "rules in etcd:2:"), 0) << log(first.server);
  EXPECT_TRUE(served_since(0));

  write_text(place_ / "good.yaml", document(100));
  ASSERT_EQ(run("put", place_ / "good.yaml"), 0);
  EXPECT_TRUE(eventually([&] { return said(first.server, "100/s") != 0; })) << log(first.server);
  EXPECT_EQ(owner().revision, first.revision);
  EXPECT_TRUE(eventually([&] { return served_since(0); }));
}

TEST(HaCredentials, AServerThatEtcdDoesNotKnowWaitsAndSaysWhy) {
  if (const std::string why = etcd_missing(); !why.empty()) GTEST_SKIP() << why;
  EtcdCluster etcd(1);
  for (const char* each : {"user add root:secret", "user grant-role root root", "auth enable"})
    etcd.ctl(each);
  TempDir place;
  write_text(place / "password", "wrong\n");
  write_text(place / "s.yaml", "version: 1\nlisten: 127.0.0.1:" + std::to_string(free_port()) +
                                   "\nhttp: off\nstate_dir: " + (place / "state") +
                                   "\netcd: {endpoints: [\"" + etcd.endpoint(0) +
                                   "\"], user: root, password_file: " + (place / "password") +
                                   "}\nnamespaces: {default: {}}\n");
  SpawnOptions options;
  options.argv = {WEIR_BINARY_DIR "/bin/weir-server", "--config", place / "s.yaml", "--name", "s"};
  options.output = place / "log";
  const auto log = [&] { return read_text(place / "log"); };

  {
    const Process refused = Process::spawn(options);
    EXPECT_TRUE(eventually([&] { return log().find("waiting for it") != std::string::npos; }));
    EXPECT_NE(log().find("(user root)"), std::string::npos) << log();
    EXPECT_EQ(log().find("listens at"), std::string::npos) << "it serves what it does not own";
  }
  write_text(place / "password", "secret\n");
  const Process known = Process::spawn(options);
  EXPECT_TRUE(eventually([&] { return log().find("ours from now on") != std::string::npos; }))
      << log();
}

}  // namespace
}  // namespace weir::test
