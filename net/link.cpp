// A link goes in rounds: every address once, each with its deadline, then a wait that grows. What
// is under way has a number; whatever comes back with an older number is of a try that was given
// up.
#include "net/link.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <span>
#include <utility>

#include "net/address.h"
#include "net/channel.h"
#include "net/secret.h"

namespace weir::net {

namespace {

using boost::system::error_code;
namespace ip = boost::asio::ip;
using Endpoint = Socket::endpoint_type;
using Ms = std::chrono::milliseconds;

constexpr std::size_t kEndpointsMax = 16;   // of one name
constexpr std::size_t kKnownHostsMax = 64;  // names whose last addresses are kept
constexpr unsigned kRedirectsInRowMax = 3;

std::uint64_t kernel_random() {
  std::uint64_t value = 0;
  (void)random_bytes({reinterpret_cast<unsigned char*>(&value), sizeof(value)});
  return value;
}

void add_once(std::vector<Address>& list, const Address& address) {
  if (std::find(list.begin(), list.end(), address) == list.end()) list.push_back(address);
}

}  // namespace

const char* to_string(LinkState state) noexcept {
  switch (state) {
    case LinkState::idle:
      return "idle";
    case LinkState::resolving:
      return "resolving";
    case LinkState::connecting:
      return "connecting";
    case LinkState::handshaking:
      return "handshaking";
    case LinkState::open:
      return "open";
    case LinkState::waiting:
      return "waiting";
    case LinkState::closed:
      return "closed";
  }
  return "?";
}

class Link::Impl final : public std::enable_shared_from_this<Impl>, private ChannelOwner {
 public:
  Impl(boost::asio::io_context& io, LinkOptions options, LinkCallbacks callbacks);

  void start();
  void close();
  void leave(const std::string& reason, bool at_once);
  void reconnect(const std::string& reason);
  bool redirect(const std::vector<std::string>& addresses, const std::string& reason);
  void set_addresses(const std::vector<std::string>& addresses);
  void set_tls(std::shared_ptr<TlsContext> tls) { options_.tls = std::move(tls); }
  bool send(const v1::ToServer& message) { return is_open() && channel_->send(message); }
  bool is_open() const noexcept { return stats_.state == LinkState::open; }
  const LinkStats& stats() const noexcept;
  const Peer& peer() const noexcept { return peer_; }

 private:
  void begin_round();
  void next_address();
  void resolve();
  void system_resolve(const std::string& host, Resolved done);
  void resolved(std::uint64_t number, const std::string& host, const std::string& error,
                std::vector<std::string> addresses);
  bool use_known(const std::string& host);
  void next_endpoint();
  void connected(std::uint64_t number, error_code error);
  void failed(const std::string& why);
  void wait();
  void closed(const std::string& reason, bool at_once);

  void set_state(LinkState state);
  void drop() noexcept;
  void after(Ms delay, void (Impl::*what)());
  void too_late();
  void watch(Clock::time_point now);

  void on_channel_ready() override;
  void on_channel_payload(std::string_view payload) override;
  void on_channel_alarm(Clock::time_point now) override { watch(now); }
  void on_channel_trouble(Trouble trouble, const std::string& text) override;

  boost::asio::io_context& io_;
  LinkOptions options_;
  LinkCallbacks callbacks_;
  Backoff backoff_;
  boost::asio::steady_timer timer_;
  ip::tcp::resolver resolver_;

  std::vector<Address> addresses_;
  std::vector<Address> targets_;  // of a redirect; for one round
  std::optional<Address> last_good_;
  std::optional<Address> avoided_;  // the last of the next round
  std::map<std::string, std::vector<std::string>> known_hosts_;
  unsigned redirects_in_row_ = 0;

  std::uint64_t number_ = 0;  // of what is under way
  std::vector<Address> round_;
  std::size_t round_at_ = 0;
  Address current_;
  std::vector<Endpoint> endpoints_;
  std::size_t endpoint_at_ = 0;
  std::optional<Socket> connecting_;
  std::shared_ptr<Channel> channel_;
  std::uint64_t channels_ = 0;
  Peer peer_;
  std::optional<Clock::time_point> pinged_;
  bool stable_ = false;
  bool heard_ = false;   // the server has said something on this connection
  std::string refusal_;  // the server's last word, until the connection has ended

  v1::ToAgent message_;
  v1::ToServer ping_;
  ChannelCounters counters_;
  mutable LinkStats stats_;
};

Link::Impl::Impl(boost::asio::io_context& io, LinkOptions options, LinkCallbacks callbacks)
    : io_(io),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      backoff_(options_.backoff),
      timer_(io),
      resolver_(io) {
  if (!options_.random) options_.random = kernel_random;
  if (!options_.faults) options_.faults = faults_from_environment();
  stats_.since = Clock::now();
  set_addresses(options_.addresses);
}

// ---- what the caller says

void Link::Impl::start() {
  if (stats_.state != LinkState::idle && stats_.state != LinkState::closed) return;
  set_state(LinkState::waiting);
  after(Ms{0}, &Impl::begin_round);
}

void Link::Impl::close() {
  drop();
  timer_.cancel();
  resolver_.cancel();
  set_state(LinkState::closed);
}

void Link::Impl::leave(const std::string& reason, bool at_once) {
  if (stats_.state == LinkState::idle || stats_.state == LinkState::closed) return;
  const bool was_open = is_open();
  drop();
  set_state(LinkState::waiting);
  timer_.cancel();
  boost::asio::post(io_, [self = shared_from_this(), number = number_, reason, at_once, was_open] {
    if (self->number_ != number) return;
    if (was_open) return self->closed(reason, at_once);
    if (at_once) return self->begin_round();
    self->wait();
  });
}

void Link::Impl::reconnect(const std::string& reason) {
  last_good_.reset();
  avoided_ = current_;
  leave(reason, false);
}

bool Link::Impl::redirect(const std::vector<std::string>& addresses, const std::string& reason) {
  std::vector<Address> targets;
  for (const std::string& text : addresses) {
    // A Unix socket is of this host alone: no server sends us there.
    const auto address = parse_address(text);
    if (!address || address->kind != Address::Kind::tcp) continue;
    if (address->host.empty() || address->port == 0) continue;
    if (targets.size() < static_cast<std::size_t>(kRedirectsMax)) add_once(targets, *address);
  }
  if (targets.empty()) return false;
  ++stats_.redirects_total;
  ++redirects_in_row_;
  targets_ = std::move(targets);
  const std::string to = "redirected to " + to_string(targets_.front());
  leave(reason.empty() ? to : to + ": " + reason, redirects_in_row_ <= kRedirectsInRowMax);
  return true;
}

void Link::Impl::set_addresses(const std::vector<std::string>& addresses) {
  addresses_.clear();
  last_good_.reset();
  for (const std::string& text : addresses) {
    const auto address = parse_address(text);
    if (!address) {
      stats_.last_error = address.error().text;
    } else if (address->kind == Address::Kind::tcp &&
               (address->host.empty() || address->port == 0)) {
      stats_.last_error = "address '" + text + "' has no host or no port to connect to";
    } else {
      add_once(addresses_, *address);
    }
  }
}

const LinkStats& Link::Impl::stats() const noexcept {
  stats_.frames_in_total = counters_.frames_in;
  stats_.frames_out_total = counters_.frames_out;
  stats_.bytes_in_total = counters_.bytes_in;
  stats_.bytes_out_total = counters_.bytes_out;
  return stats_;
}

// ---- rounds

void Link::Impl::set_state(LinkState state) {
  stats_.state = state;
  stats_.since = Clock::now();
}

// Gives up what is under way. A connection may still say what was sent, and closes by itself.
void Link::Impl::drop() noexcept {
  ++number_;
  connecting_.reset();
  pinged_.reset();
  if (auto channel = std::exchange(channel_, nullptr)) {
    channel->detach();
    if (is_open()) {
      channel->finish();
    } else {
      channel->end();
    }
  }
}

void Link::Impl::after(Ms delay, void (Impl::*what)()) {
  timer_.expires_after(delay);
  timer_.async_wait([self = shared_from_this(), number = number_, what](error_code error) {
    if (!error && self->number_ == number) (self.get()->*what)();
  });
}

void Link::Impl::begin_round() {
  ++number_;
  round_ = std::exchange(targets_, {});
  if (last_good_) add_once(round_, *last_good_);
  for (const Address& address : addresses_)
    add_once(round_, address);
  if (const auto last = std::exchange(avoided_, std::nullopt)) {
    const auto found = std::find(round_.begin(), round_.end(), *last);
    if (found != round_.end()) std::rotate(found, found + 1, round_.end());
  }
  round_at_ = 0;
  if (round_.empty() && stats_.last_error.empty()) stats_.last_error = "no address is configured";
  next_address();
}

void Link::Impl::next_address() {
  if (round_at_ == round_.size()) return wait();
  current_ = round_[round_at_++];
  stats_.address = to_string(current_);
  endpoints_.clear();
  endpoint_at_ = 0;
  if (current_.kind == Address::Kind::unix_socket) {
    endpoints_.emplace_back(boost::asio::local::stream_protocol::endpoint(current_.path));
    return next_endpoint();
  }
  error_code not_numeric;
  const auto address = ip::make_address(current_.host, not_numeric);
  if (not_numeric) return resolve();
  endpoints_.emplace_back(ip::tcp::endpoint(address, current_.port));
  next_endpoint();
}

void Link::Impl::wait() {
  set_state(LinkState::waiting);
  stats_.wait = backoff_.next(options_.random());
  after(stats_.wait, &Impl::begin_round);
}

// ---- names

void Link::Impl::resolve() {
  ++number_;
  set_state(LinkState::resolving);
  after(options_.connect_deadline, &Impl::too_late);
  const std::string host = current_.host;
  Resolved done = [weak = weak_from_this(), number = number_, host](
                      const std::string& error, std::vector<std::string> addresses) {
    if (const auto self = weak.lock()) self->resolved(number, host, error, std::move(addresses));
  };
  if (options_.resolve) return options_.resolve(host, std::move(done));
  system_resolve(host, std::move(done));
}

// On Asio's own thread: getaddrinfo() may take half a minute.
void Link::Impl::system_resolve(const std::string& host, Resolved done) {
  resolver_.async_resolve(
      host, "0", ip::resolver_base::numeric_service,
      [done = std::move(done)](error_code error, const ip::tcp::resolver::results_type& results) {
        std::vector<std::string> addresses;
        for (const auto& entry : results)
          addresses.push_back(entry.endpoint().address().to_string());
        done(error ? error.message() : std::string{}, std::move(addresses));
      });
}

void Link::Impl::resolved(std::uint64_t number, const std::string& host, const std::string& error,
                          std::vector<std::string> addresses) {
  const bool good = error.empty() && !addresses.empty();
  if (good) {
    if (addresses.size() > kEndpointsMax) addresses.resize(kEndpointsMax);
    if (known_hosts_.size() >= kKnownHostsMax && !known_hosts_.contains(host)) known_hosts_.clear();
    known_hosts_[host] = std::move(addresses);
  }
  if (number != number_) return;  // too late for this try; the next one has it
  if (!good) stats_.last_error = "cannot resolve " + host + ": " + error;
  if (!use_known(host)) return failed("cannot resolve " + host + ": " + error);
  next_endpoint();
}

// The addresses that the name had when it was last resolved.
bool Link::Impl::use_known(const std::string& host) {
  const auto known = known_hosts_.find(host);
  if (known == known_hosts_.end()) return false;
  for (const std::string& text : known->second) {
    error_code error;
    const auto address = ip::make_address(text, error);
    if (!error) endpoints_.emplace_back(ip::tcp::endpoint(address, current_.port));
  }
  return !endpoints_.empty();
}

// ---- connecting

void Link::Impl::next_endpoint() {
  if (endpoint_at_ == endpoints_.size()) return next_address();
  const Endpoint endpoint = endpoints_[endpoint_at_++];
  ++number_;
  set_state(LinkState::connecting);
  connecting_.emplace(io_);
  error_code error;
  connecting_->open(endpoint.protocol(), error);
  if (error) return failed(error.message());
  tune_socket(*connecting_);
  after(options_.connect_deadline, &Impl::too_late);
  connecting_->async_connect(endpoint,
                             [self = shared_from_this(), number = number_](error_code failure) {
                               self->connected(number, failure);
                             });
}

void Link::Impl::connected(std::uint64_t number, error_code error) {
  if (number != number_) return;
  if (error) return failed(error.message());
  Socket socket = std::move(*connecting_);
  connecting_.reset();
  peer_ = peer_of(socket);
  const bool secure = options_.tls != nullptr && current_.kind == Address::Kind::tcp;
  auto stream = secure ? make_tls_stream(std::move(socket), options_.tls, current_.host)
                       : make_plain_stream(std::move(socket));
  ChannelOptions options;
  options.frame_bytes_max = options_.frame_bytes_max;
  options.frame_deadline = options_.frame_deadline;
  options.write_deadline = options_.write_deadline;
  options.queue_bytes_max = options_.queue_bytes_max;
  options.faults = *options_.faults;
  set_state(LinkState::handshaking);
  channel_ = std::make_shared<Channel>(io_.get_executor(), std::move(stream), options, channels_++);
  const auto channel = channel_;  // what it calls may drop it
  channel->open(*this, counters_);
}

void Link::Impl::too_late() {
  const std::string time = std::to_string(options_.connect_deadline.count()) + " ms";
  if (stats_.state != LinkState::resolving) return failed("no answer within " + time);
  ++number_;
  stats_.last_error = "cannot resolve " + current_.host + ": no answer within " + time;
  if (use_known(current_.host)) return next_endpoint();
  failed("no answer of the name server within " + time);
}

void Link::Impl::failed(const std::string& why) {
  drop();
  timer_.cancel();
  ++stats_.failures_total;
  stats_.last_error = stats_.address + ": " + why;
  const std::uint64_t number = number_;
  const auto self = shared_from_this();
  if (callbacks_.on_failed) callbacks_.on_failed(stats_.last_error);
  if (number == number_) next_endpoint();
}

// ---- open

void Link::Impl::on_channel_ready() {
  const auto self = shared_from_this();
  timer_.cancel();
  channel_->fill_peer(peer_);
  last_good_ = current_;
  stable_ = heard_ = false;
  refusal_.clear();
  ++stats_.opens_total;
  set_state(LinkState::open);
  watch(Clock::now());
  if (callbacks_.on_open) callbacks_.on_open();
}

void Link::Impl::on_channel_payload(std::string_view payload) {
  const auto self = shared_from_this();
  heard_ = true;
  if (const auto complaint = decode(payload, message_))
    return leave("the server's message was refused: " + complaint.text, false);
  const ToAgentKind kind = kind_of(message_);
  if (kind == ToAgentKind::none || kind == ToAgentKind::pong) return;
  if (kind == ToAgentKind::refused)
    refusal_ = "refused by the server: " + message_.refused().text();
  if (callbacks_.on_message) callbacks_.on_message(message_);
}

// Sees that the peer lives, and forgets old failures once the connection has lasted.
void Link::Impl::watch(Clock::time_point now) {
  if (!is_open()) return;
  if (!stable_ && now - stats_.since >= options_.stable_after) {
    stable_ = true;
    backoff_.reset();
    redirects_in_row_ = 0;
  }
  const auto last_in = channel_->last_in();
  if (pinged_ && last_in >= *pinged_) pinged_.reset();
  if (pinged_ && now - *pinged_ >= options_.pong_deadline) {
    return leave(
        "no answer to a ping within " + std::to_string(options_.pong_deadline.count()) + " ms",
        false);
  }
  if (!pinged_ && now - last_in >= options_.ping_after) {
    pinged_ = now;
    ping_.mutable_ping()->set_no(ping_.ping().no() + 1);
    if (!channel_->send(ping_)) return;
  }
  auto next = pinged_ ? *pinged_ + options_.pong_deadline : last_in + options_.ping_after;
  if (!stable_) next = std::min(next, stats_.since + options_.stable_after);
  channel_->set_alarm(next);
}

void Link::Impl::on_channel_trouble(Trouble, const std::string& text) {
  const auto self = shared_from_this();
  if (auto channel = std::exchange(channel_, nullptr)) channel->end();
  if (!is_open()) return failed(text);
  drop();
  if (!heard_) {
    // Something accepts connections for a server that is not there, such as a proxy: the others
    // in the list come first.
    last_good_.reset();
    avoided_ = current_;
  }
  closed(refusal_.empty() ? text : std::exchange(refusal_, {}), false);
}

// The next try is arranged before the caller hears of it: what it does then comes after.
void Link::Impl::closed(const std::string& reason, bool at_once) {
  ++stats_.closes_total;
  stats_.last_error = stats_.address + ": " + reason;
  if (at_once) {
    after(Ms{0}, &Impl::begin_round);
    set_state(LinkState::waiting);
  } else {
    wait();
  }
  const auto self = shared_from_this();
  if (callbacks_.on_closed) callbacks_.on_closed(reason);
}

// ---- the handle

Link::Link(boost::asio::io_context& io, LinkOptions options, LinkCallbacks callbacks)
    : impl_(std::make_shared<Impl>(io, std::move(options), std::move(callbacks))) {}
Link::~Link() { impl_->close(); }

void Link::start() { impl_->start(); }
void Link::close() { impl_->close(); }
void Link::reconnect(const std::string& reason) { impl_->reconnect(reason); }
bool Link::redirect(const std::vector<std::string>& addresses, const std::string& reason) {
  return impl_->redirect(addresses, reason);
}
void Link::set_addresses(std::vector<std::string> addresses) { impl_->set_addresses(addresses); }
void Link::set_tls(std::shared_ptr<TlsContext> tls) { impl_->set_tls(std::move(tls)); }
bool Link::send(const v1::ToServer& message) { return impl_->send(message); }
bool Link::is_open() const noexcept { return impl_->is_open(); }
const LinkStats& Link::stats() const noexcept { return impl_->stats(); }
const Peer& Link::peer() const noexcept { return impl_->peer(); }

}  // namespace weir::net
