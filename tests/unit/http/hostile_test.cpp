// Peers that are slow, greedy or lying. Each gets a proper answer or none, and nobody else
// notices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "daemon/http/server.h"
#include "tests/unit/http/client.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;
using namespace weir::testing;
using std::chrono::steady_clock;

// One request on a connection of its own; the status, after which the connection must end.
unsigned rejected(Server& server, const std::string& request) {
  Client client(server);
  client.send(request);
  return status_of(client.read_to_end());
}

TEST(HostileHttp, BytesThatAreNoRequestAreRefused) {
  Server server(echo);

  EXPECT_EQ(rejected(server, "\x16\x03\x01\x02\x00\x01 TLS, perhaps\r\n\r\n"), 400U);
  EXPECT_EQ(rejected(server, "GET\r\n\r\n"), 400U);
  EXPECT_EQ(rejected(server, "GET / FTP/1.1\r\nHost: localhost\r\n\r\n"), 505U);
  EXPECT_EQ(rejected(server, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"), 505U);
  EXPECT_EQ(rejected(server, get("/", "No colon here\r\n")), 400U);
  EXPECT_EQ(rejected(server, get("http://localhost/")), 400U);
  EXPECT_EQ(rejected(server, "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400U);
  EXPECT_EQ(rejected(server, get("/", "Expect: a miracle\r\n")), 417U);
  EXPECT_EQ(server.http->stats().requests_total, 0U);
}

// Two readings of one length let a request hide inside another.
TEST(HostileHttp, AmbiguousLengthsAreRefused) {
  Server server(echo);
  const std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\n";

  EXPECT_EQ(rejected(server, head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400U);
  EXPECT_EQ(rejected(server, head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    "0\r\n\r\n"),
            400U);
  EXPECT_EQ(rejected(server, head + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
                                    "0\r\n\r\n"),
            400U);
  EXPECT_EQ(rejected(server, head + "Content-Length: -1\r\n\r\n"), 400U);
  EXPECT_EQ(rejected(server, head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"), 400U);
}

TEST(HostileHttp, TheHostMustBeOneAndOurs) {
  Server server(echo);
  const auto host = [](const std::string& lines) { return "GET / HTTP/1.1\r\n" + lines + "\r\n"; };

  EXPECT_EQ(rejected(server, host("")), 400U);
  EXPECT_EQ(rejected(server, host("Host: localhost\r\nHost: localhost\r\n")), 400U);
  EXPECT_EQ(rejected(server, host("Host: rebound.example\r\n")), 421U);
  EXPECT_EQ(rejected(server, "GET / HTTP/1.0\r\nHost: rebound.example\r\n\r\n"), 421U);
  Client client(server);
  EXPECT_EQ(status_of(client.ask(host("Host: LocalHost:80\r\n"))), 200U);
}

TEST(HostileHttp, TooMuchIsRefusedBeforeItIsHeld) {
  Server server(echo, {.header_bytes_max = 1'000, .body_bytes_max = 100});
  const std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\n";

  EXPECT_EQ(rejected(server, get("/" + std::string(2'000, 'x'))), 431U);
  EXPECT_EQ(rejected(server, get("/", "X: " + std::string(2'000, 'x') + "\r\n")), 431U);
  EXPECT_EQ(rejected(server, std::string(100'000, 'G')), 431U);
  EXPECT_EQ(rejected(server, head + "Content-Length: 101\r\n\r\n" + std::string(101, 'x')), 413U);
  EXPECT_EQ(rejected(server, head + "Content-Length: 99999999999\r\n\r\n"), 413U);
  EXPECT_EQ(rejected(server, head + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" +
                                 std::string(65'535, 'x')),
            413U);
  EXPECT_EQ(server.http->stats().rejected_total, 6U);
}

// Slow loris: each byte comes in time, the request never does.
void expect_408_while_trickling(Server& server, const std::string& begin) {
  Client client(server);
  client.send(begin);
  ASSERT_TRUE(server.run_until([&] {
    client.send("x");
    server.io.poll();
    return client.read_now();
  }));
  EXPECT_EQ(status_of(client.read_to_end()), 408U);
  EXPECT_EQ(server.http->stats().timeouts_total, 1U);
}

TEST(HostileHttp, AHeaderThatTricklesInHasOneDeadline) {
  Server server(echo, {.header_bytes_max = 1U << 20, .header_timeout = 50ms});
  expect_408_while_trickling(server, "GET /");
}

TEST(HostileHttp, ABodyThatTricklesInHasOneDeadline) {
  Server server(echo, {.body_bytes_max = 1U << 20, .body_timeout = 50ms});
  expect_408_while_trickling(
      server, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n");
}

// So fast that a read is always just complete when the deadline comes. There may be no answer,
// but there is an end.
TEST(HostileHttp, AHeaderThatNeverEndsIsCutOff) {
  Server server(echo, {.header_bytes_max = 1U << 20, .header_timeout = 20ms});
  Client client(server);
  client.send("GET /");

  EXPECT_TRUE(server.run_until([&] { return !client.send("x") || client.read_now(); }));
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

TEST(HostileHttp, ASilentPeerIsClosedWithoutAnAnswer) {
  Server server(echo, {.header_timeout = 300ms, .idle_timeout = 300ms});
  Client silent(server);
  Client idle(server);

  EXPECT_EQ(status_of(idle.ask(get("/"))), 200U);

  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

TEST(HostileHttp, AnAnswerThatNobodyReadsIsGivenUp) {
  const std::string page(50'000'000, 'x');
  Server server([&](const HttpRequest&) { return text_response(200, page); },
                {.write_timeout = 20ms});
  Client client(server);

  client.send(get("/"));

  EXPECT_TRUE(server.run_until([&] { return server.http->stats().timeouts_total == 1; }));
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

// The answer says "close", and the peer just keeps sending.
TEST(HostileHttp, APeerThatSendsOnAfterTheEndIsCutOff) {
  Server server(echo);
  Client client(server);

  client.send("nonsense\r\n\r\n");
  std::uint64_t sent = 0;
  const std::string more(10'000, 'x');
  while (sent < 100'000'000 && client.send(more)) {
    sent += more.size();
    server.io.poll();
  }

  EXPECT_LT(sent, 100'000'000U);
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

TEST(HostileHttp, ConnectionsBeyondTheLimitAreTurnedAway) {
  Server server(echo, {.connections_max = 3});
  std::vector<std::unique_ptr<Client>> held;
  for (int i = 0; i < 3; ++i)
    held.push_back(std::make_unique<Client>(server));
  ASSERT_TRUE(server.run_until([&] { return server.http->stats().connections == 3; }));

  Client refused(server);
  EXPECT_EQ(status_of(refused.read_to_end()), 503U);
  EXPECT_EQ(status_of(held[0]->ask(get("/"))), 200U);

  held.pop_back();
  ASSERT_TRUE(server.run_until([&] { return server.http->stats().connections == 2; }));
  Client welcome(server);
  EXPECT_EQ(status_of(welcome.ask(get("/"))), 200U);
  EXPECT_EQ(server.http->stats().connections_refused_total, 1U);
}

// Without descriptors accept() fails at once, again and again: the server must pause, serve those
// it has, and recover by itself.
TEST(HostileHttp, WithoutDescriptorsAcceptPauses) {
  Server server(echo, {.accept_pause = 20ms});
  Client before(server);
  EXPECT_EQ(status_of(before.ask(get("/"))), 200U);
  Client waiting(server);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const shm::Fd next_free(::dup(waiting.fd()));
  const rlimit none{.rlim_cur = static_cast<rlim_t>(next_free.get()), .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);

  const auto begin = steady_clock::now();
  const bool paused =
      server.run_until([&] { return server.http->stats().accept_pauses_total == 4; });
  const auto took = steady_clock::now() - begin;
  const unsigned meanwhile = status_of(before.ask(get("/")));
  ::setrlimit(RLIMIT_NOFILE, &old);

  EXPECT_TRUE(paused);
  EXPECT_GE(took, 60ms);
  EXPECT_EQ(meanwhile, 200U);
  EXPECT_EQ(status_of(waiting.ask(get("/"))), 200U);
}

TEST(HostileHttp, APeerThatLeavesInTheMiddleIsForgotten) {
  Server server(echo);
  for (const char* begin : {"", "G", "GET / HTTP/1.1\r\n",
                            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"}) {
    Client client(server);
    client.send(begin);
    client.finish_sending();
    EXPECT_EQ(client.read_to_end(), "") << begin;
  }
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

// Damaged requests from one seed: whatever they say, the next good request is answered.
TEST(HostileHttp, DamagedRequestsHarmNobody) {
  Server server(echo);
  std::mt19937 random(1);
  const std::string good =
      "POST /a?b=c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\n\r\n";
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    for (int change = 0; change < 3; ++change) {
      bad[random() % bad.size()] = static_cast<char>(random() % 256);
    }
    Client client(server);
    client.send(bad);
    client.finish_sending();
    client.read_to_end();
  }

  Client client(server);
  EXPECT_EQ(body_of(client.ask(good)), "POST /a abc\n");
}

}  // namespace
}  // namespace weir
