// What a server needs to share its namespaces with others by way of etcd.
#include <algorithm>
#include <array>

#include "rules/parse_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 8> kEtcdKeys{"endpoints", "prefix", "advertise",     "ttl",
                                                    "rebalance", "user",   "password_file", "tls"};
constexpr std::array<std::string_view, 3> kEtcdTlsKeys{"ca", "certificate", "key"};
constexpr std::size_t kPrefixBytesMax = 200;
constexpr std::uint64_t kEtcdTtlMinNs = 2 * kSecondNs;
constexpr std::uint64_t kEtcdTtlMaxNs = 60 * kSecondNs;

void read_etcd_tls(const MapReader& map, EtcdRule& rule, ParseContext& context) {
  const YamlEntry* entry = map.find("tls");
  if (entry == nullptr) return;
  rule.tls = true;
  if (entry->value->kind == YamlKind::null) return;
  const MapReader own{*entry->value, "'tls' of etcd", kEtcdTlsKeys, context.reporter};
  if (!own.valid()) return;
  rule.ca = own.value("ca", "/etc/weir/etcd-ca.pem", parse_path).value_or("");
  rule.certificate = own.value("certificate", "/etc/weir/etcd.pem", parse_path).value_or("");
  rule.key = own.value("key", "/etc/weir/etcd.key", parse_path).value_or("");
  if (own.has("certificate") != own.has("key"))
    own.error(own.has("key") ? "key" : "certificate",
              "'certificate' and 'key' go together; one of them is missing");
}

// An agent is sent to these, so that they must mean the same on every host.
void settle_advertise(const MapReader& map, const std::vector<std::string>& listen,
                      EtcdRule& rule) {
  if (!rule.advertise.empty()) return;
  for (const std::string& text : listen) {
    const auto address = parse_address_text(text, AddressUse::dial).value;
    if (address && !address->unix_socket && address->host != "0.0.0.0" && address->host != "::")
      rule.advertise.push_back(text);
  }
  if (rule.advertise.empty())
    map.error("etcd",
              "'etcd' needs 'advertise', a host:port where agents find this server: "
              "'listen' names none that they could dial");
}

}  // namespace

EtcdRule read_etcd(const MapReader& map, const std::vector<std::string>& listen,
                   ParseContext& context) {
  EtcdRule rule;
  const YamlEntry* entry = map.find("etcd");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return rule;
  const MapReader own{*entry->value, "'etcd'", kEtcdKeys, context.reporter};
  if (!own.valid()) return rule;
  if (!own.has("endpoints")) {
    own.error("endpoints", "'etcd' needs 'endpoints', such as [10.0.0.1:2379, 10.0.0.2:2379]");
    return rule;
  }
  rule.endpoints = read_addresses(own, "endpoints", AddressUse::dial, context.reporter);
  if (rule.endpoints.empty()) own.error("endpoints", "'endpoints' is empty");
  for (const std::string& each : rule.endpoints)
    if (each.starts_with("unix:"))
      own.error("endpoints", "endpoint " + quote(each) + " is no host:port");
  if (own.has("advertise"))
    rule.advertise = read_addresses(own, "advertise", AddressUse::dial, context.reporter);
  settle_advertise(map, listen, rule);
  if (const auto prefix = own.scalar("prefix", "/weir")) {
    rule.prefix = *prefix;
    if (!prefix->starts_with("/") || prefix->ends_with("/") || prefix->size() > kPrefixBytesMax ||
        has_control_character(*prefix))
      own.error("prefix", "prefix " + quote(*prefix) +
                              " is not allowed; it begins with / and ends without one");
  }
  const auto ttl = own.value("ttl", "2s", [](std::string_view text) {
    Parsed<std::uint64_t> parsed = parse_duration_within(text, kEtcdTtlMinNs, kEtcdTtlMaxNs);
    if (parsed.value && *parsed.value % kSecondNs != 0)
      parsed = {std::nullopt, "must be whole seconds"};
    return parsed;
  });
  if (ttl) rule.ttl_ns = *ttl;
  const auto rebalance = own.value("rebalance", "60s", [](std::string_view text) {
    if (text == "off") return Parsed<std::uint64_t>{0, {}};
    return parse_duration_within(text, kSecondNs, kDayNs);
  });
  if (rebalance) rule.rebalance_ns = *rebalance;
  if (const auto user = own.scalar("user", "weir")) rule.user = *user;
  rule.password_file =
      own.value("password_file", "/etc/weir/etcd.password", parse_path).value_or("");
  if (own.has("user") != own.has("password_file"))
    own.error(own.has("user") ? "user" : "password_file",
              "'user' and 'password_file' go together; one of them is missing");
  read_etcd_tls(own, rule, context);
  return rule;
}

}  // namespace weir
