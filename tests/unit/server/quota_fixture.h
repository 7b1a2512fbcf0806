// A token server with a store on a disk of its own, and agents that ask for chunks.
#pragma once

#include <boost/asio/post.hpp>
#include <functional>
#include <utility>

#include "server/store/sqlite_store.h"
#include "server/wire_quota.h"
#include "tests/unit/server/server_fixture.h"

namespace weir::server {

// Between the server and the store: holds back, refuses or counts what goes by.
class StoreGate final : public QuotaStore {
 public:
  explicit StoreGate(QuotaStore& behind) : behind_(behind) {}

  StoreStats stats() const override { return behind_.stats(); }
  void commit(const std::string& name_space,
              std::shared_ptr<const lease::QuotaTransaction> transaction,
              std::function<void(const CommitResult&)> done) override {
    ++commits;
    if (refuse) return done({CommitOutcome::failed, 0, "the disk is full"});
    if (!hold) return behind_.commit(name_space, std::move(transaction), std::move(done));
    held.push_back([this, name_space, transaction = std::move(transaction),
                    done = std::move(done)] { behind_.commit(name_space, transaction, done); });
  }
  void load(const std::string& name_space, const std::string& key,
            std::function<void(LoadResult)> done) override {
    behind_.load(name_space, key, std::move(done));
  }
  void agents(const std::string& name_space, std::function<void(AgentResult)> done) override {
    behind_.agents(name_space, std::move(done));
  }
  void keys_of(const std::string& name_space, std::uint64_t agent_epoch, const std::string& after,
               std::uint32_t rows_max, std::function<void(KeysResult)> done) override {
    behind_.keys_of(name_space, agent_epoch, after, rows_max, std::move(done));
  }
  void page(const QuotaQuery& query, std::function<void(QuotaPage)> done) override {
    behind_.page(query, std::move(done));
  }
  void release() {
    hold = false;
    for (const auto& call : std::exchange(held, {}))
      call();
  }

  bool hold = false;
  bool refuse = false;
  int commits = 0;
  std::vector<std::function<void()>> held;

 private:
  QuotaStore& behind_;
};

class QuotaServerTest : public ServerTest {
 protected:
  ~QuotaServerTest() override { stop(); }

  std::string quota_file(const std::string& quotas, const std::string& more = {}) const {
    return file("{name: /api, rate: 300/s}", "    quotas: [" + quotas + "]\n" + more);
  }
  bool open_store() {
    SqliteOptions options;
    options.file.path = dir_ + "/quotas.db";
    options.file.allow_unsafe = true;
    options.audit_flush_ms = 10;
    options.post = [this](std::function<void()> call) { boost::asio::post(io, std::move(call)); };
    const std::string error = SqliteStore::open(std::move(options), store);
    EXPECT_EQ(error, "");
    if (!error.empty()) return false;
    gate = std::make_unique<StoreGate>(*store);
    return true;
  }
  // A server of its own process, as it were: everything that is not on the disk is gone.
  bool serve(const std::string& text) {
    stop();
    if (!open_store()) return false;
    ServerOptions options{.name = "s1", .version = "0", .reconnect_ns = 0};
    options.quota_store = gate.get();
    options.audit = store.get();
    server_ = std::make_unique<TokenServer>(io, options);
    const StartResult started = server_->start(parsed(text));
    EXPECT_EQ(started.error, "");
    if (!started) return false;
    address_ = server_->addresses().at(0);
    return true;
  }
  void stop() {
    server_.reset();
    gate.reset();
    store.reset();
  }

  lease::QuotaResult change(lease::QuotaChange change) {
    std::optional<lease::QuotaResult> got;
    server_->quota_change("shop", std::move(change),
                          [&](const lease::QuotaResult& result) { got = result; });
    EXPECT_TRUE(run_until(io, [&] { return got.has_value(); }));
    return got.value_or(lease::QuotaResult{});
  }
  void create(const std::string& key, lease::Units total) {
    lease::QuotaChange what;
    what.key = key;
    what.config.total = total;
    ASSERT_EQ(change(what).outcome, lease::QuotaChangeOutcome::done);
  }
  lease::QuotaView read(const std::string& key) {
    std::optional<lease::QuotaResult> got;
    server_->quota_read("shop", key, [&](const lease::QuotaResult& result) { got = result; });
    EXPECT_TRUE(run_until(io, [&] { return got.has_value(); }));
    return got ? got->view : lease::QuotaView{};
  }
  AuditPage audit(const std::string& action = {}) {
    std::optional<AuditPage> got;
    AuditQuery query;
    query.name_space = "shop";
    query.action = action;
    store->page(query, [&](AuditPage page) { got = std::move(page); });
    EXPECT_TRUE(run_until(io, [&] { return got.has_value(); }));
    return got.value_or(AuditPage{});
  }

  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<StoreGate> gate;
};

inline lease::QuotaAsk quota_ask(const std::string& key, std::uint64_t seq, lease::Units need = 1,
                                 std::vector<lease::ChunkReport> chunks = {}) {
  static std::uint64_t asks = 0;
  lease::QuotaAsk ask;
  ask.key = key;
  ask.ask_no = ++asks;
  ask.seq = seq;
  ask.need = need;
  ask.chunks = std::move(chunks);
  return ask;
}

inline void send_ask(RawAgent& agent, const lease::QuotaAsk& ask) {
  v1::ToServer message;
  message.mutable_quota_asks()->set_session(agent.session);
  add_to_wire(ask, *message.mutable_quota_asks());
  agent.send(message);
}
inline std::optional<lease::QuotaReply> take_reply(RawAgent& agent, std::uint64_t ask_no,
                                                   std::chrono::milliseconds limit = 5s) {
  std::vector<lease::QuotaReply> replies;
  const auto has = [&](const v1::ToAgent& message) {
    return message.has_quota_replies() && from_wire(message.quota_replies(), replies) &&
           !replies.empty() && replies.front().ask_no == ask_no;
  };
  if (!agent.take(has, limit)) return std::nullopt;
  return replies.front();
}
inline std::optional<lease::QuotaReply> exchange(RawAgent& agent, const lease::QuotaAsk& ask) {
  send_ask(agent, ask);
  return take_reply(agent, ask.ask_no);
}

}  // namespace weir::server
