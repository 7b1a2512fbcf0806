// N8: only the right server gets the token, only the right agents get in, and whoever looks at the
// log learns which certificate is wrong.
#include "net/tls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "net/link.h"
#include "tests/unit/net/certificates.h"
#include "tests/unit/net/loop.h"

namespace weir::net {
namespace {

struct TlsTest : testing::Test {
  TlsTest() {
    directory = testing::TempDir() + "weir_tls_" + std::to_string(::getpid());
    std::filesystem::create_directory(directory);
    authority = make("ca", {"weir test CA", {}, 30, true}, nullptr);
    stranger = make("other", {"another CA", {}, 30, true}, nullptr);
    server_certificate = make("server", {"server-1", {"DNS:localhost", "IP:127.0.0.1"}, 30, false});
    agent_certificate = make(
        "agent",
        {"agent-7", {"DNS:agent-7.example", "DNS:b.example", "URI:spiffe://x/agent"}, 30, false});
  }
  ~TlsTest() override { std::filesystem::remove_all(directory); }

  std::unique_ptr<TestCertificate> make(const std::string& file, const CertificateOptions& options,
                                        const TestCertificate* issuer) {
    return std::make_unique<TestCertificate>(directory, file, options, issuer);
  }
  std::unique_ptr<TestCertificate> make(const std::string& file,
                                        const CertificateOptions& options) {
    return make(file, options, authority.get());
  }
  static std::shared_ptr<TlsContext> load(const TestCertificate* own, const TestCertificate* ca,
                                          VerifyPeer verify, TlsRole role,
                                          const std::string& server_name = {}) {
    TlsOptions options;
    if (own != nullptr) {
      options.certificate_file = own->certificate_file();
      options.key_file = own->key_file();
    }
    if (ca != nullptr) options.ca_file = ca->certificate_file();
    options.verify_peer = verify;
    options.server_name = server_name;
    auto context = load_tls(options, role);
    EXPECT_TRUE(context) << context.error().text;
    return context ? *context : nullptr;
  }
  std::shared_ptr<TlsContext> server_tls(VerifyPeer verify = VerifyPeer::none) {
    return load(server_certificate.get(), authority.get(), verify, TlsRole::server);
  }
  std::shared_ptr<TlsContext> client_tls(const TestCertificate* own = nullptr,
                                         const std::string& server_name = {}) {
    return load(own, authority.get(), VerifyPeer::required, TlsRole::client, server_name);
  }
  // Connects once, says hello, and returns why it did not work; nothing when it did.
  std::string outcome(std::shared_ptr<TlsContext> server, std::shared_ptr<TlsContext> client,
                      const std::string& host = "127.0.0.1") {
    ListenerOptions at;
    at.tls = std::move(server);
    TestServer running(io, at);
    LinkOptions options;
    options.addresses = {host + running.address.substr(running.address.find(':'))};
    options.tls = std::move(client);
    options.faults = FaultOptions{};
    bool welcome = false;
    std::string why;
    Link* self = nullptr;
    LinkCallbacks callbacks;
    callbacks.on_open = [&] { self->send(hello_message()); };
    callbacks.on_message = [&](const v1::ToAgent&) { welcome = true; };
    callbacks.on_closed = callbacks.on_failed = [&](const std::string& reason) { why = reason; };
    Link link(io, options, callbacks);
    self = &link;
    link.start();
    EXPECT_TRUE(run_until(io, [&] { return welcome || !why.empty(); }));
    if (welcome) {
      EXPECT_TRUE(link.peer().tls);
      server_saw = running.recorder.names;
      return {};
    }
    (void)run_until(
        io, [&] { return running.listener.stats().handshake_failures_total > 0; }, 200ms);
    server_error = running.listener.stats().last_handshake_error;
    return why.empty() ? "nothing happened" : why;
  }

  boost::asio::io_context io;
  std::string directory;
  std::unique_ptr<TestCertificate> authority;
  std::unique_ptr<TestCertificate> stranger;
  std::unique_ptr<TestCertificate> server_certificate;
  std::unique_ptr<TestCertificate> agent_certificate;
  std::vector<std::string> server_saw;
  std::string server_error;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(TlsTest, TheRightServerIsTaken) {
  EXPECT_EQ(outcome(server_tls(), client_tls()), "");
  EXPECT_TRUE(server_saw.empty());
}

TEST_F(TlsTest, AnAgentIsKnownByTheNamesOfItsCertificate) {
  EXPECT_EQ(outcome(server_tls(VerifyPeer::required), client_tls(agent_certificate.get())), "");
  EXPECT_EQ(server_saw, (std::vector<std::string>{"agent-7.example", "b.example",
                                                  "spiffe://x/agent", "agent-7"}));
}

TEST_F(TlsTest, AnOptionalCertificateMayBeMissingButNotWrong) {
  EXPECT_EQ(outcome(server_tls(VerifyPeer::optional), client_tls()), "");
  EXPECT_TRUE(server_saw.empty());
  const auto wrong = make("wrong", {"agent-7", {}, 30, false}, stranger.get());
  EXPECT_NE(outcome(server_tls(VerifyPeer::optional), client_tls(wrong.get())), "");
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsRefused) {
  const auto other = make("forged", {"server-1", {"IP:127.0.0.1"}, 30, false}, stranger.get());
  const auto tls = load(other.get(), authority.get(), VerifyPeer::none, TlsRole::server);

  const std::string why = outcome(tls, client_tls());

  EXPECT_TRUE(contains(why, "certificate was not accepted")) << why;
  EXPECT_TRUE(contains(why, "issuer certificate")) << why;
  EXPECT_TRUE(contains(server_error, "unknown ca")) << server_error;
}

TEST_F(TlsTest, AnExpiredServerIsRefused) {
  const auto expired = make("expired", {"server-1", {"IP:127.0.0.1"}, -2, false});
  const auto tls = load(expired.get(), authority.get(), VerifyPeer::none, TlsRole::server);
  EXPECT_LT(certificate_seconds_left(*tls), -86'000);

  const std::string why = outcome(tls, client_tls());

  EXPECT_TRUE(contains(why, "certificate has expired")) << why;
}

TEST_F(TlsTest, AServerOfAnotherNameIsRefused) {
  const std::string why = outcome(server_tls(), client_tls(nullptr, "another.example"));
  EXPECT_TRUE(contains(why, "mismatch")) << why;
}

TEST_F(TlsTest, TheConfiguredNameCountsInPlaceOfTheDialledOne) {
  const auto named = make("named", {"x", {"DNS:weir.example"}, 30, false});
  const auto tls = load(named.get(), authority.get(), VerifyPeer::none, TlsRole::server);
  EXPECT_EQ(outcome(tls, client_tls(nullptr, "weir.example")), "");
  EXPECT_TRUE(contains(outcome(tls, client_tls()), "mismatch"));
}

TEST_F(TlsTest, AMissingAgentCertificateIsRefused) {
  const std::string why = outcome(server_tls(VerifyPeer::required), client_tls());

  EXPECT_TRUE(contains(why, "certificate required") || contains(why, "closed")) << why;
  EXPECT_TRUE(contains(server_error, "peer did not return a certificate")) << server_error;
}

TEST_F(TlsTest, AnExpiredAgentIsRefused) {
  const auto expired = make("old", {"agent-7", {}, -2, false});
  EXPECT_NE(outcome(server_tls(VerifyPeer::required), client_tls(expired.get())), "");
  EXPECT_TRUE(contains(server_error, "certificate has expired")) << server_error;
}

TEST_F(TlsTest, AClientThatVerifiesNothingTakesAnyServer) {
  const auto tls = load(nullptr, nullptr, VerifyPeer::none, TlsRole::client);
  EXPECT_EQ(outcome(server_tls(), tls), "");
}

TEST_F(TlsTest, APlainClientAndATlsServerDoNotMeet) {
  const std::string why = outcome(server_tls(), nullptr);
  EXPECT_FALSE(why.empty());
  EXPECT_FALSE(server_error.empty());
}

TEST_F(TlsTest, ATlsClientAndAPlainServerDoNotMeet) {
  EXPECT_TRUE(contains(outcome(nullptr, client_tls()), "TLS: "));
}

TEST_F(TlsTest, ASilentPeerMeetsTheHandshakesDeadline) {
  ListenerOptions at;
  at.tls = server_tls();
  at.handshake_deadline = 20ms;
  TestServer server(io, at);
  RawPeer peer(server.address);

  EXPECT_TRUE(run_until(io, [&] { return peer.ended(); }));
  EXPECT_EQ(server.recorder.opens, 0);
  EXPECT_EQ(server.recorder.closes, 0);
  EXPECT_TRUE(contains(server.listener.stats().last_handshake_error, "no TLS handshake"));
}

TEST_F(TlsTest, AServerThatNeverShakesHandsMeetsTheLinksDeadline) {
  TestServer silent(io);  // plain: it waits for a hello
  LinkOptions options;
  options.addresses = {silent.address};
  options.tls = client_tls();
  options.connect_deadline = 30ms;
  options.faults = *parse_faults("drop=0");
  silent.recorder.on_any = nullptr;
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof(in)), 0);
  ASSERT_EQ(::listen(fd, 4), 0);
  socklen_t size = sizeof(in);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
  options.addresses = {"127.0.0.1:" + std::to_string(ntohs(in.sin_port))};
  std::string why;
  LinkCallbacks callbacks;
  callbacks.on_failed = [&](const std::string& reason) { why = reason; };
  Link link(io, options, callbacks);
  link.start();

  EXPECT_TRUE(run_until(io, [&] { return !why.empty(); }));
  EXPECT_TRUE(contains(why, "no answer within 30 ms")) << why;
  ::close(fd);
}

// Large messages in both directions, over records of TLS.
TEST_F(TlsTest, LargeMessagesArriveWhole) {
  ListenerOptions at;
  at.tls = server_tls();
  TestServer server(io, at);
  v1::ToServer request;
  for (std::uint64_t i = 0; i < 4'000; ++i) {
    request.mutable_request()->add_limit(i);
    request.mutable_request()->add_rate(i);
    request.mutable_request()->add_need(i);
    request.mutable_request()->add_returned(i);
    request.mutable_request()->add_keep_rate(i);
    request.mutable_request()->add_keep_burst(i);
    request.mutable_request()->add_spent_total(i);
    request.mutable_request()->add_refused_total(i);
  }
  v1::ToAgent answer;
  answer.mutable_welcome();
  for (std::uint64_t i = 0; i < 4'000; ++i)
    answer.mutable_welcome()->add_withdraw(i);
  int requests = 0;
  server.recorder.on_any = [&](Connection& connection, const v1::ToServer& message) {
    if (!message.has_request()) return;
    ++requests;
    EXPECT_EQ(message.request().refused_total(3'999), 3'999U);
    connection.send(answer);
  };
  LinkOptions options;
  options.addresses = {server.address};
  options.tls = client_tls();
  options.faults = FaultOptions{};
  int answers = 0;
  Link* self = nullptr;
  LinkCallbacks callbacks;
  callbacks.on_open = [&] { self->send(hello_message()); };
  callbacks.on_message = [&](const v1::ToAgent& message) {
    if (message.welcome().withdraw_size() == 0) {
      for (int i = 0; i < 10; ++i)
        self->send(request);
    } else {
      EXPECT_EQ(message.welcome().withdraw(3'999), 3'999U);
      ++answers;
    }
  };
  Link link(io, options, callbacks);
  self = &link;
  link.start();

  EXPECT_TRUE(run_until(io, [&] { return answers == 10; }));
  EXPECT_EQ(requests, 10);
}

TEST_F(TlsTest, NewFilesCountForNewConnections) {
  const auto expired = make("expired2", {"server-1", {"IP:127.0.0.1"}, -2, false});
  ListenerOptions at;
  at.tls = load(expired.get(), authority.get(), VerifyPeer::none, TlsRole::server);
  TestServer server(io, at);
  LinkOptions options;
  options.addresses = {server.address};
  options.tls = client_tls();
  options.backoff = {1ms, 2ms};
  options.faults = FaultOptions{};
  int opens = 0;
  int failures = 0;
  LinkCallbacks callbacks;
  callbacks.on_open = [&] { ++opens; };
  callbacks.on_failed = [&](const std::string&) { ++failures; };
  Link link(io, options, callbacks);
  link.start();
  ASSERT_TRUE(run_until(io, [&] { return failures >= 2; }));

  server.listener.set_tls(server_tls());

  EXPECT_TRUE(run_until(io, [&] { return opens == 1; }));
}

// ---- loading

TEST_F(TlsTest, AFileThatIsNoGoodIsNamed) {
  const std::string missing = directory + "/missing.pem";
  const std::string rubbish = directory + "/rubbish.pem";
  std::ofstream(rubbish) << "-----BEGIN CERTIFICATE-----\nrubbish\n";
  const std::string empty = directory + "/empty.pem";
  std::ofstream(empty).close();
  const auto& own = *server_certificate;
  const auto& other = *agent_certificate;
  const std::string ca = authority->certificate_file();
  struct Bad {
    TlsOptions options;
    TlsRole role;
    std::string part;
  };
  const auto with = [](const std::string& certificate, const std::string& key,
                       const std::string& ca_file, VerifyPeer verify = VerifyPeer::required) {
    TlsOptions options;
    options.certificate_file = certificate;
    options.key_file = key;
    options.ca_file = ca_file;
    options.verify_peer = verify;
    return options;
  };
  const std::vector<Bad> table = {
      {with("", "", ca), TlsRole::server, "needs a certificate and a key"},
      {with(own.certificate_file(), "", ca), TlsRole::client, "a certificate needs its key"},
      {with(missing, own.key_file(), ca), TlsRole::server, missing + ": No such file"},
      {with(empty, own.key_file(), ca), TlsRole::server, empty + ": it is empty"},
      {with(directory, own.key_file(), ca), TlsRole::server, directory + ": it is empty, or no"},
      {with(rubbish, own.key_file(), ca), TlsRole::server, rubbish + ": no usable certificate"},
      {with(own.certificate_file(), missing, ca), TlsRole::server, missing + ": No such file"},
      {with(own.certificate_file(), rubbish, ca), TlsRole::server, "no usable private key"},
      {with(own.certificate_file(), other.key_file(), ca), TlsRole::server, "does not belong"},
      {with(own.certificate_file(), own.encrypted_key_file(), ca), TlsRole::server, "encrypted"},
      {with(own.certificate_file(), own.key_file(), missing), TlsRole::server, "CA file"},
      {with(own.certificate_file(), own.key_file(), rubbish), TlsRole::server, "CA file"},
      {with(own.certificate_file(), own.key_file(), ""), TlsRole::server, "needs a CA file"},
      {with("", "", ca, VerifyPeer::optional), TlsRole::client, "no 'optional'"},
  };
  for (const Bad& bad : table) {
    const auto context = load_tls(bad.options, bad.role);
    ASSERT_FALSE(context) << bad.part;
    EXPECT_TRUE(contains(context.error().text, bad.part)) << context.error().text;
  }
}

TEST_F(TlsTest, TheTimeThatIsLeftIsKnown) {
  const auto tls = server_tls();
  EXPECT_NEAR(static_cast<double>(certificate_seconds_left(*tls)), 30 * 86'400.0, 10);
  EXPECT_EQ(certificate_seconds_left(*client_tls()), INT64_MAX);
}

}  // namespace
}  // namespace weir::net
