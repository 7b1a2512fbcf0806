// Chunks granted a second, each durable before it is answered: 64 hosts that ask again at once,
// through the quota book and the group commit.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "bench/store_bench.h"
#include "server/store/completions.h"
#include "server/store/keeper.h"
#include "server/store/sqlite_store.h"

namespace weir::bench {
namespace {

constexpr std::uint64_t kHosts = 64;

lease::TimeNs now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Run {
  server::Completions completions;
  std::unique_ptr<server::SqliteStore> store;
  lease::QuotaBook book{{}, now_ns()};
  std::uint64_t granted = 0, refused = 0, ticket = 0;

  // The host's next request, with the chunk before spent and returned.
  void ask(std::uint64_t host, const std::string& key, std::uint64_t seq, lease::Units before) {
    lease::QuotaAsk what;
    what.key = key;
    what.agent_epoch = host;
    what.host = "host-" + std::to_string(host);
    what.seq = seq;
    what.done_seq = seq - 1;
    what.need = 1;
    what.per_s = 4;
    if (before > 0) what.chunks.push_back({seq - 1, 0, before, before, true});
    book.ask(++ticket, what, now_ns());
  }
};

double grants_per_s(const std::string& path, std::uint64_t keys, double seconds,
                    std::string& note) {
  Run run;
  server::SqliteOptions options;
  options.file.path = path;
  options.post = run.completions.post();
  if (const std::string why = server::SqliteStore::open(options, run.store); !why.empty()) {
    std::fprintf(stderr, "weir_store_bench: %s\n", why.c_str());
    return 0;
  }
  server::BookKeeper keeper(run.book, *run.store, "bench", now_ns);
  keeper.on_reply = [&](const lease::QuotaReply& reply) {
    const bool got = reply.outcome == lease::QuotaOutcome::granted;
    got ? ++run.granted : ++run.refused;
    run.ask(reply.agent_epoch, reply.key, reply.seq + 1, got ? reply.granted : 0);
  };
  for (std::uint64_t key = 0; key < keys; ++key) {
    lease::QuotaChange create;
    create.key = lease::quota_key("calls", std::to_string(key));
    create.config.total = lease::kUnitsMax;
    run.book.change(++run.ticket, create, now_ns());
  }
  for (std::uint64_t host = 1; host <= kHosts; ++host)
    run.ask(host, lease::quota_key("calls", std::to_string(host % keys)), 1, 0);
  const lease::TimeNs start = now_ns();
  const auto span = static_cast<lease::TimeNs>(seconds * 1e9);
  while (now_ns() - start < span) {
    keeper.pump();
    run.completions.run(std::chrono::milliseconds(2));
    run.book.poll(now_ns());
  }
  const double took = static_cast<double>(now_ns() - start) / 1e9;
  const server::SqliteStats stats = run.store->stats();
  note = std::to_string(run.granted / std::max<std::uint64_t>(1, stats.commits_total)) +
         " a commit; " + stats.durability;
  if (run.refused > 0) note += "; refused " + std::to_string(run.refused);
  return static_cast<double>(run.granted) / took;
}

}  // namespace

std::vector<StoreRow> measure_grants(const std::string& directory, bool quick) {
  std::vector<StoreRow> rows;
  for (const std::uint64_t keys : {1U, 64U}) {
    StoreRow row;
    row.name = "quota_grants/64_hosts/" + std::to_string(keys) + "_keys";
    row.unit = "/s";
    row.bar = 5'000;
    row.value = grants_per_s(directory + "/grants" + std::to_string(keys) + ".db", keys,
                             quick ? 1.0 : 5.0, row.note);
    if (row.value == 0) return {};
    rows.push_back(row);
  }
  return rows;
}

}  // namespace weir::bench
