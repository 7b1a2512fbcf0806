#include "daemon/log/outlet.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstring>

namespace weir {
namespace {

// A pipe takes this many bytes whole or not at all, so lines of several writers do not mix.
constexpr std::size_t kWriteBytesMax = PIPE_BUF;

bool wait_writable(int fd, int timeout_ms) noexcept {
  pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&entry, 1, timeout_ms) == 1 && (entry.revents & POLLOUT) != 0;
}

}  // namespace

LogOutlet::LogOutlet(int fd, std::size_t buffer_bytes, std::size_t line_bytes_max, GapLine gap_line,
                     void* context)
    : fd_(fd),
      gap_line_(gap_line),
      context_(context),
      capacity_(std::max(buffer_bytes, 2 * line_bytes_max)),
      ring_(std::make_unique<char[]>(capacity_)) {
  // A gap's line and one full line, or lines up to kWriteBytesMax: no allocation later.
  staged_.reserve(2 * line_bytes_max + kWriteBytesMax);
  classify();
}

// O_NONBLOCK is a property of the open file description, which we share with a shell or a
// supervisor: setting it on fd 2 would break them. A pipe or a terminal can be opened again.
void LogOutlet::classify() noexcept {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return;
  if (S_ISSOCK(status.st_mode)) {
    kind_ = Kind::socket;
  } else if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
    std::array<char, 32> path{};
    std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd_);
    own_.reset(::open(path.data(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    // Without the right to open it: another writer can fill the pipe between our question and
    // our write, which then waits. Nothing better is to be had.
    kind_ = own_ ? Kind::reopened : Kind::polled;
  }
}

bool LogOutlet::is_terminal() const noexcept { return ::isatty(fd_) == 1; }

void LogOutlet::write_line(std::string_view line) noexcept {
  if (line.size() > capacity_) return;
  while (capacity_ - used_ < line.size()) {
    take_first(first_line_bytes(), nullptr);
    ++dropped_total_;
    ++dropped_unreported_;
  }
  append(line);
  if (!blocked_) write_out(kPumpBytesMax);
}

bool LogOutlet::pump() noexcept {
  blocked_ = false;
  write_out(kPumpBytesMax);
  return waiting_bytes() == 0;
}

bool LogOutlet::flush(int timeout_ms) noexcept {
  using std::chrono::steady_clock;
  const auto end = steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!pump()) {
    if (!blocked_) continue;  // only the bound of one pump was reached
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - steady_clock::now());
    if (left.count() <= 0) return false;
    if (!wait_writable(own_ ? own_.get() : fd_, static_cast<int>(left.count()))) return false;
  }
  return true;
}

void LogOutlet::write_out(std::size_t bytes_max) noexcept {
  std::size_t written = 0;
  while (written < bytes_max) {
    if (staged_offset_ == staged_.size()) stage();
    if (staged_.empty()) return;
    const auto rest = std::string_view(staged_).substr(staged_offset_);
    const std::size_t bytes = write_some(rest.substr(0, kWriteBytesMax));
    if (bytes == 0) {
      blocked_ = true;
      return;
    }
    staged_offset_ += bytes;
    written += bytes;
  }
}

// 0: not now. A reader that is gone counts as not now too, since a fifo's may come back.
std::size_t LogOutlet::write_some(std::string_view bytes) noexcept {
  ssize_t result = -1;
  do {
    switch (kind_) {
      case Kind::socket:
        result = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      case Kind::reopened:
        result = ::write(own_.get(), bytes.data(), bytes.size());
        break;
      case Kind::polled:
        if (!wait_writable(fd_, 0)) return 0;
        [[fallthrough]];
      case Kind::file:
        result = ::write(fd_, bytes.data(), bytes.size());
        break;
    }
  } while (result < 0 && errno == EINTR);
  return result > 0 ? static_cast<std::size_t>(result) : 0;
}

void LogOutlet::stage() {
  staged_.clear();
  staged_offset_ = 0;
  if (used_ == 0) return;
  if (dropped_unreported_ != 0) {
    gap_line_(staged_, dropped_unreported_, context_);
    dropped_unreported_ = 0;
  }
  do {
    take_first(first_line_bytes(), &staged_);
  } while (used_ != 0 && staged_.size() + first_line_bytes() <= kWriteBytesMax);
}

void LogOutlet::append(std::string_view line) noexcept {
  const std::size_t tail = (head_ + used_) % capacity_;
  const std::size_t first = std::min(line.size(), capacity_ - tail);
  std::memcpy(ring_.get() + tail, line.data(), first);
  if (first < line.size()) std::memcpy(ring_.get(), line.data() + first, line.size() - first);
  used_ += line.size();
}

std::size_t LogOutlet::first_line_bytes() const noexcept {
  const std::size_t first = std::min(used_, capacity_ - head_);
  const std::string_view before(ring_.get() + head_, first);
  if (const std::size_t at = before.find('\n'); at != before.npos) return at + 1;
  const std::string_view after(ring_.get(), used_ - first);
  const std::size_t at = after.find('\n');
  return at == after.npos ? used_ : first + at + 1;
}

void LogOutlet::take_first(std::size_t bytes, std::string* into) {
  const std::size_t first = std::min(bytes, capacity_ - head_);
  if (into != nullptr) {
    into->append(ring_.get() + head_, first);
    into->append(ring_.get(), bytes - first);
  }
  head_ = (head_ + bytes) % capacity_;
  used_ -= bytes;
}

}  // namespace weir
