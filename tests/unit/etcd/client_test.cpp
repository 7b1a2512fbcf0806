// The client against etcd itself: what it stores, what it says when credentials are wrong, when a
// member dies, and when all of them are gone.
#include "server/etcd/client.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <optional>

#include "tests/support/etcd.h"

namespace weir::server::etcd {
namespace {

using test::EtcdCluster;
using Ms = Client::Ms;
constexpr Ms kDeadline{2'000};

class EtcdClientTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = test::etcd_missing(); !why.empty()) GTEST_SKIP() << why;
  }

  std::unique_ptr<Client> client(const ClientOptions& options) {
    std::unique_ptr<Client> made;
    EXPECT_EQ(make_client(io_, options, made), "");
    return made;
  }
  std::unique_ptr<Client> client(const EtcdCluster& etcd) {
    ClientOptions options;
    options.endpoints = etcd.endpoints();
    return client(options);
  }

  bool run_until(const std::function<bool()>& done) {
    return test::eventually([&] {
      io_.restart();
      io_.run_for(Ms(20));
      return done();
    });
  }

  struct Answer {
    Status status;
    rpc::TxnResponse response;
  };
  Answer txn(Client& client, const rpc::TxnRequest& request) {
    std::optional<Answer> answer;
    client.txn(request, kDeadline, [&](const Status& status, const rpc::TxnResponse& response) {
      answer = Answer{status, response};
    });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return answer ? *answer : Answer();
  }
  // Not sent twice by the client: a member that died tells nothing about what was done.
  Answer txn_until_ok(Client& client, const rpc::TxnRequest& request) {
    Answer answer;
    test::eventually([&] {
      answer = txn(client, request);
      return answer.status.ok();
    });
    return answer;
  }

  static rpc::TxnRequest put(const std::string& key, const std::string& value) {
    rpc::TxnRequest request;
    add_put(request, key, value);
    return request;
  }

  boost::asio::io_context io_;
};

TEST_F(EtcdClientTest, TransactionsCompareBeforeTheyPut) {
  EtcdCluster etcd(1);
  const auto to = client(etcd);

  rpc::TxnRequest first;
  require_version(first, "a", 0);
  add_put(first, "a", "1");
  const Answer made = txn(*to, first);
  const Answer again = txn(*to, first);
  rpc::TxnRequest second;
  require_created(second, "a", made.response.header().revision());
  require_version(second, "a", 1);
  add_put(second, "a", "2");
  add_get(second, "a");
  const Answer changed = txn(*to, second);

  EXPECT_TRUE(made.status.ok() && made.response.succeeded());
  EXPECT_TRUE(again.status.ok());
  EXPECT_FALSE(again.response.succeeded());
  ASSERT_TRUE(changed.response.succeeded());
  const rpc::KeyValue& kv = changed.response.responses(1).response_range().kvs(0);
  EXPECT_EQ(kv.value(), "2");
  EXPECT_EQ(kv.version(), 2);
}

TEST_F(EtcdClientTest, ALeaseThatIsKeptStaysAndOneThatIsNotTakesItsKeysAlong) {
  EtcdCluster etcd(1);
  const auto to = client(etcd);
  std::int64_t id = 0;
  to->grant(2, kDeadline, [&](const Status& status, std::int64_t lease, std::int64_t ttl_s) {
    EXPECT_TRUE(status.ok()) << status.text;
    EXPECT_EQ(ttl_s, 2);
    id = lease;
  });
  ASSERT_TRUE(run_until([&] { return id != 0; }));
  rpc::TxnRequest owned;
  add_put(owned, "mine", "x", id);
  ASSERT_TRUE(txn(*to, owned).response.succeeded());
  bool deleted = false;
  const auto watch = to->watch(
      "mi", 1,
      [&](const rpc::WatchResponse& response) {
        for (const rpc::Event& event : response.events())
          deleted = deleted || event.type() == rpc::Event::DELETE;
      },
      [](const std::string& why) { ADD_FAILURE() << why; });

  std::int64_t ttl_s = -1;
  to->keep_alive(id, kDeadline, [&](const Status& status, std::int64_t left_s) {
    EXPECT_TRUE(status.ok()) << status.text;
    ttl_s = left_s;
  });
  ASSERT_TRUE(run_until([&] { return ttl_s >= 0; }));
  EXPECT_EQ(ttl_s, 2);
  EXPECT_FALSE(deleted);

  EXPECT_TRUE(run_until([&] { return deleted; }));  // nobody keeps it alive
  ttl_s = -1;
  to->keep_alive(id, kDeadline, [&](const Status& status, std::int64_t left_s) {
    EXPECT_TRUE(status.ok()) << status.text;
    ttl_s = left_s;
  });
  ASSERT_TRUE(run_until([&] { return ttl_s >= 0; }));
  EXPECT_EQ(ttl_s, 0);
}

TEST_F(EtcdClientTest, WatchesTellEveryChangeInOrderAndTheEndOfTheirStream) {
  EtcdCluster etcd(1);
  const auto to = client(etcd);
  std::vector<std::string> seen;
  std::string why;
  const auto watch = to->watch(
      "k/", 1,
      [&](const rpc::WatchResponse& response) {
        for (const rpc::Event& event : response.events())
          seen.push_back(event.kv().value());
      },
      [&](std::string text) { why = std::move(text); });

  for (const char* value : {"1", "2", "3"})
    ASSERT_TRUE(txn(*to, put("k/a", value)).status.ok());
  ASSERT_TRUE(txn(*to, put("l", "no")).status.ok());

  ASSERT_TRUE(run_until([&] { return seen.size() == 3; }));
  EXPECT_EQ(seen, (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(why, "");
  etcd.member(0).kill9();
  EXPECT_TRUE(run_until([&] { return !why.empty(); }));
}

TEST_F(EtcdClientTest, WatchingFromACompactedRevisionEndsAtOnce) {
  EtcdCluster etcd(1);
  const auto to = client(etcd);
  std::int64_t revision = 0;
  for (const char* value : {"1", "2", "3"})
    revision = txn(*to, put("k", value)).response.header().revision();
  int code = -1;
  const std::string said = etcd.ctl("compact " + std::to_string(revision), &code);
  ASSERT_EQ(code, 0) << said;

  std::string lost;
  bool other_lost = false;
  const auto other = to->watch(
      "k", 0, [](const rpc::WatchResponse&) {}, [&](const std::string&) { other_lost = true; });
  const std::string endpoint = to->endpoint();
  const auto watch = to->watch(
      "k", 1, [](const rpc::WatchResponse&) {}, [&](const std::string& why) { lost = why; });

  ASSERT_TRUE(run_until([&] { return !lost.empty(); }));
  EXPECT_NE(lost.find("compacted"), std::string::npos) << lost;
  // That is no fault of the member: it is not left, and other watches go on.
  EXPECT_EQ(to->endpoint(), endpoint);
  ASSERT_TRUE(txn(*to, put("k", "4")).status.ok());
  EXPECT_FALSE(other_lost);
}

TEST_F(EtcdClientTest, AFirstWatchHasAToken) {
  EtcdCluster etcd(1);
  for (const char* command :
       {"user add root:secret", "role add root", "user grant-role root root", "auth enable"})
    etcd.ctl(command);
  ClientOptions options;
  options.endpoints = etcd.endpoints();
  options.user = "root";
  options.password = "secret";
  const auto to = client(options);
  std::string lost;
  bool told = false;

  const auto watch = to->watch(
      "k", 1, [&](const rpc::WatchResponse&) { told = true; },
      [&](const std::string& why) { lost = why; });

  ASSERT_TRUE(txn(*to, put("k", "1")).status.ok());
  EXPECT_TRUE(run_until([&] { return told || !lost.empty(); }));
  EXPECT_EQ(lost, "");
}

// Tokens that are signed name the revision of the users and roles; whatever changes those makes all
// of them old.
TEST_F(EtcdClientTest, ATokenIsRenewedWhenUsersChange) {
  const test::TempDir place;
  const std::string key = place / "key.pem", pub = place / "pub.pem";
  const std::string make = "openssl genrsa -out " + key + " 2048 2>/dev/null && openssl rsa -in " +
                           key + " -pubout -out " + pub + " 2>/dev/null";
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "openssl is not there";
  EtcdCluster etcd(1, {"--auth-token",
                       "jwt,pub-key=" + pub + ",priv-key=" + key + ",sign-method=RS256,ttl=10m"});
  for (const char* command :
       {"user add root:secret", "role add root", "user grant-role root root", "auth enable"})
    etcd.ctl(command);
  ClientOptions options;
  options.endpoints = etcd.endpoints();
  options.user = "root";
  options.password = "secret";
  const auto to = client(options);
  std::int64_t lease = 0;
  to->grant(60, kDeadline, [&](const Status& status, std::int64_t id, std::int64_t) {
    EXPECT_TRUE(status.ok()) << status.text;
    lease = id;
  });
  ASSERT_TRUE(run_until([&] { return lease != 0; }));

  const std::string said = etcd.ctl("--user root:secret user add another:one");

  std::optional<Status> kept;
  to->keep_alive(lease, kDeadline, [&](const Status& status, std::int64_t) { kept = status; });
  ASSERT_TRUE(run_until([&] { return kept.has_value(); }));
  EXPECT_TRUE(kept->ok()) << kept->text << said;
  etcd.ctl("--user root:secret user add third:one");
  const Answer answer = txn(*to, put("a", "1"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.text;
}

TEST_F(EtcdClientTest, WrongCredentialsAreRefusedAndRightOnesAreTaken) {
  EtcdCluster etcd(1);
  for (const char* command :
       {"user add root:secret", "role add root", "user grant-role root root", "auth enable"}) {
    int code = -1;
    const std::string said = etcd.ctl(command, &code);
    ASSERT_EQ(code, 0) << command << ": " << said;
  }
  ClientOptions options;
  options.endpoints = etcd.endpoints();
  const auto nobody = client(options);
  options.user = "root";
  options.password = "wrong";
  const auto wrong = client(options);
  options.password = "secret";
  const auto right = client(options);

  const Answer none = txn(*nobody, put("a", "1"));
  const Answer bad = txn(*wrong, put("a", "1"));
  const Answer good = txn(*right, put("a", "1"));

  EXPECT_EQ(none.status.code, Status::Code::refused) << none.status.text;
  EXPECT_EQ(bad.status.code, Status::Code::refused) << bad.status.text;
  EXPECT_NE(bad.status.text.find("user root"), std::string::npos) << bad.status.text;
  EXPECT_TRUE(good.status.ok()) << good.status.text;
}

// etcd forgets its simple tokens when it restarts; nobody but the client need notice.
TEST_F(EtcdClientTest, ATokenThatIsNotKnownAnyMoreIsReplaced) {
  EtcdCluster etcd(1);
  for (const char* command :
       {"user add root:secret", "role add root", "user grant-role root root", "auth enable"})
    etcd.ctl(command);
  ClientOptions options;
  options.endpoints = etcd.endpoints();
  options.user = "root";
  options.password = "secret";
  const auto to = client(options);
  ASSERT_TRUE(txn(*to, put("a", "1")).status.ok());

  etcd.member(0).kill9();
  etcd.start(0);

  const Answer answer = txn_until_ok(*to, put("a", "2"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.text;
}

TEST_F(EtcdClientTest, AnotherMemberIsAskedWhenOneIsKilled) {
  EtcdCluster etcd(3);
  const auto to = client(etcd);
  ASSERT_TRUE(txn_until_ok(*to, put("a", "1")).status.ok());
  const std::string before = to->endpoint();

  etcd.member(0).kill9();

  EXPECT_EQ(before, etcd.endpoint(0));
  EXPECT_TRUE(txn_until_ok(*to, put("a", "2")).status.ok());
  EXPECT_NE(to->endpoint(), before);
}

// A member that is frozen takes connections and says nothing.
TEST_F(EtcdClientTest, ADeadlineEndsTheWaitForAFrozenMember) {
  EtcdCluster etcd(3);
  const auto to = client(etcd);
  ASSERT_TRUE(txn_until_ok(*to, put("a", "1")).status.ok());
  etcd.member(0).signal(SIGSTOP);

  const Answer frozen = txn(*to, put("a", "2"));
  const Answer other = txn_until_ok(*to, put("a", "3"));

  EXPECT_EQ(frozen.status.code, Status::Code::unknown);
  EXPECT_TRUE(other.status.ok()) << other.status.text;
  etcd.member(0).signal(SIGCONT);
}

TEST_F(EtcdClientTest, WithoutAnyMemberEveryCallEndsUnknownAndTheClientCanGo) {
  EtcdCluster etcd(1);
  auto to = client(etcd);
  ASSERT_TRUE(txn(*to, put("a", "1")).status.ok());
  etcd.member(0).kill9();

  EXPECT_EQ(txn(*to, put("a", "2")).status.code, Status::Code::unknown);
  bool called = false;
  to->txn(put("a", "3"), Ms(60'000),
          [&](const Status&, const rpc::TxnResponse&) { called = true; });
  to.reset();
  io_.restart();
  io_.run_for(Ms(50));

  EXPECT_FALSE(called);
}

TEST(EtcdRequests, ThePrefixEndsBehindItsLastKey) {
  EXPECT_EQ(prefix_end("a/"), "a0");
  EXPECT_EQ(prefix_end(std::string("a\xff")), "b");
  EXPECT_EQ(prefix_end(std::string("\xff")), std::string(1, '\0'));
}

}  // namespace
}  // namespace weir::server::etcd
