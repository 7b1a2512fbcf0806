// Handlers that answer later.
#include <gtest/gtest.h>

#include "tests/unit/http/client.h"

namespace weir::testing {
namespace {

using std::chrono::milliseconds;

class AsyncServer : public Server {
 public:
  explicit AsyncServer(HttpOptions options = {})
      : Server([](const HttpRequest&) { return HttpResponse{}; }) {
    http = std::make_unique<HttpServer>(
        io, std::move(options),
        HttpAsyncHandler([this](const HttpRequest& request, HttpRespond respond) {
          paths.push_back(request.path);
          waiting.push_back(std::move(respond));
        }));
    EXPECT_EQ(http->start(), "");
  }

  std::vector<std::string> paths;
  std::vector<HttpRespond> waiting;
};

const char kGet[] = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
const char kLast[] = "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

TEST(HttpAsync, AnAnswerMayComeLater) {
  AsyncServer server;
  Client client(server);
  ASSERT_TRUE(client.send(kLast));
  ASSERT_TRUE(server.run_until([&] { return server.waiting.size() == 1; }));

  server.waiting[0](text_response(200, "late"));
  server.waiting.clear();

  EXPECT_NE(client.read_to_end().find("late"), std::string::npos);
}

TEST(HttpAsync, ASecondAnswerCountsForNothing) {
  AsyncServer server;
  Client client(server);
  ASSERT_TRUE(client.send(kGet));
  ASSERT_TRUE(server.run_until([&] { return server.waiting.size() == 1; }));
  server.waiting[0](text_response(200, "first"));
  server.waiting[0](text_response(200, "second"));
  ASSERT_TRUE(client.send(kLast));
  ASSERT_TRUE(server.run_until([&] { return server.waiting.size() == 2; }));
  server.waiting[0](text_response(200, "third"));

  server.waiting[1](text_response(200, "fourth"));
  server.waiting.clear();

  const std::string all = client.read_to_end();
  EXPECT_NE(all.find("first"), std::string::npos);
  EXPECT_NE(all.find("fourth"), std::string::npos);
  EXPECT_EQ(all.find("second"), std::string::npos);
  EXPECT_EQ(all.find("third"), std::string::npos);
}

TEST(HttpAsync, NoAnswerInTimeIsOneOfItsOwn) {
  HttpOptions options;
  options.handler_timeout = milliseconds(20);
  AsyncServer server(options);
  Client client(server);
  ASSERT_TRUE(client.send(kGet));

  EXPECT_NE(client.read_to_end().find("503"), std::string::npos);

  ASSERT_EQ(server.waiting.size(), 1U);
  server.waiting[0](text_response(200, "too late"));
  EXPECT_EQ(server.http->stats().timeouts_total, 1U);
}

TEST(HttpAsync, AnAnswerThatNobodyWillGiveClosesTheConnection) {
  AsyncServer server;
  Client client(server);
  ASSERT_TRUE(client.send(kGet));
  ASSERT_TRUE(server.run_until([&] { return server.waiting.size() == 1; }));

  server.waiting.clear();

  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

TEST(HttpAsync, AnAnswerAfterTheEndOfTheServerIsHarmless) {
  AsyncServer server;
  Client client(server);
  ASSERT_TRUE(client.send(kGet));
  ASSERT_TRUE(server.run_until([&] { return server.waiting.size() == 1; }));

  server.http.reset();
  server.waiting[0](text_response(200, "late"));

  EXPECT_EQ(client.read_to_end(), "");
}

}  // namespace
}  // namespace weir::testing
