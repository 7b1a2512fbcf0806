#include "rules/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace weir {
namespace {

constexpr std::size_t kHostBytesMax = 255;
constexpr std::size_t kSocketPathBytesMax = 107;  // sockaddr_un

bool is_host_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_';
}

std::string shape(AddressUse use) {
  if (use == AddressUse::dial) return "allowed: host:port, [::1]:port or unix:/path";
  if (use == AddressUse::http) return "allowed: address:port or [::1]:port";
  return "allowed: address:port, [::1]:port, :port for every interface, or unix:/path";
}

Parsed<AddressText> parse_socket_path(std::string_view path, AddressUse use) {
  if (use == AddressUse::http) return {std::nullopt, "is no TCP address; " + shape(use)};
  if (!path.starts_with('/')) return {std::nullopt, "needs an absolute path: unix:/path"};
  if (path.size() > kSocketPathBytesMax) {
    return {std::nullopt, "is longer than 107 bytes, the most that a socket's path may have"};
  }
  AddressText address;
  address.unix_socket = true;
  address.loopback = true;
  address.host = path;
  return {std::move(address), {}};
}

bool is_loopback(const std::string& host, bool& numeric) noexcept {
  in_addr v4{};
  in6_addr v6{};
  numeric = true;
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  numeric = false;
  return host == "localhost";
}

}  // namespace

Parsed<AddressText> parse_address_text(std::string_view text, AddressUse use) {
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) return parse_socket_path(text.substr(kUnix.size()), use);
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return {std::nullopt, "has no port; " + shape(use)};
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  AddressText address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc{} || end != port.data() + port.size()) {
    return {std::nullopt, "has no port from 0 to 65535 after the last ':'; " + shape(use)};
  }
  if (use == AddressUse::dial && address.port == 0) {
    return {std::nullopt, "has the port 0, at which nobody listens"};
  }
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  address.host = host;
  bool numeric = false;
  address.loopback = is_loopback(address.host, numeric);
  const bool v6 = host.find(':') != host.npos;
  if (bracketed != v6 || (v6 && !numeric)) {
    return {std::nullopt, "is no address; an IPv6 address stands in brackets; " + shape(use)};
  }
  if (host.empty() && use == AddressUse::dial) return {std::nullopt, "has no host; " + shape(use)};
  if (host.size() > kHostBytesMax ||
      (!v6 && !std::all_of(host.begin(), host.end(), is_host_character))) {
    return {std::nullopt, "has no valid host; " + shape(use)};
  }
  if (use == AddressUse::http && !numeric) {
    return {std::nullopt, "needs a numeric address, such as 127.0.0.1:9466"};
  }
  return {std::move(address), {}};
}

}  // namespace weir
