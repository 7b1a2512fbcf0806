// An event loop driven by a test, and both ends of a connection on it.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/frame.h"
#include "net/lease_wire.h"
#include "net/listener.h"

namespace weir::net {

using namespace std::chrono_literals;

// Runs the loop until it holds. The limit is only for a test that fails.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& holds,
                      std::chrono::milliseconds limit = 10s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    io.restart();
    io.run_one_for(2ms);
  }
  return true;
}

// Whatever is ready now and soon.
inline void run_for(boost::asio::io_context& io, std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  (void)run_until(
      io, [end] { return std::chrono::steady_clock::now() >= end; }, time + 1s);
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

inline std::string frame_of(const google::protobuf::MessageLite& message) {
  std::string frame;
  (void)append_frame(frame, message);
  return frame;
}

inline v1::ToServer hello_message(const std::string& host = "host-1") {
  v1::ToServer message;
  auto* hello = message.mutable_hello();
  hello->set_protocol_major(kProtocolMajor);
  hello->set_namespace_name("default");
  hello->set_host(host);
  hello->set_hello_no(1);
  return message;
}

inline v1::ToServer ack_message(std::uint64_t seq) {
  v1::ToServer message;
  message.mutable_ack()->set_seq(seq);
  return message;
}

// A server that says hello to everybody and writes down what it sees.
class Recorder : public ListenerHandler {
 public:
  void on_open(Connection& connection) override {
    ++opens;
    last = &connection;
    names = connection.peer().names;
  }
  void on_message(Connection& connection, const v1::ToServer& message) override {
    ++messages;
    if (message.has_hello()) {
      connection.accept_hello();
      v1::ToAgent welcome;
      welcome.mutable_welcome()->set_hello_no(message.hello().hello_no());
      connection.send(welcome);
    }
    if (message.has_ack()) acks.push_back(message.ack().seq());
    if (on_any) on_any(connection, message);
  }
  void on_closed(Connection& connection) override {
    ++closes;
    reason = connection.reason();
    last = nullptr;
  }

  std::function<void(Connection&, const v1::ToServer&)> on_any;
  int opens = 0;
  int closes = 0;
  int messages = 0;
  std::vector<std::uint64_t> acks;
  std::vector<std::string> names;
  std::string reason;
  Connection* last = nullptr;
};

// A client that may send what it likes, in pieces of its choice.
class RawPeer {
 public:
  explicit RawPeer(const std::string& where) {
    const auto address = parse_address(where);
    const bool is_unix = address->kind == Address::Kind::unix_socket;
    fd_ = ::socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(address->port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    std::strncpy(un.sun_path, address->path.c_str(), sizeof(un.sun_path) - 1);
    const auto* name =
        is_unix ? reinterpret_cast<const sockaddr*>(&un) : reinterpret_cast<const sockaddr*>(&in);
    connected_ = ::connect(fd_, name, is_unix ? sizeof(un) : sizeof(in)) == 0;
    ::fcntl(fd_, F_SETFL, O_NONBLOCK);
  }
  ~RawPeer() { close(); }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  bool connected() const { return connected_; }
  // What the kernel took.
  std::size_t send(std::string_view bytes) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  // Reads what is there; true when the server has closed.
  bool ended() {
    char buffer[4096];
    while (true) {
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return true;
      if (n < 0) return false;
      reader_.push({buffer, static_cast<std::size_t>(n)});
      while (const auto payload = reader_.next()) {
        v1::ToAgent message;
        if (decode_payload(*payload, message)) received.push_back(message);
      }
    }
  }
  // Closes with a reset instead of an end.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // The refusal among what was received, or nothing.
  std::string refusal() const {
    for (const v1::ToAgent& message : received)
      if (message.has_refused()) return message.refused().text();
    return {};
  }

  std::vector<v1::ToAgent> received;

 private:
  int fd_ = -1;
  bool connected_ = false;
  FrameReader reader_;
};

// A listener on a free port of this host.
struct TestServer {
  explicit TestServer(boost::asio::io_context& io, ListenerOptions options = {})
      : listener(io, with_address(std::move(options)), recorder) {
    error = listener.listen();
    if (error.empty()) address = listener.addresses().front();
  }
  static ListenerOptions with_address(ListenerOptions options) {
    if (options.addresses.empty()) options.addresses = {"127.0.0.1:0"};
    if (!options.faults) options.faults = FaultOptions{};
    return options;
  }

  Recorder recorder;
  Listener listener;
  std::string error;
  std::string address;
};

}  // namespace weir::net
