#include "server/access.h"

#include <algorithm>

#include "lease/pattern.h"
#include "net/secret.h"

namespace weir::server {
namespace {

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_our_own(const net::Peer& peer, std::uint32_t own_uid) noexcept {
  return peer.credentials && (peer.credentials->uid == own_uid || peer.credentials->uid == 0);
}

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool certificate_matches(std::string_view pattern, std::string_view name) noexcept {
  return lease::matches_pattern(
      pattern, name, [](char a, char b) { return lower(a) == lower(b); },
      [](char c) { return c != '.' && c != '/'; });
}

bool is_host_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > kHostNameBytesMax || !is_alphanumeric(name.front()))
    return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

AccessResult check_access(const AccessRule& rule, const net::Peer& peer, std::string_view token,
                          std::uint32_t own_uid) {
  if (rule.empty() || is_our_own(peer, own_uid)) return {};
  for (const std::string& name : peer.names)
    for (const std::string& pattern : rule.certificates)
      if (certificate_matches(pattern, name)) return {Access::granted, pattern};
  if (!token.empty() && !rule.tokens.empty()) {
    // One hash for all of them. How long the comparison takes says something about a hash alone.
    std::string hash = net::token_hash(token);
    if (std::find(rule.tokens.begin(), rule.tokens.end(), hash) != rule.tokens.end())
      return {Access::granted, std::move(hash)};
  }
  if (!token.empty()) return {Access::wrong_token, {}};
  return {peer.names.empty() ? Access::no_credential : Access::wrong_certificate, {}};
}

bool still_granted(const AccessRule& rule, const net::Peer& peer, const std::string& by,
                   std::uint32_t own_uid) {
  if (rule.empty() || is_our_own(peer, own_uid)) return true;
  const auto has = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), by) != list.end();
  };
  return !by.empty() && (has(rule.tokens) || has(rule.certificates));
}

std::string load_tls(const TlsRule& rule, std::string_view key,
                     std::shared_ptr<net::TlsContext>& tls) {
  tls = nullptr;
  if (!rule.enabled) return {};
  net::TlsOptions options;
  options.certificate_file = rule.certificate;
  options.key_file = rule.key;
  options.ca_file = rule.ca;
  options.verify_peer = rule.clients == TlsClients::required   ? net::VerifyPeer::required
                        : rule.clients == TlsClients::optional ? net::VerifyPeer::optional
                                                               : net::VerifyPeer::none;
  auto loaded = net::load_tls(options, net::TlsRole::server);
  if (!loaded) return std::string(key) + ": " + loaded.error().text;
  tls = std::move(*loaded);
  return {};
}

}  // namespace weir::server
