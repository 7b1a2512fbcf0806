// The service manager: what the agent tells it (sd_notify's protocol) and what it hands over.
//
// Every call answers false and does nothing when there is no supervisor. None of them waits, save
// barrier(): libsystemd's own sender blocks while the manager does not read, and a tick must not.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/fd.h"

namespace weir {

class Notifier {
 public:
  // Takes the address in $NOTIFY_SOCKET (a path, or '@' for an abstract name) and opens the one
  // socket that all calls use, so that they work when descriptors have run out.
  Notifier() noexcept;
  explicit Notifier(std::string_view address) noexcept;

  bool supervised() const noexcept { return socket_.get() >= 0; }

  bool ready(std::string_view status_text) noexcept;
  bool reloading() noexcept;  // to be followed by ready()
  bool stopping() noexcept;
  bool status(std::string_view text) noexcept;
  bool extend_timeout(std::chrono::microseconds more) noexcept;  // a start or stop takes longer

  // How often the manager wants to hear ping_watchdog(); ping at half of it.
  static std::optional<std::chrono::microseconds> watchdog_interval() noexcept;
  bool ping_watchdog() noexcept;

  // The descriptor store. A name has at most 255 visible ASCII characters and no ':'. Storing
  // adds: remove a name before storing its successor. `fd` stays the caller's.
  bool store_fd(std::string_view name, int fd) noexcept;
  bool remove_fd(std::string_view name) noexcept;

  // Waits until the manager has read everything sent before. A process that stores descriptors
  // and ends at once loses them without this.
  bool barrier(std::chrono::milliseconds timeout) noexcept;

 private:
  bool send(std::string_view message, int fd = -1) noexcept;

  std::string address_;
  shm::Fd socket_;
};

struct InheritedFd {
  std::string name;  // "unknown" when the manager gave none
  shm::Fd fd;
};

// The descriptors of $LISTEN_FDS, each owned and close-on-exec from now on. The variables are
// removed, so a second call gives nothing. Empty as well when they are meant for another process.
std::vector<InheritedFd> take_inherited_fds() noexcept;

}  // namespace weir
