// The HTTP API: who may do what, in which words, and what its description says of it.
#include <gmock/gmock.h>
#include <yaml-cpp/yaml.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "net/secret.h"
#include "server/api/api.h"
#include "server/api/parts.h"
#include "tests/unit/server/quota_fixture.h"

namespace weir::server {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const std::string kKey = lease::quota_key("calls", "customer-7");
const char kPath[] = "/v1/namespaces/shop/quotas/calls/customer-7";
const char kList[] = "/v1/namespaces/shop/quotas";
const char kBoth[] = R"({"quota": "calls", "key": "customer-7"})";

class ApiTest : public QuotaServerTest {
 protected:
  ~ApiTest() override { api.reset(); }

  void SetUp() override {
    ASSERT_TRUE(serve(quota_file("{name: calls, total: 1000}, "
                                 "{name: trial, type: hybrid, total: 5, valid: 1d}",
                                 "    concurrency: [{name: db, max: 10}]\n") +
                      tokens()));
    api = std::make_unique<Api>(*server_);
    api->use_store(gate.get(), store.get());
  }
  static std::string tokens() {
    std::string text = "api:\n  tokens:\n";
    for (const char* role : {"reader", "operator", "admin"})
      text += std::string("    - {name: ") + role + ", role: " + role + ", token: '" +
              net::token_hash(role) + "'}\n";
    return text + "    - {name: elsewhere, role: admin, token: '" + net::token_hash("elsewhere") +
           "', namespaces: [shop]}\n";
  }
  static HttpRequest make(const std::string& method, const std::string& target,
                          const std::string& body, const std::string& token = "admin",
                          HttpHeaders headers = {}) {
    HttpRequest request;
    request.method = method;
    request.path = target.substr(0, target.find('?'));
    if (target.find('?') != target.npos) request.query = target.substr(target.find('?') + 1);
    request.body = body;
    request.headers = std::move(headers);
    if (!token.empty()) request.headers.emplace_back("Authorization", "Bearer " + token);
    return request;
  }
  void send(const HttpRequest& request, std::optional<HttpResponse>& got) {
    api->handle(request, [&got](HttpResponse response) { got = std::move(response); });
  }
  HttpResponse call(const std::string& method, const std::string& target,
                    const std::string& body = {}, const std::string& token = "admin",
                    HttpHeaders headers = {}) {
    const HttpRequest request = make(method, target, body, token, std::move(headers));
    std::optional<HttpResponse> got;
    send(request, got);
    EXPECT_TRUE(run_until(io, [&] { return got.has_value(); })) << method << ' ' << target;
    return got.value_or(HttpResponse{});
  }
  json get(const std::string& target) {
    const HttpResponse response = call("GET", target);
    EXPECT_EQ(response.status, 200U) << target << ": " << response.body;
    return json::parse(response.body, nullptr, false);
  }
  // The 'code' of an error.
  std::string code(const HttpResponse& response) {
    EXPECT_EQ(response.content_type, "application/problem+json") << response.body;
    const json body = json::parse(response.body, nullptr, false);
    EXPECT_EQ(body.value("status", 0U), response.status);
    EXPECT_NE(body.value("detail", ""), "");
    return body.value("code", "");
  }

  std::unique_ptr<Api> api;
};

TEST_F(ApiTest, WithoutATokenOrWithAWrongOneNobodyGetsAnything) {
  for (const char* target : {"/v1/status", kList, kPath, "/v1/openapi.yaml", "/v1/nothing"}) {
    const HttpResponse none = call("GET", target, {}, "");
    EXPECT_EQ(none.status, 401U) << target;
    EXPECT_EQ(code(none), "no_token");
    EXPECT_THAT(none.headers,
                Contains(std::pair<std::string, std::string>("WWW-Authenticate", "Bearer")));
    EXPECT_EQ(code(call("GET", target, {}, "wrong")), "wrong_token");
    EXPECT_EQ(code(call("GET", target, {}, std::string(600, 'x'))), "no_token");
  }
  // The hash in the file opens nothing.
  EXPECT_EQ(call("GET", kList, {}, net::token_hash("admin")).status, 401U);
}

TEST_F(ApiTest, ARoleMayDoWhatItIsFor) {
  struct Row {
    const char *method, *target, *body;
    unsigned reader, operate, admin;
  };
  const std::string top_up = std::string(kPath) + "/top-up";
  const std::string suspend = std::string(kPath) + "/suspend";
  for (const Row& row : std::vector<Row>{
           {"POST", kList, kBoth, 403, 403, 201},
           {"GET", kPath, "", 200, 200, 200},
           {"GET", kList, "", 200, 200, 200},
           {"POST", top_up.c_str(), R"({"amount": 1})", 403, 200, 200},
           {"POST", suspend.c_str(), "", 403, 200, 200},
           {"PATCH", kPath, R"({"total": 7})", 403, 403, 200},
           {"POST", "/v1/audit/retention", "", 403, 403, 200},
           {"DELETE", kPath, "", 403, 403, 204},
       }) {
    EXPECT_EQ(call(row.method, row.target, row.body, "reader").status, row.reader) << row.target;
    EXPECT_EQ(call(row.method, row.target, row.body, "operator").status, row.operate) << row.target;
    EXPECT_EQ(call(row.method, row.target, row.body, "admin").status, row.admin) << row.target;
  }
}

TEST_F(ApiTest, ATokenOfSomeNamespacesIsForThoseAlone) {
  std::string text = quota_file("{name: calls, total: 1000}") + tokens();
  text.insert(text.find("api:"), "  other: {}\n");
  ASSERT_EQ(server_->apply(parsed(text)), "");

  EXPECT_EQ(call("GET", kList, {}, "elsewhere").status, 200U);
  EXPECT_EQ(call("GET", "/v1/namespaces/other/quotas", {}, "elsewhere").status, 403U);
  EXPECT_EQ(call("GET", "/v1/namespaces/other/quotas", {}, "admin").status, 200U);
  EXPECT_EQ(call("POST", "/v1/audit/retention", {}, "elsewhere").status, 403U);
  const json status = json::parse(call("GET", "/v1/status", {}, "elsewhere").body);
  EXPECT_THAT(status["namespaces"], SizeIs(1));
}

TEST_F(ApiTest, WithoutTokensInTheFileItIsOff) {
  ASSERT_EQ(server_->apply(parsed(quota_file("{name: calls, total: 1000}"))), "");

  EXPECT_EQ(code(call("GET", "/v1/status")), "off");
}

TEST_F(ApiTest, ChangesAtTheSameTimeAllHold) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  std::array<std::optional<HttpResponse>, 3> got;
  send(make("PATCH", kPath, R"({"total": 20})"), got[0]);
  send(make("PATCH", kPath, R"({"rate_per_min": 60})"), got[1]);
  send(make("PATCH", kPath, R"({"period": "day"})"), got[2]);
  ASSERT_TRUE(run_until(io, [&] { return got[0] && got[1] && got[2]; }));
  for (const auto& each : got)
    EXPECT_EQ(each->status, 200U) << each->body;

  ASSERT_EQ(call("POST", std::string(kPath) + "/reset").status, 200U);
  const json now = get(kPath);
  EXPECT_EQ(now["total"], 20);
  EXPECT_EQ(now["rate_per_min"], 60);
  EXPECT_EQ(now["period"], "day");
}

TEST_F(ApiTest, AKeyLivesFromItsMakingToItsEnd) {
  const HttpResponse made = call("POST", kList, kBoth);
  ASSERT_EQ(made.status, 201U) << made.body;
  EXPECT_EQ(json::parse(made.body)["total"], 1000);
  EXPECT_EQ(call("POST", kList, kBoth).status, 409U);

  ASSERT_EQ(call("POST", std::string(kPath) + "/top-up", R"({"amount": 500})").status, 200U);
  EXPECT_EQ(get(kPath)["remaining"], 1500);
  ASSERT_EQ(call("POST", std::string(kPath) + "/suspend").status, 200U);
  EXPECT_EQ(get(kPath)["state"], "suspended");
  ASSERT_EQ(call("POST", std::string(kPath) + "/resume").status, 200U);
  ASSERT_EQ(call("PATCH", kPath, R"({"total": 20, "rate_per_min": 60})").status, 200U);
  EXPECT_EQ(get(kPath)["total"], 1500);  // the new one is for the next generation
  ASSERT_EQ(call("POST", std::string(kPath) + "/reset").status, 200U);
  const json reset = get(kPath);
  EXPECT_EQ(reset["total"], 20);
  EXPECT_EQ(reset["rate_per_min"], 60);
  ASSERT_EQ(call("POST", std::string(kPath) + "/reset", R"({"total": 33})").status, 200U);
  EXPECT_EQ(get(kPath)["remaining"], 33);
  ASSERT_EQ(call("DELETE", kPath).status, 204U);
  EXPECT_EQ(call("GET", kPath).status, 404U);
  EXPECT_EQ(call("POST", std::string(kPath) + "/top-up", R"({"amount": 5})").status, 404U);

  const json rows = get("/v1/namespaces/shop/audit?quota=calls&key=customer-7")["items"];
  std::vector<std::string> actions;
  for (const json& row : rows) {
    actions.push_back(row["action"]);
    EXPECT_EQ(row["who"], "admin");
  }
  EXPECT_THAT(actions, ElementsAre("delete", "reset", "reset", "configure", "resume", "suspend",
                                   "top_up", "create"));
}

TEST_F(ApiTest, WhatAHostHoldsIsShownByItsName) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(exchange(a, quota_ask(kKey, 1, 10)));

  const json key = get(kPath);

  EXPECT_EQ(key["held"], 10);
  EXPECT_EQ(key["holdings"][0]["host"], "web-1");
  EXPECT_EQ(key["holdings"][0]["agent_epoch"], "1");
  EXPECT_EQ(key["holdings"][0]["chunks"][0]["granted"], 10);
  EXPECT_EQ(get("/v1/namespaces/shop/hosts")["items"][0]["host"], "web-1");
  EXPECT_EQ(get("/v1/namespaces/shop/limits")["items"][0]["rate_per_s"], 300.0);
  EXPECT_EQ(get("/v1/namespaces/shop/concurrency")["items"][0]["max"], 10);
  EXPECT_EQ(get("/v1/status")["namespaces"][0]["quotas"]["grants_total"], 1);
}

// A client that got no answer asks again; the top-up must not come twice.
TEST_F(ApiTest, TheSameChangeAgainIsDoneOnce) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  const HttpHeaders once{{"Idempotency-Key", "invoice-1"}};
  const std::string top_up = std::string(kPath) + "/top-up";

  const HttpResponse first = call("POST", top_up, R"({"amount": 5})", "operator", once);
  const HttpResponse second = call("POST", top_up, R"({"amount": 5})", "operator", once);
  const HttpResponse other =
      call("POST", top_up, R"({"amount": 5})", "operator", {{"Idempotency-Key", "invoice-2"}});

  EXPECT_EQ(first.status, 200U);
  EXPECT_EQ(second.status, 200U);
  EXPECT_THAT(second.headers,
              Contains(std::pair<std::string, std::string>("Idempotent-Replayed", "true")));
  EXPECT_EQ(other.status, 200U);
  EXPECT_EQ(get(kPath)["total"], 1010);
  EXPECT_EQ(call("POST", top_up, R"({"amount": 5})", "operator",
                 {{"Idempotency-Key", std::string(129, 'x')}})
                .status,
            400U);
}

TEST_F(ApiTest, WhatIsOutOfRangeIsRefusedInWords) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  const std::string top_up = std::string(kPath) + "/top-up";
  for (const char* body :
       {R"({"amount": -1})", R"({"amount": 0})", R"({"amount": 1.5})", R"({"amount": 1e30})",
        R"({"amount": 18446744073709551615})", R"({"amount": 1000000000000001})",
        R"({"amount": "5"})", R"({"amount": true})", R"({})", "", "[1]", "{", R"({"amonut": 5})",
        R"({"amount": 5, "more": 1})", R"({"valid_until": "tomorrow"})",
        R"({"valid_until": "2027-02-30T00:00:00Z"})"}) {
    EXPECT_EQ(code(call("POST", top_up, body)), "body") << body;
  }
  EXPECT_EQ(code(call("POST", top_up, R"({"amount": 1000000000000000})")), "refused");
  for (const char* body : {R"({"quota": "calls"})", R"({"quota": "calls", "key": 7})",
                           R"({"quota": "calls", "key": "a", "type": "money"})",
                           R"({"quota": "calls", "key": "a", "timezone": "../../etc/passwd"})",
                           R"({"quota": "calls", "key": "a", "rate_per_min": -1})"}) {
    EXPECT_EQ(code(call("POST", kList, body)), "body") << body;
  }
  EXPECT_EQ(code(call("POST", kList, R"({"quota": "other", "key": "a"})")), "quota");
  EXPECT_EQ(code(call("POST", kList, R"({"quota": "calls", "key": "a\u0007b"})")), "key");
  EXPECT_EQ(
      code(call("POST", kList, json{{"quota", "calls"}, {"key", std::string(4096, 'k')}}.dump())),
      "key");
  EXPECT_EQ(get(kPath)["total"], 1000);
}

TEST_F(ApiTest, PathsThatAreNotThereAreSaidSo) {
  EXPECT_EQ(call("GET", "/v1").status, 404U);
  EXPECT_EQ(call("GET", "/v1/").status, 404U);
  EXPECT_EQ(call("GET", "/v1/namespaces/none/quotas").status, 404U);
  EXPECT_EQ(call("GET", "/v1/namespaces/shop/nothing").status, 404U);
  EXPECT_EQ(call("POST", std::string(kPath) + "/explode").status, 404U);
  EXPECT_EQ(call("GET", std::string(kPath) + "/top-up").status, 405U);
  EXPECT_EQ(call("PUT", kPath).status, 405U);
  EXPECT_EQ(call("DELETE", kList).status, 405U);
  EXPECT_EQ(call("GET", "/v1/namespaces/shop/quotas/calls/%zz").status, 400U);
  EXPECT_EQ(call("GET", "/v1/namespaces/shop/quotas/calls/%0a").status, 422U);
}

TEST_F(ApiTest, NamesOfAnyKindStandInAPath) {
  const std::string odd = "a/b ?#%ü";
  ASSERT_EQ(call("POST", kList, json{{"quota", "calls"}, {"key", odd}}.dump()).status, 201U);

  EXPECT_EQ(get("/v1/namespaces/shop/quotas/calls/a%2Fb%20%3F%23%25%C3%BC")["key"], odd);
}

TEST_F(ApiTest, PagesOfQuotasGoOnWhereTheLastOneEnded) {
  for (int i = 0; i < 25; ++i)
    ASSERT_EQ(
        call("POST", kList, json{{"quota", "calls"}, {"key", "k" + std::to_string(10 + i)}}.dump())
            .status,
        201U);
  std::vector<std::string> seen;
  std::string target = std::string(kList) + "?limit=10";
  for (int pages = 0; pages < 5; ++pages) {
    const json page = get(target);
    for (const json& row : page["items"])
      seen.push_back(row["key"]);
    if (page["next"].is_null()) break;
    target = std::string(kList) + "?limit=10&after=" + page["next"].get<std::string>();
  }

  EXPECT_THAT(seen, SizeIs(25));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  for (const char* query : {"limit=0", "limit=1001", "limit=x", "limit=-1", "after=xyz", "after=0",
                            "lost=maybe", "limit=99999999999999999999"})
    EXPECT_EQ(code(call("GET", std::string(kList) + "?" + query)), "query") << query;
  EXPECT_THAT(get(std::string(kList) + "?lost=true")["items"], SizeIs(0));
}

TEST_F(ApiTest, PagesAndFiltersOfTheAuditLog) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  for (int i = 0; i < 7; ++i)
    ASSERT_EQ(call("POST", std::string(kPath) + "/top-up", R"({"amount": 5})").status, 200U);
  const std::string audit = "/v1/namespaces/shop/audit?";

  EXPECT_THAT(get(audit + "action=top_up&page_size=5")["items"], SizeIs(5));
  EXPECT_THAT(get(audit + "action=top_up&page_size=5&page=2")["items"], SizeIs(2));
  const json first = get(audit + "page_size=3");
  const json next = get(audit + "page_size=3&before=" + first["next_before"].dump());
  EXPECT_LT(next["items"][0]["id"], first["items"][2]["id"]);
  EXPECT_THAT(get(audit + "to=2020-01-01T00:00:00Z")["items"], SizeIs(0));
  EXPECT_THAT(get(audit + "from=2020-01-01T00:00:00%2B01:00")["items"], SizeIs(8));
  for (const char* query : {"action=explode", "from=yesterday", "page=0", "page_size=10001",
                            "page_size=-3", "key=only", "page=1000000&page_size=10000", "before=x"})
    EXPECT_EQ(code(call("GET", audit + query)), "query") << query;
}

TEST_F(ApiTest, AStoreThatDoesNotWriteIsAnAnswerToo) {
  gate->refuse = true;

  const HttpResponse refused = call("POST", kList, kBoth);

  EXPECT_EQ(refused.status, 503U);
  EXPECT_THAT(refused.body, HasSubstr("the disk is full"));
  gate->refuse = false;
  EXPECT_EQ(call("POST", kList, kBoth).status, 201U);
}

TEST_F(ApiTest, AKeyOfAQuotaInTimeEndsWhenTheFileSaysSo) {
  const HttpResponse made = call("POST", kList, R"({"quota": "trial", "key": "a"})");
  ASSERT_EQ(made.status, 201U) << made.body;
  const json key = json::parse(made.body);

  const auto until = api::parse_time(key["valid_until"].get<std::string>());

  ASSERT_TRUE(until);
  EXPECT_NEAR(static_cast<double>(*until - api::wall_now_ms()), 86'400e3, 60e3);
  EXPECT_EQ(key["type"], "hybrid");
}

// ------------------------------------------------------------------ the description

std::set<std::string> names_of(const YAML::Node& schema) {
  std::set<std::string> names;
  for (const auto& each : schema["properties"])
    names.insert(each.first.as<std::string>());
  return names;
}
std::set<std::string> names_of(const json& object) {
  std::set<std::string> names;
  for (const auto& [name, value] : object.items())
    names.insert(name);
  return names;
}
void replace(std::string& text, const std::string& what, const std::string& by) {
  if (const auto at = text.find(what); at != text.npos) text.replace(at, what.size(), by);
}

TEST_F(ApiTest, EveryPathOfTheDescriptionIsServedAndAnswersAsItSays) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  const YAML::Node description = YAML::Load(call("GET", "/v1/openapi.yaml").body);
  int operations = 0;
  for (const auto& path : description["paths"]) {
    std::string target = path.first.as<std::string>();
    replace(target, "{namespace}", "shop");
    replace(target, "{quota}", "calls");
    replace(target, "{key}", "customer-7");
    std::set<std::string> described;
    for (const auto& operation : path.second) {
      std::string method = operation.first.as<std::string>();
      if (method == "parameters") continue;
      std::transform(method.begin(), method.end(), method.begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      described.insert(method);
      if (method == "DELETE") continue;  // the others need the key
      ++operations;
      const HttpResponse response = call(method, target);
      EXPECT_TRUE(operation.second["responses"][std::to_string(response.status)])
          << method << ' ' << target << " answers " << response.status << ": " << response.body;
      EXPECT_NE(response.status, 404U) << target;
    }
    // And nothing else is served there.
    for (const char* method : {"GET", "POST", "PUT", "PATCH"}) {
      if (described.contains(method)) continue;
      EXPECT_EQ(call(method, target).status, 405U) << method << ' ' << target;
    }
  }
  EXPECT_GE(operations, 13);
}

TEST_F(ApiTest, EveryAnswerHasTheMembersOfItsDescription) {
  ASSERT_EQ(call("POST", kList, kBoth).status, 201U);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const YAML::Node schemas =
      YAML::Load(call("GET", "/v1/openapi.yaml").body)["components"]["schemas"];
  const auto expect_same = [&](const char* schema, const json& answer) {
    EXPECT_EQ(names_of(schemas[schema]), names_of(answer)) << schema;
  };

  expect_same("Quota", get(kPath));
  expect_same("Status", get("/v1/status"));
  expect_same("Retention", get("/v1/audit/retention"));
  expect_same("Limit", get("/v1/namespaces/shop/limits")["items"][0]);
  expect_same("Concurrency", get("/v1/namespaces/shop/concurrency")["items"][0]);
  expect_same("Host", get("/v1/namespaces/shop/hosts")["items"][0]);
  expect_same("AuditRow", get("/v1/namespaces/shop/audit")["items"][0]);
  expect_same("Problem", json::parse(call("GET", "/v1/nothing").body));
}

TEST(ApiTimes, AreReadInTheFormsThatPeopleUse) {
  EXPECT_EQ(api::parse_time("1970-01-01T00:00:01Z"), 1'000);
  EXPECT_EQ(api::parse_time("2026-11-22T10:00:00.250+01:00"), 1'795'338'000'250);
  EXPECT_EQ(api::format_time(1'795'338'000'250), "2026-11-22T09:00:00.250Z");
  EXPECT_EQ(api::parse_time("1795338000250"), 1'795'338'000'250);
  for (const char* text : {"", "now", "2026-13-01T00:00:00Z", "2026-11-22", "2026-11-22T10:00:00",
                           "2026-11-22T10:00:00+99:00", "-5", "99999999999999999999",
                           "2026-02-29T00:00:00Z", "2026-11-22T10:00:00.Zx"})
    EXPECT_EQ(api::parse_time(text), std::nullopt) << text;
}

}  // namespace
}  // namespace weir::server
