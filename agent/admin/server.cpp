#include "agent/admin/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "net/frame.h"

namespace weir::agent {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

// One connection: reads a frame, answers it, reads the next.
class AdminServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(AdminServer& server, Protocol::socket socket, bool may_change)
      : server_(server), socket_(std::move(socket)), idle_(server.io_), may_change_(may_change) {}

  void start() { read(); }
  void close() {
    boost::system::error_code ignored;
    idle_.cancel();
    socket_.close(ignored);
  }

 private:
  void read() {
    watch();
    socket_.async_read_some(
        asio::buffer(chunk_),
        [self = shared_from_this()](const boost::system::error_code& error, std::size_t bytes) {
          self->on_read(error, bytes);
        });
  }

  void on_read(const boost::system::error_code& error, std::size_t bytes) {
    if (error || !reader_.push({chunk_.data(), bytes})) return end();
    answer_next();
  }

  // Requests that came in one piece are answered one after the other.
  void answer_next() {
    const auto payload = reader_.next();
    if (reader_.failed()) return end();
    if (!payload) return read();
    v1::AdminRequest request;
    v1::AdminResponse response;
    if (!net::decode_payload(*payload, request)) {
      response.set_error("the request is not an AdminRequest; use the weir of this version");
      return answer(response);
    }
    server_.handler_(request, may_change_,
                     [weak = weak_from_this()](const v1::AdminResponse& answered) {
                       if (const auto self = weak.lock()) self->answer(answered);
                     });
  }

  void answer(const v1::AdminResponse& response) {
    answer_ = net::encode_frame(response);
    if (answer_.empty()) return end();
    asio::async_write(
        socket_, asio::buffer(answer_),
        [self = shared_from_this()](const boost::system::error_code& failed, std::size_t) {
          if (failed)
            self->end();
          else
            self->answer_next();
        });
  }

  // A peer that neither asks nor reads is let go.
  void watch() {
    idle_.expires_after(std::chrono::seconds(kAdminIdleSeconds));
    idle_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->end();
    });
  }

  void end() {
    close();
    server_.sessions_.erase(shared_from_this());
  }

  AdminServer& server_;
  Protocol::socket socket_;
  asio::steady_timer idle_;
  bool may_change_;
  std::array<char, 16384> chunk_{};
  net::FrameReader reader_;
  std::string answer_;
};

AdminServer::AdminServer(asio::io_context& io, Handler handler, Reader may_read)
    : io_(io),
      handler_(std::move(handler)),
      may_read_(std::move(may_read)),
      acceptor_(io),
      pause_(io) {}

AdminServer::~AdminServer() { close(); }

std::string AdminServer::listen(const std::string& path) noexcept {
  path_ = path;
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) return path + " exists and is not a socket; remove it";
    if (::unlink(path.c_str()) != 0)
      return "cannot remove the old socket " + path + ": " + std::strerror(errno);
  }
  boost::system::error_code error;
  acceptor_.open(Protocol(), error);
  if (!error) acceptor_.bind(Protocol::endpoint(path), error);
  // Who may ask what is decided by the kernel's word on the peer.
  if (!error && ::chmod(path.c_str(), 0666) != 0)
    error.assign(errno, boost::system::system_category());
  if (!error) acceptor_.listen(16, error);
  if (error) return "cannot listen at " + path + ": " + error.message();
  accept();
  return {};
}

void AdminServer::close() noexcept {
  boost::system::error_code ignored;
  if (acceptor_.is_open()) {
    acceptor_.close(ignored);
    ::unlink(path_.c_str());
  }
  pause_.cancel();
  for (const auto& session : sessions_)
    session->close();
  sessions_.clear();
}

void AdminServer::accept() {
  acceptor_.async_accept([this](const boost::system::error_code& error, Protocol::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      pause_.expires_after(std::chrono::milliseconds(100));
      pause_.async_wait([this](const boost::system::error_code& stopped) {
        if (!stopped) accept();
      });
      return;
    }
    struct ucred peer {};
    socklen_t bytes = sizeof(peer);
    const int fd = socket.native_handle();
    const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0;
    const bool may_change = known && (peer.uid == 0 || peer.uid == ::geteuid());
    if (known && sessions_.size() < kAdminSessionsMax && (may_change || may_read_(fd))) {
      auto session = std::make_shared<Session>(*this, std::move(socket), may_change);
      sessions_.insert(session);
      session->start();
    } else {
      v1::AdminResponse response;
      response.set_error(sessions_.size() >= kAdminSessionsMax
                             ? "too many admin connections; close some"
                             : "this user may not read the agent's state; join a domain's group");
      const std::string frame = net::encode_frame(response);
      (void)::send(fd, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    accept();
  });
}

}  // namespace weir::agent
