// An agent's link finds its server again, whatever became of it, and never keeps its owner waiting.
#include "net/link.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/net/loop.h"

namespace weir::net {
namespace {

struct LinkTest : testing::Test {
  boost::asio::io_context io;
  int opens = 0;
  std::vector<std::string> closes;
  std::vector<std::string> failures;
  std::vector<v1::ToAgent> messages;

  LinkOptions options_for(std::vector<std::string> addresses) {
    LinkOptions options;
    options.addresses = std::move(addresses);
    options.backoff = {1ms, 8ms};
    options.random = [] { return std::uint64_t{1}; };
    options.faults = FaultOptions{};
    return options;
  }
  LinkCallbacks recording() {
    LinkCallbacks callbacks;
    callbacks.on_open = [this] { ++opens; };
    callbacks.on_message = [this](const v1::ToAgent& message) { messages.push_back(message); };
    callbacks.on_closed = [this](const std::string& reason) { closes.push_back(reason); };
    callbacks.on_failed = [this](const std::string& reason) { failures.push_back(reason); };
    return callbacks;
  }
  // A port of this host at which nobody listens.
  std::string nobody() {
    boost::asio::io_context other;
    return TestServer(other).address;
  }
  bool until(const std::function<bool()>& holds) { return run_until(io, holds); }
};

TEST_F(LinkTest, OpensSaysHelloAndHearsTheAnswer) {
  TestServer server(io);
  Link link(io, options_for({server.address}), recording());
  EXPECT_FALSE(link.send(hello_message()));
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));
  EXPECT_EQ(link.stats().address, server.address);
  EXPECT_EQ(link.peer().address, server.address);

  EXPECT_TRUE(link.send(hello_message()));

  ASSERT_TRUE(until([&] { return !messages.empty(); }));
  EXPECT_TRUE(messages.front().has_welcome());
  EXPECT_EQ(link.stats().frames_in_total, 1U);
  EXPECT_EQ(link.stats().frames_out_total, 1U);
}

TEST_F(LinkTest, AConfiguredUnixSocketWorksAsWell) {
  const std::string path = testing::TempDir() + "weir_link_" + std::to_string(::getpid());
  ListenerOptions at;
  at.addresses = {"unix:" + path};
  TestServer server(io, at);
  ASSERT_EQ(server.error, "");
  Link link(io, options_for({"unix:" + path}), recording());
  link.start();

  EXPECT_TRUE(until([&] { return opens == 1; }));
  EXPECT_EQ(link.peer().address, "unix:" + path);
}

TEST_F(LinkTest, GoesThroughTheListUntilOneAnswers) {
  TestServer server(io);
  Link link(io, options_for({nobody(), nobody(), server.address}), recording());
  link.start();

  EXPECT_TRUE(until([&] { return opens == 1; }));
  EXPECT_EQ(failures.size(), 2U);
  EXPECT_EQ(link.stats().failures_total, 2U);
  EXPECT_EQ(link.stats().wait, 0ms);  // no wait inside a round
}

// A proxy whose server is gone takes the connection and ends it.
TEST_F(LinkTest, WhereNobodySpeaksComesLastInTheNextRound) {
  using Tcp = boost::asio::ip::tcp;
  Tcp::acceptor proxy(io, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  std::function<void()> accept = [&] {
    proxy.async_accept([&](const boost::system::error_code& error, Tcp::socket socket) {
      if (error) return;
      socket.close();
      accept();
    });
  };
  accept();
  const std::string alone = "127.0.0.1:" + std::to_string(proxy.local_endpoint().port());
  TestServer server(io);
  Link link(io, options_for({alone, server.address}), recording());
  link.start();

  ASSERT_TRUE(until([&] { return closes.size() == 1; }));
  ASSERT_TRUE(until([&] { return opens == 2; }));
  EXPECT_EQ(link.stats().address, server.address);
}

TEST_F(LinkTest, WaitsLongerAfterEachRoundInVain) {
  Link link(io, options_for({nobody()}), recording());
  std::vector<std::chrono::milliseconds> waits;
  link.start();
  for (std::size_t round = 1; round <= 5; ++round) {
    ASSERT_TRUE(until([&] { return failures.size() == round; }));
    waits.push_back(link.stats().wait);
  }
  // From 1 ms; the bound is 2, 4, 8, 8 ms and the draw is 1 above the least, where there is room.
  EXPECT_EQ(waits, (std::vector<std::chrono::milliseconds>{2ms, 2ms, 2ms, 2ms, 2ms}));
  EXPECT_NE(link.stats().last_error.find("refused"), std::string::npos);
}

TEST_F(LinkTest, ComesBackWhenTheServerDoes) {
  auto server = std::make_unique<TestServer>(io);
  const std::string address = server->address;
  Link link(io, options_for({address}), recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));

  server.reset();
  ASSERT_TRUE(until([&] { return closes.size() == 1 && failures.size() >= 2; }));
  ListenerOptions again;
  again.addresses = {address};
  server = std::make_unique<TestServer>(io, again);

  EXPECT_EQ(server->error, "");
  EXPECT_TRUE(until([&] { return opens == 2; }));
  EXPECT_EQ(link.stats().closes_total, 1U);
}

// N5: connections that break again and again cost no descriptor.
TEST_F(LinkTest, AHundredResetsLeakNothing) {
  TestServer server(io);
  server.recorder.on_any = [](Connection& connection, const v1::ToServer&) {
    connection.close("on a whim");
  };
  LinkCallbacks callbacks = recording();
  Link* self = nullptr;
  callbacks.on_open = [&] {
    ++opens;
    self->send(hello_message());
  };
  Link link(io, options_for({server.address}), callbacks);
  self = &link;
  link.start();
  ASSERT_TRUE(until([&] { return closes.size() == 3; }));
  const std::size_t before = open_descriptors();

  ASSERT_TRUE(until([&] { return closes.size() == 103; }));

  EXPECT_LE(open_descriptors(), before + 2);
}

TEST_F(LinkTest, ARefusalIsTheReasonOfTheEnd) {
  TestServer server(io);
  server.recorder.on_any = [](Connection& connection, const v1::ToServer&) {
    connection.refuse(v1::REFUSED_CREDENTIALS, "the token of namespace default is not this one");
  };
  Link link(io, options_for({server.address}), recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));
  link.send(hello_message());

  ASSERT_TRUE(until([&] { return closes.size() == 1; }));
  EXPECT_EQ(closes[0], "refused by the server: the token of namespace default is not this one");
  EXPECT_NE(link.stats().last_error.find("the token"), std::string::npos);
  EXPECT_TRUE(messages.back().has_refused());
}

// ---- names

TEST_F(LinkTest, AFailingNameServerLeavesTheLastAddressInUse) {
  auto server = std::make_unique<TestServer>(io);
  const std::string port = server->address.substr(server->address.find(':'));
  int asked = 0;
  bool works = true;
  LinkOptions options = options_for({"server.example" + port});
  options.resolve = [&](const std::string& host, const Resolved& done) {
    EXPECT_EQ(host, "server.example");
    ++asked;
    if (works) return done("", {"127.0.0.1"});
    done("temporary failure", {});
  };
  Link link(io, options, recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));

  works = false;
  ASSERT_TRUE(until([&] { return server->recorder.opens == 1; }));
  server->listener.for_each([](Connection& connection) { connection.close("test"); });

  EXPECT_TRUE(until([&] { return opens == 2; }));
  EXPECT_EQ(asked, 2);
  EXPECT_TRUE(failures.empty());
}

TEST_F(LinkTest, ANameServerThatNeverAnswersHoldsNothingUp) {
  TestServer server(io);
  LinkOptions options = options_for({"slow.example:7", server.address});
  options.connect_deadline = 30ms;
  Resolved late;
  options.resolve = [&](const std::string&, Resolved done) { late = std::move(done); };
  auto link = std::make_unique<Link>(io, options, recording());
  link->start();

  EXPECT_TRUE(until([&] { return opens == 1; }));
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_NE(failures[0].find("no answer of the name server"), std::string::npos);
  late("", {"127.0.0.1"});
  link.reset();
  late("", {"127.0.0.1"});  // does nothing
}

TEST_F(LinkTest, TheSystemResolvesLocalhost) {
  TestServer server(io);
  const std::string port = server.address.substr(server.address.find(':'));
  Link link(io, options_for({"localhost" + port}), recording());
  link.start();

  EXPECT_TRUE(until([&] { return opens == 1; }));
}

TEST_F(LinkTest, EveryAddressOfANameIsTried) {
  TestServer server(io);
  const std::string port = server.address.substr(server.address.find(':'));
  LinkOptions options = options_for({"many.example" + port});
  options.resolve = [&](const std::string&, const Resolved& done) {
    done("", {"not an address", "127.0.0.99", "127.0.0.1"});
  };
  Link link(io, options, recording());
  link.start();

  EXPECT_TRUE(until([&] { return opens == 1; }));
  EXPECT_EQ(failures.size(), 1U);
}

// ---- deadlines

TEST_F(LinkTest, APeerThatAcceptsAndIsSilentIsPingedAndLeft) {
  TestServer server(io);
  LinkOptions options = options_for({server.address});
  options.ping_after = 20ms;
  options.pong_deadline = 20ms;
  Link link(io, options, recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));

  run_for(io, 120ms);
  EXPECT_EQ(closes.size(), 0U);  // it answers pings
  EXPECT_GE(link.stats().frames_in_total, 3U);
  EXPECT_TRUE(messages.empty());
}

TEST_F(LinkTest, APeerThatAnswersNoPingIsLeft) {
  ListenerOptions deaf;
  deaf.faults = *parse_faults("drop=1");
  TestServer server(io, deaf);
  LinkOptions options = options_for({server.address});
  options.ping_after = 20ms;
  options.pong_deadline = 20ms;
  Link link(io, options, recording());
  link.start();

  ASSERT_TRUE(until([&] { return closes.size() == 1; }));
  EXPECT_EQ(closes[0], "no answer to a ping within 20 ms");
}

TEST_F(LinkTest, ABackOffIsForgottenOnceALinkHasLasted) {
  TestServer server(io);
  LinkOptions options = options_for({server.address});
  options.random = [] { return std::uint64_t{999}; };
  options.stable_after = 30ms;
  options.backoff = {1ms, 1'000ms};
  Link link(io, options, recording());
  link.start();
  const auto cut = [&] {
    server.listener.for_each([](Connection& connection) { connection.close("test"); });
  };
  for (int i = 1; i <= 4; ++i) {
    ASSERT_TRUE(until([&] { return opens == i && server.recorder.opens == i; }));
    cut();
    ASSERT_TRUE(until([&] { return closes.size() == static_cast<std::size_t>(i); }));
  }
  EXPECT_GT(link.stats().wait, 2ms);
  ASSERT_TRUE(until([&] { return opens == 5 && server.recorder.opens == 5; }));
  run_for(io, 60ms);

  cut();
  ASSERT_TRUE(until([&] { return closes.size() == 5; }));

  EXPECT_LE(link.stats().wait, 2ms);
}

TEST_F(LinkTest, WhatWaitsForTheServerIsBounded) {
  // A server that accepts and never reads.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof(in)), 0);
  ASSERT_EQ(::listen(fd, 4), 0);
  socklen_t size = sizeof(in);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
  LinkOptions options = options_for({"127.0.0.1:" + std::to_string(ntohs(in.sin_port))});
  options.queue_bytes_max = 100'000;
  Link link(io, options, recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));
  v1::ToServer message = hello_message();
  message.mutable_hello()->set_token(std::string(50'000, 'x'));

  while (link.send(message)) {
    io.restart();
    io.poll();
  }

  ASSERT_TRUE(until([&] { return closes.size() == 1; }));
  EXPECT_NE(closes[0].find("takes too little"), std::string::npos);
  ::close(fd);
}

TEST_F(LinkTest, AServerThatSendsNonsenseIsLeft) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof(in)), 0);
  ASSERT_EQ(::listen(fd, 4), 0);
  socklen_t size = sizeof(in);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
  v1::ToAgent bad;
  bad.mutable_answer()->add_limit(1);
  const std::vector<std::pair<std::string, std::string>> table = {
      {"HTTP/1.1 400 Bad Request\r\n\r\n", "1347703880 bytes was announced"},
      {frame_of(bad), "answer: rate has 0 rows"},
      {std::string("\x01\x00\x00\x00\x0b", 5), "cannot be read"},
  };
  Link link(io, options_for({"127.0.0.1:" + std::to_string(ntohs(in.sin_port))}), recording());
  link.start();
  for (const auto& [bytes, part] : table) {
    int peer = -1;
    ASSERT_TRUE(until([&] { return (peer = ::accept(fd, nullptr, nullptr)) >= 0; }));
    ASSERT_GT(::send(peer, bytes.data(), bytes.size(), 0), 0);
    const std::size_t before = closes.size();
    ASSERT_TRUE(until([&] { return closes.size() == before + 1; }));
    EXPECT_NE(closes.back().find(part), std::string::npos) << closes.back();
    ::close(peer);
  }
  ::close(fd);
}

// ---- redirects

TEST_F(LinkTest, GoesWhereItIsSent) {
  TestServer first(io);
  TestServer second(io);
  LinkCallbacks callbacks = recording();
  Link link(io, options_for({first.address}), callbacks);
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));

  EXPECT_TRUE(link.redirect({"unix:/tmp/x", "rubbish", second.address}, "not the owner"));

  ASSERT_TRUE(until([&] { return opens == 2; }));
  ASSERT_EQ(closes.size(), 1U);
  EXPECT_EQ(closes[0], "redirected to " + second.address + ": not the owner");
  EXPECT_EQ(link.stats().address, second.address);
  EXPECT_EQ(link.stats().wait, 0ms);
  EXPECT_TRUE(until([&] { return first.recorder.closes == 1; }));
}

TEST_F(LinkTest, ARedirectToNowhereGoesBackToTheList) {
  TestServer server(io);
  Link link(io, options_for({server.address}), recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));

  EXPECT_FALSE(link.redirect({"unix:/run/x", "", "[::1]", ":80", "host:0"}, ""));
  EXPECT_TRUE(link.is_open());
  EXPECT_TRUE(link.redirect({nobody()}, ""));

  EXPECT_TRUE(until([&] { return opens == 2; }));
  EXPECT_EQ(link.stats().address, server.address);
}

TEST_F(LinkTest, TwoServersThatPointAtEachOtherAreNotAskedInALoop) {
  TestServer first(io);
  TestServer second(io);
  LinkOptions options = options_for({first.address});
  options.backoff = {40ms, 80ms};
  Link* self = nullptr;
  LinkCallbacks callbacks = recording();
  callbacks.on_open = [&] {
    ++opens;
    const bool at_first = self->stats().address == first.address;
    self->redirect({at_first ? second.address : first.address}, "");
  };
  Link link(io, options, callbacks);
  self = &link;
  link.start();

  run_for(io, 100ms);

  EXPECT_GE(opens, 4);
  EXPECT_LE(opens, 4 + 3);
}

// ---- the end

TEST_F(LinkTest, MayBeDestroyedInsideAnyCallback) {
  TestServer server(io);
  for (const int when : {0, 1, 2, 3}) {
    std::unique_ptr<Link> link;
    LinkCallbacks callbacks;
    callbacks.on_open = [&] {
      if (when == 0) return link.reset();
      link->send(hello_message());
    };
    callbacks.on_message = [&](const v1::ToAgent&) {
      if (when == 1) return link.reset();
      link->reconnect("test");
    };
    callbacks.on_closed = [&](const std::string&) {
      if (when == 2) link.reset();
    };
    callbacks.on_failed = [&](const std::string&) {
      if (when == 3) link.reset();
    };
    link = std::make_unique<Link>(
        io, options_for({when == 3 ? nobody() : server.address, server.address}), callbacks);
    link->start();
    EXPECT_TRUE(until([&] { return !link; })) << when;
  }
  run_for(io, 20ms);
  EXPECT_EQ(server.listener.stats().connections, 0U);
}

TEST_F(LinkTest, DestroyedInAnyStateNothingIsCalledAfterwards) {
  TestServer server(io);
  for (int turns = 0; turns < 12; ++turns) {
    auto link = std::make_unique<Link>(io, options_for({server.address}), recording());
    link->start();
    for (int i = 0; i < turns; ++i) {
      io.restart();
      io.run_one_for(1ms);
    }
    link.reset();
    const int before = opens;
    run_for(io, 5ms);
    EXPECT_EQ(opens, before);
    EXPECT_TRUE(closes.empty());
  }
}

TEST_F(LinkTest, WhatWasSentBeforeTheEndArrives) {
  TestServer server(io);
  Link link(io, options_for({server.address}), recording());
  link.start();
  ASSERT_TRUE(until([&] { return opens == 1; }));
  link.send(hello_message());
  link.send(ack_message(9));
  link.close();

  EXPECT_FALSE(link.send(ack_message(10)));
  EXPECT_TRUE(until([&] { return server.recorder.closes == 1; }));
  EXPECT_EQ(server.recorder.acks, (std::vector<std::uint64_t>{9}));
  EXPECT_TRUE(closes.empty());
  link.start();
  EXPECT_TRUE(until([&] { return opens == 2; }));
}

TEST_F(LinkTest, ALoopThatIsGoneFirstTakesEverythingWithIt) {
  auto own = std::make_unique<boost::asio::io_context>();
  auto server = std::make_unique<TestServer>(*own);
  auto link = std::make_unique<Link>(*own, options_for({server->address}), recording());
  link->start();
  ASSERT_TRUE(run_until(*own, [&] { return opens == 1; }));
  link.reset();
  server.reset();
  own.reset();
}

// ---- the seam, end to end

// N2, N3: lost, doubled, late and reordered answers, and connections that are cut: every message
// that arrives is whole, and the link comes back each time.
TEST_F(LinkTest, LivesThroughABadNetwork) {
  ListenerOptions bad;
  bad.faults = *parse_faults("drop=0.1,double=0.1,reorder=0.1,delay=0ms..2ms,cut=0.01,seed=11");
  bad.frames_per_s = 100'000;
  bad.frames_burst = 100'000;
  TestServer server(io, bad);
  LinkOptions options = options_for({server.address});
  options.faults = *parse_faults("drop=0.1,double=0.1,reorder=0.1,delay=0ms..2ms,seed=12");
  LinkCallbacks callbacks = recording();
  Link* self = nullptr;
  std::uint64_t seq = 0;
  callbacks.on_open = [&] {
    ++opens;
    self->send(hello_message());
    for (int i = 0; i < 40; ++i)
      self->send(ack_message(++seq));
  };
  Link link(io, options, callbacks);
  self = &link;
  link.start();

  EXPECT_TRUE(until([&] {
    return opens >= 20 || (link.is_open() && opens < 20 && [&] {
             for (int i = 0; i < 5; ++i)
               link.send(ack_message(++seq));
             return false;
           }());
  }));

  const auto& acks = server.recorder.acks;
  EXPECT_LT(acks.size(), seq);
  EXPECT_FALSE(std::is_sorted(acks.begin(), acks.end()));
  EXPECT_EQ(server.listener.stats().malformed_total, 0U);
  EXPECT_GE(closes.size(), 19U);
}

TEST_F(LinkTest, TheSameSeedLosesTheSameMessages) {
  std::vector<std::vector<std::uint64_t>> runs;
  for (int run = 0; run < 2; ++run) {
    ListenerOptions bad;
    bad.faults = *parse_faults("in.drop=0.3,in.double=0.2,in.reorder=0.2,seed=5");
    TestServer server(io, bad);
    opens = 0;
    Link link(io, options_for({server.address}), recording());
    link.start();
    ASSERT_TRUE(until([&] { return opens == 1; }));
    for (std::uint64_t i = 1; i <= 100; ++i)
      link.send(ack_message(i));
    run_for(io, 80ms);
    runs.push_back(server.recorder.acks);
  }
  EXPECT_FALSE(runs[0].empty());
  EXPECT_EQ(runs[0], runs[1]);
}

}  // namespace
}  // namespace weir::net
