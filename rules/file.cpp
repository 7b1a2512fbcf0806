#include "rules/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace weir {
namespace {

std::string reason(const char* what) {
  const int code = errno;
  return std::string{what} + ": " + std::error_code{code, std::generic_category()}.message();
}

std::string too_large(std::size_t bytes_max) {
  return "is larger than " + std::to_string(bytes_max) + " bytes, the most that is read";
}

void read_open_file(int fd, std::size_t bytes_max, FileText& file) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    file.error = reason("cannot be examined");
    return;
  }
  if (!S_ISREG(status.st_mode)) {
    file.error =
        S_ISDIR(status.st_mode) ? "is a directory; a file is needed" : "is not a regular file";
    return;
  }
  // The size may grow while we read, so the bound is on what was read.
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) file.error = reason("cannot be read");
    if (got <= 0) return;
    file.text.append(buffer, static_cast<std::size_t>(got));
    if (file.text.size() > bytes_max) {
      file.error = too_large(bytes_max);
      file.text.clear();
      return;
    }
  }
}

}  // namespace

FileText read_file(const std::string& path, std::size_t bytes_max) {
  FileText file;
  if (path.empty() || path.find('\0') != path.npos) {
    file.error = "has no valid name";
    return file;
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    file.missing = errno == ENOENT || errno == ENOTDIR;
    file.error = reason("cannot be opened");
    return file;
  }
  read_open_file(fd, bytes_max, file);
  ::close(fd);
  return file;
}

}  // namespace weir
