// Where an agent finds its token server, and what a token server serves: both as the operator wrote
// them, checked and with every default filled in. Pure data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rules/quota.h"
#include "rules/rules.h"

namespace weir {

inline constexpr std::size_t kNamespacesMax = 256;
inline constexpr std::size_t kNamespaceNameBytesMax = 63;
inline constexpr std::size_t kHostNameBytesMax = 255;
inline constexpr std::size_t kHostSharesMax = 64;     // 'hosts' of one limit
inline constexpr std::size_t kCredentialsMax = 1024;  // tokens, and certificates, of a namespace
inline constexpr std::size_t kServerAddressesMax = 16;
inline constexpr std::uint32_t kShareWeightMax = 1'000'000;
inline constexpr std::uint32_t kBandMax = 15;
inline constexpr std::string_view kDefaultNamespace = "default";
inline constexpr std::string_view kDefaultServerListen = "127.0.0.1:9465";
inline constexpr std::string_view kDefaultServerHttp = "127.0.0.1:9466";
inline constexpr std::string_view kDefaultStateDir = "/var/lib/weir";
inline constexpr std::uint32_t kGuardDefault = 30'000;
inline constexpr std::uint32_t kGuardMax = 10'000'000;

// How long what a server grants is good for. Bounds: ttl 1s to 5m, tail 0s to 5m, refresh 50ms to
// a third of ttl.
struct LeaseRule {
  std::uint64_t ttl_ns = 5'000'000'000;
  std::uint64_t tail_ns = 5'000'000'000;
  std::uint64_t refresh_ns = 1'000'000'000;

  bool operator==(const LeaseRule&) const = default;
};

// Who may speak for a namespace: whoever knows a token, or shows a certificate with such a name.
struct AccessRule {
  std::vector<std::string> tokens;  // "sha256:<64 hex digits>", the hash of the token
  // Names of verified certificates: DNS names, URIs, or the subject's common name. '*' stands for
  // any number of characters but '.' and '/'.
  std::vector<std::string> certificates;

  bool empty() const noexcept { return tokens.empty() && certificates.empty(); }
  bool operator==(const AccessRule&) const = default;
};

enum class TlsClients : std::uint32_t { none = 0, optional, required };

// Paths of PEM files; empty where the operator gave none.
struct TlsRule {
  bool enabled = false;  // 'tls' stands in the file
  std::string ca;        // an agent without it trusts the system's authorities
  std::string certificate;
  std::string key;
  std::string server_name;  // agents: what the server's certificate must be made out to
  // Servers: whether agents show certificates. By default as the credentials need it.
  TlsClients clients = TlsClients::none;

  bool operator==(const TlsRule&) const = default;
};

// A concurrency limit of a whole cluster, as the server divides it.
struct PermitLimit {
  std::string name;  // of the resource on the hosts
  std::uint64_t max = 0;
  int line = 0;

  bool operator==(const PermitLimit&) const = default;
};
inline constexpr std::size_t kPermitLimitsMax = 512;  // of a namespace

// The agent's side: the keys 'server' and 'cluster', and its limits with scope: cluster.
struct ClusterRule {
  bool present = false;  // something of it stands in the file
  // host:port, [::1]:port, unix:/path; the first that answers is taken. Empty: the server is in the
  // agent's own process.
  std::vector<std::string> servers;
  std::string name_space{kDefaultNamespace};
  std::string domain = "default";  // where the limits that the server sends live
  std::string host;                // the name that the servers know this host by; empty: its own
  std::string token_file;          // holds the credential; read again when it changes
  TlsRule tls;
  std::uint64_t request_timeout_ms = 500;  // then the fallback is in force

  // Of the embedded server.
  std::vector<std::string> listen;  // for agents of other hosts; none by default
  bool insecure = false;            // on such an address, without TLS or without credentials
  AccessRule allow;                 // those agents' credentials
  std::uint32_t guard = kGuardDefault;
  LeaseRule lease;
  std::string state_dir;  // empty: the agent's own
  std::vector<LimitRule> limits;
  std::vector<PermitLimit> permits;  // of its resources with scope: cluster
  std::vector<QuotaRule> quotas;
  StoreRule store;  // of the quotas, where there are any

  bool embedded() const noexcept { return servers.empty(); }
  bool operator==(const ClusterRule&) const = default;
};

// Several servers share the namespaces by way of etcd.
struct EtcdRule {
  std::vector<std::string> endpoints;  // host:port; empty: this server stands alone
  std::string prefix{"/weir"};
  std::vector<std::string> advertise;  // where agents find this server; empty: as 'listen'
  std::uint64_t ttl_ns = 2'000'000'000;
  std::uint64_t rebalance_ns = 60'000'000'000;
  std::string user;
  std::string password_file;
  bool tls = false;
  std::string ca, certificate, key;

  bool enabled() const noexcept { return !endpoints.empty(); }
  bool operator==(const EtcdRule&) const = default;
};

struct NamespaceRule {
  std::string name;
  AccessRule allow;
  std::uint32_t guard = kGuardDefault;  // requests a second; over it the answer is 'busy'
  std::vector<LimitRule> limits;        // all of scope cluster
  std::vector<QuotaRule> quotas;
  std::vector<PermitLimit> permits;  // the key 'concurrency'
  int line = 0;

  bool operator==(const NamespaceRule&) const = default;
};

// A server's file, /etc/weir/server.yaml.
struct ServerRules {
  std::vector<std::string> listen{std::string{kDefaultServerListen}};
  bool insecure = false;
  TlsRule tls;
  std::string state_dir{kDefaultStateDir};
  std::string http{kDefaultServerHttp};  // empty: off
  TlsRule http_tls;                      // with 'ca' clients have to show a certificate
  LeaseRule lease;
  std::uint64_t idle_timeout_ms = 600'000;
  StoreRule store;  // of the quotas, where there are any
  EtcdRule etcd;
  std::vector<ApiToken> api;  // none: the HTTP API answers nobody
  std::vector<NamespaceRule> namespaces;
  std::vector<Problem> warnings;

  bool has_quotas() const noexcept {
    for (const NamespaceRule& each : namespaces)
      if (!each.quotas.empty()) return true;
    return false;
  }
};

}  // namespace weir
