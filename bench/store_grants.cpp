// Chunks granted a second, each durable before it is answered: 64 hosts that ask again at once,
// through the quota book and the group commit.
#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "bench/store_bench.h"
#include "server/etcd/quota_store.h"
#include "server/store/completions.h"
#include "server/store/keeper.h"
#include "server/store/sqlite_store.h"

namespace weir::bench {
namespace {

constexpr std::uint64_t kHosts = 64;
// A server on etcd has many more in the time of one transaction: each key has its own host.
std::uint64_t hosts_for(std::uint64_t keys) { return std::max(kHosts, keys); }

lease::TimeNs now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Run {
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

// `turn` runs what the store has to say, waiting a little for it.
double grants_per_s(server::QuotaStore& store, const std::function<void()>& turn,
                    std::uint64_t keys, double seconds, std::string& note) {
  Run run;
  server::BookKeeper keeper(run.book, store, "bench", now_ns);
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
  for (std::uint64_t host = 1; host <= hosts_for(keys); ++host)
    run.ask(host, lease::quota_key("calls", std::to_string(host % keys)), 1, 0);
  const lease::TimeNs start = now_ns();
  const auto span = static_cast<lease::TimeNs>(seconds * 1e9);
  while (now_ns() - start < span) {
    keeper.pump();
    turn();
    run.book.poll(now_ns());
  }
  const double took = static_cast<double>(now_ns() - start) / 1e9;
  const server::StoreStats stats = store.stats();
  note = std::to_string(run.granted / std::max<std::uint64_t>(1, stats.commits_total)) +
         " a commit; " + stats.durability;
  if (run.refused > 0) note += "; refused " + std::to_string(run.refused);
  return static_cast<double>(run.granted) / took;
}

double sqlite_grants_per_s(const std::string& path, std::uint64_t keys, double seconds,
                           std::string& note) {
  server::Completions completions;
  std::unique_ptr<server::SqliteStore> store;
  server::SqliteOptions options;
  options.file.path = path;
  options.post = completions.post();
  if (const std::string why = server::SqliteStore::open(options, store); !why.empty()) {
    std::fprintf(stderr, "weir_store_bench: %s\n", why.c_str());
    return 0;
  }
  return grants_per_s(
      *store, [&] { completions.run(std::chrono::milliseconds(2)); }, keys, seconds, note);
}

// All keys of the prefix go before and after.
constexpr const char* kEtcdPrefix = "/weir-store-bench";

struct EtcdRun {
  boost::asio::io_context io;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
      boost::asio::make_work_guard(io)};
  std::unique_ptr<server::etcd::Client> client;

  // The revision; 0, and why on stderr, when etcd does not do it.
  std::int64_t txn(server::etcd::rpc::TxnRequest request) {
    std::int64_t revision = -1;
    client->txn(
        std::move(request), std::chrono::seconds(10),
        [&](const server::etcd::Status& status, const server::etcd::rpc::TxnResponse& response) {
          if (!status.ok())
            std::fprintf(stderr, "weir_store_bench: etcd: %s\n", status.text.c_str());
          revision = status.ok() ? response.header().revision() : 0;
        });
    while (revision < 0)
      io.run_one();
    return revision;
  }
  std::int64_t clear() {
    server::etcd::rpc::TxnRequest request;
    auto& range = *request.add_success()->mutable_request_delete_range();
    range.set_key(kEtcdPrefix);
    range.set_range_end(server::etcd::prefix_end(kEtcdPrefix));
    return txn(std::move(request));
  }
};

double etcd_grants_per_s(const std::string& endpoint, std::uint64_t keys, double seconds,
                         std::string& note) {
  EtcdRun run;
  server::etcd::ClientOptions client;
  client.endpoints = {endpoint};
  if (const std::string why = server::etcd::make_client(run.io, client, run.client);
      !why.empty() || run.clear() == 0) {
    if (!why.empty()) std::fprintf(stderr, "weir_store_bench: %s\n", why.c_str());
    return 0;
  }
  server::etcd::Fence fence{std::string(kEtcdPrefix) + "/owner", 0};
  server::etcd::rpc::TxnRequest own;
  server::etcd::add_put(own, fence.owner_key, "bench");
  fence.create_revision = run.txn(std::move(own));
  if (fence.create_revision == 0) return 0;
  server::etcd::QuotaStoreOptions options;
  options.prefix = kEtcdPrefix;
  options.fence = [&](const std::string&) { return fence; };
  options.post = [&](std::function<void()> call) { boost::asio::post(run.io, std::move(call)); };
  server::etcd::EtcdQuotaStore store(*run.client, std::move(options));
  const double grants = grants_per_s(
      store,
      [&] {
        run.io.run_one_for(std::chrono::milliseconds(2));
        run.io.poll();
      },
      keys, seconds, note);
  run.clear();
  return grants;
}

}  // namespace

std::vector<StoreRow> measure_grants_of_etcd(const std::string& endpoint, bool quick) {
  std::vector<StoreRow> rows;
  for (const std::uint64_t keys : {64U, 2048U}) {
    StoreRow row;
    row.name = "quota_grants_etcd/" + std::to_string(hosts_for(keys)) + "_hosts/" +
               std::to_string(keys) + "_keys";
    row.unit = "/s";
    row.bar = 15'000;
    row.value = etcd_grants_per_s(endpoint, keys, quick ? 1.0 : 5.0, row.note);
    if (row.value == 0) return {};
    rows.push_back(row);
  }
  return rows;
}

std::vector<StoreRow> measure_grants(const std::string& directory, bool quick) {
  std::vector<StoreRow> rows;
  for (const std::uint64_t keys : {1U, 64U}) {
    StoreRow row;
    row.name = "quota_grants/64_hosts/" + std::to_string(keys) + "_keys";
    row.unit = "/s";
    row.bar = 5'000;
    row.value = sqlite_grants_per_s(directory + "/grants" + std::to_string(keys) + ".db", keys,
                                    quick ? 1.0 : 5.0, row.note);
    if (row.value == 0) return {};
    rows.push_back(row);
  }
  return rows;
}

}  // namespace weir::bench
