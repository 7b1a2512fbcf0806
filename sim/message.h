// What travels between hosts and servers in the simulator: the core's own messages, as they are.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "lease/messages.h"

namespace weir::sim {

// The connection was closed by the other end.
struct Closed {};

using Message = std::variant<lease::Hello, lease::Welcome, lease::Request, lease::Answer,
                             lease::Ack, lease::Poke, lease::Goodbye, Closed>;

std::string describe(const Message& message);

struct Packet {
  Message message;
  std::uint32_t host = 0;
  std::uint32_t server = 0;
  std::uint64_t connection = 0;
  std::uint64_t life = 0;  // of the server that the connection was made to
  bool to_server = false;
};

}  // namespace weir::sim
