// The audit log: batches, a queue that slows down, pages, and old rows that go.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/unit/store/place.h"

namespace weir::server::test {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;

std::vector<AuditRow> rows_of(int count, std::int64_t at_wall_ms, const std::string& key = "a") {
  std::vector<AuditRow> rows(static_cast<std::size_t>(count));
  for (AuditRow& row : rows) {
    row.name_space = "ns";
    row.key = lease::quota_key("calls", key);
    row.event.host = "h1";
    row.event.process = "worker";
    row.event.uid = 1000;
    row.event.amount = 1;
    row.event.left = 99;
    row.event.outcome = "failure: upstream said 500";
    row.event.at_wall_ms = at_wall_ms;
  }
  return rows;
}

bool written(OpenStore& open, std::uint64_t count) {
  for (int i = 0; i < 1'000 && open.store->audit_stats().written_total < count; ++i) {
    open.completions.run();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return open.store->audit_stats().written_total >= count;
}

TEST(Audit, ABatchIsWrittenWhenItIsFullOrOld) {
  Place place;
  OpenStore open(place.path());
  open.options.audit_flush_ms = 60'000;  // cut to five seconds
  ASSERT_EQ(open.open(), "");
  auto some = rows_of(499, 1'000);
  ASSERT_TRUE(open.store->offer(some));
  EXPECT_TRUE(some.empty());
  EXPECT_EQ(open.store->audit_stats().queued, 499U);
  auto one = rows_of(1, 1'000);
  ASSERT_TRUE(open.store->offer(one));
  EXPECT_TRUE(written(open, 500));
  EXPECT_EQ(open.store->audit_stats().batches_total, 1U);

  OpenStore quick(place.path("quick.db"));
  quick.options.audit_flush_ms = 20;
  ASSERT_EQ(quick.open(), "");
  auto few = rows_of(3, 1'000);
  ASSERT_TRUE(quick.store->offer(few));
  EXPECT_TRUE(written(quick, 3));
}

TEST(Audit, AFullQueueSlowsDownAndLosesNothing) {
  Place place;
  OpenStore open(place.path());
  open.options.audit_queue_rows = 1'000;
  open.options.audit_batch_rows = 100;
  ASSERT_EQ(open.open(), "");
  std::uint64_t offered = 0, refused = 0;
  bool space = true;
  for (int i = 0; i < 400;) {
    auto rows = rows_of(100, 1'000);
    if (space && open.store->offer(rows)) {
      offered += 100;
      ++i;
      continue;
    }
    if (space) {
      ++refused;
      EXPECT_EQ(rows.size(), 100U) << "nothing of a refused batch is taken";
      space = false;
      open.store->on_space([&] { space = true; });
    }
    EXPECT_LE(open.store->audit_stats().queued, 1'000U);
    open.completions.run(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(written(open, offered));
  EXPECT_GT(refused, 0U);
  EXPECT_EQ(open.store->audit_stats().dropped_total, 0U);
  EXPECT_GE(open.store->audit_stats().refused_total, refused * 100);
  EXPECT_EQ(open.store->audit_stats().capacity, 1'000U);
}

TEST(Audit, WhatWaitsIsWrittenBeforeTheStoreCloses) {
  Place place;
  {
    OpenStore open(place.path());
    open.options.audit_flush_ms = 5'000;
    ASSERT_EQ(open.open(), "");
    auto rows = rows_of(77, 1'000);
    ASSERT_TRUE(open.store->offer(rows));
  }
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  EXPECT_EQ(open.audit({}).rows.size(), 77U);
}

TEST(Audit, PagesAndFilters) {
  Place place;
  OpenStore open(place.path());
  open.options.audit_flush_ms = 10;
  ASSERT_EQ(open.open(), "");
  std::vector<AuditRow> rows;
  for (int i = 0; i < 100; ++i) {
    auto one = rows_of(1, 1'000 + i, i % 4 == 0 ? "alice" : "bob");
    one[0].event.action = i % 2 == 0 ? lease::QuotaAction::consume : lease::QuotaAction::refund;
    one[0].event.amount = i;
    rows.push_back(one[0]);
  }
  ASSERT_TRUE(open.store->offer(rows));
  ASSERT_TRUE(written(open, 100));

  AuditQuery query;
  query.page_size = 30;
  query.page = 2;
  AuditPage page = open.audit(query);
  ASSERT_EQ(page.rows.size(), 30U);
  EXPECT_TRUE(page.more);
  EXPECT_EQ(page.rows[0].event.amount, 69) << "the newest first";
  EXPECT_EQ(page.rows[0].event.process, "worker");
  EXPECT_EQ(page.rows[0].event.uid, 1000U);
  EXPECT_EQ(page.rows[0].event.outcome, "failure: upstream said 500");
  query.page = 4;
  page = open.audit(query);
  EXPECT_EQ(page.rows.size(), 10U);
  EXPECT_FALSE(page.more);

  query = {};
  query.key = lease::quota_key("calls", "alice");
  EXPECT_EQ(open.audit(query).rows.size(), 25U);
  query.action = "refund";
  EXPECT_EQ(open.audit(query).rows.size(), 0U);
  query.action = "no such";
  EXPECT_NE(open.audit(query).why, "");
  query = {};
  query.from_wall_ms = 1'010;
  query.to_wall_ms = 1'020;
  EXPECT_EQ(open.audit(query).rows.size(), 10U);
  query = {};
  query.key = "x' OR 1=1 --";
  EXPECT_EQ(open.audit(query).rows.size(), 0U);
  query = {};
  query.page_size = 1;
  query.page = UINT32_MAX;
  EXPECT_EQ(open.audit(query).rows.size(), 0U);
}

TEST(Audit, OldRowsGoInBatchesWhileOthersAreWritten) {
  Place place;
  const std::int64_t now_ms = 1'000 * kDayMs;
  std::uint64_t removed = 0;
  {
    OpenStore open(place.path());
    open.options.clean_batch_rows = 1'000;
    open.options.audit_batch_rows = 1;
    ASSERT_EQ(open.open(), "");
    auto old = rows_of(4'500, now_ms - 181 * kDayMs);
    auto young = rows_of(300, now_ms - 179 * kDayMs);
    ASSERT_TRUE(open.store->offer(old));
    ASSERT_TRUE(open.store->offer(young));
    ASSERT_TRUE(written(open, 4'800));
    open.store->tick(now_ms);
    int durable = 0;
    for (int i = 0; i < 50; ++i)
      durable += open.commit(transaction_for("calls\n" + std::to_string(i))).outcome ==
                         CommitOutcome::durable
                     ? 1
                     : 0;
    EXPECT_EQ(durable, 50);
    for (int i = 0; i < 500 && open.store->clean_stats().running; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const CleanStats stats = open.store->clean_stats();
    EXPECT_TRUE(stats.on);
    removed = stats.removed_last;
    EXPECT_GE(removed, 4'500U);
    EXPECT_LE(removed, 4'550U) << "those of the transactions are as old";
    EXPECT_EQ(stats.last_run_wall_ms, now_ms);
    EXPECT_EQ(stats.next_run_wall_ms, now_ms + kDayMs);
    open.store->tick(now_ms + kDayMs - 1);
    EXPECT_FALSE(open.store->clean_stats().running);
  }
  OpenStore again(place.path());
  ASSERT_EQ(again.open(), "");
  EXPECT_EQ(again.store->clean_stats().last_run_wall_ms, now_ms) << "a restart puts nothing off";
  EXPECT_EQ(again.store->clean_stats().removed_total, removed);
  AuditQuery query;
  query.page_size = 1'000;
  // Those of the transactions above are of the time 1'000.
  query.from_wall_ms = 2'000;
  EXPECT_EQ(again.audit(query).rows.size(), 300U);
}

TEST(Audit, TheCleanerCanBeTurnedOff) {
  Place place;
  OpenStore open(place.path());
  open.options.retention_days = 0;
  ASSERT_EQ(open.open(), "");
  open.store->tick(1'000 * kDayMs);
  EXPECT_FALSE(open.store->clean_stats().on);
  EXPECT_FALSE(open.store->clean_stats().running);
  const auto stats = open.wait<CleanStats>(
      [&](std::function<void(CleanStats)> done) { open.store->clean_now(1'000 * kDayMs, done); });
  EXPECT_EQ(stats.removed_last, 0U);
}

}  // namespace
}  // namespace weir::server::test
