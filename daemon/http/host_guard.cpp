#include "daemon/http/host_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace weir {
namespace {

constexpr std::size_t kHostBytesMax = 255;
constexpr std::size_t kPortDigitsMax = 5;

bool is_port(std::string_view text) noexcept {
  return text.size() <= kPortDigitsMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_literal(int family, std::string_view text) noexcept {
  std::array<char, INET6_ADDRSTRLEN> zero_ended{};
  if (text.size() >= zero_ended.size() || text.find('\0') != text.npos) return false;
  std::memcpy(zero_ended.data(), text.data(), text.size());
  in6_addr address{};  // the larger of the two
  return ::inet_pton(family, zero_ended.data(), &address) == 1;
}

// The name without port; absent when what follows it is no port.
std::optional<std::string_view> without_port(std::string_view host, std::size_t name_end) noexcept {
  const std::string_view rest = host.substr(name_end);
  if (!rest.empty() && (rest[0] != ':' || !is_port(rest.substr(1)))) return std::nullopt;
  return host.substr(0, name_end);
}

}  // namespace

bool HostGuard::admits(std::string_view host) const noexcept {
  if (!loopback_) return true;
  if (host.empty() || host.size() > kHostBytesMax) return false;
  if (host[0] == '[') {
    const std::size_t bracket = host.find(']');
    if (bracket == host.npos || !without_port(host, bracket + 1)) return false;
    return is_literal(AF_INET6, host.substr(1, bracket - 1));
  }
  const auto found = without_port(host, std::min(host.find(':'), host.size()));
  if (!found) return false;
  std::string_view name = *found;
  if (is_literal(AF_INET, name)) return true;
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty()) return false;
  if (equal_ignoring_case(name, "localhost")) return true;
  return std::any_of(names_.begin(), names_.end(),
                     [name](const std::string& own) { return equal_ignoring_case(name, own); });
}

std::string own_host_name() {
  std::array<char, kHostBytesMax + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return name.data();
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [lower](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace weir
