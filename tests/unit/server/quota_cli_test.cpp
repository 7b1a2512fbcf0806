// weir quota and weir audit against a real server, over HTTP.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "agent/cli/app.h"
#include "daemon/http/server.h"
#include "net/secret.h"
#include "server/access.h"
#include "server/api/api.h"
#include "tests/unit/net/certificates.h"
#include "tests/unit/server/quota_fixture.h"

namespace weir::server {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Ran {
  int exit_code = -1;
  std::string out, err;
};

class QuotaCliTest : public QuotaServerTest {
 protected:
  ~QuotaCliTest() override {
    http.reset();
    api.reset();
  }
  void SetUp() override {
    ASSERT_TRUE(serve(quota_file("{name: calls, total: 1000}") +
                      "api: {tokens: [{name: ops, role: admin, token: '" +
                      net::token_hash("secret") + "'}]}\n"));
    api = std::make_unique<Api>(*server_);
    api->use_store(gate.get(), store.get());
    start_http({});
    std::ofstream(dir_ + "/token") << "secret\n";
  }
  void start_http(const HttpOptions& options) {
    http = std::make_unique<HttpServer>(
        io, options, HttpAsyncHandler([this](const HttpRequest& request, HttpRespond respond) {
          api->handle(request, std::move(respond));
        }));
    ASSERT_EQ(http->start(), "");
  }
  // The program in a thread of its own, while the server runs in this one.
  Ran run(std::vector<std::string> words, std::vector<std::string> server = {}) {
    if (server.empty())
      server = {"--namespace",   "shop",  "--token-file",
                dir_ + "/token", "--api", http->bound_address()};
    words.insert(words.end(), server.begin(), server.end());
    Ran ran;
    std::ostringstream out, err;
    std::atomic<bool> done{false};
    std::thread program([&] {
      const cli::Host host{out, err, [](const char*) { return nullptr; }, false, {}, {}};
      ran.exit_code = cli::run_program(words, host);
      done = true;
    });
    EXPECT_TRUE(run_until(
        io, [&] { return done.load(); }, 60s));
    program.join();
    ran.out = out.str();
    ran.err = err.str();
    return ran;
  }

  std::unique_ptr<Api> api;
  std::unique_ptr<HttpServer> http;
};

TEST_F(QuotaCliTest, AKeyLivesFromItsMakingToItsEnd) {
  const Ran made = run({"quota", "create", "calls", "customer 7/ü", "--rate", "60"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("1000"));

  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(run({"quota", "top-up", "calls", "customer 7/ü", "500", "--once", "i1"}).exit_code,
              0);
  const std::string key = lease::quota_key("calls", "customer 7/ü");
  EXPECT_EQ(read(key).record.remaining, 1500);
  EXPECT_EQ(read(key).record.config.rate_per_min, 60U);
  EXPECT_THAT(run({"quota", "suspend", "calls", "customer 7/ü"}).out, HasSubstr("suspended"));
  EXPECT_THAT(run({"quota", "resume", "calls", "customer 7/ü"}).out, HasSubstr("active"));
  EXPECT_EQ(run({"quota", "configure", "calls", "customer 7/ü", "--total", "20"}).exit_code, 0);
  EXPECT_EQ(run({"quota", "reset", "calls", "customer 7/ü"}).exit_code, 0);
  EXPECT_THAT(run({"quota", "show", "calls", "customer 7/ü", "-o", "json"}).out,
              HasSubstr("\"remaining\": 20"));
  EXPECT_THAT(run({"quota", "list"}).out, HasSubstr("calls"));
  EXPECT_EQ(run({"quota", "delete", "calls", "customer 7/ü"}).exit_code, 0);
  EXPECT_THAT(run({"quota", "list"}).out, Not(HasSubstr("calls")));

  const Ran log = run({"audit", "calls", "customer 7/ü", "--action", "top_up"});
  EXPECT_THAT(log.out, HasSubstr("top_up"));
  EXPECT_THAT(log.out, HasSubstr("ops"));
  EXPECT_THAT(log.out, Not(HasSubstr("suspend")));
}

TEST_F(QuotaCliTest, WhatGoesWrongIsSaidAndIsAFailure) {
  const Ran unknown = run({"quota", "show", "calls", "nobody"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("there is no such key (404)"));

  const Ran stranger =
      run({"quota", "list"}, {"--namespace", "shop", "--api", http->bound_address()});
  EXPECT_EQ(stranger.exit_code, 1);
  EXPECT_THAT(stranger.err, HasSubstr("Authorization: Bearer"));

  const Ran nobody = run({"quota", "list"}, {"--api", "127.0.0.1:1"});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_THAT(nobody.err, HasSubstr("no token server's API answers at 127.0.0.1:1"));

  EXPECT_THAT(run({"quota", "list"}, {"--api", "x"}).err, HasSubstr("no address"));
  EXPECT_THAT(run({"quota", "list"}, {"--token-file", dir_ + "/none"}).err,
              HasSubstr("cannot be read"));
  EXPECT_EQ(run({"quota", "top-up", "calls", "a", "-5"}).exit_code, 1);
  EXPECT_EQ(run({"quota", "top-up", "calls"}).exit_code, 2);
}

TEST_F(QuotaCliTest, SpeaksTlsToAServerThatDoes) {
  const net::TestCertificate authority(dir_, "ca", {"weir test CA", {}, 30, true});
  const net::TestCertificate own(dir_, "server", {"server", {"DNS:localhost"}, 30, false},
                                 &authority);
  TlsRule files;
  files.enabled = true;
  files.certificate = own.certificate_file();
  files.key = own.key_file();
  std::shared_ptr<net::TlsContext> tls;
  ASSERT_EQ(load_tls(files, "http_tls", tls), "");
  HttpOptions options;
  options.tls = net::native_of(tls);
  start_http(options);
  const std::string port = std::to_string(http->bound_port());
  const auto at = [&](const std::string& place, std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--namespace",   "shop",  "--token-file",
                                   dir_ + "/token", "--api", place};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::vector<std::string> trusted{"--api-ca", authority.certificate_file()};

  const Ran good = run({"quota", "create", "calls", "k"}, at("https://localhost:" + port, trusted));
  const Ran wrong_name = run({"quota", "list"}, at("https://127.0.0.1:" + port, trusted));
  const Ran unknown = run({"quota", "list"}, at("https://localhost:" + port));
  const Ran clear = run({"quota", "list"}, at("localhost:" + port));
  const Ran mistake = run({"quota", "list"}, at("localhost:" + port, trusted));

  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_THAT(good.out, HasSubstr("1000"));
  EXPECT_THAT(wrong_name.err, HasSubstr("mismatch"));
  EXPECT_THAT(unknown.err, HasSubstr("--api-ca names"));
  EXPECT_THAT(clear.err, HasSubstr("https"));
  EXPECT_THAT(mistake.err, HasSubstr("does not"));
  for (const Ran& ran : {wrong_name, unknown, clear, mistake})
    EXPECT_NE(ran.exit_code, 0);
}

}  // namespace
}  // namespace weir::server
