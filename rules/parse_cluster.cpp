// An agent's side of the cluster: where its token server is, and what it says there.
#include <array>

#include "rules/parse_parts.h"
#include "rules/quota_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 15> kClusterKeys{
    "namespace", "domain", "host",  "token_file", "tls",    "request_timeout", "listen", "insecure",
    "allow",     "guard",  "lease", "state_dir",  "quotas", "store",           "audit"};
constexpr std::array<std::string_view, 9> kEmbeddedKeys{
    "listen", "insecure", "allow", "guard", "lease", "state_dir", "quotas", "store", "audit"};
constexpr std::array<std::string_view, 2> kAccessKeys{"tokens", "certificates"};
constexpr std::string_view kEmbedded = "embedded";
constexpr std::uint64_t kTimeoutMinNs = 10'000'000;
constexpr std::uint64_t kTimeoutMaxNs = 1'999'000'000;

class ClusterParser {
 public:
  ClusterParser(const MapReader& root, ParseContext& context) : root_(root), context_(context) {}

  ParsedCluster parse() {
    read_server();
    const YamlEntry* entry = root_.find("cluster");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return std::move(result_);
    result_.rule.present = true;
    const MapReader map{*entry->value, "'cluster'", kClusterKeys, context_.reporter};
    if (!map.valid()) return std::move(result_);
    read_names(map);
    read_embedded(map);
    read_tls(map, false, result_.rule.tls, context_);
    check_tls(map);
    return std::move(result_);
  }

 private:
  void read_server() {
    result_.server_place = root_.place_of("server");
    const YamlEntry* entry = root_.find("server");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    result_.rule.present = true;
    if (entry->value->kind == YamlKind::scalar && entry->value->text == kEmbedded) return;
    if (entry->value->kind == YamlKind::scalar &&
        entry->value->text.find(':') == std::string::npos) {
      root_.error("server", unknown_word("server", entry->value->text, {{kEmbedded}}) +
                                ", an address such as 10.0.0.1:9465, or a list of them");
      return;
    }
    result_.rule.servers = read_addresses(root_, "server", AddressUse::dial, context_.reporter);
    if (entry->value->kind == YamlKind::sequence && entry->value->items.empty()) {
      root_.error("server",
                  "'server' is an empty list; allowed: embedded, an address, or a list "
                  "of them");
    }
    remote_ = true;
  }

  void read_names(const MapReader& map) {
    ClusterRule& rule = result_.rule;
    const auto name = [&](std::string_view key, std::string_view example, std::size_t bytes_max,
                          std::string& value) {
      const auto text = map.scalar(key, example);
      if (!text) return;
      value = *text;
      if (is_plain_name(value, bytes_max)) return;
      map.error(key, std::string{key} + " " + quote(value) + " is not allowed; allowed: 1 to " +
                         std::to_string(bytes_max) +
                         " of a-z A-Z 0-9 . _ -, with a letter or digit first");
    };
    name("namespace", "shop", kNamespaceNameBytesMax, rule.name_space);
    name("domain", "default", kDomainNameBytesMax, rule.domain);
    name("host", "web-1", kHostNameBytesMax, rule.host);
    if (map.has("domain")) result_.domain_place = map.place_of("domain");
    if (auto path = map.value("token_file", "/etc/weir/token", parse_path)) {
      rule.token_file = std::move(*path);
    }
    if (!remote_ && map.has("token_file")) {
      map.error("token_file",
                "'token_file' is for a server elsewhere, and this one is embedded; "
                "what other agents must know stands under 'allow'");
    }
    const auto timeout = map.value("request_timeout", "500ms", [](std::string_view text) {
      Parsed<std::uint64_t> parsed = parse_duration_within(text, kTimeoutMinNs, kTimeoutMaxNs);
      if (!parsed.value) return parsed;
      if (*parsed.value % 1'000'000 != 0) parsed = {std::nullopt, "must be whole milliseconds"};
      return parsed;
    });
    if (timeout) rule.request_timeout_ms = *timeout / 1'000'000;
  }

  void read_embedded(const MapReader& map) {
    ClusterRule& rule = result_.rule;
    if (remote_) {
      for (const std::string_view key : kEmbeddedKeys) {
        if (map.has(key)) {
          map.error(key, quote_word(key) +
                             " is for the embedded server, and 'server' is "
                             "elsewhere; the server's own file says it");
        }
      }
      return;
    }
    rule.listen = read_addresses(map, "listen", AddressUse::listen, context_.reporter);
    rule.insecure = map.value("insecure", "true", parse_yes).value_or(false);
    rule.guard = read_guard(map);
    rule.lease = read_lease(map, context_);
    if (auto path = map.value("state_dir", "/var/lib/weir", parse_path)) {
      rule.state_dir = std::move(*path);
    }
    rule.quotas = read_quotas(map, context_);
    rule.store = read_store(map, context_);
    const YamlEntry* allow = map.find("allow");
    if (allow == nullptr || allow->value->kind == YamlKind::null) return;
    const MapReader access{*allow->value, "'allow'", kAccessKeys, context_.reporter};
    if (access.valid()) read_access(access, rule.allow, context_.reporter);
  }

  void check_tls(const MapReader& map) {
    ClusterRule& rule = result_.rule;
    if (remote_) {
      const YamlEntry* tls = map.find("tls");
      if (tls != nullptr && tls->value->kind == YamlKind::map) {
        for (const YamlEntry& entry : tls->value->entries) {
          if (entry.key == "clients") {
            context_.reporter.error(entry.key_place,
                                    "'clients' is for the embedded server, and "
                                    "'server' is elsewhere");
          }
        }
      }
      if (!rule.token_file.empty() && !rule.tls.enabled &&
          !first_open_address(rule.servers).empty()) {
        context_.reporter.warn(map.place_of("token_file"),
                               "the token goes to " + quote(first_open_address(rule.servers)) +
                                   " unencrypted; 'tls: {}' encrypts it, by the system's "
                                   "authorities");
      }
      return;
    }
    settle_clients(map, rule.tls, {&rule.allow}, context_.reporter);
    if (rule.tls.enabled && rule.tls.certificate.empty()) {
      map.error("tls", "'tls' of the embedded server needs 'certificate' and 'key'");
    }
    const std::string open = first_open_address(rule.listen);
    if (open.empty() || rule.insecure) return;
    if (!rule.tls.enabled) {
      map.error("listen", "listen " + quote(open) +
                              " can be reached from other hosts and needs 'tls', or insecure: "
                              "true");
    }
    if (rule.allow.empty()) {
      map.error("listen", "listen " + quote(open) +
                              " can be reached from other hosts and needs 'allow' with tokens or "
                              "certificates, or insecure: true");
    }
  }

  const MapReader& root_;
  ParseContext& context_;
  ParsedCluster result_;
  bool remote_ = false;
};

}  // namespace

ParsedCluster parse_cluster(const MapReader& root, ParseContext& context) {
  return ClusterParser{root, context}.parse();
}

}  // namespace weir
