// The only file that includes Beast, and its TLS streams. Callbacks instead of coroutines: every
// step of a connection is a named function, and g++ 12 destroys temporaries of co_await expressions
// twice.
#include "daemon/http/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <ctime>
#include <exception>
#include <optional>
#include <unordered_set>
#include <utility>

#include "daemon/http/host_guard.h"
#include "daemon/http/wire.h"

namespace weir {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
namespace ssl = boost::asio::ssl;

// What a peer may still send after an answer that ends its connection. Closing with unread bytes
// would reset the connection and take the answer from the peer's hands.
constexpr std::size_t kLingerBytesMax = 256U << 10;
constexpr std::chrono::milliseconds kLingerTimeout{1'000};
constexpr std::size_t kReadBytes = 4096;
constexpr std::string_view kOverloaded =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 21\r\nContent-Type: text/plain\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections\n";
constexpr std::string_view kSpeaksTls =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\nContent-Type: text/plain\r\n"
    "Connection: close\r\n\r\nthis port speaks https alone";

void set_close_on_exec(int fd) noexcept { ::fcntl(fd, F_SETFD, FD_CLOEXEC); }

std::string to_text(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  const std::string port = std::to_string(endpoint.port());
  return endpoint.address().is_v6() ? "[" + address + "]:" + port : address + ":" + port;
}

bool is_loopback(const asio::ip::address& address) noexcept {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  const std::size_t bytes =
      std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text.data(), bytes};
}

bool is_token(std::string_view name) noexcept {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : name) {
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alphanumeric && kMarks.find(c) == kMarks.npos) return false;
  }
  return !name.empty();
}

// A line end inside a value would be a second header, or a second answer.
bool is_field_value(std::string_view value) noexcept {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) return false;
  }
  return true;
}

// The answer to bytes that are no request; 0 when the connection itself has ended.
unsigned status_of(const error_code& error) noexcept {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  if (error == http::error::bad_version) return 505;
  if (error == http::error::end_of_stream || error == http::error::partial_message) return 0;
  return error.category() == make_error_code(http::error::bad_method).category() ? 400 : 0;
}

}  // namespace

class HttpServer::Core : public std::enable_shared_from_this<Core> {
 public:
  class Connection;

  Core(asio::io_context& io_context, HttpOptions given, HttpAsyncHandler given_handler)
      : io(io_context),
        options(std::move(given)),
        handler(std::move(given_handler)),
        tls(options.tls),
        acceptor_(io_context),
        pause_(io_context) {}

  std::string listen();
  void accept_next();
  void stop() noexcept;
  std::uint16_t bound_port() const noexcept { return bound_.port(); }
  std::string bound_address() const { return to_text(bound_); }

  asio::io_context& io;
  const HttpOptions options;
  const HttpAsyncHandler handler;
  std::shared_ptr<ssl_ctx_st> tls;  // of connections from now on
  HostGuard guard{true, {}};
  HttpStats stats;
  std::unordered_set<Connection*> connections;
  bool stopped = false;

 private:
  void on_accept(const error_code& error, tcp::socket socket);
  void pause_accepting();
  void refuse(tcp::socket socket) noexcept;

  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  tcp::endpoint bound_;
};

// One peer. Alive as long as one of its asynchronous operations is.
class HttpServer::Core::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Core> core, tcp::socket socket);
  ~Connection() { core_->connections.erase(this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void run();
  void close() noexcept;

 private:
  using Step = void (Connection::*)(error_code, std::size_t);
  auto then(Step step) { return beast::bind_front_handler(step, this->shared_from_this()); }

  void set_deadline(std::chrono::milliseconds timeout);
  void on_deadline(const error_code& error);

  void on_handshake(error_code error);
  void on_shutdown(error_code error);
  void read_next();
  void on_first_byte(error_code error, std::size_t bytes);
  void read_header();
  void on_header(error_code error, std::size_t bytes);
  unsigned check_header() const;
  void write_continue();
  void on_continue(error_code error, std::size_t bytes);
  void read_body();
  void on_body(error_code error, std::size_t bytes);
  void on_read_failure(const error_code& error);
  void call_handler();
  void on_response(std::uint64_t request, HttpResponse response);
  HttpRequest make_request() const;
  void reject(unsigned status);
  void answer(HttpResponse response, bool keep_alive);
  void on_written(error_code error, std::size_t bytes);
  void linger();
  void end_sending();
  void read_and_drop();
  void on_dropped(error_code error, std::size_t bytes);

  std::shared_ptr<Core> core_;
  HttpWire wire_;
  asio::steady_timer deadline_;
  bool timed_out_ = false;
  std::uint64_t requests_ = 0;
  std::uint64_t waiting_for_ = 0;  // which of them the handler has not answered; 0: none
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  bool head_ = false;
  std::size_t dropped_bytes_ = 0;
};

// ---- the listener ----

std::string HttpServer::Core::listen() {
  const std::string place =
      "cannot serve HTTP on " + options.address + ", port " + std::to_string(options.port) + ": ";
  error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error) return place + "not a literal IPv4 or IPv6 address";
  std::vector<std::string> names = options.hosts_allowed;
  names.push_back(own_host_name());
  guard = HostGuard(is_loopback(address), std::move(names));

  const tcp::endpoint endpoint(address, options.port);
  if (!acceptor_.open(endpoint.protocol(), error)) {
    set_close_on_exec(acceptor_.native_handle());
    acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) bound_ = acceptor_.local_endpoint(error);
  }
  if (!error) return {};
  const std::string why = error.message();
  acceptor_.close(error);
  return place + why;
}

void HttpServer::Core::accept_next() {
  if (stopped) return;
  acceptor_.async_accept(beast::bind_front_handler(&Core::on_accept, shared_from_this()));
}

void HttpServer::Core::on_accept(const error_code& error, tcp::socket socket) {
  if (stopped) return;
  if (error && error != asio::error::connection_aborted) return pause_accepting();
  if (!error) {
    ++stats.connections_total;
    set_close_on_exec(socket.native_handle());
    if (connections.size() >= options.connections_max) {
      refuse(std::move(socket));
    } else {
      std::make_shared<Connection>(shared_from_this(), std::move(socket))->run();
    }
  }
  accept_next();
}

// Without descriptors or memory the peer stays in the queue and accept fails again at once:
// asking again without a pause would be a busy loop.
void HttpServer::Core::pause_accepting() {
  ++stats.accept_pauses_total;
  pause_.expires_after(options.accept_pause);
  pause_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->accept_next();
  });
}

void HttpServer::Core::refuse(tcp::socket socket) noexcept {
  ++stats.connections_refused_total;
  if (tls != nullptr) return;
  [[maybe_unused]] const auto sent = ::send(socket.native_handle(), kOverloaded.data(),
                                            kOverloaded.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void HttpServer::Core::stop() noexcept {
  stopped = true;
  error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  for (Connection* connection : connections)
    connection->close();
}

// ---- one connection ----

HttpServer::Core::Connection::Connection(std::shared_ptr<Core> core, tcp::socket socket)
    : core_(std::move(core)),
      wire_(std::move(socket), core_->tls.get()),
      deadline_(core_->io),
      buffer_(core_->options.header_bytes_max + core_->options.body_bytes_max + kReadBytes) {
  core_->connections.insert(this);
  error_code ignored;
  wire_.socket().set_option(tcp::no_delay(true), ignored);
}

void HttpServer::Core::Connection::close() noexcept {
  deadline_.cancel();
  error_code ignored;
  wire_.socket().close(ignored);
}

void HttpServer::Core::Connection::run() {
  if (wire_.tls() == nullptr) return read_header();
  set_deadline(core_->options.header_timeout);
  wire_.tls()->async_handshake(
      ssl::stream_base::server,
      beast::bind_front_handler(&Connection::on_handshake, this->shared_from_this()));
}

void HttpServer::Core::Connection::on_handshake(error_code error) {
  if (core_->stopped) return close();
  if (!error) return read_header();
  ++core_->stats.handshake_failures_total;
  // Whoever has typed http:// shall know why nothing comes.
  if (error.category() == asio::error::get_ssl_category() &&
      ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_HTTP_REQUEST)
    (void)::send(wire_.socket().native_handle(), kSpeaksTls.data(), kSpeaksTls.size(),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
  close();
}

void HttpServer::Core::Connection::set_deadline(std::chrono::milliseconds timeout) {
  timed_out_ = false;
  deadline_.expires_after(timeout);
  deadline_.async_wait([weak = weak_from_this()](const error_code& error) {
    if (const auto self = weak.lock()) self->on_deadline(error);
  });
}

// A deadline is for a whole step, however many bytes trickle in. First the operation is
// cancelled, so that the peer can be told; what was just about to complete may begin another
// read, and so a second deadline closes the socket.
void HttpServer::Core::Connection::on_deadline(const error_code& error) {
  if (error || deadline_.expiry() > asio::steady_timer::clock_type::now()) return;
  if (timed_out_) return close();
  ++core_->stats.timeouts_total;
  if (waiting_for_ != 0) {
    waiting_for_ = 0;
    return answer(text_response(503, "no answer in time"), false);
  }
  set_deadline(kLingerTimeout);
  timed_out_ = true;
  error_code ignored;
  wire_.socket().cancel(ignored);
}

void HttpServer::Core::Connection::read_next() {
  // A pipelined request is here already.
  if (buffer_.size() != 0) return read_header();
  set_deadline(core_->options.idle_timeout);
  wire_.async_read_some(buffer_.prepare(kReadBytes), then(&Connection::on_first_byte));
}

void HttpServer::Core::Connection::on_first_byte(error_code error, std::size_t bytes) {
  if (error || core_->stopped) return close();
  buffer_.commit(bytes);
  read_header();
}

void HttpServer::Core::Connection::read_header() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(core_->options.header_bytes_max));
  parser_->body_limit(core_->options.body_bytes_max);
  head_ = false;
  set_deadline(core_->options.header_timeout);
  http::async_read_header(wire_, buffer_, *parser_, then(&Connection::on_header));
}

void HttpServer::Core::Connection::on_header(error_code error, std::size_t) {
  if (core_->stopped) return close();
  if (error) return on_read_failure(error);
  if (const unsigned status = check_header(); status != 0) return reject(status);
  if (parser_->is_done()) return call_handler();
  if (!parser_->get()[http::field::expect].empty()) return write_continue();
  read_body();
}

// 0, or why the request is refused without a look at its path.
unsigned HttpServer::Core::Connection::check_header() const {
  const auto& request = parser_->get();
  if (request.version() != 10 && request.version() != 11) return 505;
  const auto hosts = request.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && request.version() == 11)) return 400;
  if (!request.target().starts_with('/')) return 400;
  if (hosts == 1 && !core_->guard.admits(request[http::field::host])) return 421;
  const auto expect = request[http::field::expect];
  if (!expect.empty() && !beast::iequals(expect, "100-continue")) return 417;
  return 0;
}

void HttpServer::Core::Connection::write_continue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  set_deadline(core_->options.write_timeout);
  asio::async_write(wire_, asio::buffer(kContinue), then(&Connection::on_continue));
}

void HttpServer::Core::Connection::on_continue(error_code error, std::size_t) {
  if (error || core_->stopped) return close();
  read_body();
}

void HttpServer::Core::Connection::read_body() {
  set_deadline(core_->options.body_timeout);
  http::async_read(wire_, buffer_, *parser_, then(&Connection::on_body));
}

void HttpServer::Core::Connection::on_body(error_code error, std::size_t) {
  if (core_->stopped) return close();
  if (error) return on_read_failure(error);
  call_handler();
}

void HttpServer::Core::Connection::on_read_failure(const error_code& error) {
  if (timed_out_) {
    // A peer that said nothing is no request that failed.
    if (!parser_->got_some() && buffer_.size() == 0) return close();
    return reject(408);
  }
  const unsigned status = status_of(error);
  if (status == 0) return close();
  reject(status);
}

HttpRequest HttpServer::Core::Connection::make_request() const {
  const auto& message = parser_->get();
  HttpRequest request;
  request.head = message.method() == http::verb::head;
  request.method = request.head ? "GET" : std::string(message.method_string());
  const std::string target(message.target());
  const std::size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  if (question < target.size()) request.query = target.substr(question + 1);
  for (const auto& field : message) {
    request.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  request.body = message.body();
  error_code error;
  const tcp::endpoint peer = wire_.socket().remote_endpoint(error);
  if (!error) request.peer = to_text(peer);
  return request;
}

void HttpServer::Core::Connection::call_handler() {
  ++core_->stats.requests_total;
  const std::uint64_t number = ++requests_;
  waiting_for_ = number;
  set_deadline(core_->options.handler_timeout);
  try {
    const HttpRequest request = make_request();
    head_ = request.head;
    // The function keeps the connection alive, which waits for nothing else meanwhile.
    core_->handler(request, [self = shared_from_this(), number](HttpResponse response) {
      self->on_response(number, std::move(response));
    });
  } catch (...) {  // the agent goes on; what went wrong is the handler's to log
    if (waiting_for_ != number) return;
    waiting_for_ = 0;
    if (core_->stopped) return close();
    answer(text_response(500, "internal error"), false);
  }
}

void HttpServer::Core::Connection::on_response(std::uint64_t request, HttpResponse response) {
  if (waiting_for_ != request) return;
  waiting_for_ = 0;
  // The handler may have stopped the server.
  if (core_->stopped || !wire_.socket().is_open()) return close();
  answer(std::move(response), parser_->get().keep_alive());
}

void HttpServer::Core::Connection::reject(unsigned status) {
  ++core_->stats.rejected_total;
  head_ = parser_->is_header_done() && parser_->get().method() == http::verb::head;
  answer(text_response(status, std::string(http::obsolete_reason(http::int_to_status(status)))),
         false);
}

void HttpServer::Core::Connection::answer(HttpResponse response, bool keep_alive) {
  const bool known = response.status >= 200 && response.status <= 599;
  const unsigned status = known ? response.status : 500;
  const bool bodiless = status == 204 || status == 304;
  response_ = {};
  // To an older client a connection stays open only by a word of its own version.
  response_.version(parser_->get().version() == 10 ? 10 : 11);
  response_.result(status);
  response_.set(http::field::date, http_date());
  response_.set("X-Content-Type-Options", "nosniff");
  response_.set(http::field::cache_control, "no-store");
  if (!bodiless && is_field_value(response.content_type)) {
    response_.set(http::field::content_type, response.content_type);
  }
  for (const auto& [name, value] : response.headers) {
    // The frame of the message is ours: a second length would be a second answer.
    const bool framing = equal_ignoring_case(name, "Content-Length") ||
                         equal_ignoring_case(name, "Transfer-Encoding") ||
                         equal_ignoring_case(name, "Connection");
    if (is_token(name) && is_field_value(value) && !framing) response_.set(name, value);
  }
  if (!bodiless) response_.content_length(response.body.size());
  response_.keep_alive(keep_alive);
  if (!head_ && !bodiless) response_.body() = std::move(response.body);
  set_deadline(core_->options.write_timeout);
  http::async_write(wire_, response_, then(&Connection::on_written));
}

void HttpServer::Core::Connection::on_written(error_code error, std::size_t) {
  if (error || core_->stopped) return close();
  if (!response_.keep_alive()) return linger();
  response_ = {};  // an idle connection holds no page
  read_next();
}

void HttpServer::Core::Connection::linger() {
  set_deadline(kLingerTimeout);
  if (wire_.tls() != nullptr) {
    // The peer must be able to tell an end from a cut.
    return wire_.tls()->async_shutdown(
        beast::bind_front_handler(&Connection::on_shutdown, this->shared_from_this()));
  }
  end_sending();
}

void HttpServer::Core::Connection::on_shutdown(error_code) {
  if (core_->stopped || timed_out_) return close();
  end_sending();
}

void HttpServer::Core::Connection::end_sending() {
  error_code ignored;
  wire_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  read_and_drop();
}

void HttpServer::Core::Connection::read_and_drop() {
  buffer_.clear();
  wire_.socket().async_read_some(buffer_.prepare(kReadBytes), then(&Connection::on_dropped));
}

void HttpServer::Core::Connection::on_dropped(error_code error, std::size_t bytes) {
  dropped_bytes_ += bytes;
  if (error || core_->stopped || dropped_bytes_ > kLingerBytesMax) return close();
  read_and_drop();
}

// ---- the public face ----

HttpServer::HttpServer(asio::io_context& io, HttpOptions options, HttpHandler handler)
    : HttpServer(io, std::move(options),
                 HttpAsyncHandler([handler = std::move(handler)](const HttpRequest& request,
                                                                 const HttpRespond& respond) {
                   respond(handler(request));
                 })) {}
HttpServer::HttpServer(asio::io_context& io, HttpOptions options, HttpAsyncHandler handler)
    : core_(std::make_shared<Core>(io, std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() { core_->stop(); }

std::string HttpServer::start() noexcept {
  try {
    std::string error = core_->listen();
    if (error.empty()) core_->accept_next();
    return error;
  } catch (const std::exception& error) {
    return error.what();
  }
}

void HttpServer::stop() noexcept { core_->stop(); }

void HttpServer::set_tls(std::shared_ptr<ssl_ctx_st> tls) noexcept { core_->tls = std::move(tls); }

bool HttpServer::secure() const noexcept { return core_->tls != nullptr; }

std::uint16_t HttpServer::bound_port() const noexcept { return core_->bound_port(); }

std::string HttpServer::bound_address() const { return core_->bound_address(); }

HttpStats HttpServer::stats() const noexcept {
  HttpStats stats = core_->stats;
  stats.connections = core_->connections.size();
  return stats;
}

}  // namespace weir
