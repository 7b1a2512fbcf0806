// Who may speak for a namespace.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "net/peer.h"
#include "net/tls.h"
#include "rules/cluster.h"

namespace weir::server {

enum class Access : std::uint8_t {
  granted,
  no_credential,  // the namespace wants one, and none was shown
  wrong_token,
  wrong_certificate,
};

struct AccessResult {
  Access access = Access::granted;
  // The hash or the name in the rule that opened it; empty: it needed none.
  std::string by;
};

// A process of our own user, or root, on a Unix socket needs no credential; a namespace without
// any is open to whoever reaches it.
AccessResult check_access(const AccessRule& rule, const net::Peer& peer, std::string_view token,
                          std::uint32_t own_uid);

// Whether what opened it opens it still, under a rule that has changed.
bool still_granted(const AccessRule& rule, const net::Peer& peer, const std::string& by,
                   std::uint32_t own_uid);

// '*' stands for any number of characters but '.' and '/', so that one name's star cannot reach
// into another domain.
bool certificate_matches(std::string_view pattern, std::string_view name) noexcept;

// What may be a host's name: a-z A-Z 0-9 . _ -, with a letter or digit first.
bool is_host_name(std::string_view name) noexcept;

// The files that `key` of the configuration names, none when it is not enabled. What is wrong, or
// an empty text.
std::string load_tls(const TlsRule& rule, std::string_view key,
                     std::shared_ptr<net::TlsContext>& tls);

}  // namespace weir::server
