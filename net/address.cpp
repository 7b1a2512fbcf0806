// Addresses come from configuration and from servers that redirect: the text is checked to its end.
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace weir::net {

namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::size_t kHostBytesMax = 253;

Error bad(std::string_view text, const std::string& why) {
  std::string shown;
  for (const char c : text.substr(0, 80))
    shown.push_back(c >= ' ' && c <= '~' ? c : '?');
  return {Failure::invalid,
          "address '" + shown + "': " + why + "; write host:port, [::1]:port or unix:/path"};
}

bool is_host_character(char c, bool brackets) {
  const bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return alnum || c == '.' || c == '-' || c == '_' || (brackets && (c == ':' || c == '%'));
}

Result<Address> parse_unix(std::string_view text) {
  Address address;
  address.kind = Address::Kind::unix_socket;
  address.path = text.substr(kUnixPrefix.size());
  if (address.path.empty() || address.path[0] != '/')
    return bad(text, "the path of a Unix socket begins with '/'");
  if (address.path.size() >= sizeof(sockaddr_un::sun_path))
    return bad(text, "the path of a Unix socket has at most " +
                         std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
  if (std::any_of(address.path.begin(), address.path.end(),
                  [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }))
    return bad(text, "a path has no control characters");
  return address;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return parse_unix(text);
  Address address;
  const bool brackets = text.starts_with('[');
  const std::size_t end = brackets ? text.find(']') : text.find(':');
  if (end == std::string_view::npos)
    return bad(text, brackets ? "']' is missing" : "the port is missing");
  const std::string_view host = brackets ? text.substr(1, end - 1) : text.substr(0, end);
  std::string_view rest = text.substr(brackets ? end + 1 : end);
  if (!rest.starts_with(':')) return bad(text, "the port is missing");
  rest.remove_prefix(1);
  if (!brackets && rest.find(':') != std::string_view::npos)
    return bad(text, "an IPv6 address needs brackets");
  if (host.size() > kHostBytesMax) return bad(text, "the host is too long");
  if (brackets && host.empty()) return bad(text, "there is nothing in the brackets");
  if (!std::all_of(host.begin(), host.end(),
                   [brackets](char c) { return is_host_character(c, brackets); }))
    return bad(text, "the host has a character that no host has");
  unsigned port = 0;
  const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), port);
  if (error != std::errc{} || stop != rest.data() + rest.size() || port > 65'535)
    return bad(text, "the port is no number up to 65535");
  address.host = host;
  address.port = static_cast<std::uint16_t>(port);
  return address;
}

std::string to_string(const Address& address) {
  if (address.kind == Address::Kind::unix_socket) return std::string(kUnixPrefix) + address.path;
  const bool brackets = address.host.find(':') != std::string::npos;
  return (brackets ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

Address from_socket(const sockaddr_storage& storage, socklen_t bytes) {
  Address address;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    address.host = ::inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
    address.port = ntohs(in.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
    address.host = ::inet_ntop(AF_INET6, &in.sin6_addr, text.data(), text.size());
    address.port = ntohs(in.sin6_port);
  } else {
    address.kind = Address::Kind::unix_socket;
    const auto& un = reinterpret_cast<const sockaddr_un&>(storage);
    if (bytes > offsetof(sockaddr_un, sun_path))
      address.path.assign(un.sun_path,
                          ::strnlen(un.sun_path, bytes - offsetof(sockaddr_un, sun_path)));
  }
  return address;
}

}  // namespace weir::net
