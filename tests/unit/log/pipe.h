// Pipes and sockets whose other end reads only when the test says so.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "shm/fd.h"

namespace weir::testing {

struct Ends {
  shm::Fd read;
  shm::Fd write;

  // What has been written so far; never waits.
  std::string read_all() const {
    std::string text;
    std::array<char, 65'536> chunk{};
    for (;;) {
      const ssize_t bytes = ::read(read.get(), chunk.data(), chunk.size());
      if (bytes <= 0) return text;
      text.append(chunk.data(), static_cast<std::size_t>(bytes));
    }
  }
};

// The writing end waits, as a service's stderr does; the reading end does not.
inline Ends make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return {};
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {shm::Fd(fds[0]), shm::Fd(fds[1])};
}

inline Ends make_stream_socket() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) return {};
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {shm::Fd(fds[0]), shm::Fd(fds[1])};
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    if (end == text.npos) break;
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (at < text.size()) lines.push_back("UNFINISHED " + text.substr(at));
  return lines;
}

}  // namespace weir::testing
