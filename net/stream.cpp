// A plain stream waits for the socket and then reads into one buffer that the whole thread shares:
// ten thousand silent connections need no read buffer. It writes at once what the kernel takes.
#include "net/stream.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/address.h"
#include "net/frame.h"

namespace weir::net {

namespace {

using boost::system::error_code;

constexpr int kReadsPerTurn = 4;  // then the others get theirs

class PlainStream final : public ByteStream, public std::enable_shared_from_this<PlainStream> {
 public:
  explicit PlainStream(Socket socket) : socket_(std::move(socket)) {}

  void open(StreamEvents& events) override {
    events_ = &events;
    wait_readable();
    events.on_stream_ready();
  }

  bool write(std::string& bytes) override {
    out_.swap(bytes);
    bytes.clear();
    out_offset_ = 0;
    if (events_ == nullptr) return false;
    if (const int failed = send_some(); failed != 0) {
      // The owner is in the middle of its own work: it hears of this from the event loop.
      boost::asio::post(socket_.get_executor(),
                        [self = shared_from_this(), failed] { self->last_words(failed); });
      return false;
    }
    if (unsent_bytes() == 0) return true;
    wait_writable();
    return false;
  }

  std::size_t unsent_bytes() const noexcept override { return out_.size() - out_offset_; }
  std::uint64_t written_total() const noexcept override { return written_total_; }

  void shutdown_send() noexcept override {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }

  void close() noexcept override {
    events_ = nullptr;
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  void wait_readable() {
    socket_.async_wait(Socket::wait_read,
                       [self = shared_from_this()](error_code error) { self->readable(error); });
  }

  void readable(error_code error) {
    if (events_ == nullptr) return;
    if (error) return end(error.message());
    const std::span<char> buffer = read_buffer();
    for (int i = 0; i < kReadsPerTurn; ++i) {
      const ssize_t n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (n < 0) return end(std::strerror(errno));
      if (n == 0) return end("the peer closed the connection");
      events_->on_stream_bytes({buffer.data(), static_cast<std::size_t>(n)});
      if (events_ == nullptr) return;
      if (static_cast<std::size_t>(n) < buffer.size()) break;
    }
    wait_readable();
  }

  // Nothing can be written any more. What the peer said before it hung up may still be here, and
  // may be the reason.
  void last_words(int failed) {
    const std::span<char> buffer = read_buffer();
    for (int i = 0; i < kReadsPerTurn && events_ != nullptr; ++i) {
      const ssize_t n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n <= 0) break;
      events_->on_stream_bytes({buffer.data(), static_cast<std::size_t>(n)});
    }
    end(std::strerror(failed));
  }

  // 0, or the number of the error. EAGAIN is none.
  int send_some() noexcept {
    while (out_offset_ < out_.size()) {
      const ssize_t n = ::send(socket_.native_handle(), out_.data() + out_offset_,
                               out_.size() - out_offset_, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno == EAGAIN ? 0 : errno;
      out_offset_ += static_cast<std::size_t>(n);
      written_total_ += static_cast<std::uint64_t>(n);
    }
    out_.clear();
    out_offset_ = 0;
    return 0;
  }

  void wait_writable() {
    socket_.async_wait(Socket::wait_write,
                       [self = shared_from_this()](error_code error) { self->writable(error); });
  }

  void writable(error_code error) {
    if (events_ == nullptr) return;
    if (error) return end(error.message());
    if (const int failed = send_some(); failed != 0) return last_words(failed);
    if (unsent_bytes() != 0) return wait_writable();
    events_->on_stream_written();
  }

  void end(const std::string& why) {
    if (StreamEvents* events = std::exchange(events_, nullptr)) events->on_stream_ended(why);
  }

  Socket socket_;
  StreamEvents* events_ = nullptr;
  std::string out_;
  std::size_t out_offset_ = 0;
  std::uint64_t written_total_ = 0;
};

}  // namespace

std::span<char> read_buffer() noexcept {
  static thread_local std::array<char, kReadChunkBytes> buffer;
  return buffer;
}

std::shared_ptr<ByteStream> make_plain_stream(Socket socket) {
  return std::make_shared<PlainStream>(std::move(socket));
}

void tune_socket(Socket& socket) noexcept {
  const int fd = socket.native_handle();
  (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
  int domain = 0;
  socklen_t size = sizeof(domain);
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain == AF_UNIX) return;
  const auto set = [fd](int level, int name, int value) {
    (void)::setsockopt(fd, level, name, &value, sizeof(value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer that lost its power says nothing for ever; the kernel finds out in a minute.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
}

Peer peer_of(Socket& socket) {
  Peer peer;
  const int fd = socket.native_handle();
  sockaddr_storage storage{};
  socklen_t bytes = sizeof(storage);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &bytes) != 0) return peer;
  const Address address = from_socket(storage, bytes);
  if (address.kind == Address::Kind::unix_socket) {
    // Whoever connects has no address of its own on a Unix socket; the kernel knows who it is.
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
      peer.credentials = UnixCredentials{credentials.pid, credentials.uid, credentials.gid};
  }
  peer.address = to_string(address);
  return peer;
}

}  // namespace weir::net
