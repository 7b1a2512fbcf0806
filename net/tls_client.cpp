#include "net/tls_client.h"

#include <openssl/err.h>
#include <poll.h>

#include <cerrno>
#include <utility>

#include "net/tls_parts.h"

namespace weir::net {

namespace {

using Clock = std::chrono::steady_clock;

class Client final : public TlsClient {
 public:
  Client(int fd, std::shared_ptr<TlsContext> context, std::chrono::milliseconds timeout)
      : context_(std::move(context)), timeout_(timeout) {
    end_.fd = fd;
    ssl_.reset(SSL_new(native_of(context_).get()));
  }

  std::string shake_hands(const std::string& host) {
    BIO* bio = ssl_ ? make_bio(end_) : nullptr;
    if (bio == nullptr) return "no memory";
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_connect_state(ssl_.get());
    if (!expect_peer(ssl_.get(), host, SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE))
      return "'" + host + "' is no name that a certificate could have";
    const Clock::time_point until = Clock::now() + timeout_;
    for (;;) {
      ERR_clear_error();
      const int done = SSL_do_handshake(ssl_.get());
      if (done == 1) return {};
      if (std::string why; !wait(done, until, why))
        return why.empty() ? why_refused(ssl_.get(), end_) : why;
    }
  }

  std::string send(std::string_view bytes) override {
    const Clock::time_point until = Clock::now() + timeout_;
    while (!bytes.empty()) {
      ERR_clear_error();
      std::size_t sent = 0;
      if (const int done = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent); done == 1) {
        bytes.remove_prefix(sent);
      } else if (std::string why; !wait(done, until, why)) {
        return why.empty() ? why_ended(end_) : why;
      }
    }
    return {};
  }

  Result<std::size_t> receive(std::span<char> buffer) override {
    const Clock::time_point until = Clock::now() + timeout_;
    for (;;) {
      ERR_clear_error();
      std::size_t got = 0;
      const int done = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got);
      if (done == 1) return got;
      if (SSL_get_error(ssl_.get(), done) == SSL_ERROR_ZERO_RETURN) return std::size_t{0};
      if (std::string why; !wait(done, until, why))
        return Error{Failure::broken, why.empty() ? why_ended(end_) : why};
    }
  }

 private:
  // False when it cannot go on; `why` is empty then if OpenSSL knows the reason.
  bool wait(int result, Clock::time_point until, std::string& why) {
    const int error = SSL_get_error(ssl_.get(), result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd waits{end_.fd, error == SSL_ERROR_WANT_READ ? short{POLLIN} : short{POLLOUT}, 0};
    const int ready = left <= 0 ? 0 : ::poll(&waits, 1, static_cast<int>(left));
    if (ready > 0 || (ready < 0 && errno == EINTR)) return true;
    why = "no answer within " + std::to_string(timeout_.count()) + " ms";
    return false;
  }

  std::shared_ptr<TlsContext> context_;
  std::chrono::milliseconds timeout_;
  SocketEnd end_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
};

}  // namespace

Result<std::unique_ptr<TlsClient>> TlsClient::open(int fd, std::shared_ptr<TlsContext> context,
                                                   const std::string& host,
                                                   std::chrono::milliseconds timeout) {
  auto client = std::make_unique<Client>(fd, std::move(context), timeout);
  if (std::string why = client->shake_hands(host); !why.empty())
    return Error{Failure::broken, "TLS: " + why};
  return Result<std::unique_ptr<TlsClient>>{std::move(client)};
}

}  // namespace weir::net
