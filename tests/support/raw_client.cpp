#include "tests/support/raw_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <vector>

namespace weir::test {

using namespace weir::shm;

RawClient::RawClient(const std::string& sock) {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  struct sockaddr_un at {};
  at.sun_family = AF_UNIX;
  std::strncpy(at.sun_path, sock.c_str(), sizeof(at.sun_path) - 1);
  if (::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&at), sizeof(at)) == 0)
    socket_ = std::move(fd);
}

bool RawClient::attach(const Frame* hello) {
  const Frame plain = make_frame(FrameType::hello, kMajor, kMinor);
  if (!send(hello == nullptr ? &plain : hello, sizeof(Frame))) return false;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)];
  struct iovec part {
    &welcome_, sizeof(welcome_)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC) != sizeof(welcome_)) return false;
  if (welcome_.type != static_cast<std::uint16_t>(FrameType::welcome)) {
    refusal_ = static_cast<Refusal>(welcome_.first);
    return false;
  }
  const struct cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (c == nullptr || c->cmsg_len != CMSG_LEN(sizeof(int) * 2)) return false;
  int fds[2];
  std::memcpy(fds, CMSG_DATA(c), sizeof(fds));
  rules_fd_.reset(fds[0]);
  counters_fd_.reset(fds[1]);
  const auto rules_bytes = check_segment(fds[0], SegmentKind::rules);
  const auto counters_bytes = check_segment(fds[1], SegmentKind::counters);
  if (!rules_bytes || !counters_bytes) return false;
  auto rules_map = map_segment(fds[0], *rules_bytes.operator->(), false);
  auto counters_map = map_segment(fds[1], *counters_bytes.operator->(), true);
  if (!rules_map || !counters_map) return false;
  rules_map_ = std::move(*rules_map);
  counters_map_ = std::move(*counters_map);
  const auto rules = validate_rules(rules_map_.bytes());
  const auto counters = validate_counters(counters_map_.bytes());
  if (!rules || !counters) return false;
  rules_ = RulesView(rules_map_.data(), *rules.operator->());
  counters_ = CountersView(counters_map_.data(), *counters.operator->());
  return true;
}

bool RawClient::send(const void* bytes, std::size_t size) {
  return ::send(socket_.get(), bytes, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

bool RawClient::send_with_fds(const void* bytes, std::size_t size, int fd, int count) {
  const std::size_t fds_bytes = sizeof(int) * static_cast<std::size_t>(count);
  std::vector<char> control(CMSG_SPACE(fds_bytes));
  struct iovec part {
    const_cast<void*>(bytes), size
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  struct cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds_bytes);
  const std::vector<int> fds(static_cast<std::size_t>(count), fd);
  std::memcpy(CMSG_DATA(c), fds.data(), fds_bytes);
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

bool RawClient::closed_by_peer(int timeout_ms) const {
  for (;;) {
    struct pollfd entry {
      socket_.get(), POLLIN, 0
    };
    if (::poll(&entry, 1, timeout_ms) != 1) return false;
    char bytes[256];
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return true;
  }
}

void RawClient::enqueue(std::uint32_t cell, std::uint32_t index, std::uint64_t tokens) {
  constexpr std::uint32_t kSequence = 1;
  const std::uint32_t at = welcome_.first + cell;
  WaiterCell& words = counters_.waiter(at);
  words.limit_index.store(index);
  words.limit_generation.store(
      static_cast<std::uint32_t>(rules_.hot(index).load(std::memory_order_relaxed) >> 32));
  words.priority_class.store(1);
  words.tokens.store(tokens);
  words.state.store(waiter_word(kSequence, WaiterState::waiting));
  Frame frame = make_frame(FrameType::wait, kMajor, kMinor);
  frame.first = at;
  frame.count = kSequence;
  send(&frame, sizeof(frame));
}

bool RawClient::granted(std::uint32_t cell) const {
  return counters_.waiter(welcome_.first + cell).state.load() ==
         waiter_word(1, WaiterState::granted);
}

}  // namespace weir::test
