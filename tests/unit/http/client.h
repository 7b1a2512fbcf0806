// A client of raw bytes and the server in one thread: whenever the client waits, the server runs.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/http/server.h"
#include "shm/fd.h"

namespace weir::testing {

inline constexpr std::chrono::seconds kPatience{60};

class Server {
 public:
  explicit Server(HttpHandler handler, HttpOptions options = {})
      : http(std::make_unique<HttpServer>(io, std::move(options), std::move(handler))) {
    EXPECT_EQ(http->start(), "");
  }

  // Runs the server until `done`. False when that never happens.
  template <class Done>
  bool run_until(Done done) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      if (io.stopped()) io.restart();
      io.run_one_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  boost::asio::io_context io;
  std::unique_ptr<HttpServer> http;
};

class Client {
 public:
  explicit Client(Server& server) : server_(server) {
    socket_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(server.http->bound_port());
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&peer), sizeof(peer)), 0);
  }

  // False when the server has closed the connection.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent =
          ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0) server_.io.poll();
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Takes what is here now. True when the server has closed the connection.
  bool read_now() {
    std::array<char, 65'536> chunk{};
    for (;;) {
      const ssize_t bytes = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
      if (bytes < 0 && errno == EAGAIN) return false;
      if (bytes <= 0) return true;
      received_.append(chunk.data(), static_cast<std::size_t>(bytes));
    }
  }

  // All bytes up to the end of the connection.
  std::string read_to_end() {
    EXPECT_TRUE(server_.run_until([&] { return read_now(); })) << "the connection stays open";
    return std::exchange(received_, {});
  }

  // One answer, by its Content-Length; empty when the connection ends before.
  std::string read_answer(bool head = false) {
    std::size_t bytes = 0;
    EXPECT_TRUE(server_.run_until([&] {
      const bool closed = read_now();
      bytes = answer_bytes(head);
      return bytes != 0 || closed;
    })) << "no answer";
    std::string answer = received_.substr(0, bytes);
    received_.erase(0, bytes);
    return answer;
  }

  std::string ask(std::string_view request) {
    send(request);
    return read_answer();
  }
  void finish_sending() { ::shutdown(socket_.get(), SHUT_WR); }
  int fd() const { return socket_.get(); }

 private:
  std::size_t answer_bytes(bool head) const {
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == received_.npos) return 0;
    const std::size_t at = received_.find("Content-Length: ");
    const bool has_body = !head && at != received_.npos && at < end;
    const std::size_t body = has_body ? std::stoul(received_.substr(at + 16)) : 0;
    return received_.size() >= end + 4 + body ? end + 4 + body : 0;
  }

  Server& server_;
  shm::Fd socket_;
  std::string received_;
};

inline unsigned status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.") ? static_cast<unsigned>(std::stoul(answer.substr(9))) : 0;
}
inline std::string body_of(const std::string& answer) {
  const std::size_t end = answer.find("\r\n\r\n");
  return end == answer.npos ? "" : answer.substr(end + 4);
}
inline std::string get(std::string_view path, std::string_view headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) +
         "\r\n";
}

// Says what it was asked.
inline HttpResponse echo(const HttpRequest& request) {
  return text_response(200, request.method + " " + request.path + " " + request.body);
}

}  // namespace weir::testing
