#include "daemon/notify/notify.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

namespace weir {
namespace {

constexpr std::size_t kStatusBytesMax = 512;
constexpr std::size_t kFdNameBytesMax = 255;

// A newline in a value would begin another assignment: a status must not be able to say READY=1.
std::string one_line(std::string_view text) {
  std::string line(text.substr(0, kStatusBytesMax));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return line;
}

bool is_fd_name(std::string_view name) noexcept {
  const auto allowed = [](char c) { return c > 0x20 && c < 0x7f && c != ':'; };
  return !name.empty() && name.size() <= kFdNameBytesMax &&
         std::all_of(name.begin(), name.end(), allowed);
}

std::uint64_t mono_us() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000U;
}

std::string_view environment(const char* name) noexcept {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view{} : std::string_view{value};
}

// Room for one descriptor beside the message.
struct alignas(cmsghdr) FdSpace {
  std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

void attach_fd(msghdr& header, FdSpace& space, int fd) noexcept {
  header.msg_control = space.bytes.data();
  header.msg_controllen = space.bytes.size();
  cmsghdr* control = CMSG_FIRSTHDR(&header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(control), &fd, sizeof(fd));
}

}  // namespace

Notifier::Notifier() noexcept : Notifier(environment("NOTIFY_SOCKET")) {}

Notifier::Notifier(std::string_view address) noexcept {
  const bool usable = address.size() > 1 && (address[0] == '/' || address[0] == '@') &&
                      address.size() < sizeof(sockaddr_un::sun_path);
  if (!usable) return;
  address_ = address;
  socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

bool Notifier::ready(std::string_view status_text) noexcept {
  return supervised() && send("READY=1\nSTATUS=" + one_line(status_text));
}

bool Notifier::reloading() noexcept {
  // The manager tells a reload that began before its own request from one that answers it.
  return supervised() && send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(mono_us()));
}

bool Notifier::stopping() noexcept { return supervised() && send("STOPPING=1"); }

bool Notifier::status(std::string_view text) noexcept {
  return supervised() && send("STATUS=" + one_line(text));
}

bool Notifier::extend_timeout(std::chrono::microseconds more) noexcept {
  return supervised() && send("EXTEND_TIMEOUT_USEC=" + std::to_string(more.count()));
}

std::optional<std::chrono::microseconds> Notifier::watchdog_interval() noexcept {
  std::uint64_t interval_us = 0;
  if (::sd_watchdog_enabled(0, &interval_us) <= 0) return std::nullopt;
  return std::chrono::microseconds(interval_us);
}

bool Notifier::ping_watchdog() noexcept { return supervised() && send("WATCHDOG=1"); }

bool Notifier::store_fd(std::string_view name, int fd) noexcept {
  if (!supervised() || !is_fd_name(name) || fd < 0) return false;
  return send("FDSTORE=1\nFDNAME=" + std::string(name), fd);
}

bool Notifier::remove_fd(std::string_view name) noexcept {
  if (!supervised() || !is_fd_name(name)) return false;
  return send("FDSTOREREMOVE=1\nFDNAME=" + std::string(name));
}

// The manager closes the descriptor that it receives here, after all that was sent before.
bool Notifier::barrier(std::chrono::milliseconds timeout) noexcept {
  if (!supervised()) return false;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  const shm::Fd read_end(ends[0]);
  shm::Fd write_end(ends[1]);
  if (!send("BARRIER=1", write_end.get())) return false;
  write_end.reset();
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd entry{.fd = read_end.get(), .events = 0, .revents = 0};
    const int ready = ::poll(&entry, 1, std::max(0, static_cast<int>(left.count())));
    if (ready >= 0 || errno != EINTR) return ready == 1;
  }
}

bool Notifier::send(std::string_view message, int fd) noexcept {
  sockaddr_un peer{};
  peer.sun_family = AF_UNIX;
  std::memcpy(peer.sun_path, address_.data(), address_.size());
  const bool abstract = address_[0] == '@';
  if (abstract) peer.sun_path[0] = '\0';

  iovec bytes{.iov_base = const_cast<char*>(message.data()), .iov_len = message.size()};
  msghdr header{};
  header.msg_name = &peer;
  // An abstract name has no terminating zero: one more byte would be another name.
  header.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size() +
                                              (abstract ? 0U : 1U));
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  FdSpace space;
  if (fd >= 0) attach_fd(header, space, fd);

  ssize_t sent = -1;
  do {
    sent = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(message.size());
}

std::vector<InheritedFd> take_inherited_fds() noexcept {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  std::vector<InheritedFd> inherited;
  for (int i = 0; i < count; ++i) {
    inherited.push_back({names[i] == nullptr ? "" : names[i], shm::Fd(SD_LISTEN_FDS_START + i)});
    std::free(names[i]);
  }
  std::free(names);
  return inherited;
}

}  // namespace weir
