// An agent's connection to a token server: finds it, connects, keeps it alive, comes back for ever.
//
//     Link link(io, options, {.on_open = ..., .on_message = ..., .on_closed = ...});
//     link.start();
//
// Lives on the thread of its io_context and never blocks it. It may be destroyed at any time, also
// by its own callbacks; nothing is called afterwards. What it does not know is what it carries:
// hello, sessions and leases are the caller's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/backoff.h"
#include "net/fault_seam.h"
#include "net/lease_wire.h"
#include "net/peer.h"
#include "net/tls.h"

namespace boost::asio {
class io_context;
}

namespace weir::net {

// Name to numeric addresses. `done` is called on the thread of the io_context, once, now or later;
// calling it after the link has gone does nothing.
using Resolved = std::function<void(std::string error, std::vector<std::string> addresses)>;
using Resolve = std::function<void(const std::string& host, Resolved done)>;

struct LinkOptions {
  // host:port, [::1]:port, unix:/path; tried in this order, the last good one first.
  std::vector<std::string> addresses;
  std::shared_ptr<TlsContext> tls;  // none: plain. A Unix socket is always plain.

  std::chrono::milliseconds connect_deadline{2'000};  // connecting and handshake, each address
  std::chrono::milliseconds frame_deadline{2'000};    // from a frame's first byte to its last
  std::chrono::milliseconds write_deadline{5'000};    // without the peer taking a byte
  std::chrono::milliseconds ping_after{15'000};       // nothing came for so long
  std::chrono::milliseconds pong_deadline{5'000};
  std::chrono::milliseconds stable_after{5'000};  // open for so long: the back-off is forgotten
  BackoffOptions backoff;
  std::uint32_t frame_bytes_max = kLeaseFrameBytesMax;
  std::size_t queue_bytes_max = 4U << 20;  // sent and not taken by the peer: over it, it closes

  std::function<std::uint64_t()> random;  // for the jitter; none: seeded by the kernel
  Resolve resolve;                        // none: the system's, on a thread of its own
  std::optional<FaultOptions> faults;     // none: faults_from_environment()
};

enum class LinkState : std::uint8_t {
  idle,  // not started
  resolving,
  connecting,
  handshaking,
  open,
  waiting,  // for the next try
  closed,
};
const char* to_string(LinkState state) noexcept;

struct LinkStats {
  LinkState state = LinkState::idle;
  std::chrono::steady_clock::time_point since;  // of the state
  std::string address;                          // open to it, or trying it, as configured
  std::string last_error;                       // why it is not open, or was not; stays
  std::uint64_t opens_total = 0;
  std::uint64_t failures_total = 0;  // tries that did not open
  std::uint64_t closes_total = 0;    // opens that ended
  std::uint64_t redirects_total = 0;
  std::uint64_t frames_in_total = 0;
  std::uint64_t frames_out_total = 0;
  std::uint64_t bytes_in_total = 0;
  std::uint64_t bytes_out_total = 0;
  std::chrono::milliseconds wait{0};  // the last wait between two rounds
};

struct LinkCallbacks {
  std::function<void()> on_open;                       // say hello now
  std::function<void(const v1::ToAgent&)> on_message;  // checked; valid during the call
  // Once for each on_open, unless close() or the destructor ended it. It comes back by itself.
  std::function<void(const std::string& reason)> on_closed;
  // A try that did not open: for the log, which should not print every one of them.
  std::function<void(const std::string& reason)> on_failed;
};

class Link {
 public:
  Link(boost::asio::io_context& io, LinkOptions options, LinkCallbacks callbacks);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void start();  // once; also after close()
  // Ends it for good, without on_closed. What was sent is given up to a second to go out.
  void close();
  // Ends this connection as the caller sees fit, and comes back after a wait, here only after all
  // other addresses; on_closed follows.
  void reconnect(const std::string& reason);

  // Goes there now, before any other; on_closed follows for an open connection. After several
  // redirects in a row it waits first: two servers may point at each other. What is no host:port is
  // passed over; false when nothing is left.
  bool redirect(const std::vector<std::string>& addresses, const std::string& reason);
  // For the next try; an open connection stays.
  void set_addresses(std::vector<std::string> addresses);
  void set_tls(std::shared_ptr<TlsContext> tls);

  // Messages of one turn of the event loop go out in one write. False when the link is not open,
  // the message is too large, or the queue is full (then on_closed follows).
  bool send(const v1::ToServer& message);

  bool is_open() const noexcept;
  const LinkStats& stats() const noexcept;
  const Peer& peer() const noexcept;  // of the open or the last connection

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::net
