// The HTTP server over TLS: the same answers, and nothing for whoever does not speak it, or is
// not who they have to be.
#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "net/tls_client.h"
#include "tests/unit/http/client.h"
#include "tests/unit/net/certificates.h"

namespace weir {
namespace {

using net::TestCertificate;
using net::TlsContext;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace weir::testing;
using std::chrono::milliseconds;

class HttpTls : public ::testing::Test {
 protected:
  HttpTls() {
    directory_ = ::testing::TempDir() + "weir_http_tls_" + std::to_string(::getpid());
    std::filesystem::create_directory(directory_);
    authority_ = make("ca", {"weir test CA", {}, 30, true}, nullptr);
    other_ = make("other", {"another CA", {}, 30, true}, nullptr);
    own_ = make("server", {"server", {"DNS:localhost", "IP:127.0.0.1"}, 30, false}, &*authority_);
    person_ = make("person", {"person", {}, 30, false}, &*authority_);
  }
  ~HttpTls() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<TestCertificate> make(const std::string& file,
                                        const net::CertificateOptions& options,
                                        const TestCertificate* issuer) const {
    return std::make_unique<TestCertificate>(directory_, file, options, issuer);
  }
  static std::shared_ptr<TlsContext> load(const TestCertificate* own, const TestCertificate* ca,
                                          net::VerifyPeer verify, net::TlsRole role) {
    net::TlsOptions options;
    if (own != nullptr) options.certificate_file = own->certificate_file();
    if (own != nullptr) options.key_file = own->key_file();
    if (ca != nullptr) options.ca_file = ca->certificate_file();
    options.verify_peer = verify;
    auto context = net::load_tls(options, role);
    EXPECT_TRUE(context) << context.error().text;
    return context ? *context : nullptr;
  }
  HttpOptions options(bool certificates_wanted = false) const {
    HttpOptions options;
    options.tls =
        net::native_of(load(own_.get(), authority_.get(),
                            certificates_wanted ? net::VerifyPeer::required : net::VerifyPeer::none,
                            net::TlsRole::server));
    return options;
  }
  std::shared_ptr<TlsContext> client(const TestCertificate* shown = nullptr) const {
    return load(shown, authority_.get(), net::VerifyPeer::required, net::TlsRole::client);
  }

  std::string directory_;
  std::unique_ptr<TestCertificate> authority_, other_, own_, person_;
};

// A connection that blocks, in a thread of its own while the server runs in this one.
class Visitor {
 public:
  Visitor(Server& server, std::shared_ptr<TlsContext> context, std::string host = "localhost")
      : server_(server), raw_(server), context_(std::move(context)), host_(std::move(host)) {}

  // What went wrong, or an empty text.
  std::string open() {
    std::string why;
    aside([&] {
      auto opened = net::TlsClient::open(raw_.fd(), context_, host_, milliseconds(20'000));
      if (opened)
        client_ = std::move(*opened);
      else
        why = opened.error().text;
    });
    return why;
  }
  // The next answer, or what went wrong.
  std::string ask(const std::string& request) {
    std::string got;
    aside([&] {
      if (std::string why = client_->send(request); !why.empty()) {
        got = why;
        return;
      }
      std::array<char, 65'536> chunk{};
      while (!whole(got)) {
        const auto some = client_->receive(chunk);
        if (!some) {
          got += some.error().text;
          return;
        }
        if (*some == 0) {
          ended_ = true;
          return;
        }
        got.append(chunk.data(), *some);
      }
    });
    return got;
  }
  bool ended() const { return ended_; }

 private:
  void aside(const std::function<void()>& work) {
    std::atomic<bool> done{false};
    std::thread thread([&] {
      work();
      done = true;
    });
    EXPECT_TRUE(server_.run_until([&] { return done.load(); }));
    thread.join();
  }
  static bool whole(const std::string& text) {
    const std::size_t end = text.find("\r\n\r\n");
    const std::size_t at = text.find("Content-Length: ");
    if (end == text.npos || text.find("Connection: close") < end) return false;
    return at < end && text.size() >= end + 4 + std::stoul(text.substr(at + 16));
  }

  Server& server_;
  Client raw_;
  std::shared_ptr<TlsContext> context_;
  std::string host_;
  std::unique_ptr<net::TlsClient> client_;
  bool ended_ = false;
};

TEST_F(HttpTls, AnswersRequestAfterRequestAndSaysItsEnd) {
  Server server(echo, options());
  Visitor visitor(server, client());
  ASSERT_EQ(visitor.open(), "");

  EXPECT_EQ(body_of(visitor.ask(get("/a"))), "GET /a \n");
  EXPECT_EQ(body_of(visitor.ask(get("/b"))), "GET /b \n");
  EXPECT_EQ(body_of(visitor.ask(get("/c", "Connection: close\r\n"))), "GET /c \n");
  EXPECT_TRUE(visitor.ended()) << "an end that was not said could be a cut";
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
}

TEST_F(HttpTls, ALargeAnswerComesWhole) {
  const std::string page(3'000'000, 'x');
  Server server([&](const HttpRequest&) { return text_response(200, page); }, options());
  Visitor visitor(server, client());
  ASSERT_EQ(visitor.open(), "");

  EXPECT_EQ(body_of(visitor.ask(get("/"))).size(), page.size() + 1);
}

TEST_F(HttpTls, WhoSpeaksPlainHttpIsToldSo) {
  Server server(echo, options());
  Client visitor(server);

  visitor.send(get("/"));
  const std::string answer = visitor.read_to_end();

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer, HasSubstr("https"));
  EXPECT_EQ(server.http->stats().handshake_failures_total, 1U);
  EXPECT_EQ(server.http->stats().requests_total, 0U);
}

TEST_F(HttpTls, AClientTakesNoServerThatIsAnother) {
  Server server(echo, options());
  Visitor elsewhere(server, client(), "weir.example");
  Visitor distrustful(server,
                      load(nullptr, other_.get(), net::VerifyPeer::required, net::TlsRole::client));

  EXPECT_THAT(elsewhere.open(), HasSubstr("mismatch"));
  EXPECT_THAT(distrustful.open(), HasSubstr("certificate was not accepted"));
  EXPECT_EQ(server.http->stats().requests_total, 0U);
}

TEST_F(HttpTls, WhereCertificatesAreWantedNobodyGetsInWithoutOne) {
  Server server(echo, options(true));
  const auto stranger = make("stranger", {"stranger", {}, 30, false}, other_.get());
  for (const TestCertificate* shown : {static_cast<TestCertificate*>(nullptr), stranger.get()}) {
    Visitor visitor(server, client(shown));
    // The client of TLS 1.3 has done its part before the server looks at the certificate.
    if (visitor.open().empty()) {
      EXPECT_THAT(visitor.ask(get("/")), ::testing::Not(HasSubstr("200 OK")));
    }
  }
  EXPECT_EQ(server.http->stats().requests_total, 0U);
  EXPECT_TRUE(server.run_until([&] { return server.http->stats().handshake_failures_total == 2; }));

  Visitor known(server, client(person_.get()));
  ASSERT_EQ(known.open(), "");
  EXPECT_THAT(known.ask(get("/")), HasSubstr("200 OK"));
}

TEST_F(HttpTls, NewCertificatesAreForNewConnections) {
  Server server(echo, options());
  Visitor before(server, client());
  ASSERT_EQ(before.open(), "");
  const auto renewed = make("renewed", {"server", {"DNS:localhost"}, 30, false}, other_.get());

  server.http->set_tls(
      net::native_of(load(renewed.get(), nullptr, net::VerifyPeer::none, net::TlsRole::server)));
  Visitor after(server,
                load(nullptr, other_.get(), net::VerifyPeer::required, net::TlsRole::client));

  EXPECT_EQ(after.open(), "");
  EXPECT_THAT(after.ask(get("/")), HasSubstr("200 OK"));
  EXPECT_THAT(before.ask(get("/")), HasSubstr("200 OK"));
}

TEST_F(HttpTls, WhoSaysNothingIsSentAway) {
  HttpOptions short_ones = options();
  short_ones.header_timeout = milliseconds(50);
  Server server(echo, short_ones);
  Client silent(server);

  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_GE(server.http->stats().timeouts_total, 1U);
}

TEST_F(HttpTls, HalfARequestIsAnsweredInTime) {
  HttpOptions short_ones = options();
  short_ones.header_timeout = milliseconds(500);
  Server server(echo, short_ones);
  Visitor visitor(server, client());
  ASSERT_EQ(visitor.open(), "");

  EXPECT_THAT(visitor.ask("GET / HTTP/1.1\r\nHost: loc"), StartsWith("HTTP/1.1 408 "));
}

TEST_F(HttpTls, AServerThatStopsCallsNobodyAnyMore) {
  Server server(echo, options());
  Visitor visitor(server, client());
  ASSERT_EQ(visitor.open(), "");
  Client in_the_handshake(server);
  in_the_handshake.send("\x16\x03\x01");
  server.io.poll();

  server.http->stop();

  EXPECT_TRUE(server.run_until([&] { return server.http->stats().connections == 0; }));
  EXPECT_EQ(in_the_handshake.read_to_end(), "");
}

}  // namespace
}  // namespace weir
