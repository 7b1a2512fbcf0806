// What goes into the wire comes out of it, and what is crooked does not get in.
#include "server/wire.h"

#include <gtest/gtest.h>

#include "net/lease_wire.h"

namespace weir::server {
namespace {

constexpr lease::Micro kMost = lease::kMicroMax;

// Over the real bytes, and through the checks that a listener and a link make.
template <class Message>
Message carried(const Message& message) {
  std::string frame;
  EXPECT_TRUE(net::append_frame(frame, message));
  Message result;
  const net::Complaint complaint = net::decode(std::string_view(frame).substr(4), result);
  EXPECT_FALSE(complaint) << complaint.text;
  return result;
}

TEST(Wire, AHelloComesThroughWhole) {
  lease::Hello hello{"web-1", 7, 3, 99, 5, 4, {}};
  hello.claims.push_back({11, {kMost, 2, 3, 4}, 0xffffffffffffffffULL, {5, 6, 7, 8}});
  hello.claims.push_back({12, {0, 0, 0, 0}, 0, {}});
  v1::ToServer message;
  message.mutable_hello()->set_protocol_major(net::kProtocolMajor);
  message.mutable_hello()->set_namespace_name("shop");
  to_wire(hello, *message.mutable_hello());

  const v1::ToServer got = carried(message);
  lease::Hello out;
  ASSERT_TRUE(from_wire(got.hello(), out));

  EXPECT_EQ(got.hello().namespace_name(), "shop");
  EXPECT_EQ(out.host, "web-1");
  EXPECT_EQ(out.agent_epoch, 7U);
  EXPECT_EQ(out.hello_no, 3U);
  EXPECT_EQ(out.prev_session, 99U);
  EXPECT_EQ(out.epoch_seen, 5U);
  EXPECT_EQ(out.accepted_seq, 4U);
  ASSERT_EQ(out.claims.size(), 2U);
  EXPECT_EQ(out.claims[0].limit, 11U);
  EXPECT_EQ(out.claims[0].terms, hello.claims[0].terms);
  EXPECT_EQ(out.claims[0].proof, 0xffffffffffffffffULL);
  EXPECT_EQ(out.claims[0].granted, hello.claims[0].granted);
}

TEST(Wire, ARequestComesThroughWhole) {
  lease::Request request{5, 6, 4, {}};
  request.wants.push_back({1, 2, 3, 4, 5, 6, 7, 8});
  request.wants.push_back({0xfedcba9876543210ULL, kMost, 0, 0, kMost, kMost, 1ULL << 50, 9});
  v1::ToServer message;
  to_wire(request, *message.mutable_request());

  lease::Request out;
  out.wants.resize(7);  // what was there before does not stay
  ASSERT_TRUE(from_wire(carried(message).request(), out));

  EXPECT_EQ(out.session, 5U);
  EXPECT_EQ(out.seq, 6U);
  EXPECT_EQ(out.accepted_seq, 4U);
  ASSERT_EQ(out.wants.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(out.wants[i].limit, request.wants[i].limit);
    EXPECT_EQ(out.wants[i].rate, request.wants[i].rate);
    EXPECT_EQ(out.wants[i].need, request.wants[i].need);
    EXPECT_EQ(out.wants[i].returned, request.wants[i].returned);
    EXPECT_EQ(out.wants[i].keep_rate, request.wants[i].keep_rate);
    EXPECT_EQ(out.wants[i].keep_burst, request.wants[i].keep_burst);
    EXPECT_EQ(out.wants[i].spent_total, request.wants[i].spent_total);
    EXPECT_EQ(out.wants[i].refused_total, request.wants[i].refused_total);
  }
}

TEST(Wire, AnAnswerComesThroughWhole) {
  lease::Answer answer{5, 6, 7, lease::kSecond, 2 * lease::kSecond, 3, 12345, true, true, {}};
  answer.grants.push_back({1, {10, 20, 30, 40}, 50, 60, 70});
  v1::ToAgent message;
  to_wire(answer, *message.mutable_answer());

  lease::Answer out;
  ASSERT_TRUE(from_wire(carried(message).answer(), out));

  EXPECT_EQ(out.session, 5U);
  EXPECT_EQ(out.epoch, 6U);
  EXPECT_EQ(out.seq, 7U);
  EXPECT_EQ(out.ttl_ns, lease::kSecond);
  EXPECT_EQ(out.tail_ns, 2 * lease::kSecond);
  EXPECT_EQ(out.refresh_ns, 3);
  EXPECT_EQ(out.server_ns, 12345);
  EXPECT_TRUE(out.busy);
  EXPECT_TRUE(out.learning);
  ASSERT_EQ(out.grants.size(), 1U);
  EXPECT_EQ(out.grants[0].terms, answer.grants[0].terms);
  EXPECT_EQ(out.grants[0].fill, 50);
  EXPECT_EQ(out.grants[0].proof, 60U);
  EXPECT_EQ(out.grants[0].hosts, 70U);
}

TEST(Wire, AWelcomeAndTheSmallOnesComeThroughWhole) {
  v1::ToAgent to_agent;
  to_wire(lease::Welcome{1, 2, 3, true, true, {4, 5}}, *to_agent.mutable_welcome());
  lease::Welcome welcome;
  from_wire(carried(to_agent).welcome(), welcome);
  EXPECT_EQ(welcome.hello_no, 1U);
  EXPECT_EQ(welcome.session, 2U);
  EXPECT_EQ(welcome.epoch, 3U);
  EXPECT_TRUE(welcome.new_identity);
  EXPECT_TRUE(welcome.learning);
  EXPECT_EQ(welcome.withdraw, (std::vector<lease::LimitId>{4, 5}));

  v1::ToServer to_server;
  to_wire(lease::Ack{8, 9}, *to_server.mutable_ack());
  lease::Ack ack;
  from_wire(carried(to_server).ack(), ack);
  EXPECT_EQ(ack.session, 8U);
  EXPECT_EQ(ack.seq, 9U);

  v1::Goodbye goodbye_message;
  to_wire(lease::Goodbye{10}, goodbye_message);
  lease::Goodbye goodbye;
  from_wire(goodbye_message, goodbye);
  EXPECT_EQ(goodbye.session, 10U);
  v1::Poke poke_message;
  to_wire(lease::Poke{11}, poke_message);
  lease::Poke poke;
  from_wire(poke_message, poke);
  EXPECT_EQ(poke.session, 11U);
}

// A listener refuses them before; who forgets to ask one is safe all the same.
TEST(Wire, CrookedColumnsAreRefused) {
  v1::Request request;
  to_wire(lease::Request{1, 2, 3, {{1, 2, 3, 4, 5, 6, 7, 8}}}, request);
  lease::Request out;
  const auto refuses = [&](auto break_it) {
    v1::Request broken = request;
    break_it(broken);
    return !from_wire(broken, out);
  };
  EXPECT_TRUE(refuses([](v1::Request& m) { m.add_limit(1); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.clear_rate(); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.add_need(1); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.clear_returned(); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.add_keep_rate(1); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.clear_keep_burst(); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.add_spent_total(1); }));
  EXPECT_TRUE(refuses([](v1::Request& m) { m.clear_refused_total(); }));

  v1::Answer answer;
  to_wire(lease::Answer{1, 2, 3, 4, 5, 6, 7, false, false, {{1, {}, 2, 3, 4}}}, answer);
  answer.add_hosts(1);
  lease::Answer answer_out;
  EXPECT_FALSE(from_wire(answer, answer_out));
  v1::Hello hello;
  hello.add_claim_limit(1);
  lease::Hello hello_out;
  EXPECT_FALSE(from_wire(hello, hello_out));
}

TEST(Wire, NumbersStayInTheirRange) {
  v1::Request request;
  to_wire(lease::Request{1, 2, 3, {{1, 2, 3, 4, 5, 6, 7, 8}}}, request);
  request.set_rate(0, UINT64_MAX);
  request.set_need(0, 1ULL << 63);
  lease::Request out;
  ASSERT_TRUE(from_wire(request, out));
  EXPECT_EQ(out.wants[0].rate, kMost);
  EXPECT_EQ(out.wants[0].need, kMost);

  v1::Answer answer;
  answer.set_ttl_ns(UINT64_MAX);
  lease::Answer answer_out;
  ASSERT_TRUE(from_wire(answer, answer_out));
  EXPECT_GT(answer_out.ttl_ns, 0);

  // Below zero is nothing, on the way out as well.
  to_wire(lease::Request{1, 2, 3, {{1, -5, 0, 0, 0, 0, 0, 0}}}, request);
  EXPECT_EQ(request.rate(0), 0U);
}

TEST(Wire, TheSameObjectServesForEver) {
  v1::ToServer message;
  lease::Request large{1, 2, 3, std::vector<lease::Want>(100)};
  to_wire(large, *message.mutable_request());
  to_wire(lease::Request{1, 3, 3, {{7, 0, 0, 0, 0, 0, 0, 0}}}, *message.mutable_request());

  EXPECT_EQ(message.request().limit_size(), 1);
  EXPECT_EQ(message.request().refused_total_size(), 1);
  EXPECT_EQ(message.request().limit(0), 7U);
}

}  // namespace
}  // namespace weir::server
