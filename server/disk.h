// Files that are there after a power cut, or an error that says why not. Blocking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::server {

// An open file descriptor.
class OwnFd {
 public:
  OwnFd() noexcept = default;
  explicit OwnFd(int fd) noexcept : fd_(fd) {}
  OwnFd(OwnFd&& other) noexcept : fd_(other.release()) {}
  OwnFd& operator=(OwnFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~OwnFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

// Every function returns what went wrong, or an empty text.

// Makes the directory, 0700, when it is not there; its parents must be.
std::string open_directory(const std::string& path, OwnFd& dir);
// Held until the descriptor is closed, however the process ends.
std::string lock_file(int dir, const char* name, OwnFd& lock, bool& held_by_other);
// The whole file. A missing one gives an empty text and `missing`.
std::string read_whole(int dir, const char* name, std::size_t bytes_max, std::string& text,
                       bool& missing);
// Under another name first, then in its place, synced. Never half.
std::string replace_file(int dir, const char* name, std::string_view bytes);
// Appends and syncs.
std::string append_file(int fd, std::string_view bytes);
std::string open_append(int dir, const char* name, OwnFd& file);

}  // namespace weir::server
