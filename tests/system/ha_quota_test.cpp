// Quotas of several servers: the records lie in etcd, and go with the namespace to its next owner.
// Hosts spend one key to its last unit while owners are killed and frozen and etcd loses its
// leader.
#include "tests/system/ha_quota_support.h"
#include "tests/system/quota_support.h"

namespace weir::test {
namespace {

constexpr Units kTotal = 9'000;

class HaQuota : public HaQuotaTest {
 protected:
  HaQuota() : HaQuotaTest(kTotal) {}
  ~HaQuota() override { spenders_.clear(); }

  void spend(int hosts) {
    for (int i = 0; i < hosts; ++i) {
      start_agent(i);
      spenders_.push_back(std::make_unique<Spender>(*agents_.back(), "calls", "k"));
    }
  }
  // Everybody gets units since now.
  bool all_go_on(Units units) {
    std::vector<Units> before;
    for (const auto& spender : spenders_)
      before.push_back(spender->taken());
    return eventually([&] {
      for (std::size_t i = 0; i < spenders_.size(); ++i)
        if (spenders_[i]->taken() < before[i] + units) return false;
      return true;
    });
  }
  std::vector<std::unique_ptr<Spender>> spenders_;
};

TEST_F(HaQuota, IsSpentToTheLastUnitWhoeverOwnsIt) {
  spend(3);
  ASSERT_TRUE(all_go_on(100)) << log(0) << agents_[0]->log();

  const Owner first = await_owner();
  server(first.server).kill9();
  const Owner second = await_owner(first.revision);
  ASSERT_GE(second.server, 0);
  ASSERT_TRUE(eventually([&] { return terms(second.server) > 0; })) << log(second.server);
  EXPECT_TRUE(all_go_on(100)) << log(second.server) << agents_[0]->log();
  servers_[static_cast<std::size_t>(first.server)] = start(first.server);

  server(second.server).signal(SIGSTOP);
  const Owner third = await_owner(second.revision);
  server(second.server).signal(SIGCONT);
  ASSERT_GE(third.server, 0);
  EXPECT_TRUE(all_go_on(100)) << log(third.server) << agents_[0]->log();

  const int leader = etcd_->leader();
  ASSERT_GE(leader, 0);
  etcd_->member(leader).kill9();

  EXPECT_TRUE(eventually([&] { return sum_taken(spenders_) >= kTotal; }, 60'000))
      << sum_taken(spenders_);
  for (auto& spender : spenders_)
    spender->stop();
  EXPECT_EQ(sum_taken(spenders_), kTotal) << "not one more";
  for (auto& agent : agents_)
    EXPECT_TRUE(agent->stop());
  EXPECT_TRUE(eventually([&] { return books().consumed == kTotal; })) << text_of(books());
  EXPECT_TRUE(books().balance()) << text_of(books());
}

}  // namespace
}  // namespace weir::test
