// A prepaid quota under everything at once: processes that spend and give back, their agents, the
// servers and the members of etcd are killed at random. Whatever dies when, what was handed out is
// never more than there was, and at the end the books balance:
// total = remaining + consumed + held + lost.
#include <array>

#include "tests/system/ha_quota_support.h"

namespace weir::test {
namespace {

constexpr int kHosts = 3;
constexpr std::uint32_t kWorkersOfAHost = 2;
constexpr std::uint32_t kWorkers = kHosts * kWorkersOfAHost;
constexpr std::int64_t kUnitsMost = 3;  // at a time

int kills_wanted() {
  const char* text = std::getenv("WEIR_CHAOS_KILLS");
  return text == nullptr ? 20 : std::max(4, std::atoi(text));
}

class QuotaKill9 : public HaQuotaTest {
 protected:
  QuotaKill9() : HaQuotaTest(15'000 + 800LL * kills_wanted()) {}

  void SetUp() override {
    HaQuotaTest::SetUp();
    if (IsSkipped()) return;
    crew_ = std::make_unique<Crew>(place_.path(), kWorkers, 1);
    for (int i = 0; i < kHosts; ++i)
      ASSERT_NO_FATAL_FAILURE(start_agent(i));
    for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
      begin(lane);
    ASSERT_TRUE(crew_->wait_all_started());
    ASSERT_TRUE(eventually([&] { return everybody_has(1); })) << log(0) << agents_[0]->log();
  }

  Agent& agent_of(std::uint32_t lane) { return *agents_.at(lane / kWorkersOfAHost); }
  void begin(std::uint32_t lane) {
    crew_->start(lane, "quota",
                 {"sock=" + agent_of(lane).socket(), "require=0", "quota=calls", "key=k",
                  "most=" + std::to_string(kUnitsMost), "pace_us=10000"});
  }
  std::int64_t handed_out() {
    std::int64_t sum = 0;
    for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
      sum += crew_->log().lane(lane).a.load();
    return sum;
  }
  std::int64_t gone_back() {
    std::int64_t sum = 0;
    for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
      sum += crew_->log().lane(lane).b.load();
    return sum;
  }
  bool everybody_has(std::int64_t units) {
    for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
      if (crew_->log().lane(lane).a.load() < units) return false;
    return true;
  }
  // One of each kind in turn, any of them, at any moment.
  void kill_one(int turn) {
    enum class Victim : std::uint8_t { process, agent, server, member, host };
    constexpr std::array kTurns = {Victim::process, Victim::server, Victim::agent,
                                   Victim::process, Victim::member, Victim::host};
    const auto which = static_cast<int>(random_() % 3);
    switch (kTurns.at(static_cast<std::size_t>(turn) % kTurns.size())) {
      case Victim::process: {
        const std::uint32_t lane = random_() % kWorkers;
        crew_->process(lane).kill9();
        ++processes_killed_;
        begin(lane);
        break;
      }
      case Victim::agent: {
        Agent& agent = *agents_.at(static_cast<std::size_t>(which));
        agent.kill9();
        pause();
        ASSERT_TRUE(agent.start());
        break;
      }
      case Victim::server:
        server(which).kill9();
        pause();
        servers_.at(static_cast<std::size_t>(which)) = start(which);
        break;
      case Victim::member:
        etcd_->member(which).kill9();
        pause();
        etcd_->start(which);
        break;
      case Victim::host: {
        // It loses its memory: what its agent held is lost by name.
        Agent& agent = *agents_.at(static_cast<std::size_t>(which));
        const auto first = static_cast<std::uint32_t>(which) * kWorkersOfAHost;
        for (std::uint32_t lane = first; lane < first + kWorkersOfAHost; ++lane)
          crew_->process(lane).kill9();
        agent.kill9();
        processes_killed_ += kWorkersOfAHost;
        agent.manager().drain();
        agent.manager().forget_fds();
        ASSERT_TRUE(agent.start());
        for (std::uint32_t lane = first; lane < first + kWorkersOfAHost; ++lane)
          begin(lane);
        break;
      }
    }
  }
  void pause() {
    const struct timespec some { 0, static_cast<long>(random_() % 400'000'000) };
    ::nanosleep(&some, nullptr);
  }

  Random random_{41};
  std::unique_ptr<Crew> crew_;
  std::int64_t processes_killed_ = 0;
};

TEST_F(QuotaKill9, NothingIsHandedOutTwiceAndTheBooksBalance) {
  const int kills = kills_wanted();
  for (int i = 0; i < kills; ++i) {
    pause();
    ASSERT_NO_FATAL_FAILURE(kill_one(i));
    ASSERT_LE(handed_out() - gone_back(), total_) << "after " << i + 1 << " kills";
  }
  const std::int64_t before = handed_out();
  ASSERT_TRUE(etcd_->wait_healthy());
  ASSERT_TRUE(eventually([&] { return everybody_has(1) && handed_out() > before + 100; }))
      << log(0) << log(1) << log(2) << agents_[0]->log();

  // All of what is left can be had: until each has heard that there is nothing, again and again.
  crew_->go();
  const auto spent = [&] {
    for (std::uint32_t lane = 0; lane < kWorkers; ++lane)
      if (crew_->log().lane(lane).denied.load() < 5) return false;
    return true;
  };
  EXPECT_TRUE(eventually(spent, 120'000)) << handed_out() << " of " << total_;
  crew_->finish();
  for (auto& agent : agents_)
    EXPECT_TRUE(agent->stop()) << agent->log();

  // What the killed hosts held stays theirs until they have been silent for ten minutes.
  QuotaBooks at_rest;
  EXPECT_TRUE(eventually([&] {
    at_rest = books();
    return at_rest.balance();
  })) << text_of(at_rest);
  std::printf("[ chaos    ] %d kills: %s; handed out %lld, gone back %lld\n", kills,
              text_of(at_rest).c_str(), static_cast<long long>(handed_out()),
              static_cast<long long>(gone_back()));
  EXPECT_LE(handed_out() - gone_back(), total_);
  // A process that is killed may have taken units and not said so; and what a host spent and its
  // agent had not told anybody of when both died is among what it held.
  EXPECT_LE(at_rest.consumed, handed_out() + processes_killed_ * kUnitsMost);
  EXPECT_GE(at_rest.consumed + at_rest.held + at_rest.lost, handed_out() - gone_back());
  EXPECT_LT(at_rest.remaining, total_ / 10) << "or the end was not reached";
}

}  // namespace
}  // namespace weir::test
