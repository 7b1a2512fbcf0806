#include "daemon/watch/file_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace weir {

namespace asio = boost::asio;

FileWatch::FileWatch(asio::io_context& io) : events_(io), settle_(io) {}

std::string FileWatch::start(const std::string& file, std::function<void()> changed) {
  const std::filesystem::path path(file);
  const std::string dir = path.has_parent_path() ? path.parent_path().string() : ".";
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0 || ::inotify_add_watch(fd, dir.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
    const int why = errno;
    if (fd >= 0) ::close(fd);
    return "cannot watch " + dir + " for changes: " + std::strerror(why);
  }
  name_ = path.filename().string();
  changed_ = std::move(changed);
  events_.assign(fd);
  wait();
  return {};
}

void FileWatch::stop() {
  boost::system::error_code ignored;
  settle_.cancel();
  if (events_.is_open()) events_.close(ignored);
}

void FileWatch::wait() {
  events_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const boost::system::error_code& error) {
                       if (error) return;
                       if (read_events()) {
                         settle_.expires_after(kSettle);  // replaces a wait that is under way
                         settle_.async_wait([this](const boost::system::error_code& cancelled) {
                           if (!cancelled && events_.is_open()) changed_();
                         });
                       }
                       wait();
                     });
}

bool FileWatch::read_events() {
  bool ours = false;
  alignas(struct inotify_event) char buffer[4096];
  for (ssize_t got; (got = ::read(events_.native_handle(), buffer, sizeof(buffer))) > 0;)
    for (char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const struct inotify_event*>(at);
      ours = ours || (event->len > 0 && name_ == event->name) || (event->mask & IN_Q_OVERFLOW) != 0;
      at += sizeof(struct inotify_event) + event->len;
    }
  return ours;
}

}  // namespace weir
