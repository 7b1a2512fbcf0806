#include "agent/attach/server.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "daemon/log/limiter.h"
#include "daemon/log/printable.h"
#include "shm/clock.h"
#include "shm/layout.h"

namespace weir::agent {

using namespace weir::shm;
namespace asio = boost::asio;

namespace {

constexpr int kAcceptsPerWakeMax = 64;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr int kBacklog = 512;

LogLimiter& limiter() {
  static LogLimiter limits;
  return limits;
}

std::string text_of(const char* what, const std::string& path) {
  return std::string(what) + " " + path + ": " + std::strerror(errno);
}

}  // namespace

struct AttachServer::Connection {
  Connection(asio::io_context& io, int fd_value) : socket(io, fd_value), death(io) {}
  asio::posix::stream_descriptor socket;
  asio::posix::stream_descriptor death;
  ClientInfo info;
  bool dropped = false;
  // Its slot among the processes that hold permits of the toolkit, and the slot's word then.
  bool holds = false;
  std::uint32_t slot = 0;
  std::uint64_t owner = 0;
};

AttachServer::AttachServer(asio::io_context& io, Domain& domain, std::uint64_t agent_epoch,
                           MonoClock clock, std::function<void()> rang)
    : io_(io),
      domain_(domain),
      agent_epoch_(agent_epoch),
      clock_(std::move(clock)),
      rang_(std::move(rang)),
      listener_(io),
      pause_(io),
      mono_offset_ns_(read_timens_offset_ns()),
      ids_used_(domain.options().clients_max) {}

AttachServer::~AttachServer() { close(); }

std::string AttachServer::listen(const std::string& path, Fd inherited) noexcept {
  path_ = path;
  Fd fd = std::move(inherited);
  if (!fd) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
      return "socket path is longer than 107 bytes: " + path;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    fd.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return text_of("cannot make the attach socket", path);
    // What an agent that was killed left here. Anything but a socket is somebody else's.
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) {
      if (!S_ISSOCK(status.st_mode)) return path + " exists and is not a socket; remove it";
      if (::unlink(path.c_str()) != 0) return text_of("cannot remove the old socket", path);
    }
    if (::bind(fd.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) != 0)
      return text_of("cannot bind", path);
    owns_path_ = true;
    // Who may attach is decided by the kernel's word on the peer, not by the file's mode.
    if (::chmod(path.c_str(), 0666) != 0) return text_of("cannot chmod", path);
    if (::listen(fd.get(), kBacklog) != 0) return text_of("cannot listen at", path);
  }
  boost::system::error_code error;
  listener_.assign(fd.release(), error);
  if (error) return "cannot watch the attach socket: " + error.message();
  listener_.non_blocking(true, error);
  wait_accept();
  return {};
}

void AttachServer::set_access(const DomainRule& rule) {
  access_ = resolve_access(rule);
  for (const std::string& name : access_.unknown)
    spdlog::warn(
        "domain {}: no such {} on this host; it may attach once it exists and the rules "
        "are applied again",
        printable(rule.name), printable(name));
}

void AttachServer::close() noexcept {
  boost::system::error_code ignored;
  if (listener_.is_open()) {
    listener_.close(ignored);
    if (owns_path_) ::unlink(path_.c_str());
  }
  pause_.cancel();
  while (!connections_.empty())
    drop(connections_.begin()->second);
}

void AttachServer::wait_accept() {
  listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (!error) accept_some();
                       });
}

void AttachServer::accept_some() {
  for (int i = 0; i < kAcceptsPerWakeMax; ++i) {
    Fd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      admit(std::move(fd));
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    // Out of descriptors or memory: those who are attached are served, new ones wait.
    if (const auto verdict = limiter().admit("accept", static_cast<std::uint64_t>(clock_())))
      spdlog::error("attach socket: accept failed: {}; pausing 100 ms{}", std::strerror(errno),
                    verdict.suffix());
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this](const boost::system::error_code& error) {
      if (!error) wait_accept();
    });
    return;
  }
  wait_accept();
}

void AttachServer::admit(Fd fd) {
  Peer peer;
  if (!read_peer(fd.get(), peer)) return;
  const auto now = static_cast<std::uint64_t>(clock_());
  const auto say = [&](const char* why) {
    ++stats_.refused_total;
    if (const auto verdict = limiter().admit(why, now))
      spdlog::warn("attach refused: pid {} uid {}: {}{}", peer.pid, peer.uid, why,
                   verdict.suffix());
  };
  if (!may_attach(access_, peer)) {
    refuse(fd.get(), Refusal::not_allowed);
    return say("the user is not in the domain's users or groups");
  }
  if (connections_.size() >= ids_used_.size() + kHalfOpenMax) {
    refuse(fd.get(), Refusal::busy);
    return say("as many connections as the agent takes");
  }
  switch (quota_.take(peer.uid, clock_())) {
    case AttachQuota::Verdict::ok:
      break;
    case AttachQuota::Verdict::too_many:
      refuse(fd.get(), Refusal::too_many);
      return say("the user holds as many connections as one user may");
    case AttachQuota::Verdict::too_fast:
      refuse(fd.get(), Refusal::busy);
      return say("the user attaches too often");
  }
  const int number = fd.get();
  auto connection = std::make_shared<Connection>(io_, fd.release());
  connection->info.peer = std::move(peer);
  connection->info.since_ns = clock_();
  if (connection->info.peer.pidfd) {
    boost::system::error_code ignored;
    connection->death.assign(connection->info.peer.pidfd.release(), ignored);
    wait_death(connection);
  }
  connections_[number] = connection;
  wait_readable(connection);
}

void AttachServer::wait_readable(const std::shared_ptr<Connection>& connection) {
  connection->socket.async_wait(asio::posix::stream_descriptor::wait_read,
                                [this, connection](const boost::system::error_code& error) {
                                  if (!error && !connection->dropped) read_frames(connection);
                                });
}

// The process may end while a child that it forked still holds the socket open.
void AttachServer::wait_death(const std::shared_ptr<Connection>& connection) {
  connection->death.async_wait(asio::posix::stream_descriptor::wait_read,
                               [this, connection](const boost::system::error_code& error) {
                                 if (!error && !connection->dropped) drop(connection);
                               });
}

void AttachServer::read_frames(const std::shared_ptr<Connection>& connection) {
  const int fd = connection->socket.native_handle();
  for (int i = 0; i < kFramesPerWakeMax; ++i) {
    std::byte packet[kQuotaPacketMax];
    // No control buffer: descriptors that a peer sends are closed by the kernel, never received.
    const ssize_t got = ::recv(fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (got <= 0 || !handle(*connection, packet, static_cast<std::size_t>(got)))
      return drop(connection);
  }
  wait_readable(connection);
}

bool AttachServer::malformed(Connection& connection, std::size_t bytes) {
  ++stats_.malformed_total;
  if (const auto verdict = limiter().admit("malformed frame", static_cast<std::uint64_t>(clock_())))
    spdlog::warn("pid {} uid {} sent a malformed frame of {} bytes; connection closed{}",
                 connection.info.peer.pid, connection.info.peer.uid, bytes, verdict.suffix());
  refuse(connection.socket.native_handle(), Refusal::malformed);
  return false;
}

void AttachServer::handle_quota(Connection& connection, const std::byte* packet, const Frame& frame,
                                const QuotaFrameTail& tail) {
  QuotaDoor* door = domain_.quota_door();
  if (door == nullptr) return;
  const char* text = reinterpret_cast<const char*>(packet) + kFrameBytes + sizeof(tail);
  const std::string_view name(text, tail.name_bytes);
  const std::string_view key(text + tail.name_bytes, tail.key_bytes);
  const std::string_view reason(text + tail.name_bytes + tail.key_bytes, tail.reason_bytes);
  if (static_cast<FrameType>(frame.type) == FrameType::quota_ask) {
    door->on_ask(name, key, tail.amount);
    rang_();
  } else {
    door->on_report({connection.info.label, connection.info.peer.uid}, tail, name, key, reason);
  }
}

bool AttachServer::handle(Connection& connection, const std::byte* packet, std::size_t bytes) {
  Frame frame;
  std::memcpy(&frame, packet, std::min(bytes, sizeof(frame)));
  if (QuotaFrameTail tail; connection.info.attached && quota_frame_ok(frame, packet, bytes, tail)) {
    handle_quota(connection, packet, frame, tail);
    return true;
  }
  if (!frame_ok(frame, bytes)) return malformed(connection, bytes);
  const auto type = static_cast<FrameType>(frame.type);
  if (!connection.info.attached) return type == FrameType::hello && welcome(connection, frame);
  switch (type) {
    case FrameType::doorbell:
      ++connection.info.doorbells_total;
      if (frame.count == 1)
        domain_.minter().attend(frame.first);
      else
        domain_.minter().attend_all();
      rang_();
      break;
    case FrameType::wait:
      // Only its own cells: another client's are none of its business.
      if (frame.first / kWaitersPerClient == connection.info.id) {
        domain_.minter().enqueue(connection.info.id, frame.first, frame.count);
        rang_();
      }
      break;
    case FrameType::hold:
      hold(connection, frame.first, frame.count);
      break;
    default:
      break;  // of a newer minor version
  }
  return true;
}

// The process says which slot of the toolkit it took. Another's slot is not its to name: that would
// take the other's permits away when this one ends.
void AttachServer::hold(Connection& connection, std::uint32_t slot, std::uint32_t generation) {
  Toolkit* toolkit = domain_.toolkit();
  if (toolkit == nullptr || !toolkit->owns(slot, generation, connection.info.peer.pid)) return;
  connection.holds = true;
  connection.slot = slot;
  connection.owner = toolkit->view().process(slot).owner.load(std::memory_order_acquire);
  toolkit->announced(slot);
}

std::uint32_t AttachServer::free_id() const {
  for (std::uint32_t id = 0; id < ids_used_.size(); ++id)
    if (!ids_used_[id]) return id;
  return UINT32_MAX;
}

bool AttachServer::welcome(Connection& connection, const Frame& hello) {
  const int fd = connection.socket.native_handle();
  if (hello.major != kMajor) {
    refuse(fd, Refusal::version);
    ++stats_.refused_total;
    spdlog::warn(
        "attach refused: pid {} speaks layout version {}.{}, this agent {}.{}; bring "
        "libweir and weir-agent to the same major version",
        connection.info.peer.pid, hello.major, hello.minor, kMajor, kMinor);
    return false;
  }
  const std::uint32_t id = free_id();
  if (id == UINT32_MAX) {
    refuse(fd, Refusal::busy);
    ++stats_.refused_total;
    return false;
  }
  Frame answer = make_frame(FrameType::welcome, kMajor, kMinor);
  answer.first = id * kWaitersPerClient;
  answer.count = kWaitersPerClient;
  answer.agent_epoch = agent_epoch_;
  answer.mono_offset_ns = mono_offset_ns_;

  const int fds[2] = {domain_.rules_fd(), domain_.counters_fd()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  struct iovec part {
    &answer, sizeof(answer)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(header), fds, sizeof(fds));
  if (::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(answer)) return false;

  ids_used_[id] = true;
  ++client_count_;
  ++stats_.attached_total;
  connection.info.id = id;
  connection.info.attached = true;
  connection.info.major = hello.major;
  connection.info.minor = hello.minor;
  connection.info.label = printable(
      std::string_view(hello.label.data(), ::strnlen(hello.label.data(), hello.label.size())));
  return true;
}

void AttachServer::refuse(int fd, Refusal why) {
  Frame answer = make_frame(FrameType::refuse, kMajor, kMinor);
  answer.first = static_cast<std::uint32_t>(why);
  (void)::send(fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void AttachServer::drop(const std::shared_ptr<Connection>& connection) {
  if (connection->dropped) return;
  connection->dropped = true;
  const ClientInfo& info = connection->info;
  quota_.give_back(info.peer.uid);
  if (info.attached) {
    domain_.minter().forget_client(info.id, info.id * kWaitersPerClient, kWaitersPerClient);
    ids_used_[info.id] = false;
    --client_count_;
    ++stats_.reaped_total;
  }
  if (connection->holds && domain_.toolkit() != nullptr) {
    const int death = connection->death.is_open() ? connection->death.native_handle() : -1;
    domain_.toolkit()->connection_ended(connection->slot, connection->owner,
                                        Fd(death < 0 ? -1 : ::fcntl(death, F_DUPFD_CLOEXEC, 0)),
                                        clock_());
    rang_();  // a sleeping agent would look only in a while
  }
  connections_.erase(connection->socket.native_handle());
  boost::system::error_code ignored;
  connection->socket.close(ignored);
  if (connection->death.is_open()) connection->death.close(ignored);
}

void AttachServer::sweep() {
  const std::int64_t now = clock_();
  std::vector<std::shared_ptr<Connection>> late;
  for (const auto& [fd, connection] : connections_)
    if (!connection->info.attached && now - connection->info.since_ns > kHelloDeadlineNs)
      late.push_back(connection);
  for (const auto& connection : late)
    drop(connection);
}

std::vector<const ClientInfo*> AttachServer::clients() const {
  std::vector<const ClientInfo*> all;
  for (const auto& [fd, connection] : connections_)
    if (connection->info.attached) all.push_back(&connection->info);
  return all;
}

}  // namespace weir::agent
