#include "net/admin_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace weir::net {

namespace {

using Milliseconds = std::chrono::milliseconds;

std::string in_words(Milliseconds timeout) { return std::to_string(timeout.count()) + " ms"; }

Error connect_error(const std::string& path, Milliseconds timeout, int os_error) {
  switch (os_error) {
    case ENOENT:
    case ENOTDIR:
      return {Failure::no_agent, "no agent at " + path +
                                     ": the socket does not exist. Is weir-agent running? If it "
                                     "runs with another directory, name it by --runtime-dir"};
    case ECONNREFUSED:
      return {Failure::no_agent, "no agent at " + path +
                                     ": the socket is a leftover, nobody listens. Start "
                                     "weir-agent; it replaces the socket"};
    case EACCES:
    case EPERM:
      return {Failure::not_allowed, "may not connect to " + path +
                                        ": permission denied. Be root, the agent's own user, or "
                                        "a member of the group that owns the directory"};
    case EAGAIN:
    case ETIMEDOUT:
      return {Failure::timeout, "the agent at " + path + " took no connection within " +
                                    in_words(timeout) + ". It is overloaded, stopped or hangs"};
    case EPROTOTYPE:
    case ENOTSOCK:
      return {Failure::invalid, path + " is not an admin socket"};
    default:
      return {Failure::broken, "cannot connect to " + path + ": " + std::strerror(os_error)};
  }
}

}  // namespace

Result<AdminClient> AdminClient::connect(const std::string& path, Milliseconds timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Error{Failure::invalid, "the socket path '" + path + "' must have 1 to " +
                                       std::to_string(sizeof(address.sun_path) - 1) + " bytes"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return Error{Failure::broken, std::string{"cannot make a socket: "} + std::strerror(errno)};
  AdminClient client{fd, path, timeout};
  // A connect to a Unix socket waits for room in the backlog, and minds the send timeout.
  timeval wait{};
  wait.tv_sec = timeout.count() / 1000;
  wait.tv_usec = std::max<suseconds_t>(timeout.count() % 1000 * 1000, 1);
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return connect_error(path, timeout, errno);
  return client;
}

AdminClient::AdminClient(int fd, std::string path, Milliseconds timeout)
    : fd_(fd), path_(std::move(path)), timeout_(timeout) {}

AdminClient::AdminClient(AdminClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      timeout_(other.timeout_),
      reader_(std::move(other.reader_)) {}

AdminClient& AdminClient::operator=(AdminClient&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    timeout_ = other.timeout_;
    reader_ = std::move(other.reader_);
  }
  return *this;
}

AdminClient::~AdminClient() { close(); }

Result<v1::AdminResponse> AdminClient::call(const v1::AdminRequest& request) {
  if (fd_ < 0) return Error{Failure::broken, "the connection to " + path_ + " is closed"};
  const std::string frame = encode_frame(request);
  if (frame.empty()) {
    return Error{Failure::invalid,
                 "the request is larger than " + std::to_string(kFrameBytesMax >> 20) + " MiB"};
  }
  const Deadline deadline = std::chrono::steady_clock::now() + timeout_;
  if (auto sent = send_all(frame, deadline); !sent) return sent.error();
  auto response = receive(deadline);
  if (response && !response->error().empty()) return Error{Failure::refused, response->error()};
  return response;
}

bool AdminClient::wait_for(short events, Deadline deadline) const noexcept {
  while (true) {
    const auto left =
        std::chrono::ceil<Milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{fd_, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

Result<bool> AdminClient::send_all(const std::string& frame, Deadline deadline) {
  std::size_t sent_bytes = 0;
  while (sent_bytes < frame.size()) {
    const ssize_t n = ::send(fd_, frame.data() + sent_bytes, frame.size() - sent_bytes,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      sent_bytes += static_cast<std::size_t>(n);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return true;  // The agent may have said why before it hung up: go and read it.
    } else if (errno != EAGAIN && errno != EINTR) {
      return fail(Failure::broken,
                  std::string{"sending to the agent failed: "} + std::strerror(errno));
    } else if (!wait_for(POLLOUT, deadline)) {
      return fail(Failure::timeout,
                  "the agent did not take the request within " + in_words(timeout_));
    }
  }
  return true;
}

Result<v1::AdminResponse> AdminClient::receive(Deadline deadline) {
  std::array<char, kReadChunkBytes> chunk;
  while (true) {
    if (const auto payload = reader_.next()) {
      v1::AdminResponse response;
      if (decode_payload(*payload, response)) return response;
      return fail(Failure::broken, "the answer could not be read; is this a weir agent?");
    }
    if (reader_.failed()) return fail(Failure::broken, "no answer of an agent: " + reader_.error());
    if (!wait_for(POLLIN, deadline)) {
      return fail(Failure::timeout, "the agent did not answer within " + in_words(timeout_) +
                                        ". It is overloaded, stopped or hangs");
    }
    const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n > 0) {
      reader_.push({chunk.data(), static_cast<std::size_t>(n)});
    } else if (n == 0 || errno == ECONNRESET) {
      if (reader_.in_frame())
        return fail(Failure::broken, "the agent hung up in the middle of its answer");
      return fail(Failure::broken,
                  "the agent hung up without an answer. It is stopping, or this user may not ask "
                  "it: be root or the agent's own user");
    } else if (errno != EAGAIN && errno != EINTR) {
      return fail(Failure::broken,
                  std::string{"reading from the agent failed: "} + std::strerror(errno));
    }
  }
}

Error AdminClient::fail(Failure kind, const std::string& what) {
  close();
  return {kind, path_ + ": " + what};
}

void AdminClient::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace weir::net
