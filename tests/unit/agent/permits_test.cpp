// The agent's part of the cluster-wide concurrency limits: what stands in shared memory, what is
// kept for a successor, and in which order.
#include "agent/upstream/permits.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "agent/upstream/saved_permits.h"

namespace weir::agent {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

class PermitsTest : public testing::Test {
 protected:
  PermitsTest() {
    char name[] = "/tmp/weir-permits-XXXXXX";
    dir_ = ::mkdtemp(name);
    const ParseResult result = parse_rules(
        "version: 1\nresources:\n  - {name: db, concurrency: {max: 12, scope: cluster, priority: "
        "{sheddable: 50%}}}\n",
        "rules.yaml");
    EXPECT_TRUE(result.ok());
    rule_ = result.rules->domains.at(0);
    DomainOptions options;
    options.limits_max = 8;
    options.clients_max = 16;
    options.cpus = 2;
    domain_ = std::move(*Domain::make(
        rule_, options, {[this] { return now_; }, [] { return std::int64_t{0}; }}, 7, {}));
    EXPECT_TRUE(domain_->publish(rule_));
  }
  ~PermitsTest() override { std::filesystem::remove_all(dir_); }

  std::unique_ptr<Permits> make() {
    return std::make_unique<Permits>(
        PermitsOptions{.boot_id = "b", .file = dir_ + "/permits"}, [this] { return now_; },
        [this](const lease::PermitReport& report) { said_.push_back(report); });
  }
  const shm::ResourceRule& rule() {
    const shm::ToolkitView& view = domain_->toolkit()->view();
    return view.rule(static_cast<std::uint32_t>(shm::find_resource(view, "db")));
  }
  std::atomic<std::int64_t>& in_flight() {
    const shm::ToolkitView& view = domain_->toolkit()->view();
    return view.counter(static_cast<std::uint32_t>(shm::find_resource(view, "db"))).in_flight;
  }
  void grant(Permits& permits, std::uint64_t number, lease::Permits cap) {
    permits.on_grants({5, said_.back().seq, 10 * kSecondNs, {{"db", number, cap, 3}}}, now_);
  }

  std::string dir_;
  std::int64_t now_ = 1'000 * kSecondNs;
  DomainRule rule_;
  std::unique_ptr<Domain> domain_;
  std::vector<lease::PermitReport> said_;
};

TEST_F(PermitsTest, NobodyEntersBeforeTheServerHasSpoken) {
  EXPECT_EQ(rule().concurrency, 1U) << "0 would be no limit";
  for (const auto& reserve : rule().class_reserve)
    EXPECT_EQ(reserve, 1U);
}

TEST_F(PermitsTest, ACapIsInForceAndKeptBeforeItIsConfirmed) {
  auto permits = make();
  permits->restore(9, false);
  permits->bind(*domain_);
  permits->on_welcome(5, true, now_);
  ASSERT_EQ(said_.size(), 1U);
  EXPECT_EQ(said_[0].rows.at(0).cap, 0);

  now_ += kSecondNs / 10;
  in_flight() = 3;
  grant(*permits, 1, 8);

  EXPECT_EQ(rule().concurrency, 8U);
  EXPECT_EQ(rule().class_reserve[0] + rule().class_reserve[1] + rule().class_reserve[2] +
                rule().class_reserve[3],
            4U)
      << "shares are of the cap";
  ASSERT_EQ(said_.size(), 2U);
  EXPECT_EQ(said_[1].rows[0].number, 1U);
  EXPECT_EQ(said_[1].rows[0].cap, 8);
  EXPECT_EQ(said_[1].rows[0].in_flight, 3);
  const auto saved = parse_saved_permits(to_text({"b", 9, {kSecondNs, {{"db", 8, 5, 3}}}}));
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->desk.held.at(0).cap, 8);
}

TEST_F(PermitsTest, ASuccessorGoesOnAndConfirmsNothingWhileOldRulesAreInUse) {
  auto before = make();
  before->restore(9, false);
  before->bind(*domain_);
  before->on_welcome(5, true, now_);
  grant(*before, 1, 8);
  before.reset();
  said_.clear();
  // A process that does not know the successor.
  shm::ProcessSlot& slot = domain_->toolkit()->view().process(0);
  slot.owner =
      shm::process_word(static_cast<std::uint32_t>(::getpid()), 1, shm::ProcessState::live);

  auto after = make();
  after->restore(9, true);
  after->bind(*domain_);
  EXPECT_EQ(rule().concurrency, 8U);
  after->on_welcome(5, true, now_);
  now_ += kSecondNs;
  grant(*after, 1, 2);
  EXPECT_EQ(rule().concurrency, 2U);
  now_ += 4 * kSecondNs;
  after->tick(now_);
  EXPECT_EQ(said_.back().rows.at(0).cap, 8);
  EXPECT_EQ(said_.back().rows[0].number, 0U);

  domain_->toolkit()->announced(0);
  now_ += kSecondNs;
  after->tick(now_);
  EXPECT_EQ(said_.back().rows[0].cap, 2);
  EXPECT_EQ(said_.back().rows[0].number, 1U);
}

TEST_F(PermitsTest, CountersOfNobodyBeforeBringNoPermits) {
  auto before = make();
  before->restore(9, false);
  before->bind(*domain_);
  before->on_welcome(5, true, now_);
  grant(*before, 1, 8);

  auto other = make();
  other->restore(10, true);
  other->bind(*domain_);

  EXPECT_EQ(rule().concurrency, 1U);
  EXPECT_EQ(rule().class_reserve[3], 1U);
}

TEST_F(PermitsTest, WhereTheFileIsGoneTheOldRulesMayHaveAllowedTheMaximum) {
  auto before = make();
  before->restore(9, false);
  before->bind(*domain_);
  before->on_welcome(5, true, now_);
  grant(*before, 1, 8);
  before.reset();
  said_.clear();
  ASSERT_TRUE(std::filesystem::remove(dir_ + "/permits"));
  shm::ProcessSlot& slot = domain_->toolkit()->view().process(0);
  slot.owner =
      shm::process_word(static_cast<std::uint32_t>(::getpid()), 1, shm::ProcessState::live);

  auto after = make();
  after->restore(9, true);
  after->bind(*domain_);
  EXPECT_EQ(rule().concurrency, 1U) << "nobody enters by the new rules";
  after->on_welcome(5, true, now_);
  EXPECT_EQ(said_.back().rows.at(0).cap, 12) << "a process may still enter by the old ones";

  domain_->toolkit()->announced(0);
  now_ += 4 * kSecondNs;
  after->tick(now_);
  now_ += kSecondNs;
  after->tick(now_);
  EXPECT_LT(said_.back().rows[0].cap, 12);
}

TEST_F(PermitsTest, AFileThatCannotBeWrittenIsNotLeftBehind) {
  auto before = make();
  before->restore(9, false);
  before->bind(*domain_);
  before->on_welcome(5, true, now_);
  grant(*before, 1, 2);
  ASSERT_TRUE(std::filesystem::exists(dir_ + "/permits"));
  // In the place of what is written before it is renamed; root could write to a read-only folder.
  std::filesystem::create_directory(dir_ + "/permits.new");
  now_ += kSecondNs / 10;
  before->tick(now_);
  grant(*before, 2, 8);
  EXPECT_EQ(rule().concurrency, 8U);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/permits")) << "it says 2";
}

TEST_F(PermitsTest, WhoLeavesLetsNobodyInAndSaysWhatIsLeft) {
  auto permits = make();
  permits->restore(9, false);
  permits->bind(*domain_);
  permits->on_welcome(5, true, now_);
  grant(*permits, 1, 8);
  in_flight() = 2;

  permits->leave();

  EXPECT_EQ(rule().concurrency, 1U);
  EXPECT_TRUE(said_.back().leaving);
  EXPECT_EQ(said_.back().rows.at(0).cap, 0);
  EXPECT_EQ(said_.back().rows[0].in_flight, 2);
}

TEST(SavedPermits, HalfATextIsNone) {
  const std::string text = to_text({"b", 9, {kSecondNs, {{"db", 8, 5, 3}, {"a b", 1, 2, 3}}}});
  ASSERT_TRUE(parse_saved_permits(text));
  ASSERT_EQ(parse_saved_permits(text)->desk.held.size(), 2U);
  EXPECT_EQ(parse_saved_permits(text)->desk.held[1].name, "a b");
  for (std::size_t bytes = 0; bytes + 1 < text.size(); ++bytes)
    EXPECT_FALSE(parse_saved_permits(text.substr(0, bytes))) << bytes;
}

}  // namespace
}  // namespace weir::agent
