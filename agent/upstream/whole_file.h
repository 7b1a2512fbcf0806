// A small file that is there as a whole or as it was before. Not synced: what it holds is of no use
// after a crash of the host.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "shm/fd.h"

namespace weir::agent {

// Empty when it was written, otherwise why not.
inline std::string write_whole_file(const std::string& path, std::string_view text) {
  const std::string draft = path + ".new";
  shm::Fd fd;
  fd.reset(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return "cannot write " + draft + ": " + std::strerror(errno);
  while (!text.empty()) {
    const ssize_t put = ::write(fd.get(), text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return "cannot write " + draft + ": " + std::strerror(errno);
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  if (std::rename(draft.c_str(), path.c_str()) != 0)
    return "cannot replace " + path + ": " + std::strerror(errno);
  return {};
}

// The same for what must not be out of date: where it cannot be written, what was there goes.
inline std::string write_or_remove_file(const std::string& path, std::string_view text) {
  std::string failed = write_whole_file(path, text);
  if (!failed.empty()) ::unlink(path.c_str());
  return failed;
}

}  // namespace weir::agent
