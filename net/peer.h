// Who is at the other end, as far as the transport knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weir::net {

struct UnixCredentials {
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

struct Peer {
  std::string address;  // "10.0.0.7:40123", "[::1]:40123", "unix:/path"
  bool tls = false;
  // The verified certificate's names: DNS names and URIs of SAN, then the subject's CN. Only clean
  // text. Empty when no certificate was shown.
  std::vector<std::string> names;
  std::optional<UnixCredentials> credentials;  // of whoever called connect() on a Unix socket
};

}  // namespace weir::net
