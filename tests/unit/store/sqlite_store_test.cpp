// Quotas in the store: all or nothing, over the right version, and back as they were.
#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "server/store/maintenance.h"
#include "tests/unit/store/place.h"

namespace weir::server::test {
namespace {

const std::string kKey = lease::quota_key("calls", "alice");

TEST(SqliteStore, GivesBackWhatWasStored) {
  Place place;
  {
    OpenStore first(place.path());
    ASSERT_EQ(first.open(), "");
    EXPECT_NE(first.store->stats().durability.find("durable: "), std::string::npos)
        << first.store->stats().durability;
    const CommitResult result = first.commit(transaction_for(kKey));
    EXPECT_EQ(result.outcome, CommitOutcome::durable) << result.why;
    EXPECT_EQ(result.version, 1U);
  }
  OpenStore second(place.path());
  ASSERT_EQ(second.open(), "");
  const LoadResult got = second.load(kKey);
  ASSERT_TRUE(got.loaded.has_value()) << got.why;
  lease::QuotaTransaction stored = transaction_for(kKey);
  stored.record.version = 1;
  EXPECT_EQ(got.loaded->record, stored.record);
  EXPECT_EQ(got.loaded->holdings, stored.holdings);
  EXPECT_FALSE(second.load("calls\nnobody").loaded.has_value());
}

TEST(SqliteStore, OnlyTheVersionThatIsNamedIsReplaced) {
  Place place;
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  EXPECT_EQ(open.commit(transaction_for(kKey)).outcome, CommitOutcome::durable);
  EXPECT_EQ(open.commit(transaction_for(kKey)).outcome, CommitOutcome::conflict);
  EXPECT_EQ(open.commit(transaction_for(kKey, 7)).outcome, CommitOutcome::conflict);
  EXPECT_EQ(open.commit(transaction_for("calls\nbob", 1)).outcome, CommitOutcome::conflict);
  EXPECT_EQ(open.commit(transaction_for(kKey, 1, 4)).version, 2U);

  // The conflicts left nothing behind: no chunk, no line in the log.
  EXPECT_EQ(open.load(kKey).loaded->holdings.at(0).chunks.at(0).spent, 4);
  EXPECT_EQ(open.audit({}).rows.size(), 2U);
  lease::QuotaTransaction gone = transaction_for(kKey, 2);
  gone.record.remaining = 100;
  gone.holdings.clear();
  gone.holdings_gone = {UINT64_MAX - 3};
  EXPECT_EQ(open.commit(gone).outcome, CommitOutcome::durable);
  EXPECT_TRUE(open.load(kKey).loaded->holdings.empty());
}

TEST(SqliteStore, ManyWhoWaitShareACommit) {
  Place place;
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  int durable = 0;
  for (int i = 0; i < 2'000; ++i)
    open.store->commit("ns",
                       std::make_shared<const lease::QuotaTransaction>(
                           transaction_for("calls\n" + std::to_string(i))),
                       [&](const CommitResult& result) {
                         durable += result.outcome == CommitOutcome::durable ? 1 : 0;
                       });
  for (int i = 0; i < 400 && durable < 2'000; ++i)
    open.completions.run(std::chrono::milliseconds(50));
  EXPECT_EQ(durable, 2'000);
  EXPECT_LT(open.store->stats().commits_total, 200U);
}

TEST(SqliteStore, PagesAgentsAndTheirKeys) {
  Place place;
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  for (int i = 0; i < 25; ++i) {
    lease::QuotaTransaction one =
        transaction_for(lease::quota_key(i % 2 == 0 ? "calls" : "tokens", std::to_string(100 + i)));
    one.holdings[0].agent_epoch = i < 20 ? 7 : UINT64_MAX - 1;
    ASSERT_EQ(open.commit(one).outcome, CommitOutcome::durable);
  }
  QuotaQuery query;
  query.name_space = "ns";
  query.name = "calls";
  query.rows_max = 5;
  std::set<std::string> seen;
  for (bool more = true; more;) {
    const auto page = open.wait<QuotaPage>(
        [&](std::function<void(QuotaPage)> done) { open.store->page(query, done); });
    ASSERT_EQ(page.why, "");
    for (const auto& row : page.rows)
      seen.insert(row.key);
    more = page.more;
    query.after = page.rows.back().key;
  }
  EXPECT_EQ(seen.size(), 13U);

  const auto agents = open.wait<AgentResult>(
      [&](std::function<void(AgentResult)> done) { open.store->agents("ns", done); });
  EXPECT_EQ(agents.agents.size(), 2U);
  const auto keys = open.wait<KeysResult>([&](std::function<void(KeysResult)> done) {
    open.store->keys_of("ns", UINT64_MAX - 1, "", 3, done);
  });
  EXPECT_EQ(keys.keys.size(), 3U);
  EXPECT_TRUE(keys.more);
  query.rows_max = UINT32_MAX;
  query.after.clear();
  const auto huge = open.wait<QuotaPage>(
      [&](std::function<void(QuotaPage)> done) { open.store->page(query, done); });
  EXPECT_EQ(huge.rows.size(), 13U) << "a huge page is cut to size, not refused";
}

TEST(SqliteStore, ASecondServerIsRefused) {
  Place place;
  OpenStore first(place.path()), second(place.path());
  ASSERT_EQ(first.open(), "");
  EXPECT_NE(second.open().find("a weir-server is using this store"), std::string::npos);
}

TEST(SqliteStore, AFullDiskIsSaidAndTakesNothingAway) {
  Place place;
  if (!place.mount_small(3 << 20)) GTEST_SKIP() << "mounting needs root";
  OpenStore open(place.path(), true);
  ASSERT_EQ(open.open(), "");
  std::uint64_t durable = 0;
  CommitResult last;
  for (int i = 0; i < 20'000; ++i) {
    last = open.commit(transaction_for("calls\n" + std::to_string(i)));
    if (last.outcome != CommitOutcome::durable) break;
    ++durable;
  }
  EXPECT_EQ(last.outcome, CommitOutcome::failed) << last.why;
  EXPECT_NE(last.why.find("the disk is full"), std::string::npos) << last.why;
  EXPECT_TRUE(open.store->stats().degraded);
  EXPECT_GT(durable, 50U);
  // Audit rows that find no room wait.
  std::vector<AuditRow> rows(100);
  for (AuditRow& row : rows)
    row.event.outcome = std::string(40'000, 'x');
  EXPECT_TRUE(open.store->offer(rows));
  open.completions.run(std::chrono::milliseconds(800));
  EXPECT_EQ(open.store->audit_stats().dropped_total, 0U);
  EXPECT_EQ(open.store->audit_stats().queued, 100U);

  open.store.reset();
  CheckReport report;
  EXPECT_EQ(check_store(place.path(), report), "");
  EXPECT_EQ(report.quotas, durable);
}

TEST(SqliteStore, AReadOnlyDiskIsRefusedAtTheStart) {
  Place place;
  if (!place.mount_small(1 << 20)) GTEST_SKIP() << "mounting needs root";
  {
    OpenStore open(place.path(), true);
    ASSERT_EQ(open.open(), "");
  }
  ASSERT_TRUE(place.remount_read_only());
  OpenStore open(place.path(), true);
  const std::string why = open.open();
  EXPECT_NE(why.find("ead"), std::string::npos) << why;
  EXPECT_NE(why, "");
}

}  // namespace
}  // namespace weir::server::test
