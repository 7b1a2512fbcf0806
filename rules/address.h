// Addresses as they stand in a file: host:port, [::1]:port, unix:/path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "rules/duration.h"

namespace weir {

struct AddressText {
  bool unix_socket = false;
  bool loopback = false;  // reached from this host alone; true for Unix sockets
  std::string host;       // without brackets; empty: every interface
  std::uint16_t port = 0;
};

enum class AddressUse : std::uint8_t {
  dial,    // a host and a port above 0 are needed
  listen,  // :9465 means every interface, port 0 any port
  http,    // the same, with a numeric address
};

// An error continues "listen 'x': ".
Parsed<AddressText> parse_address_text(std::string_view text, AddressUse use);

}  // namespace weir
