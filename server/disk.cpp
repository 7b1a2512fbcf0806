#include "server/disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace weir::server {
namespace {

constexpr mode_t kFileMode = 0600;

std::string reason(const std::string& what) {
  const int code = errno;
  return what + ": " + std::error_code{code, std::generic_category()}.message();
}

std::string write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return reason("cannot write");
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace

void OwnFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

std::string open_directory(const std::string& path, OwnFd& dir) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return reason("cannot make " + path);
  dir.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return dir ? std::string{} : reason("cannot open " + path);
}

std::string lock_file(int dir, const char* name, OwnFd& lock, bool& held_by_other) {
  held_by_other = false;
  lock.reset(::openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!lock) return reason(std::string{"cannot open "} + name);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return {};
  held_by_other = errno == EWOULDBLOCK;
  return reason(std::string{"cannot lock "} + name);
}

std::string read_whole(int dir, const char* name, std::size_t bytes_max, std::string& text,
                       bool& missing) {
  text.clear();
  const OwnFd file(::openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  missing = !file && errno == ENOENT;
  if (missing) return {};
  if (!file) return reason(std::string{"cannot open "} + name);
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return reason(std::string{"cannot read "} + name);
    if (got == 0) return {};
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > bytes_max) return std::string{name} + " is too large";
  }
}

std::string replace_file(int dir, const char* name, std::string_view bytes) {
  const std::string fresh = std::string{name} + ".new";
  OwnFd file(::openat(dir, fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                      kFileMode));
  if (!file) return reason("cannot make " + fresh);
  std::string error = write_all(file.get(), bytes);
  if (error.empty() && ::fsync(file.get()) != 0) error = reason("cannot sync");
  file.reset();
  if (error.empty() && ::renameat(dir, fresh.c_str(), dir, name) != 0)
    error = reason("cannot rename " + fresh);
  // The name, too, must be there after a power cut.
  if (error.empty() && ::fsync(dir) != 0) error = reason("cannot sync the directory");
  if (!error.empty()) ::unlinkat(dir, fresh.c_str(), 0);
  return error.empty() ? error : std::string{name} + ": " + error;
}

std::string open_append(int dir, const char* name, OwnFd& file) {
  file.reset(::openat(dir, name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  return file ? std::string{} : reason(std::string{"cannot open "} + name);
}

std::string append_file(int fd, std::string_view bytes) {
  std::string error = write_all(fd, bytes);
  if (error.empty() && ::fdatasync(fd) != 0) error = reason("cannot sync");
  return error;
}

}  // namespace weir::server
