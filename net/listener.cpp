// Doors accept in bounded bursts; each connection is a channel with a stranger behind it. Whatever
// ends a connection is told to the handler from the event loop, so that nobody's caller disappears
// below it.
#include "net/listener.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <unordered_map>
#include <utility>

#include "net/address.h"
#include "net/channel.h"
#include "net/listen_socket.h"

namespace weir::net {

namespace {

using boost::system::error_code;

constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};

// Frames a second with a burst, in frames times 10^9.
class FrameRate {
 public:
  FrameRate(std::uint32_t per_s, std::uint32_t burst, Clock::time_point now) noexcept
      : per_s_(per_s), most_(std::int64_t{burst} * kFrame), level_(most_), last_(now) {}
  bool take(Clock::time_point now) noexcept {
    const std::int64_t elapsed_ns =
        std::min<std::int64_t>((now - last_) / std::chrono::nanoseconds{1}, kFrame * 3'600);
    last_ = now;
    level_ = std::min(most_, level_ + elapsed_ns * per_s_);
    if (level_ < kFrame) return false;
    level_ -= kFrame;
    return true;
  }

 private:
  static constexpr std::int64_t kFrame = 1'000'000'000;
  std::int64_t per_s_;
  std::int64_t most_;
  std::int64_t level_;
  Clock::time_point last_;
};

// One count for all listeners: a handler of several keeps their connections in one table.
std::uint64_t next_connection_id() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

v1::ToAgent refused_message(v1::RefusedCode code, std::string_view text) {
  v1::ToAgent message;
  message.mutable_refused()->set_code(code);
  message.mutable_refused()->set_text(std::string(text.substr(0, kTextBytesMax)));
  return message;
}

std::string in_ms(std::chrono::milliseconds time) { return std::to_string(time.count()) + " ms"; }

}  // namespace

class Accepted;

struct Door {
  Door(boost::asio::io_context& io, ListenSocket opened)
      : socket(std::move(opened)), descriptor(io), pause(io) {}
  // The socket closes its descriptor itself.
  ~Door() {
    if (descriptor.is_open()) descriptor.release();
  }

  ListenSocket socket;
  boost::asio::posix::stream_descriptor descriptor;
  boost::asio::steady_timer pause;
};

class Listener::Impl final : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& io, ListenerOptions options, ListenerHandler& handler);

  std::string listen();
  std::string adopt(int fd);
  std::vector<std::string> addresses() const;
  void shut();
  void stop_accepting() { doors_.clear(); }
  void for_each(const std::function<void(Connection&)>& visit);
  const ListenerStats& stats() const noexcept;

  void forget(std::uint64_t id) { connections_.erase(id); }

  boost::asio::io_context& io_;
  ListenerOptions options_;
  ListenerHandler& handler_;
  v1::ToServer message_;  // every connection decodes into it
  v1::ToAgent pong_;
  ChannelCounters counters_;
  mutable ListenerStats stats_;

 private:
  std::string add_door(ListenSocket socket);
  void wait_accept(const std::shared_ptr<Door>& door);
  void accept_some(const std::shared_ptr<Door>& door);
  void admit(int fd, int family);
  void turn_away(int fd, bool plain);

  std::vector<std::shared_ptr<Door>> doors_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Accepted>> connections_;
  std::string busy_frame_;
};

class Accepted final : public Connection,
                       public std::enable_shared_from_this<Accepted>,
                       private ChannelOwner {
 public:
  Accepted(Listener::Impl& impl, std::uint64_t number, Peer peer,
           std::shared_ptr<ByteStream> stream);

  void open();
  // The listener is gone: nothing is called any more.
  void orphan() noexcept;

  bool send(const v1::ToAgent& message) override { return channel_->send(message); }
  bool send_frame(std::string_view frame) override { return channel_->send_frame(frame); }
  void accept_hello() override;
  bool hello_accepted() const noexcept override { return hello_accepted_; }
  void close_after_send(const v1::ToAgent& last) override;
  void refuse(v1::RefusedCode code, std::string_view text) override;
  void close(std::string_view reason) override;
  const Peer& peer() const noexcept override { return peer_; }
  std::uint64_t id() const noexcept override { return id_; }
  Clock::time_point since() const noexcept override { return since_; }
  const std::string& reason() const noexcept override { return reason_; }
  std::size_t queued_bytes() const noexcept override { return channel_->queued_bytes(); }

 private:
  void on_channel_ready() override;
  void on_channel_payload(std::string_view payload) override;
  void on_channel_alarm(Clock::time_point now) override;
  void on_channel_trouble(Trouble trouble, const std::string& text) override;
  void ended();

  Listener::Impl* impl_;
  std::uint64_t id_;
  Peer peer_;
  std::string reason_;
  Clock::time_point since_ = Clock::now();
  FrameRate rate_;
  std::shared_ptr<Channel> channel_;
  bool opened_ = false;
  bool hello_accepted_ = false;
};

// ---- one connection

Accepted::Accepted(Listener::Impl& impl, std::uint64_t number, Peer peer,
                   std::shared_ptr<ByteStream> stream)
    : impl_(&impl),
      id_(next_connection_id()),
      peer_(std::move(peer)),
      rate_(impl.options_.frames_per_s, impl.options_.frames_burst, since_) {
  ChannelOptions options;
  options.frame_bytes_max = impl.options_.frame_bytes_max;
  options.frame_deadline = impl.options_.frame_deadline;
  options.write_deadline = impl.options_.write_deadline;
  options.queue_bytes_max = impl.options_.queue_bytes_max;
  options.faults = *impl.options_.faults;
  channel_ = std::make_shared<Channel>(impl.io_.get_executor(), std::move(stream), options, number);
  channel_->set_frame_bytes_max(impl.options_.hello_frame_bytes_max);
}

void Accepted::open() {
  channel_->set_alarm(since_ + impl_->options_.handshake_deadline);
  channel_->open(*this, impl_->counters_);
}

void Accepted::orphan() noexcept {
  impl_ = nullptr;
  channel_->end();
}

void Accepted::accept_hello() {
  if (std::exchange(hello_accepted_, true) || impl_ == nullptr) return;
  channel_->set_frame_bytes_max(0);
  if (channel_->usable()) channel_->set_alarm(Clock::now() + impl_->options_.idle_close);
}

void Accepted::close_after_send(const v1::ToAgent& last) {
  if (!channel_->usable()) return;
  if (reason_.empty()) reason_ = "closed by the server";
  (void)channel_->send(last);
  channel_->finish();
}

void Accepted::refuse(v1::RefusedCode code, std::string_view text) {
  if (!channel_->usable()) return;
  if (reason_.empty()) reason_ = "refused: " + std::string(text);
  close_after_send(refused_message(code, text));
}

void Accepted::close(std::string_view reason) {
  if (channel_->ended()) return;
  if (reason_.empty()) reason_ = reason;
  channel_->end();
  if (impl_ == nullptr) return;
  boost::asio::post(impl_->io_, [self = shared_from_this()] { self->ended(); });
}

void Accepted::on_channel_ready() {
  const auto self = shared_from_this();
  channel_->fill_peer(peer_);
  opened_ = true;
  channel_->set_alarm(Clock::now() + impl_->options_.hello_deadline);
  impl_->handler_.on_open(*this);
}

void Accepted::on_channel_payload(std::string_view payload) {
  const auto self = shared_from_this();
  if (!rate_.take(channel_->last_in())) {
    ++impl_->stats_.too_fast_total;
    return refuse(v1::REFUSED_BUSY, "more than " + std::to_string(impl_->options_.frames_per_s) +
                                        " messages a second came on one connection");
  }
  v1::ToServer& message = impl_->message_;
  if (const auto complaint = decode(payload, message)) {
    ++impl_->stats_.malformed_total;
    return refuse(complaint.code, complaint.text);
  }
  if (message.has_ping()) {
    impl_->pong_.mutable_pong()->set_no(message.ping().no());
    (void)channel_->send(impl_->pong_);
    return;
  }
  if (!is_newer(message)) impl_->handler_.on_message(*this, message);
}

void Accepted::on_channel_alarm(Clock::time_point now) {
  const auto self = shared_from_this();
  const ListenerOptions& options = impl_->options_;
  if (!opened_) {
    ++impl_->stats_.deadline_total;
    return on_channel_trouble(Trouble::ended,
                              "no TLS handshake within " + in_ms(options.handshake_deadline));
  }
  if (!hello_accepted_) {
    ++impl_->stats_.deadline_total;
    return refuse(v1::REFUSED_DEADLINE, "no hello within " + in_ms(options.hello_deadline));
  }
  const auto idle_at = channel_->last_in() + options.idle_close;
  if (now < idle_at) return channel_->set_alarm(idle_at);
  ++impl_->stats_.deadline_total;
  refuse(v1::REFUSED_DEADLINE, "nothing came for " + in_ms(options.idle_close));
}

void Accepted::on_channel_trouble(Trouble trouble, const std::string& text) {
  const auto self = shared_from_this();
  ListenerStats& stats = impl_->stats_;
  switch (trouble) {
    case Trouble::bad_frame:
      ++stats.malformed_total;
      return refuse(v1::REFUSED_MALFORMED, text);
    case Trouble::frame_deadline:
    case Trouble::write_deadline:
      ++stats.deadline_total;
      break;
    case Trouble::overflow:
      ++stats.overflow_total;
      break;
    case Trouble::ended:
    case Trouble::cut:
      break;
  }
  if (!opened_) {
    ++stats.handshake_failures_total;
    stats.last_handshake_error = peer_.address + ": " + text;
  }
  if (reason_.empty()) reason_ = text;
  channel_->end();
  ended();
}

void Accepted::ended() {
  if (impl_ == nullptr) return;
  if (std::exchange(opened_, false)) impl_->handler_.on_closed(*this);
  if (Listener::Impl* impl = std::exchange(impl_, nullptr)) impl->forget(id_);
}

// ---- the listener

Listener::Impl::Impl(boost::asio::io_context& io, ListenerOptions options, ListenerHandler& handler)
    : io_(io), options_(std::move(options)), handler_(handler) {
  if (!options_.faults) options_.faults = faults_from_environment();
  (void)append_frame(
      busy_frame_,
      refused_message(v1::REFUSED_BUSY, "the server has all the connections that it may have"));
}

std::string Listener::Impl::listen() {
  std::vector<ListenSocket> opened;
  for (const std::string& text : options_.addresses) {
    const auto address = parse_address(text);
    if (!address) return address.error().text;
    auto sockets = open_listen_sockets(*address, options_.unix_mode);
    if (!sockets) return sockets.error().text;
    for (ListenSocket& socket : *sockets)
      opened.push_back(std::move(socket));
  }
  for (ListenSocket& socket : opened)
    if (auto error = add_door(std::move(socket)); !error.empty()) return error;
  return {};
}

std::string Listener::Impl::adopt(int fd) {
  auto socket = adopt_listen_socket(fd);
  if (!socket) return socket.error().text;
  return add_door(std::move(*socket));
}

std::string Listener::Impl::add_door(ListenSocket socket) {
  const auto door = std::make_shared<Door>(io_, std::move(socket));
  error_code error;
  door->descriptor.assign(door->socket.fd(), error);
  if (error) return "cannot wait at " + to_string(door->socket.address()) + ": " + error.message();
  doors_.push_back(door);
  wait_accept(door);
  return {};
}

std::vector<std::string> Listener::Impl::addresses() const {
  std::vector<std::string> list;
  for (const auto& door : doors_)
    list.push_back(to_string(door->socket.address()));
  return list;
}

void Listener::Impl::shut() {
  doors_.clear();
  for (const auto& [id, connection] : connections_)
    connection->orphan();
  connections_.clear();
}

void Listener::Impl::for_each(const std::function<void(Connection&)>& visit) {
  for (const auto& [id, connection] : connections_)
    visit(*connection);
}

const ListenerStats& Listener::Impl::stats() const noexcept {
  stats_.frames_in_total = counters_.frames_in;
  stats_.frames_out_total = counters_.frames_out;
  stats_.bytes_in_total = counters_.bytes_in;
  stats_.bytes_out_total = counters_.bytes_out;
  stats_.connections = static_cast<std::uint32_t>(connections_.size());
  return stats_;
}

// ---- accepting

void Listener::Impl::wait_accept(const std::shared_ptr<Door>& door) {
  door->descriptor.async_wait(
      boost::asio::posix::stream_descriptor::wait_read,
      [weak = weak_from_this(), weak_door = std::weak_ptr<Door>(door)](error_code error) {
        const auto self = weak.lock();
        const auto opened = weak_door.lock();
        if (!error && self && opened) self->accept_some(opened);
      });
}

void Listener::Impl::accept_some(const std::shared_ptr<Door>& door) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage storage{};
    socklen_t bytes = sizeof(storage);
    const int fd = ::accept4(door->socket.fd(), reinterpret_cast<sockaddr*>(&storage), &bytes,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      admit(fd, storage.ss_family);
      if (door.use_count() == 1) return;  // a handler closed the listener
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Whoever waits in the backlog keeps the socket readable: asking again at once would spin.
      ++stats_.accept_errors_total;
      door->pause.expires_after(kAcceptPause);
      door->pause.async_wait(
          [weak = weak_from_this(), weak_door = std::weak_ptr<Door>(door)](error_code error) {
            const auto self = weak.lock();
            const auto opened = weak_door.lock();
            if (!error && self && opened) self->wait_accept(opened);
          });
      return;
    }
    break;
  }
  wait_accept(door);
}

void Listener::Impl::admit(int fd, int family) {
  const bool secure = options_.tls != nullptr && family != AF_UNIX;
  if (connections_.size() >= options_.connections_max) return turn_away(fd, !secure);
  Socket socket(io_);
  error_code error;
  socket.assign(boost::asio::generic::stream_protocol(family, 0), fd, error);
  if (error) {
    ::close(fd);
    return;
  }
  ++stats_.accepted_total;
  tune_socket(socket);
  Peer peer = peer_of(socket);
  auto stream = secure ? make_tls_stream(std::move(socket), options_.tls, {})
                       : make_plain_stream(std::move(socket));
  // Its number at this listener is what the fault seam goes by: the same in each run.
  const auto connection =
      std::make_shared<Accepted>(*this, stats_.accepted_total, std::move(peer), std::move(stream));
  connections_.emplace(connection->id(), connection);
  connection->open();
}

// One word if it fits into the socket's buffer, which is empty; then the end.
void Listener::Impl::turn_away(int fd, bool plain) {
  ++stats_.refused_total;
  if (plain) (void)::send(fd, busy_frame_.data(), busy_frame_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)::shutdown(fd, SHUT_WR);
  ::close(fd);
}

// ---- the handle

Listener::Listener(boost::asio::io_context& io, ListenerOptions options, ListenerHandler& handler)
    : impl_(std::make_shared<Impl>(io, std::move(options), handler)) {}
Listener::~Listener() { impl_->shut(); }

std::string Listener::listen() { return impl_->listen(); }
std::string Listener::adopt(int fd) { return impl_->adopt(fd); }
std::vector<std::string> Listener::addresses() const { return impl_->addresses(); }
void Listener::set_tls(std::shared_ptr<TlsContext> tls) { impl_->options_.tls = std::move(tls); }
void Listener::stop_accepting() { impl_->stop_accepting(); }
void Listener::for_each(const std::function<void(Connection&)>& visit) { impl_->for_each(visit); }
const ListenerStats& Listener::stats() const noexcept { return impl_->stats(); }

}  // namespace weir::net
