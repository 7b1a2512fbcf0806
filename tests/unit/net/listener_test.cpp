// A server's port is open to anybody who can reach it. Each bound is tried by a client that breaks
// it, and each time the others are served as before.
#include "net/listener.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/net/loop.h"

namespace weir::net {
namespace {

struct ListenerTest : testing::Test {
  boost::asio::io_context io;

  // Sends a hello and waits for the welcome.
  void greet(RawPeer& peer) {
    peer.send(frame_of(hello_message()));
    ASSERT_TRUE(run_until(io, [&] { return peer.ended() || !peer.received.empty(); }));
    ASSERT_FALSE(peer.received.empty());
    ASSERT_TRUE(peer.received.front().has_welcome());
  }
  bool ends(RawPeer& peer) {
    return run_until(io, [&] { return peer.ended(); });
  }
};

TEST_F(ListenerTest, AnswersAHelloAndTellsOfTheEnd) {
  TestServer server(io);
  ASSERT_EQ(server.error, "");
  RawPeer peer(server.address);

  greet(peer);
  EXPECT_TRUE(server.recorder.last->hello_accepted());
  EXPECT_TRUE(server.recorder.last->peer().address.starts_with("127.0.0.1:"));
  peer.close();

  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_EQ(server.recorder.reason, "the peer closed the connection");
  EXPECT_EQ(server.listener.stats().connections, 0U);
}

TEST_F(ListenerTest, PutsTogetherWhatComesByteByByte) {
  TestServer server(io);
  RawPeer peer(server.address);
  const std::string bytes =
      frame_of(hello_message()) + frame_of(ack_message(1)) + frame_of(ack_message(2));

  for (const char byte : bytes) {
    peer.send({&byte, 1});
    io.restart();
    io.poll();
  }

  EXPECT_TRUE(run_until(io, [&] { return server.recorder.acks.size() == 2; }));
  EXPECT_EQ(server.recorder.messages, 3);
}

TEST_F(ListenerTest, AnswersOfOneTurnGoOutInOneWrite) {
  TestServer server(io);
  RawPeer peer(server.address);
  greet(peer);
  server.recorder.on_any = [](Connection& connection, const v1::ToServer&) {
    v1::ToAgent poke;
    poke.mutable_poke()->set_session(1);
    for (int i = 0; i < 3; ++i)
      connection.send(poke);
  };

  peer.send(frame_of(ack_message(1)) + frame_of(ack_message(2)));

  EXPECT_TRUE(run_until(io, [&] { return peer.ended() || peer.received.size() == 7; }));
}

TEST_F(ListenerTest, AnswersAPingItself) {
  TestServer server(io);
  RawPeer peer(server.address);
  greet(peer);
  v1::ToServer ping;
  ping.mutable_ping()->set_no(42);

  peer.send(frame_of(ping));

  ASSERT_TRUE(run_until(io, [&] { return peer.ended() || peer.received.size() == 2; }));
  EXPECT_EQ(peer.received.back().pong().no(), 42U);
  EXPECT_EQ(server.recorder.messages, 1);
}

// ---- lengths

TEST_F(ListenerTest, ALengthOfFourGigabytesCostsTheLiarItsConnection) {
  TestServer server(io);
  RawPeer peer(server.address);

  peer.send(std::string("\xff\xff\xff\xff", 4));

  EXPECT_TRUE(ends(peer));
  EXPECT_NE(peer.refusal().find("4294967295 bytes"), std::string::npos) << peer.refusal();
  EXPECT_EQ(server.listener.stats().malformed_total, 1U);
}

TEST_F(ListenerTest, AStrangersFrameIsSmall) {
  TestServer server(io);
  RawPeer stranger(server.address);
  RawPeer known(server.address);
  greet(known);
  v1::ToServer large = hello_message();
  for (int i = 0; i < kClaimsMax * 16; ++i)
    large.mutable_hello()->add_claim_limit(1);
  ASSERT_GT(large.ByteSizeLong(), kHelloFrameBytesMax);

  stranger.send(frame_of(large));
  known.send(frame_of(large));

  EXPECT_TRUE(ends(stranger));
  EXPECT_NE(stranger.refusal().find("more than 131072 bytes"), std::string::npos);
  EXPECT_TRUE(ends(known));  // large enough, and then refused for what is in it
  EXPECT_NE(known.refusal().find("claim_limit has 20480 rows"), std::string::npos);
}

TEST_F(ListenerTest, AMalformedMessageIsRefusedWithItsReason) {
  TestServer server(io);
  RawPeer peer(server.address);
  v1::ToServer bad = hello_message("a\nb");

  peer.send(frame_of(bad));

  EXPECT_TRUE(ends(peer));
  EXPECT_EQ(peer.refusal(), "hello: host is no clean UTF-8 text");
  peer.close();
  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_EQ(server.recorder.messages, 0);
}

TEST_F(ListenerTest, AnotherMajorVersionIsToldSo) {
  TestServer server(io);
  RawPeer peer(server.address);
  v1::ToServer hello = hello_message();
  hello.mutable_hello()->set_protocol_major(9);

  peer.send(frame_of(hello));

  EXPECT_TRUE(ends(peer));
  ASSERT_FALSE(peer.received.empty());
  EXPECT_EQ(peer.received.back().refused().code(), v1::REFUSED_VERSION);
}

// ---- deadlines

TEST_F(ListenerTest, WhoSaysNoHelloIsClosed) {
  ListenerOptions options;
  options.hello_deadline = 20ms;
  TestServer server(io, options);
  RawPeer silent(server.address);
  RawPeer pinging(server.address);
  v1::ToServer ping;
  ping.mutable_ping();
  pinging.send(frame_of(ping));

  EXPECT_TRUE(ends(silent));
  EXPECT_TRUE(ends(pinging));

  EXPECT_EQ(silent.refusal(), "no hello within 20 ms");
  EXPECT_EQ(server.listener.stats().deadline_total, 2U);
}

// N4: a byte now and then keeps nothing open.
TEST_F(ListenerTest, HalfAFrameHasADeadline) {
  ListenerOptions options;
  options.frame_deadline = 30ms;
  TestServer server(io, options);
  RawPeer peer(server.address);
  greet(peer);
  const std::string frame = frame_of(ack_message(5));

  std::size_t sent = 0;
  const auto start = std::chrono::steady_clock::now();
  const bool ended = run_until(io, [&] {
    if (sent + 1 < frame.size() && std::chrono::steady_clock::now() - start > sent * 5ms)
      sent += peer.send(frame.substr(sent, 1));
    return peer.ended();
  });

  EXPECT_TRUE(ended);
  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_NE(server.recorder.reason.find("half a message"), std::string::npos);
}

TEST_F(ListenerTest, FramesInHalvesAreFineWhenEachIsInTime) {
  ListenerOptions options;
  options.frame_deadline = 60ms;
  TestServer server(io, options);
  RawPeer peer(server.address);
  greet(peer);
  std::string bytes;
  for (std::uint64_t i = 0; i < 20; ++i)
    bytes += frame_of(ack_message(i));
  // Every piece ends inside a frame; the whole takes longer than the deadline.
  const std::size_t frame_bytes = bytes.size() / 20;
  std::size_t sent = peer.send(bytes.substr(0, 3));
  for (int i = 0; i < 19; ++i) {
    run_for(io, 5ms);
    sent += peer.send(bytes.substr(sent, frame_bytes));
  }
  peer.send(bytes.substr(sent));

  EXPECT_TRUE(run_until(io, [&] { return server.recorder.acks.size() == 20 || peer.ended(); }));
  EXPECT_EQ(server.recorder.closes, 0);
}

TEST_F(ListenerTest, WhoIsSilentForLongIsClosed) {
  ListenerOptions options;
  options.idle_close = 50ms;
  TestServer server(io, options);
  RawPeer silent(server.address);
  RawPeer busy(server.address);
  greet(silent);
  greet(busy);

  const bool ended = run_until(io, [&] {
    busy.send(frame_of(ack_message(1)));
    run_for(io, 5ms);
    return silent.ended();
  });

  EXPECT_TRUE(ended);
  EXPECT_EQ(silent.refusal(), "nothing came for 50 ms");
  EXPECT_FALSE(busy.ended());
}

TEST_F(ListenerTest, WhoTakesNothingIsClosed) {
  ListenerOptions options;
  options.write_deadline = 40ms;
  TestServer server(io, options);
  RawPeer peer(server.address);
  greet(peer);
  v1::ToAgent report;
  report.mutable_cluster_report()->set_error(std::string(1000, 'x'));
  // Until the kernel's buffers are full.
  while (server.recorder.last->queued_bytes() < 100'000) {
    server.recorder.last->send(report);
    io.restart();
    io.poll();
  }

  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_NE(server.recorder.reason.find("took nothing for 40 ms"), std::string::npos);
}

TEST_F(ListenerTest, WhatWaitsForAPeerIsBounded) {
  ListenerOptions options;
  options.queue_bytes_max = 200'000;
  TestServer server(io, options);
  RawPeer peer(server.address);
  greet(peer);
  v1::ToAgent report;
  report.mutable_cluster_report()->set_error(std::string(1000, 'x'));
  bool sent = true;
  while (sent) {
    sent = server.recorder.last->send(report);
    EXPECT_EQ(server.recorder.closes, 0);  // never from inside the call
    if (sent) {
      io.restart();
      io.poll();
    }
  }

  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_NE(server.recorder.reason.find("takes too little"), std::string::npos);
  EXPECT_EQ(server.listener.stats().overflow_total, 1U);
}

TEST_F(ListenerTest, FramesASecondAreBounded) {
  ListenerOptions options;
  options.frames_per_s = 10;
  options.frames_burst = 20;
  TestServer server(io, options);
  RawPeer peer(server.address);
  greet(peer);
  std::string bytes;
  for (std::uint64_t i = 0; i < 40; ++i)
    bytes += frame_of(ack_message(i));

  peer.send(bytes);

  EXPECT_TRUE(ends(peer));
  EXPECT_EQ(peer.refusal(), "more than 10 messages a second came on one connection");
  EXPECT_EQ(server.recorder.acks.size(), 19U);  // and the hello
  EXPECT_EQ(server.listener.stats().too_fast_total, 1U);
}

// ---- resets, descriptors, places

// N5: a hundred connections that break in the middle of a frame leave nothing behind.
TEST_F(ListenerTest, ResetsInTheMiddleOfAFrameLeaveNothing) {
  TestServer server(io);
  const std::string half = frame_of(hello_message()).substr(0, 9);
  std::size_t before = 0;
  for (int i = 0; i < 100; ++i) {
    RawPeer peer(server.address);
    peer.send(half);
    ASSERT_TRUE(run_until(io, [&] { return server.recorder.opens == i + 1; }));
    if (i % 2 == 0) {
      peer.reset();
    } else {
      peer.close();
    }
    ASSERT_TRUE(run_until(io, [&] { return server.recorder.closes == i + 1; }));
    EXPECT_NE(server.recorder.reason.find("in the middle of a message"), std::string::npos)
        << server.recorder.reason;
    if (i == 0) before = open_descriptors();
  }

  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(server.listener.stats().connections, 0U);
}

TEST_F(ListenerTest, OneConnectionTooManyIsToldSo) {
  ListenerOptions options;
  options.connections_max = 1;
  TestServer server(io, options);
  RawPeer first(server.address);
  greet(first);
  RawPeer second(server.address);

  EXPECT_TRUE(ends(second));
  EXPECT_NE(second.refusal().find("all the connections"), std::string::npos);
  EXPECT_EQ(server.listener.stats().refused_total, 1U);
  EXPECT_FALSE(first.ended());
}

TEST_F(ListenerTest, OutOfDescriptorsItPausesAndGoesOn) {
  TestServer server(io);
  RawPeer peer(server.address);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const int free_fd = ::dup(0);
  ::close(free_fd);
  const rlimit low{static_cast<rlim_t>(free_fd), old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const bool paused =
      run_until(io, [&] { return server.listener.stats().accept_errors_total == 1; });
  run_for(io, 20ms);
  const auto errors = server.listener.stats().accept_errors_total;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);

  EXPECT_TRUE(paused);
  EXPECT_EQ(errors, 1U);  // no spinning
  greet(peer);
}

TEST_F(ListenerTest, AUnixSocketSaysWhoIsThere) {
  const std::string path = testing::TempDir() + "weir_listener_" + std::to_string(::getpid());
  ListenerOptions options;
  options.addresses = {"unix:" + path, "127.0.0.1:0"};
  options.unix_mode = 0600;
  {
    TestServer server(io, options);
    ASSERT_EQ(server.error, "");
    EXPECT_EQ(server.listener.addresses().size(), 2U);
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    RawPeer peer("unix:" + path);
    greet(peer);

    const Peer& seen = server.recorder.last->peer();
    ASSERT_TRUE(seen.credentials);
    EXPECT_EQ(seen.credentials->pid, ::getpid());
    EXPECT_EQ(seen.credentials->uid, ::getuid());

    ListenerOptions again;
    again.addresses = {"unix:" + path};
    TestServer second(io, again);
    EXPECT_NE(second.error.find("somebody listens there"), std::string::npos) << second.error;
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_F(ListenerTest, ALeftoverOfAKilledServerIsReplacedAndAFileIsNot) {
  const std::string path = testing::TempDir() + "weir_leftover_" + std::to_string(::getpid());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  ::close(fd);
  ListenerOptions options;
  options.addresses = {"unix:" + path};
  {
    TestServer server(io, options);
    EXPECT_EQ(server.error, "");
  }

  ::close(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
  TestServer server(io, options);
  EXPECT_NE(server.error.find("no socket"), std::string::npos) << server.error;
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  ::unlink(path.c_str());
}

TEST_F(ListenerTest, APlaceThatIsTakenIsNamed) {
  TestServer first(io);
  ListenerOptions options;
  options.addresses = {first.address};
  TestServer second(io, options);

  EXPECT_NE(second.error.find(first.address), std::string::npos) << second.error;
  EXPECT_NE(second.error.find("in use"), std::string::npos) << second.error;
}

TEST_F(ListenerTest, AnInheritedSocketIsTakenOver) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof(in)), 0);
  Recorder recorder;
  ListenerOptions options;
  options.faults = FaultOptions{};
  Listener listener(io, options, recorder);
  EXPECT_NE(listener.adopt(::dup(fd)), "");
  ASSERT_EQ(::listen(fd, 10), 0);

  ASSERT_EQ(listener.adopt(fd), "");
  RawPeer peer(listener.addresses().front());
  greet(peer);
}

// ---- what the handler may do

TEST_F(ListenerTest, TheLastWordArrivesAlthoughTheClientKeepsTalking) {
  TestServer server(io);
  for (int i = 0; i < 50; ++i) {
    RawPeer peer(server.address);
    greet(peer);
    server.recorder.on_any = [](Connection& connection, const v1::ToServer& message) {
      if (message.has_ack()) connection.refuse(v1::REFUSED_STOPPING, "going away");
    };
    for (std::uint64_t k = 0; k < 100; ++k)
      peer.send(frame_of(ack_message(k)));
    EXPECT_TRUE(ends(peer));
    EXPECT_EQ(peer.refusal(), "going away");
    server.recorder.on_any = nullptr;
  }
  EXPECT_EQ(server.recorder.acks.size(), 50U);  // nothing is handled after it
}

TEST_F(ListenerTest, ClosingInsideAHandlerIsSafe) {
  TestServer server(io);
  RawPeer peer(server.address);
  greet(peer);
  server.recorder.on_any = [&](Connection& connection, const v1::ToServer&) {
    connection.close("enough");
    connection.close("again");
    EXPECT_FALSE(connection.send(v1::ToAgent{}));
    EXPECT_EQ(server.recorder.closes, 0);
  };

  peer.send(frame_of(ack_message(1)) + frame_of(ack_message(2)));

  EXPECT_TRUE(ends(peer));
  EXPECT_TRUE(run_until(io, [&] { return server.recorder.closes == 1; }));
  EXPECT_EQ(server.recorder.reason, "enough");
  EXPECT_EQ(server.recorder.acks.size(), 1U);
}

TEST_F(ListenerTest, MayBeDestroyedInsideAnyCallback) {
  for (const int when : {0, 1, 2}) {
    struct Destroyer : ListenerHandler {
      std::unique_ptr<Listener> listener;
      int when = 0;
      void on_open(Connection&) override {
        if (when == 0) listener.reset();
      }
      void on_message(Connection&, const v1::ToServer&) override {
        if (when == 1) listener.reset();
      }
      void on_closed(Connection&) override {
        if (when == 2) listener.reset();
      }
    } destroyer;
    destroyer.when = when;
    ListenerOptions options = TestServer::with_address({});
    destroyer.listener = std::make_unique<Listener>(io, options, destroyer);
    ASSERT_EQ(destroyer.listener->listen(), "");
    const std::string address = destroyer.listener->addresses().front();
    RawPeer first(address);
    RawPeer second(address);
    first.send(frame_of(hello_message()) + frame_of(ack_message(1)));
    if (when == 2) first.close();

    EXPECT_TRUE(run_until(io, [&] { return !destroyer.listener; }));
    EXPECT_TRUE(ends(second));
  }
}

TEST_F(ListenerTest, EveryConnectionCanBeVisitedAndSentTheSameFrame) {
  TestServer server(io);
  RawPeer a(server.address);
  RawPeer b(server.address);
  greet(a);
  greet(b);
  v1::ToAgent poke;
  poke.mutable_poke()->set_session(3);
  const std::string frame = frame_of(poke);

  server.listener.for_each([&](Connection& connection) { connection.send_frame(frame); });

  EXPECT_TRUE(run_until(io, [&] {
    return !a.ended() && !b.ended() && a.received.size() == 2 && b.received.size() == 2;
  }));
}

}  // namespace
}  // namespace weir::net
