// Telling the agent about quotas: packets that are longer than a frame.
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

#include "libclient/quota.h"

namespace weir::client {

using namespace weir::shm;

// Until that moment it waits for room in the socket; 0: it does not wait.
bool send_quota(weir_client& client, FrameType type, const QuotaFrameTail& tail,
                const weir_quota& quota, const char* key, const char* reason,
                std::int64_t until_own_ns) noexcept {
  const KeepErrno keep;
  const Attachment* at = client.current.load(std::memory_order_acquire);
  if (at == nullptr || !at->quotas) return false;  // also an agent that knows no such packet
  Frame frame = make_frame(type, kMajor, kMinor);
  struct iovec parts[] = {
      {&frame, sizeof(frame)},
      {const_cast<QuotaFrameTail*>(&tail), sizeof(tail)},
      {const_cast<char*>(quota.name.data()), tail.name_bytes},
      {const_cast<char*>(key), tail.key_bytes},
      {const_cast<char*>(reason), tail.reason_bytes},
  };
  struct msghdr message {};
  message.msg_iov = parts;
  message.msg_iovlen = 5;
  for (;;) {
    const int fd = client.fd.load(std::memory_order_relaxed);
    if (fd < 0 || client.link.load(std::memory_order_acquire) != Link::attached) return false;
    if (::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) return true;
    if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR) return false;
    const std::int64_t left_ns = until_own_ns - read_mono_ns();
    if (left_ns <= 0) return false;
    struct pollfd room {
      fd, POLLOUT, 0
    };
    ::poll(&room, 1, static_cast<int>(std::clamp<std::int64_t>(left_ns / 1'000'000, 1, 20)));
  }
}

}  // namespace weir::client
