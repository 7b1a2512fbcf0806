// Who may speak to a token server, over what, and for how long its word is good.
#include <algorithm>
#include <array>

#include "rules/parse_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 4> kServerTlsKeys{"certificate", "key", "ca", "clients"};
constexpr std::array<std::string_view, 3> kHttpTlsKeys{"certificate", "key", "ca"};
constexpr std::array<std::string_view, 5> kAgentTlsKeys{"ca", "certificate", "key", "server_name",
                                                        "clients"};
constexpr std::array<std::string_view, 3> kLeaseKeys{"ttl", "tail", "refresh"};
constexpr std::uint64_t kAccessTtlMinNs = kSecondNs;
constexpr std::uint64_t kAccessTtlMaxNs = 5 * kMinuteNs;
constexpr std::uint64_t kRefreshMinNs = kSecondNs / 20;
constexpr std::size_t kCertificateNameBytesMax = 255;

void read_path(const MapReader& map, std::string_view key, std::string_view example,
               std::string& path) {
  if (auto value = map.value(key, example, parse_path)) path = std::move(*value);
}

// What `key` has of a certificate, its key and an authority.
void read_files(const MapReader& own, std::string_view key, bool server, TlsRule& tls,
                Reporter& reporter) {
  read_path(own, "ca", "/etc/weir/ca.pem", tls.ca);
  read_path(own, "certificate", "/etc/weir/server.pem", tls.certificate);
  read_path(own, "key", "/etc/weir/server.key", tls.key);
  if (own.has("certificate") != own.has("key")) {
    own.error(own.has("key") ? "key" : "certificate",
              "'certificate' and 'key' go together; one of them is missing");
  } else if (server && !own.has("certificate")) {
    reporter.error(own.place(), "a server's " + quote_word(key) + " needs 'certificate' and 'key'");
  }
}

}  // namespace

bool is_token_hash_text(std::string_view text) noexcept {
  constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 64) return false;
  return std::all_of(text.begin() + kPrefix.size(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
}

void read_tls(const MapReader& map, bool server, TlsRule& tls, ParseContext& context) {
  const YamlEntry* entry = map.find("tls");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return;
  tls.enabled = true;
  const std::span<const std::string_view> keys =
      server ? std::span<const std::string_view>{kServerTlsKeys}
             : std::span<const std::string_view>{kAgentTlsKeys};
  const MapReader own{*entry->value, "'tls'", keys, context.reporter};
  if (!own.valid()) return;
  read_files(own, "tls", server, tls, context.reporter);
  if (server) return;
  if (const auto name = own.scalar("server_name", "weir.example.com")) {
    tls.server_name = *name;
    if (name->empty() || name->size() > kCertificateNameBytesMax || has_control_character(*name)) {
      own.error("server_name", "server_name " + quote(*name) + " is no name of a host");
    }
  }
}

void read_http_tls(const MapReader& map, TlsRule& tls, ParseContext& context) {
  const YamlEntry* entry = map.find("http_tls");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return;
  tls.enabled = true;
  const MapReader own{*entry->value, "'http_tls'", kHttpTlsKeys, context.reporter};
  if (!own.valid()) return;
  read_files(own, "http_tls", true, tls, context.reporter);
  tls.clients = tls.ca.empty() ? TlsClients::none : TlsClients::required;
}

void settle_clients(const MapReader& map, TlsRule& tls,
                    const std::vector<const AccessRule*>& namespaces, Reporter& reporter) {
  const auto has_names = [](const AccessRule* each) { return !each->certificates.empty(); };
  const bool some = std::any_of(namespaces.begin(), namespaces.end(), has_names);
  const bool all = std::all_of(namespaces.begin(), namespaces.end(), [&](const AccessRule* each) {
    return has_names(each) && each->tokens.empty();
  });
  const YamlEntry* entry = map.find("tls");
  if (entry == nullptr || entry->value->kind != YamlKind::map) {
    if (some && entry == nullptr) {
      reporter.error(map.place(), "'certificates' needs 'tls' with 'certificate', 'key' and 'ca'");
    }
    return;
  }
  tls.clients = !some ? TlsClients::none : all ? TlsClients::required : TlsClients::optional;
  Reporter quiet{""};  // unknown keys were reported where the rest of 'tls' was read
  const MapReader own{*entry->value, "'tls'", kAgentTlsKeys, quiet};
  const YamlEntry* given = own.find("clients");
  if (given != nullptr && given->value->kind != YamlKind::null) {
    const auto index = index_of(kTlsClientsNames, given->value->text);
    if (!index) {
      reporter.error(own.place_of("clients"),
                     unknown_word("clients", given->value->text, kTlsClientsNames));
      return;
    }
    tls.clients = static_cast<TlsClients>(*index);
    if (tls.clients == TlsClients::none && some) {
      reporter.error(own.place_of("clients"),
                     "clients: none does not go with 'certificates'; allowed: optional, required");
    }
  }
  if (tls.clients != TlsClients::none && tls.ca.empty() && !own.has("ca")) {
    reporter.error(
        own.place(),
        "the clients' certificates need 'ca', the file of the authority that signs them");
  }
}

void read_access(const MapReader& map, AccessRule& access, Reporter& reporter) {
  for (ListItem& item : read_list(map, "tokens", kCredentialsMax, "['sha256:9f86...']", reporter)) {
    if (is_token_hash_text(item.text)) {
      std::transform(item.text.begin(), item.text.end(), item.text.begin(),
                     [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
      access.tokens.push_back(std::move(item.text));
      continue;
    }
    // What stands there may be the secret itself, so it is not repeated.
    reporter.error(item.place,
                   "tokens: this is not a hash; allowed: sha256: and 64 hexadecimal digits, as "
                   "'weir-server --hash-token' makes it from the token");
  }
  for (ListItem& item :
       read_list(map, "certificates", kCredentialsMax, "[agents.example.com]", reporter)) {
    if (item.text.empty() || item.text.size() > kCertificateNameBytesMax ||
        has_control_character(item.text)) {
      reporter.error(item.place, "certificates: " + quote(item.text) +
                                     " is no name; allowed: 1 to 255 bytes, '*' for any "
                                     "characters but . and /");
      continue;
    }
    access.certificates.push_back(std::move(item.text));
  }
}

LeaseRule read_lease(const MapReader& map, ParseContext& context) {
  LeaseRule lease;
  const YamlEntry* entry = map.find("lease");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return lease;
  const MapReader own{*entry->value, "'lease'", kLeaseKeys, context.reporter};
  if (!own.valid()) return lease;
  const auto ttl = own.value("ttl", "5s", [](std::string_view text) {
    return parse_duration_within(text, kAccessTtlMinNs, kAccessTtlMaxNs);
  });
  const auto tail = own.value("tail", "5s", [](std::string_view text) {
    return parse_duration_within(text, 0, kAccessTtlMaxNs);
  });
  if (own.has("ttl") && !ttl) return lease;
  lease.ttl_ns = ttl.value_or(lease.ttl_ns);
  lease.tail_ns = tail.value_or(lease.tail_ns);
  // Three tries fit into a lease, so that one lost message ends nothing.
  const std::uint64_t most = lease.ttl_ns / 3 / 1'000'000 * 1'000'000;
  lease.refresh_ns = std::min(lease.refresh_ns, most);
  const auto refresh = own.value("refresh", "1s", [&](std::string_view text) {
    Parsed<std::uint64_t> parsed = parse_duration_within(text, kRefreshMinNs, most);
    if (!parsed.error.empty() && !parsed.value) parsed.error += ", a third of ttl";
    return parsed;
  });
  lease.refresh_ns = refresh.value_or(lease.refresh_ns);
  return lease;
}

std::vector<std::string> read_addresses(const MapReader& map, std::string_view key, AddressUse use,
                                        Reporter& reporter) {
  std::vector<std::string> addresses;
  for (ListItem& item : read_list(map, key, kServerAddressesMax, "[\"10.0.0.1:9465\"]", reporter)) {
    const Parsed<AddressText> parsed = parse_address_text(item.text, use);
    if (!parsed.value) {
      reporter.error(item.place, std::string{key} + " " + quote(item.text) + " " + parsed.error);
      continue;
    }
    addresses.push_back(std::move(item.text));
  }
  return addresses;
}

std::uint32_t read_guard(const MapReader& map) {
  const auto guard = map.value(
      "guard", "30k", [](std::string_view text) { return parse_count_within(text, 1, kGuardMax); });
  return static_cast<std::uint32_t>(guard.value_or(kGuardDefault));
}

std::string first_open_address(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    const Parsed<AddressText> parsed = parse_address_text(address, AddressUse::listen);
    if (parsed.value && !parsed.value->loopback) return address;
  }
  return {};
}

}  // namespace weir
