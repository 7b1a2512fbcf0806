// Quotas of several servers: the records lie in etcd, and go with the namespace to its next owner.
// Hosts spend one key to its last unit while owners are killed and frozen and etcd loses its
// leader.
#include "tests/system/ha_support.h"
#include "tests/system/quota_support.h"
#include "weir/store/v1/quota.pb.h"

namespace weir::test {
namespace {

constexpr Units kTotal = 9'000;

class HaQuota : public HaTest {
 protected:
  HaQuota() {
    direct_ = true;
    more_namespace_ = "quotas: [{name: calls, total: " + std::to_string(kTotal) + ", keys: any}], ";
    more_file_ = "store: {unsafe: true}\n";  // the directory may be one in memory
  }
  ~HaQuota() override { spenders_.clear(); }

  void spend(int hosts) {
    std::string list = "[";
    for (int i = 0; i < kServers; ++i)
      list += (i == 0 ? "" : ", ") + ("\"" + front(i) + "\"");
    list += "]";
    for (int i = 0; i < hosts; ++i) {
      agents_.push_back(
          std::make_unique<Agent>(AgentOptions{.rules = rules_at(list, "h" + std::to_string(i))}));
      ASSERT_TRUE(agents_.back()->start());
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
  store::v1::QuotaRecord record() const {
    std::string text = etcd_->ctl("get --prefix --print-value-only /weir/quota/default/r/calls");
    if (!text.empty() && text.back() == '\n') text.pop_back();
    store::v1::QuotaRecord record;
    return record.ParseFromString(text) ? record : store::v1::QuotaRecord();
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
  EXPECT_TRUE(eventually([&] { return record().consumed() == kTotal; })) << record().DebugString();
  EXPECT_EQ(record().remaining() + record().lost(), 0);
  EXPECT_EQ(record().total(), kTotal);
}

}  // namespace
}  // namespace weir::test
