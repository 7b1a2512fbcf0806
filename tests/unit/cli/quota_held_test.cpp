// What a host holds of quotas: by a command of its own, and where a name is shown.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

Answers with_quotas() {
  Answers answers;
  v1::QuotasResponse& quotas = answers.quotas;
  quotas.set_available(true);
  quotas.set_connected(true);
  quotas.set_keys(2);
  quotas.set_keys_max(4096);
  quotas.set_audit_rows_max(10'000);
  v1::QuotaKeyStatus& calls = *quotas.add_list();
  calls.set_quota("calls");
  calls.set_key("customer\x1b[2J");
  calls.set_state("rate_limited");
  calls.set_here(42);
  calls.set_consumed_total(1'234);
  calls.set_remaining(900);
  calls.set_waiting(true);
  calls.set_valid_ms(60'000);
  v1::QuotaKeyStatus& tokens = *quotas.add_list();
  tokens.set_quota("tokens");
  tokens.set_key("k");
  tokens.set_state("ok");
  return answers;
}

TEST(QuotaHeld, IsATableOfKeys) {
  FakeAgent agent{with_quotas()};

  const Ran ran = run(agent.dir(), {"quota", "held"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("customer\\x1b[2J"));
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b[2J")));
  EXPECT_THAT(ran.out, HasSubstr("rate limited, asking"));
  EXPECT_THAT(ran.out, HasSubstr("42"));
  EXPECT_THAT(ran.out, HasSubstr("tokens"));
  EXPECT_THAT(ran.out, Not(HasSubstr("answers; what is here")));
}

TEST(QuotaHeld, SaysThatTheServerIsGoneAndRowsWait) {
  Answers answers = with_quotas();
  answers.quotas.set_connected(false);
  answers.quotas.set_audit_rows(6'000);
  answers.quotas.set_audit_dropped_total(7);
  answers.quotas.set_left_out(3);
  FakeAgent agent{std::move(answers)};

  const Ran ran = run(agent.dir(), {"quota", "held", "calls"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("No token server with quotas answers"));
  EXPECT_THAT(ran.out, HasSubstr("7 were dropped"));
  EXPECT_THAT(ran.out, HasSubstr("3 more"));
  EXPECT_THAT(ran.out, Not(HasSubstr("tokens")));
}

TEST(QuotaHeld, InJsonIsWhatTheAgentSays) {
  FakeAgent agent{with_quotas()};

  const Ran ran = run(agent.dir(), {"quota", "held", "-o", "json"});

  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json body = json::parse(ran.out);
  EXPECT_EQ(body["keys_max"], 4096);
  EXPECT_EQ(body["audit"]["rows_max"], 10'000);
  ASSERT_EQ(body["list"].size(), 2U);
  EXPECT_EQ(body["list"][0]["here"], 42);
  EXPECT_EQ(body["list"][0]["valid_ms"], 60'000);
  EXPECT_TRUE(body["list"][1]["valid_ms"].is_null());
}

TEST(QuotaHeld, AnAgentWithoutAServerHasNone) {
  FakeAgent agent{Answers{}};

  const Ran ran = run(agent.dir(), {"quota", "held"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("name no token server"));
}

TEST(QuotaHeld, ShowKnowsAQuotaByItsName) {
  FakeAgent agent{with_quotas()};

  const Ran ran = run(agent.dir(), {"show", "tokens"});
  const Ran body = run(agent.dir(), {"show", "tokens", "-o", "json"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("Keys of the quota"));
  ASSERT_EQ(body.exit_code, 0) << body.err;
  EXPECT_EQ(json::parse(body.out)["quota_keys"][0]["key"], "k");
}

}  // namespace
}  // namespace weir::cli
