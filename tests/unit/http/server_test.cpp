#include "daemon/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "tests/unit/http/client.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace weir::testing;

TEST(HttpServer, AnswersAGet) {
  Server server(echo);
  Client client(server);

  const std::string answer = client.ask(get("/metrics?x=1"));

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nDate: "));
  EXPECT_EQ(body_of(answer), "GET /metrics \n");
  EXPECT_EQ(server.http->stats().requests_total, 1U);
}

TEST(HttpServer, TheHandlerSeesTheWholeRequest) {
  HttpRequest seen;
  Server server([&](const HttpRequest& request) {
    seen = request;
    return text_response(200, "ok");
  });
  Client client(server);

  client.ask(
      "POST /rules?dry_run=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-Token: a b\r\n"
      "Content-Length: 3\r\n\r\nabc");

  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.path, "/rules");
  EXPECT_EQ(seen.query, "dry_run=1");
  EXPECT_EQ(seen.header("x-token"), "a b");
  EXPECT_EQ(seen.body, "abc");
  EXPECT_THAT(seen.peer, StartsWith("127.0.0.1:"));
  EXPECT_FALSE(seen.head);
}

TEST(HttpServer, AHeadRequestGetsTheHeadersOfTheGet) {
  Server server(echo);
  Client client(server);

  client.send("HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string head = client.read_answer(true);
  const std::string next = client.ask(get("/y"));

  EXPECT_THAT(head, HasSubstr("Content-Length: 8\r\n"));
  EXPECT_EQ(body_of(head), "");
  EXPECT_EQ(body_of(next), "GET /y \n");
}

TEST(HttpServer, UnknownPathsAre404AndOtherMethods405) {
  HttpRoutes routes;
  routes.add("GET", "/metrics", echo);
  Server server(routes);
  Client client(server);

  EXPECT_EQ(status_of(client.ask(get("/metrics"))), 200U);
  EXPECT_EQ(status_of(client.ask(get("/other"))), 404U);
  for (const char* method : {"DELETE", "OPTIONS", "BREW"}) {
    const std::string answer =
        client.ask(std::string(method) + " /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(answer), 405U) << method;
    EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n"));
  }
}

TEST(HttpServer, AConnectionServesManyRequests) {
  Server server(echo);
  Client client(server);

  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(status_of(client.ask(get("/"))), 200U);

  EXPECT_EQ(server.http->stats().connections_total, 1U);
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  Server server(echo);
  Client client(server);
  std::string burst;
  for (int i = 0; i < 500; ++i)
    burst += get("/" + std::to_string(i));

  client.send(burst);

  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(body_of(client.read_answer()), "GET /" + std::to_string(i) + " \n");
  }
}

TEST(HttpServer, ClosesWhenThePeerAsksAndForOldPeers) {
  Server server(echo);
  Client asks(server);
  Client old(server);
  Client old_but_patient(server);

  asks.send(get("/", "Connection: close\r\n"));
  old.send("GET / HTTP/1.0\r\n\r\n");

  EXPECT_THAT(asks.read_to_end(), HasSubstr("Connection: close\r\n"));
  EXPECT_EQ(status_of(old.read_to_end()), 200U);
  EXPECT_THAT(old_but_patient.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
              HasSubstr("Connection: keep-alive\r\n"));
}

TEST(HttpServer, ReadsBodiesInChunksAndAfterAContinue) {
  Server server(echo);
  Client chunked(server);
  Client careful(server);

  const std::string head = "POST /p HTTP/1.1\r\nHost: localhost\r\n";
  EXPECT_EQ(body_of(chunked.ask(head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n"
                                       "0\r\n\r\n")),
            "POST /p abc\n");
  EXPECT_EQ(careful.ask(head + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(body_of(careful.ask("xyz")), "POST /p xyz\n");
}

TEST(HttpServer, AHandlerThatThrowsIsAnInternalError) {
  Server server([](const HttpRequest&) -> HttpResponse { throw std::runtime_error("secret"); });
  Client client(server);

  client.send(get("/"));
  const std::string answer = client.read_to_end();

  EXPECT_EQ(status_of(answer), 500U);
  EXPECT_THAT(answer, Not(HasSubstr("secret")));
}

TEST(HttpServer, AHandlersHeadersCannotBreakTheFrame) {
  Server server([](const HttpRequest&) {
    HttpResponse response = text_response(9'999, "body");
    response.headers = {{"X-Good", "yes"},          {"X-Bad", "a\r\nX-Forged: 1"},
                        {"X Bad", "name"},          {"", "empty"},
                        {"content-length", "1000"}, {"Transfer-Encoding", "chunked"}};
    return response;
  });
  Client client(server);

  const std::string answer = client.ask(get("/"));

  EXPECT_EQ(status_of(answer), 500U);
  EXPECT_THAT(answer, HasSubstr("X-Good: yes\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Forged")));
  EXPECT_THAT(answer, Not(HasSubstr("name")));
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
  EXPECT_EQ(body_of(answer), "body\n");
}

TEST(HttpServer, AnswersWithoutContentHaveNoLength) {
  Server server([](const HttpRequest&) { return HttpResponse{.status = 204, .body = "no"}; });
  Client client(server);

  const std::string answer = client.ask(get("/"));

  EXPECT_EQ(status_of(answer), 204U);
  EXPECT_THAT(answer, Not(HasSubstr("Content-Length")));
  EXPECT_EQ(body_of(answer), "");
}

TEST(HttpServer, ALargePageArrivesWhole) {
  const std::string page(5'000'000, 'x');
  Server server([&](const HttpRequest&) { return text_response(200, page); });
  Client client(server);

  EXPECT_EQ(body_of(client.ask(get("/"))), page + "\n");
}

TEST(HttpServer, SaysWhyItCannotListen) {
  Server server(echo);
  boost::asio::io_context io;
  HttpServer bad_address(io, {.address = "localhost"}, echo);
  HttpServer not_ours(io, {.address = "192.0.2.1"}, echo);
  HttpServer taken(io, {.port = server.http->bound_port()}, echo);

  EXPECT_THAT(bad_address.start(), HasSubstr("not a literal IPv4 or IPv6 address"));
  EXPECT_THAT(not_ours.start(), HasSubstr("192.0.2.1"));
  EXPECT_THAT(taken.start(), HasSubstr("Address already in use"));
  EXPECT_EQ(taken.bound_port(), 0U);
}

TEST(HttpServer, ListensOnIpv6) {
  boost::asio::io_context io;
  HttpServer server(io, {.address = "::1"}, echo);
  const std::string error = server.start();
  if (!error.empty()) GTEST_SKIP() << error;

  EXPECT_EQ(server.bound_address(), "[::1]:" + std::to_string(server.bound_port()));
}

TEST(HttpServer, AHandlerMayStopTheServer) {
  Server* running = nullptr;
  Server server([&](const HttpRequest&) {
    running->http->stop();
    return text_response(200, "bye");
  });
  running = &server;
  Client client(server);

  client.send(get("/"));

  EXPECT_EQ(client.read_to_end(), "");
}

// The io_context outlives the server and runs on: nothing of it may be called or touched.
TEST(HttpServer, MayBeDestroyedWithConnectionsInEveryState) {
  int calls = 0;
  Server server([&](const HttpRequest& request) {
    ++calls;
    return echo(request);
  });
  Client idle(server);
  Client half(server);
  Client ready(server);
  idle.ask(get("/"));
  half.send("GET / HT");
  ASSERT_TRUE(server.run_until([&] { return server.http->stats().connections == 3; }));
  ready.send(get("/"));

  server.http.reset();

  EXPECT_EQ(ready.read_to_end(), "");
  EXPECT_EQ(half.read_to_end(), "");
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace weir
