// Quotas in a store: what both stores promise, and what only several servers on etcd need.
#include "server/etcd/quota_store.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "server/store/keeper.h"
#include "tests/support/etcd.h"
#include "tests/unit/store/place.h"

namespace weir::server::etcd {
namespace {

using server::test::transaction_for;
using weir::test::EtcdCluster;
using Ms = Client::Ms;

const std::string kKey = lease::quota_key("calls", "alice");
constexpr std::uint64_t kAgent = UINT64_MAX - 3;  // of transaction_for()
constexpr Ms kStoreDeadline{2'000};

// One etcd for all tests, each with a prefix of its own: a start takes a second.
EtcdCluster& shared_etcd() {
  static EtcdCluster etcd(1);
  return etcd;
}

// Between the store and etcd: transactions whose answer is lost on the way.
class LossyClient final : public Client {
 public:
  enum class Fate { arrives, answer_lost, never_sent };

  explicit LossyClient(Client& to) : to_(to) {}
  void txn(rpc::TxnRequest request, Ms deadline, TxnDone done) override {
    const Fate fate = request.compare_size() == 0 ? Fate::arrives : next();
    ++sent;
    if (fate == Fate::never_sent) return done({Status::Code::unknown, "lost"}, {});
    if (fate == Fate::arrives) return to_.txn(std::move(request), deadline, std::move(done));
    to_.txn(std::move(request), deadline, [done](const Status&, const rpc::TxnResponse&) {
      done({Status::Code::unknown, "the answer is lost"}, {});
    });
  }
  void grant(std::int64_t ttl_s, Ms deadline, GrantDone done) override {
    to_.grant(ttl_s, deadline, std::move(done));
  }
  void keep_alive(std::int64_t id, Ms deadline, TtlDone done) override {
    to_.keep_alive(id, deadline, std::move(done));
  }
  void revoke(std::int64_t id, Ms deadline, Done done) override {
    to_.revoke(id, deadline, std::move(done));
  }
  std::unique_ptr<Watch> watch(const std::string& prefix, std::int64_t from, OnEvents events,
                               std::function<void(std::string)> lost) override {
    return to_.watch(prefix, from, std::move(events), std::move(lost));
  }
  std::string endpoint() const override { return to_.endpoint(); }

  std::function<Fate()> next = [] { return Fate::arrives; };
  int sent = 0;

 private:
  Client& to_;
};

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = weir::test::etcd_missing(); !why.empty()) GTEST_SKIP() << why;
    prefix_ =
        "/test/" +
        std::string(testing::UnitTest::GetInstance()->current_test_info()->test_suite_name()) +
        testing::UnitTest::GetInstance()->current_test_info()->name();
    connect(shared_etcd());
  }
  void TearDown() override {
    stores_.clear();
    lossy_.reset();
    client_.reset();
  }
  void connect(const EtcdCluster& etcd) {
    ClientOptions options;
    options.endpoints = etcd.endpoints();
    ASSERT_EQ(make_client(io_, options, client_), "");
    lossy_ = std::make_unique<LossyClient>(*client_);
  }

  template <class Done>
  bool run_until(Done done) {
    return weir::test::eventually([&] {
      io_.restart();
      io_.run_for(Ms(5));
      return done();
    });
  }
  template <class Result>
  Result wait(const std::function<void(std::function<void(Result)>)>& ask) {
    std::optional<Result> got;
    ask([&](Result result) { got = std::move(result); });
    EXPECT_TRUE(run_until([&] { return got.has_value(); }));
    return got.value_or(Result{});
  }
  rpc::TxnResponse txn(const rpc::TxnRequest& request) {
    // Sent again until there is an answer: what these do may be done twice.
    std::optional<rpc::TxnResponse> got;
    bool under_way = false;
    EXPECT_TRUE(run_until([&] {
      if (got || std::exchange(under_way, true)) return got.has_value();
      client_->txn(request, kStoreDeadline,
                   [&](const Status& status, const rpc::TxnResponse& response) {
                     under_way = false;
                     if (status.ok()) got = response;
                   });
      return false;
    }));
    return got.value_or(rpc::TxnResponse{});
  }
  // Somebody owns the namespace from now on.
  Fence own() {
    const std::string key = prefix_ + "/owner";
    rpc::TxnRequest away;
    add_delete(away, key);
    txn(away);
    rpc::TxnRequest request;
    add_put(request, key, "me");
    return {key, txn(request).header().revision()};
  }
  EtcdQuotaStore& open(const Fence& fence, AuditLog* audit = nullptr) {
    QuotaStoreOptions options;
    options.prefix = prefix_;
    options.fence = [fence](const std::string&) { return fence; };
    options.post = [this](std::function<void()> call) { boost::asio::post(io_, std::move(call)); };
    options.audit = audit;
    stores_.push_back(std::make_unique<EtcdQuotaStore>(*lossy_, std::move(options)));
    return *stores_.back();
  }
  CommitResult commit(QuotaStore& store, const lease::QuotaTransaction& transaction) {
    return commit(store, std::make_shared<const lease::QuotaTransaction>(transaction));
  }
  CommitResult commit(QuotaStore& store,
                      std::shared_ptr<const lease::QuotaTransaction> transaction) {
    return wait<CommitResult>([&](std::function<void(CommitResult)> done) {
      store.commit("ns", transaction, [done](const CommitResult& result) { done(result); });
    });
  }
  LoadResult load(QuotaStore& store, const std::string& key) {
    return wait<LoadResult>(
        [&](std::function<void(LoadResult)> done) { store.load("ns", key, done); });
  }
  AgentResult agents(QuotaStore& store) {
    return wait<AgentResult>(
        [&](std::function<void(AgentResult)> done) { store.agents("ns", done); });
  }

  boost::asio::io_context io_;
  std::string prefix_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<LossyClient> lossy_;
  std::vector<std::unique_ptr<EtcdQuotaStore>> stores_;
};

// ------------------------------------------------------------------ what both promise

enum class Kind { sqlite, etcd };

class BothStores : public StoreTest, public testing::WithParamInterface<Kind> {
 protected:
  QuotaStore& store() {
    if (GetParam() == Kind::etcd) return open(own());
    SqliteOptions options;
    options.file.path = place_.path();
    options.post = [this](std::function<void()> call) {
      const auto work = boost::asio::make_work_guard(io_);
      boost::asio::post(io_, std::move(call));
    };
    EXPECT_EQ(SqliteStore::open(std::move(options), file_), "");
    return *file_;
  }
  void TearDown() override {
    file_.reset();
    StoreTest::TearDown();
  }
  server::test::Place place_;
  std::unique_ptr<SqliteStore> file_;
};
INSTANTIATE_TEST_SUITE_P(All, BothStores, testing::Values(Kind::sqlite, Kind::etcd),
                         [](const auto& one) {
                           return std::string(one.param == Kind::etcd ? "etcd" : "sqlite");
                         });

TEST_P(BothStores, GiveBackWhatWasStored) {
  QuotaStore& to = store();
  EXPECT_FALSE(load(to, kKey).loaded.has_value());
  const CommitResult result = commit(to, transaction_for(kKey));
  ASSERT_EQ(result.outcome, CommitOutcome::durable) << result.why;

  const LoadResult got = load(to, kKey);
  ASSERT_TRUE(got.loaded.has_value()) << got.why;
  lease::QuotaTransaction stored = transaction_for(kKey);
  stored.record.version = result.version;
  EXPECT_EQ(got.loaded->record, stored.record);
  EXPECT_EQ(got.loaded->holdings, stored.holdings);
  EXPECT_FALSE(load(to, "calls\nnobody").loaded.has_value());
  EXPECT_FALSE(load(to, "calls\nalic").loaded.has_value()) << "what another key begins with";
}

TEST_P(BothStores, ReplaceOnlyTheVersionThatIsNamed) {
  QuotaStore& to = store();
  const std::uint64_t first = commit(to, transaction_for(kKey)).version;
  EXPECT_EQ(commit(to, transaction_for(kKey)).outcome, CommitOutcome::conflict);
  EXPECT_EQ(commit(to, transaction_for(kKey, first + 7)).outcome, CommitOutcome::conflict);
  EXPECT_EQ(commit(to, transaction_for("calls\nbob", 1)).outcome, CommitOutcome::conflict);
  const CommitResult second = commit(to, transaction_for(kKey, first, 4));
  ASSERT_EQ(second.outcome, CommitOutcome::durable);
  EXPECT_GT(second.version, first);

  EXPECT_EQ(load(to, kKey).loaded->holdings.at(0).chunks.at(0).spent, 4);
  lease::QuotaTransaction gone = transaction_for(kKey, second.version);
  gone.record.remaining = 100;
  gone.holdings.clear();
  gone.holdings_gone = {kAgent};
  EXPECT_EQ(commit(to, gone).outcome, CommitOutcome::durable);
  EXPECT_TRUE(load(to, kKey).loaded->holdings.empty());
  EXPECT_TRUE(agents(to).agents.empty());
}

TEST_P(BothStores, PageThroughKeysAndAgents) {
  QuotaStore& to = store();
  for (int i = 0; i < 25; ++i) {
    lease::QuotaTransaction one =
        transaction_for(lease::quota_key(i % 2 == 0 ? "calls" : "tokens", std::to_string(100 + i)));
    one.holdings[0].agent_epoch = i < 20 ? 7 : UINT64_MAX - 1;
    if (i == 24) one.record.state = lease::QuotaState::deleted;
    ASSERT_EQ(commit(to, one).outcome, CommitOutcome::durable);
  }
  QuotaQuery query;
  query.name_space = "ns";
  query.name = "calls";
  query.rows_max = 5;
  std::vector<std::string> seen;
  for (bool more = true; more;) {
    const auto page =
        wait<QuotaPage>([&](std::function<void(QuotaPage)> done) { to.page(query, done); });
    ASSERT_EQ(page.why, "");
    ASSERT_FALSE(page.rows.empty());
    for (const auto& row : page.rows)
      seen.push_back(row.key);
    more = page.more;
    query.after = page.rows.back().key;
  }
  EXPECT_EQ(seen.size(), 12U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));

  AgentResult found = agents(to);
  ASSERT_EQ(found.agents.size(), 2U);
  std::sort(found.agents.begin(), found.agents.end());
  EXPECT_EQ(found.agents[0], (std::pair<std::uint64_t, std::string>{7, "h1"}));
  std::set<std::string> keys;
  std::string after;
  for (bool more = true; more;) {
    const auto page = wait<KeysResult>([&](std::function<void(KeysResult)> done) {
      to.keys_of("ns", UINT64_MAX - 1, after, 3, done);
    });
    ASSERT_EQ(page.why, "");
    keys.insert(page.keys.begin(), page.keys.end());
    more = page.more && !page.keys.empty();
    if (more) after = page.keys.back();
  }
  EXPECT_EQ(keys.size(), 5U);
  query = {};
  query.name_space = "ns";
  query.rows_max = UINT32_MAX;
  const auto huge =
      wait<QuotaPage>([&](std::function<void(QuotaPage)> done) { to.page(query, done); });
  EXPECT_EQ(huge.rows.size(), 24U);
  query.lost_only = true;
  EXPECT_TRUE(wait<QuotaPage>([&](std::function<void(QuotaPage)> done) {
                to.page(query, done);
              }).rows.empty());
}

// ------------------------------------------------------------------ several servers

class EtcdQuotas : public StoreTest {};

TEST_F(EtcdQuotas, AnOwnerThatWasReplacedChangesNothing) {
  EtcdQuotaStore& old = open(own());
  const std::uint64_t version = commit(old, transaction_for(kKey)).version;
  EtcdQuotaStore& next = open(own());

  EXPECT_EQ(commit(old, transaction_for(kKey, version, 5)).outcome, CommitOutcome::failed);
  EXPECT_EQ(commit(old, transaction_for("calls\nnew")).outcome, CommitOutcome::failed);
  EXPECT_EQ(load(next, kKey).loaded->record.consumed, 0);
  EXPECT_FALSE(load(next, "calls\nnew").loaded.has_value());
  EXPECT_EQ(commit(next, transaction_for(kKey, version, 5)).outcome, CommitOutcome::durable);
}

TEST_F(EtcdQuotas, ManyShareATransactionAndOneThatIsOutdatedDoesNotStopTheOthers) {
  EtcdQuotaStore& store = open(own());
  ASSERT_EQ(commit(store, transaction_for("calls\n7")).outcome, CommitOutcome::durable);
  const int before = lossy_->sent;
  std::map<CommitOutcome, int> outcomes;
  for (int i = 0; i < 400; ++i)
    store.commit("ns",
                 std::make_shared<const lease::QuotaTransaction>(
                     transaction_for("calls\n" + std::to_string(i))),
                 [&](const CommitResult& result) { ++outcomes[result.outcome]; });
  EXPECT_TRUE(run_until(
      [&] { return outcomes[CommitOutcome::durable] + outcomes[CommitOutcome::conflict] == 400; }));
  EXPECT_EQ(outcomes[CommitOutcome::conflict], 1);
  EXPECT_LE(lossy_->sent - before, 12) << "42 fit into 128 operations";
  EXPECT_TRUE(load(store, "calls\n399").loaded.has_value());
}

TEST_F(EtcdQuotas, WhatHadNoAnswerIsDoneOnceHoweverOftenItIsSent) {
  EtcdQuotaStore& store = open(own());
  using Fate = LossyClient::Fate;
  for (const Fate fate : {Fate::answer_lost, Fate::never_sent}) {
    const std::string key = fate == Fate::never_sent ? "calls\nlost" : "calls\ndone";
    const auto one = std::make_shared<const lease::QuotaTransaction>(transaction_for(key));
    lossy_->next = [fate] { return fate; };
    EXPECT_EQ(commit(store, one).outcome, CommitOutcome::unknown);
    EXPECT_EQ(commit(store, one).outcome, CommitOutcome::unknown);
    lossy_->next = [] { return Fate::arrives; };
    const CommitResult again = commit(store, one);
    EXPECT_EQ(again.outcome, CommitOutcome::durable) << again.why;
    EXPECT_EQ(again.version, load(store, key).loaded->record.version);
    // Another decision over the same version is another one, though it looks the same.
    EXPECT_EQ(commit(store, *one).outcome, CommitOutcome::conflict);
  }
}

TEST_F(EtcdQuotas, AnUnknownOneOfAnOwnerThatWasReplacedIsSurelyNotDoneLater) {
  EtcdQuotaStore& old = open(own());
  const auto one = std::make_shared<const lease::QuotaTransaction>(transaction_for(kKey));
  lossy_->next = [] { return LossyClient::Fate::never_sent; };
  EXPECT_EQ(commit(old, one).outcome, CommitOutcome::unknown);
  lossy_->next = [] { return LossyClient::Fate::arrives; };
  EtcdQuotaStore& next = open(own());
  EXPECT_EQ(commit(old, one).outcome, CommitOutcome::failed);
  EXPECT_FALSE(load(next, kKey).loaded.has_value());
}

// The index of an agent's keys is put once; who owns the namespace next may have taken it out.
TEST_F(EtcdQuotas, TheIndexIsThereAgainForAnOwnerThatComesBack) {
  Fence fence = own();
  QuotaStoreOptions options;
  options.prefix = prefix_;
  options.fence = [&fence](const std::string&) { return fence; };
  options.post = [this](std::function<void()> call) { boost::asio::post(io_, std::move(call)); };
  EtcdQuotaStore first(*lossy_, std::move(options));
  const std::uint64_t version = commit(first, transaction_for(kKey)).version;
  EtcdQuotaStore& second = open(own());
  lease::QuotaTransaction gone = transaction_for(kKey, version);
  gone.record.remaining = 100;
  gone.holdings.clear();
  gone.holdings_gone = {kAgent};
  const std::uint64_t then = commit(second, gone).version;
  ASSERT_TRUE(agents(second).agents.empty());

  fence = own();
  ASSERT_EQ(commit(first, transaction_for(kKey, then)).outcome, CommitOutcome::durable);
  EXPECT_EQ(agents(first).agents.size(), 1U);
}

TEST_F(EtcdQuotas, DamagedAndNewerRecordsAreRefused) {
  EtcdQuotaStore& store = open(own());
  const std::string key = prefix_ + "/quota/ns/r/" + kKey;
  for (const auto& [value, text] : {std::pair<std::string, const char*>{"nonsense", "damaged"},
                                    {std::string("\x18\x02", 2), "newer"},
                                    {std::string("\x18\x01\x28\x64", 4), "do not balance"},
                                    {std::string("\x18\x01\x48\x63", 4), "damaged"}}) {
    rpc::TxnRequest put;
    add_put(put, key, value);
    txn(put);
    const LoadResult got = load(store, kKey);
    EXPECT_FALSE(got.loaded.has_value());
    EXPECT_NE(got.why.find(text), std::string::npos) << got.why;
  }
}

// The audit log has no room: who decides waits, and nothing is lost.
class FullLog final : public AuditLog {
 public:
  bool offer(std::vector<AuditRow>& rows) override {
    if (full) return false;
    std::move(rows.begin(), rows.end(), std::back_inserter(taken));
    rows.clear();
    return true;
  }
  void on_space(std::function<void()> call) override { calls.push_back(std::move(call)); }
  void page(const AuditQuery&, std::function<void(AuditPage)> done) override { done({}); }
  AuditStats audit_stats() const override { return {}; }
  CleanStats clean_stats() const override { return {}; }
  void tick(std::int64_t) override {}
  void clean_now(std::int64_t, std::function<void(CleanStats)> done) override { done({}); }

  bool full = false;
  std::vector<AuditRow> taken;
  std::vector<std::function<void()>> calls;
};

TEST_F(EtcdQuotas, AFullAuditLogHoldsDecisionsBack) {
  FullLog log;
  log.full = true;
  EtcdQuotaStore& store = open(own(), &log);
  int told = 0;
  for (int i = 0; i < 3; ++i)
    store.commit("ns",
                 std::make_shared<const lease::QuotaTransaction>(
                     transaction_for("calls\n" + std::to_string(i))),
                 [&](const CommitResult& result) {
                   EXPECT_EQ(result.outcome, CommitOutcome::durable);
                   ++told;
                 });
  EXPECT_TRUE(run_until([&] { return log.calls.size() == 1; }));
  EXPECT_EQ(told, 0);
  log.full = false;
  log.calls.at(0)();
  EXPECT_EQ(told, 3);
  EXPECT_EQ(log.taken.size(), 3U);
  EXPECT_EQ(log.taken[0].key, "calls\n0");
  EXPECT_EQ(log.taken[0].event.action, lease::QuotaAction::grant);
}

// ------------------------------------------------------------------ books under faults

// One owner: a book over the store. Hosts ask it, spend, and give back.
struct Owner {
  Owner(EtcdQuotaStore& store, std::int64_t& now_ns)
      : book({}, now_ns), keeper(book, store, "ns", [&now_ns] { return now_ns; }) {
    keeper.start(nullptr);
  }
  lease::QuotaBook book;
  BookKeeper keeper;
};

// Three hosts and one key; owners change, answers are lost, a member of etcd dies. Each host counts
// for itself what it was given.
TEST_F(EtcdQuotas, BooksBalanceWhateverIsLost) {
  EtcdCluster etcd(3);
  lossy_.reset();
  client_.reset();
  connect(etcd);
  std::mt19937 random(7);
  std::int64_t now_ns = 1'000'000'000;
  constexpr lease::Units kTotal = 1'500;
  lossy_->next = [&] {
    const auto roll = random() % 10;
    return roll == 0   ? LossyClient::Fate::answer_lost
           : roll == 1 ? LossyClient::Fate::never_sent
                       : LossyClient::Fate::arrives;
  };
  // Given and not yet given back; a chunk is named by its number, so that none counts twice.
  struct Host {
    std::uint64_t seq = 1;
    std::map<std::uint64_t, lease::Units> chunks, given_back;
    std::uint64_t gen = 0;
    lease::Units spent = 0;
    bool done = false;
  };
  std::map<std::uint64_t, Host> hosts{{1, {}}, {2, {}}, {3, {}}};
  std::unique_ptr<Owner> owner;
  std::uint64_t ticket = 0;
  std::map<std::uint64_t, bool> asked;
  const auto take_over = [&] {
    owner = std::make_unique<Owner>(open(own()), now_ns);
    asked.clear();
    owner->keeper.on_reply = [&](const lease::QuotaReply& reply) {
      Host& host = hosts[reply.agent_epoch];
      asked[reply.agent_epoch] = false;
      for (const std::uint64_t closed : reply.closed)
        host.given_back.erase(closed);
      if (reply.seq != host.seq) return;
      if (reply.outcome == lease::QuotaOutcome::granted ||
          reply.outcome == lease::QuotaOutcome::partial) {
        host.gen = reply.gen;
        host.chunks[host.seq] = reply.granted;
        ++host.seq;
      } else if (reply.outcome == lease::QuotaOutcome::settled) {
        ++host.seq;
      } else if (reply.outcome == lease::QuotaOutcome::exhausted) {
        host.done = true;
      }
    };
  };
  take_over();
  std::optional<lease::QuotaResult> made;
  for (int i = 0; i < 400 && !(made && made->view.found); ++i) {
    if (!made || !made->view.found) {
      made.reset();
      lease::QuotaChange create;
      create.key = kKey;
      create.config.total = kTotal;
      create.change_id = 77;
      owner->keeper.on_result = [&](const lease::QuotaResult& result) { made = result; };
      owner->book.change(++ticket, create, now_ns);
      for (int j = 0; j < 200 && !made; ++j) {
        owner->keeper.pump();
        io_.restart();
        io_.run_for(Ms(5));
        now_ns += 20'000'000;
        owner->book.poll(now_ns);
      }
    }
  }
  ASSERT_TRUE(made && made->view.found);

  int round = 0;
  const auto all_done = [&] {
    for (const auto& [epoch, host] : hosts)
      if (!host.done || !host.chunks.empty() || !host.given_back.empty()) return false;
    return true;
  };
  // All of a chunk but one unit is spent before it is given back.
  const auto spent_of = [](lease::Units granted) { return std::max<lease::Units>(1, granted - 1); };
  const auto step = [&] {
    ++round;
    if (round % 150 == 0) take_over();
    if (round == 220) etcd.member(etcd.leader()).kill9();
    for (auto& [epoch, host] : hosts) {
      if (asked[epoch] && round % 25 != 0) continue;  // asked again now and then
      asked[epoch] = true;
      lease::QuotaAsk ask;
      ask.key = kKey;
      ask.agent_epoch = epoch;
      ask.host = "h" + std::to_string(epoch);
      ask.seq = host.done ? 0 : host.seq;
      ask.need = 7;
      for (const auto& [seq, granted] : std::exchange(host.chunks, {})) {
        host.spent += spent_of(granted);
        host.given_back[seq] = granted;
      }
      for (const auto& [seq, granted] : host.given_back)
        ask.chunks.push_back({seq, host.gen, granted, spent_of(granted), true});
      ask.done_seq = host.given_back.empty() ? host.seq - 1 : host.given_back.begin()->first - 1;
      owner->book.ask(++ticket, std::move(ask), now_ns);
    }
    owner->keeper.pump();
    io_.restart();
    io_.run_for(Ms(2));
    now_ns += 20'000'000;
    owner->book.poll(now_ns);
    owner->keeper.pump();
    return all_done();
  };
  const auto state = [&] {
    std::string text;
    for (const auto& [epoch, host] : hosts)
      text += "\n" + std::to_string(epoch) + ": seq " + std::to_string(host.seq) + ", has " +
              std::to_string(host.chunks.size()) + ", gives back " +
              std::to_string(host.given_back.size()) + ", spent " + std::to_string(host.spent) +
              (host.done ? ", done" : "") + (asked[epoch] ? ", asked" : "");
    return text;
  };
  EXPECT_TRUE(weir::test::eventually(step)) << "round " << round << state();
  EXPECT_GE(round, 220) << "the leader must have been killed";

  lease::Units spent = 0;
  for (const auto& [epoch, host] : hosts)
    spent += host.spent;
  lossy_->next = [] { return LossyClient::Fate::arrives; };
  EXPECT_LE(spent, kTotal);
  lease::QuotaRecord record;
  EXPECT_TRUE(weir::test::eventually([&] {
    const LoadResult got = load(*stores_.back(), kKey);
    if (!got.loaded) return false;
    record = got.loaded->record;
    return true;
  }));
  EXPECT_EQ(record.consumed, spent);
  EXPECT_EQ(record.remaining + record.consumed + record.held() + record.lost, kTotal);
  EXPECT_EQ(record.lost, 0);
}

}  // namespace
}  // namespace weir::server::etcd
