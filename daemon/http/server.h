// A small HTTP/1.1 server on the daemon's own io_context, plain or over TLS: plain structs in,
// plain structs out. Metrics, health, the API. Everything that a peer can make it hold or wait for
// has a bound in HttpOptions. No type of Beast shows here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/message.h"

namespace boost::asio {
class io_context;
}
struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace weir {

struct HttpOptions {
  std::string address = "127.0.0.1";  // a literal IPv4 or IPv6 address
  std::uint16_t port = 0;             // 0: the kernel picks one, see bound_port()
  std::size_t connections_max = 64;   // further ones are answered 503 and closed
  std::size_t header_bytes_max = 8U << 10;
  std::size_t body_bytes_max = 8U << 10;
  std::chrono::milliseconds header_timeout{5'000};  // from accept, or a request's first byte
  std::chrono::milliseconds body_timeout{5'000};
  std::chrono::milliseconds handler_timeout{30'000};  // of one that answers later; then it is 503
  std::chrono::milliseconds write_timeout{10'000};
  std::chrono::milliseconds idle_timeout{30'000};  // between two requests
  std::chrono::milliseconds accept_pause{100};     // after EMFILE and its like
  // A page on the web may point its own name at 127.0.0.1 and let a browser ask us. So a server
  // on a loopback address answers only to "localhost", literal addresses, this host's name and
  // these names; anything else is 421.
  std::vector<std::string> hosts_allowed = {};
  // Of the server's kind, with certificate and key; none: plain HTTP.
  std::shared_ptr<ssl_ctx_st> tls = nullptr;
};

struct HttpStats {
  std::uint64_t connections_total = 0;
  std::uint64_t connections_refused_total = 0;  // over connections_max
  std::uint64_t requests_total = 0;             // that reached the handler
  std::uint64_t rejected_total = 0;             // answered with an error before the handler
  std::uint64_t timeouts_total = 0;
  std::uint64_t handshake_failures_total = 0;  // of TLS
  std::uint64_t accept_pauses_total = 0;
  std::size_t connections = 0;
};

// One thread: everything happens on the thread that runs the io_context, and so must the calls.
class HttpServer {
 public:
  HttpServer(boost::asio::io_context& io, HttpOptions options, HttpHandler handler);
  HttpServer(boost::asio::io_context& io, HttpOptions options, HttpAsyncHandler handler);
  ~HttpServer();  // stops; the handler is not called again, even if the io_context runs on
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds, listens and accepts. Returns what is wrong, or an empty text.
  [[nodiscard]] std::string start() noexcept;
  // For connections from now on; those that are open keep theirs. A server without TLS stays so.
  void set_tls(std::shared_ptr<ssl_ctx_st> tls) noexcept;
  // Closes the listener and all connections, answered or not.
  void stop() noexcept;

  bool secure() const noexcept;               // speaks TLS
  std::uint16_t bound_port() const noexcept;  // 0 before start()
  std::string bound_address() const;          // "127.0.0.1:9464", "[::1]:9464"
  HttpStats stats() const noexcept;

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace weir
