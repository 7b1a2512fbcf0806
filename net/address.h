// Where a server is: host:port, [::1]:port, or unix:/path.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "net/result.h"

namespace weir::net {

struct Address {
  enum class Kind : std::uint8_t { tcp, unix_socket };

  Kind kind = Kind::tcp;
  std::string host;  // a name or a numeric address, without brackets; empty: every interface
  std::uint16_t port = 0;
  std::string path;  // of a Unix socket

  bool operator==(const Address&) const = default;
};

// The error says what is wrong with the text and how it should look.
Result<Address> parse_address(std::string_view text);
std::string to_string(const Address& address);
// What getsockname() or getpeername() told; an unnamed Unix socket has an empty path.
Address from_socket(const sockaddr_storage& storage, socklen_t bytes);

}  // namespace weir::net
