// Connecting to the agent, one step at a time and never blocking, so that it can be done in
// passing by whatever call notices that the agent is gone or has come. Nothing here allocates.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "libclient/toolkit.h"

namespace weir::client {

using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

void fail(weir_client& client, weir_status why, std::int64_t retry_at_own_ns) noexcept {
  drop_link(client);
  client.state.store(why, kRelaxed);
  client.next_attempt_ns.store(retry_at_own_ns, kRelaxed);
}

// Whoever answers must be root, the user weir, or this process's own user. Anybody else could
// have planted the socket.
bool peer_trusted(const weir_client& client, int fd) noexcept {
  struct ucred peer {};
  socklen_t bytes = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid() ||
         (client.agent_uid != 0 && peer.uid == client.agent_uid);
}

void start_connect(weir_client& client, std::int64_t now_own_ns) noexcept {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const std::int64_t retry = now_own_ns + kAttachRetryNs;
  if (!fd) return fail(client, WEIR_E_NO_MEMORY, retry);
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  static_assert(sizeof(address.sun_path) == sizeof(client.socket_path));
  std::memcpy(address.sun_path, client.socket_path.data(), client.socket_path.size());
  if (::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) != 0)
    return fail(client, errno == EACCES || errno == EPERM ? WEIR_E_NOT_ALLOWED : WEIR_E_NO_AGENT,
                retry);
  if (!peer_trusted(client, fd.get()))
    return fail(client, WEIR_E_UNTRUSTED, now_own_ns + kRefusedRetryNs);
  Frame hello = make_frame(FrameType::hello, kMajor, kMinor);
  hello.mono_offset_ns = client.timens_offset_ns;
  hello.label = client.label;
  if (::send(fd.get(), &hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(hello))
    return fail(client, WEIR_E_NO_AGENT, retry);
  client.fd.store(fd.release(), kRelaxed);
  client.link.store(Link::hello_sent, std::memory_order_release);
  client.next_attempt_ns.store(now_own_ns + kRefusedRetryNs, kRelaxed);
}

weir_status status_of(std::uint32_t refusal) noexcept {
  switch (static_cast<Refusal>(refusal)) {
    case Refusal::not_allowed:
      return WEIR_E_NOT_ALLOWED;
    case Refusal::too_many:
      return WEIR_E_LIMIT;
    case Refusal::version:
      return WEIR_E_VERSION;
    default:
      return WEIR_E_BUSY;
  }
}

// Checks the two descriptors and maps them into `at`. The agent is trusted as a peer, but its
// segments are still checked before anything is read from them.
weir_status adopt(Attachment& at, const Fd& rules_fd, const Fd& counters_fd) noexcept {
  const auto rules_bytes = check_segment(rules_fd.get(), SegmentKind::rules);
  const auto counters_bytes = check_segment(counters_fd.get(), SegmentKind::counters);
  if (!rules_bytes || !counters_bytes) return WEIR_E_UNTRUSTED;
  auto rules_map = map_segment(rules_fd.get(), *rules_bytes.operator->(), false);
  auto counters_map = map_segment(counters_fd.get(), *counters_bytes.operator->(), true);
  if (!rules_map || !counters_map) return WEIR_E_NO_MEMORY;
  const auto rules = validate_rules(rules_map->bytes());
  const auto counters = validate_counters(counters_map->bytes());
  if (!rules || !counters) {
    const Errc code = !rules ? rules.error().code : counters.error().code;
    return code == Errc::wrong_major ? WEIR_E_VERSION : WEIR_E_UNTRUSTED;
  }
  at.rules = RulesView(rules_map->data(), *rules.operator->());
  at.counters = CountersView(counters_map->data(), *counters.operator->());
  at.counters_id = at.counters.header().counters_id.load(kRelaxed);
  if (at.rules.header().counters_id.load(kRelaxed) != at.counters_id) return WEIR_E_UNTRUSTED;
  auto toolkit = toolkit_of(rules_map->bytes(), *rules.operator->(),
                            {counters_map->data(), counters_map->size()}, *counters.operator->());
  if (!toolkit) return WEIR_E_UNTRUSTED;
  at.toolkit = *toolkit;
  const auto quotas =
      quota_of(rules_map->bytes(), *rules.operator->(),
               {counters_map->data(), counters_map->size()}, *counters.operator->());
  if (!quotas) return WEIR_E_UNTRUSTED;
  at.quotas = *quotas.operator->();
  at.rules_map = std::move(*rules_map);
  at.counters_map = std::move(*counters_map);
  return WEIR_OK;
}

struct Received {
  Frame frame;
  ssize_t bytes = -1;
  Fd fds[2];
  bool truncated = false;
};

Received receive(int fd) noexcept {
  Received got;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)];
  struct iovec part {
    &got.frame, sizeof(got.frame)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  got.bytes = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got.bytes < 0) return got;
  got.truncated = (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0;
  for (struct cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      // More than we have a place for cannot arrive: the control buffer holds two.
      if (i < 2) got.fds[i].reset(received);
    }
  }
  return got;
}

void install(weir_client& client, const Received& got, std::int64_t now_own_ns) noexcept {
  Attachment& at = client.attachments[client.attachments_used % kAttachmentsMax];
  // Sixteen agents ago: no call that started then is still under way, and if one is, it finds
  // zero pages.
  at.rules_map.retire();
  at.counters_map.retire();
  at = Attachment{};
  const weir_status status = adopt(at, got.fds[0], got.fds[1]);
  if (status != WEIR_OK) return fail(client, status, now_own_ns + kRefusedRetryNs);
  ++client.attachments_used;
  at.offset_ns = client.timens_offset_ns - got.frame.mono_offset_ns;
  const std::uint32_t cells = at.counters.geometry().waiters;
  const bool cells_ok = got.frame.first < cells && got.frame.count <= cells - got.frame.first;
  client.first_waiter.store(got.frame.first, kRelaxed);
  client.waiters.store(cells_ok ? std::min(got.frame.count, 32U) : 0, kRelaxed);
  client.waiters_used.store(0, kRelaxed);
  client.current.store(&at, std::memory_order_release);
  client.link.store(Link::attached, std::memory_order_release);
  client.state.store(WEIR_OK, kRelaxed);
  resolve_all(client);
  resolve_toolkit(client);
}

void read_answer(weir_client& client, std::int64_t now_own_ns) noexcept {
  const Received got = receive(client.fd.load(kRelaxed));
  if (got.bytes < 0) {
    if (errno == EAGAIN || errno == EINTR) {
      // An agent that took the connection and says nothing for a second is not serving.
      if (now_own_ns >= client.next_attempt_ns.load(kRelaxed))
        fail(client, WEIR_E_NO_AGENT, now_own_ns + kAttachRetryNs);
      return;
    }
    return fail(client, WEIR_E_NO_AGENT, now_own_ns + kAttachRetryNs);
  }
  if (got.truncated) return fail(client, WEIR_E_NO_MEMORY, now_own_ns + kRefusedRetryNs);
  if (got.bytes == 0) return fail(client, WEIR_E_NO_AGENT, now_own_ns + kAttachRetryNs);
  if (!frame_ok(got.frame, static_cast<std::size_t>(got.bytes)))
    return fail(client, WEIR_E_UNTRUSTED, now_own_ns + kRefusedRetryNs);
  if (got.frame.type == static_cast<std::uint16_t>(FrameType::refuse))
    return fail(client, status_of(got.frame.first), now_own_ns + kRefusedRetryNs);
  if (got.frame.major != kMajor) return fail(client, WEIR_E_VERSION, now_own_ns + kRefusedRetryNs);
  if (got.frame.type != static_cast<std::uint16_t>(FrameType::welcome) || !got.fds[0] ||
      !got.fds[1])
    return fail(client, WEIR_E_UNTRUSTED, now_own_ns + kRefusedRetryNs);
  install(client, got, now_own_ns);
}

// An attached connection carries nothing from the agent; its end is what matters.
void check_connection(weir_client& client, std::int64_t now_own_ns) noexcept {
  char byte;
  const ssize_t got =
      ::recv(client.fd.load(kRelaxed), &byte, 1, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
  if (got > 0) {
    (void)::recv(client.fd.load(kRelaxed), &byte, 1, MSG_DONTWAIT);
    return;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  fail(client, WEIR_E_NO_AGENT, now_own_ns);
}

void step(weir_client& client, std::int64_t now_own_ns) noexcept {
  if (client.link.load(kRelaxed) == Link::attached) check_connection(client, now_own_ns);
  if (client.link.load(kRelaxed) == Link::idle &&
      now_own_ns >= client.next_attempt_ns.load(kRelaxed))
    start_connect(client, now_own_ns);
  if (client.link.load(kRelaxed) == Link::hello_sent) read_answer(client, now_own_ns);
}

bool due(const weir_client& client, std::int64_t now_own_ns) noexcept {
  switch (client.link.load(kRelaxed)) {
    case Link::idle:
      return now_own_ns >= client.next_attempt_ns.load(kRelaxed);
    case Link::hello_sent:
      return true;
    case Link::attached: {
      const Attachment* at = client.current.load(std::memory_order_acquire);
      return at != nullptr && !at->agent_alive(now_own_ns - at->offset_ns);
    }
  }
  return false;
}

}  // namespace

void drop_link(weir_client& client) noexcept {
  const int fd = client.fd.exchange(-1, kRelaxed);
  if (fd >= 0) ::close(fd);
  client.waiters.store(0, kRelaxed);
  client.link.store(Link::idle, std::memory_order_release);
}

void maintain(weir_client& client, std::int64_t now_own_ns) noexcept {
  if (!due(client, now_own_ns)) return;
  const KeepErrno keep;
  if (const Busy busy(client); busy) step(client, now_own_ns);
}

bool try_send_frame(weir_client& client, FrameType type, std::uint32_t first,
                    std::uint32_t count) noexcept {
  const KeepErrno keep;
  const int fd = client.fd.load(kRelaxed);
  if (fd < 0 || client.link.load(std::memory_order_acquire) != Link::attached) return false;
  Frame frame = make_frame(type, kMajor, kMinor);
  frame.first = first;
  frame.count = count;
  return ::send(fd, &frame, sizeof(frame), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(frame);
}

void send_frame(weir_client& client, FrameType type, std::uint32_t first,
                std::uint32_t count) noexcept {
  (void)try_send_frame(client, type, first, count);
}

weir_status attach_within(weir_client& client, std::uint32_t timeout_ms) noexcept {
  const KeepErrno keep;
  constexpr int kPollStepMs = 5;
  const std::int64_t until = read_mono_ns() + std::int64_t{timeout_ms} * 1'000'000;
  client.next_attempt_ns.store(0, kRelaxed);
  for (std::int64_t now = read_mono_ns();; now = read_mono_ns()) {
    maintain(client, now);
    const Link link = client.link.load(std::memory_order_acquire);
    if (link == Link::attached) return WEIR_OK;
    const weir_status state = client.state.load(kRelaxed);
    // A refusal is an answer; an absent agent may still come.
    if (link == Link::idle && state != WEIR_E_NO_AGENT) return state;
    if (now >= until) return state;
    struct pollfd waiting {
      client.fd.load(kRelaxed), POLLIN, 0
    };
    ::poll(&waiting, waiting.fd >= 0 ? 1 : 0, kPollStepMs);
    if (link == Link::idle) client.next_attempt_ns.store(0, kRelaxed);
  }
}

}  // namespace weir::client
