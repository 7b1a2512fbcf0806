// Who may speak for a namespace, at every instant, whatever happens to servers, to their clocks and
// to their lines to etcd: at most one.
#include "server/etcd/election.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "tests/unit/etcd/fake_etcd.h"

namespace weir::test {
namespace {

using etcd::Election;
using etcd::ElectionOptions;
using lease::kMs;
using lease::kSecond;

struct Server final : etcd::ElectionHandler {
  struct Office {
    std::uint64_t epoch = 0;
    bool ours = false;
    TimeNs until_ns = 0;
    std::vector<std::string> sent_to;
    int terms = 0, resumed = 0;
    bool never_met = false;
  };

  Server(Agenda& agenda_in, FakeEtcd& store, ElectionOptions options)
      : self(options.name), agenda(agenda_in), line(agenda_in, store) {
    options.addresses = {options.name + ":9465"};
    options.boot_ns = [this] { return clock_ns(); };
    election = std::make_unique<Election>(line, std::move(options),
                                          static_cast<etcd::ElectionHandler&>(*this));
  }
  TimeNs clock_ns() const {
    return agenda.now_ns + (agenda.now_ns - drifts_since_ns) / 1'000'000 * drift_ppm;
  }
  void drift(std::int64_t ppm) {
    drift_ppm = ppm;
    drifts_since_ns = agenda.now_ns;
  }
  // What it would say if it ran on at this instant.
  bool speaks(const std::string& name) {
    const auto found = offices.find(name);
    return !dead && found != offices.end() && found->second.ours &&
           clock_ns() < found->second.until_ns;
  }

  void on_owned(const std::string& name, const etcd::Term& term, TimeNs until_ns) override {
    Office& office = offices[name];
    EXPECT_GT(term.epoch, epochs_seen[name]) << "the epoch of " << name << " did not grow";
    office.ours = true;
    office.epoch = epochs_seen[name] = term.epoch;
    office.until_ns = until_ns;
    office.never_met = term.never_met;
    ++office.terms;
  }
  void on_fence(TimeNs until_ns) override {
    for (auto& [name, office] : offices)
      if (office.ours) office.until_ns = until_ns;
  }
  void on_resumed(const std::string& name, TimeNs until_ns) override {
    offices[name].ours = true;
    offices[name].until_ns = until_ns;
    ++offices[name].resumed;
  }
  void on_not_ours(const std::string& name, const std::vector<std::string>& addresses,
                   const std::string&) override {
    offices[name].ours = false;
    offices[name].sent_to = addresses;
  }
  void on_epoch(const std::string& name, std::uint64_t epoch) override {
    EXPECT_GT(epoch, epochs_seen[name]);
    offices[name].epoch = epochs_seen[name] = epoch;
  }

  static inline std::map<std::string, std::uint64_t> epochs_seen;  // by anybody
  const std::string self;
  Agenda& agenda;
  FakeLine line;
  std::unique_ptr<Election> election;
  std::map<std::string, Office> offices;
  std::int64_t drift_ppm = 0;
  TimeNs drifts_since_ns = 0;
  bool dead = false;
};

class ElectionTest : public testing::Test {
 protected:
  void SetUp() override {
    Server::epochs_seen.clear();
    options_.rebalance_ns = 0;
  }

  Server& add(const std::string& name) {
    ElectionOptions options = options_;
    options.name = name;
    Server& server = servers_.emplace_back(agenda_, etcd_, std::move(options));
    server.election->set_namespaces(names_);
    tick(server);
    return server;
  }
  void tick(Server& server) {
    if (server.dead) return;
    if (!server.line.frozen) server.election->tick(server.clock_ns());
    agenda_.at(agenda_.now_ns + tick_ns_, [this, &server] { tick(server); });
  }
  void kill(Server& server) {
    server.dead = true;
    server.line.cut(true, true);
    server.election.reset();
  }
  void thaw(Server& server) {
    server.line.thaw();
    server.election->tick(server.clock_ns());
  }
  // Looks at every millisecond.
  void run(TimeNs span_ns) {
    for (const TimeNs end_ns = agenda_.now_ns + span_ns; agenda_.now_ns < end_ns;) {
      agenda_.run_until(agenda_.now_ns + kMs);
      for (const std::string& name : names_)
        ASSERT_LE(speakers(name), 1) << name << " at " << agenda_.now_ns / kMs << " ms";
    }
  }
  int speakers(const std::string& name) {
    return static_cast<int>(std::count_if(servers_.begin(), servers_.end(),
                                          [&](Server& server) { return server.speaks(name); }));
  }
  Server* owner(const std::string& name = "a") {
    for (Server& server : servers_)
      if (server.speaks(name) && !server.line.frozen) return &server;
    return nullptr;
  }
  // How long until somebody speaks; -1: nobody did.
  TimeNs until_owned(TimeNs most_ns, const std::string& name = "a") {
    const TimeNs start_ns = agenda_.now_ns;
    while (agenda_.now_ns - start_ns < most_ns) {
      if (owner(name) != nullptr) return agenda_.now_ns - start_ns;
      run(kMs);
      if (HasFatalFailure()) return -1;
    }
    return -1;
  }
  void start_three() {
    for (const char* name : {"s1", "s2", "s3"})
      add(name);
    run(3 * kSecond);
    ASSERT_NE(owner(), nullptr);
  }

  Agenda agenda_;
  FakeEtcd etcd_{agenda_};
  ElectionOptions options_;
  TimeNs tick_ns_ = Election::kTickNs;
  std::vector<std::string> names_{"a"};
  std::deque<Server> servers_;
};

TEST_F(ElectionTest, OneSpeaksAndTheOthersKnowWhereItIs) {
  start_three();

  for (Server& server : servers_) {
    if (&server == owner()) continue;
    EXPECT_EQ(server.offices["a"].sent_to, (std::vector<std::string>{owner()->self + ":9465"}));
  }
  EXPECT_TRUE(owner()->offices["a"].never_met);
  run(20 * kSecond);
  EXPECT_EQ(owner()->offices["a"].terms, 1);
}

TEST_F(ElectionTest, WhoeverFollowsOneThatWasKilledIsThereWithinThreeSeconds) {
  start_three();
  const std::uint64_t epoch = owner()->offices["a"].epoch;

  kill(*owner());
  const TimeNs took_ns = until_owned(10 * kSecond);

  ASSERT_GE(took_ns, 0);
  EXPECT_LE(took_ns, 3 * kSecond);
  EXPECT_GT(owner()->offices["a"].epoch, epoch);
  EXPECT_FALSE(owner()->offices["a"].never_met);
}

TEST_F(ElectionTest, TheFirstInTheRankingTakesWhatIsFree) {
  names_ = {"a", "b", "c", "d", "e", "f"};
  start_three();
  kill(*owner());
  run(6 * kSecond);

  std::set<std::string> left;
  for (Server& server : servers_)
    if (!server.dead) left.insert(server.self);
  ASSERT_EQ(left.size(), 2U);
  for (const std::string& name : names_) {
    ASSERT_NE(owner(name), nullptr) << name;
    EXPECT_EQ(owner(name)->self, Election::ranking(name, left).front()) << name;
  }
}

// Its keep-alives took their time, so that its lease is older than the answers make it look.
TEST_F(ElectionTest, AnOwnerThatIsCutOffIsSilentBeforeTheNextOneSpeaks) {
  start_three();
  // At all places between two keep-alives.
  for (TimeNs phase_ns = 0; phase_ns < 500 * kMs; phase_ns += 70 * kMs) {
    Server* first = owner();
    ASSERT_NE(first, nullptr);
    first->line.back_ns = 350 * kMs;
    run(5 * kSecond + phase_ns);
    ASSERT_EQ(owner(), first);

    first->line.cut(true, true);
    run(6 * kSecond);

    ASSERT_NE(owner(), nullptr);
    EXPECT_NE(owner(), first);
    first->line.cut(false, false);
    first->line.back_ns = kMs;
    run(3 * kSecond);
  }
}

// Nothing is in its favour but the margin for its drift: messages take no time, and the others are
// as quick as can be.
TEST_F(ElectionTest, ASlowClockWithinItsBoundGivesNobodyMoreTime) {
  options_.ttl_s = 30;
  tick_ns_ = kMs;
  start_three();
  for (Server& server : servers_)
    server.line.there_ns = server.line.back_ns = 0;
  Server& first = *owner();
  first.drift(-1'000);
  run(20 * kSecond);
  ASSERT_EQ(owner(), &first);

  first.line.cut(true, true);
  run(40 * kSecond);

  EXPECT_FALSE(first.speaks("a"));
  ASSERT_NE(owner(), nullptr);
}

TEST_F(ElectionTest, AFrozenOwnerSaysNothingWhenItWakesUp) {
  start_three();
  Server& first = *owner();

  first.line.frozen = true;
  run(10 * kSecond);
  Server* second = owner();
  ASSERT_NE(second, nullptr);
  thaw(first);

  EXPECT_FALSE(first.speaks("a"));
  run(3 * kSecond);
  EXPECT_EQ(owner(), second);
  EXPECT_FALSE(first.offices["a"].ours);
  EXPECT_EQ(first.offices["a"].sent_to, (std::vector<std::string>{second->self + ":9465"}));
  EXPECT_EQ(first.offices["a"].terms, 1);
  EXPECT_EQ(first.election->stats().lost_total, 1U);
  EXPECT_TRUE(first.election->stats().joined);
}

// It keeps its lease alive but hears nothing of it: nobody speaks, and nobody may.
TEST_F(ElectionTest, AnOwnerThatHearsNothingIsSilentAndGoesOnWithItsTerm) {
  start_three();
  Server& first = *owner();
  const std::uint64_t epoch = first.offices["a"].epoch;

  first.line.cut(false, true);
  run(5 * kSecond);
  EXPECT_EQ(owner(), nullptr);
  EXPECT_FALSE(first.offices["a"].ours);  // its agents were sent away
  first.line.cut(false, false);
  run(2 * kSecond);

  EXPECT_EQ(owner(), &first);
  EXPECT_EQ(first.offices["a"].resumed, 1);
  EXPECT_EQ(first.offices["a"].epoch, epoch);
}

// The answer to a claim is lost: the key is seen to be ours, and the term is taken up.
TEST_F(ElectionTest, AClaimWhoseAnswerIsLostIsFoundOutLater) {
  start_three();
  kill(*owner());
  const auto& keys = etcd_.keys();
  const std::string key = "/weir/cluster/owner/a";
  while (keys.contains(key))
    run(kMs);
  for (Server& server : servers_)
    if (!server.dead) server.line.back_ns = 1'100 * kMs;  // longer than any call may take
  while (!keys.contains(key))
    run(kMs);
  for (Server& server : servers_)
    if (!server.dead) server.line.back_ns = kMs;
  const std::int64_t revision = keys.at(key).created;
  ASSERT_EQ(owner(), nullptr);
  run(5 * kSecond);

  ASSERT_NE(owner(), nullptr);
  EXPECT_EQ(owner()->election->fence("a")->create_revision, revision);
  EXPECT_EQ(keys.at(key).created, revision) << "it was given up and claimed anew";
}

TEST_F(ElectionTest, TwoOfOneNameAreOneServer) {
  add("s1");
  run(kSecond);
  add("s1");
  run(20 * kSecond);

  EXPECT_EQ(owner(), &servers_[0]);
  EXPECT_EQ(servers_[1].offices["a"].terms, 0);
  EXPECT_NE(servers_[1].election->stats().last_error.find("another server goes by the name"),
            std::string::npos);
  kill(servers_[0]);
  run(5 * kSecond);
  EXPECT_EQ(owner(), &servers_[1]);
}

TEST_F(ElectionTest, WhoStopsGivesUpAtOnce) {
  start_three();
  Server& first = *owner();
  bool done = false;

  first.election->resign([&] { done = true; });

  EXPECT_FALSE(first.speaks("a"));
  const TimeNs took_ns = until_owned(5 * kSecond);
  EXPECT_TRUE(done);
  ASSERT_GE(took_ns, 0);
  EXPECT_LE(took_ns, kSecond);
}

TEST_F(ElectionTest, AKeyThatIsDeletedByHandEndsTheTerm) {
  start_three();
  Server& first = *owner();
  const std::uint64_t epoch = first.offices["a"].epoch;

  etcd_.remove("/weir/cluster/owner/a");
  agenda_.run_until(agenda_.now_ns + 3 * kSecond);

  ASSERT_NE(owner(), nullptr);
  EXPECT_GT(owner()->offices["a"].epoch, epoch);
  EXPECT_EQ(speakers("a"), 1);
}

TEST_F(ElectionTest, AnEpochIsRaisedAboveWhatAgentsHaveMet) {
  start_three();
  Server& first = *owner();

  first.election->raise_epoch("a", 1'000'000);
  run(kSecond);
  EXPECT_GT(first.offices["a"].epoch, 1'000'000U);
  const std::uint64_t epoch = first.offices["a"].epoch;
  kill(first);
  run(5 * kSecond);

  ASSERT_NE(owner(), nullptr);
  EXPECT_GT(owner()->offices["a"].epoch, epoch);
}

// What one server took alone goes to those that came later, one at a time, and stays there.
TEST_F(ElectionTest, NamespacesGoBackToWhomTheyBelong) {
  names_ = {"a", "b", "c", "d", "e", "f"};
  options_.rebalance_ns = 10 * kSecond;
  tick_ns_ = kMs;
  // Etcd's word on what it gave up comes late to the first; the others are quick.
  add("s1").line.back_ns = 50 * kMs;
  run(2 * kSecond);
  add("s2");
  add("s3");
  run(200 * kSecond);

  int terms = 0;
  for (const std::string& name : names_) {
    const auto order = Election::ranking(name, {"s1", "s2", "s3"});
    ASSERT_NE(owner(name), nullptr) << name;
    EXPECT_EQ(owner(name)->self, order.front());
    for (Server& server : servers_)
      terms += server.offices[name].terms;
  }
  const auto at_their_place = terms;
  run(100 * kSecond);
  terms = 0;
  for (const std::string& name : names_)
    for (Server& server : servers_)
      terms += server.offices[name].terms;
  EXPECT_EQ(terms, at_their_place) << "they moved on";
}

TEST(ElectionRanking, SharesNamespacesAndMovesOnlyThoseOfTheLost) {
  const std::set<std::string> three{"s1", "s2", "s3"}, two{"s1", "s3"};
  std::map<std::string, int> share;
  for (int i = 0; i < 3'000; ++i) {
    const std::string name = "n" + std::to_string(i);
    const std::string before = Election::ranking(name, three).front();
    ++share[before];
    if (before != "s2") {
      ASSERT_EQ(Election::ranking(name, two).front(), before);
    }
  }
  for (const auto& [name, count] : share)
    EXPECT_NEAR(count, 1'000, 150) << name;
}

// Whatever comes: cuts, frozen servers, deaths and new starts, slow lines, clocks that drift.
TEST_F(ElectionTest, NeverTwoOfThemWhateverHappens) {
  names_ = {"a", "b", "c"};
  options_.rebalance_ns = 5 * kSecond;
  std::mt19937 random(7);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (const char* name : {"s1", "s2", "s3"})
    add(name).drift(pick(2'001) - 1'000);
  for (int step = 0; step < 150; ++step) {
    std::vector<Server*> there;
    for (Server& server : servers_)
      if (!server.dead) there.push_back(&server);
    Server& one = *there[static_cast<std::size_t>(pick(static_cast<int>(there.size())))];
    switch (pick(5)) {
      case 0:
        one.line.cut(pick(2) == 0, pick(2) == 0);
        break;
      case 1:
        one.line.frozen = true;
        break;
      case 2:
        kill(one);
        add("t" + std::to_string(step)).drift(pick(2'001) - 1'000);
        break;
      case 3:
        one.line.there_ns = pick(500) * kMs;
        one.line.back_ns = pick(500) * kMs;
        break;
      default:
        for (Server* server : there) {
          server->line.cut(false, false);
          if (server->line.frozen) thaw(*server);
        }
    }
    run((1 + pick(3'000)) * kMs);
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
  }
  for (Server& server : servers_) {
    if (server.dead) continue;
    server.line.cut(false, false);
    server.line.there_ns = server.line.back_ns = kMs;
    if (server.line.frozen) thaw(server);
  }
  run(15 * kSecond);
  for (const std::string& name : names_)
    EXPECT_NE(owner(name), nullptr) << name;
}

}  // namespace
}  // namespace weir::test
