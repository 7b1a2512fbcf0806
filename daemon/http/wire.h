// A connection as Beast's functions see it: the socket, or TLS over it. For server.cpp alone.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <new>
#include <optional>
#include <utility>

namespace weir {

class HttpWire {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Tls = boost::asio::ssl::stream<Socket&>;
  using executor_type = Socket::executor_type;

  // Without a context: plain.
  HttpWire(Socket socket, SSL_CTX* context) : socket_(std::move(socket)) {
    if (context == nullptr) return;
    SSL* made = SSL_new(context);
    if (made == nullptr) throw std::bad_alloc();
    tls_.emplace(socket_, made);
  }

  executor_type get_executor() { return socket_.get_executor(); }
  Socket& socket() noexcept { return socket_; }
  const Socket& socket() const noexcept { return socket_; }
  Tls* tls() noexcept { return tls_ ? &*tls_ : nullptr; }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Handler>(handler));
    socket_.async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Handler>(handler));
    socket_.async_write_some(buffers, std::forward<Handler>(handler));
  }

 private:
  Socket socket_;
  std::optional<Tls> tls_;
};

}  // namespace weir
