// Listening sockets: opened by us, or handed over by a service manager. Without Asio.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "net/address.h"

namespace weir::net {

// Owns a descriptor, and the name of a Unix socket for as long as it is still its own.
class ListenSocket {
 public:
  ListenSocket() = default;
  ListenSocket(int fd, Address address) noexcept : fd_(fd), address_(std::move(address)) {}
  ListenSocket(ListenSocket&& other) noexcept;
  ListenSocket& operator=(ListenSocket&& other) noexcept;
  ~ListenSocket();

  int fd() const noexcept { return fd_; }
  const Address& address() const noexcept { return address_; }  // with the real port
  void set_address(Address address) noexcept { address_ = std::move(address); }
  void remember_name() noexcept;

 private:
  void close() noexcept;

  int fd_ = -1;
  Address address_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// A name may stand for several addresses; each gets a socket. May wait for a name server.
Result<std::vector<ListenSocket>> open_listen_sockets(const Address& address,
                                                      std::uint32_t unix_mode);
// Takes the descriptor over, also when it is not of use.
Result<ListenSocket> adopt_listen_socket(int fd);

}  // namespace weir::net
