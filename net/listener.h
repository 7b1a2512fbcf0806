// The server's side: accepts agents on TCP, TLS and Unix sockets and bounds whatever they do.
//
// Every connection is a stranger until accept_hello(). It has a deadline for TLS, one for its
// hello, one for each frame, one for taking what is sent to it, and one for being silent; a bound
// on the size of a frame, on frames a second, and on bytes that wait for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/fault_seam.h"
#include "net/lease_wire.h"
#include "net/peer.h"
#include "net/tls.h"

namespace boost::asio {
class io_context;
}

namespace weir::net {

// One agent. Belongs to its listener; a reference is good until on_closed() has returned.
class Connection {
 public:
  virtual ~Connection() = default;

  // Messages of one turn of the event loop go out in one write. False when it is closing, the
  // message is too large, or too much waits already (then it is closed).
  virtual bool send(const v1::ToAgent& message) = 0;
  // The same for a frame that append_frame() has made: one encoding for many connections.
  virtual bool send_frame(std::string_view frame) = 0;

  // The hello was good: the larger frames are allowed, and the deadline for the hello is over.
  virtual void accept_hello() = 0;
  virtual bool hello_accepted() const noexcept = 0;

  // Nothing more is taken from it; it is closed when it has taken the last message, or soon after.
  virtual void close_after_send(const v1::ToAgent& last) = 0;
  virtual void refuse(v1::RefusedCode code, std::string_view text) = 0;  // the same, with Refused
  virtual void close(std::string_view reason) = 0;                       // at once

  virtual const Peer& peer() const noexcept = 0;
  virtual std::uint64_t id() const noexcept = 0;  // of this process, and never used again
  virtual std::chrono::steady_clock::time_point since() const noexcept = 0;
  // Why it ended; for on_closed().
  virtual const std::string& reason() const noexcept = 0;
  virtual std::size_t queued_bytes() const noexcept = 0;

  void* user = nullptr;  // the handler's own
};

class ListenerHandler {
 public:
  virtual ~ListenerHandler() = default;
  virtual void on_open(Connection& connection) { (void)connection; }  // TLS is done
  // Checked; valid during the call. Pings are answered before, and a hello of another major version
  // is refused before. The first message need not be a hello: that is for the handler to refuse.
  virtual void on_message(Connection& connection, const v1::ToServer& message) = 0;
  // Once for each on_open(). Never from inside a call of send() or close(). The destructor of the
  // listener calls nothing.
  virtual void on_closed(Connection& connection) = 0;
};

struct ListenerOptions {
  std::vector<std::string> addresses;  // 0.0.0.0:7117, [::]:7117, unix:/path; port 0: any
  std::shared_ptr<TlsContext> tls;     // for TCP; none: plain
  std::uint32_t unix_mode = 0660;

  std::uint32_t connections_max = 20'000;
  std::chrono::milliseconds handshake_deadline{5'000};
  std::chrono::milliseconds hello_deadline{1'000};
  std::chrono::milliseconds frame_deadline{2'000};
  std::chrono::milliseconds write_deadline{5'000};
  std::chrono::milliseconds idle_close{600'000};
  std::uint32_t frame_bytes_max = kLeaseFrameBytesMax;
  std::uint32_t hello_frame_bytes_max = kHelloFrameBytesMax;
  std::size_t queue_bytes_max = 4U << 20;
  std::uint32_t frames_per_s = 200;
  std::uint32_t frames_burst = 400;

  std::optional<FaultOptions> faults;  // none: faults_from_environment()
};

struct ListenerStats {
  std::uint64_t accepted_total = 0;
  std::uint64_t refused_total = 0;        // over connections_max
  std::uint64_t accept_errors_total = 0;  // out of descriptors or memory; accepting paused
  std::uint64_t handshake_failures_total = 0;
  std::uint64_t malformed_total = 0;  // closed for what they sent
  std::uint64_t too_fast_total = 0;
  std::uint64_t deadline_total = 0;  // hello, frame, write or idle
  std::uint64_t overflow_total = 0;  // did not take what was sent
  std::uint64_t frames_in_total = 0;
  std::uint64_t frames_out_total = 0;
  std::uint64_t bytes_in_total = 0;
  std::uint64_t bytes_out_total = 0;
  std::uint32_t connections = 0;
  std::string last_handshake_error;  // with the address; for a log line now and then
};

class Listener {
 public:
  class Impl;  // of listener.cpp alone

  Listener(boost::asio::io_context& io, ListenerOptions options, ListenerHandler& handler);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Opens every address or none. The error text is empty on success. May wait for a name server.
  [[nodiscard]] std::string listen();
  // A listening socket that a service manager opened; it is owned from here on.
  [[nodiscard]] std::string adopt(int fd);
  // What it listens at, with the real ports.
  std::vector<std::string> addresses() const;

  void set_tls(std::shared_ptr<TlsContext> tls);  // for connections to come
  void stop_accepting();                          // what is connected stays
  void for_each(const std::function<void(Connection&)>& visit);
  const ListenerStats& stats() const noexcept;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::net
