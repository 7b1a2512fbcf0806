// The name of a Unix socket outlives a killed server. It is replaced only when it is a socket and
// nobody answers there; and it is removed only while it is still the one that was made here.
#include "net/listen_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace weir::net {

namespace {

constexpr int kBacklog = 4096;

Error os_error(const std::string& what) {
  return {Failure::invalid, what + ": " + std::strerror(errno)};
}

int new_socket(int family) noexcept {
  return ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

void set_option(int fd, int level, int name, int value) noexcept {
  (void)::setsockopt(fd, level, name, &value, sizeof(value));
}

// Where the socket is bound, in words.
Address bound_address(int fd) {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof(storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &bytes) != 0) return {};
  return from_socket(storage, bytes);
}

sockaddr_un unix_address(const std::string& path) noexcept {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), std::min(path.size(), sizeof(name.sun_path) - 1));
  return name;
}

bool is_leftover(const std::string& path) noexcept {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const int fd = new_socket(AF_UNIX);
  if (fd < 0) return false;
  const sockaddr_un name = unix_address(path);
  const int done = ::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  const bool refused = done != 0 && errno == ECONNREFUSED;
  ::close(fd);
  return refused;
}

Result<ListenSocket> open_unix(const Address& address, std::uint32_t mode) {
  const std::string what = "cannot listen at " + to_string(address);
  ListenSocket socket(new_socket(AF_UNIX), address);
  if (socket.fd() < 0) return os_error(what);
  const sockaddr_un name = unix_address(address.path);
  const auto bind = [&] {
    return ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  };
  int done = bind();
  if (done != 0 && errno == EADDRINUSE) {
    if (!is_leftover(address.path))
      return Error{Failure::invalid, what + ": somebody listens there, or it is no socket"};
    (void)::unlink(address.path.c_str());
    done = bind();
  }
  if (done != 0) return os_error(what);
  socket.remember_name();
  // Nobody can connect before listen(), so there is no moment with other rights.
  if (::chmod(address.path.c_str(), mode) != 0 || ::listen(socket.fd(), kBacklog) != 0)
    return os_error(what);
  return socket;
}

Result<ListenSocket> open_tcp(const addrinfo& info, const std::string& what) {
  ListenSocket socket(new_socket(info.ai_family), {});
  if (socket.fd() < 0) return os_error(what);
  set_option(socket.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket.fd(), info.ai_addr, info.ai_addrlen) != 0 ||
      ::listen(socket.fd(), kBacklog) != 0)
    return os_error(what);
  socket.set_address(bound_address(socket.fd()));
  return socket;
}

// One socket for every interface and both families, where the host has IPv6 at all.
Result<ListenSocket> open_everywhere(std::uint16_t port, const std::string& what) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(port);
  const bool has_six = [] {
    const int fd = new_socket(AF_INET6);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
  }();
  addrinfo info{};
  info.ai_family = has_six ? AF_INET6 : AF_INET;
  info.ai_addr = has_six ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
  info.ai_addrlen = has_six ? sizeof(six) : sizeof(four);
  return open_tcp(info, what);
}

}  // namespace

ListenSocket::ListenSocket(ListenSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      address_(std::move(other.address_)),
      device_(other.device_),
      inode_(std::exchange(other.inode_, 0)) {}

ListenSocket& ListenSocket::operator=(ListenSocket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    address_ = std::move(other.address_);
    device_ = other.device_;
    inode_ = std::exchange(other.inode_, 0);
  }
  return *this;
}

ListenSocket::~ListenSocket() { close(); }

void ListenSocket::remember_name() noexcept {
  struct stat status {};
  if (::lstat(address_.path.c_str(), &status) != 0) return;
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

void ListenSocket::close() noexcept {
  if (fd_ < 0) return;
  struct stat status {};
  if (inode_ != 0 && ::lstat(address_.path.c_str(), &status) == 0 && status.st_dev == device_ &&
      status.st_ino == inode_)
    (void)::unlink(address_.path.c_str());
  ::close(std::exchange(fd_, -1));
}

Result<std::vector<ListenSocket>> open_listen_sockets(const Address& address,
                                                      std::uint32_t unix_mode) {
  std::vector<ListenSocket> sockets;
  const std::string what = "cannot listen at " + to_string(address);
  if (address.kind == Address::Kind::unix_socket || address.host.empty()) {
    auto made = address.host.empty() && address.kind == Address::Kind::tcp
                    ? open_everywhere(address.port, what)
                    : open_unix(address, unix_mode);
    if (!made) return made.error();
    sockets.push_back(std::move(*made));
    return sockets;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int bad = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found); bad != 0)
    return Error{Failure::invalid, what + ": " + ::gai_strerror(bad)};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  Error last{Failure::invalid, what};
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    auto made = open_tcp(*info, what);
    if (made) {
      sockets.push_back(std::move(*made));
      continue;
    }
    // A name may have an address of a family that this host does not speak.
    last = made.error();
    if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT) return last;
  }
  if (sockets.empty()) return last;
  return sockets;
}

Result<ListenSocket> adopt_listen_socket(int fd) {
  ListenSocket socket(fd, bound_address(fd));
  int listening = 0;
  socklen_t bytes = sizeof(listening);
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) != 0 || listening == 0)
    return Error{Failure::invalid, "the socket that was handed over does not listen"};
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return os_error("the socket that was handed over");
  return socket;
}

}  // namespace weir::net
