// Rows of the audit log a second, sustained: the producer waits whenever the queue is full.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "bench/store_bench.h"
#include "server/store/completions.h"
#include "server/store/sqlite_store.h"

namespace weir::bench {
namespace {

constexpr int kRowsPerOffer = 250;
constexpr std::uint64_t kKeys = 100'000;

std::vector<server::AuditRow> some_rows(std::uint64_t& number) {
  std::vector<server::AuditRow> rows(kRowsPerOffer);
  for (server::AuditRow& row : rows) {
    ++number;
    row.name_space = "bench";
    row.key = "calls\ncustomer-" + std::to_string(number * 7'919 % kKeys);
    row.event.action = lease::QuotaAction::consume;
    row.event.host = "host-17";
    row.event.process = "gateway";
    row.event.uid = 1000;
    row.event.amount = 1;
    row.event.left = 1'000'000;
    row.event.outcome = "ok";
    row.event.at_wall_ms = 1'700'000'000'000 + static_cast<std::int64_t>(number / 50);
  }
  return rows;
}

}  // namespace

std::vector<StoreRow> measure_audit(const std::string& directory, bool quick) {
  using Clock = std::chrono::steady_clock;
  server::Completions completions;
  server::SqliteOptions options;
  options.file.path = directory + "/audit.db";
  options.post = completions.post();
  std::unique_ptr<server::SqliteStore> store;
  if (const std::string why = server::SqliteStore::open(options, store); !why.empty()) {
    std::fprintf(stderr, "weir_store_bench: %s\n", why.c_str());
    return {};
  }
  std::uint64_t number = 0;
  std::int64_t lag_ms = 0;
  bool space = true;
  const auto start = Clock::now();
  const auto end = start + std::chrono::seconds(quick ? 2 : 15);
  std::vector<server::AuditRow> rows = some_rows(number);
  while (Clock::now() < end) {
    if (space && store->offer(rows)) {
      rows = some_rows(number);
      continue;
    }
    if (space) {
      space = false;
      store->on_space([&] { space = true; });
    }
    completions.run(std::chrono::milliseconds(5));
    lag_ms = std::max(lag_ms, store->audit_stats().lag_ms);
  }
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  const server::AuditStats stats = store->audit_stats();
  std::vector<StoreRow> figures(2);
  StoreRow& rate = figures[0];
  rate.name = "audit_rows";
  rate.value = static_cast<double>(stats.written_total) / took;
  rate.unit = "/s";
  rate.bar = 50'000;
  rate.note =
      std::to_string(stats.written_total / std::max<std::uint64_t>(1, stats.batches_total)) +
      " rows a batch, dropped " + std::to_string(stats.dropped_total);
  StoreRow& lag = figures[1];
  lag.name = "audit_lag";
  lag.value = static_cast<double>(lag_ms);
  lag.unit = "ms";
  lag.bar = 1'000;
  lag.more_is_better = false;
  return figures;
}

}  // namespace weir::bench
