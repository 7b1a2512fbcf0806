// Whoever can reach the port can send any bytes. Nothing of them gets past this unless every column
// is whole, every amount is an amount and every name is a name.
#include "net/lease_wire.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "net/frame.h"
#include "tests/unit/net/decode_again.h"
#include "tests/unit/net/loop.h"

namespace weir::net {
namespace {

v1::ToServer request_message(int rows) {
  v1::ToServer message;
  auto* request = message.mutable_request();
  request->set_session(7);
  request->set_seq(1);
  for (int i = 0; i < rows; ++i) {
    request->add_limit(static_cast<std::uint64_t>(i) + 1);
    request->add_rate(1'000'000);
    request->add_need(0);
    request->add_returned(0);
    request->add_keep_rate(0);
    request->add_keep_burst(0);
    request->add_spent_total(10);
    request->add_refused_total(0);
  }
  return message;
}

v1::ToAgent answer_message(int rows) {
  v1::ToAgent message;
  auto* answer = message.mutable_answer();
  answer->set_ttl_ns(5'000'000'000);
  for (int i = 0; i < rows; ++i) {
    answer->add_limit(static_cast<std::uint64_t>(i) + 1);
    answer->add_rate(1);
    answer->add_burst(1);
    answer->add_tail_rate(1);
    answer->add_tail_burst(1);
    answer->add_fill(0);
    answer->add_proof(UINT64_MAX);
    answer->add_hosts(3);
  }
  return message;
}

v1::ToAgent rules_message() {
  v1::ToAgent message;
  message.mutable_rules()->set_rules_version(9);
  auto* rule = message.mutable_rules()->add_rules();
  rule->set_name("api");
  rule->set_period_ns(1'000'000'000);
  rule->set_fallback(v1::RULE_FALLBACK_LOCAL);
  return message;
}

TEST(LeaseWire, TakesWhatIsRight) {
  EXPECT_FALSE(decode_again(hello_message()));
  EXPECT_FALSE(decode_again(request_message(0)));
  EXPECT_FALSE(decode_again(request_message(kRowsMax)));
  EXPECT_FALSE(decode_again(answer_message(kRowsMax)));
  EXPECT_FALSE(decode_again(rules_message()));
}

TEST(LeaseWire, AHelloWithAllClaimsFitsIntoTheSmallFrame) {
  v1::ToServer message = hello_message(std::string(kHostNameBytesMax, 'h'));
  auto* hello = message.mutable_hello();
  hello->set_namespace_name(std::string(kNamespaceBytesMax, 'n'));
  hello->set_token(std::string(kTokenBytesMax, 't'));
  hello->set_version(std::string(kVersionBytesMax, 'v'));
  for (int i = 0; i < kClaimsMax; ++i) {
    hello->add_claim_limit(1);
    hello->add_claim_rate(1);
    hello->add_claim_burst(1);
    hello->add_claim_tail_rate(1);
    hello->add_claim_tail_burst(1);
    hello->add_claim_proof(1);
    hello->add_claim_granted_rate(1);
    hello->add_claim_granted_burst(1);
    hello->add_claim_granted_tail_rate(1);
    hello->add_claim_granted_tail_burst(1);
  }

  EXPECT_FALSE(check(message));
  EXPECT_LE(message.ByteSizeLong(), kHelloFrameBytesMax);
}

TEST(LeaseWire, ARequestWithAllRowsFitsIntoAFrame) {
  EXPECT_LE(request_message(kRowsMax).ByteSizeLong(), kLeaseFrameBytesMax);
  EXPECT_LE(answer_message(kRowsMax).ByteSizeLong(), kLeaseFrameBytesMax);
}

struct BadToServer {
  const char* name;
  std::function<void(v1::ToServer&)> spoil;
  const char* complaint;  // a part of it
};

v1::Hello& hello_of(v1::ToServer& m) {
  if (!m.has_hello()) m = hello_message();
  return *m.mutable_hello();
}
v1::Request& request_of(v1::ToServer& m) {
  if (!m.has_request()) m = request_message(2);
  return *m.mutable_request();
}

TEST(LeaseWire, RefusesWhatNoAgentSends) {
  const std::vector<BadToServer> table = {
      {"nothing", [](auto&) {}, "empty"},
      {"two in one", [](auto& m) { hello_of(m), m.mutable_ack(); }, "several in one"},
      {"no host", [](auto& m) { hello_of(m).clear_host(); }, "host is missing"},
      {"long host", [](auto& m) { hello_of(m).set_host(std::string(256, 'a')); },
       "host has 256 bytes"},
      {"no namespace", [](auto& m) { hello_of(m).clear_namespace_name(); }, "namespace_name"},
      {"long namespace", [](auto& m) { hello_of(m).set_namespace_name(std::string(64, 'a')); },
       "namespace_name has 64"},
      {"long token", [](auto& m) { hello_of(m).set_token(std::string(513, 'a')); },
       "token has 513"},
      {"escape", [](auto& m) { hello_of(m).set_host("a\x1b[2Jb"); }, "host is no clean"},
      {"newline", [](auto& m) { hello_of(m).set_version("1\n2"); }, "version is no clean"},
      {"c1 control", [](auto& m) { hello_of(m).set_host("a\xc2\x9b"); }, "host is no clean"},
      {"zero byte", [](auto& m) { hello_of(m).set_host(std::string("a\0b", 3)); }, "no clean"},
      {"bad utf-8", [](auto& m) { hello_of(m).set_host("\xff\xfe"); }, "no clean"},
      {"overlong", [](auto& m) { hello_of(m).set_host("\xc0\xaf"); }, "no clean"},
      {"surrogate", [](auto& m) { hello_of(m).set_host("\xed\xa0\x80"); }, "no clean"},
      {"a claim short of columns", [](auto& m) { hello_of(m).add_claim_limit(1); },
       "claim_rate has 0 rows, the first column has 1"},
      {"a column without a limit", [](auto& m) { hello_of(m).add_claim_proof(1); }, "claim_proof"},
      {"unequal", [](auto& m) { request_of(m).add_rate(1); }, "rate has 3 rows"},
      {"unequal last", [](auto& m) { request_of(m).mutable_refused_total()->RemoveLast(); },
       "refused_total has 1 rows"},
      {"negative", [](auto& m) { request_of(m).set_rate(1, static_cast<std::uint64_t>(-1)); },
       "rate has an amount that is negative"},
      {"huge", [](auto& m) { request_of(m).set_need(0, kMicroMax + 1); }, "need has an amount"},
      {"too many rows", [](auto& m) { m = request_message(kRowsMax + 1); }, "limit has 4097 rows"},
      {"no topic", [](auto& m) { m.mutable_cluster_query(); }, "topic is 0"},
      {"unknown topic",
       [](auto& m) { m.mutable_cluster_query()->set_topic(static_cast<v1::ClusterTopic>(99)); },
       "topic is 99"},
      {"long page token",
       [](auto& m) {
         m.mutable_cluster_query()->set_topic(v1::CLUSTER_TOPIC_LIMITS);
         m.mutable_cluster_query()->set_page_token(std::string(513, 'a'));
       },
       "page_token"},
  };
  for (const BadToServer& bad : table) {
    v1::ToServer message;
    bad.spoil(message);

    const Complaint complaint = decode_again(message);

    EXPECT_NE(complaint.text.find(bad.complaint), std::string::npos)
        << bad.name << ": " << complaint.text;
    EXPECT_EQ(complaint.code, v1::REFUSED_MALFORMED) << bad.name;
    EXPECT_TRUE(is_clean_text(complaint.text)) << bad.name;
  }
}

struct BadToAgent {
  const char* name;
  std::function<void(v1::ToAgent&)> spoil;
  const char* complaint;
};

TEST(LeaseWire, RefusesWhatNoServerSends) {
  const auto rule_of = [](v1::ToAgent& m) -> v1::RulePush& {
    m = rules_message();
    return *m.mutable_rules()->mutable_rules(0);
  };
  const std::vector<BadToAgent> table = {
      {"nothing", [](auto&) {}, "empty"},
      {"long ttl", [](auto& m) { m.mutable_answer()->set_ttl_ns(kTimeNsMax + 1); }, "ttl_ns is"},
      {"negative tail",
       [](auto& m) { m.mutable_answer()->set_tail_ns(static_cast<std::uint64_t>(-1)); }, "tail_ns"},
      {"hosts short", [](auto& m) { m = answer_message(2), m.mutable_answer()->clear_hosts(); },
       "hosts has 0 rows"},
      {"negative fill",
       [](auto& m) { m = answer_message(1), m.mutable_answer()->set_fill(0, UINT64_MAX); },
       "fill has an amount"},
      {"no version", [](auto& m) { m = rules_message(), m.mutable_rules()->clear_rules_version(); },
       "rules_version is missing"},
      {"no name", [&](auto& m) { rule_of(m).clear_name(); }, "name is missing"},
      {"long name", [&](auto& m) { rule_of(m).set_name(std::string(128, 'a')); }, "name has 128"},
      {"ansi name", [&](auto& m) { rule_of(m).set_name("\x1b]0;x\x07"); }, "name is no clean"},
      {"no period", [&](auto& m) { rule_of(m).clear_period_ns(); }, "period_ns is missing"},
      {"no fallback", [&](auto& m) { rule_of(m).clear_fallback(); }, "fallback is 0"},
      {"unknown fallback",
       [&](auto& m) { rule_of(m).set_fallback(static_cast<v1::RuleFallback>(-7)); },
       "fallback is -7"},
      {"band", [&](auto& m) { rule_of(m).set_band(16); }, "band is 16"},
      {"reserve", [&](auto& m) { rule_of(m).add_reserve_permille(5); }, "reserve_permille has 1"},
      {"huge burst", [&](auto& m) { rule_of(m).set_burst(UINT64_MAX); }, "burst is negative"},
      {"many redirects",
       [](auto& m) {
         for (int i = 0; i <= kRedirectsMax; ++i)
           m.mutable_redirect()->add_addresses("a:1");
       },
       "addresses has 17 rows"},
      {"empty redirect", [](auto& m) { m.mutable_redirect()->add_addresses(""); }, "is missing"},
      {"long text", [](auto& m) { m.mutable_refused()->set_text(std::string(1025, 'a')); },
       "text has 1025"},
      {"nameless limit", [](auto& m) { m.mutable_cluster_report()->add_limits(); }, "limits.name"},
      {"nameless host", [](auto& m) { m.mutable_cluster_report()->add_hosts(); }, "hosts.host"},
  };
  for (const BadToAgent& bad : table) {
    v1::ToAgent message;
    bad.spoil(message);

    const Complaint complaint = decode_again(message);

    EXPECT_NE(complaint.text.find(bad.complaint), std::string::npos)
        << bad.name << ": " << complaint.text;
  }
}

TEST(LeaseWire, AnotherMajorVersionIsToldSo) {
  v1::ToServer message = hello_message();
  message.mutable_hello()->set_protocol_major(2);
  message.mutable_hello()->clear_host();  // who knows what a hello of version 2 has

  const Complaint complaint = check(message);

  EXPECT_EQ(complaint.code, v1::REFUSED_VERSION);
  EXPECT_NE(complaint.text.find("protocol 2.0"), std::string::npos);
}

TEST(LeaseWire, AKindOfANewerProgramIsPassedOver) {
  v1::ToServer message;
  const std::string payload = "\xfa\x3e\x02\x08\x01";  // field 1007, a message

  EXPECT_FALSE(decode(payload, message));
  EXPECT_TRUE(is_newer(message));
  EXPECT_EQ(kind_of(message), ToServerKind::none);
}

TEST(LeaseWire, AnUnknownFieldBesideKnownOnesIsNoFault) {
  v1::ToServer message;
  std::string payload = hello_message().SerializeAsString();
  payload += "\xfa\x3e\x02\x08\x01";

  EXPECT_FALSE(decode(payload, message));
  EXPECT_EQ(kind_of(message), ToServerKind::hello);
}

// A field of a message in wire form.
std::string field_bytes(char tag, const std::string& inner) {
  std::string bytes(1, tag);
  for (std::size_t rest = inner.size(); rest != 0; rest >>= 7)
    bytes.push_back(static_cast<char>((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0)));
  return bytes + inner;
}

std::string empty_rules(int count) {
  std::string inner;
  for (int i = 0; i < count; ++i)
    inner += std::string("\x2a\x00", 2);  // rules.rules: empty
  return field_bytes('\x1a', inner);      // rules
}

// Two bytes on the wire must not become an object of hundreds of bytes in memory, a million times.
TEST(LeaseWire, ManyEmptyFieldsAreRefusedBeforeTheyBecomeObjects) {
  v1::ToAgent message;

  EXPECT_EQ(decode(empty_rules(300'000), message).text, "the message cannot be read");
  EXPECT_FALSE(message.has_rules());
}

// The same field again is merged with the first.
TEST(LeaseWire, AFieldThatComesAgainAndAgainIsRefusedAsWell) {
  v1::ToAgent message;
  std::string payload;
  for (int i = 0; i < 100; ++i)
    payload += empty_rules(4'000);

  EXPECT_EQ(decode(payload, message).text, "the message cannot be read");
  EXPECT_FALSE(message.has_rules());
}

TEST(LeaseWire, GroupsAndDamagedBytesAreRefused) {
  v1::ToServer message;
  for (const std::string& payload :
       {std::string(1000, '\x0b'), std::string("\x0a\xff\xff\xff\xff\x0f", 6), std::string("\x0a"),
        std::string(20, '\xff'), std::string("\x12\x05\x09\x01", 4)})
    EXPECT_EQ(decode(payload, message).text, "the message cannot be read");
}

TEST(LeaseWire, TheSameObjectIsUsedAgainAndAgain) {
  const std::string full = request_message(100).SerializeAsString();
  const std::string small = ack_message(1).SerializeAsString();
  v1::ToServer message;
  ASSERT_FALSE(decode(full, message));
  const auto* request = &message.request();
  const std::uint64_t* column = message.request().rate().data();

  ASSERT_FALSE(decode(small, message));
  EXPECT_FALSE(message.has_request());
  ASSERT_FALSE(decode(full, message));

  EXPECT_EQ(&message.request(), request);
  EXPECT_EQ(message.request().rate().data(), column);
  EXPECT_EQ(message.request().rate_size(), 100);
}

TEST(LeaseWire, AFrameThatIsTooLargeIsNotMade) {
  v1::ToAgent message;
  message.mutable_cluster_report()->set_next_page_token(std::string(kLeaseFrameBytesMax, 'x'));
  std::string out = "before";

  EXPECT_FALSE(append_frame(out, message));
  EXPECT_EQ(out, "before");
}

TEST(LeaseWire, AFrameIsWhatTheReaderOfFramesReads) {
  std::string out;
  ASSERT_TRUE(append_frame(out, ack_message(77)));
  EXPECT_EQ(out, encode_frame(ack_message(77)));
}

}  // namespace
}  // namespace weir::net
